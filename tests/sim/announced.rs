//! What the journal says a daemon was about to make when it ended.

use std::path::Path;

use super::ledger::Announced;
use super::world::STORES;
use crate::dataflow::model::value::Value;
use crate::sinks::journal::record::Intent;
use crate::sinks::journal::{Journal, memory};
use crate::sys::sim::aside;

/// The files that the process before was about to make, or had made and not yet settled.
pub(super) fn announced(sync: &str) -> Vec<Announced> {
    let (stores, path) = (memory::snapshot(), Path::new(STORES).join(format!("{sync}.redb")));
    if !stores.contains_key(&path) {
        return Vec::new();
    }
    let look = || Journal::open_or_set_aside(&path).ok()?.0.intents().ok();
    let intents = aside(look).unwrap_or_default();
    memory::restore(&stores);
    of_intents(intents)
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
