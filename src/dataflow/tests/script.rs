//! A tiny language for facts, and an engine that keeps count of what is ready.
//!
//! One fact a line: `source lists d: x=1 e=dir`, `leaf1 holds d/x=2`, `leaf1 lacks d/x`, `leaf1 unlists d`,
//! `leaf1 agreed d/x=1`, `leaf1 agreed d/x`, `source yields d/x=1`, `source means 1=9` (whoever says so: content 1 says
//! the same as every other that means 9). The root is `/`. Values: `1` to `9` are files with
//! that content, `1!` the same with another mode, `u1` one that nobody has read, `dir`, `dir!`, `link`, `ignored`,
//! `fifo`, `mount`, `broken`, `remnant`.

use std::collections::BTreeMap;

use crate::dataflow::engine::{Engine, EngineConfig};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, Digest, File, Special, Value};
use crate::dataflow::model::verdict::{Act, Verdict};

/// A ready row.
pub(super) type Row = (PathId, Verdict, Option<PathId>);

/// An engine, and the ready rows as its changes say.
pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) ready: BTreeMap<Row, i32>,
    pub(super) deletes_seen: usize,
}

impl Bench {
    pub(super) fn new(mode: Mode, leaves: u8) -> Self {
        Self {
            engine: Engine::new(EngineConfig { policy: policy(mode), leaves: leaves_of(leaves) }),
            ready: BTreeMap::new(),
            deletes_seen: 0,
        }
    }

    pub(super) fn observe(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
            self.engine.observe(&fact(line));
        }
    }

    pub(super) fn settle(&mut self) {
        for change in self.engine.settle() {
            let row = (change.path, change.verdict, change.moved_from);
            let count = self.ready.entry(row).or_default();
            *count += i32::from(change.diff);
            assert!((0..=1).contains(count), "ready once or not at all: {row:?}");
            if *count == 0 {
                self.ready.remove(&row);
            }
            if change.diff > 0 && matches!(change.verdict.act, Act::Delete { .. }) {
                self.deletes_seen += 1;
            }
        }
        assert_eq!(self.engine.fault(), None);
    }

    /// Forgets the names that are gone. Those of which something was remembered of the source.
    pub(super) fn forget_names(&mut self) -> Vec<RelPath> {
        // Whoever forgets has told the journal first.
        drop((self.engine.past(), self.engine.forgotten(), self.engine.resolved()));
        let in_hand: Vec<PathId> = self.ready.keys().map(|(path, ..)| *path).collect();
        let forgotten = self.engine.forget_names(&in_hand);
        assert!(forgotten.changes.is_empty(), "{:?}", forgotten.changes);
        forgotten.past
    }

    /// The jobs of all ready rows.
    pub(super) fn jobs(&mut self) -> Vec<Job> {
        let rows: Vec<Row> = self.ready.keys().copied().collect();
        rows.iter()
            .map(|(path, verdict, moved_from)| {
                let job = self.engine.job(*path, verdict, *moved_from);
                job.unwrap_or_else(|| panic!("a ready row has a job: {path:?} {verdict:?}"))
            })
            .collect()
    }

    /// The ready jobs and, after a `|`, the conflicts and obstacles, each in a few words, sorted.
    pub(super) fn picture(&mut self) -> String {
        let mut jobs: Vec<String> = self.jobs().iter().map(words).collect();
        jobs.sort();
        let mut stuck = Vec::new();
        self.engine.outstanding(PathId::ROOT, &mut |path, verdict, _| {
            if let Act::Conflict(kind) = verdict.act {
                stuck.push((path, format!("{kind} {:?}", verdict.leaf)));
            } else if let Act::Blocked(_) = verdict.act {
                stuck.push((path, format!("blocked {:?}", verdict.leaf)));
            }
            true
        });
        let paths = self.engine.paths();
        let mut stuck: Vec<String> = stuck
            .into_iter()
            .map(|(path, what)| format!("{what} {:?}", paths.path(path)))
            .collect();
        stuck.sort();
        let jobs = jobs.join(", ");
        if stuck.is_empty() { jobs } else { format!("{jobs} | {}", stuck.join(", ")) }
    }
}

pub(super) fn policy(mode: Mode) -> Policy {
    Policy { mode, trust_times: false }
}

pub(super) fn leaf(slot: u8) -> Replica {
    Replica::leaf(slot).expect("a slot")
}

pub(super) fn leaves_of(count: u8) -> ReplicaSet {
    (1..=count).fold(ReplicaSet::EMPTY, |set, slot| set.with(leaf(slot)))
}

fn words(job: &Job) -> String {
    let path = &job.path;
    match &job.op {
        Op::Put { from, to, .. } => format!("put {from:?}>{to:?} {path:?}"),
        Op::Move { at, source_path, .. } => format!("move {at:?} {source_path:?}>{path:?}"),
        Op::Delete { at, .. } => format!("delete {at:?} {path:?}"),
        Op::Agree { value: Some(_) } => format!("agree {:?} {path:?}", job.leaf),
        Op::Agree { value: None } => format!("agree {:?} no {path:?}", job.leaf),
        Op::Read { replicas } => {
            let replicas: Vec<Replica> = replicas.iter().map(|(r, _)| *r).collect();
            format!("read {replicas:?} {path:?}")
        }
    }
}

/// Reads one line.
pub(super) fn fact(line: &str) -> Fact {
    let mut words = line.split_whitespace();
    let mut next = || words.next().unwrap_or_else(|| panic!("a word is missing: {line}"));
    let replica = match next() {
        "source" => Replica::SOURCE,
        other => leaf(other.trim_start_matches("leaf").parse().expect("leafN")),
    };
    let verb = next();
    let (path, value) = split(next());
    match verb {
        "lists" => Fact::Listed { replica, dir: path, children: words.map(child).collect() },
        "holds" => Fact::Holds { replica, path, value: Some(value.expect("holds PATH=VALUE")) },
        "lacks" => Fact::Holds { replica, path, value: None },
        "unlists" => Fact::Unlisted { replica, dir: path },
        "agreed" => Fact::Agreed { leaf: replica, path, value },
        "yields" => Fact::Yields { replica, path, value },
        "means" => {
            let content = std::str::from_utf8(path.as_bytes()).expect("a value");
            let digest = |value: Value| value.digest().expect("a content");
            let meaning = digest(value.expect("means VALUE=VALUE"));
            Fact::Means { digest: digest(self::value(content)), meaning }
        }
        other => panic!("unknown verb {other}"),
    }
}

fn child(word: &str) -> (Name, Value) {
    let (name, value) = word.split_once('=').expect("NAME=VALUE");
    (Name::parse(name.as_bytes()).expect("a name"), self::value(value))
}

fn split(word: &str) -> (RelPath, Option<Value>) {
    let word = word.trim_end_matches(':');
    match word.split_once('=') {
        Some((at, value)) => (path(at), Some(self::value(value))),
        None => (path(word), None),
    }
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.trim_start_matches('/').as_bytes()).expect("a path")
}

pub(super) fn value(text: &str) -> Value {
    let (text, mode) = match text.strip_suffix('!') {
        Some(text) => (text, 1),
        None => (text, 0),
    };
    match text {
        "dir" => Value::Dir { mode: 0o755 - mode },
        "link" => Value::Symlink { target: Digest([77; 32]), len: 3 },
        "ignored" => Value::Ignored,
        "fifo" => Value::Skipped(Special::Fifo),
        "mount" => Value::Skipped(Special::Mount),
        "broken" => Value::Unreadable { errno: 13 },
        "remnant" => Value::Remnant,
        file => {
            let (content, number) = match file.strip_prefix('u') {
                Some(number) => {
                    let number: u8 = number.parse().expect("a number");
                    (Content::unread(u64::from(number)), number)
                }
                None => {
                    let number: u8 = file.parse().expect("a value");
                    (Content::known(Digest([number; 32])), number)
                }
            };
            Value::File(File { size: 100, mtime: i64::from(number), content, mode: 0o644 + mode })
        }
    }
}
