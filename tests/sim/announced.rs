//! What the journal of a daemon that ended says: what it was about to make, and what it remembers.

use std::collections::BTreeSet;
use std::path::Path;

use super::bench::replica;
use super::ledger::Announced;
use super::world::STORES;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::Value;
use crate::sinks::journal::record::Intent;
use crate::sinks::journal::{Journal, memory};
use crate::sys::sim::aside;

/// What the journal that the process before left says, if there is one.
fn of_journal<T>(sync: &str, ask: impl FnOnce(&Journal) -> Option<T>) -> Option<T> {
    let (stores, path) = (memory::snapshot(), Path::new(STORES).join(format!("{sync}.redb")));
    if !stores.contains_key(&path) {
        return None;
    }
    let said = aside(|| ask(&Journal::open_or_set_aside(&path).ok()?.0));
    memory::restore(&stores);
    said
}

/// The files that the process before was about to make, or had made and not yet settled.
pub(super) fn announced(sync: &str) -> Vec<Announced> {
    of_intents(of_journal(sync, |journal| journal.intents().ok()).unwrap_or_default())
}

/// What a daemon remembers of what is in its replicas, by disk.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Remembered {
    /// The marks that count.
    pub(super) reached: Vec<u64>,
    agreed: Vec<usize>,
    open: Vec<u64>,
    /// The operations whose files are listed, and where they are.
    pub(super) listed: BTreeSet<(usize, u64)>,
}

impl Remembered {
    pub(super) fn of(journal: &Journal, disks: usize) -> Option<Self> {
        let all = (0..disks).map(replica);
        let agreed = all.clone().map(|at| Some(journal.agreed_paths(at).ok()?.len()));
        let listed = journal.kept(&RelPath::root()).ok()?.into_iter();
        Some(Self {
            reached: all.map(|at| journal.reached(at).ok()).collect::<Option<_>>()?,
            agreed: agreed.collect::<Option<_>>()?,
            open: journal.intents().ok()?.into_iter().map(|(op, _)| op).collect(),
            listed: listed.map(|(op, kept)| (usize::from(kept.replica.slot()), op)).collect(),
        })
    }

    /// What the process before left.
    pub(super) fn left(sync: &str, disks: usize) -> Self {
        of_journal(sync, |journal| Self::of(journal, disks)).unwrap_or_default()
    }

    /// Whether nothing was agreed or begun since.
    pub(super) fn is_as(&self, before: &Self) -> bool {
        self.open.is_empty() && (&self.reached, &self.agreed) == (&before.reached, &before.agreed)
    }
}

/// The files that these are about to make.
pub(super) fn of_intents(intents: Vec<(u64, Intent)>) -> Vec<Announced> {
    let announced = |(_, intent): (u64, Intent)| {
        let Some(Value::File(new)) = intent.new else { return None };
        let at = usize::from(intent.replica.slot());
        let path = String::from_utf8_lossy(intent.path.as_bytes()).into_owned();
        Some(Announced { at, path, mtime: new.mtime })
    };
    intents.into_iter().filter_map(announced).collect()
}
