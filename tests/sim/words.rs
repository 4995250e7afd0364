//! What a user says by command, at a moment that no real daemon can be held at.

use super::users::{Deed, Dice, does};
use super::world::World;
use crate::dataflow::model::path::RelPath;
use crate::service::resolve::Resolved;
use crate::sources::control::wire::Winner;
use crate::sys::sim::with;

#[test]
fn a_replica_that_is_in_no_conflict_is_kept_only_by_what_one_of_the_conflict_holds() {
    let (mut world, mut dice) = (World::new(3, 0, true), Dice::new(1));
    let mut write = |world: &World, at: usize| {
        with(|kernel| {
            let mut ledger = world.ledger.borrow_mut();
            assert!(does(kernel, &mut ledger, &mut dice, at, Deed::Write("a")));
        });
    };
    write(&world, 0);
    world.start();
    assert!(world.rest());
    write(&world, 0);
    write(&world, 1);
    // Seen and settled, but no worker has carried the source's edit to the other leaf.
    for _ in 0..8 {
        world.see();
        world.epoch();
    }
    let keep = |world: &mut World| {
        let actor = world.actor();
        let id = actor.id_of(&RelPath::parse(b"a").unwrap()).unwrap();
        actor.resolve(id, &Winner::Keep("r2".to_owned()), true)
    };
    let Resolved::Stands(why) = keep(&mut world) else { panic!("the old content was kept") };
    assert_eq!(why, "r2 is not in this conflict: keep one of r0, r1");
    assert!(world.rest());
    let Resolved::Decided(what) = keep(&mut world) else { panic!("it holds what the source does") };
    assert!(what.starts_with("r0 keeps"), "{what}");
}
