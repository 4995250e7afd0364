//! Tallies as differences: what is outstanding below a directory is the sum of what every wish below it adds.

use differential_dataflow::difference::{Abelian, IsZero, Monoid, Multiply, Semigroup};

use super::rows::{Shape, Wish};
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::Tally;

impl IsZero for Tally {
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

impl Semigroup for Tally {
    fn plus_equals(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.pending += other.pending;
        self.conflicts += other.conflicts;
        self.blocked += other.blocked;
        self.deletes += other.deletes;
        self.up += other.up;
        self.down += other.down;
        self.own += other.own;
    }
}

impl Monoid for Tally {
    fn zero() -> Self {
        Self::default()
    }
}

impl Multiply<isize> for Tally {
    type Output = Self;
    #[allow(clippy::cast_possible_truncation, reason = "multiplicities of rows are -1, 0 and 1")]
    fn multiply(self, by: &isize) -> Self {
        let count = *by as i32;
        Self {
            bytes: self.bytes * *by as i64,
            pending: self.pending * count,
            conflicts: self.conflicts * count,
            blocked: self.blocked * count,
            deletes: self.deletes * count,
            up: self.up * count,
            down: self.down * count,
            own: self.own * count,
        }
    }
}

impl Abelian for Tally {
    fn negate(&mut self) {
        *self = self.multiply(&-1);
    }
}

impl Tally {
    /// One leaf-only path.
    pub(in crate::dataflow) const OWN: Self = Self { own: 1, ..Self::NOTHING };

    /// What one verdict adds to the directories above it.
    pub(in crate::dataflow) fn of(verdict: &Verdict) -> Self {
        let mut tally = Self::NOTHING;
        match verdict.act {
            Act::Conflict(_) => tally.conflicts = 1,
            Act::Blocked(_) => tally.blocked = 1,
            Act::Agree | Act::Read(_) | Act::Await => tally.pending = 1,
            Act::Delete { .. } => {
                tally.pending = 1;
                tally.deletes = 1;
            }
            Act::Put { to, .. } => {
                tally.pending = 1;
                tally.bytes = verdict.bytes.cast_signed();
                if to.is_source() {
                    tally.up = 1;
                } else {
                    tally.down = 1;
                }
            }
        }
        tally
    }

    /// What one wish adds: a sleeping one nothing.
    pub(in crate::dataflow) fn of_wish(wish: &Wish) -> Self {
        match wish.shape {
            Shape::Remnant => Self::NOTHING,
            Shape::Plain | Shape::DeleteDir | Shape::OverDir => Self::of(&wish.verdict),
        }
    }
}
