//! Names that are gone: when they are forgotten, and that nothing changes with them. Random histories forget after every
//! settle (`histories`).

use super::script::{Bench, path};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::paths::PathId;

/// A file and a directory with a file, in sync with one leaf.
fn in_sync() -> Bench {
    let mut bench = Bench::new(Mode::TwoWay, 1);
    bench.observe(
        "source lists /: a=1 d=dir
         leaf1 lists /: a=1 d=dir
         source lists d: x=2
         leaf1 lists d: x=2
         leaf1 agreed a=1
         leaf1 agreed d=dir
         leaf1 agreed d/x=2",
    );
    bench.settle();
    bench
}

fn id(bench: &Bench, text: &str) -> Option<PathId> {
    bench.engine.paths().lookup(&path(text))
}

/// The directory `d` and what is in it go at both ends.
fn both_remove_d(bench: &mut Bench) {
    bench.observe(
        "source lacks d
         leaf1 lacks d
         leaf1 agreed d
         leaf1 agreed d/x",
    );
    bench.settle();
}

#[test]
fn a_name_is_forgotten_once_nobody_has_it_and_nothing_is_agreed() {
    let mut bench = in_sync();
    let known = id(&bench, "a");
    for (step, jobs) in [("", 0), ("source lacks a", 1), ("leaf1 lacks a", 1)] {
        bench.observe(step);
        bench.settle();
        assert_eq!(bench.jobs().len(), jobs);
        assert_eq!(bench.forget_names(), []);
        assert_eq!(id(&bench, "a"), known);
    }
    bench.observe("leaf1 agreed a");
    bench.settle();
    assert_eq!(bench.forget_names(), [path("a")]);
    assert_eq!(id(&bench, "a"), None);
}

#[test]
fn a_directory_is_forgotten_with_all_that_was_in_it_and_its_ids_serve_others() {
    let mut bench = in_sync();
    let ids = ["d", "d/x"].map(|text| id(&bench, text));
    both_remove_d(&mut bench);
    assert_eq!(bench.forget_names(), [path("d/x")]);
    bench.observe("source holds b=3\nleaf1 holds c=dir\nleaf1 lists c: y=4");
    bench.settle();
    assert_eq!(bench.engine.paths().len(), 5);
    let again = ["b", "c", "c/y"].map(|text| id(&bench, text));
    assert!(again.contains(&ids[0]) && again.contains(&ids[1]), "{ids:?}, then {again:?}");
    assert_eq!(bench.jobs().len(), 2, "a file for the leaf, and a directory for the source");
}

#[test]
fn what_the_source_had_is_kept_while_it_may_have_it() {
    let mut bench = in_sync();
    bench.observe(
        "source lacks a
         leaf1 lacks a
         leaf1 agreed a
         source unlists /",
    );
    bench.settle();
    assert_eq!(bench.forget_names(), []);
    assert!(id(&bench, "a").is_some());
}

#[test]
fn what_somebody_has_in_hand_is_kept_with_what_is_above_it() {
    let mut bench = in_sync();
    both_remove_d(&mut bench);
    drop((bench.engine.past(), bench.engine.forgotten(), bench.engine.resolved()));
    let in_hand = id(&bench, "d/x").expect("not forgotten yet");
    assert!(bench.engine.forget_names(&[in_hand]).paths.is_empty());
    assert_eq!(id(&bench, "d/x"), Some(in_hand));
}
