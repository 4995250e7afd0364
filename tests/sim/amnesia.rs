//! What a daemon remembers is removed, and the clock is set (D9): that may cost time and conflicts, and no byte.
//!
//! Holds: what was only kept still lies in its store afterwards, though nobody lists it any more. What a power loss left
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
    /// All that the daemon remembers is removed, and the sync is added anew.
    pub(super) fn lose_state(&mut self) {
        let all_there = with(|kernel| kernel.mounts.len() == self.disks);
        if self.crashed || !all_there {
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

    pub(super) fn set_clock(&self, dice: &mut Dice) {
        let by = i64::try_from(dice.below(2 * DAY_NS)).unwrap_or(0) - DAY_NS.cast_signed();
        with(|kernel| {
            kernel.log.push(format!("the clock is set by {by} ns"));
            kernel.set_clock(by);
        });
    }
}
