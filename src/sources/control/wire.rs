//! What the command line and the daemon say to each other.
//!
//! A connection carries one [`Hello`] and one [`Request`]; the daemon answers with any number of [`Reply`]s, the last
//! of which is `Done` or `Failed`. A frame is a little-endian `u32` length and that many bytes of `postcard`.
//! Holds: a frame is at most [`FRAME_BYTES_MAX`] long, and so are lists in it at most [`list::MOST`]; bytes that are
//! no message, to the last one, are refused, never guessed at.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dataflow::model::list;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::Digest;

mod about;

/// The longest frame, in bytes.
pub const FRAME_BYTES_MAX: u32 = 16 << 20;
/// The most content in a request, in bytes.
pub const CONTENT_BYTES_MAX: usize = 15 << 20;
/// Raised when a message changes shape.
pub const VERSION: u32 = 5;

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// Every sync.
    All,
    /// A sync by a unique prefix of its name.
    Sync(String),
    /// An absolute local path inside some replica (of the named sync, if one is named).
    Path { sync: Option<String>, path: Vec<u8> },
    /// A path relative to the root of a sync.
    In { sync: String, path: RelPath },
    /// A path relative to the root of the replica in which it is asked, and whose agent passes it on (of the named sync, if
    /// one is named).
    Inside { sync: Option<String>, path: RelPath },
    /// The sync that the current directory is in, or all if it is in none.
    Here { dir: Vec<u8> },
}

/// An absolute directory, and what was written for its machine; `None`: this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    pub host: Option<String>,
    pub path: Vec<u8>,
    /// It is taken from another daemon that has it.
    pub take_over: bool,
}

/// A leaf to add, and the name it was given with `--as`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLeaf {
    pub place: Place,
    pub name: Option<String>,
}

/// Which of two or more contents `resolve` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Winner {
    /// A replica by name, or a content by a prefix (8 digits or more) of its digest.
    Keep(String),
    Newest,
    /// The source's stays, every other content becomes a new file with this suffix.
    Both(String),
    /// An absolute file of the daemon's machine, whose content everybody gets.
    With(Vec<u8>),
    /// This content, of at most [`CONTENT_BYTES_MAX`].
    Content(Vec<u8>),
}

/// What `resolve` is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Which {
    /// These paths; a directory means everything below it.
    Paths(#[serde(deserialize_with = "list::read")] Vec<Target>),
    /// Every conflict of the target.
    All(Target),
    /// Every conflict of the target whose path matches.
    Glob(Target, String),
}

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Add {
        name: Option<String>,
        mode: Option<Mode>,
        #[serde(deserialize_with = "list::read")]
        ignore: Vec<String>,
        ignore_vcs: bool,
        /// Files that go together: a group a line, blanks between its patterns.
        #[serde(deserialize_with = "list::read")]
        groups: Vec<String>,
        ssh_only: bool,
        source: Place,
        #[serde(deserialize_with = "list::read")]
        leaves: Vec<NewLeaf>,
    },
    AddTo {
        sync: String,
        #[serde(deserialize_with = "list::read")]
        leaves: Vec<NewLeaf>,
    },
    Forget {
        sync: String,
        leaf: Option<String>,
    },
    /// Empty `settings`: print all. `force`: what would overwrite needs no second word.
    Set {
        sync: String,
        #[serde(deserialize_with = "list::read")]
        settings: Vec<(String, String)>,
        force: bool,
    },
    Move {
        sync: String,
        replica: String,
        path: Vec<u8>,
    },
    List,
    Pause {
        sync: String,
    },
    Resume {
        sync: String,
    },
    /// One [`Reply::Status`] a sync.
    Status {
        target: Target,
        leaf: Option<String>,
    },
    /// One [`Reply::LeafStatus`] a leaf.
    StatusLeaves {
        target: Target,
        leaf: Option<String>,
    },
    /// One [`Reply::FileStatus`] a path with something outstanding.
    StatusFiles {
        target: Target,
        leaf: Option<String>,
    },
    /// One [`Reply::SkippedPath`] a special file or mount point.
    StatusSkipped {
        target: Target,
    },
    /// [`Reply::Progress`] now and then, then `Done(Outcome)`.
    Wait {
        target: Target,
        leaf: Option<String>,
        offline: bool,
    },
    /// One [`Reply::Conflict`] a path.
    Conflicts {
        target: Target,
    },
    /// [`Reply::Resolved`] a path; `Done(NotAll)` if a conflict stands.
    Resolve {
        which: Which,
        winner: Winner,
        dry_run: bool,
    },
    Explain {
        target: Target,
    },
    /// The bytes of a path at a replica, in [`Reply::Bytes`].
    Cat {
        target: Target,
        replica: String,
    },
    /// Where the two sides of a path are: two [`Reply::Side`]s, source first.
    Sides {
        target: Target,
    },
    Log {
        target: Target,
        act: Option<String>,
        since_ms: Option<u64>,
        limit: Option<u64>,
        follow: bool,
    },
    Versions {
        target: Target,
    },
    /// In place, as a new edit.
    Restore {
        target: Target,
        version: Option<String>,
    },
    /// A displaced version: a [`Reply::Content`], then its bytes in [`Reply::Bytes`].
    Displaced {
        target: Target,
        version: Option<String>,
    },
    Allow {
        sync: String,
        dry_run: bool,
    },
    Deny {
        sync: String,
    },
    Bump {
        #[serde(deserialize_with = "list::read")]
        targets: Vec<Target>,
    },
    DaemonStatus,
    DaemonStop,
    /// Names for completion: syncs, or conflicted paths.
    Names {
        conflicts: bool,
    },
    /// One [`Reply::Way`] a way to a host that the daemon has tried to reach.
    Ways {
        host: String,
    },
    /// The config file says something else of a host than before.
    NewWays {
        host: String,
    },
}

/// The state of a sync: the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    Paused,
    Held,
    Offline,
    Problems,
    Conflicts,
    Scanning,
    Syncing,
    InSync,
}

impl State {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Held => "held",
            Self::Offline => "offline",
            Self::Problems => "problems",
            Self::Conflicts => "conflicts",
            Self::Scanning => "scanning",
            Self::Syncing => "syncing",
            Self::InSync => "in-sync",
        }
    }
}

/// A line of `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStatus {
    pub name: String,
    pub state: State,
    pub files: u64,
    pub pending: u64,
    pub bytes: u64,
    pub conflicts: u64,
    pub problems: u64,
    pub held: u64,
}

/// A line of `status -l`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafStatus {
    pub name: String,
    pub leaf: String,
    pub state: State,
    /// One word; empty where there is nothing to say.
    pub reason: String,
    pub pending: u64,
    pub bytes: u64,
    /// `local` for a directory of this machine.
    pub route: String,
    pub rtt_ms: Option<u64>,
    /// Of a leaf on another machine that is reached: the program there that speaks to this daemon.
    pub agent: Option<String>,
}

/// What keeps a path of `status --files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FileKind {
    Queued,
    Sending,
    Waiting,
    Conflict,
    Problem,
    Held,
}

impl FileKind {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Problem => "problem",
            Self::Held => "held",
        }
    }
}

/// A line of `status --files`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    pub name: String,
    pub kind: FileKind,
    /// Replica names; `-` where the column says nothing.
    pub from: String,
    pub to: String,
    pub bytes: u64,
    pub why: String,
    pub path: RelPath,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSide {
    pub replica: String,
    /// Unix seconds; `None` where the replica holds nothing or something without a time.
    pub mtime: Option<i64>,
    pub size: u64,
    pub digest: Option<Digest>,
    /// `file`, `directory`, `symlink`, `nothing`, …
    pub kind: String,
}

/// A path in conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub name: String,
    pub kind: String,
    pub path: RelPath,
    #[serde(deserialize_with = "list::read")]
    pub sides: Vec<ConflictSide>,
}

/// What a replica holds, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    pub replica: String,
    /// `source`'s and leaves' present value, or what was agreed, in words: `file 644 12 bytes 2026-… b3:…`.
    pub holds: String,
    /// Of a leaf: what was last agreed with it.
    pub agreed: Option<String>,
    /// Of a leaf: the verdict in one sentence.
    pub verdict: Option<String>,
    /// Of a leaf: the rule that gave it.
    pub rule: Option<String>,
    /// Of a leaf: what it waits for.
    pub waits: Option<String>,
}

/// The answer to `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    pub name: String,
    pub path: RelPath,
    /// One sentence for all.
    pub summary: String,
    #[serde(deserialize_with = "list::read")]
    pub holdings: Vec<Holding>,
    /// Problems, ignore rules, holds: what stands in the way, one line each.
    #[serde(deserialize_with = "list::read")]
    pub notes: Vec<String>,
    /// The last acts on the path, newest first.
    #[serde(deserialize_with = "list::read")]
    pub acts: Vec<LogLine>,
    /// The commands that change it.
    #[serde(deserialize_with = "list::read")]
    pub commands: Vec<String>,
}

/// A line of `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub when_ms: u64,
    pub name: String,
    pub act: String,
    pub replica: String,
    pub old: Option<Digest>,
    pub new: Option<Digest>,
    pub path: RelPath,
    /// More than the columns say; printed with `--json` only.
    pub note: String,
}

/// A line of `versions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub name: String,
    /// Names it in `restore --version`.
    pub version: String,
    pub when_ms: u64,
    pub replica: String,
    pub size: u64,
    pub digest: Option<Digest>,
    pub why: String,
    pub path: RelPath,
}

/// A line of `route`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    pub route: String,
    /// `used`, `ready`, `works`, `failed` or `untried`.
    pub state: String,
    pub rtt_ms: Option<u64>,
    pub why: String,
}

/// A line of `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub name: String,
    pub mode: Mode,
    pub state: State,
    /// Replica name and endpoint, source first.
    #[serde(deserialize_with = "list::read")]
    pub replicas: Vec<(String, Vec<u8>)>,
}

/// How far a sync is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub name: String,
    pub scanning: bool,
    pub files_left: u64,
    pub bytes_left: u64,
    pub files_done: u64,
    pub bytes_done: u64,
    pub conflicts: u64,
    pub problems: u64,
}

/// One frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Status(SyncStatus),
    LeafStatus(LeafStatus),
    FileStatus(FileStatus),
    /// Sync, replica, what it is (`fifo`, `socket`, `device`, `mount`), path.
    SkippedPath {
        name: String,
        replica: String,
        kind: String,
        path: RelPath,
    },
    Progress(Progress),
    Conflict(Conflict),
    /// A conflict `resolve` decided, or would: what happens, in words.
    Resolved {
        name: String,
        path: RelPath,
        outcome: String,
    },
    Explanation(Explanation),
    Bytes(Vec<u8>),
    /// What follows is the content of a file of these permission bits, or the text of a symlink.
    Content {
        version: String,
        mode: u16,
        is_symlink: bool,
    },
    /// `file`: its absolute path where it is asked; `None` where the replica holds nothing there, or is on another machine.
    Side {
        replica: String,
        file: Option<Vec<u8>>,
        is_here: bool,
    },
    Log(LogLine),
    Version(Version),
    Listed(Listed),
    Setting {
        key: String,
        value: String,
    },
    /// `allow`, `deny`: how many deletes are let through, or put back.
    Held {
        name: String,
        replica: String,
        deletes: u64,
        why: String,
    },
    Daemon {
        pid: u32,
        version: String,
        syncs: u64,
        started_ms: u64,
    },
    Name(String),
    Way(Way),
    /// Something the user should know, on stderr.
    Notice(String),
    Done(Outcome),
    Failed(Failure),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Exit code 0.
    Well,
    /// Exit code 1: not in sync, conflicts, nothing held, no version, a conflict that stands.
    NotWell,
}

/// Why an answer failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    pub hint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Exit code 1: the path is not known.
    Unknown,
    /// Exit code 2.
    Usage,
    /// Exit code 3.
    Cannot,
}

/// Writes one frame.
///
/// # Errors
/// The peer is gone, or the message is larger than a frame may be.
pub fn write_frame<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(body.len()).ok().filter(|len| *len <= FRAME_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::other("a message larger than a frame may be"))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&body);
    to.write_all(&frame)
}

/// Reads one frame; `None` when the peer closed between frames.
///
/// # Errors
/// The connection broke, or what came is no message.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    match from.read(&mut len[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut len[1..])?,
    }
    let len = u32::from_le_bytes(len);
    if len > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame larger than allowed"));
    }
    let mut body = Vec::new();
    from.take(u64::from(len)).read_to_end(&mut body)?;
    if body.len() != len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let no_message = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let (message, rest) = postcard::take_from_bytes(&body).map_err(no_message)?;
    if !rest.is_empty() {
        return Err(no_message(postcard::Error::DeserializeBadEncoding));
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests;
