//! Paths that are looked at again before anything is done about them.
//!
//! Holds: where a sink's report and what a replica said crossed each other, nobody knows which came first, and what the
//! engine says of the path meanwhile may be about what a job of ours has just moved away or put there. No job goes for
//! such a path before the look has told, and no directory is put back for what lives in it while a job of ours is under
//! way there: what was seen may be its work, with the report still to come.

use foldhash::{HashMap, HashSet};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::verdict::{Act, Rule};
use crate::service::actor::Actor;
use crate::service::dispatch::{JobKey, Running};

/// What is in doubt, and what waits for that.
#[derive(Default)]
pub struct Doubts {
    /// The replicas that are looked at, by path.
    paths: HashMap<PathId, ReplicaSet>,
    /// How many moves are under way.
    moves: usize,
    waiting: HashSet<JobKey>,
}

impl Doubts {
    /// Whether a row waits here.
    #[must_use]
    pub fn has(&self, key: JobKey) -> bool {
        self.waiting.contains(&key)
    }

    /// The paths that are known here.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathId> {
        self.paths.keys().copied().chain(self.waiting.iter().map(|key| key.path))
    }

    /// A job begins, which may be a move.
    pub fn begins(&mut self, change: &JobChange) {
        self.moves += usize::from(change.moved_from.is_some());
    }

    /// It ended.
    pub fn ended(&mut self, change: &JobChange) {
        self.moves -= usize::from(change.moved_from.is_some());
    }

    /// The row went.
    pub fn forget(&mut self, key: JobKey) {
        self.waiting.remove(&key);
    }
}

impl Actor {
    /// Looks at a path again: until that tells, nothing is done about it.
    pub(crate) fn doubt(&mut self, replica: Replica, id: PathId) {
        let looked_at = self.doubts.paths.entry(id).or_default();
        *looked_at = looked_at.with(replica);
        let path = self.engine.paths().path(id);
        self.sources.look(replica, &path);
    }

    /// A job failed. What it had to take away, and put back, was out of its place for a moment: if somebody looked
    /// meanwhile, it is looked at again.
    pub(crate) fn doubt_failed(&mut self, running: &Running, at: Replica) {
        if running.seen.contains(at) {
            self.doubt(at, running.change.path);
            if let Some(from) = running.change.moved_from {
                self.doubt(at, from);
            }
        }
    }

    /// Whether a row has to wait for a look or a report; then it is noted, and queued when that has told.
    pub(crate) fn waits_in_doubt(&mut self, key: JobKey, row: &JobChange) -> bool {
        let doubted = &self.doubts.paths;
        let lives_for_a_child = row.verdict.rule == Rule::ChildLives;
        if doubted.is_empty() && !lives_for_a_child && self.doubts.moves == 0 {
            return false;
        }
        let paths = self.engine.paths();
        let is_below = |id: PathId| paths.ancestors(id).any(|dir| dir == row.path);
        let is_near = |job: &JobKey| job.leaf == key.leaf && is_below(job.path);
        // What a move has taken out of its place may come back there.
        let is_moved = |(job, running): (&JobKey, &Running)| {
            job.leaf == key.leaf && running.change.moved_from == Some(row.path)
        };
        let waits = doubted.contains_key(&row.path)
            || (self.doubts.moves > 0 && self.running.iter().any(is_moved))
            || (lives_for_a_child
                && (doubted.keys().any(|id| is_below(*id)) || self.agreeing().any(is_near)));
        drop(paths);
        if waits {
            self.doubts.waiting.insert(key);
        }
        waits
    }

    /// The jobs under way that end in an agreement.
    fn agreeing(&self) -> impl Iterator<Item = &JobKey> {
        let reads = |running: &Running| matches!(running.change.verdict.act, Act::Read(_));
        self.running.iter().filter(move |(_, running)| !reads(running)).map(|(key, _)| key)
    }

    /// A replica said what is at a path.
    pub(crate) fn settle_doubts(&mut self, fact: &Fact, at: PathId) {
        let Fact::Holds { replica, value, .. } = fact else { return };
        if self.doubts.paths.is_empty() {
            return;
        }
        let is_dir = value.is_some_and(|value| value.is_dir());
        let paths = self.engine.paths();
        let known = self.doubts.paths.len();
        self.doubts.paths.retain(|id, of| {
            // Without a directory there, nothing is below.
            if *id == at || (!is_dir && paths.ancestors(*id).any(|dir| dir == at)) {
                *of = ReplicaSet::from_bits(of.bits() & !ReplicaSet::of(&[*replica]).bits());
            }
            !of.is_empty()
        });
        let settled = self.doubts.paths.len() < known;
        drop(paths);
        if settled {
            self.queue_what_waited();
        }
    }

    /// All that was to be looked at has been. Returns whether something waited for it.
    pub(crate) fn settle_all_doubts(&mut self) -> bool {
        self.doubts.paths.clear();
        self.queue_what_waited()
    }

    /// Something was told: what waited may go, or waits again. Returns whether there was any.
    pub(crate) fn queue_what_waited(&mut self) -> bool {
        let waited = std::mem::take(&mut self.doubts.waiting);
        let any = !waited.is_empty();
        waited.into_iter().for_each(|key| self.queue(key));
        any
    }
}
