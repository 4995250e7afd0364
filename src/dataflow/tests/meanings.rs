//! Contents that differ in bytes and say the same.

use super::script::{Bench, value};
use crate::dataflow::model::job::Op;
use crate::dataflow::model::mode::Mode;

/// In sync with content 1; contents 1, 2 and 3 mean the same, 4 and 5 mean another.
fn in_sync() -> Bench {
    let mut bench = Bench::new(Mode::TwoWay, 1);
    bench.observe(
        "source means 1=9
         source means 2=9
         source means 3=9
         source means 4=8
         source means 5=8
         leaf1 agreed i=1
         source lists /: i=1
         leaf1 lists /: i=1",
    );
    bench.settle();
    assert_eq!(bench.picture(), "");
    bench
}

fn after(bench: &mut Bench, facts: &str) -> String {
    bench.observe(facts);
    bench.settle();
    bench.picture()
}

#[test]
fn what_means_the_same_is_no_edit_on_one_side_or_on_both() {
    let mut bench = in_sync();
    assert_eq!(after(&mut bench, "source holds i=2"), "");
    assert_eq!(after(&mut bench, "leaf1 holds i=3"), "");
    assert_eq!(after(&mut bench, "source holds i=1"), "");
}

#[test]
fn an_edit_goes_over_what_only_differs_in_bytes_and_names_the_bytes_that_are_there() {
    let mut bench = in_sync();
    assert_eq!(after(&mut bench, "leaf1 holds i=3"), "");
    assert_eq!(after(&mut bench, "source holds i=4"), "put source>leaf1 i");
    let job = bench.jobs().remove(0);
    let Op::Put { new, expect, .. } = job.op else { panic!("{job:?}") };
    assert_eq!((new, expect), (value("4"), Some(value("3"))));
}

#[test]
fn the_same_edit_in_other_bytes_is_agreed_and_another_is_a_conflict() {
    let mut bench = in_sync();
    let both = "source holds i=4
                leaf1 holds i=5";
    assert_eq!(after(&mut bench, both), "agree leaf1 i");
    assert_eq!(after(&mut bench, "leaf1 agreed i=4"), "");
    let apart = "source holds i=6
                 leaf1 holds i=7";
    assert_eq!(after(&mut bench, apart), " | edit/edit leaf1 i");
}
