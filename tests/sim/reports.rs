//! One job of a whole daemon, with a user who does something before each call of the worker that has it.
//!
//! Holds: whether the actor hears first what the worker did or what the user did, no version is lost, nothing is
//! removed that no user removed, and in the end all is the same, without a word too many.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::history;
use super::ledger::Ledger;
use super::users::{Deed, Dice, does};
use super::world::World;
use crate::sys::sim::{Kernel, with};

const SOURCE: usize = 0;
const LEAF: usize = 1;

/// What both have before, what a user of the source does then, and where.
struct Case {
    name: &'static str,
    change: &'static [Deed],
    path: &'static str,
}

const CASES: [Case; 7] = [
    Case { name: "a new file", change: &[Deed::Write("d/c")], path: "d/c" },
    Case { name: "an edit", change: &[Deed::Write("d/a")], path: "d/a" },
    Case { name: "a delete", change: &[Deed::Remove("d/a")], path: "d/a" },
    Case { name: "a move", change: &[Deed::Rename("d/a", "d/c")], path: "d/c" },
    Case { name: "a move, its old name", change: &[Deed::Rename("d/a", "d/c")], path: "d/a" },
    Case { name: "a new symlink", change: &[Deed::Link("d/c")], path: "d/c" },
    Case {
        name: "a symlink for a file",
        change: &[Deed::Remove("d/a"), Deed::Link("d/a")],
        path: "d/a",
    },
];

fn deeds(path: &'static str) -> [Deed; 6] {
    [
        Deed::Write(path),
        Deed::Disguise(path),
        Deed::Remove(path),
        Deed::Rename(path, "d/e"),
        Deed::Rename("d", "g"),
        Deed::Rename("d/b", path),
    ]
}

fn user(kernel: &mut Kernel, ledger: &mut Ledger, at: usize, deed: Deed) {
    // Always the same bytes would be no new version.
    let mut dice = Dice::new(kernel.calls + 1);
    does(kernel, ledger, &mut dice, at, deed);
}

fn acts(world: &World, at: usize, deed: Deed) {
    let ledger = world.ledger.clone();
    with(|kernel| user(kernel, &mut ledger.borrow_mut(), at, deed));
}

/// A sync at rest, in which the change of a case has been seen and its first job is about to run.
fn begun(case: &Case) -> World {
    let mut world = World::new(2, 0, true);
    for deed in [Deed::Write("d/a"), Deed::Write("d/b")] {
        acts(&world, SOURCE, deed);
    }
    world.start();
    assert!(world.rest(), "it begins in sync");
    case.change.iter().for_each(|deed| acts(&world, SOURCE, *deed));
    world.see();
    world.epoch();
    world
}

/// How many calls the workers make for a case.
fn calls(case: &Case) -> u64 {
    let mut world = begun(case);
    let before = with(|kernel| kernel.calls);
    world.round(|_, _| {}, false, Duration::ZERO);
    with(|kernel| kernel.calls) - before
}

fn meet(case: &Case, nth: u64, at: usize, deed: Deed, is_seen_first: bool) -> Result<(), String> {
    let mut world = begun(case);
    let (call, done) = (with(|kernel| kernel.calls) + nth, Rc::new(RefCell::new(false)));
    let ledger = world.ledger.clone();
    let meanwhile = move |kernel: &mut Kernel, now: u64| {
        if now >= call && !done.replace(true) {
            user(kernel, &mut ledger.borrow_mut(), at, deed);
        }
    };
    world.round(meanwhile, is_seen_first, Duration::from_millis(20));
    world.look();
    let ended = history::end(&mut world, &mut Dice::new(nth));
    if at == LEAF && matches!(deed, Deed::Disguise(_)) && has_just_got_its_name() {
        return Ok(());
    }
    ended
}

/// Whether the user was there before yeet had looked once at what it had just put in its place: as many bytes and the
/// same mtime are then taken for its own (docs/design/0005).
fn has_just_got_its_name() -> bool {
    with(|kernel| {
        let mut lines = kernel.log.iter().rev().skip_while(|line| !line.starts_with("user of"));
        let before = lines.nth(1).map_or("", String::as_str);
        before.contains(": rename ") || before.contains(": link ")
    })
}

const SHOWN_MAX: usize = 20;

/// Has a user act before each call, until enough is known to be wrong. Returns how often one did.
pub(super) fn meet_everywhere(faults: &mut Vec<String>) -> u64 {
    let mut runs = 0;
    for case in &CASES {
        for nth in 0..=calls(case) {
            let ends = [SOURCE, LEAF].into_iter();
            for (at, deed) in ends.flat_map(|at| deeds(case.path).map(|deed| (at, deed))) {
                for is_seen_first in [false, true] {
                    if faults.len() == SHOWN_MAX {
                        return runs;
                    }
                    runs += 1;
                    if let Err(fault) = meet(case, nth, at, deed, is_seen_first) {
                        let order = if is_seen_first { "seen first" } else { "seen later" };
                        let what = format!("{deed:?} on {at} before call {nth}, {order}");
                        faults.push(format!("{}: {what}: {fault}", case.name));
                    }
                }
            }
        }
    }
    runs
}

#[test]
fn whoever_is_heard_first_nothing_is_lost_and_all_is_the_same_in_the_end() {
    let mut faults = Vec::new();
    let runs = meet_everywhere(&mut faults);
    println!("{runs} meetings");
    assert!(faults.is_empty(), "{faults:#?}");
}
