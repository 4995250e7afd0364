//! What goes between this side and an agent about jobs.

use serde::{Deserialize, Serialize};

use crate::dataflow::model::job::Job;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{Digest, Value};
use crate::sinks::apply::{Applied, ApplyError, End, Part, Said};

/// The longest message about one job, in bytes: two paths, a few values.
pub(super) const MESSAGE_MAX: usize = 64 << 10;
/// The longest answer about a batch, in bytes.
pub(super) const ANSWER_MAX: usize = 16 << 20;
/// The most jobs of a batch.
pub(super) const JOBS_MAX: usize = 4096;

/// A job for an agent, and what its other end says of it. After the word of a file come its bytes and its [`FileEnd`]; of a large
/// one that is in no group once the agent has said what is there of it, and after [`GoesOn`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) op: u64,
    pub(super) job: Job,
    pub(super) offer: Offer,
}

/// The jobs of a group, and all names it can have with what is known of them at the end that is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::sinks) struct Group {
    pub(in crate::sinks) known: Vec<(RelPath, Option<Value>)>,
    /// With the operation each is.
    pub(in crate::sinks) jobs: Vec<(u64, Job)>,
}

impl Group {
    /// What may have to be carried for it.
    pub(super) fn bytes(&self) -> u64 {
        Job::bytes_of(self.jobs.iter().map(|(_, job)| job))
    }
}

/// What came of a look at all files of a group.
pub(super) type Looked = Result<(), Failure>;

/// What an end says of a job.
pub(super) type Offer = Result<Said, Failure>;

/// After a file's bytes: their digest where they were read, if they are all of it.
pub(super) type FileEnd = Result<Digest, Failure>;

/// What an agent says while it is given orders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// What is there of the large file that was ordered last; its bytes are waited for.
    Part(Part),
    /// The last word.
    Outcome(Outcome),
}

/// What is there of a large file that was offered; `None`: nobody wants it any more.
pub(super) type Wanted = Option<Part>;

/// From which byte on a large file comes.
pub(super) type GoesOn = u64;

/// What became of a batch of orders.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) ended: Vec<Ended>,
    /// It is all on disk.
    pub(super) durable: bool,
}

/// What became of one order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) result: Result<Applied, Failure>,
    /// What was displaced, also by one that failed.
    pub(super) kept: Option<Value>,
}

/// Why an act did not happen on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Failure {
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
    pub(super) fn of(error: &ApplyError) -> Self {
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
    pub(super) fn error(self, host: &str) -> ApplyError {
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
