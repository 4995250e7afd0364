//! Random histories of replicas on several machines: the cables between them are cut, each machine loses its power, agents
//! are killed, and what was asked for is done late, or never heard of.
//!
//! `YEET_SIM_SEEDS=0..1000000 cargo test --release --lib sim::links` runs others, as with `history`.

use std::collections::BTreeSet;

use super::habits::as_user;
use super::history::{Place, outcome, run_all, seeds_or};
use super::world::World;
use crate::sys::sim::with;

/// Which disks are on machines of their own.
pub(super) fn disks_of(seed: u64, disks: usize) -> &'static [usize] {
    match (seed / 3 % 4, disks) {
        (0, _) => &[0],
        (1, _) => &[0, 1],
        (2, 3) => &[1, 2],
        _ => &[1],
    }
}

#[test]
fn whatever_becomes_of_machines_and_of_the_ways_between_them_no_byte_is_lost() {
    run_all(Place::Apart, seeds_or(0..100));
}

/// Histories that failed once, and what they found.
const FOUND: &[(u64, &str)] = &[
    (101, "an attempt for a connection that was lost ended the next one, and so on without end"),
    (341, "a root whose disk was full at first was taken for another one once it had an id"),
    (611, "a host crashed again before what its first power loss had taken was settled"),
    (1397, "a group between two hosts that one of them refused at first was answered by nobody"),
    (1690, "a host listed a directory before it had read its own rules above it"),
    (2444, "a file that was read together with others on a host was never told"),
    (2545, "a file that was read on a host just after it was written was never told"),
    (2970, "a directory on a host was listed before it was known that it is ignored no more"),
];

#[test]
fn what_random_histories_of_machines_found_stays_mended() {
    for (seed, what) in FOUND {
        let end = outcome((Place::Apart, *seed), &BTreeSet::new());
        assert_eq!(end, Ok(()), "seed {seed}: {what}");
    }
}

/// A file of a leaf on another machine goes to the source, and the daemon is killed after so many changes. What the
/// conflicts are once the user has gone on with it before the machine is reached again; `None`: it was no change of the daemon's.
fn conflicts_after_a_kill(changes: u64, away: &[usize]) -> Option<usize> {
    let mut world = World::new(2, 0, true);
    world.move_away(away);
    world.start();
    assert!(world.rest());
    as_user(&world, 1, |user| user.write("a", b"one"));
    with(|kernel| kernel.plan.die = Some(kernel.changes + changes));
    if world.rest() {
        return None;
    }
    world.kill();
    with(|kernel| kernel.plan.die = None);
    world.machines.lose_all();
    world.start();
    world.rest();
    as_user(&world, 1, |user| user.write("a", b"another"));
    world.machines.heal();
    assert!(world.rest());
    assert_eq!(world.ledger.borrow().fault, None);
    Some(world.outstanding().0.len())
}

#[test]
fn what_had_arrived_before_a_kill_is_agreed_once_its_machine_is_reached_again() {
    for away in [&[1][..], &[0, 1]] {
        let kills: Vec<usize> =
            (0..40).filter_map(|changes| conflicts_after_a_kill(changes, away)).collect();
        assert!(kills.len() > 1, "{kills:?}");
        assert_eq!(kills.iter().sum::<usize>(), 0, "{away:?}: {kills:?}");
    }
}
