//! The last stage: what is ready to be carried out.
//!
//! Holds: a ready row waits for nothing in the graph; pauses, holds and retries are the schedule's.

use differential_dataflow::operators::arrange::Arranged;

use super::directories::Ruled;
use super::moves::{End, Half, place};
use super::parents::Reachable;
use super::rows::{Ready, Shape, Wish};
use super::{ByPath, Rows, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::{Act, Verdict};

/// Rows [`Ready`].
pub(super) fn ready<'s>(
    asserted: Rows<'s, (PathId, Wish)>,
    reachable: Rows<'s, Reachable>,
    ruled: Rows<'s, (PathId, Ruled)>,
    moves: Arranged<'s, Trace<Half>>,
) -> Rows<'s, Ready> {
    let puts = reachable.clone().map(|row| match row {
        Reachable::Plain(path, Wish { verdict, .. }) | Reachable::Ruled(path, verdict) => {
            plain(path, verdict)
        }
    });
    let others = asserted.clone().flat_map(|(path, wish)| {
        let now = wish.shape == Shape::Plain && needs_no_place(&wish.verdict);
        now.then(|| single(path, wish.verdict))
    });
    let directories = ruled.flat_map(|(path, Ruled { verdict, .. })| {
        needs_no_place(&verdict).then(|| plain(path, verdict))
    });
    let deletes = asserted.filter(|(_, wish)| needs_no_place(&wish.verdict));
    let movable = reachable
        .flat_map(|row| match row {
            Reachable::Plain(path, wish) => Some((path, wish)),
            Reachable::Ruled(..) => None,
        })
        .concat(deletes)
        .filter(|(_, wish)| place(wish).is_some());
    puts.concat(others).concat(directories).concat(as_moves(movable, moves))
}

/// What pairing changes in the ready rows: puts learn where their bytes are, deletes are no jobs.
fn as_moves<'s>(
    movable: Rows<'s, (PathId, Wish)>,
    moves: Arranged<'s, Trace<Half>>,
) -> Rows<'s, Ready> {
    movable
        .by_path("Movable")
        .join_core(moves, |path, wish, half| {
            let row = single(*path, wish.verdict);
            let here = place(wish) == Some(half.at);
            let (without, with) = match (wish.verdict.act, half.end) {
                (Act::Put { .. }, End::Arrives(from)) if here => {
                    let moved_from = Some(from);
                    (Some((row, -1)), Some((Ready { moved_from, ..row }, 1)))
                }
                (Act::Delete { .. }, End::Leaves(_)) if here => (Some((row, -1)), None),
                _ => (None, None),
            };
            without.into_iter().chain(with)
        })
        .explode(|(row, diff): (Ready, isize)| Some((row, diff)))
}

/// Jobs that need no directory to be there first.
fn needs_no_place(verdict: &Verdict) -> bool {
    match verdict.act {
        Act::Delete { .. } | Act::Agree | Act::Read(_) => true,
        Act::Put { .. } | Act::Await | Act::Conflict(_) | Act::Blocked(_) => false,
    }
}

fn plain(path: PathId, verdict: Verdict) -> Ready {
    Ready { path, verdict, moved_from: None, loses_file: false }
}

/// The row of something else than a directory.
fn single(path: PathId, verdict: Verdict) -> Ready {
    Ready { loses_file: matches!(verdict.act, Act::Delete { .. }), ..plain(path, verdict) }
}
