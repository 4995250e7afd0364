//! Questions to the engine, answered from the arrangements of the settled epoch.
//!
//! Holds: no second computation: a gate is explained by the rows it joined. Facts observed since the last settle do
//! not show, except where an answer says so.

use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::engine::state::Kind;
use super::graph::directories::{Below, Fate, fate};
use super::graph::moves::{End, place};
use super::graph::rows::{DirFacts, Outcome, Shape, Wish};
use super::model::paths::PathId;
use super::model::replica::{Replica, ReplicaSet};
use super::model::value::Special;
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
        self.judge.decide(&rows).0.clone()
    }

    /// The replicas at which a directory is completely known. A directory nobody has and nothing was ever seen in
    /// counts as not known.
    pub fn listed(&mut self, dir: PathId) -> ReplicaSet {
        self.dir_facts(dir).listed
    }

    /// The verdicts on a path, one a leaf at most, as they are finally ruled, and what each waits for.
    pub fn verdicts(&mut self, path: PathId) -> Vec<(Verdict, Waits)> {
        let outcomes = self.graph.traces.outcomes.at(path);
        let wishes = outcomes.iter().filter_map(|(outcome, _)| match outcome {
            Outcome::Wish(wish) => Some(*wish),
            Outcome::Dir(_) | Outcome::Own(_) => None,
        });
        let wishes: Vec<Wish> = wishes.collect();
        wishes.iter().filter_map(|wish| self.standing(path, wish)).collect()
    }

    /// What is outstanding at and below a path, by leaf; leaves with nothing are left out.
    pub fn tallies(&mut self, dir: PathId) -> Vec<(Replica, Tally)> {
        let mut sums: Vec<(Replica, Tally)> = Vec::new();
        let mut add =
            |leaf: Replica, tally: Tally| match sums.iter_mut().find(|(known, _)| *known == leaf) {
                Some((_, sum)) => *sum = sum.more(&tally),
                None => sums.push((leaf, tally)),
            };
        for (leaf, tally) in self.graph.traces.tallies.at(dir) {
            add(leaf, tally);
        }
        for (leaf, tally) in self.graph.traces.corrections.at(dir) {
            add(leaf, tally);
        }
        for (verdict, waits) in self.verdicts(dir) {
            if !matches!(waits, Waits::Listing(_)) || self.is_asserted(dir, verdict.leaf) {
                add(verdict.leaf, Tally::of(&verdict));
            }
        }
        sums.retain(|(_, tally)| *tally != Tally::NOTHING);
        sums.sort_unstable();
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
        let mut dirs = Vec::new();
        {
            let paths = self.paths.borrow();
            let mut outcomes = self.graph.traces.outcomes.reader();
            let above = paths.parent(within);
            self.graph.traces.wishes.reader().each(|dir, wishes| {
                let inside = dir == within || paths.ancestors(dir).any(|d| d == within);
                if inside || Some(dir) == above {
                    let mut facts = DirFacts::default();
                    outcomes.at(dir, |outcome, _| {
                        if let Outcome::Dir(known) = outcome {
                            facts = known;
                        }
                    });
                    let asserted = wishes.iter().filter(|((path, wish), _)| {
                        (inside || *path == within) && wish.is_asserted(&facts)
                    });
                    dirs.extend(asserted.map(|((path, wish), _)| (*path, *wish)));
                }
                true
            });
        }
        for (path, wish) in dirs {
            if let Some((verdict, waits)) = self.standing(path, &wish)
                && !visit(path, &verdict, waits)
            {
                return;
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

    /// What is known of a directory.
    pub(super) fn dir_facts(&mut self, dir: PathId) -> DirFacts {
        let mut facts = DirFacts::default();
        self.graph.traces.outcomes.reader().at(dir, |outcome, _| {
            if let Outcome::Dir(known) = outcome {
                facts = known;
            }
        });
        facts
    }

    fn is_asserted(&mut self, path: PathId, leaf: Replica) -> bool {
        let parent = self.paths.borrow().parent(path);
        parent.is_some_and(|dir| {
            let listed = self.dir_facts(dir).listed;
            listed.contains(Replica::SOURCE) && listed.contains(leaf)
        })
    }

    /// What has become of a wish, and what it waits for; nothing for one that sleeps.
    pub(super) fn standing(&mut self, path: PathId, wish: &Wish) -> Option<(Verdict, Waits)> {
        let parent = self.paths.borrow().parent(path)?;
        let facts = self.dir_facts(parent);
        if !wish.is_asserted(&facts) {
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
            Act::Delete { .. } => self.pair(path, wish).map_or(Waits::Nothing, |end| match end {
                End::Leaves(to) => Waits::Move(to),
                End::Arrives(_) => Waits::Nothing,
            }),
            Act::Put { .. } | Act::Agree | Act::Read(_) => Waits::Nothing,
            Act::Await => Waits::OtherLeaf,
            Act::Conflict(_) => Waits::Resolve,
            Act::Blocked(_) => Waits::Obstacle,
        };
        Some((verdict, waits))
    }

    /// The other end of the move that a wish is part of.
    pub(super) fn pair(&mut self, path: PathId, wish: &Wish) -> Option<End> {
        let at = place(wish)?;
        let halves = self.graph.traces.moves.at(path);
        let half = halves.into_iter().find(|(half, _)| half.at == at);
        half.map(|(half, _)| half.end)
    }

    fn fate(&mut self, path: PathId, wish: &Wish) -> Fate {
        let mut below = Below::default();
        if wish.shape != Shape::Plain {
            below.listed = self.dir_facts(path).listed;
            for (leaf, tally) in self.graph.traces.tallies.at(path) {
                below.add(leaf, tally, wish.verdict.leaf);
            }
        }
        fate(wish, &below)
    }
}
