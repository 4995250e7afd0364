//! The first gate: a verdict counts only where the directory it is in is completely known, on the source and the leaf.
//!
//! Holds: without this every file would look deleted until both sides were scanned (INV-3).

use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;

use super::rows::{DirFacts, Shape, Wish};
use super::{ByPath, Rows, SharedPaths, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::Act;
use serde::{Deserialize, Serialize};

/// A wish that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Gated {
    /// The absences it rests on are asserted.
    Asserted(PathId, Wish),
    /// And it is a plain put into a directory that is there.
    Reachable(PathId, Wish),
}

/// Wishes by the directory they are in.
pub(super) fn by_parent<'s>(
    wishes: Rows<'s, (PathId, Wish)>,
    paths: &SharedPaths,
) -> Arranged<'s, Trace<(PathId, Wish)>> {
    let paths = Rc::clone(paths);
    wishes
        .flat_map(move |(path, wish)| {
            let parent = paths.borrow().parent(path);
            parent.map(|parent| (parent, (path, wish)))
        })
        .by_path("Wishes by directory")
}

/// Rows for what passed: see [`Gated`].
pub(super) fn gated<'s>(
    wishes: Arranged<'s, Trace<(PathId, Wish)>>,
    dirs: Arranged<'s, Trace<DirFacts>>,
) -> Rows<'s, Gated> {
    wishes.join_core(dirs, |_, (path, wish), facts| {
        let asserted = wish.is_asserted(facts);
        let there = match wish.verdict.act {
            Act::Put { to, .. } => facts.dirs.contains(to),
            Act::Delete { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => false,
        };
        let reachable = asserted && there && wish.shape == Shape::Plain;
        let asserted = asserted.then_some(Gated::Asserted(*path, *wish));
        let reachable = reachable.then_some(Gated::Reachable(*path, *wish));
        asserted.into_iter().chain(reachable)
    })
}

/// Rows `(path, wish)`: asserted ones.
pub(super) fn asserted(gated: Rows<'_, Gated>) -> Rows<'_, (PathId, Wish)> {
    gated.flat_map(|row| match row {
        Gated::Asserted(path, wish) => Some((path, wish)),
        Gated::Reachable(..) => None,
    })
}
