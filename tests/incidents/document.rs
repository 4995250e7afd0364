//! The list of incidents, and the tests it names.

use std::fs;
use std::path::Path;

fn sources(dir: &Path, texts: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_incident_is_in_the_list_and_every_test_it_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("docs/design/incidents.md")).unwrap();
    let mut texts = String::new();
    sources(&root.join("src"), &mut texts);
    sources(&root.join("tests"), &mut texts);
    for number in 1..=34 {
        let row = list.lines().find(|line| line.starts_with(&format!("| D{number} |")));
        let row = row.unwrap_or_else(|| panic!("D{number} is not in the list"));
        let quoted = row.split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted.filter(|name| name.contains('_')).collect();
        let tests = named.iter().filter(|name| name.starts_with(&format!("d{number:02}_")));
        let said = row.contains("cannot happen");
        assert!(tests.count() > 0 || said, "D{number} names neither a test of its own nor why not");
        for name in named {
            assert!(texts.contains(&format!("fn {name}(")), "D{number} names {name}");
        }
    }
}
