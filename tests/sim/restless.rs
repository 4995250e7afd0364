//! A user who writes to a file all the time: before every other call of whoever carries it.
//!
//! Holds: what arrives is what the file had at one moment, whole; nothing else waits for it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::bench::{LEAF, SOURCE};
use super::world::World;
use crate::dataflow::model::path::RelPath;
use crate::sinks::journal::LogFilter;
use crate::sys::sim::{Kernel, with};

const ROUND: Duration = Duration::from_millis(500);

/// What the file holds after so many writes: it is not whole if its records are not all the same.
fn records(count: u32) -> Vec<u8> {
    format!("record {count:06}\n").repeat(3 + count as usize % 5).into_bytes()
}

fn log() -> RelPath {
    RelPath::parse(b"log").unwrap()
}

struct Writer {
    world: World,
    count: Rc<Cell<u32>>,
    /// Whether each write is seen before the actor hears how the attempt ended that it spoiled.
    is_seen_first: bool,
}

impl Writer {
    /// A sync with a log at its source, and whether the source's file system can share blocks.
    fn start(reflinks: bool) -> Self {
        let mut world = World::new(2, 0, true);
        with(|kernel| {
            let disk = &mut kernel.disks[SOURCE];
            (disk.reflinks, disk.unnamed) = (reflinks, reflinks);
            kernel.user_write(SOURCE, "log", &records(0));
        });
        world.start();
        Self { world, count: Rc::default(), is_seen_first: false }
    }

    /// Goes on for so long, writing before every call whose number `every` divides.
    fn write_for(&mut self, time: Duration, every: u64) {
        for _ in 0..time.as_millis() / ROUND.as_millis() {
            self.round(every);
        }
    }

    fn round(&mut self, every: u64) {
        let count = self.count.clone();
        let writes = move |kernel: &mut Kernel, call: u64| {
            if call.is_multiple_of(every) {
                count.set(count.get() + 1);
                kernel.user_write(SOURCE, "log", &records(count.get()));
            }
        };
        self.world.round(writes, self.is_seen_first, ROUND);
    }

    /// The number of the version that the leaf has; it must be a whole one.
    fn arrived(&self) -> Option<u32> {
        let bytes = with(|kernel| kernel.disks[LEAF].read("log"))?;
        let count: u32 = std::str::from_utf8(&bytes[7..13]).unwrap().parse().unwrap();
        assert_eq!(bytes, records(count), "it is a version that the file once had");
        Some(count)
    }

    fn explained(&mut self) -> String {
        let explained = self.world.actor().explain(&log()).expect("it is known");
        format!("{explained:?}")
    }

    fn rests_in_sync(&mut self) {
        let in_sync = |world: &mut World| world.actor().is_quiet() && world.outstanding().1 == 0;
        // More than any pause there is.
        for _ in 0..100 {
            self.world.round(|_, _| {}, self.is_seen_first, ROUND);
        }
        assert!(in_sync(&mut self.world));
        let last = with(|kernel| kernel.disks[SOURCE].read("log"));
        assert_eq!(with(|kernel| kernel.disks[LEAF].read("log")), last);
        assert_eq!(self.world.problems(), [] as [&str; 0]);
    }
}

#[test]
fn a_file_that_never_rests_is_carried_from_a_snapshot_again_and_again() {
    for every in [1, 2, 7] {
        let mut writer = Writer::start(true);
        writer.write_for(Duration::from_secs(6), every);
        assert_eq!(writer.arrived(), None, "it has changed under every attempt");
        let said = writer.explained();
        assert!(said.contains("changes while it is read"), "{said}");
        assert!(said.contains("s from a snapshot"), "{said}");
        assert!(!writer.world.actor().is_quiet(), "it will be carried");
        let rows = writer.world.actor().file_rows(&RelPath::root(), None);
        assert!(rows.iter().any(|row| row.why.contains("changes while it is read")), "{rows:?}");

        writer.write_for(Duration::from_secs(10), every);
        let first = writer.arrived().expect("a snapshot of it");
        writer.write_for(Duration::from_secs(15), every);
        let second = writer.arrived().expect("another one");
        assert!(first < second, "{first} {second}");
        assert_eq!(writer.world.problems(), [] as [&str; 0]);
        let journal = writer.world.actor().shop.journal.clone().unwrap();
        let lines = journal.log(&LogFilter::default(), 100).unwrap();
        assert!(lines.iter().any(|(_, line)| line.note.contains("from a snapshot")), "{lines:?}");

        writer.rests_in_sync();
        with(|kernel| assert_eq!(kernel.disks[SOURCE].tree().len(), 1, "nothing else is there"));
    }
}

#[test]
fn without_snapshots_a_file_that_never_rests_is_a_problem_until_it_does() {
    for is_seen_first in [false, true] {
        let mut writer = Writer { is_seen_first, ..Writer::start(false) };
        writer.write_for(Duration::from_secs(6), 2);
        assert_eq!(writer.world.problems(), [] as [&str; 0]);
        writer.write_for(Duration::from_secs(15), 2);
        assert_eq!(writer.arrived(), None);
        let problems = writer.world.problems();
        assert!(problems.len() == 1 && problems[0].contains("no snapshots"), "{problems:?}");
        let said = writer.explained();
        assert!(said.contains("carried when it has rested"), "{said}");
        writer.rests_in_sync();
    }
}

#[test]
fn nothing_waits_for_a_file_that_never_rests() {
    for reflinks in [true, false] {
        let mut writer = Writer::start(reflinks);
        writer.write_for(Duration::from_secs(5), 2);
        with(|kernel| kernel.user_write(SOURCE, "other", b"at rest"));
        writer.write_for(2 * ROUND, 2);
        assert_eq!(with(|kernel| kernel.disks[LEAF].read("other")).unwrap(), b"at rest");
    }
}

#[test]
fn a_file_that_rests_before_its_snapshot_is_carried_as_it_is() {
    let mut writer = Writer::start(true);
    writer.write_for(Duration::from_secs(4), 2);
    writer.rests_in_sync();
    let said = writer.explained();
    assert!(!said.contains("snapshot"), "{said}");
}

#[test]
fn a_file_that_goes_away_is_restless_no_more() {
    for reflinks in [true, false] {
        let mut writer = Writer::start(reflinks);
        writer.write_for(Duration::from_secs(if reflinks { 5 } else { 20 }), 2);
        with(|kernel| kernel.user_remove(SOURCE, "log"));
        writer.rests_in_sync();
    }
}
