//! Small before large, and nobody starves (Q11), over a link on which every byte takes its time.
//!
//! Holds: users write at either side all the while. A small file is one of at most 64 KiB; it may wait for small files
//! that came before it, for what the link was busy with, and for one batch that goes because it has waited longest.

use std::time::Duration;

use super::users::Dice;
use super::world::World;
use crate::sinks::schedule::Schedule;
use crate::sys::sim::with;

/// Ten megabytes a second.
const NS_PER_BYTE: i64 = 100;
const SMALL: usize = 64 << 10;
/// A batch ends with the file that makes it 4 MiB, and the largest of those that are not alone in one is 1 MiB.
const BATCH: usize = 5 << 20;
const LETTERS: [&str; 6] = ["a", "b", "c", "d", "e", "g"];

/// A file on its way.
struct Sent {
    at: usize,
    path: String,
    bytes: Vec<u8>,
    since_ns: i64,
    /// When it has to be there.
    until_ns: i64,
}

struct Link {
    world: World,
    dice: Dice,
    on_the_way: Vec<Sent>,
    count: usize,
}

fn clock_ns() -> i64 {
    with(|kernel| kernel.clock_ns)
}

fn time_of(bytes: usize) -> i64 {
    NS_PER_BYTE * i64::try_from(bytes).unwrap()
}

impl Link {
    fn start(seed: u64) -> Self {
        let mut world = World::new(2, 0, true);
        world.start();
        assert!(world.rest());
        with(|kernel| kernel.ns_per_byte = NS_PER_BYTE);
        Self { world, dice: Dice::new(seed), on_the_way: Vec::new(), count: 0 }
    }

    /// A user writes a new file of so many bytes, which are told and looked at at once.
    fn write(&mut self, len: usize) -> &Sent {
        let at = self.dice.index(2);
        let (dir, number) = (LETTERS[self.count % LETTERS.len()], self.count);
        self.count += 1;
        let path = format!("{dir}{number}");
        let mut bytes = self.dice.roll().to_le_bytes().repeat(len.div_ceil(8));
        bytes.truncate(len);
        with(|kernel| kernel.user_write(at, &path, &bytes));
        let since_ns = clock_ns();
        let is_small = |sent: &&Sent| sent.bytes.len() <= SMALL;
        let before: usize =
            self.on_the_way.iter().filter(is_small).map(|sent| sent.bytes.len()).sum();
        // Calls take their time, too: those for each small file, and some more.
        let calls = 1_000_000 * (10 + i64::try_from(self.on_the_way.len()).unwrap());
        let until_ns = since_ns + time_of(before + len + 2 * BATCH) + calls;
        self.on_the_way.push(Sent { at, path, bytes, since_ns, until_ns });
        self.on_the_way.last().unwrap()
    }

    /// All that happened is looked at and decided.
    fn take_in(&mut self) {
        self.world.see();
        self.world.epoch();
        self.world.see();
        self.world.epoch();
    }

    /// What has arrived by now is on its way no more; of the small ones, those that are late.
    fn arrive(&mut self) -> Vec<String> {
        let now = clock_ns();
        self.on_the_way.retain(|sent| {
            with(|kernel| kernel.disks[1 - sent.at].read(&sent.path)).as_ref() != Some(&sent.bytes)
        });
        let late = self.on_the_way.iter().filter(|s| s.bytes.len() <= SMALL && s.until_ns < now);
        late.map(|sent| {
            let (path, len, ms) = (&sent.path, sent.bytes.len(), (now - sent.since_ns) / 1_000_000);
            format!("{path} of {len} bytes is not there after {ms} ms")
        })
        .collect()
    }

    fn ends_in_sync(&mut self) -> Result<(), String> {
        for _ in 0..2000 {
            self.take_in();
            self.world.work();
            self.arrive();
            if self.on_the_way.is_empty() {
                return Ok(());
            }
            with(|kernel| kernel.pass(Duration::from_millis(1)));
        }
        let left = self.on_the_way.iter().map(|sent| &sent.path).collect::<Vec<_>>();
        Err(format!("Q11: {left:?} never arrive"))
    }

    /// So many small files come, each when the one before is there.
    fn small_ones_come(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let len = 1 + self.dice.index(SMALL);
            self.write(len);
            self.take_in();
            self.world.work_last();
            if let [first, ..] = self.arrive().as_slice() {
                return Err(format!("Q11: {first}"));
            }
            // With nothing small left, what is large takes what slots it may have.
            self.take_in();
        }
        Ok(())
    }
}

/// Small files come while large ones are on their way, which take longer than anything that comes later.
fn small_goes_first(seed: u64) -> Result<(), String> {
    let mut link = Link::start(seed);
    for _ in 0..6 {
        link.write(16 << 20);
    }
    for _ in 0..25 {
        let len = SMALL + link.dice.index(BATCH / 5 - SMALL);
        link.write(len);
    }
    link.take_in();
    link.small_ones_come(40)?;
    link.ends_in_sync()
}

/// Small files come one at a time while nothing but large ones are on their way: one slot is left to them.
fn a_slot_is_left(seed: u64) -> Result<(), String> {
    let mut link = Link::start(seed);
    for _ in 0..4 {
        link.write(16 << 20);
    }
    link.take_in();
    link.small_ones_come(10)
}

/// More small files than the slots can take come all the while.
fn nobody_starves(seed: u64) -> Result<(), String> {
    let mut link = Link::start(seed);
    let actor = link.world.actor();
    actor.schedule = Schedule::new(2);
    actor.pace.batch_jobs = 2;
    let backlog = [2 << 20, 900 << 10, 300 << 10, 100 << 10];
    let paths: Vec<_> = backlog.map(|len| link.write(len).path.clone()).into_iter().collect();
    for _ in 0..100 {
        for _ in 0..6 {
            link.write(100);
        }
        link.take_in();
        link.world.work_first();
        link.arrive();
        if !link.on_the_way.iter().any(|sent| paths.contains(&sent.path)) {
            return link.ends_in_sync();
        }
    }
    Err(format!("Q11: of {paths:?}, which are larger, not all get their turn"))
}

/// Until something is found to be wrong.
pub(super) fn send_everything(seeds: std::ops::Range<u64>, faults: &mut Vec<String>) {
    for seed in seeds {
        for send in [small_goes_first, a_slot_is_left, nobody_starves] {
            if let Err(what) = super::history::outcome_of(|| send(seed)) {
                return faults.push(format!("seed {seed}: {what}"));
            }
        }
    }
}

#[test]
fn a_small_file_waits_for_nothing_large_and_a_large_one_not_for_ever() {
    let mut faults = Vec::new();
    send_everything(0..4, &mut faults);
    assert!(faults.is_empty(), "{faults:#?}");
}
