//! What a daemon remembers is removed, a root is brought back from an older copy, and the clock is set (D9): that may cost
//! time and conflicts, and no byte that is somewhere.
//!
//! Holds: of a root that is an older copy nothing is a user's edit or delete (docs/design/0020). What was only kept still lies in its store afterwards, though nobody lists it any more. What a power loss left
//! unconfirmed nothing but that memory tells from an edit, so the two never come together here.

use std::path::PathBuf;

use super::users::Dice;
use super::world::{ROOTS, World};
use crate::sinks::journal::memory;
use crate::sinks::journal::registry::SyncRecord;
use crate::sys::sim::with;

/// The clock is set by less than this, in either direction: what is kept is kept for longer.
const DAY_NS: u64 = 86_400_000_000_000;

impl World {
    pub(super) fn lose(&mut self, at: usize, dice: &mut Dice) {
        match dice.below(8) {
            0 | 1 => self.lose_state(),
            2 | 3 => self.set_clock(dice),
            4 | 5 if self.copy.is_none() => self.copy_disk(at),
            _ => self.bring_back(),
        }
    }

    /// All that the daemon remembers is removed, and the sync is added anew.
    pub(super) fn lose_state(&mut self) {
        let all_there = with(|kernel| kernel.mounts.len() == self.disks);
        if self.crashed || self.machines.are_in_question() || !all_there {
            return;
        }
        if self.is_up() {
            self.kill();
        }
        memory::wipe();
        let roots: Vec<PathBuf> = ROOTS[..self.disks].iter().map(PathBuf::from).collect();
        let (mode, groups) = (self.record.mode, std::mem::take(&mut self.record.groups));
        self.record = SyncRecord { mode, groups, ..SyncRecord::of_roots(&roots) };
        with(|kernel| {
            kernel.log.push("the state is removed".to_owned());
            self.ledger.borrow_mut().forgets(kernel);
        });
        self.start();
    }

    /// The disk of a replica as it is at a rest, for [`Self::bring_back`].
    pub(super) fn copy_disk(&mut self, at: usize) {
        if !self.is_up() || !self.rest() {
            return;
        }
        self.copy = with(|kernel| {
            kernel.log.push(format!("{at} is copied"));
            let mut disk = kernel.disks[at].clone();
            disk.flush();
            Some((at, disk))
        });
    }

    /// A disk is again what it was when it was copied.
    pub(super) fn bring_back(&mut self) {
        let all_there = with(|kernel| kernel.mounts.len() == self.disks);
        if self.crashed || self.machines.are_in_question() || !all_there {
            return;
        }
        let Some((at, disk)) = self.copy.take() else { return };
        if self.is_up() {
            self.kill();
        }
        with(|kernel| {
            kernel.log.push(format!("{at} is what it was"));
            self.ledger.borrow_mut().brought_back(kernel, at, disk);
        });
        self.start();
    }

    pub(super) fn set_clock(&self, dice: &mut Dice) {
        let by = i64::try_from(dice.below(2 * DAY_NS)).unwrap_or(0) - DAY_NS.cast_signed();
        with(|kernel| {
            kernel.log.push(format!("the clock is set by {by} ns"));
            kernel.set_clock(by);
        });
    }
}
