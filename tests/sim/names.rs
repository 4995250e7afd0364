//! Names that came and went are forgotten (0018), and nobody notices.

use super::bench::replica;
use super::habits::as_user;
use super::world::World;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::sys::sim::with;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

fn write(world: &World, at: usize, path: &str, text: &str) {
    as_user(world, at, |user| user.write(path, text.as_bytes()));
}

fn remove(world: &World, at: usize, path: &str) {
    as_user(world, at, |user| assert!(user.kernel.user_remove(at, path)));
}

/// Two replicas in sync, at rest, with a few names that stay.
fn in_sync() -> World {
    let mut world = World::new(2, 0, true);
    (0..4).for_each(|n| write(&world, 0, &format!("d/e{n}"), "it stays"));
    world.start();
    assert!(world.rest());
    world
}

/// New names until what is gone is forgotten.
fn forget(world: &mut World) {
    for n in 0..12 {
        write(world, 0, &format!("c{n}"), "for a moment");
        assert!(world.rest());
        remove(world, 0, &format!("c{n}"));
        assert!(world.rest());
    }
}

fn is_known(world: &mut World, text: &str) -> bool {
    world.actor().id_of(&path(text)).is_some()
}

/// What the journal knows of what is in the root.
fn remembered(world: &mut World) -> usize {
    let journal = world.actor().shop.journal.clone().unwrap();
    let replicas = ReplicaSet::of(&[Replica::SOURCE, replica(1)]);
    let facts = journal.facts_in(&RelPath::root(), replicas).unwrap();
    facts.len()
}

#[test]
fn a_name_that_is_gone_is_forgotten_with_its_past_and_what_is_there_is_not() {
    let mut world = in_sync();
    write(&world, 0, "a", "one");
    write(&world, 0, "g/b", "two");
    assert!(world.rest());
    remove(&world, 0, "a");
    remove(&world, 1, "g");
    assert!(world.rest());
    forget(&mut world);
    for gone in ["a", "g", "g/b"] {
        assert!(!is_known(&mut world, gone), "{gone} is known");
    }
    assert!((0..4).all(|n| is_known(&mut world, &format!("d/e{n}"))));
    let few = world.actor().engine.paths().end().0;
    assert!(few < 20, "{few} ids for six paths and those that are to be forgotten");
    assert!(remembered(&mut world) < 10, "{} facts", remembered(&mut world));
}

#[test]
fn a_name_that_comes_back_after_it_was_forgotten_is_a_new_one_at_either_side() {
    for at in 0..2 {
        let mut world = in_sync();
        write(&world, 0, "g/a", "one");
        assert!(world.rest());
        remove(&world, 0, "g");
        assert!(world.rest());
        forget(&mut world);
        assert!(!is_known(&mut world, "g"));
        write(&world, at, "g/a", "one");
        assert!(world.rest());
        let there = |at: usize| with(|kernel| kernel.disks[at].read("g/a"));
        assert_eq!((there(0), there(1)), (Some(b"one".to_vec()), Some(b"one".to_vec())));
        remove(&world, at, "g/a");
        assert!(world.rest());
        assert_eq!((there(0), there(1)), (None, None));
    }
}

#[test]
fn a_name_whose_job_is_under_way_stays_until_that_has_ended() {
    let mut world = in_sync();
    write(&world, 0, "a", "one");
    for _ in 0..3 {
        world.see();
        world.epoch();
    }
    assert!(!world.actor().running.is_empty());
    remove(&world, 0, "a");
    for n in 0..12 {
        write(&world, 1, &format!("c{n}"), "for a moment");
        remove(&world, 1, &format!("c{n}"));
        for _ in 0..3 {
            world.see();
            world.epoch();
        }
    }
    assert!(is_known(&mut world, "a"));
    world.work();
    assert!(world.rest());
    forget(&mut world);
    assert!(!is_known(&mut world, "a"));
}

#[test]
fn who_asks_while_names_are_forgotten_is_answered() {
    let mut world = in_sync();
    for n in 0..12 {
        write(&world, 0, &format!("c{n}"), "for a moment");
        assert!(world.rest());
        remove(&world, 0, &format!("c{n}"));
        world.ask_wait();
        world.ask_status(n % 2 == 0);
        assert!(world.rest());
        assert!(world.asked.is_empty(), "somebody waits in round {n}");
    }
    assert_eq!(world.ledger.borrow().fault, None);
    assert!(!is_known(&mut world, "c0"));
}

#[test]
fn what_is_held_back_or_in_conflict_is_not_forgotten() {
    let mut world = in_sync();
    write(&world, 0, "a", "one");
    write(&world, 1, "a", "two");
    assert!(world.rest());
    world.actor().pause(true);
    remove(&world, 0, "d/e1");
    forget(&mut world);
    assert!(is_known(&mut world, "a") && is_known(&mut world, "d/e1"));
    world.actor().pause(false);
    assert!(world.rest());
    let there = |at: usize, path: &str| with(|kernel| kernel.disks[at].read(path));
    assert_eq!(there(1, "d/e1"), None);
    assert_eq!((there(0, "a"), there(1, "a")), (Some(b"one".to_vec()), Some(b"two".to_vec())));
}
