//! Why an act did not happen.

use std::io;

/// Which end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    From,
    To,
}

/// Why an act did not happen. Nothing a user wrote is lost in any case.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The disk is not what the job was made from: look again.
    #[error("it changed on disk before it could be carried over")]
    Stale(End),
    #[error("it changed while it was read")]
    Torn,
    /// It never rests, and it cannot be held still.
    #[error(
        "it changes all the time while it is read, and its file system has no snapshots (reflinks): it is carried when it rests"
    )]
    Restless,
    /// It is one of a group, of which nothing is carried unless all is.
    #[error("another file of its group could not be carried")]
    Together,
    #[error("another program has it open for writing")]
    Busy,
    #[error("the transfer was cancelled")]
    Cancelled,
    #[error("the directory is not empty; what is ignored or skipped in it is never removed")]
    NotEmpty,
    /// The file system does not tell its name from another one's, which is that of something else or about to go.
    #[error("another name in its directory is the same to this file system")]
    Clash,
    /// Two programs changed the path at once; both versions are kept.
    #[error("it changed twice while it was replaced; the version in between is kept")]
    Surprise,
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    /// As `Io`, on another machine.
    #[error("cannot {what} on {host}: {why}")]
    There { host: String, what: String, errno: Option<i32>, why: String },
    /// Another machine that it takes is not reached.
    #[error("{host} is not reached: {why}")]
    Away { host: String, why: String },
    #[error("cannot record what is about to be done: {0}")]
    Journal(String),
}

impl ApplyError {
    /// Wraps an error of the system with what was tried.
    pub(crate) fn io(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            Self::There { errno, .. } => *errno,
            Self::Stale(_)
            | Self::Torn
            | Self::Restless
            | Self::Together
            | Self::Busy
            | Self::Cancelled
            | Self::NotEmpty
            | Self::Clash
            | Self::Surprise
            | Self::Away { .. }
            | Self::Journal(_) => None,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.errno()? {
            libc::ENOSPC => Some("free some space; it is tried again by itself"),
            libc::EDQUOT => Some("the disk quota is used up; free some space or raise it"),
            libc::EROFS => {
                Some("mount the file system writable and `yeet resume`, or `yeet forget` this leaf")
            }
            libc::EACCES | libc::EPERM => Some("give yourself the right to write there"),
            libc::EMFILE | libc::ENFILE => Some("raise the limit of open files (`ulimit -n`)"),
            _ => None,
        }
    }

    /// Whether it says only that the world moved on: no problem to show.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Stale(_) | Self::Torn | Self::Cancelled | Self::Together | Self::Away { .. }
        )
    }
}
