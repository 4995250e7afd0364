//! Stories: facts in, ready jobs out.

use super::script::{Bench, leaf, path};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::query::{Remains, Tally, Waits};

/// Facts and, after each `=>`, what is ready then.
fn check(mode: Mode, leaves: u8, story: &str) -> Bench {
    let mut bench = Bench::new(mode, leaves);
    for line in story.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if let Some(expected) = line.strip_prefix("=>") {
            bench.settle();
            assert_eq!(bench.picture().trim(), expected.trim(), "after: {story}");
        } else {
            bench.observe(line);
        }
    }
    bench
}

fn two_way(story: &str) -> Bench {
    check(Mode::TwoWay, 1, story)
}

#[test]
fn a_new_file_goes_over_once_both_sides_are_listed() {
    two_way(
        "source lists /: a=1
         =>
         leaf1 lists /:
         => put source>leaf1 a
         leaf1 holds a=1
         => agree leaf1 a
         leaf1 agreed a=1
         =>",
    );
}

#[test]
fn a_missing_file_is_no_delete_before_its_directory_is_listed() {
    two_way(
        "leaf1 agreed a=1
         source lists /: a=1
         =>
         leaf1 unlists /
         =>
         leaf1 lists /:
         => delete source a",
    );
}

#[test]
fn an_overflow_withdraws_what_rests_on_absences() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=dir
         source lists d: x=1
         leaf1 lists /: d=dir
         leaf1 lists d:
         => delete source d/x
         leaf1 unlists d
         =>
         leaf1 lists d: x=1
         =>",
    );
}

#[test]
fn children_wait_for_their_directory() {
    two_way(
        "source lists /: d=dir
         source lists d: x=1 e=dir
         source lists d/e: z=2
         leaf1 lists /:
         => put source>leaf1 d
         leaf1 holds d=dir
         leaf1 lists d:
         => agree leaf1 d, put source>leaf1 d/e, put source>leaf1 d/x",
    );
}

#[test]
fn a_directory_goes_after_everything_in_it() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         leaf1 agreed d/e=dir
         source lists /:
         leaf1 lists /: d=dir
         leaf1 lists d: x=1 e=dir
         => delete leaf1 d/x
         leaf1 lists d/e:
         => delete leaf1 d/e, delete leaf1 d/x
         leaf1 lacks d/x
         leaf1 lacks d/e
         => agree leaf1 no d/e, agree leaf1 no d/x
         leaf1 agreed d/x
         leaf1 agreed d/e
         => delete leaf1 d",
    );
}

#[test]
fn an_edit_below_a_deleted_directory_brings_the_directory_back() {
    let mut bench = two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         leaf1 agreed d/y=1
         source lists /:
         leaf1 lists /: d=dir
         leaf1 lists d: x=2 y=1
         => delete leaf1 d/y, put leaf1>source d
         source holds d=dir
         source lists d:
         => delete leaf1 d/y, put leaf1>source d/x",
    );
    let x = bench.engine.paths().lookup(&path("d/x")).expect("seen");
    assert_eq!(bench.engine.verdicts(x)[0].1, Waits::Nothing);
}

#[test]
fn an_edit_at_the_source_brings_back_what_the_leaf_deleted() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=dir
         source lists d: x=2
         leaf1 lists /:
         => put source>leaf1 d",
    );
}

#[test]
fn a_deleted_directory_at_the_source_waits_for_every_leaf() {
    check(
        Mode::TwoWay,
        2,
        "leaf1 agreed d=dir
         leaf2 agreed d=dir
         source lists /: d=dir
         source lists d:
         leaf1 lists /:
         leaf2 lists /: d=dir
         leaf2 lists d: x=1
         => put leaf2>source d/x
         source holds d/x=1
         => agree leaf2 d/x, put source>leaf1 d",
    );
}

#[test]
fn a_file_against_a_living_directory_is_a_conflict_at_the_directory() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=3
         leaf1 lists /: d=dir
         leaf1 lists d: x=2
         => | type/below leaf1 d
         leaf1 holds d/x=1
         => delete leaf1 d/x
         leaf1 lacks d/x
         => agree leaf1 no d/x
         leaf1 agreed d/x
         => put source>leaf1 d",
    );
}

#[test]
fn a_renamed_file_is_renamed() {
    let bench = two_way(
        "leaf1 agreed a=1
         leaf1 agreed d=dir
         leaf1 agreed d/x=2
         source lists /: b=1 d=dir
         source lists d: x=2
         leaf1 lists /: a=1 d=dir
         leaf1 lists d: x=2
         => move leaf1 a>b
         leaf1 holds a=3
         => put leaf1>source a, put source>leaf1 b",
    );
    assert_eq!(bench.engine.deletes(leaf(1)).outstanding, 0);
}

#[test]
fn what_one_leaf_deletes_and_another_copies_is_no_rename_at_the_source() {
    let agreed = "leaf1 agreed a=1\nleaf2 agreed a=1\nsource lists /: a=1\n";
    let copied = "leaf1 lists /:\nleaf2 lists /: a=1 b=1\n=> delete source a, put leaf2>source b";
    check(Mode::TwoWay, 2, &format!("{agreed}{copied}"));
    let renamed = "leaf1 lists /: a=1\nleaf2 lists /: b=1\n=> move source a>b";
    check(Mode::TwoWay, 2, &format!("{agreed}{renamed}"));
}

#[test]
fn a_renamed_directory_moves_its_files_one_by_one() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         leaf1 agreed d/y=2
         source lists /: e=dir
         source lists e: x=1 y=2
         leaf1 lists /: d=dir
         leaf1 lists d: x=1 y=2
         => put source>leaf1 e
         leaf1 holds e=dir
         leaf1 lists e:
         => agree leaf1 e, move leaf1 d/x>e/x, move leaf1 d/y>e/y
         leaf1 holds e/x=1
         leaf1 lacks d/x
         => agree leaf1 e, agree leaf1 e/x, agree leaf1 no d/x, move leaf1 d/y>e/y",
    );
}

#[test]
fn unread_files_are_not_paired() {
    two_way(
        "leaf1 agreed a=1
         source lists /: b=u1
         leaf1 lists /: a=1
         => delete leaf1 a, put source>leaf1 b",
    );
}

#[test]
fn an_ignored_directory_is_never_a_delete() {
    let mut bench = two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=dir
         source lists d: x=1
         leaf1 lists /: d=dir
         leaf1 lists d: x=1
         =>
         leaf1 holds d=ignored
         =>
         source holds d=ignored
         =>
         leaf1 holds d=dir
         =>
         leaf1 lists d:
         =>
         source holds d=dir
         => agree leaf1 d
         source lists d: x=1
         => agree leaf1 d, put source>leaf1 d/x",
    );
    let forgotten = bench.engine.forgotten();
    assert_eq!(forgotten, vec![(leaf(1), path("d")), (leaf(1), path("d/x"))]);
    assert!(bench.engine.forgotten().is_empty());
}

#[test]
fn an_agreement_loaded_below_something_ignored_is_forgotten() {
    let mut bench = two_way(
        "source lists /: d=dir
         leaf1 lists /: d=ignored
         leaf1 agreed d/x=1
         source lists d: x=1
         =>
         leaf1 lists /: d=dir
         leaf1 lists d:
         => agree leaf1 d, put source>leaf1 d/x",
    );
    assert_eq!(bench.engine.forgotten(), vec![(leaf(1), path("d/x"))]);
}

#[test]
fn a_mount_point_over_a_directory_hides_it_without_deleting() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=dir
         source lists d: x=1
         leaf1 lists /: d=dir
         leaf1 lists d: x=1
         =>
         leaf1 holds d=mount
         => | blocked leaf1 d
         leaf1 holds d=dir
         =>
         leaf1 lists d: x=1
         =>",
    );
}

#[test]
fn a_remnant_becomes_a_directory_again_when_something_is_made_in_it() {
    two_way(
        "leaf1 agreed d=remnant
         source lists /:
         leaf1 lists /: d=dir
         leaf1 lists d: i=ignored
         =>
         leaf1 holds d/x=1
         => put leaf1>source d
         source holds d=dir
         source lists d:
         => agree leaf1 d, put leaf1>source d/x",
    );
}

#[test]
fn a_remnant_at_the_source_sleeps_until_something_is_made_in_it() {
    two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /: d=dir
         source lists d: i=ignored
         leaf1 lists /:
         leaf1 agreed d/x
         => delete source d
         leaf1 agreed d=remnant
         =>
         source holds d=dir!
         =>
         source holds d/y=2
         => put source>leaf1 d
         leaf1 holds d=dir!
         leaf1 lists d:
         => agree leaf1 d, put source>leaf1 d/y",
    );
}

#[test]
fn a_remnant_at_the_source_leaves_the_other_leaf_its_directory() {
    check(
        Mode::TwoWay,
        2,
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         leaf2 agreed d=dir
         leaf2 agreed d/x=1
         source lists /: d=dir
         source lists d: i=ignored x=1
         leaf1 lists /:
         leaf2 lists /: d=dir
         leaf2 lists d: x=1
         => delete source d/x
         source lacks d/x
         leaf1 agreed d/x
         => delete leaf2 d/x
         leaf2 lacks d/x
         leaf2 agreed d/x
         => delete source d
         leaf1 agreed d=remnant
         =>
         leaf2 lacks d
         => delete source d
         leaf2 agreed d=remnant
         =>
         source holds d/y=2
         => put source>leaf1 d, put source>leaf2 d",
    );
}

#[test]
fn one_way_a_deleted_directory_stays_for_what_only_the_leaf_has() {
    check(
        Mode::OneWay,
        1,
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         source lists /:
         leaf1 lists /: d=dir
         leaf1 lists d: x=1 own=5
         => delete leaf1 d/x
         leaf1 lacks d/x
         leaf1 agreed d/x
         => agree leaf1 no d
         leaf1 agreed d
         =>",
    );
}

#[test]
fn one_way_a_file_does_not_replace_a_directory_with_content_of_the_leaf() {
    check(
        Mode::OneWay,
        1,
        "leaf1 agreed d=dir
         source lists /: d=1
         leaf1 lists /: d=dir
         leaf1 lists d: own=5
         => | type/below leaf1 d
         leaf1 lacks d/own
         => put source>leaf1 d",
    );
}

#[test]
fn a_resolution_is_dropped_once_it_is_carried_out() {
    let mut bench = two_way(
        "leaf1 agreed a=1
         source lists /: a=2
         leaf1 lists /: a=3
         => | edit/edit leaf1 a
         leaf1 yields a=3
         => put source>leaf1 a
         leaf1 holds a=2
         leaf1 agreed a=2
         =>",
    );
    assert_eq!(bench.engine.resolved(), vec![(leaf(1), path("a"))]);
}

#[test]
fn a_resolution_survives_the_loading_of_old_agreements() {
    let mut bench = two_way(
        "leaf1 yields a=3
         leaf1 agreed a=1
         source lists /: a=2
         leaf1 lists /: a=3
         => put source>leaf1 a",
    );
    assert!(bench.engine.resolved().is_empty());
}

#[test]
fn what_the_source_stops_holding_is_past() {
    let mut bench = two_way(
        "source lists /: a=1 d=dir
         source lists d: x=2
         source holds a=3
         source holds a=3!
         source lacks d
         leaf1 lists /: a=1
         => put source>leaf1 a",
    );
    let past: Vec<_> = bench.engine.past().into_iter().map(|(p, d)| (p, d.0[0])).collect();
    assert_eq!(past, vec![(path("a"), 1), (path("d/x"), 2)]);
}

#[test]
fn only_the_last_sixteen_contents_are_past() {
    let mut bench = Bench::new(Mode::TwoWay, 1);
    for round in 1..=20 {
        bench.observe(&format!("source lists /: a={round}"));
        if round % 3 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    let a = bench.engine.paths().lookup(&path("a")).expect("seen");
    let past: Vec<u8> = bench.engine.views(a).past.iter().map(|d| d.0[0]).collect();
    assert_eq!(past, (4..=19).collect::<Vec<u8>>());
}

#[test]
fn facts_below_what_is_no_directory_are_not_believed() {
    two_way(
        "source lists /: d=1
         leaf1 lists /:
         source holds d/x=2
         leaf1 lists d: y=3
         => put source>leaf1 d",
    );
}

#[test]
fn equal_facts_change_nothing() {
    let mut bench = two_way(
        "source lists /: a=1 d=dir
         source lists d: x=1
         leaf1 lists /: a=1
         leaf1 agreed a=1
         => put source>leaf1 d",
    );
    bench.observe(
        "source lists /: a=1 d=dir
         source lists d: x=1
         source holds a=1
         leaf1 lacks d
         leaf1 agreed a=1
         leaf1 lists /: a=1",
    );
    assert!(bench.engine.settle().is_empty());
}

#[test]
fn several_changes_of_a_path_in_one_epoch_end_as_the_last() {
    two_way(
        "source lists /: a=1
         leaf1 lists /:
         => put source>leaf1 a
         source holds a=2
         source lacks a
         source holds a=3
         leaf1 holds a=3
         leaf1 agreed a=1
         leaf1 agreed a=3
         =>",
    );
}

#[test]
fn tallies_count_what_is_below_by_leaf() {
    let mut bench = check(
        Mode::TwoWay,
        2,
        "leaf1 agreed a=1
         leaf2 agreed b=1
         source lists /: a=2 b=2 d=dir
         source lists d: x=1
         leaf1 lists /: a=3 d=dir
         leaf1 lists d:
         leaf2 lists /: b=1
         => agree leaf1 d, put source>leaf1 b, put source>leaf1 d/x, put source>leaf2 a, put source>leaf2 b, put source>leaf2 d | edit/edit leaf1 a",
    );
    let tallies = bench.engine.tallies(PathId::ROOT);
    let one = Tally { pending: 3, conflicts: 1, bytes: 200, down: 2, ..Tally::default() };
    let two = Tally { pending: 4, bytes: 300, down: 4, ..Tally::default() };
    assert_eq!(tallies, vec![(leaf(1), one), (leaf(2), two)]);
    let d = bench.engine.paths().lookup(&path("d")).expect("seen");
    assert_eq!(bench.engine.tallies(d)[0].1.pending, 2);
    assert_eq!(bench.engine.files(Replica::SOURCE), 3);
    assert_eq!(bench.engine.files_within(d, Replica::SOURCE), 1);
    let both = ReplicaSet::of(&[Replica::SOURCE, leaf(1), leaf(2)]);
    assert_eq!(bench.engine.listed(d), both);
}

#[test]
fn a_verdict_says_what_it_waits_for() {
    let mut bench = two_way(
        "leaf1 agreed o=dir
         leaf1 agreed o/x=1
         leaf1 agreed m=7
         source lists /: d=dir n=7
         source lists d: x=2
         leaf1 lists /: o=dir m=7
         leaf1 lists o: x=1
         => delete leaf1 o/x, move leaf1 m>n, put source>leaf1 d",
    );
    let mut waits = |at: &str| {
        let at = bench.engine.paths().lookup(&path(at)).expect("seen");
        bench.engine.verdicts(at)[0].1
    };
    assert_eq!(waits("d/x"), Waits::Parent(leaf(1)));
    assert_eq!(waits("o"), Waits::Below);
    assert!(matches!(waits("m"), Waits::Move(_)));
    assert_eq!(waits("o/x"), Waits::Nothing);
    bench.observe("source unlists /");
    bench.settle();
    let o = bench.engine.paths().lookup(&path("o")).expect("seen");
    let missing = ReplicaSet::of(&[Replica::SOURCE]);
    assert_eq!(bench.engine.verdicts(o)[0].1, Waits::Listing(missing));
}

#[test]
fn the_brake_sees_file_deletes_come_and_go() {
    let mut bench = two_way(
        "leaf1 agreed d=dir
         leaf1 agreed d/x=1
         leaf1 agreed d/y=2
         source lists /:
         leaf1 lists /: d=dir
         leaf1 lists d: x=1 y=2
         => delete leaf1 d/x, delete leaf1 d/y",
    );
    let deletes = bench.engine.deletes(leaf(1));
    assert_eq!((deletes.outstanding, deletes.came, deletes.went), (2, 2, 0));
    bench.observe("leaf1 lacks d/x");
    bench.settle();
    let deletes = bench.engine.deletes(leaf(1));
    assert_eq!((deletes.outstanding, deletes.came, deletes.went), (1, 0, 1));
}

#[test]
fn special_files_are_listed_and_what_remains_is_told_apart() {
    let bench = two_way(
        "source lists /:
         leaf1 lists /: d=dir p=fifo e=dir
         leaf1 lists d: i=ignored p=fifo
         leaf1 lists e: x=1
         => put leaf1>source d, put leaf1>source e",
    );
    let mut seen = Vec::new();
    bench.engine.skipped(&mut |replica, path, _| {
        seen.push((replica, path));
        true
    });
    assert_eq!(seen.len(), 2);
    let (d, e) = {
        let paths = bench.engine.paths();
        let id = |at: &str| paths.lookup(&path(at)).expect("seen");
        (id("d"), id("e"))
    };
    assert_eq!(bench.engine.remains(d, leaf(1)), Remains::Unsynced);
    assert_eq!(bench.engine.remains(e, leaf(1)), Remains::Live);
    assert_eq!(bench.engine.remains(d, Replica::SOURCE), Remains::Nothing);
}
