//! What goes between this side and an agent about jobs, and about what else sinks do.
//!
//! Holds: a list in a message has no more members than there can be, so a message takes no memory that its length does not
//! justify.

use serde::{Deserialize, Serialize};

use crate::dataflow::model::job::Job;
use crate::dataflow::model::list;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{LEAVES_MAX, Replica};
use crate::dataflow::model::value::{Content, Digest, Value};
use crate::sinks::apply::{Applied, ApplyError, End, Part, Said};
use crate::sinks::desk::{Of, Placed};
use crate::sinks::journal::record::{Intent, Kept, LogRecord};
use crate::sinks::stage::PEER_MARK_MAX;

/// The longest message about one job, in bytes: two paths, a few values.
pub const MESSAGE_MAX: usize = 64 << 10;
/// The longest answer about a batch, in bytes.
pub const ANSWER_MAX: usize = 16 << 20;
/// The most jobs of a batch.
pub const JOBS_MAX: usize = 4096;
/// The most changes that one operation can bring about: what is agreed with each leaf, and what is kept, purged and logged.
pub const REMEMBERED_MAX: usize = LEAVES_MAX as usize + 16;

/// A job for an agent, and what its other end says of it. After the word of a file come its bytes and its [`FileEnd`]; of a large
/// one that is in no group once the agent has said what is there of it, and after [`GoesOn`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    pub op: u64,
    pub job: Job,
    pub offer: Offer,
}

/// The jobs of a group, and all names it can have with what is known of them at the end that is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Group {
    #[serde(deserialize_with = "list::read")]
    pub known: Vec<(RelPath, Option<Value>)>,
    /// With the operation each is.
    #[serde(deserialize_with = "list::read")]
    pub jobs: Vec<(u64, Job)>,
}

impl Group {
    /// What may have to be carried for it.
    pub fn bytes(&self) -> u64 {
        Job::bytes_of(self.jobs.iter().map(|(_, job)| job))
    }
}

/// What came of a look at all files of a group.
pub type Looked = Result<(), Failure>;

/// What an end says of a job.
pub type Offer = Result<Said, Failure>;

/// After a file's bytes: their digest where they were read, if they are all of it.
pub type FileEnd = Result<Digest, Failure>;

/// What an agent says while it is given orders.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// What is there of the large file that was ordered last; its bytes are waited for.
    Part(Part),
    /// The last word.
    Outcome(Outcome),
}

/// What is there of a large file that was offered; `None`: nobody wants it any more.
pub type Wanted = Option<Part>;

/// From which byte on a large file comes.
pub type GoesOn = u64;

/// What became of a batch of orders.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(deserialize_with = "list::up_to::<JOBS_MAX, _, _>")]
    pub ended: Vec<Ended>,
    /// Whether it is all on disk.
    pub durable: Flushed,
}

/// Whether all that was done at a replica is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flushed {
    No,
    /// It is, without the mark.
    Unmarked,
    /// It is, with this mark or a greater one.
    Marked(u64),
}

impl Flushed {
    /// A mark that no clock gives is none: the numbers of all replicas would come after it.
    pub fn believed(self) -> Self {
        match self {
            Self::Marked(mark) if mark > PEER_MARK_MAX => Self::Unmarked,
            Self::No | Self::Unmarked | Self::Marked(_) => self,
        }
    }
}

/// What became of one order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ended {
    pub result: Result<Applied, Failure>,
    /// What was displaced, also by one that failed.
    pub kept: Option<Value>,
}

/// Why an act did not happen on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    StaleFrom,
    StaleTo,
    Torn,
    Restless,
    Together,
    Busy,
    Cancelled,
    NotEmpty,
    Clash,
    Surprise,
    Other { what: String, errno: Option<i32>, why: String },
}

impl Failure {
    pub fn of(error: &ApplyError) -> Self {
        match error {
            ApplyError::Stale(End::From) => Self::StaleFrom,
            ApplyError::Stale(End::To) => Self::StaleTo,
            ApplyError::Torn => Self::Torn,
            ApplyError::Restless => Self::Restless,
            ApplyError::Together => Self::Together,
            ApplyError::Busy => Self::Busy,
            ApplyError::Cancelled => Self::Cancelled,
            ApplyError::NotEmpty => Self::NotEmpty,
            ApplyError::Clash => Self::Clash,
            ApplyError::Surprise => Self::Surprise,
            ApplyError::Io { what, source } => Self::Other {
                what: (*what).to_owned(),
                errno: source.raw_os_error(),
                why: source.to_string(),
            },
            ApplyError::There { what, errno, why, .. } => {
                Self::Other { what: what.clone(), errno: *errno, why: why.clone() }
            }
            ApplyError::Journal(why) | ApplyError::Away { why, .. } => {
                Self::Other { what: "carry it out".to_owned(), errno: None, why: why.clone() }
            }
        }
    }

    /// As an error on this side.
    pub fn error(self, host: &str) -> ApplyError {
        match self {
            Self::StaleFrom => ApplyError::Stale(End::From),
            Self::StaleTo => ApplyError::Stale(End::To),
            Self::Torn => ApplyError::Torn,
            Self::Restless => ApplyError::Restless,
            Self::Together => ApplyError::Together,
            Self::Busy => ApplyError::Busy,
            Self::Cancelled => ApplyError::Cancelled,
            Self::NotEmpty => ApplyError::NotEmpty,
            Self::Clash => ApplyError::Clash,
            Self::Surprise => ApplyError::Surprise,
            Self::Other { what, errno, why } => {
                ApplyError::There { host: host.to_owned(), what, errno, why }
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Errand {
    Read(Of),
    Digest {
        path: RelPath,
        seen: Content,
    },
    /// The bytes follow.
    Place(Placed),
    PlaceSymlink {
        path: RelPath,
        text: Vec<u8>,
    },
    Purge(#[serde(deserialize_with = "list::read")] Vec<u64>),
    Settle(#[serde(deserialize_with = "list::up_to::<JOBS_MAX, _, _>")] Vec<Announced>),
}

/// What is read; the bytes of a file follow.
#[derive(Debug, Serialize, Deserialize)]
pub enum ReadOut {
    File { mode: u16, mtime_ns: i64 },
    Symlink(Vec<u8>),
}

/// An operation of which nobody knows what became.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announced {
    pub op: u64,
    /// A name for what has to be moved out of the tree.
    pub spare: u64,
    pub intent: Intent,
}

/// What is gone for good.
#[derive(Debug, Serialize, Deserialize)]
pub struct Purged {
    #[serde(deserialize_with = "list::read")]
    pub ops: Vec<u64>,
}

/// What became of operations, in the order in which they were announced.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled {
    /// `None`: it could not be looked at.
    #[serde(deserialize_with = "list::up_to::<JOBS_MAX, _, _>")]
    pub each: Vec<Option<Remember>>,
}

/// What is to be remembered of an operation that was settled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remember {
    #[serde(deserialize_with = "list::up_to::<REMEMBERED_MAX, _, _>")]
    pub changes: Vec<Remembered>,
}

/// A change of the journal that settling can bring about.
#[derive(Debug, Serialize, Deserialize)]
pub enum Remembered {
    Agreed { leaf: Replica, value: Option<Value> },
    Kept { op: u64, kept: Kept },
    Purged { op: u64 },
    Log(LogRecord),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::talk;

    #[test]
    fn a_message_has_no_more_members_than_there_can_be() {
        let outcome = |count| {
            let ended = || Ended { result: Err(Failure::Busy), kept: None };
            let ended = (0..count).map(|_| ended()).collect();
            postcard::to_stdvec(&Reply::Outcome(Outcome { ended, durable: Flushed::Marked(7) }))
                .unwrap()
        };
        assert!(talk::read::<Reply>(&outcome(JOBS_MAX)).is_ok());
        assert!(talk::read::<Reply>(&outcome(JOBS_MAX + 1)).is_err());
        let settled = |count| {
            let changes = (0..count).map(|op| Remembered::Purged { op }).collect();
            postcard::to_stdvec(&Settled { each: vec![Some(Remember { changes })] }).unwrap()
        };
        let most = u64::try_from(REMEMBERED_MAX).unwrap();
        assert!(talk::read::<Settled>(&settled(most)).is_ok());
        assert!(talk::read::<Settled>(&settled(most + 1)).is_err());
    }
}
