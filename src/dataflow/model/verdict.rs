//! What the rules say about one path and one leaf, and why.
//!
//! Holds: there is at most one verdict per path and leaf; a path in sync with a leaf has none. A [`Verdict`] is a
//! dataflow row and therefore small; the values it rests on are told apart by its `print`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::replica::{Replica, ReplicaSet};
use super::value::{Digest, Value};

/// What one leaf holds at a path, and what was last agreed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafView {
    pub leaf: Replica,
    pub value: Option<Value>,
    pub agreed: Option<Value>,
    /// Content of this leaf that gives way by the user's word.
    pub yields: Option<Value>,
}

/// Everything the rules may look at for one path. Absences count as asserted: the listed gate comes after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    pub source: Option<Value>,
    pub source_yields: Option<Value>,
    /// In slot order.
    pub leaves: Vec<LeafView>,
    /// Contents the path once had at the source.
    pub past: Vec<Digest>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Act {
    /// `to` gets a value; the bytes, if any are needed, come from `from`.
    Put { from: Replica, to: Replica },
    /// What `at` holds goes.
    Delete { at: Replica },
    /// Nothing moves; what both hold is recorded as agreed.
    Agree,
    /// These replicas' files have to be read before anything can be said.
    Read(ReplicaSet),
    /// Another leaf's change goes to the source first.
    Await,
    /// Both sides stay as they are until the user resolves it.
    Conflict(ConflictKind),
    /// An object that cannot be carried or looked at is in the way.
    Blocked(Obstacle),
}

/// How two sides disagree: the source's part first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConflictKind {
    /// Both changed what was agreed, differently.
    EditEdit,
    /// Both have something, nothing was agreed.
    CreateCreate,
    /// One edited, the other turned it into another type (or both did, differently).
    EditType,
    /// One-way: the leaf changed what only the source may change.
    LeafEdit,
    /// One-way: the leaf put another type in the way.
    LeafType,
    /// A directory is in the way of a file, and something below it would be lost.
    TypeBelow,
}

impl ConflictKind {
    /// The word `conflicts` prints.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::EditEdit => "edit/edit",
            Self::CreateCreate => "create/create",
            Self::EditType => "edit/type",
            Self::LeafEdit => "leaf-edit",
            Self::LeafType => "leaf-type",
            Self::TypeBelow => "type/below",
        }
    }
}

impl fmt::Display for ConflictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Obstacle {
    Unreadable(Replica),
    Special(Replica),
}

/// One leaf's verdict on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Verdict {
    pub leaf: Replica,
    pub act: Act,
    pub rule: Rule,
    /// Bytes to move.
    pub bytes: u64,
    /// Changes whenever a value this verdict rests on does.
    pub print: u64,
}

/// A verdict with the values it speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// `Put`: what `to` shall hold. `Agree`: what to record. Else `None`.
    pub new: Option<Value>,
    /// `Put`, `Delete`: what the place holds now and must still hold at the swap.
    pub expect: Option<Value>,
}

/// The rule that spoke: one arm per sentence `explain` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// Both hold the same; it is not recorded yet.
    SameOnBoth,
    /// Both no longer have it; it is not recorded yet.
    GoneOnBoth,
    /// Only the source changed since agreement.
    SourceChanged,
    /// Only the leaf changed since agreement.
    LeafChanged,
    /// Only the source has it, nothing was agreed.
    NewAtSource,
    /// Only the leaf has it, nothing was agreed.
    NewAtLeaf,
    /// The source deleted what the leaf left alone.
    DeletedAtSource,
    /// The leaf deleted what the source left alone.
    DeletedAtLeaf,
    /// One side edited, the other deleted: the edit wins (R8).
    EditBeatsDelete,
    /// Mode and mtime of both sides are merged; the content is equal, or only one side changed it (R5).
    MetadataMerged,
    /// Nothing agreed; the leaf holds what the source once held (R12).
    LeafIsStale,
    /// The user said that this content gives way.
    Resolved,
    /// The mode says that the source wins.
    SourceWins,
    /// The mode says that a leaf's change does not count.
    LeafUndone,
    /// The mode says that the leaf keeps no paths of its own.
    MirrorRemoves,
    /// One-way: the source no longer has it and the leaf changed it; it is the leaf's own now.
    BecomesLeafOnly,
    /// Nothing but unsynced content is left of a directory that was deleted (R10).
    RemnantStays,
    /// Something below a deleted directory lives, so the directory does (R8).
    ChildLives,
    /// Reading decides.
    NeedsReading,
    /// Both changed it, differently.
    BothChanged,
    /// Both created it, differently.
    BothCreated,
    /// Leaves changed it differently (R11).
    LeavesDisagree,
    /// Another leaf's change is taken first.
    OtherLeafFirst,
    /// The leaf changed what only the source may change.
    LeafMayNotChange,
    /// A directory with living content is in the way.
    DirectoryInTheWay,
    /// It cannot be looked at, or is of a kind that is not carried.
    CannotBeCarried,
}

impl Rule {
    /// The sentence `explain` prints.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SameOnBoth => "both sides hold the same; the agreement is being recorded",
            Self::GoneOnBoth => "neither side has it any more; the agreement is being recorded",
            Self::SourceChanged => "only the source changed it since they last agreed",
            Self::LeafChanged => "only the leaf changed it since they last agreed",
            Self::NewAtSource => "it is new at the source",
            Self::NewAtLeaf => "it is new at the leaf",
            Self::DeletedAtSource => "the source deleted it and the leaf left it alone",
            Self::DeletedAtLeaf => "the leaf deleted it and the source left it alone",
            Self::EditBeatsDelete => "one side edited it and the other deleted it: the edit wins",
            Self::MetadataMerged => "the content is not in dispute; mode and mtime are merged",
            Self::LeafIsStale => "the leaf holds an older version of the source",
            Self::Resolved => "resolved by the user",
            Self::SourceWins => "the source wins in this mode",
            Self::LeafUndone => "a leaf's change does not count in this mode",
            Self::MirrorRemoves => "a mirror holds only what the source holds",
            Self::BecomesLeafOnly => {
                "the source deleted it and the leaf had changed it: it is the leaf's own now"
            }
            Self::RemnantStays => "only unsynced content is left of a deleted directory",
            Self::ChildLives => "something below it was edited, so the directory stays",
            Self::NeedsReading => "size and times cannot tell; it is being read",
            Self::BothChanged => "both sides changed it since they last agreed",
            Self::BothCreated => "both sides have it, they differ and nothing was agreed",
            Self::LeavesDisagree => "leaves changed it differently",
            Self::OtherLeafFirst => "another leaf's change is taken to the source first",
            Self::LeafMayNotChange => "the leaf changed what only the source may change",
            Self::DirectoryInTheWay => "a directory with content that would be lost is in the way",
            Self::CannotBeCarried => "it cannot be read, or is of a kind that is not carried",
        }
    }
}
