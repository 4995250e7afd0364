//! The second gate: nothing is put into a directory that is not there yet.

use std::rc::Rc;

use super::directories::Ruled;
use super::listed::Gated;
use super::rows::{DirFacts, Wish};
use super::{ByPath, Rows, SharedPaths, Trace};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::{Act, Verdict};
use differential_dataflow::operators::arrange::Arranged;
use serde::{Deserialize, Serialize};

/// A put whose place is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Reachable {
    Plain(PathId, Wish),
    /// One that the directory stage ruled.
    Ruled(PathId, Verdict),
}

/// Puts whose place is there: the plain ones found by the first gate, and the ruled ones.
pub(super) fn reachable<'s>(
    gated: Rows<'s, Gated>,
    ruled: Rows<'s, (PathId, Ruled)>,
    dirs: Arranged<'s, Trace<DirFacts>>,
    paths: &SharedPaths,
) -> Rows<'s, Reachable> {
    let plain = gated.flat_map(|row| match row {
        Gated::Reachable(path, wish) => Some(Reachable::Plain(path, wish)),
        Gated::Asserted(..) => None,
    });
    let paths = Rc::clone(paths);
    let ruled = ruled
        .flat_map(move |(path, Ruled { verdict, .. })| match verdict.act {
            Act::Put { .. } => paths.borrow().parent(path).map(|parent| (parent, (path, verdict))),
            Act::Delete { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => None,
        })
        .by_path("Ruled puts by directory")
        .join_core(dirs, |_, (path, verdict), facts| match verdict.act {
            Act::Put { to, .. } if facts.dirs.contains(to) => {
                Some(Reachable::Ruled(*path, *verdict))
            }
            Act::Put { .. }
            | Act::Delete { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => None,
        });
    plain.concat(ruled)
}
