//! What a daemon remembers is removed, a root is brought back from an older copy, and the clock is set (D9): that may cost
//! time and conflicts, and no byte that is somewhere.
//!
//! Holds: of a root that is an older copy nothing is a user's edit or delete (docs/design/0020). What was only kept still lies in its store afterwards, though nobody lists it any more. What a power loss left
//! unconfirmed nothing but that memory tells from an edit, so the two never come together here.

use std::path::PathBuf;

use super::announced::Remembered;
use super::habits::as_user;
use super::users::Dice;
use super::world::{ROOTS, World};
use crate::dataflow::model::path::RelPath;
use crate::sinks::journal::memory;
use crate::sinks::journal::registry::SyncRecord;
use crate::sys::sim::{Disk, with};

/// The clock is set by less than this, in either direction: what is kept is kept for longer.
const DAY_NS: u64 = 86_400_000_000_000;

/// A disk as it was once.
pub(super) struct Copied {
    at: usize,
    disk: Disk,
    /// What the daemon remembered then.
    known: Remembered,
}

impl Copied {
    /// Whether a daemon that left this can tell it from what it is a copy of. Not where no mark could be made since, and
    /// not by what was under way (docs/design/0020).
    fn is_known_by(&self, left: &Remembered) -> bool {
        let mark = reached(&self.disk);
        left.reached.get(self.at).is_some_and(|reached| *reached > mark) || left.is_as(&self.known)
    }
}

/// The mark in the store of a disk.
fn reached(disk: &Disk) -> u64 {
    let mut names = Vec::new();
    if let Some(store) = disk.at(".yeet/s") {
        disk.walk(store, "", &mut names);
    }
    let marks = names.iter().filter_map(|(name, _)| name.strip_prefix("reached-"));
    marks.filter_map(|mark| u64::from_str_radix(mark, 16).ok()).max().unwrap_or(0)
}

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
        if self.crashed || self.machines.are_in_question() || !self.all_there() {
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
        let disks = self.disks;
        let journal = self.actor().shop.journal.clone().expect("a daemon has a journal");
        let Some(known) = Remembered::of(&journal, disks) else { return };
        let disk = with(|kernel| {
            kernel.log.push(format!("{at} is copied"));
            let mut disk = kernel.disks[at].clone();
            disk.flush();
            disk
        });
        self.copy = Some(Copied { at, disk, known });
    }

    /// A disk is again what it was when it was copied.
    pub(super) fn bring_back(&mut self) {
        if self.crashed || self.machines.are_in_question() || !self.all_there() {
            return;
        }
        let Some(copy) = self.copy.take() else { return };
        if self.is_up() {
            self.kill();
        }
        let left = Remembered::left(&self.record.name, self.disks);
        if copy.is_known_by(&left) {
            with(|kernel| {
                kernel.log.push(format!("{} is what it was", copy.at));
                let ledger = &mut self.ledger.borrow_mut();
                ledger.brought_back(kernel, (copy.at, copy.disk), &left.listed);
            });
        }
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

#[test]
fn a_replica_whose_disk_is_full_is_known_as_an_older_copy_too() {
    let mut world = World::new(2, 0, true);
    world.start();
    world.copy_disk(1);
    as_user(&world, 1, |user| user.write("a", b"new"));
    with(|kernel| kernel.disks[1].full = true);
    assert!(world.rest());
    world.bring_back();
    with(|kernel| assert_eq!(kernel.disks[1].at("a"), None));
    with(|kernel| kernel.disks[1].full = false);
    assert!(world.rest());
    assert_eq!(world.ledger.borrow().fault, None);
    with(|kernel| assert!(kernel.disks.iter().all(|disk| disk.read("a").is_some())));
}

#[test]
fn a_version_whose_file_somebody_removed_is_listed_no_more_after_a_start() {
    let mut world = World::new(2, 0, true);
    world.start();
    for text in [b"old", b"new"] {
        as_user(&world, 0, |user| user.write("a", text));
        assert!(world.rest());
    }
    let listed = |world: &mut World| {
        let journal = world.actor().shop.journal.clone().expect("a daemon has a journal");
        journal.kept(&RelPath::root()).unwrap()
    };
    let (op, _) = listed(&mut world).remove(0);
    world.kill();
    with(|kernel| kernel.user_remove(1, &format!(".yeet/s/{op:016x}")));
    world.start();
    assert_eq!(listed(&mut world), []);
}
