//! Directories that go or give way: they wait for what is below, and live if something below does.
//!
//! Holds: a directory is removed or replaced only when nothing is outstanding below it and what it holds at the place
//! is completely known; something below that flows to the other side makes the directory flow there too (R8).

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};

use super::rows::{DirFacts, Shape, Wish};
use super::{ByPath, Rows, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::verdict::{Act, ConflictKind, Rule, Verdict};
use crate::dataflow::query::Tally;

/// A wish about a directory and the verdict that became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) struct Ruled {
    pub(in crate::dataflow) wish: Wish,
    pub(in crate::dataflow) verdict: Verdict,
}

/// What becomes of a wish about a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataflow) enum Fate {
    /// This is to be done; it can differ from the wish.
    Ruled(Verdict),
    /// Something below is not finished.
    WaitsBelow,
    /// What the directory holds at this replica is not completely known.
    WaitsListing(Replica),
    /// Nothing calls for it.
    Sleeps,
}

/// What is known below a directory.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::dataflow) struct Below {
    /// Where the directory itself is completely known.
    pub(in crate::dataflow) listed: ReplicaSet,
    /// What is outstanding with the leaf of the wish.
    pub(in crate::dataflow) leaf: Tally,
    /// Whether anything is outstanding with any leaf.
    pub(in crate::dataflow) busy: bool,
}

impl Below {
    pub(in crate::dataflow) fn add(&mut self, leaf: Replica, tally: Tally, of: Replica) {
        self.busy |= tally.is_outstanding();
        if leaf == of {
            self.leaf = tally;
        }
    }
}

/// The rule of this stage.
pub(in crate::dataflow) fn fate(wish: &Wish, below: &Below) -> Fate {
    let verdict = wish.verdict;
    let leaf = verdict.leaf;
    let lives = |from, to| {
        Fate::Ruled(Verdict {
            act: Act::Put { from, to },
            rule: Rule::ChildLives,
            bytes: 0,
            ..verdict
        })
    };
    let place = match (wish.shape, verdict.act) {
        (Shape::Remnant, _) if below.leaf.up > 0 => return lives(leaf, Replica::SOURCE),
        (Shape::Remnant, _) => return Fate::Sleeps,
        (Shape::DeleteDir, Act::Delete { at }) => {
            if !at.is_source() && below.leaf.up > 0 {
                return lives(leaf, Replica::SOURCE);
            }
            if at.is_source() && below.leaf.down > 0 {
                return lives(Replica::SOURCE, leaf);
            }
            at
        }
        (Shape::OverDir, Act::Put { to, .. }) => {
            let back = if to.is_source() { below.leaf.down } else { below.leaf.up };
            if back > 0 || (!to.is_source() && below.leaf.own > 0) {
                return Fate::Ruled(Verdict {
                    act: Act::Conflict(ConflictKind::TypeBelow),
                    rule: Rule::DirectoryInTheWay,
                    bytes: 0,
                    ..verdict
                });
            }
            to
        }
        (Shape::Plain | Shape::DeleteDir | Shape::OverDir, _) => return Fate::Ruled(verdict),
    };
    // All leaves reach into the source's directory, one leaf alone into its own.
    let outstanding = if place.is_source() { below.busy } else { below.leaf.is_outstanding() };
    if outstanding {
        Fate::WaitsBelow
    } else if !below.listed.contains(place) {
        Fate::WaitsListing(place)
    } else if wish.shape == Shape::DeleteDir && !place.is_source() && below.leaf.own > 0 {
        // One-way: what only the leaf has keeps its directory, which is the leaf's own from now on.
        Fate::Ruled(Verdict { act: Act::Agree, rule: Rule::BecomesLeafOnly, ..verdict })
    } else {
        Fate::Ruled(verdict)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Witness {
    Wish,
    Listed(ReplicaSet),
    Below(Replica),
}

const ONE: Tally = Tally { pending: 1, ..Tally::NOTHING };

/// Rows `(directory, ruled)` for asserted wishes about directories that have become something.
pub(super) fn ruled<'s>(
    asserted: Rows<'s, (PathId, Wish)>,
    dirs: Arranged<'s, Trace<DirFacts>>,
    tallies: Arranged<'s, Trace<Replica, Tally>>,
) -> Rows<'s, (PathId, Ruled)> {
    let wishes =
        asserted.filter(|(_, wish)| wish.shape != Shape::Plain).by_path("Directory wishes");
    let here = wishes.clone().as_collection(|path, wish| (*path, (*wish, Witness::Wish)));
    let listed = wishes
        .clone()
        .join_core(dirs, |path, wish, facts| Some((*path, (*wish, Witness::Listed(facts.listed)))));
    let below =
        tallies.join_core(wishes, |path, leaf, wish| Some((*path, (*wish, Witness::Below(*leaf)))));
    here.concat(listed)
        .explode(|row| Some((row, ONE)))
        .concat(below)
        .by_path("Directory evidence")
        .reduce_abelian::<_, ValBuilder<PathId, Ruled, u64, isize>, ValSpine<PathId, Ruled, u64, isize>, _, _>(
            "Directories ruled",
            |_, evidence, out| {
                for chunk in evidence.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
                    let wish = chunk[0].0.0;
                    let mut wished = false;
                    let mut below = Below::default();
                    for ((_, witness), tally) in chunk {
                        match witness {
                            Witness::Wish => wished = true,
                            Witness::Listed(replicas) => below.listed = *replicas,
                            Witness::Below(leaf) => below.add(*leaf, *tally, wish.verdict.leaf),
                        }
                    }
                    if let (true, Fate::Ruled(verdict)) = (wished, fate(&wish, &below)) {
                        out.push((Ruled { wish, verdict }, 1));
                    }
                }
            },
            |rows, path, changes| {
                rows.clear();
                rows.extend(changes.drain(..).map(|(row, at, diff)| ((*path, row), at, diff)));
            },
        )
        .as_collection(|path, ruled| (*path, *ruled))
}

/// Rows `(path, leaf, tally)`: what the rulings change in the tallies of the wishes.
pub(super) fn corrections(ruled: Rows<'_, (PathId, Ruled)>) -> Rows<'_, (PathId, Replica, Tally)> {
    ruled.flat_map(|(path, Ruled { wish, verdict })| {
        let change = Tally::of(&verdict).less(&Tally::of_wish(&wish));
        (change != Tally::NOTHING).then_some((path, verdict.leaf, change))
    })
}
