//! Displaced versions that may go are removed when something new is displaced, never by a clock.

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::actor::Actor;
use crate::sinks::journal::purge::{Limits, purge};
use crate::sinks::journal::record::Kept;
use crate::sinks::journal::{Change, Journal};
use crate::sinks::transfer::Shop;

/// So many displaced versions are looked through at once.
const DISPLACED: u64 = 1000;
/// So many are removed by one call.
const PURGED_AT_ONCE: usize = 1000;

impl Actor {
    /// After displacements: old versions above the limits go, on a worker.
    pub(crate) fn purge_if_due(&mut self) {
        if self.displaced < DISPLACED && (self.displaced == 0 || self.purged) {
            return;
        }
        self.displaced = 0;
        self.purged = true;
        let Some(journal) = self.shop.journal.clone() else { return };
        let limits = Limits {
            age_ms: self.record.keep_age_s.saturating_mul(1000),
            size: self.record.keep_size,
        };
        let replicas: Vec<Replica> = self.record.replicas.iter().map(|r| r.replica).collect();
        let shop = self.shop.clone();
        let work = move || {
            for replica in replicas {
                purge_replica(&shop, &journal, replica, limits);
            }
        };
        self.pool.submit(&[], Box::new(work));
    }
}

fn purge_replica(shop: &Shop, journal: &Journal, replica: Replica, limits: Limits) {
    let Ok(kept) = journal.kept(&RelPath::root()) else { return };
    let kept: Vec<(u64, Kept)> = kept.into_iter().filter(|(_, k)| k.replica == replica).collect();
    let Ok(open) = journal.intents() else { return };
    let settled = |row: &Kept| open.iter().all(|(_, intent)| intent.path != row.path);
    let gone = purge(&kept, limits, crate::sinks::transfer::now_ms(), settled);
    let going = || kept.iter().filter(|(op, _)| gone.contains(op));
    let Some(desk) = shop.desk(replica).filter(|_| going().next().is_some()) else { return };
    let ops: Vec<u64> = going().map(|(op, _)| *op).collect();
    let mut changes = Vec::new();
    for some in ops.chunks(PURGED_AT_ONCE) {
        // The row goes only with its file: what cannot be removed now is tried again next time.
        let removed = desk.purge(some);
        let removed = going().filter(|(op, _)| removed.contains(op));
        changes.extend(removed.map(|(op, row)| Change::Purged { op: *op, path: row.path.clone() }));
    }
    journal.submit(changes, None);
}
