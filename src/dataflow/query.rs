//! Questions to the engine, answered from the arrangements of the settled epoch.
//!
//! Holds: no second computation: a gate is explained by the rows it joined. Facts observed since the last settle do
//! not show, except where an answer says so.

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::engine::state::Kind;
use super::graph::directories::{Below, Evidence, Fate, fate};
use super::graph::moves::place;
use super::graph::rows::{DirFacts, Outcome, Shape, Wish};
use super::graph::{Reader, Traces};
use super::model::path::Name;
use super::model::paths::PathId;
use super::model::replica::{Replica, ReplicaSet};
use super::model::value::{Special, Value};
use super::model::verdict::{Act, Verdict, Views};

/// What is outstanding below a directory with one leaf.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Tally {
    /// Bytes that puts have to move.
    pub bytes: i64,
    /// Verdicts to be carried out: puts, deletes, agreements, reads, and what waits for another leaf.
    pub pending: i32,
    pub conflicts: i32,
    /// Paths at which something is in the way.
    pub blocked: i32,
    /// Of the pending: deletes, at either side.
    pub deletes: i32,
    /// Of the pending: puts to the source.
    pub up: i32,
    /// Of the pending: puts to the leaf.
    pub down: i32,
    /// One-way: content that only the leaf has and keeps. Not outstanding.
    pub own: i32,
}

impl Tally {
    pub(super) const NOTHING: Self =
        Self { bytes: 0, pending: 0, conflicts: 0, blocked: 0, deletes: 0, up: 0, down: 0, own: 0 };

    /// Whether anything is left to do, resolve or mend.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        self.pending != 0 || self.conflicts != 0 || self.blocked != 0
    }

    pub(super) fn more(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            pending: self.pending + other.pending,
            conflicts: self.conflicts + other.conflicts,
            blocked: self.blocked + other.blocked,
            deletes: self.deletes + other.deletes,
            up: self.up + other.up,
            down: self.down + other.down,
            own: self.own + other.own,
        }
    }

    pub(super) fn less(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes - other.bytes,
            pending: self.pending - other.pending,
            conflicts: self.conflicts - other.conflicts,
            blocked: self.blocked - other.blocked,
            deletes: self.deletes - other.deletes,
            up: self.up - other.up,
            down: self.down - other.down,
            own: self.own - other.own,
        }
    }
}

/// What keeps a verdict from being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Waits {
    /// Nothing in the graph: its row is ready (or has been handed to the schedule).
    Nothing,
    /// These replicas' directories are not completely known; it may yet turn out to be something else.
    Listing(ReplicaSet),
    /// The directory it goes into is not there yet at this replica.
    Parent(Replica),
    /// Something below the directory is outstanding.
    Below,
    /// It is the old name of a file that will be renamed to this path.
    Move(PathId),
    /// Another leaf's change of the path.
    OtherLeaf,
    /// The user, who is to resolve a conflict.
    Resolve,
    /// The obstacle is to go.
    Obstacle,
}

/// What is below a directory at a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remains {
    Nothing,
    /// Only what is not synced: ignored, skipped, unreadable, and directories of such.
    Unsynced,
    /// At least one file or symlink, or an empty directory.
    Live,
}

/// Delete verdicts of files at one replica, what is paired as a move left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deletes {
    /// Asserted and not carried out.
    pub outstanding: u64,
    /// Came in the last settle.
    pub came: u64,
    /// Went in the last settle: carried out, or withdrawn.
    pub went: u64,
}

impl Engine {
    /// What the rules look at for a path.
    pub fn views(&mut self, path: PathId) -> Views {
        let rows = self.graph.traces.state.at(path);
        self.judge.views(&rows).clone()
    }

    /// What a replica holds at a path, as observed so far.
    pub fn held(&mut self, path: PathId, replica: Replica) -> Option<Value> {
        self.read();
        self.state.held(path, replica)
    }

    /// What a replica holds in a directory, by name, as observed so far.
    pub fn held_in(&mut self, dir: PathId, replica: Replica) -> Vec<(PathId, Name, Value)> {
        self.read();
        let children: Vec<PathId> = self.paths().children(dir).collect();
        let held = children.into_iter().filter_map(|child| {
            let value = self.state.held(child, replica)?;
            let name = Name::parse(self.paths.borrow().name(child)).ok()?;
            Some((child, name, value))
        });
        let mut held: Vec<_> = held.collect();
        held.sort_unstable_by(|(_, a, _), (_, b, _)| a.cmp(b));
        held
    }

    /// Whether a directory is agreed here with any leaf.
    pub fn agreed_is_dir(&mut self, path: PathId) -> bool {
        self.read();
        self.state.agreed_is_dir(path)
    }

    /// The replicas at which a directory is completely known. A directory nobody has and nothing was ever seen in
    /// counts as not known.
    pub fn listed(&mut self, dir: PathId) -> ReplicaSet {
        self.dir_facts(dir).listed
    }

    /// The verdicts on a path, one a leaf at most, as they are finally ruled, and what each waits for.
    pub fn verdicts(&mut self, path: PathId) -> Vec<(Verdict, Waits)> {
        let facts = self.facts_above(path);
        let wishes = self.wishes(path);
        let stand = wishes.iter().filter_map(|wish| self.stands(path, wish, &facts));
        stand.collect()
    }

    /// What is outstanding at and below a path, by leaf; leaves with nothing are left out.
    pub fn tallies(&mut self, dir: PathId) -> Vec<(Replica, Tally)> {
        let mut sums = self.tallies_below(dir);
        let facts = self.facts_above(dir);
        for wish in self.wishes(dir).iter().filter(|wish| wish.is_asserted(&facts)) {
            if let Some((verdict, _)) = self.stands(dir, wish, &facts) {
                add(&mut sums, verdict.leaf, &Tally::of(&verdict));
            }
        }
        sums.retain(|(_, tally)| *tally != Tally::NOTHING);
        sums.sort_unstable();
        sums
    }

    /// What is outstanding strictly below a path, by leaf.
    pub fn tallies_below(&mut self, dir: PathId) -> Vec<(Replica, Tally)> {
        let mut sums = Vec::new();
        for (evidence, tally) in self.graph.traces.evidence.at(dir) {
            if let Evidence::Below(leaf) = evidence {
                add(&mut sums, leaf, &tally);
            }
        }
        let leaves = self.state.replicas.iter();
        for (leaf, turned) in leaves.filter_map(|r| Some((r, self.turned.get(&(dir, r))?))) {
            add(&mut sums, leaf, turned);
        }
        sums
    }

    /// Visits the asserted verdicts at and below a path, directory by directory, until `visit` says false.
    ///
    /// The time it takes grows with what is outstanding in the whole sync, not with its files.
    pub fn outstanding(
        &mut self,
        within: PathId,
        visit: &mut dyn FnMut(PathId, &Verdict, Waits) -> bool,
    ) {
        let mut found = Vec::new();
        {
            let paths = self.paths.borrow();
            let above = paths.parent(within);
            let Traces { outcomes, wishes, .. } = &mut self.graph.traces;
            let outcomes = outcomes.reader();
            wishes.reader().each(|dir, wishes| {
                let inside = dir == within || paths.ancestors(dir).any(|d| d == within);
                if inside || Some(dir) == above {
                    let facts = dir_facts(outcomes, dir);
                    let asserted = wishes.iter().filter(|((path, wish), _)| {
                        (inside || *path == within) && wish.is_asserted(&facts)
                    });
                    found.extend(asserted.map(|((path, wish), _)| (*path, *wish, facts)));
                }
                true
            });
        }
        for (path, wish, facts) in found {
            if let Some((verdict, waits)) = self.stands(path, &wish, &facts)
                && !visit(path, &verdict, waits)
            {
                return;
            }
        }
    }

    /// Visits the conflicts and obstacles at and below a path, until `visit` says false. The time it takes grows with
    /// their number in the whole sync alone.
    pub fn stuck(&mut self, within: PathId, visit: &mut dyn FnMut(PathId, &Verdict) -> bool) {
        let stuck: Vec<PathId> = {
            let paths = self.paths.borrow();
            let inside =
                |path: &PathId| *path == within || paths.ancestors(*path).any(|dir| dir == within);
            self.stuck.keys().copied().filter(inside).collect()
        };
        for path in stuck {
            for (verdict, waits) in self.verdicts(path) {
                let stuck = matches!(waits, Waits::Resolve | Waits::Obstacle);
                if stuck && !visit(path, &verdict) {
                    return;
                }
            }
        }
    }

    /// Visits the special files, as observed, until `visit` says false.
    pub fn skipped(&self, visit: &mut dyn FnMut(Replica, PathId, Special) -> bool) {
        for ((replica, path), special) in &self.state.skipped {
            if !visit(*replica, *path, *special) {
                return;
            }
        }
    }

    /// A directory that a replica holds and that is not completely known there, though nothing above it hides it.
    #[must_use]
    pub fn unlisted(&self, replica: Replica) -> Option<PathId> {
        let paths = self.paths.borrow();
        let mut left = vec![PathId::ROOT];
        while let Some(dir) = left.pop() {
            if !self.state.is_told(dir, replica) {
                return Some(dir);
            }
            left.extend(paths.children(dir).filter(|c| self.state.kind(*c, replica) == Kind::Dir));
        }
        None
    }

    /// How many files and symlinks a replica holds, as observed.
    #[must_use]
    pub fn files(&self, replica: Replica) -> u64 {
        self.state.files[usize::from(replica.slot())]
    }

    /// How many files and symlinks a replica holds at and below a path, as observed: walks what is known below.
    #[must_use]
    pub fn files_within(&self, within: PathId, replica: Replica) -> u64 {
        if within == PathId::ROOT {
            return self.files(replica);
        }
        let mut count = 0;
        self.state.walk(within, &mut |path| {
            count += u64::from(self.state.kind(path, replica) == Kind::File);
        });
        count
    }

    /// What a replica holds below a directory that could be synced, as observed, what is deeper first.
    #[must_use]
    pub fn carried_below(&self, dir: PathId, replica: Replica) -> Vec<PathId> {
        let mut below = Vec::new();
        self.state.walk(dir, &mut |path| {
            let carried = matches!(self.state.kind(path, replica), Kind::File | Kind::Dir);
            if path != dir && carried {
                below.push(path);
            }
        });
        below.reverse();
        below
    }

    /// What a replica holds below a directory, as observed: walks what is known below.
    #[must_use]
    pub fn remains(&self, dir: PathId, replica: Replica) -> Remains {
        let mut remains = Remains::Nothing;
        self.state.walk(dir, &mut |path| {
            if path == dir {
                return;
            }
            let here = match self.state.kind(path, replica) {
                Kind::Absent => Remains::Nothing,
                Kind::Opaque => Remains::Unsynced,
                Kind::File => Remains::Live,
                Kind::Dir if self.state.holds_below(path, replica) => Remains::Nothing,
                Kind::Dir => Remains::Live,
            };
            remains = remains.max(here);
        });
        remains
    }

    /// The delete verdicts of files at a replica: what the brake counts.
    #[must_use]
    pub fn deletes(&self, at: Replica) -> Deletes {
        self.deletes[usize::from(at.slot())]
    }

    fn dir_facts(&mut self, dir: PathId) -> DirFacts {
        dir_facts(self.graph.traces.outcomes.reader(), dir)
    }

    /// What is known of the directory a path is in; nothing for the root.
    fn facts_above(&mut self, path: PathId) -> DirFacts {
        let parent = self.paths.borrow().parent(path);
        parent.map_or_else(DirFacts::default, |dir| self.dir_facts(dir))
    }

    fn wishes(&mut self, path: PathId) -> Vec<Wish> {
        let outcomes = self.graph.traces.outcomes.at(path).into_iter();
        let wishes = outcomes.filter_map(|(outcome, _)| match outcome {
            Outcome::Wish(wish) => Some(wish),
            Outcome::Dir(_) | Outcome::Own(_) => None,
        });
        wishes.collect()
    }

    /// What has become of a wish, and what it waits for; nothing for one that sleeps.
    pub(super) fn standing(&mut self, path: PathId, wish: &Wish) -> Option<(Verdict, Waits)> {
        let facts = self.facts_above(path);
        self.stands(path, wish, &facts)
    }

    fn stands(&mut self, path: PathId, wish: &Wish, facts: &DirFacts) -> Option<(Verdict, Waits)> {
        if !wish.is_asserted(facts) {
            let needed = [Replica::SOURCE, wish.verdict.leaf];
            let missing = needed.into_iter().filter(|r| !facts.listed.contains(*r));
            let missing = ReplicaSet::of(&missing.collect::<Vec<_>>());
            let sleeps = wish.shape == Shape::Remnant;
            return (!sleeps).then_some((wish.verdict, Waits::Listing(missing)));
        }
        let verdict = match self.fate(path, wish) {
            Fate::Sleeps => return None,
            Fate::WaitsBelow => return Some((wish.verdict, Waits::Below)),
            Fate::WaitsListing(at) => {
                return Some((wish.verdict, Waits::Listing(ReplicaSet::of(&[at]))));
            }
            Fate::Ruled(verdict) => verdict,
        };
        let waits = match verdict.act {
            Act::Put { to, .. } if !facts.dirs.contains(to) => Waits::Parent(to),
            Act::Delete { .. } => {
                let pair = place(wish).and_then(|at| self.moves.of(path, at));
                pair.map_or(Waits::Nothing, |pair| Waits::Move(pair.to))
            }
            Act::Put { .. } | Act::Agree | Act::Read(_) => Waits::Nothing,
            Act::Await => Waits::OtherLeaf,
            Act::Conflict(_) => Waits::Resolve,
            Act::Blocked(_) => Waits::Obstacle,
        };
        Some((verdict, waits))
    }

    fn fate(&mut self, path: PathId, wish: &Wish) -> Fate {
        let mut below = Below::default();
        if wish.shape != Shape::Plain {
            for (evidence, tally) in self.graph.traces.evidence.at(path) {
                if let Evidence::Below(leaf) = evidence {
                    below.add(leaf, tally, wish.verdict.leaf);
                }
            }
        }
        fate(wish, &below)
    }
}

fn add(sums: &mut Vec<(Replica, Tally)>, leaf: Replica, tally: &Tally) {
    match sums.iter_mut().find(|(known, _)| *known == leaf) {
        Some((_, sum)) => *sum = sum.more(tally),
        None => sums.push((leaf, *tally)),
    }
}

fn dir_facts(outcomes: &mut Reader<Outcome, isize>, dir: PathId) -> DirFacts {
    let mut facts = DirFacts::default();
    outcomes.at(dir, |outcome, _| {
        if let Outcome::Dir(known) = outcome {
            facts = known;
        }
    });
    facts
}
