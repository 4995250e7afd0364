//! Directories that go or give way: they wait for what is below, and live if something below does.
//!
//! Holds: a directory is removed or replaced only when nothing is outstanding below it and what it holds at the place
//! is completely known; something below that flows to the other side makes the directory flow there too (R8).

use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};

use super::gates::Gated;
use super::rows::{Outcome, Output, Ready, Shape, Wish};
use super::{ByPath, Plan, Rows, SharedPaths, Trace};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::verdict::{Act, ConflictKind, Rule, Verdict};
use crate::dataflow::query::Tally;

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
        (Shape::Remnant, Act::Put { from, to }) => {
            let awake = if to.is_source() { below.leaf.up } else { below.leaf.down };
            return if awake > 0 { lives(from, to) } else { Fate::Sleeps };
        }
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
    } else if !wish.known {
        Fate::WaitsListing(place)
    } else if wish.shape == Shape::DeleteDir && !place.is_source() && below.leaf.own > 0 {
        // One-way: what only the leaf has keeps its directory, which is the leaf's own from now on.
        Fate::Ruled(Verdict { act: Act::Agree, rule: Rule::BecomesLeafOnly, ..verdict })
    } else {
        Fate::Ruled(verdict)
    }
}

/// What the arrangement holds of a directory; the difference is a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum Evidence {
    /// What is outstanding strictly below with this leaf.
    Below(Replica),
    /// An asserted wish about the directory itself (counted once), and where the directory it is in is there.
    Wish(Wish, ReplicaSet),
}

const ONE: Tally = Tally { pending: 1, ..Tally::NOTHING };

/// By directory: what is outstanding below, rolled up to every directory above, and the wishes about it.
pub(super) fn evidence<'s>(
    gated: Rows<'s, Gated>,
    outcomes: Arranged<'s, Trace<Outcome>>,
    plan: &Plan,
) -> Arranged<'s, Trace<Evidence, Tally>> {
    let paths = Rc::clone(&plan.paths);
    let wishes = gated.explode(move |row| {
        let (above, here) = match row {
            Gated::Asserted(path, wish) => {
                let tally = Tally::of_wish(&wish);
                (Some(rolled_up(&paths, path, wish.verdict.leaf, tally)), None)
            }
            Gated::Directory(path, wish, there) => {
                (None, Some(((path, Evidence::Wish(wish, there)), ONE)))
            }
            Gated::Reachable(..) => (None, None),
        };
        above.into_iter().flatten().chain(here)
    });
    let all = match plan.policy.mode {
        Mode::OneWay | Mode::OneWaySource => {
            let paths = Rc::clone(&plan.paths);
            let own = outcomes.flat_map_ref(|path, outcome| match outcome {
                Outcome::Own(leaf) => Some((*path, *leaf)),
                Outcome::Wish(_) | Outcome::Dir(_) => None,
            });
            wishes
                .concat(own.explode(move |(path, leaf)| rolled_up(&paths, path, leaf, Tally::OWN)))
        }
        Mode::TwoWay | Mode::TwoWaySource | Mode::Mirror => wishes,
    };
    all.by_path("Below directories")
}

fn rolled_up(
    paths: &SharedPaths,
    path: PathId,
    leaf: Replica,
    tally: Tally,
) -> impl Iterator<Item = ((PathId, Evidence), Tally)> + use<> {
    let above: Vec<PathId> = paths.borrow().ancestors(path).collect();
    let rows = above.into_iter().filter(move |_| tally != Tally::NOTHING);
    rows.map(move |dir| ((dir, Evidence::Below(leaf)), tally))
}

/// Rows for what became of the wishes about directories.
pub(super) fn ruled(evidence: Arranged<'_, Trace<Evidence, Tally>>) -> Rows<'_, Output> {
    evidence
        .reduce_abelian::<_, ValBuilder<PathId, Output, u64, isize>, ValSpine<PathId, Output, u64, isize>, _, _>(
            "Directories ruled",
            |path, evidence, out| {
                for (row, _) in evidence {
                    let Evidence::Wish(wish, there) = row else { continue };
                    let mut below = Below::default();
                    for (row, tally) in evidence {
                        if let Evidence::Below(leaf) = row {
                            below.add(*leaf, *tally, wish.verdict.leaf);
                        }
                    }
                    if let Fate::Ruled(verdict) = fate(wish, &below) {
                        outputs(*path, wish, &verdict, *there, |row| out.push((row, 1)));
                    }
                }
            },
            |rows, path, changes| {
                rows.clear();
                rows.extend(changes.drain(..).map(|(row, at, diff)| ((*path, row), at, diff)));
            },
        )
        .as_collection(|_, row| *row)
}

fn outputs(
    path: PathId,
    wish: &Wish,
    verdict: &Verdict,
    there: ReplicaSet,
    mut give: impl FnMut(Output),
) {
    let ready = match verdict.act {
        Act::Put { to, .. } => there.contains(to),
        Act::Delete { .. } | Act::Agree | Act::Read(_) => true,
        Act::Await | Act::Conflict(_) | Act::Blocked(_) => false,
    };
    if ready {
        give(Output::Ready(Ready::directory(path, *verdict)));
    }
    if let Act::Conflict(_) | Act::Blocked(_) = verdict.act {
        give(Output::Stuck(path, verdict.leaf));
    }
    if *verdict != wish.verdict || wish.shape == Shape::Remnant {
        give(Output::Turned { path, wish: *wish, verdict: *verdict });
    }
}
