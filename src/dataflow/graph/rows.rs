//! The rows of the graph, and the difference of the state rows.
//!
//! Holds: a state row's difference is a set of bits under XOR ("this exact value is what these replicas hold, or
//! agreed on"), so a path that is in sync is one row whatever the number of leaves.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Semigroup};
use serde::{Deserialize, Serialize};

use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::{Act, Decision, Rule, Verdict};

/// Bit 0 the source, bit i leaf i, bit 32+i agreed with leaf i.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(in crate::dataflow) struct Bits(pub(in crate::dataflow) u64);

impl Bits {
    pub(in crate::dataflow) fn holds(replica: Replica) -> Self {
        Self(1 << replica.slot())
    }

    pub(in crate::dataflow) fn agreed(leaf: Replica) -> Self {
        Self(1 << (32 + leaf.slot()))
    }

    pub(in crate::dataflow) fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }

    /// The replicas of the low half.
    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    pub(in crate::dataflow) fn replicas(self) -> u32 {
        self.0 as u32
    }
}

impl IsZero for Bits {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Semigroup for Bits {
    fn plus_equals(&mut self, other: &Self) {
        self.0 ^= other.0;
    }
}

impl Monoid for Bits {
    fn zero() -> Self {
        Self(0)
    }
}

impl Abelian for Bits {
    fn negate(&mut self) {}
}

/// What is known about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum Row {
    /// Low bits: these replicas hold it. High bits: it is agreed with these leaves.
    Holds(Value),
    /// What these replicas hold in this directory is known completely.
    Listed,
    /// The source once held this; `age` grows with every such row of the path. One bit, any.
    Past { age: u32, digest: Digest },
    /// This content of these replicas gives way.
    Yields(Value),
}

/// What the state stage says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum Outcome {
    Wish(Wish),
    Dir(DirFacts),
    /// One-way: this leaf keeps content of its own here, which nothing may take away.
    Own(Replica),
}

/// Where a path is a directory, and where that directory is completely known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(in crate::dataflow) struct DirFacts {
    pub(in crate::dataflow) listed: ReplicaSet,
    pub(in crate::dataflow) dirs: ReplicaSet,
}

/// A verdict before the gates, with what the gates ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) struct Wish {
    pub(in crate::dataflow) verdict: Verdict,
    /// 64 bits of the digest of a file that could be renamed instead of copied; 0: it could not.
    pub(in crate::dataflow) tag: u64,
    pub(in crate::dataflow) shape: Shape,
    /// What the directory holds at the place that loses it is completely known.
    pub(in crate::dataflow) known: bool,
}

/// What a wish means for directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum Shape {
    Plain,
    /// A directory goes.
    DeleteDir,
    /// A directory gives way to something else.
    OverDir,
    /// Nothing is wished, but a directory that one side lacks comes back once something below it goes there.
    Remnant,
}

impl Wish {
    /// The wish of a decision about a path of which `facts` are known.
    pub(in crate::dataflow) fn of(decision: &Decision, facts: &DirFacts) -> Self {
        let was_dir = decision.expect.is_some_and(|v| v.is_dir());
        let (shape, moved) = match decision.verdict.act {
            Act::Put { .. } if was_dir && !decision.new.is_some_and(|v| v.is_dir()) => {
                (Shape::OverDir, None)
            }
            Act::Put { .. } if decision.expect.is_none() => (Shape::Plain, decision.new),
            Act::Delete { .. } if was_dir => (Shape::DeleteDir, None),
            Act::Delete { .. } => (Shape::Plain, decision.expect),
            Act::Put { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => (Shape::Plain, None),
        };
        let known = match (shape, decision.verdict.act) {
            (Shape::DeleteDir, Act::Delete { at }) | (Shape::OverDir, Act::Put { to: at, .. }) => {
                facts.listed.contains(at)
            }
            _ => false,
        };
        Self { verdict: decision.verdict, tag: moved.map_or(0, |v| tag(&v)), shape, known }
    }

    /// The sleeping wish of a remnant that is left at `at`, which is the source or `leaf`.
    pub(in crate::dataflow) fn remnant(leaf: Replica, at: Replica) -> Self {
        let to = if at.is_source() { leaf } else { Replica::SOURCE };
        let act = Act::Put { from: at, to };
        Self {
            verdict: Verdict { leaf, act, rule: Rule::ChildLives, bytes: 0, print: 0 },
            tag: 0,
            shape: Shape::Remnant,
            known: false,
        }
    }

    /// Of these replicas, the source and the leaf.
    pub(in crate::dataflow) fn ends(&self, replicas: ReplicaSet) -> ReplicaSet {
        let ends = ReplicaSet::of(&[Replica::SOURCE, self.verdict.leaf]);
        ReplicaSet::from_bits(replicas.bits() & ends.bits())
    }

    /// Whether both sides of the wish are completely known in `facts`, a directory.
    pub(in crate::dataflow) fn is_asserted(&self, facts: &DirFacts) -> bool {
        facts.listed.contains(Replica::SOURCE) && facts.listed.contains(self.verdict.leaf)
    }
}

/// A row that is ready to become a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) struct Ready {
    pub(in crate::dataflow) path: PathId,
    pub(in crate::dataflow) verdict: Verdict,
    pub(in crate::dataflow) moved_from: Option<PathId>,
    /// Something else than a directory goes, not to appear under another name: what the brake counts.
    pub(in crate::dataflow) loses_file: bool,
}

impl Ready {
    /// The row of a verdict about anything but a directory that goes or gives way.
    pub(in crate::dataflow) fn plain(path: PathId, verdict: Verdict) -> Self {
        Self {
            path,
            verdict,
            moved_from: None,
            loses_file: matches!(verdict.act, Act::Delete { .. }),
        }
    }

    pub(in crate::dataflow) fn directory(path: PathId, verdict: Verdict) -> Self {
        Self { loses_file: false, ..Self::plain(path, verdict) }
    }
}

/// A move: what goes at `from` comes at `to`, by the wish of `leaf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) struct Pair {
    pub(in crate::dataflow) at: Replica,
    pub(in crate::dataflow) from: PathId,
    pub(in crate::dataflow) to: PathId,
    pub(in crate::dataflow) leaf: Replica,
}

/// What the graph hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(in crate::dataflow) enum Output {
    /// Waits for nothing, moves aside.
    Ready(Ready),
    /// In conflict with this leaf, or something is in the way.
    Stuck(PathId, Replica),
    /// A directory's wish that became another verdict, which says something else below the same directories.
    Turned { path: PathId, wish: Wish, verdict: Verdict },
    /// As long as the pair counts, this row is not ready (a delete, or a put that copies) ...
    Withheld(Pair, Ready),
    /// ... and this one is (a put that renames).
    Moved(Pair, Ready),
}

/// The tag of a file worth renaming.
fn tag(value: &Value) -> u64 {
    match value {
        Value::File(file) if file.size > 0 => file.content.digest().map_or(0, |digest| {
            let [a, b, c, d, e, f, g, h, ..] = digest.0;
            u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(1)
        }),
        Value::File(_)
        | Value::Dir { .. }
        | Value::Symlink { .. }
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => 0,
    }
}
