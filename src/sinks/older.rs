//! A replica that is an older copy of itself, from a backup or a snapshot (docs/design/0020).
//!
//! Holds: nothing is agreed with it any more, and that is on disk before anything is looked at there. So what is older is
//! no edit, what is missing no delete, and nothing is written over but by history. It counts as one until what was announced is
//! settled and the next batch has marked it.

use std::collections::HashSet;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::sinks::journal::record::LogRecord;
use crate::sinks::journal::{Change, Journal, JournalError};
use crate::sinks::stage::{OpId, Store};
use crate::sinks::transfer::now_ms;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

const NOTE: &str = "it is an older copy of itself: nothing is agreed with it";

/// Whether a replica whose disk says that it has come so far was further when something was last agreed with it.
///
/// # Errors
/// The journal cannot be read.
pub fn is_older(journal: &Journal, replica: Replica, reached: u64) -> Result<bool, JournalError> {
    #[cfg(test)]
    if has(Fault::OlderBelieved) {
        return Ok(false);
    }
    Ok(reached < journal.reached(replica)?)
}

/// Lists no version any more that is not in the store of its replica: that was set back, or somebody removed it.
///
/// # Errors
/// The journal cannot be read or written; then all stay listed.
pub fn unlist_gone(journal: &Journal, replica: Replica, store: &Store) -> Result<(), JournalError> {
    // Where the store cannot be listed, all of it is taken to be there.
    let Ok(there) = store.operations() else { return Ok(()) };
    let there: HashSet<OpId> = there.into_iter().collect();
    let kept = journal.kept(&RelPath::root())?.into_iter();
    let gone = kept.filter(|(op, kept)| kept.replica == replica && !there.contains(&OpId(*op)));
    let gone = gone.map(|(op, kept)| Change::Purged { op, path: kept.path });
    journal.commit(gone.collect()).map_err(JournalError::Commit)
}

/// Forgets what was agreed with a replica that is an older copy: with a leaf, or with all `leaves` if it is the source.
/// Returns what an engine that has looked at it is to be told.
///
/// # Errors
/// The journal cannot be read or written; then all stands.
pub fn disagree(
    journal: &Journal,
    replica: Replica,
    leaves: ReplicaSet,
) -> Result<Vec<Fact>, JournalError> {
    let with = if replica.is_source() { leaves } else { ReplicaSet::of(&[replica]) };
    let mut facts = Vec::new();
    let mut changes = vec![Change::Disagree(replica)];
    for leaf in with.iter() {
        let none = |path| Fact::Agreed { leaf, path, value: None };
        facts.extend(journal.agreed_paths(leaf)?.into_iter().map(none));
        changes.push(Change::Disagree(leaf));
    }
    if replica.is_source() {
        // What a leaf has may be newer than what is in the source now, and was in the source, too.
        changes.push(Change::DropPast);
    }
    changes.push(Change::Log(LogRecord {
        when_ms: now_ms(),
        act: "older".to_owned(),
        replica,
        path: RelPath::root(),
        old: None,
        new: None,
        note: NOTE.to_owned(),
    }));
    journal.commit(changes).map_err(JournalError::Commit)?;
    Ok(facts)
}
