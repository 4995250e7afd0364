//! Conflicts: nothing moves until the user says so, and nothing else waits.

use crate::rig::Rig;

fn conflicted() -> Rig {
    let mut rig = Rig::synced("two-way");
    rig.write("a/f", "base");
    rig.settle();
    rig.stop();
    rig.write("a/f", "source's");
    rig.write("b/f", "leaf's!!");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig
}

#[test]
fn d20_a_conflict_leaves_both_sides_alone_and_blocks_nothing_else() {
    let rig = conflicted();
    assert_eq!(rig.read("a/f"), "source's");
    assert_eq!(rig.read("b/f"), "leaf's!!");
    assert_eq!(rig.tree("a").len(), 1, "no new name appears");
    assert_eq!(rig.tree("b").len(), 1, "no new name appears");
    assert_eq!(rig.exits(1, &["conflicts"]), "s\tedit/edit\tf\n");
    assert_eq!(rig.exits(1, &["conflicts", "-p"]), "f\n");
    assert_eq!(rig.exits(1, &["conflicts", "-l"]).lines().count(), 2);
    assert!(rig.exits(1, &["status"]).contains("\tconflicts\t"));
    let why = rig.ok(&["explain", "a/f"]);
    assert!(why.contains("yeet resolve"), "{why}");
    rig.write("a/other", "flows");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("b/other"), "flows");
    assert_eq!(rig.run(&["diff", "a/f"]).code, 1);
    assert_eq!(rig.ok(&["cat", "--from", "b", "a/f"]), "leaf's!!");
}

#[test]
fn resolving_for_the_source_keeps_the_losers_bytes() {
    let rig = conflicted();
    rig.ok(&["resolve", "--keep", "source", "a/f"]);
    rig.settle();
    assert_eq!(rig.read("b/f"), "source's");
    rig.ok(&["restore", "a/f", "--to", rig.path("home/old").to_str().unwrap()]);
    assert_eq!(rig.read("home/old"), "leaf's!!");
    rig.ok(&["conflicts"]);
}

#[test]
fn resolving_for_the_leaf_takes_it_to_the_source() {
    let rig = conflicted();
    rig.ok(&["resolve", "--keep", "b", "a/f"]);
    rig.settle();
    assert_eq!(rig.read("a/f"), "leaf's!!");
    assert!(rig.ok(&["versions", "a/f"]).contains("source"));
}

#[test]
fn keeping_both_makes_the_one_second_file_there_ever_is() {
    let rig = conflicted();
    rig.ok(&["resolve", "--both", ".leaf", "a/f"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("a/f"), "source's");
    assert_eq!(rig.read("a/f.leaf"), "leaf's!!");
}

#[test]
fn resolving_with_a_third_file_gives_it_to_both() {
    let rig = conflicted();
    rig.write("home/merged", "merged");
    rig.ok(&["resolve", "--with", rig.path("home/merged").to_str().unwrap(), "a/f"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("a/f"), "merged");
}

#[test]
fn an_edit_after_the_resolve_stands_against_it() {
    let mut rig = conflicted();
    rig.ok(&["pause", "s"]);
    rig.ok(&["resolve", "--keep", "source", "a/f"]);
    rig.stop();
    rig.write("b/f", "edited once more");
    rig.start();
    rig.ok(&["resume", "s"]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("b/f"), "edited once more");
    assert_eq!(rig.exits(1, &["conflicts", "-p"]), "f\n");
}

#[test]
fn the_same_edit_on_both_sides_is_no_conflict() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/f", "base");
    rig.settle();
    rig.stop();
    rig.write("a/f", "the same");
    rig.write("b/f", "the same");
    rig.start();
    rig.settle();
}

#[test]
fn two_leaves_that_differ_are_a_conflict_that_names_both() {
    let mut rig = Rig::new();
    std::fs::create_dir(rig.path("c")).unwrap();
    rig.write("a/f", "base");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b", "c"]);
    rig.settle();
    rig.stop();
    rig.write("b/f", "b's edit");
    rig.write("c/f", "c's edit!");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("a/f"), "base");
    let sides = rig.exits(1, &["conflicts", "-l"]);
    assert!(sides.contains("\tb\t") && sides.contains("\tc\t"), "{sides}");
    rig.ok(&["resolve", "--keep", "c", "a/f"]);
    rig.settle();
    assert_eq!(rig.read("b/f"), "c's edit!");
}

/// A directory that one side replaced by a file while the other edited in it.
fn conflicted_below(files: &str, edits: &str) -> Rig {
    let mut rig = Rig::synced("two-way");
    rig.write("a/d/f", "base");
    rig.write("a/d/sub/g", "base");
    rig.settle();
    rig.stop();
    std::fs::remove_dir_all(rig.path(&format!("{files}/d"))).unwrap();
    rig.write(&format!("{files}/d"), "a file now");
    rig.write(&format!("{edits}/d/f"), "edited");
    rig.write(&format!("{edits}/d/new/h"), "new");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.exits(1, &["conflicts"]), "s\ttype/below\td\n");
    rig
}

#[test]
fn a_file_can_win_against_a_directory_with_edits_in_it() {
    for (files, edits, keep) in [("a", "b", "source"), ("b", "a", "b")] {
        let rig = conflicted_below(files, edits);
        assert_eq!(rig.read(&format!("{edits}/d/f")), "edited", "nothing moves before");
        rig.exits(1, &["resolve", "--both", ".old", "a/d"]);
        rig.ok(&["resolve", "--keep", keep, "a/d"]);
        rig.settle();
        assert_eq!((rig.read("a/d"), rig.read("b/d")), ("a file now".into(), "a file now".into()));
        rig.ok(&["conflicts"]);
        let kept = rig.ok(&["versions", &format!("{edits}/d")]);
        assert!(kept.contains("\td/f\n") && kept.contains("\td/new/h\n"), "{kept}");
    }
}

#[test]
fn a_directory_with_edits_in_it_can_win_against_a_file() {
    for (files, edits, keep) in [("a", "b", "b"), ("b", "a", "source")] {
        let rig = conflicted_below(files, edits);
        rig.ok(&["resolve", "--keep", keep, "a/d"]);
        rig.settle();
        rig.equal();
        assert_eq!(rig.read(&format!("{files}/d/f")), "edited");
        assert_eq!(rig.read(&format!("{files}/d/new/h")), "new");
        rig.ok(&["restore", &format!("{files}/d"), "--to", rig.path("home/old").to_str().unwrap()]);
        assert_eq!(rig.read("home/old"), "a file now");
    }
}
