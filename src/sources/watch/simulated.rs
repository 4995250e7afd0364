//! A watcher of a simulated machine: whoever drives it tells what happened, and what of it is lost.
//!
//! Holds: an object is watched, not a path, as with inotify; a directory that was renamed stays watched.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Added, Watch, WatchError};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::sys::sim::{self, Ino};

/// Where a replica is: its slot is the number of its disk.
fn at(replica: Replica, dir: &RelPath) -> Option<(usize, Ino)> {
    let disk = usize::from(replica.slot());
    let path = String::from_utf8_lossy(dir.as_bytes()).into_owned();
    sim::with(|kernel| kernel.disks[disk].at(&path)).map(|ino| (disk, ino))
}

/// What is watched, and which flushes have been asked for.
#[derive(Default)]
pub(crate) struct Watched {
    all: Mutex<BTreeSet<(usize, Ino)>>,
    flushes: Mutex<Vec<u64>>,
}

impl Watched {
    fn all<T>(&self, act: impl FnOnce(&mut BTreeSet<(usize, Ino)>) -> T) -> T {
        act(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn flushes(&self) -> MutexGuard<'_, Vec<u64>> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever drives it is asked for all that happened before now.
    pub(crate) fn flush(&self, number: u64) {
        self.flushes().push(number);
    }

    /// What has been asked for since the last time: taken before what happened is.
    pub(crate) fn take_flushes(&self) -> Vec<u64> {
        std::mem::take(&mut *self.flushes())
    }

    pub(crate) fn is_watched(&self, disk: usize, ino: Ino) -> bool {
        self.all(|all| all.contains(&(disk, ino)))
    }
}

impl Watch for Watched {
    fn add(
        &self,
        replica: Replica,
        dir: &RelPath,
        _: BorrowedFd<'_>,
        _: &dyn Fn() -> bool,
    ) -> Result<Added, WatchError> {
        let Some(at) = at(replica, dir) else { return Ok(Added::Elsewhere) };
        Ok(if self.all(|all| all.insert(at)) { Added::New } else { Added::Known })
    }

    fn knows(&self, replica: Replica, dir: &RelPath) -> bool {
        at(replica, dir).is_some_and(|(disk, ino)| self.is_watched(disk, ino))
    }
}

thread_local! {
    static HERE: RefCell<Option<Arc<Watched>>> = const { RefCell::new(None) };
}

/// Gives this thread's sources such a watcher, or none again.
pub(crate) fn install(watched: Option<Arc<Watched>>) {
    HERE.set(watched);
}

/// The watcher that sources of this thread are to have.
pub(crate) fn here() -> Option<Arc<Watched>> {
    HERE.with_borrow(Clone::clone)
}
