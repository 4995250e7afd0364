//! What goes between this side and an agent about what a replica holds.

use serde::{Deserialize, Serialize};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::sources::scan::pool::Trouble;
use crate::sys::Identity;

/// The longest message, in bytes: the listing of one directory.
pub const MESSAGE_MAX: usize = 256 << 20;
/// The longest message to an agent, in bytes: a file of rules, which can be 1 MiB.
pub const ASK_MAX: usize = 2 << 20;

/// What an agent is to look at, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// As it was written: from the root, or from the user's home.
    pub path: Vec<u8>,
    /// It is made where it does not exist.
    pub make: bool,
    /// The folder in `.yeet` where content is staged and kept.
    pub store: String,
    /// It is watched, locked and flushed; else looked at once.
    pub lasting: bool,
    pub replica: Replica,
    /// Where it was known before.
    pub identity: Identity,
    pub ignore: Vec<String>,
    pub ignore_vcs: bool,
    /// Who is to own it, for others to be told; nobody: it is used whoever owns it.
    pub owner: String,
    /// The same for the same replica of the same daemon, and for no other one.
    pub errand: [u8; 16],
    /// It is taken from another machine's daemon.
    pub take_over: bool,
    /// Digests of what is put are of use to nobody.
    pub trust_times: bool,
}

/// What an agent has opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Absolute.
    pub path: Vec<u8>,
    pub identity: Identity,
    /// Where nothing can be written: the error number of the attempt.
    pub unwritable: Option<i32>,
    /// The boot of its machine.
    pub boot: [u8; 16],
}

/// Why an agent has opened nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("it does not exist")]
    Missing,
    #[error("another directory is in its place")]
    Replaced,
    #[error("it belongs to another daemon ({0})")]
    Owned(String),
    #[error("{0}")]
    Other(String),
}

/// What an agent is asked while a replica is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// To scan a directory and all below it; [`Told::Done`] will tell this number.
    Scan { dir: RelPath, number: u64 },
    /// To read a file, whatever its size.
    Read(RelPath),
    /// To look at a path again.
    Look(RelPath),
    /// To say [`Told::Flushed`] once all that happened before is taken in.
    Flush(u64),
    /// To take in what the `.yeetignore` in a directory of a replica says. `again`: the directory is to be listed again
    /// with all below it, and [`Told::RulesTaken`] said before.
    Rules { replica: Replica, dir: RelPath, text: Option<Vec<u8>>, again: Option<u64> },
    /// To forget the rules of a replica that belongs to the sync no more.
    Forget(Replica),
    /// To let in who asks about the replica on its machine: they are answered from now on.
    LetIn,
}

/// What an agent tells while a replica is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    Facts(Vec<Fact>),
    Trouble {
        path: RelPath,
        trouble: Trouble,
    },
    Watched(RelPath),
    RootGone,
    Done(u64),
    Flushed(u64),
    /// Nothing is left to look at, after so many [`Ask`]s.
    Quiet {
        asked: u64,
    },
    /// What the `.yeetignore` in one of its own directories says.
    Rules {
        dir: RelPath,
        text: Option<Vec<u8>>,
    },
    /// What follows is said by the rules of this round.
    RulesTaken(u64),
}
