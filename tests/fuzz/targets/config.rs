//! `config.toml`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::config::Config;

/// The parser of TOML keeps a few hundred bytes for each of its tokens.
const GROWTH: usize = 1024;
const ROOM: usize = 64 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match fuzz::within(data.len() * GROWTH + ROOM, || Config::of_text(text)) {
        Ok(config) => assert_eq!(Config::of_text(&written(&config)), Ok(config)),
        Err(error) => {
            let said = error.to_string();
            let line = said.strip_prefix("config.toml:").and_then(|said| said.split_once(':'));
            let line: usize = line.expect("a line").0.parse().expect("a number");
            assert!((1..=text.split('\n').count()).contains(&line), "{said}");
        }
    }
});

fn written(config: &Config) -> String {
    let mut table = toml::Table::new();
    table.insert("mode".into(), config.mode.word().into());
    table.insert("ignore".into(), config.ignore.clone().into());
    table.insert("ignore-vcs".into(), config.ignore_vcs.into());
    table.insert("keep-age".into(), format!("{}s", config.keep_age_s).into());
    table.insert("keep-size".into(), config.keep_size.to_string().into());
    let group = |files: &Vec<String>| {
        toml::Value::Table(toml::Table::from_iter([("files".to_owned(), files.clone().into())]))
    };
    table.insert("group".into(), config.groups.iter().map(group).collect::<Vec<_>>().into());
    table.to_string()
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "mode = \"mirror\"\nignore = [\"*.o\", '''/build/''']\nignore-vcs = true\nkeep-age = \"2d\"\nkeep-size = \"1G\"\n",
        "# nothing\n",
        "[[group]]\nfiles = [\"*.db\", \"*.db-wal\"]\n[[group]]\nfiles = [\"x\"]\n",
        "keep-agee = \"30d\"\n",
        "\"mode\" = 7\n[ignore]\nx = { y = [1, 2.5e3, 1979-05-27T07:32:00Z] }\n",
        "keep-size = \"18446744073709551615T\"\nmode = \"two-way\"",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
