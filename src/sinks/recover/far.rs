//! The same for a replica on another machine, when its agent is connected.
//!
//! Holds: an agreement is noted once both ends have it on disk, wherever they are (INV-5). One whose other end is not
//! reached waits, and its operation stays announced, until that is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ends, is_known, other_end, reached};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::sinks::far::{Announced, Far, Flushed, flush};
use crate::sinks::journal::{Change, JournalError};
use crate::sinks::transfer::Shop;

/// What became of an operation at a replica, until the other end has on disk what is agreed by that.
pub(super) struct Unflushed {
    pub(super) at: Replica,
    pub(super) other: Replica,
    pub(super) found: Vec<Change>,
}

/// All of a sync; no more than are announced.
#[derive(Default)]
pub struct AllUnflushed(Mutex<Vec<Unflushed>>);

impl AllUnflushed {
    fn all(&self) -> MutexGuard<'_, Vec<Unflushed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, one: Unflushed) {
        self.all().push(one);
    }

    /// Those that wait for a replica. What was found there itself is found anew.
    fn take(&self, replica: Replica) -> Vec<Unflushed> {
        let mut all = self.all();
        all.retain(|one| one.at != replica);
        all.extract_if(.., |one| one.other == replica).collect()
    }
}

/// Settles the open intents of a replica on another machine, whose agent is connected, and notes what waited for it. Returns
/// what was found to be agreed.
///
/// # Errors
/// The journal cannot be read or written, or the connection broke; the intents stay open.
pub fn recover_far(
    shop: &Shop,
    (replica, is_older): (Replica, bool),
    far: &Far,
) -> Result<Vec<Fact>, String> {
    let Some(journal) = &shop.journal else { return Ok(Vec::new()) };
    let told = |error: JournalError| error.to_string();
    let open = journal.intents().map_err(told)?.into_iter();
    let open = open.filter(|(_, intent)| intent.replica == replica);
    let announced = open.map(|(op, intent)| Announced { op, spare: shop.ops.take().0, intent });
    let announced: Vec<Announced> = announced.collect();
    let settled = far.settle(announced).map_err(|error| error.to_string())?;
    let mut all = shop.unflushed.take(replica);
    for (about, found) in settled {
        let Some(mut found) = found else { continue };
        found.push(Change::IntentDone { op: about.op });
        let other = other_end(&about.intent);
        let ends = ends(&about.intent, &found);
        // What agrees on nothing has no other end.
        let other = if ends.contains(other) { other } else { replica };
        all.push(Unflushed { at: replica, other, found });
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    // One that is an older copy is known as that until all of this is over.
    let mark = if is_older { 0 } else { shop.ops.take().0 };
    let mut flushed = BTreeMap::from([(replica, flush(far, mark))]);
    let older = if is_older { ReplicaSet::of(&[replica]) } else { ReplicaSet::EMPTY };
    let mut changes = Vec::new();
    for mut one in all {
        for end in [one.at, one.other] {
            flushed.entry(end).or_insert_with(|| flush_end(shop, end));
        }
        let is_at = |end| flushed.get(&end).is_some_and(|flushed| *flushed != Flushed::No);
        let agrees = one.at != one.other;
        match (is_at(one.at) && is_at(one.other), agrees && shop.far(one.other).is_some()) {
            (true, _) => {
                one.found.retain(|change| is_known(change, older));
                changes.extend(one.found);
            }
            (false, true) => shop.unflushed.add(one),
            (false, false) => {}
        }
    }
    changes.extend(flushed.into_iter().filter_map(reached));
    let agreed = changes.iter().filter_map(|change| {
        let Change::Agreed { leaf, path, value } = change else { return None };
        Some(Fact::Agreed { leaf: *leaf, path: path.clone(), value: *value })
    });
    let agreed = agreed.collect();
    journal.commit(changes).map_err(|error| error.to_string())?;
    Ok(agreed)
}

/// Marks a replica and flushes it, wherever it is.
fn flush_end(shop: &Shop, end: Replica) -> Flushed {
    let mark = shop.ops.take().0;
    match (shop.site(end), shop.far(end)) {
        (Some(site), _) => site.flush(mark),
        (None, Some(far)) => flush(far, mark),
        (None, None) => Flushed::No,
    }
}
