//! What a replica can hold at a path.
//!
//! Holds: "nothing" is not a value (it is the absence of one, and only a listing asserts it). Two values are the
//! same state exactly when they are `==`; [`Value::same_content`] leaves mode and mtime aside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A file's bytes: known by digest, or not read yet and told apart by the file's stat identity.
///
/// Unread content is never *equal* to other content: it is only the same row as itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Content {
    bytes: [u8; 32],
    read: bool,
}

impl Content {
    #[must_use]
    pub fn known(digest: Digest) -> Self {
        Self { bytes: digest.0, read: true }
    }

    /// Content nobody has hashed; `identity` is made from device, inode, size, mtime and ctime.
    #[must_use]
    pub fn unread(identity: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&identity.to_le_bytes());
        Self { bytes, read: false }
    }

    #[must_use]
    pub fn digest(self) -> Option<Digest> {
        self.read.then_some(Digest(self.bytes))
    }

    /// What tells unread content from other; of no use once it has been read.
    #[must_use]
    pub fn identity(self) -> u64 {
        let mut identity = [0; 8];
        identity.copy_from_slice(&self.bytes[..8]);
        u64::from_le_bytes(identity)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digest() {
            Some(digest) => write!(f, "{digest:?}"),
            None => f.write_str("unread"),
        }
    }
}

/// A regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct File {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime: i64,
    pub content: Content,
    /// Permission bits, at most `0o777`.
    #[serde(deserialize_with = "permission_bits")]
    pub mode: u16,
}

/// A mode from outside: one with more bits could make a set-uid file of what is restored.
fn permission_bits<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    let mode = u16::deserialize(from)?;
    if mode <= 0o777 {
        Ok(mode)
    } else {
        Err(serde::de::Error::custom("more than permission bits"))
    }
}

/// What a replica holds at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    File(File),
    /// A directory with its permission bits.
    Dir {
        #[serde(deserialize_with = "permission_bits")]
        mode: u16,
    },
    /// A symlink by the digest of its target text and that text's length.
    Symlink {
        target: Digest,
        len: u16,
    },
    /// Left out by a rule: never carried, never an absence.
    Ignored,
    /// A device, socket, pipe or mount point: listed by `status --skipped`, never carried, never an absence.
    Skipped(Special),
    /// It is there but could not be looked at; the error number of the attempt.
    Unreadable {
        errno: i32,
    },
    /// Only ever *agreed*: a directory that stays at one of both sides for its unsynced content alone (R10).
    Remnant,
}

/// What a skipped object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Special {
    Fifo,
    Socket,
    Device,
    Mount,
}

impl Value {
    #[must_use]
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir { .. })
    }

    /// Bytes to move for it: a file's size, else 0.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        if let Self::File(file) = self { file.size } else { 0 }
    }

    /// The digest that names it: of a file's bytes once read, of a symlink's target.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::File(file) => file.content.digest(),
            Self::Symlink { target, .. } => Some(*target),
            Self::Dir { .. }
            | Self::Ignored
            | Self::Skipped(_)
            | Self::Unreadable { .. }
            | Self::Remnant => None,
        }
    }

    /// Whether both are the same thing but for mode and mtime; `None` where only reading can tell.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::File(a), Self::File(b)) if a.size != b.size => Some(false),
            (Self::File(a), Self::File(b)) => match (a.content.digest(), b.content.digest()) {
                (Some(x), Some(y)) => Some(x == y),
                _ if a.content == b.content => Some(true),
                _ => None,
            },
            (Self::Dir { .. }, Self::Dir { .. }) => Some(true),
            _ => Some(self == other),
        }
    }
}
