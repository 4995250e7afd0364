//! Random histories of replicas on several machines: the cables between them are cut, each machine loses its power, agents
//! are killed, and what was asked for is done late, or never heard of.
//!
//! `YEET_SIM_SEEDS=0..1000000 cargo test --release --lib sim::links` runs others, as with `history`.

use super::history::{Place, run_all, seeds_or};

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
