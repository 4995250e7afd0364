//! Moves: what goes under one name and comes under another at the same replica is renamed there.
//!
//! Holds: verdicts stay per path; a pair only says that the put takes its bytes from the file that is to go, and that
//! the delete is no job of its own as long as it is paired. A path is in at most one pair per replica. What comes and
//! what goes are the same leaf's wish: another one may have the old name still. The engine lets a pair count unless its
//! new name is below something stuck: then what goes does not wait for it.

use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};
use serde::{Deserialize, Serialize};

use super::gates::Gated;
use super::rows::{Output, Pair, Ready, Shape, Wish};
use super::{Rows, SharedPaths};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::{Act, Verdict};

/// A content at a replica.
type Content = (u64, Replica);

/// A group with more ends than this is not paired: the pairing is redone whenever one of them changes.
const ENDS_MAX: usize = 8192;

/// One end of a move; the order makes the slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum End {
    Goes(PathId, Verdict),
    Comes(PathId, Verdict),
    /// The directory it comes into is there.
    Reachable(PathId, Verdict),
}

impl End {
    fn path(&self) -> PathId {
        match self {
            Self::Goes(path, _) | Self::Comes(path, _) | Self::Reachable(path, _) => *path,
        }
    }

    fn leaf(&self) -> Replica {
        match self {
            Self::Goes(_, verdict) | Self::Comes(_, verdict) | Self::Reachable(_, verdict) => {
                verdict.leaf
            }
        }
    }
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

/// Rows of the moves: of paths with the same content going and coming at a replica by a leaf's wish, the k-th with the
/// k-th.
///
/// What is in a git repository, or one of a group of files, is not paired: there it matters in which order things come and
/// go. What comes into a directory of such a name is not either: that may wait for a directory to be emptied, of which what
/// goes may be the rest.
pub(super) fn paired<'s>(gated: Rows<'s, Gated>, paths: &SharedPaths) -> Rows<'s, Output> {
    let paths = Rc::clone(paths);
    gated
        .flat_map(move |row| {
            let (path, wish, there) = match row {
                Gated::Asserted(path, wish) => (path, wish, false),
                Gated::Reachable(path, wish) => (path, wish, true),
                Gated::Directory(..) => return None,
            };
            let at = place(&wish)?;
            let (arena, comes) = (paths.borrow(), matches!(wish.verdict.act, Act::Put { .. }));
            if arena.is_bound(path) || (comes && arena.is_below_group(path)) {
                return None;
            }
            let end = match (wish.verdict.act, there) {
                (Act::Delete { .. }, _) => End::Goes(path, wish.verdict),
                (_, false) => End::Comes(path, wish.verdict),
                (_, true) => End::Reachable(path, wish.verdict),
            };
            Some(((wish.tag, at), end))
        })
        .arrange_by_key_named("Moving content")
        .reduce_abelian::<_, ValBuilder<Content, Output, u64, isize>, ValSpine<Content, Output, u64, isize>, _, _>(
            "Pair moves",
            |(_, at), ends, out| {
                if ends.len() <= ENDS_MAX {
                    pair(*at, ends, |row| out.push((row, 1)));
                }
            },
            |rows, content, changes| {
                rows.clear();
                rows.extend(changes.drain(..).map(|(row, time, diff)| ((*content, row), time, diff)));
            },
        )
        .as_collection(|_, row| *row)
}

/// `ends` are sorted: what goes, what comes, what is reachable of it, each by path.
fn pair(at: Replica, ends: &[(&End, isize)], mut give: impl FnMut(Output)) {
    let goes = ends.partition_point(|(end, _)| matches!(end, End::Goes(..)));
    let (goes, rest) = ends.split_at(goes);
    let comes = rest.partition_point(|(end, _)| matches!(end, End::Comes(..)));
    let (comes, reachable) = rest.split_at(comes);
    let mut wished = Wished::of(goes);
    let mut reachable = reachable.iter().map(|(end, _)| end.path()).peekable();
    for (end, _) in comes {
        let End::Comes(to, verdict) = **end else {
            continue;
        };
        let Some(goes) = wished.next(verdict.leaf) else {
            continue;
        };
        let from = goes[0].0.path();
        let pair = Pair { at, from, to, leaf: verdict.leaf };
        for (end, _) in goes {
            if let End::Goes(path, verdict) = end {
                give(Output::Withheld(pair, Ready::plain(*path, *verdict)));
            }
        }
        while reachable.next_if(|path| *path < to).is_some() {}
        if reachable.peek() == Some(&to) {
            let copies = Ready::plain(to, verdict);
            give(Output::Withheld(pair, copies));
            give(Output::Moved(pair, Ready { moved_from: Some(from), ..copies }));
        }
    }
}

/// What goes, by path, and who wishes so: several leaves may wish it of the same path.
struct Wished<'a> {
    /// None where it is paired.
    paths: Vec<Option<&'a [(&'a End, isize)]>>,
    /// Where each leaf's are, and how many of these were passed.
    leaves: BTreeMap<Replica, (Vec<usize>, usize)>,
}

impl<'a> Wished<'a> {
    fn of(goes: &'a [(&'a End, isize)]) -> Self {
        let chunks = goes.chunk_by(|(a, _), (b, _)| a.path() == b.path());
        let (mut paths, mut leaves) = (Vec::new(), BTreeMap::<_, (Vec<usize>, usize)>::new());
        for chunk in chunks {
            for (end, _) in chunk {
                leaves.entry(end.leaf()).or_default().0.push(paths.len());
            }
            paths.push(Some(chunk));
        }
        Self { paths, leaves }
    }

    /// The first path that this leaf wishes gone and that is not paired.
    fn next(&mut self, leaf: Replica) -> Option<&'a [(&'a End, isize)]> {
        let (all, passed) = self.leaves.get_mut(&leaf)?;
        while let Some(at) = all.get(*passed) {
            *passed += 1;
            if let Some(goes) = self.paths[*at].take() {
                return Some(goes);
            }
        }
        None
    }
}
