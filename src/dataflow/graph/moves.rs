//! Moves: what goes under one name and comes under another at the same replica is renamed there.
//!
//! Holds: verdicts stay per path; a pair only says that the put takes its bytes from the file that is to go, and that
//! the delete is no job of its own as long as it is paired. A path is in at most one pair per replica.

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};

use super::rows::{Shape, Wish};
use super::{ByPath, Rows, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::Act;

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
enum Way {
    Goes,
    Comes,
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
pub(super) fn paired(asserted: Rows<'_, (PathId, Wish)>) -> Arranged<'_, Trace<Half>> {
    asserted
        .flat_map(|(path, wish)| {
            let way = match wish.verdict.act {
                Act::Delete { .. } => Way::Goes,
                Act::Put { .. }
                | Act::Agree
                | Act::Read(_)
                | Act::Await
                | Act::Conflict(_)
                | Act::Blocked(_) => Way::Comes,
            };
            place(&wish).map(|at| ((wish.tag, at), (way, path)))
        })
        .arrange_by_key_named("Moving content")
        .reduce_abelian::<_, ValBuilder<(u64, Replica), (PathId, Half), u64, isize>, ValSpine<(u64, Replica), (PathId, Half), u64, isize>, _, _>(
            "Pair moves",
            |(_, at), ends, out| {
                // Sorted: what goes comes first, by path; several leaves may wish the same end.
                let split = ends.partition_point(|((way, _), _)| *way == Way::Goes);
                let (go, come) = ends.split_at(split);
                if go.is_empty() || come.is_empty() || ends.len() > ENDS_MAX {
                    return;
                }
                for (((_, from), _), ((_, to), _)) in go.iter().zip(come) {
                    let half = |end| Half { at: *at, end };
                    out.push(((*from, half(End::Leaves(*to))), 1));
                    out.push(((*to, half(End::Arrives(*from))), 1));
                }
                out.sort_unstable();
            },
            |rows, key, changes| {
                rows.clear();
                rows.extend(changes.drain(..).map(|(row, at, diff)| ((*key, row), at, diff)));
            },
        )
        .as_collection(|_, row| *row)
        .by_path("Moves")
}
