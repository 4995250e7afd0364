//! The gates: a verdict counts only where absences are asserted, and nothing is put into a directory that is not there.
//!
//! Holds: a verdict is *asserted* if the directory it is in is completely known on the source and the leaf. Without this
//! every file would look deleted until both sides were scanned (INV-3).

use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use serde::{Deserialize, Serialize};

use super::rows::{DirFacts, Outcome, Output, Ready, Shape, Wish};
use super::{ByPath, Rows, SharedPaths, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::ReplicaSet;
use crate::dataflow::model::verdict::Act;

/// A wish that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Gated {
    /// The absences it rests on are asserted.
    Asserted(PathId, Wish),
    /// And it is a plain put into a directory that is there.
    Reachable(PathId, Wish),
    /// And it is about a directory; the one it is in is there at these replicas.
    Directory(PathId, Wish, ReplicaSet),
}

/// Wishes by the directory they are in.
pub(super) fn by_parent<'s>(
    outcomes: Arranged<'s, Trace<Outcome>>,
    paths: &SharedPaths,
) -> Arranged<'s, Trace<(PathId, Wish)>> {
    let paths = Rc::clone(paths);
    outcomes
        .flat_map_ref(move |path, outcome| match outcome {
            Outcome::Wish(wish) => {
                let parent = paths.borrow().parent(*path);
                parent.map(|parent| (parent, (*path, *wish)))
            }
            Outcome::Dir(_) | Outcome::Own(_) => None,
        })
        .by_path("Wishes by directory")
}

/// Directory facts by directory.
pub(super) fn directories(outcomes: Arranged<'_, Trace<Outcome>>) -> Arranged<'_, Trace<DirFacts>> {
    outcomes
        .flat_map_ref(|path, outcome| match outcome {
            Outcome::Dir(facts) => Some((*path, *facts)),
            Outcome::Wish(_) | Outcome::Own(_) => None,
        })
        .by_path("Directories")
}

/// Rows for what passed: see [`Gated`].
pub(super) fn gated<'s>(
    wishes: Arranged<'s, Trace<(PathId, Wish)>>,
    dirs: Arranged<'s, Trace<DirFacts>>,
) -> Rows<'s, Gated> {
    wishes.join_core(dirs, |_, (path, wish), facts| {
        let (path, wish) = (*path, *wish);
        let asserted = wish.is_asserted(facts).then_some(Gated::Asserted(path, wish));
        let further = asserted.and_then(|_| match (wish.shape, wish.verdict.act) {
            (Shape::Plain, Act::Put { to, .. }) => {
                facts.dirs.contains(to).then_some(Gated::Reachable(path, wish))
            }
            (Shape::Plain, _) => None,
            (Shape::DeleteDir | Shape::OverDir | Shape::Remnant, _) => {
                Some(Gated::Directory(path, wish, wish.ends(facts.dirs)))
            }
        });
        asserted.into_iter().chain(further)
    })
}

/// Rows of the plain wishes: what is ready, moves aside, and what is stuck.
pub(super) fn plain(gated: Rows<'_, Gated>) -> Rows<'_, Output> {
    gated.flat_map(|row| match row {
        Gated::Reachable(path, wish) => Some(Output::Ready(Ready::plain(path, wish.verdict))),
        Gated::Asserted(path, wish) if wish.shape == Shape::Plain => match wish.verdict.act {
            Act::Delete { .. } | Act::Agree | Act::Read(_) => {
                Some(Output::Ready(Ready::plain(path, wish.verdict)))
            }
            Act::Conflict(_) | Act::Blocked(_) => Some(Output::Stuck(path, wish.verdict.leaf)),
            Act::Put { .. } | Act::Await => None,
        },
        Gated::Asserted(..) | Gated::Directory(..) => None,
    })
}
