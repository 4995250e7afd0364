//! The main sentences, one by one, as `agreed | source | leaf` and what is to be done.

use super::alphabet::{decisions, digest, of_leaf, policy, sentence, views};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::mode::Mode::{Mirror, OneWay, OneWaySource, TwoWay, TwoWaySource};

/// `agreed | source | leaf`, with more ` | agreed leaf` for more leaves.
fn check(case: &str, mode: Mode, verdict: &str) {
    check_with_past(case, &[], mode, verdict);
}

fn check_with_past(case: &str, past: &[u8], mode: Mode, verdict: &str) {
    let words: Vec<&str> = case.split('|').map(str::trim).collect();
    let mut leaves = vec![(words[0], words[2])];
    let more = words[3..].iter();
    leaves.extend(more.map(|leaf| leaf.split_once(' ').expect("agreed and leaf")));
    let mut v = views(words[1], &leaves);
    v.past = past.iter().map(|content| digest(*content)).collect();
    let decided = decisions(&v, policy(mode));
    let several = leaves.len() > 1;
    let told = (0..leaves.len()).map(|at| sentence(of_leaf(&decided, at), several));
    assert_eq!(told.collect::<Vec<_>>().join("; "), verdict, "{case}, {mode}");
}

fn check_all(case: &str, modes: &[Mode], verdict: &str) {
    modes.iter().for_each(|mode| check(case, *mode, verdict));
}

#[test]
fn what_is_new_appears_on_the_other_side() {
    check_all("- | f1 | -", &Mode::ALL, "leaf := f1 (NewAtSource)");
    check_all("- | u1 | -", &Mode::ALL, "leaf := u1 (NewAtSource)");
    check_all("- | - | link1", &[TwoWay, TwoWaySource], "source := link1 (NewAtLeaf)");
}

#[test]
fn what_only_a_leaf_has_is_left_alone_but_by_a_mirror() {
    check_all("- | - | f1", &[OneWay, OneWaySource], "nothing");
    check("- | - | f1", Mirror, "leaf := - (MirrorRemoves)");
    check("- | - | dir", Mirror, "leaf := - (MirrorRemoves)");
}

#[test]
fn what_one_side_changed_flows() {
    check_all("f1 | f2 | f1", &Mode::ALL, "leaf := f2 (SourceChanged)");
    check_all("f1 | f1 | f2", &[TwoWay, TwoWaySource], "source := f2 (LeafChanged)");
    check_all("link1 | link2 | link1", &Mode::ALL, "leaf := link2 (SourceChanged)");
    check_all("f1 | dir | f1", &Mode::ALL, "leaf := dir (SourceChanged)");
    check("dir | dirx | f1", TwoWay, "source := f1 (LeafChanged)");
}

#[test]
fn what_both_changed_alike_is_only_recorded() {
    check_all("f1 | f2 | f2", &Mode::ALL, "agree f2 (SameOnBoth)");
    check_all("- | dir | dir", &Mode::ALL, "agree dir (SameOnBoth)");
    check_all("f1 | - | -", &Mode::ALL, "agree - (GoneOnBoth)");
    check_all("remnant | - | -", &Mode::ALL, "agree - (GoneOnBoth)");
}

#[test]
fn what_both_changed_differently_is_a_conflict() {
    check("f1 | f2 | f3", TwoWay, "conflict edit/edit (BothChanged)");
    check("f1 | f2 | dir", TwoWay, "conflict edit/type (BothChanged)");
    check("f1 | link1 | f2", TwoWay, "conflict edit/type (BothChanged)");
    check("link1 | link2 | f1", TwoWay, "conflict edit/type (BothChanged)");
    check("- | f1 | f2", TwoWay, "conflict create/create (BothCreated)");
    check("- | f1 | dir", TwoWay, "conflict create/create (BothCreated)");
}

#[test]
fn in_two_way_source_the_source_wins_a_conflict() {
    check("f1 | f2 | f3", TwoWaySource, "leaf := f2 (SourceWins)");
    check("f1 | f2 | dir", TwoWaySource, "leaf := f2 (SourceWins)");
    check("- | dir | f2", TwoWaySource, "leaf := dir (SourceWins)");
}

#[test]
fn an_edit_beats_a_delete() {
    check_all("f1 | f2 | -", &[TwoWay, TwoWaySource], "leaf := f2 (EditBeatsDelete)");
    check_all("f1 | - | f2", &[TwoWay, TwoWaySource], "source := f2 (EditBeatsDelete)");
    check("dir | - | f2", TwoWay, "source := f2 (EditBeatsDelete)");
}

#[test]
fn a_delete_flows_to_what_was_left_alone_or_only_touched() {
    check_all("f1 | - | f1", &Mode::ALL, "leaf := - (DeletedAtSource)");
    check_all("f1 | - | f1xt", &Mode::ALL, "leaf := - (DeletedAtSource)");
    check_all("dir | - | dirx", &Mode::ALL, "leaf := - (DeletedAtSource)");
    check("f1 | f1t | -", TwoWay, "source := - (DeletedAtLeaf)");
}

#[test]
fn a_revert_to_an_older_value_is_an_edit() {
    check_with_past("f2 | f2 | f1", &[1, 2], TwoWay, "source := f1 (LeafChanged)");
    check_with_past("f2 | f1 | f2", &[1, 2], TwoWay, "leaf := f1 (SourceChanged)");
    check_with_past("f2 | f1 | f3", &[1, 2], TwoWay, "conflict edit/edit (BothChanged)");
}

#[test]
fn a_leaf_that_was_away_catches_up_silently() {
    for mode in Mode::ALL {
        check_with_past("- | f2 | f1", &[1], mode, "leaf := f2 (LeafIsStale)");
    }
    check_with_past("- | f2 | u1", &[1], TwoWay, "read leaf (NeedsReading)");
    check_with_past("- | f2 | u3", &[2], TwoWay, "conflict create/create (BothCreated)");
    // Only the source has a past, and an absence is none.
    check_with_past("- | f1 | f2", &[1], TwoWay, "conflict create/create (BothCreated)");
    check_with_past("- | - | f1", &[1], TwoWay, "source := f1 (NewAtLeaf)");
}

#[test]
fn mode_and_mtime_are_merged_and_never_a_conflict() {
    check("f1 | f1x | f1", TwoWay, "leaf := f1x (SourceChanged)");
    check("f1 | f1 | f1t", TwoWay, "source := f1t (LeafChanged)");
    check("f1 | f1x | f1t", TwoWay, "leaf := f1xt (MetadataMerged)");
    check("f1 | f1xt | f1t", TwoWay, "leaf := f1xt (MetadataMerged)");
    check("f1t | f1x | f1", TwoWay, "leaf := f1x (MetadataMerged)");
    check("- | f1x | f1t", TwoWay, "leaf := f1xt (MetadataMerged)");
    check("dir | dir | dirx", TwoWay, "source := dirx (LeafChanged)");
    check("- | dir | dirx", TwoWay, "leaf := dir (MetadataMerged)");
}

#[test]
fn an_edit_here_and_a_mode_there_are_combined() {
    check("f1 | f2 | f1x", TwoWay, "leaf := f2x (MetadataMerged)");
    check("f1 | f1x | f2t", TwoWay, "source := f2xt (MetadataMerged)");
    check("f1 | f1t | f2", TwoWay, "source := f2 (LeafChanged)");
}

#[test]
fn in_one_way_modes_the_source_s_mode_and_mtime_stand() {
    let one_way = [OneWay, OneWaySource, Mirror];
    check_all("f1 | f1 | f1xt", &one_way, "leaf := f1 (LeafUndone)");
    check_all("f1 | f1x | f1", &one_way, "leaf := f1x (SourceChanged)");
    check_all("f1 | f1x | f1t", &one_way, "leaf := f1x (MetadataMerged)");
    check_all("f1 | f2 | f1x", &one_way, "leaf := f2 (SourceChanged)");
    check_all("dir | dir | dirx", &one_way, "leaf := dir (LeafUndone)");
}

#[test]
fn one_way_undoes_deletes_and_stops_at_edits() {
    let one_way = [OneWay, OneWaySource, Mirror];
    check_all("f1 | f1 | -", &one_way, "leaf := f1 (LeafUndone)");
    check_all("f1 | f2 | -", &one_way, "leaf := f2 (LeafUndone)");
    check("f1 | f1 | f2", OneWay, "conflict leaf-edit (LeafMayNotChange)");
    check("f1 | f2 | f3", OneWay, "conflict leaf-edit (LeafMayNotChange)");
    check("f1 | f1 | dir", OneWay, "conflict leaf-type (LeafMayNotChange)");
    check("dir | dir | f1", OneWay, "conflict leaf-type (LeafMayNotChange)");
    check("f1 | f1 | link1", OneWay, "conflict leaf-edit (LeafMayNotChange)");
    check("- | f1 | f2", OneWay, "conflict create/create (BothCreated)");
}

#[test]
fn one_way_source_and_mirror_overwrite_edits() {
    for mode in [OneWaySource, Mirror] {
        check("f1 | f1 | f2", mode, "leaf := f1 (LeafUndone)");
        check("f1 | f1 | dir", mode, "leaf := f1 (LeafUndone)");
        check("f1 | f2 | f3", mode, "leaf := f2 (SourceWins)");
        check("- | f1 | f2", mode, "leaf := f1 (SourceWins)");
    }
}

#[test]
fn what_the_source_deletes_a_changed_leaf_keeps_for_itself() {
    check_all("f1 | - | f2", &[OneWay, OneWaySource], "agree - (BecomesLeafOnly)");
    check("f1 | - | f2", Mirror, "leaf := - (MirrorRemoves)");
}

#[test]
fn a_remnant_counts_as_gone() {
    check_all("remnant | - | dir", &Mode::ALL, "nothing");
    check_all("remnant | dir | -", &[TwoWay, TwoWaySource], "nothing");
    check_all("remnant | dirx | -", &[TwoWay, TwoWaySource], "nothing");
    check_all("remnant | dir | -", &[OneWay, OneWaySource, Mirror], "leaf := dir (NewAtSource)");
    check("remnant | f1 | -", TwoWay, "leaf := f1 (NewAtSource)");
    check("remnant | - | f1", TwoWay, "source := f1 (NewAtLeaf)");
    check_all("remnant | dir | dir", &Mode::ALL, "agree dir (SameOnBoth)");
    check("remnant | f1 | dir", TwoWay, "conflict create/create (BothCreated)");
}

#[test]
fn special_and_unreadable_objects_are_in_the_way_of_others_only() {
    check_all("- | fifo | -", &Mode::ALL, "nothing");
    check_all("- | - | fifo", &Mode::ALL, "nothing");
    check_all("- | fifo | fifo", &Mode::ALL, "nothing");
    let special = "blocked: special at leaf (CannotBeCarried)";
    check_all("- | f1 | fifo", &Mode::ALL, special);
    check_all("f1 | - | fifo", &Mode::ALL, special);
    let special = "blocked: special at source (CannotBeCarried)";
    check_all("f1 | fifo | f1", &Mode::ALL, special);
    check_all("f1 | fifo | fifo", &Mode::ALL, special);
    let unreadable = "blocked: unreadable at leaf (CannotBeCarried)";
    check_all("- | - | broken", &Mode::ALL, unreadable);
    check_all("f1 | f1 | broken", &Mode::ALL, unreadable);
    check_all("f1 | ignored | f2", &Mode::ALL, "nothing");
}

#[test]
fn files_are_read_only_where_it_matters() {
    check("f1 | u3 | f1", TwoWay, "leaf := u3 (SourceChanged)");
    check("f1 | u3 | f1x", TwoWay, "leaf := u3x (MetadataMerged)");
    check("f1 | u1 | f1", TwoWay, "read source (NeedsReading)");
    check("f1 | u1 | u1", TwoWay, "read source, leaf (NeedsReading)");
    check("- | u1 | f1", TwoWay, "read source (NeedsReading)");
    check("f1 | - | u1", TwoWay, "read leaf (NeedsReading)");
    check("f1 | - | u1", Mirror, "leaf := - (MirrorRemoves)");
    check("f1 | u1 | -", OneWay, "leaf := u1 (LeafUndone)");
    check("f3 | u1 | u3", TwoWay, "read leaf (NeedsReading)");
    check("f1 | f3 | u1", OneWaySource, "leaf := f3 (SourceWins)");
}

#[test]
fn leaves_with_the_same_edit_send_it_once() {
    check("f1 | f1 | f2 | f1 f2", TwoWay, "source := f2 (LeafChanged); wait (OtherLeafFirst)");
    check("f1 | f1 | f2 | f1 f2t", TwoWay, "source := f2t (LeafChanged); wait (OtherLeafFirst)");
}

#[test]
fn an_edit_of_one_leaf_beats_the_delete_of_another() {
    for mode in [TwoWay, TwoWaySource] {
        check("f1 | f1 | - | f1 f2", mode, "wait (OtherLeafFirst); source := f2 (LeafChanged)");
        check("f1 | f1 | - | f1 f1x", mode, "source := - (DeletedAtLeaf); wait (OtherLeafFirst)");
    }
}

#[test]
fn different_edits_of_leaves_are_a_conflict_of_those_leaves() {
    for mode in [TwoWay, TwoWaySource] {
        let both = "conflict edit/edit (LeavesDisagree); conflict edit/edit (LeavesDisagree)";
        check("f1 | f1 | f2 | f1 f3", mode, both);
        check("f1 | f1 | f2 | f1 f3 | f1 f1", mode, &format!("{both}; nothing"));
        check("f1 | f1 | f2 | f1 f3 | - -", mode, &format!("{both}; leaf3 := f1 (NewAtSource)"));
        check("f1 | f1 | f2 | f1 f3 | f1 -", mode, &format!("{both}; wait (LeavesDisagree)"));
        let both = "conflict edit/type (LeavesDisagree); conflict edit/type (LeavesDisagree)";
        check("f1 | f1 | f2 | f1 dir", mode, both);
        let both =
            "conflict create/create (LeavesDisagree); conflict create/create (LeavesDisagree)";
        check("- | - | f2 | - f3", mode, both);
    }
}

#[test]
fn a_leaf_waits_for_the_reading_of_another() {
    check("f1 | f1 | f2 | f1 u2", TwoWay, "wait (NeedsReading); read leaf2 (NeedsReading)");
    check("- | - | u1 | - u2", TwoWay, "read leaf1 (NeedsReading); read leaf2 (NeedsReading)");
}

#[test]
fn leaves_of_a_one_way_source_know_nothing_of_each_other() {
    check(
        "f1 | f1 | f2 | f1 -",
        OneWay,
        "conflict leaf-edit (LeafMayNotChange); leaf2 := f1 (LeafUndone)",
    );
}
