//! Values as short words, both ways: `f2xt` is a file with content 2, another mode and another mtime.
//!
//! `-` absent, `f` file, `u` the same file unread, `link1`, `link2`, `dir`, `dirx` (other mode), `remnant`, `ignored`,
//! `fifo`, `broken`. Contents 1, 2, 4 are of one size, 3 is larger.

use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, Digest, File, Special, Value};
use crate::dataflow::model::verdict::{Act, Decision, LeafView, Obstacle, Views};
use crate::dataflow::rules::decide;

pub(super) const EVERYTHING: &[&str] = &[
    "-", "f1", "f1x", "f1t", "f1xt", "f2", "f2x", "f3", "link1", "link2", "dir", "dirx",
];
pub(super) const UNREAD: &[&str] = &["u1", "u1x", "u2", "u3", "u4"];
pub(super) const OBSTACLES: &[&str] = &["ignored", "fifo", "broken"];

pub(super) fn digest(content: u8) -> Digest {
    Digest([content; 32])
}

/// The leaf with this number.
pub(super) fn slot(number: usize) -> Replica {
    let number = u8::try_from(number).expect("few leaves");
    Replica::leaf(number).expect("a leaf's number")
}

/// The value a word stands for, as `replica` holds it.
pub(super) fn value(word: &str, replica: Replica) -> Option<Value> {
    Some(match word {
        "-" => return None,
        "dir" => Value::Dir { mode: 0o755 },
        "dirx" => Value::Dir { mode: 0o700 },
        "link1" => link(101),
        "link2" => link(102),
        "remnant" => Value::Remnant,
        "ignored" => Value::Ignored,
        "fifo" => Value::Skipped(Special::Fifo),
        "broken" => Value::Unreadable { errno: 5 },
        _ => file(word, replica),
    })
}

fn link(target: u8) -> Value {
    let target = digest(target);
    Value::Symlink { target, len: 7 }
}

fn file(word: &str, replica: Replica) -> Value {
    let number = word[1..2].parse::<u8>().expect("f or u, then a digit");
    let content = match &word[..1] {
        "f" => Content::known(digest(number)),
        "u" => Content::unread(u64::from(number) * 100 + u64::from(replica.slot())),
        _ => panic!("no such word: {word}"),
    };
    Value::File(File {
        size: if number == 3 { 11 } else { 10 },
        mtime: if word.contains('t') { 2_000 } else { 1_000 },
        content,
        mode: if word.contains('x') { 0o755 } else { 0o644 },
    })
}

/// What reading a value shows.
pub(super) fn read(value: Value) -> Value {
    let Value::File(file) = value else {
        return value;
    };
    if file.content.digest().is_some() {
        return value;
    }
    let made = |n: &u64| (0..32).any(|slot| file.content == Content::unread(n * 100 + slot));
    let number = (1..=9).find(made).expect("made by `file`");
    let content = Content::known(digest(u8::try_from(number).expect("a digit")));
    Value::File(File { content, ..file })
}

/// The word for a value.
pub(super) fn word(value: Option<Value>) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    if let (Value::File(now), Value::File(then)) = (value, read(value)) {
        let number = then.content.digest().expect("read").0[0];
        let kind = if now == then { "f" } else { "u" };
        let mode = if now.mode == 0o755 { "x" } else { "" };
        let mtime = if now.mtime == 2_000 { "t" } else { "" };
        return format!("{kind}{number}{mode}{mtime}");
    }
    let words = [
        "dir", "dirx", "link1", "link2", "remnant", "ignored", "fifo", "broken",
    ];
    let found = words
        .into_iter()
        .find(|word| self::value(word, Replica::SOURCE) == Some(value));
    found.expect("a word").to_owned()
}

pub(super) fn policy(mode: Mode) -> Policy {
    Policy {
        mode,
        trust_times: false,
    }
}

/// Views of `source` and leaves given as `(agreed, held)`.
pub(super) fn views(source: &str, leaves: &[(&str, &str)]) -> Views {
    let leaf = |(at, (agreed, held)): (usize, &(&str, &str))| {
        let leaf = slot(at + 1);
        LeafView {
            leaf,
            value: value(held, leaf),
            agreed: value(agreed, leaf),
            yields: None,
        }
    };
    Views {
        source: value(source, Replica::SOURCE),
        source_yields: None,
        leaves: leaves.iter().enumerate().map(leaf).collect(),
        past: Vec::new(),
    }
}

pub(super) fn decisions(views: &Views, policy: Policy) -> Vec<Decision> {
    let mut out = Vec::new();
    decide(views, policy, &mut out);
    out
}

/// What is decided for the leaf `at` (from 0).
pub(super) fn of_leaf(decisions: &[Decision], at: usize) -> Option<&Decision> {
    decisions.iter().find(|d| d.verdict.leaf == slot(at + 1))
}

/// What a decision does, in words; leaves are named by number where there are several.
pub(super) fn act(decision: Option<&Decision>, several: bool) -> String {
    let name = |replica: Replica| match (replica.is_source(), several) {
        (true, _) => "source".to_owned(),
        (false, true) => format!("leaf{}", replica.slot()),
        (false, false) => "leaf".to_owned(),
    };
    let names = |set: ReplicaSet| set.iter().map(name).collect::<Vec<_>>().join(", ");
    let Some(decision) = decision else {
        return "nothing".to_owned();
    };
    match decision.verdict.act {
        Act::Put { to, .. } => format!("{} := {}", name(to), word(decision.new)),
        Act::Delete { at } => format!("{} := -", name(at)),
        Act::Agree => format!("agree {}", word(decision.new)),
        Act::Read(set) => format!("read {}", names(set)),
        Act::Await => "wait".to_owned(),
        Act::Conflict(kind) => format!("conflict {kind}"),
        Act::Blocked(Obstacle::Unreadable(at)) => format!("blocked: unreadable at {}", name(at)),
        Act::Blocked(Obstacle::Special(at)) => format!("blocked: special at {}", name(at)),
    }
}

/// What a decision does and by which rule.
pub(super) fn sentence(decision: Option<&Decision>, several: bool) -> String {
    match decision {
        Some(known) => format!("{} ({:?})", act(decision, several), known.verdict.rule),
        None => act(decision, several),
    }
}
