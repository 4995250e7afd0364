//! Directories that cannot be watched, listed from time to time instead.
//!
//! Holds: each is said to be unwatched whenever it is listed, and said to be watched when it is; their number is bounded.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use super::pool::{Ground, Seen, Shared, Trouble};
use super::queue::Task;
use crate::dataflow::model::path::RelPath;
use crate::sources::watch::WatchError;

/// Between two listings of what is not watched: at least this,
const EVERY_MIN: Duration = Duration::from_secs(30);
/// at most this,
const EVERY_MAX: Duration = Duration::from_secs(600);
/// and so many times what listing it took, so that it costs 2 % of a processor.
const EVERY_COSTS: u32 = 50;
/// The most directories kept apart; beyond, all of the tree is scanned.
const DIRS_MAX: usize = 1000;

/// The highest unwatched directories of a tree.
#[derive(Default)]
pub(in crate::sources) struct Unwatched {
    dirs: BTreeSet<RelPath>,
    /// Too many to be kept apart.
    many: bool,
    /// Whether one was found since all of the tree was last scanned for that reason.
    found: bool,
}

impl Shared {
    /// Takes in whether a directory just listed is watched.
    pub(super) fn note_watched(&self, ground: &Ground, dir: &RelPath, error: Option<WatchError>) {
        let tree = &ground.tree;
        if !tree.watch.wanted() {
            return;
        }
        let mut unwatched = ground.unwatched.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error else {
            if unwatched.dirs.remove(dir) {
                (ground.sink)(Seen::Watched { replica: tree.replica, dir: dir.clone() });
            }
            return;
        };
        unwatched.found = true;
        let below = dir.split().is_some_and(|(parent, _)| !tree.watch.knows(tree.replica, &parent));
        if below || unwatched.many {
            return;
        }
        if unwatched.dirs.len() >= DIRS_MAX {
            unwatched.many = true;
            for dir in std::mem::take(&mut unwatched.dirs) {
                (ground.sink)(Seen::Watched { replica: tree.replica, dir });
            }
            ground.trouble(&RelPath::root(), Trouble::Unwatched(error));
            self.put_later(ground, EVERY_MIN, Task::Scan, &RelPath::root(), false);
            return;
        }
        let new = unwatched.dirs.insert(dir.clone());
        // Said every time: with a directory that went and came again the trouble went, too.
        ground.trouble(dir, Trouble::Unwatched(error));
        if new {
            self.put_later(ground, EVERY_MIN, Task::List, dir, false);
        }
    }

    /// Something put off was done, which took `took`: puts it off again if it still has to be.
    pub(super) fn again(&self, ground: &Ground, task: Task, dir: &RelPath, took: Duration) {
        let mut unwatched = ground.unwatched.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = unwatched.many && task == Task::Scan && dir.is_root();
        if whole && !unwatched.found {
            unwatched.many = false;
            (ground.sink)(Seen::Watched { replica: ground.tree.replica, dir: dir.clone() });
        }
        unwatched.found &= !whole;
        // A directory scanned once more after a failure has a listing of its own put off.
        let own = task == Task::List || dir.is_root();
        if (whole && unwatched.many) || (own && unwatched.dirs.contains(dir)) {
            let every = (took * EVERY_COSTS).clamp(EVERY_MIN, EVERY_MAX);
            self.put_later(ground, every, task, dir, false);
        }
    }
}
