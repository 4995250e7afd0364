//! `docs/design/decision-table.md`: written by the rules themselves, and kept current.

use std::fmt::Write;
use std::path::Path;

use super::alphabet::{decisions, digest, of_leaf, policy, sentence, slot, value, views, word};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::{Decision, Rule, Views};

const HEAD: &str = include_str!("table_head.md");
const HELD: &[&str] = &["-", "f1", "f1x", "f2", "f3", "link1", "dir"];

#[test]
fn the_decision_table_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design/decision-table.md");
    let table = table();
    if std::env::var_os("YEET_BLESS").is_some() {
        std::fs::write(&path, &table).expect("docs/design can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == table,
        "docs/design/decision-table.md is stale; write it anew with\n    \
         YEET_BLESS=1 cargo test --lib the_decision_table_is_current"
    );
}

fn table() -> String {
    let mut text = HEAD.to_owned();
    for (agreed, title) in [
        ("-", "Nothing agreed"),
        ("f1", "Agreed: the file `f1`"),
        ("link1", "Agreed: the symlink `link1`"),
        ("dir", "Agreed: a directory"),
        ("remnant", "Agreed: a remnant"),
    ] {
        section(&mut text, title);
        let pairs = HELD.iter().flat_map(|s| HELD.iter().map(move |l| (*s, *l)));
        let cases = pairs.map(|(s, l)| (s, l, views(s, &[(agreed, l)])));
        by_mode(&mut text, cases);
    }
    metadata(&mut text);
    reading(&mut text);
    history(&mut text);
    words(&mut text);
    obstacles(&mut text);
    two_leaves(&mut text);
    text
}

fn section(text: &mut String, title: &str) {
    write!(text, "\n## {title}\n\n").expect("strings take everything");
}

fn line(text: &mut String, cells: &[String]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("strings take everything");
}

fn head(text: &mut String, cells: &[String]) {
    line(text, cells);
    line(
        text,
        &cells.iter().map(|_| "-".to_owned()).collect::<Vec<_>>(),
    );
}

/// A verdict in which values are named after who holds them, so that like cases read alike.
fn told(decision: Option<&Decision>, v: &Views, several: bool) -> String {
    let text = sentence(decision, several);
    let Some(new) = decision.and_then(|decision| decision.new) else {
        return text;
    };
    let value = format!(":= {} ", word(Some(new)));
    let named = |owner: &str| text.replace(&value, &format!(":= {owner} "));
    let to_leaf = text.starts_with("leaf");
    let holder = v.leaves.iter().find(|leaf| leaf.value == Some(new));
    match (text.starts_with("source :="), holder) {
        (false, _) if v.source == Some(new) && to_leaf => named("source"),
        (false, _) if v.source == Some(new) => {
            text.replace(&format!("agree {}", word(Some(new))), "agree")
        }
        (true, Some(leaf)) if several => named(&format!("leaf{}", leaf.leaf.slot())),
        (true, Some(_)) => named("leaf"),
        _ => text.clone(),
    }
}

/// One row of a table: the cases, and a verdict for each mode.
struct Row<'a> {
    sources: Vec<&'a str>,
    leaves: Vec<&'a str>,
    told: Vec<String>,
}

/// Cases with like verdicts share a row; modes that never differ share a column.
fn by_mode<'a>(text: &mut String, cases: impl Iterator<Item = (&'a str, &'a str, Views)>) {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (source, leaf, v) in cases {
        let told = Mode::ALL.iter().map(|mode| {
            let decided = decisions(&v, policy(*mode));
            told(decided.first(), &v, false)
        });
        let told: Vec<String> = told.collect();
        if told.iter().all(|verdict| verdict == "nothing") {
            continue;
        }
        let leaf = if leaf == source && leaf != "-" {
            "same"
        } else {
            leaf
        };
        let mut like = rows.iter_mut();
        match like.find(|row| row.sources == [source] && row.told == told) {
            Some(row) => row.leaves.push(leaf),
            None => rows.push(Row {
                sources: vec![source],
                leaves: vec![leaf],
                told,
            }),
        }
    }
    let mut merged: Vec<Row<'_>> = Vec::new();
    for row in rows {
        let mut like = merged.iter_mut();
        match like.find(|other| other.leaves == row.leaves && other.told == row.told) {
            Some(other) => other.sources.extend(row.sources),
            None => merged.push(row),
        }
    }
    print(text, &merged);
}

fn print(text: &mut String, rows: &[Row<'_>]) {
    let mut columns: Vec<Vec<usize>> = Vec::new();
    for at in 0..Mode::ALL.len() {
        let alike = |column: &&mut Vec<usize>| rows.iter().all(|r| r.told[column[0]] == r.told[at]);
        match columns.iter_mut().find(alike) {
            Some(column) => column.push(at),
            None => columns.push(vec![at]),
        }
    }
    let name = |column: &Vec<usize>| match column.as_slice() {
        [_, _, _, _, _] => "every mode".to_owned(),
        some => {
            let names: Vec<&str> = some.iter().map(|at| Mode::ALL[*at].word()).collect();
            names.join(", ")
        }
    };
    let mut cells = vec!["source".to_owned(), "leaf".to_owned()];
    cells.extend(columns.iter().map(name));
    head(text, &cells);
    for row in rows {
        let mut cells = vec![code(&row.sources), code(&row.leaves)];
        cells.extend(columns.iter().map(|column| row.told[column[0]].clone()));
        line(text, &cells);
    }
}

fn code(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(" ")
}

fn metadata(text: &mut String) {
    section(text, "Mode and mtime, `f1` agreed");
    let held = ["f1", "f1x", "f1t", "f1xt", "f2", "f2x", "f2xt"];
    let pairs = held.iter().flat_map(|s| held.iter().map(move |l| (*s, *l)));
    let content = |word: &str| word[..2].to_owned();
    let one_edit =
        pairs.filter(|(s, l)| content(s) == content(l) || content(s) == "f1" || content(l) == "f1");
    let cases = one_edit.map(|(s, l)| (s, l, views(s, &[("f1", l)])));
    by_mode(text, cases);
}

fn reading(text: &mut String) {
    section(text, "Files nobody has read, `f1` agreed");
    let held = ["-", "f1", "f3", "u1", "u3", "dir"];
    let pairs = held.iter().flat_map(|s| held.iter().map(move |l| (*s, *l)));
    let unread = pairs.filter(|(s, l)| s.starts_with('u') || l.starts_with('u'));
    let cases = unread.map(|(s, l)| (s, l, views(s, &[("f1", l)])));
    by_mode(text, cases);
}

fn history(text: &mut String) {
    section(text, "Nothing agreed, and the source once held content 2");
    let held = ["-", "f1", "f2", "f2x", "f3", "u2"];
    let cases = ["-", "f1", "dir"]
        .iter()
        .flat_map(|s| held.iter().map(move |l| (*s, *l)));
    let cases = cases.map(|(s, l)| {
        let v = views(s, &[("-", l)]);
        let past = vec![digest(2)];
        (s, l, Views { past, ..v })
    });
    by_mode(text, cases);
}

fn words(text: &mut String) {
    section(text, "A conflict the user has resolved, `f1` agreed");
    for source_yields in [false, true] {
        let side = if source_yields { "source" } else { "leaf" };
        write!(text, "The {side}'s `f2` gives way:\n\n").expect("strings take everything");
        let cases = [
            ("f2", "f3"),
            ("f3", "f2"),
            ("f2", "dir"),
            ("dir", "f2"),
            ("f1", "f2"),
        ];
        let cases = cases.into_iter().map(|(s, l)| {
            let mut v = views(s, &[("f1", l)]);
            if source_yields {
                v.source_yields = value("f2", Replica::SOURCE);
            } else {
                v.leaves[0].yields = value("f2", slot(1));
            }
            (s, l, v)
        });
        by_mode(text, cases);
        text.push('\n');
    }
    text.pop();
}

fn obstacles(text: &mut String) {
    section(text, "Obstacles");
    text.push_str("`ignored` at any replica: nothing, for every leaf.\n");
    for agreed in ["-", "f1"] {
        write!(text, "\nAgreed `{agreed}`:\n\n").expect("strings take everything");
        let held = ["-", "f1", "fifo", "broken"];
        let pairs = held.iter().flat_map(|s| held.iter().map(move |l| (*s, *l)));
        let odd = pairs.filter(|(s, l)| [s, l].iter().any(|w| held[2..].contains(w)));
        let cases = odd.map(|(s, l)| (s, l, views(s, &[(agreed, l)])));
        by_mode(text, cases);
    }
}

/// Only where a leaf's verdict is another than if it were alone: elsewhere the tables above hold for each leaf.
fn two_leaves(text: &mut String) {
    section(text, "Two leaves");
    text.push_str(TWO_LEAVES);
    for agreed in ["-", "f1"] {
        write!(text, "\nAgreed with both: `{agreed}`\n\n").expect("strings take everything");
        let names = [
            "source",
            "leaf1",
            "leaf2",
            "verdict on leaf1",
            "verdict on leaf2",
        ];
        head(text, &names.map(str::to_owned));
        let mut rows: Vec<([&str; 2], Vec<&str>, [String; 2])> = Vec::new();
        for source in TWO_HELD {
            for (at, leaf1) in TWO_HELD.iter().enumerate() {
                for leaf2 in &TWO_HELD[at..] {
                    let Some(told) = together(source, agreed, leaf1, leaf2) else {
                        continue;
                    };
                    let case = [*source, *leaf1];
                    match rows.iter_mut().find(|row| row.0 == case && row.2 == told) {
                        Some(row) => row.1.push(leaf2),
                        None => rows.push((case, vec![leaf2], told)),
                    }
                }
            }
        }
        for ([source, leaf1], leaves, told) in rows {
            let case = [code(&[source]), code(&[leaf1]), code(&leaves)];
            line(text, &[case.as_slice(), told.as_slice()].concat());
        }
    }
}

const TWO_HELD: &[&str] = &["-", "f1", "f1x", "f2", "f3", "dir"];

const TWO_LEAVES: &str = "\
Where the verdicts on two leaves are not those that each would get alone (R11). Elsewhere, and in the one-way modes,
every leaf has the verdict of the tables above. `two-way` and `two-way-source` are alike here; swapping the leaves swaps
the verdicts, but for which of them donates what both have.
";

fn together(source: &str, agreed: &str, leaf1: &str, leaf2: &str) -> Option<[String; 2]> {
    let v = views(source, &[(agreed, leaf1), (agreed, leaf2)]);
    let told_in = |mode| {
        let decided = decisions(&v, policy(mode));
        [0, 1].map(|at| told(of_leaf(&decided, at), &v, true))
    };
    let decided = decisions(&v, policy(Mode::TwoWay));
    let combined = decided.iter().any(|d| {
        let rule = d.verdict.rule;
        matches!(rule, Rule::OtherLeafFirst | Rule::LeavesDisagree)
    });
    let together = told_in(Mode::TwoWay);
    if combined {
        assert_eq!(together, told_in(Mode::TwoWaySource));
    }
    combined.then_some(together)
}
