//! Moves: what goes under one name and comes under another at the same replica is renamed there.
//!
//! Holds: verdicts stay per path; a pair only says that the put takes its bytes from the file that is to go, and that
//! the delete is no job of its own as long as it is paired. A path is in at most one pair per replica.

use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};

use super::directories::Ruled;
use super::rows::{Shape, Wish};
use super::{ByPath, Rows, SharedPaths, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::Act;

type PairBuilder = ValBuilder<(u64, Replica), Pair, u64, isize>;
type PairSpine = ValSpine<(u64, Replica), Pair, u64, isize>;

/// One end of a pair, at its path and `at` this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) struct Half {
    pub(in crate::dataflow) at: Replica,
    pub(in crate::dataflow) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum End {
    /// What is to go here is to be renamed there.
    Leaves(PathId),
    /// What is to come here is to be renamed from there.
    Arrives(PathId),
}

/// A group with more ends than this is not paired: the pairing is redone whenever one of them changes.
const ENDS_MAX: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum MovingEnd {
    Goes(PathId),
    /// With the leaf whose wish it is.
    Comes(PathId, Replica),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Pair {
    at: Replica,
    from: PathId,
    to: PathId,
    leaf: Replica,
}

/// The replica at which a wish that could be part of a move changes its path.
pub(in crate::dataflow) fn place(wish: &Wish) -> Option<Replica> {
    if wish.tag == 0 || wish.shape != Shape::Plain {
        return None;
    }
    match wish.verdict.act {
        Act::Delete { at } => Some(at),
        Act::Put { to, .. } => Some(to),
        Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => None,
    }
}

/// Rows `(path, half)`: of paths with the same content going and coming at a replica, the k-th with the k-th.
///
/// What is to come below a conflict does not come soon, so what goes does not wait for it.
pub(super) fn paired<'s>(
    asserted: Rows<'s, (PathId, Wish)>,
    ruled: Rows<'s, (PathId, Ruled)>,
    paths: &SharedPaths,
) -> Arranged<'s, Trace<Half>> {
    let stuck = asserted
        .clone()
        .map(|(path, wish)| (path, wish.verdict))
        .concat(ruled.map(|(path, ruled)| (path, ruled.verdict)))
        .filter(|(_, verdict)| matches!(verdict.act, Act::Conflict(_) | Act::Blocked(_)))
        .map(|(path, verdict)| (path, verdict.leaf))
        .by_path("Stuck");
    let pairs = pairs(asserted);
    let paths = Rc::clone(paths);
    let doomed = pairs
        .clone()
        .flat_map(move |pair| {
            let paths = paths.borrow();
            let above: Vec<PathId> = paths.ancestors(pair.to).collect();
            above.into_iter().map(move |dir| (dir, pair))
        })
        .by_path("Moves by directory")
        .join_core(stuck, |_, pair, leaf| (pair.leaf == *leaf).then_some(*pair))
        .distinct();
    pairs
        .concat(doomed.negate())
        .flat_map(|Pair { at, from, to, .. }| {
            let half = |end| Half { at, end };
            [
                (from, half(End::Leaves(to))),
                (to, half(End::Arrives(from))),
            ]
        })
        .by_path("Moves")
}

fn pairs(asserted: Rows<'_, (PathId, Wish)>) -> Rows<'_, Pair> {
    asserted
        .flat_map(|(path, wish)| {
            let end = match wish.verdict.act {
                Act::Delete { .. } => MovingEnd::Goes(path),
                Act::Put { .. }
                | Act::Agree
                | Act::Read(_)
                | Act::Await
                | Act::Conflict(_)
                | Act::Blocked(_) => MovingEnd::Comes(path, wish.verdict.leaf),
            };
            place(&wish).map(|at| ((wish.tag, at), end))
        })
        .arrange_by_key_named("Moving content")
        .reduce_abelian::<_, PairBuilder, PairSpine, _, _>(
            "Pair moves",
            |(_, at), ends, out| {
                if ends.len() > ENDS_MAX {
                    return;
                }
                // Sorted by path on both sides; several leaves may wish that the same path goes.
                let go = ends.iter().filter_map(|(end, _)| match end {
                    MovingEnd::Goes(from) => Some(*from),
                    MovingEnd::Comes(..) => None,
                });
                let come = ends.iter().filter_map(|(end, _)| match end {
                    MovingEnd::Goes(_) => None,
                    MovingEnd::Comes(to, leaf) => Some((*to, *leaf)),
                });
                let at = *at;
                let pairs = go.zip(come);
                out.extend(pairs.map(|(from, (to, leaf))| (Pair { at, from, to, leaf }, 1)));
            },
            |rows, key, changes| {
                rows.clear();
                rows.extend(
                    changes
                        .drain(..)
                        .map(|(row, at, diff)| ((*key, row), at, diff)),
                );
            },
        )
        .as_collection(|_, pair| *pair)
}
