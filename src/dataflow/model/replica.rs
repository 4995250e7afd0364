//! Replicas of a sync by number, and sets of them.
//!
//! Holds: number 0 is the source, 1 to 31 are leaves; no other number can be written down.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most leaves a sync can have: their bits and the source's fill 32.
pub const LEAVES_MAX: u8 = 31;

/// A replica: the source, or a leaf by its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Replica(u8);

impl Replica {
    pub const SOURCE: Self = Self(0);

    /// The leaf in `slot` (1 to [`LEAVES_MAX`]).
    #[must_use]
    pub fn leaf(slot: u8) -> Option<Self> {
        (1..=LEAVES_MAX).contains(&slot).then_some(Self(slot))
    }

    #[must_use]
    pub fn is_source(self) -> bool {
        self.0 == 0
    }

    /// Its number: 0 for the source.
    #[must_use]
    pub fn slot(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Replica {
    type Error = String;
    fn try_from(slot: u8) -> Result<Self, String> {
        if slot <= LEAVES_MAX {
            Ok(Self(slot))
        } else {
            Err(format!("replica {slot} of at most 31"))
        }
    }
}

impl From<Replica> for u8 {
    fn from(replica: Replica) -> Self {
        replica.0
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_source() { f.write_str("source") } else { write!(f, "leaf{}", self.0) }
    }
}

/// A set of replicas, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaSet(u32);

impl ReplicaSet {
    pub const EMPTY: Self = Self(0);

    #[must_use]
    pub fn of(replicas: &[Replica]) -> Self {
        replicas.iter().fold(Self::EMPTY, |set, r| set.with(*r))
    }

    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    #[must_use]
    pub fn with(self, replica: Replica) -> Self {
        Self(self.0 | 1 << replica.0)
    }

    #[must_use]
    pub fn contains(self, replica: Replica) -> bool {
        self.0 & (1 << replica.0) != 0
    }

    #[must_use]
    pub fn contains_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, source first.
    pub fn iter(self) -> impl Iterator<Item = Replica> {
        (0..=LEAVES_MAX).map(Replica).filter(move |r| self.contains(*r))
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
