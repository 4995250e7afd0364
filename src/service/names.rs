//! Names that came and went are forgotten, so that memory does not grow with what was there once.
//!
//! Holds: it is done only when many names are new, at a moment at which nothing waits to be taken in, and needs no timer; a
//! name that anything here still has in hand stays. Nothing is lost but what the source once had under a name that nobody
//! has and with whose file nobody agrees. Decided in 0018.

use std::collections::HashSet;

use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::sinks::journal::Change;
use crate::sys;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// How many names go to the journal at once.
const BATCH: usize = 4096;

impl Actor {
    /// With nothing left to be taken in: forgets the names that are gone, if there can be many.
    pub(crate) fn forget_names(&mut self) {
        #[cfg(test)]
        if has(Fault::NamesKept) {
            return;
        }
        if !self.engine.has_many_names(self.pace.names) {
            return;
        }
        let changes = self.settle();
        let in_hand = self.names_in_hand(&changes);
        self.journal_what_the_engine_dropped();
        let forgotten = self.engine.forget_names(&in_hand);
        for changes in [changes, forgotten.changes].into_iter().filter(|some| !some.is_empty()) {
            self.take_changes(changes);
            self.watch_deletes(sys::now());
            self.dispatch(sys::now());
        }
        self.forget_in_journal(&forgotten.past);
        self.unload(&forgotten.paths);
    }

    fn forget_in_journal(&self, past: &[RelPath]) {
        let Some(journal) = &self.shop.journal else { return };
        for paths in past.chunks(BATCH) {
            let forget = |path: &RelPath| Change::NoPast { path: path.clone() };
            journal.submit(paths.iter().map(forget).collect(), None);
        }
    }

    /// What was agreed in a directory that is gone was given to the engine, and is gone there too. When one of its name
    /// comes, it is asked for anew: by then all that was dropped has to be out of the journal.
    fn unload(&mut self, gone: &[RelPath]) {
        if !gone.iter().any(|path| self.loaded.contains(path)) {
            return;
        }
        if self.shop.journal.as_ref().is_some_and(|journal| journal.barrier().is_ok()) {
            let gone: HashSet<&RelPath> = gone.iter().collect();
            self.loaded.retain(|path| !gone.contains(path));
            self.loaded.shrink_to(self.loaded.len() * 2);
        }
    }

    /// All paths that the actor knows by their ids. Every field is named, so that a new one is not left out.
    fn names_in_hand(&self, changes: &[JobChange]) -> Vec<PathId> {
        let Self {
            schedule,
            rows,
            running,
            doubts,
            repositories,
            groups,
            restless,
            prints,
            passing,
            failures,
            over,
            touched,
            reads,
            unlearned,
            eased,
            done,
            // What is known by whole paths, or of no path.
            record: _,
            shop: _,
            sources: _,
            pool: _,
            engine: _,
            pace: _,
            problems: _,
            holds: _,
            away: _,
            ways: _,
            waiters: _,
            loaded: _,
            scans_open: _,
            rested: _,
            caught_up: _,
            scanned_once: _,
            moved_files: _,
            moved_bytes: _,
            displaced: _,
            deletes_came: _,
            purged: _,
            post: _,
            questions: _,
            stopping: _,
            compacted: _,
            saved: _,
            registry: _,
            cache: _,
        } = self;
        let jobs =
            rows.values().chain(running.values().map(|running| &running.change)).chain(changes);
        let of_jobs = jobs.flat_map(|change| [Some(change.path), change.moved_from]).flatten();
        let keys = schedule.keys().chain(passing).chain(failures.keys()).chain(over);
        let keys = keys.chain(reads.keys()).chain(done.iter().map(|done| &done.key));
        let mut in_hand: Vec<PathId> = of_jobs.chain(keys.map(|key: &JobKey| key.path)).collect();
        in_hand.extend(touched.iter().chain(eased));
        in_hand.extend(unlearned.iter().map(|(_, id)| *id));
        in_hand.extend(doubts.names().chain(repositories.names()).chain(groups.names()));
        in_hand.extend(restless.names().chain(prints.names()));
        in_hand
    }
}
