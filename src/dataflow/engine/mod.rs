//! The engine as a value: observe facts, settle, ask.
//!
//! Holds: nothing runs between the calls. `observe` writes differences down; `settle` closes the epoch and derives
//! everything that follows from it; questions (`query.rs`) read what was settled.

mod jobs;
mod listings;
pub(super) mod moves;
mod names;
mod observe;
mod remnants;
pub(super) mod state;

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use self::moves::{Moves, Stuck, effect};
pub use self::names::Forgotten;
use self::observe::Notes;
use self::state::State;
use super::graph::meanings::Meanings;
use super::graph::rows::{Output, Ready};
use super::graph::views::Judge;
use super::graph::{Graph, Plan};
use super::model::group::Groups;
use super::model::job::JobChange;
use super::model::mode::Policy;
use super::model::path::RelPath;
use super::model::paths::{PathId, Paths};
use super::model::replica::{Replica, ReplicaSet};
use super::model::value::Digest;
use super::model::verdict::Act;
use super::query::{Deletes, Tally};

/// What an engine is made for. Another mode or another set of leaves is another engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    pub policy: Policy,
    /// The leaves of the sync; the source is always part of it.
    pub leaves: ReplicaSet,
}

/// One sync's facts and what follows from them. It lives on one thread.
pub struct Engine {
    pub(super) paths: Rc<RefCell<Paths>>,
    pub(super) state: State,
    pub(super) graph: Graph,
    pub(super) judge: Judge,
    pub(super) meanings: Meanings,
    pub(super) deletes: [Deletes; 32],
    pub(super) moves: Moves,
    pub(super) stuck: Stuck,
    /// What rulings about directories change in the tallies of the wishes, by directory above and leaf.
    pub(super) turned: HashMap<(PathId, Replica), Tally>,
    notes: Notes,
    /// How many names there were when those that are gone were last forgotten.
    names_left: usize,
}

impl Engine {
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let EngineConfig { policy, leaves } = config;
        let paths = Rc::new(RefCell::new(Paths::new()));
        let meanings = Meanings::new();
        let plan = Plan { policy, leaves, paths: Rc::clone(&paths), meanings: meanings.clone() };
        Self {
            state: State::new(Rc::clone(&paths), leaves.with(Replica::SOURCE)),
            graph: Graph::new(&plan),
            judge: Judge::new(policy, leaves, meanings.clone()),
            meanings,
            deletes: [Deletes::default(); 32],
            moves: Moves::default(),
            stuck: Stuck::new(),
            turned: HashMap::new(),
            notes: Notes::default(),
            names_left: 0,
            paths,
        }
    }

    /// Says which files belong together, before the first fact.
    pub fn set_groups(&mut self, groups: Groups) {
        self.paths.borrow_mut().set_groups(groups);
    }

    /// All known paths.
    #[must_use]
    pub fn paths(&self) -> Ref<'_, Paths> {
        self.paths.borrow()
    }

    /// Derives what follows from the facts since the last call. Returns the rows that became ready and those that are
    /// not ready any more, the latter first; nothing if no fact said anything new.
    pub fn settle(&mut self) -> Vec<JobChange> {
        for deletes in &mut self.deletes {
            (deletes.came, deletes.went) = (0, 0);
        }
        if !self.state.has_open() {
            return Vec::new();
        }
        let mut outputs = Vec::new();
        let mut open = self.state.close();
        self.graph.settle(open.drain(..), &mut outputs);
        self.state.reuse(open);
        consolidate(&mut outputs);
        let mut ready = self.take(&outputs);
        consolidate(&mut ready);
        ready.sort_by_key(|(_, diff)| *diff);
        ready.iter().map(|change| self.change(change)).collect()
    }

    /// Takes in what the graph hands out; what is left are the changes of the ready rows.
    fn take(&mut self, outputs: &[(Output, isize)]) -> Vec<(Ready, isize)> {
        let mut ready = Vec::new();
        let mut effects = Vec::new();
        let mut stuck_changed = false;
        for (output, diff) in outputs {
            match output {
                Output::Ready(row) => ready.push((*row, *diff)),
                Output::Stuck(path, leaf) => {
                    stuck_changed = true;
                    let leaves = self.stuck.entry(*path).or_default();
                    *leaves = ReplicaSet::from_bits(leaves.bits() ^ 1 << leaf.slot());
                    if leaves.is_empty() {
                        self.stuck.remove(path);
                    }
                }
                Output::Turned { path, wish, verdict } => {
                    let change = Tally::of(verdict).less(&Tally::of_wish(wish));
                    let paths = self.paths.borrow();
                    for dir in paths.ancestors(*path) {
                        let sum = self.turned.entry((dir, verdict.leaf)).or_default();
                        *sum = if *diff > 0 { sum.more(&change) } else { sum.less(&change) };
                        if *sum == Tally::NOTHING {
                            self.turned.remove(&(dir, verdict.leaf));
                        }
                    }
                }
                Output::Withheld(..) | Output::Moved(..) => effects.extend(effect(output, *diff)),
            }
        }
        if stuck_changed || !effects.is_empty() {
            let paths = self.paths.borrow();
            let (stuck, moves) = (&self.stuck, &mut self.moves);
            moves.update(effects, stuck, stuck_changed, &paths, &mut ready);
        }
        ready
    }

    /// A path at which the engine found itself in contradiction since the last call: no verdict is given there, and
    /// the path is to be looked at again by all replicas, in a new engine.
    pub fn fault(&self) -> Option<RelPath> {
        let path = self.graph.take_fault()?;
        Some(self.paths().path(path))
    }

    /// Agreements that were dropped because something is ignored; the journal is to drop them too.
    pub fn forgotten(&mut self) -> Vec<(Replica, RelPath)> {
        let notes = std::mem::take(&mut self.notes.forgotten);
        let paths = self.paths();
        notes.into_iter().map(|(leaf, path)| (leaf, paths.path(path))).collect()
    }

    /// Contents the source stopped holding, to be journalled.
    pub fn past(&mut self) -> Vec<(RelPath, Digest)> {
        let notes = std::mem::take(&mut self.notes.past);
        let paths = self.paths();
        notes.into_iter().map(|(path, digest)| (paths.path(path), digest)).collect()
    }

    /// Resolutions that have done their work and were dropped; the journal is to drop them too.
    pub fn resolved(&mut self) -> Vec<(Replica, RelPath)> {
        let notes = std::mem::take(&mut self.notes.resolved);
        let paths = self.paths();
        notes.into_iter().map(|(replica, path)| (replica, paths.path(path))).collect()
    }

    /// Gives back what a bulk load needed: lets merges finish and buffers go. Worth it once, after the first scan.
    pub fn compact(&mut self) {
        if self.state.has_open() {
            return;
        }
        let open = self.state.close();
        debug_assert!(open.is_empty(), "nothing is open");
        self.state.shrink();
        let mut changes = Vec::new();
        self.graph.compact(&mut changes);
        debug_assert!(changes.is_empty(), "no fact, no change");
    }

    fn change(&mut self, (ready, diff): &(Ready, isize)) -> JobChange {
        debug_assert!(diff.abs() == 1, "a row is ready or not: {ready:?} {diff}");
        if let Act::Delete { at } = ready.verdict.act
            && ready.loses_file
        {
            let deletes = &mut self.deletes[usize::from(at.slot())];
            if *diff > 0 {
                deletes.came += 1;
                deletes.outstanding += 1;
            } else {
                deletes.went += 1;
                deletes.outstanding -= 1;
            }
        }
        JobChange {
            path: ready.path,
            verdict: ready.verdict,
            moved_from: ready.moved_from,
            diff: if *diff > 0 { 1 } else { -1 },
        }
    }
}

/// Sums equal rows and drops what cancels.
fn consolidate<T: Ord>(changes: &mut Vec<(T, isize)>) {
    changes.sort_unstable();
    changes.dedup_by(|(row, diff), (kept, sum)| {
        let same = row == kept;
        if same {
            *sum += *diff;
        }
        same
    });
    changes.retain(|(_, diff)| *diff != 0);
}
