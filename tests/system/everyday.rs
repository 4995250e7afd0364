//! A day's work on both sides.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::rig::Rig;

#[test]
fn what_one_side_has_the_other_gets_both_ways() {
    let mut rig = Rig::new();
    rig.write("a/one", "1");
    rig.write("a/dir/two", "2");
    rig.write("b/three", "3");
    rig.write("b/dir/four", "4");
    fs::create_dir(rig.path("a/empty")).unwrap();
    symlink("dir/two", rig.path("b/link")).unwrap();
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.tree("a").len(), 7);
    assert_eq!(rig.read("a/dir/four"), "4");
    let status = rig.ok(&["status"]);
    let fields: Vec<&str> = status.trim_end().split('\t').collect();
    assert_eq!(fields, ["s", "in-sync", "5", "0", "0", "0", "0", "0"]);
}

#[test]
fn edits_renames_deletes_modes_and_links_travel_while_the_daemon_runs() {
    let rig = Rig::synced("two-way");
    for i in 0..50 {
        rig.write(&format!("a/d{}/f{i}", i % 5), &format!("content {i}"));
    }
    rig.settle();
    rig.equal();
    rig.write("a/d0/f0", "edited at the source");
    rig.write("b/d1/f1", "edited at the leaf");
    fs::rename(rig.path("a/d2/f2"), rig.path("a/d3/renamed")).unwrap();
    fs::rename(rig.path("b/d4"), rig.path("b/d5")).unwrap();
    fs::remove_file(rig.path("b/d1/f6")).unwrap();
    fs::remove_dir_all(rig.path("a/d3")).unwrap();
    fs::set_permissions(rig.path("b/d0/f5"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("nowhere", rig.path("a/dangling")).unwrap();
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("b/d0/f0"), "edited at the source");
    assert_eq!(rig.read("a/d1/f1"), "edited at the leaf");
    assert!(rig.path("a/d5/f4").exists() && !rig.path("a/d4").exists());
    assert!(!rig.path("b/d3").exists(), "{}\n{:?}", rig.ok(&["log"]), rig.tree("b"));
    assert_eq!(fs::metadata(rig.path("a/d0/f5")).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn d28_names_that_are_odd_travel_as_they_are() {
    let rig = Rig::synced("two-way");
    let long = "x".repeat(255);
    for name in
        [&b"new\nline"[..], b"-rf", b"\xff\xfe", b"tab\there", b"back\\slash", long.as_bytes()]
    {
        fs::write(rig.path("a").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    rig.settle();
    rig.equal();
    assert_eq!(rig.tree("b").len(), 6);
}

#[test]
fn a_type_change_travels() {
    let rig = Rig::synced("two-way");
    rig.write("a/x", "a file");
    rig.write("a/y/in", "in a directory");
    rig.settle();
    fs::remove_file(rig.path("a/x")).unwrap();
    rig.write("a/x/now", "a directory");
    fs::remove_dir_all(rig.path("b/y")).unwrap();
    rig.write("b/y", "now a file");
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("b/x/now"), "a directory");
    assert_eq!(rig.read("a/y"), "now a file");
}

#[test]
fn an_edit_of_the_same_size_with_its_mtime_put_back_is_seen() {
    let rig = Rig::synced("two-way");
    for side in ["a", "b"] {
        let file = format!("{side}/{side}-file");
        rig.write(&file, "before");
        rig.settle();
        let mtime = fs::metadata(rig.path(&file)).unwrap().modified().unwrap();
        rig.write(&file, "after!");
        fs::File::options().write(true).open(rig.path(&file)).unwrap().set_modified(mtime).unwrap();
        rig.settle();
        rig.equal();
        let other = if side == "a" { "b" } else { "a" };
        assert_eq!(rig.read(&format!("{other}/{side}-file")), "after!");
    }
}

#[test]
fn what_changed_while_no_daemon_ran_is_carried_at_its_start() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/one", "1");
    rig.write("a/two", "2");
    rig.write("a/dir/three", "3");
    rig.settle();
    rig.stop();
    rig.write("a/one", "1, edited");
    fs::remove_file(rig.path("b/two")).unwrap();
    fs::remove_dir_all(rig.path("a/dir")).unwrap();
    rig.write("b/four", "4");
    rig.start();
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("b/one"), "1, edited");
    assert!(!rig.path("a/two").exists() && !rig.path("b/dir").exists());
    assert_eq!(rig.read("a/four"), "4");
}

#[test]
fn an_edit_beats_a_delete_and_brings_its_directory_back() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/dir/sub/kept", "old");
    rig.write("a/dir/sub/gone", "gone");
    rig.settle();
    rig.stop();
    rig.write("b/dir/sub/kept", "edited");
    fs::remove_dir_all(rig.path("a/dir")).unwrap();
    rig.start();
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("a/dir/sub/kept"), "edited");
    assert!(!rig.path("b/dir/sub/gone").exists());
}

#[test]
fn a_revert_to_an_older_value_is_an_edit() {
    let rig = Rig::synced("two-way");
    rig.write("a/f", "first");
    rig.settle();
    rig.write("a/f", "second");
    rig.settle();
    rig.write("b/f", "first");
    rig.settle();
    assert_eq!(rig.read("a/f"), "first");
}

#[test]
fn ignored_content_never_travels_and_is_never_deleted() {
    let rig = Rig::synced("two-way");
    rig.write("a/src/main.rs", "fn main() {}");
    rig.write("a/build/out.o", "object");
    rig.settle();
    assert!(rig.path("b/build/out.o").exists());
    rig.write("a/.yeetignore", "build/\n*.log\n");
    rig.settle();
    rig.write("a/build/two.o", "object");
    rig.write("b/noise.log", "noise");
    rig.settle();
    assert!(!rig.path("b/build/two.o").exists());
    assert!(!rig.path("a/noise.log").exists());
    assert!(rig.path("a/build/out.o").exists() && rig.path("b/build/out.o").exists());
    let why = rig.ok(&["explain", "a/noise.log"]);
    assert!(why.contains(".yeetignore"), "{why}");
    fs::remove_file(rig.path("b/.yeetignore")).unwrap();
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("a/noise.log"), "noise");
}

#[test]
fn d21_a_directory_with_ignored_content_stays_when_it_is_deleted_elsewhere() {
    let rig = Rig::synced("two-way");
    rig.write("a/.yeetignore", "*.secret\n");
    rig.write("a/dir/file", "synced");
    rig.settle();
    rig.write("b/dir/.env.secret", "only here");
    rig.settle();
    fs::remove_dir_all(rig.path("a/dir")).unwrap();
    rig.settle();
    assert_eq!(rig.read("b/dir/.env.secret"), "only here");
    assert!(!rig.path("b/dir/file").exists() && !rig.path("a/dir").exists());
    rig.write("b/dir/file", "again");
    rig.settle();
    assert_eq!(rig.read("a/dir/file"), "again");
}

#[test]
fn a_directory_with_ignored_content_at_the_source_stays_there_when_a_leaf_deletes_it() {
    let rig = Rig::synced("two-way");
    rig.write("a/.yeetignore", "*.secret\n");
    rig.write("a/dir/file", "synced");
    rig.settle();
    rig.write("a/dir/.env.secret", "only here");
    rig.settle();
    fs::remove_dir_all(rig.path("b/dir")).unwrap();
    rig.settle();
    assert_eq!(rig.read("a/dir/.env.secret"), "only here");
    assert!(!rig.path("a/dir/file").exists() && !rig.path("b/dir").exists());
    rig.write("a/dir/new", "again");
    rig.settle();
    assert_eq!(rig.read("b/dir/new"), "again");
    assert!(!rig.path("b/dir/.env.secret").exists());
}

#[test]
fn a_deleted_directory_that_stayed_for_ignored_content_goes_when_that_is_gone() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/.yeetignore", "*.secret\n");
    for dir in ["now", "later", "kept"] {
        rig.write(&format!("a/{dir}/sub/file"), "synced");
    }
    rig.settle();
    for dir in ["now", "later", "kept"] {
        rig.write(&format!("a/{dir}/sub/x.secret"), "only here");
    }
    rig.settle();
    for dir in ["now", "later", "kept"] {
        fs::remove_dir_all(rig.path(&format!("b/{dir}"))).unwrap();
    }
    rig.settle();
    let source = rig.path("a");
    let left = |dir: &str| source.join(dir).exists();
    assert!(left("now") && left("later") && left("kept"));
    fs::remove_file(rig.path("a/now/sub/x.secret")).unwrap();
    rig.settle();
    assert!(!left("now") && left("later") && left("kept"));
    rig.stop();
    fs::remove_file(rig.path("a/later/sub/x.secret")).unwrap();
    rig.start();
    rig.settle();
    assert!(!left("later") && left("kept"));
    assert_eq!(rig.read("a/kept/sub/x.secret"), "only here");
}

#[test]
fn special_files_are_skipped_and_listed_and_nothing_else_notices() {
    let rig = Rig::synced("two-way");
    assert!(Command::new("mkfifo").arg(rig.path("a/pipe")).status().unwrap().success());
    rig.write("a/file", "x");
    rig.settle();
    assert!(rig.path("b/file").exists() && !rig.path("b/pipe").exists());
    assert!(rig.ok(&["status", "--skipped"]).contains("pipe"));
    rig.ok(&["status", "-q"]);
}

#[test]
fn a_star_of_two_leaves_becomes_equal_and_a_late_leaf_catches_up_silently() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("c")).unwrap();
    rig.write("a/f", "first");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    fs::copy(rig.path("a/f"), rig.path("c/f")).unwrap();
    rig.write("b/f", "second");
    rig.settle();
    rig.ok(&["add", "--to", "s", "c"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("c/f"), "second", "what the source once held is stale, not a conflict");
    rig.write("c/new", "from c");
    rig.settle();
    assert_eq!(rig.read("b/new"), "from c");
}

#[test]
fn displaced_versions_can_be_listed_and_restored() {
    let rig = Rig::synced("two-way");
    rig.write("a/f", "first");
    rig.settle();
    rig.write("a/f", "second");
    rig.settle();
    fs::remove_file(rig.path("a/f")).unwrap();
    rig.settle();
    let versions = rig.ok(&["versions", "a/f"]);
    assert_eq!(versions.lines().count(), 2, "{versions}");
    rig.ok(&["restore", "a/f"]);
    rig.settle();
    assert_eq!(rig.read("b/f"), "second");
    let log = rig.ok(&["log", "a/f"]);
    assert!(log.contains("delete"), "{log}");
}

#[test]
fn paused_nothing_flows_and_resumed_it_does() {
    let rig = Rig::synced("two-way");
    rig.ok(&["pause", "s"]);
    rig.write("a/f", "while paused");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert!(rig.exits(1, &["status"]).contains("paused"));
    assert!(!rig.path("b/f").exists());
    rig.ok(&["resume", "s"]);
    rig.settle();
    rig.equal();
}

#[test]
fn inside_a_replica_the_name_can_be_left_out() {
    let rig = Rig::synced("two-way");
    assert!(rig.ok_in("a", &["set"]).contains("mode\ttwo-way\n"));
    rig.ok_in("b", &["set", "keep-age=5d"]);
    assert!(rig.ok(&["set", "s"]).contains("keep-age\t432000s\n"));
    fs::rename(rig.path("b"), rig.path("b2")).unwrap();
    rig.ok_in("a", &["move", "b", "../b2"]);
    assert!(rig.ok(&["list"]).contains("/b2"));
    rig.ok_in("a", &["forget"]);
    assert_eq!(rig.ok(&["list"]), "");
    rig.exits(2, &["set"]);
}

#[test]
fn a_directory_is_explained_with_what_is_outstanding_below() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/d/sub/f", "base");
    rig.settle();
    rig.stop();
    rig.write("a/d/sub/f", "source's");
    rig.write("b/d/sub/f", "leaf's!!");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    for dir in ["a", "a/d", "b/d/sub"] {
        let why = rig.ok(&["explain", &format!("./{dir}")]);
        assert!(why.contains("below it, with b: 1 in conflict"), "{why}");
    }
}

#[test]
fn a_dry_run_lists_what_a_copy_would_do_and_does_nothing() {
    let rig = Rig::new();
    rig.write("a/d/f", "1");
    for there in [false, true] {
        let plan = rig.ok(&["copy", "-n", "a", "new"]);
        assert!(plan.contains("\td/f\n"), "{plan}");
        assert_eq!(rig.path("new").exists(), there);
        fs::create_dir_all(rig.path("new")).unwrap();
        assert_eq!(fs::read_dir(rig.path("new")).unwrap().count(), 0);
    }
}

#[test]
fn a_copy_makes_the_destination_like_the_source_and_keeps_what_differed() {
    let rig = Rig::new();
    rig.write("a/one", "1");
    rig.write("a/dir/two", "2");
    rig.write("b/one", "other");
    rig.write("b/extra", "extra");
    rig.ok(&["copy", "a", "b"]);
    assert_eq!(rig.read("b/one"), "1");
    assert_eq!(rig.read("b/dir/two"), "2");
    assert_eq!(rig.read("b/extra"), "extra");
    let kept = || -> Vec<String> {
        let kept = fs::read_dir(rig.path("b/.yeet/copy")).unwrap();
        kept.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    };
    assert_eq!(kept(), ["other"]);
    assert_eq!(rig.ok(&["copy", "-n", "a", "b"]), "", "nothing is left to do");
    rig.ok(&["copy", "a", "b"]);
    assert_eq!(kept(), ["other"], "what is equal was not replaced again");
    rig.ok(&["copy", "--mirror", "a", "b"]);
    rig.equal();
}

#[test]
fn a_directory_with_another_name_arrives_as_moves_and_nothing_of_it_is_carried_again() {
    const FILES: usize = 200;
    let mut rig = Rig::new();
    for n in 0..FILES {
        rig.write(&format!("a/old/d{}/f{n}", n % 20), &format!("text {n}"));
    }
    rig.write("a/other/x", "y");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig.frozen(|| fs::rename(rig.path("a/old"), rig.path("a/other/new")).unwrap());
    rig.settle();
    rig.equal();
    let log = rig.ok(&["log", "s"]);
    let acts = |act| log.lines().filter(|line| line.split('\t').nth(2) == Some(act)).count();
    assert_eq!((acts("move"), acts("delete")), (FILES, 21), "of the directories alone:\n{log}");
}
