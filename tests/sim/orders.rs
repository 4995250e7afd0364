//! The same acts of users, all of them seen before any of them is carried, come to the same trees and the same conflicts:
//! whatever is told, looked at and done first, and whatever numbers the leaves have (Q6), and whichever of the two sides is
//! the source (Q7).
//!
//! Holds: what users do and the bytes they write come from the seed alone. Compared are names, bytes and conflicts, and
//! modes where the sides are the same: of two modes the source's stands, by the rules.

use std::collections::{BTreeMap, BTreeSet};

use super::bench::{Bytes, bytes_of};
use super::history::seeds_or;
use super::users::{Dice, act_at};
use super::world::World;
use crate::sys::sim::with;

const STEPS: usize = 150;
const ORDERS: u64 = 3;

/// What it comes to: the tree of each user, and what is in conflict.
#[derive(PartialEq, Eq, Debug)]
struct Outcome {
    trees: Vec<BTreeMap<String, (Option<Bytes>, u16)>>,
    conflicts: BTreeSet<String>,
}

impl Outcome {
    fn without_modes(mut self) -> Self {
        self.trees.iter_mut().flat_map(BTreeMap::values_mut).for_each(|(_, mode)| *mode = 0);
        self
    }

    /// What is not the same, if anything is.
    fn difference(&self, other: &Self) -> Option<String> {
        if self.conflicts != other.conflicts {
            let (one, two) = (&self.conflicts, &other.conflicts);
            return Some(format!("in conflict are {one:?}, or {two:?}"));
        }
        self.trees.iter().zip(&other.trees).enumerate().find_map(|(at, (one, two))| {
            let path =
                one.keys().chain(two.keys()).find(|path| one.get(*path) != two.get(*path))?;
            Some(format!("{path} of user {at} is {:?}, or {:?}", one.get(path), two.get(path)))
        })
    }
}

/// Some users, each at a replica, and in which order all is seen and done.
struct Staging<'a> {
    seed: u64,
    /// The replica of each user.
    replicas: &'a [usize],
    order: u64,
}

impl Staging<'_> {
    fn play(&self) -> Result<Outcome, String> {
        let (disks, mut dice) = (self.replicas.len(), Dice::new(self.seed));
        let mut world = World::new(disks, 0, !self.seed.is_multiple_of(6));
        for _ in 0..8 {
            self.act(&world, &mut dice, 0);
        }
        world.start();
        if !world.rest() {
            return Err("it does not begin in sync".to_owned());
        }
        // What arrived is older than what users do now.
        with(|kernel| kernel.pass(std::time::Duration::from_secs(1)));
        for _ in 0..=dice.below(6) {
            let at = dice.index(disks);
            self.act(&world, &mut dice, at);
        }
        let mut order = Dice::new(self.seed ^ self.order.wrapping_mul(0x9e37_79b9));
        world.see_in_any_order(&mut order);
        for _ in 0..STEPS {
            world.undisturbed(&mut order);
        }
        if !world.rest() {
            return Err("it does not come to rest".to_owned());
        }
        Ok(self.outcome(&mut world))
    }

    fn act(&self, world: &World, dice: &mut Dice, user: usize) {
        let other = self.replicas[(user + 1) % self.replicas.len()];
        let ledger = &mut world.ledger.borrow_mut();
        with(|kernel| act_at(kernel, ledger, dice, (self.replicas[user], other)));
    }

    fn outcome(&self, world: &mut World) -> Outcome {
        let conflicts = world.outstanding().0;
        let paths = world.actor().engine.paths();
        let path = |id| String::from_utf8_lossy(paths.path(id).as_bytes()).into_owned();
        let conflicts = conflicts.into_iter().map(path).collect();
        let tree = |at: &usize| {
            with(|kernel| {
                let disk = &kernel.disks[*at];
                let tree = disk.tree().into_iter();
                tree.map(|(path, ino)| (path, (bytes_of(disk, ino), disk.attributes(ino).mode)))
                    .collect()
            })
        };
        Outcome { trees: self.replicas.iter().map(tree).collect(), conflicts }
    }
}

/// Q6 and Q7 of what the users of a seed do.
fn compare(seed: u64) -> Result<(), String> {
    let play = |replicas: &[usize], order| Staging { seed, replicas, order }.play();
    let in_order: &[usize] = if seed.is_multiple_of(2) { &[0, 1] } else { &[0, 1, 2] };
    let first = play(in_order, 0)?;
    for order in 1..=ORDERS {
        if let Some(what) = first.difference(&play(in_order, order)?) {
            return Err(format!("Q6: in order {order}: {what}"));
        }
    }
    if in_order.len() == 3 {
        let what = first.difference(&play(&[0, 2, 1], 1)?);
        return what.map_or(Ok(()), |what| Err(format!("Q6: with other numbers: {what}")));
    }
    let mirrored = play(&[1, 0], 1)?.without_modes();
    let what = first.without_modes().difference(&mirrored);
    what.map_or(Ok(()), |what| Err(format!("Q7: with the sides swapped: {what}")))
}

/// Compares seed by seed, until enough is known to be wrong.
pub(super) fn compare_all(seeds: std::ops::Range<u64>, faults: &mut Vec<String>) {
    for seed in seeds {
        if let Err(what) = super::history::outcome_of(|| compare(seed)) {
            faults.push(format!("seed {seed}: {what}"));
        }
        if faults.len() == 20 {
            return;
        }
    }
}

#[test]
fn neither_the_order_of_things_nor_which_side_is_which_makes_a_difference() {
    let mut faults = Vec::new();
    compare_all(seeds_or(0..100), &mut faults);
    assert!(faults.is_empty(), "{faults:#?}");
}
