//! What goes between this side and an agent about what a replica holds.
//!
//! Holds: what there is one of for every file, or for every directory, is written by hand ([`page`]), the rest is not.

use serde::{Deserialize, Serialize};

use super::page::{self, BadPage, Bytes, Last};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Digest;
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
    /// The mark that it has on disk; `None` where there can be none.
    pub reached: Option<u64>,
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
    /// To scan a directory and all below it; [`Told::Done`] will tell this number. `known`: most of it is known here, and
    /// each directory may be told by its print.
    Scan { dir: RelPath, number: u64, known: bool },
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
    /// To take down what says whose the replica is, once it looks at it no more: it is nobody's.
    PutAway,
    // What is written by hand comes last: what is not is counted without it.
    /// To list a directory and tell all of it: it is not what was guessed here.
    #[serde(skip)]
    List(RelPath),
    /// To read all small files in a directory that nobody has read, but these, and tell its print.
    #[serde(skip)]
    Fill { dir: RelPath, except: Vec<Name> },
    /// To read a file, whatever its size.
    #[serde(skip)]
    Read(RelPath),
}

/// What an agent tells while a replica is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
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
    // As above.
    /// At most what [`page::cut`] leaves together.
    #[serde(skip)]
    Facts(Vec<Fact>),
    /// A directory was listed. Whoever has a guess what is in it can tell by the [`page::print`] if that is right.
    #[serde(skip)]
    Same {
        dir: RelPath,
        print: Digest,
    },
}

/// Files up to so many bytes are read together with others.
pub const FILL_BYTES_MAX: u64 = 1 << 20;
/// The most names that are left out when a directory's files are read.
pub const EXCEPT_MAX: usize = 4096;

const PLAIN: u8 = 0;
const FACTS: u8 = 1;
const SAME: u8 = 2;
const READ: u8 = 1;
const LIST: u8 = 2;
const FILL: u8 = 3;

impl Told {
    #[must_use]
    pub fn bytes(&self, last: &mut Last) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Facts(facts) => {
                out.push(FACTS);
                page::write(facts, last, &mut out);
            }
            Self::Same { dir, print } => {
                out.push(SAME);
                page::write_path(dir, last, &mut out);
                out.extend(print.0);
            }
            Self::Trouble { .. }
            | Self::Watched(_)
            | Self::RootGone
            | Self::Done(_)
            | Self::Flushed(_)
            | Self::Quiet { .. }
            | Self::Rules { .. }
            | Self::RulesTaken(_) => out = plain(self),
        }
        out
    }

    /// Reads what is told of `replica`.
    ///
    /// # Errors
    /// It is nothing that [`Self::bytes`] makes.
    pub fn read(bytes: &[u8], replica: Replica, last: &mut Last) -> Result<Self, BadPage> {
        let mut bytes = Bytes(bytes);
        match bytes.byte()? {
            PLAIN => read_plain(bytes),
            FACTS => page::read(bytes.0, replica, last).map(Self::Facts),
            SAME => {
                let dir = page::read_path(&mut bytes, last)?;
                let print = Digest(bytes.array()?);
                bytes.ended(Self::Same { dir, print })
            }
            _ => Err(BadPage::Odd),
        }
    }
}

impl Ask {
    #[must_use]
    pub fn bytes(&self, last: &mut Last) -> Vec<u8> {
        let mut out = Vec::new();
        let (kind, path) = match self {
            Self::Read(path) => (READ, path),
            Self::List(dir) => (LIST, dir),
            Self::Fill { dir, .. } => (FILL, dir),
            Self::Scan { .. }
            | Self::Look(_)
            | Self::Flush(_)
            | Self::Rules { .. }
            | Self::Forget(_)
            | Self::LetIn
            | Self::PutAway => return plain(self),
        };
        out.push(kind);
        page::write_path(path, last, &mut out);
        if let Self::Fill { except, .. } = self {
            page::write_names(except.iter(), &mut out);
        }
        out
    }

    /// Reads what is asked.
    ///
    /// # Errors
    /// It is nothing that [`Self::bytes`] makes.
    pub fn read(bytes: &[u8], last: &mut Last) -> Result<Self, BadPage> {
        let mut bytes = Bytes(bytes);
        let kind = bytes.byte()?;
        if kind == PLAIN {
            return read_plain(bytes);
        }
        let path = page::read_path(&mut bytes, last)?;
        match kind {
            READ => bytes.ended(Self::Read(path)),
            LIST => bytes.ended(Self::List(path)),
            FILL => {
                let except = page::read_names(&mut bytes, EXCEPT_MAX)?;
                Ok(Self::Fill { dir: path, except })
            }
            _ => Err(BadPage::Odd),
        }
    }
}

fn plain(message: &impl Serialize) -> Vec<u8> {
    let written = postcard::to_extend(message, vec![PLAIN]);
    written.expect("what is not written by hand can be")
}

fn read_plain<T: serde::de::DeserializeOwned>(bytes: Bytes<'_>) -> Result<T, BadPage> {
    match postcard::take_from_bytes(bytes.0) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(BadPage::Odd),
    }
}
