//! Where something may have changed: hints to look again, never facts.
//!
//! Holds: whoever acts on a hint looks at the disk. A hint too many costs a look; where hints may be missing (a full
//! queue, no watch to be had) that is itself said, as [`Hint::Overflow`] or a [`WatchError`], never silent.

use std::fs;
use std::os::fd::BorrowedFd;

use serde::{Deserialize, Serialize};

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

pub mod inotify;
pub mod settle;
#[cfg(test)]
pub(crate) mod simulated;
mod table;

/// Something to look at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This path may hold something else.
    Look(RelPath),
    /// Any child of this directory may be another.
    List(RelPath),
    /// A directory came here from elsewhere: all below it is new.
    Scan(RelPath),
    /// Changes were lost: any path may hold something else.
    Overflow,
    /// The root was moved, removed or unmounted.
    RootGone,
}

/// Adds watches; the scanner's view of a watcher.
pub trait Watch: Send + Sync {
    /// Watches the open directory `handle`, which is `dir` of `replica`, from now on. Where it was watched as another
    /// path, `still_here` is asked whether `handle` still is what `dir` names.
    ///
    /// # Errors
    /// Why it is not watched.
    fn add(
        &self,
        replica: Replica,
        dir: &RelPath,
        handle: BorrowedFd<'_>,
        still_here: &dyn Fn() -> bool,
    ) -> Result<Added, WatchError>;

    /// Whether `dir` is watched.
    fn knows(&self, replica: Replica, dir: &RelPath) -> bool;

    /// To be called before all of a replica is scanned because changes were lost.
    fn begin_round(&self) -> u32 {
        0
    }

    /// To be called when that scan is through: what it did not come by is not watched any more.
    fn end_round(&self, _replica: Replica, _round: u32) {}

    /// Whether changes are to be noticed at all; without, an unwatched directory is no problem.
    fn wanted(&self) -> bool {
        true
    }
}

/// What [`Watch::add`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was not watched.
    New,
    /// It was watched already.
    Known,
    /// The handle is not at that path any more: nothing was done.
    Elsewhere,
}

/// Why a directory is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum WatchError {
    /// The user has no watches left.
    #[error(
        "the limit of inotify watches ({limit}) is reached: what is not watched is listed from time to time instead; \
         `sudo sysctl fs.inotify.max_user_watches={better}` mends it"
    )]
    Limit { limit: u64, better: u64 },
    /// The user has no inotify instances left.
    #[error(
        "the limit of inotify instances ({limit}) is reached: everything is listed from time to time instead; \
         `sudo sysctl fs.inotify.max_user_instances={better}` mends it"
    )]
    Instances { limit: u64, better: u64 },
    /// Something else.
    #[error("cannot be watched ({}): it is listed from time to time instead", std::io::Error::from_raw_os_error(*errno))]
    Other { errno: i32 },
}

impl WatchError {
    /// What `inotify_add_watch` failed with.
    #[must_use]
    pub fn adding(errno: i32) -> Self {
        if errno == libc::ENOSPC {
            let limit = limit("max_user_watches");
            Self::Limit { limit, better: limit.saturating_mul(4).max(1 << 20) }
        } else {
            Self::Other { errno }
        }
    }

    /// What `inotify_init1` failed with.
    #[must_use]
    pub fn starting(errno: i32) -> Self {
        if errno == libc::EMFILE {
            let limit = limit("max_user_instances");
            Self::Instances { limit, better: limit.saturating_mul(4).max(512) }
        } else {
            Self::Other { errno }
        }
    }
}

fn limit(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Watches nothing.
#[derive(Clone, Copy, Debug)]
pub enum NoWatch {
    /// For one pass: what changes later is nobody's business.
    NotWanted,
    /// Because there is no watcher to be had.
    Refused(WatchError),
}

impl Watch for NoWatch {
    fn add(
        &self,
        _: Replica,
        _: &RelPath,
        _: BorrowedFd<'_>,
        _: &dyn Fn() -> bool,
    ) -> Result<Added, WatchError> {
        match self {
            Self::NotWanted => Ok(Added::New),
            Self::Refused(error) => Err(*error),
        }
    }

    fn knows(&self, _: Replica, _: &RelPath) -> bool {
        false
    }

    fn wanted(&self) -> bool {
        match self {
            Self::NotWanted => false,
            Self::Refused(_) => true,
        }
    }
}
