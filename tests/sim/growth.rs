//! What a daemon holds in memory (Q12): so many bytes a file, and no more for what users did before, also where nothing
//! of it can be carried.
//!
//! Holds: weighed is what comes back when the daemon is dropped, on the thread that runs all of it, but for the journal and
//! the stat cache: what these hold in memory has a maximum of its own, which is far above a simulation.

use super::habits::as_user;
use super::users::Dice;
use super::world::World;
use crate::sys::sim::heap;
use crate::sys::sim::with;

/// Two replicas and what was agreed, of a few hundred files; of a million it is a quarter of that.
const BYTES_A_FILE_MAX: isize = 1500;
/// What buffers may hold beside that.
const BYTES_MAX: isize = 16 << 10;
/// The names that are gone and not forgotten yet, and what holds their rows: the same after any number of rounds, but not
/// at each moment.
const BYTES_GONE_MAX: isize = 32 << 10;
/// New names in each round.
const NAMES: usize = 10;

/// Which names a round has of its own, that go again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    Nothing,
    Files,
    /// Directories with a file in each.
    Directories,
}

impl Fresh {
    /// The name that goes, and the file that is written.
    fn name(self, n: usize) -> Option<(String, String)> {
        match self {
            Self::Nothing => None,
            Self::Files => Some((format!("a{n}"), format!("a{n}"))),
            Self::Directories => Some((format!("a{n}"), format!("a{n}/b{n}"))),
        }
    }
}

/// What users do to so many files, again and again.
struct Churn {
    files: usize,
    rounds: usize,
    fresh: Fresh,
    /// The disk of the leaf is full.
    stuck: bool,
}

impl World {
    /// The bytes that the daemon holds, which is gone then.
    fn weigh(&mut self) -> isize {
        let actor = self.actor();
        let _bounded = (actor.shop.journal.clone(), actor.cache.clone());
        let before = heap::held();
        self.drop_daemon();
        before - heap::held()
    }
}

impl Churn {
    fn weight(&self) -> isize {
        let (mut world, mut dice) = (World::new(2, 0, true), Dice::new(1));
        let mut write = |world: &World, path: &str| {
            let text = format!("{:012x}", dice.roll());
            as_user(world, 0, |user| user.write(path, text.as_bytes()));
        };
        (0..self.files).for_each(|n| write(&world, &format!("d{n}")));
        world.start();
        assert!(world.rest(), "it begins in sync");
        with(|kernel| kernel.disks[1].full = self.stuck);
        for round in 0..self.rounds {
            for n in 0..NAMES {
                write(&world, &format!("d{}", n % self.files));
                if let Some((_, file)) = self.fresh.name(NAMES * round + n) {
                    write(&world, &file);
                }
            }
            for _ in 0..3 {
                world.see();
                world.epoch();
                world.work();
            }
            let fresh = (0..NAMES).filter_map(|n| self.fresh.name(NAMES * round + n));
            for (name, _) in fresh {
                as_user(&world, 0, |user| assert!(user.kernel.user_remove(0, &name)));
            }
            with(|kernel| {
                kernel.pass(std::time::Duration::from_millis(300));
                kernel.log.clear();
            });
            assert!(self.stuck || round % 8 != 0 || world.rest());
        }
        if !self.stuck {
            assert!(world.rest());
        }
        world.weigh()
    }
}

fn grows(fresh: Fresh, stuck: bool) -> Result<(), String> {
    let weight = |rounds| Churn { files: 20, rounds, fresh, stuck }.weight();
    let (few, many) = (weight(20), weight(140));
    let what =
        format!("{few} bytes after 20 rounds, {many} after 140; new: {fresh:?}, stuck: {stuck}");
    println!("{what}");
    let gone = if fresh == Fresh::Nothing { 0 } else { BYTES_GONE_MAX };
    if many > few + BYTES_MAX + gone { Err(format!("Q12: {what}")) } else { Ok(()) }
}

/// Whatever grows without end.
pub(super) fn weigh_everything(faults: &mut Vec<String>) {
    for fresh in [Fresh::Nothing, Fresh::Files, Fresh::Directories] {
        for stuck in [false, true] {
            faults.extend(grows(fresh, stuck).err());
        }
    }
}

#[test]
fn memory_does_not_grow_with_what_users_did_before() {
    let mut faults = Vec::new();
    weigh_everything(&mut faults);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_file_in_sync_takes_so_much_memory_and_no_more() {
    let weight = |files| Churn { files, rounds: 0, fresh: Fresh::Nothing, stuck: false }.weight();
    let (few, many) = (weight(100), weight(500));
    let each = (many - few) / 400;
    println!("{each} bytes a file: {few} of 100, {many} of 500");
    assert!(each <= BYTES_A_FILE_MAX, "{each} bytes a file");
}
