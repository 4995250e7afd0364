//! What is left to do, in a form a sink can carry out.
//!
//! Holds: a job names what must still be true on disk when it is carried out; nobody marks it done, its row goes
//! when the world has changed.

use serde::{Deserialize, Serialize};

use super::path::RelPath;
use super::paths::PathId;
use super::replica::Replica;
use super::value::Value;
use super::verdict::{Rule, Verdict};

/// A ready row that came (+1) or went (-1) when the engine settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobChange {
    pub path: PathId,
    pub verdict: Verdict,
    /// The path whose content is to be renamed here instead of copied (a paired move), at the same replica.
    pub moved_from: Option<PathId>,
    /// +1: it is ready now. -1: it is not any more.
    pub diff: i8,
}

/// One job with everything needed to carry it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub path: RelPath,
    pub leaf: Replica,
    pub rule: Rule,
    pub op: Op,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Make `to` hold `new`; it holds `expect` now. Equal content: only mode and mtime are set.
    Put { from: Replica, to: Replica, new: Value, expect: Option<Value> },
    /// Rename `source_path` (which holds `expect` at `at`, and is to go) to the job's path, then make it `new`.
    Move { at: Replica, source_path: RelPath, expect: Value, new: Value },
    /// Displace what `at` holds, which is `expect`; `because` lacks it and is asked once more just before.
    Delete { at: Replica, because: Replica, expect: Value },
    /// Record `value` as agreed between source and leaf.
    Agree { value: Option<Value> },
    /// Hash what these replicas hold.
    Read { replicas: Vec<(Replica, Value)> },
}

impl Job {
    /// What may have to be carried for all of them, in bytes.
    pub fn bytes_of<'a>(jobs: impl IntoIterator<Item = &'a Self>) -> u64 {
        jobs.into_iter().fold(0, |sum, job| sum.saturating_add(job.bytes()))
    }

    /// What may have to be carried for it, in bytes.
    fn bytes(&self) -> u64 {
        match &self.op {
            Op::Put { new, .. } => new.bytes(),
            Op::Move { .. } | Op::Delete { .. } | Op::Agree { .. } | Op::Read { .. } => 0,
        }
    }
}
