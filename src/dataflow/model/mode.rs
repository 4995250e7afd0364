//! The direction a sync works in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What may flow where, and what a disagreement means.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Changes flow both ways; what both sides changed differently is a conflict.
    #[default]
    TwoWay,
    /// Both ways, but the source wins what would be a conflict with it.
    TwoWaySource,
    /// Source to leaves; a leaf's edit of a path the source has is a conflict.
    OneWay,
    /// Source to leaves; a leaf's edit of a path the source has is overwritten.
    OneWaySource,
    /// Leaves become exact copies of the source.
    Mirror,
}

impl Mode {
    pub const ALL: [Self; 5] =
        [Self::TwoWay, Self::TwoWaySource, Self::OneWay, Self::OneWaySource, Self::Mirror];

    /// The word the command line uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TwoWay => "two-way",
            Self::TwoWaySource => "two-way-source",
            Self::OneWay => "one-way",
            Self::OneWaySource => "one-way-source",
            Self::Mirror => "mirror",
        }
    }

    /// Whether a leaf's change can reach the source.
    #[must_use]
    pub fn is_two_way(self) -> bool {
        matches!(self, Self::TwoWay | Self::TwoWaySource)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How the rules read values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub mode: Mode,
    /// Unread files of equal size and mtime count as equal (`yeet copy` without `--verify`).
    pub trust_times: bool,
}
