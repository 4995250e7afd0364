//! Mass deletes and roots that are not what they were.

use std::fs;

use crate::rig::Rig;

fn with_files(count: usize) -> Rig {
    let mut rig = Rig::new();
    for i in 0..count {
        rig.write(&format!("a/d{}/f{i}", i % 40), &format!("file {i}"));
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig
}

fn files(rig: &Rig, side: &str) -> usize {
    rig.tree(side).iter().filter(|line| line.contains(" file ")).count()
}

fn delete_everything(rig: &Rig, side: &str) {
    for entry in fs::read_dir(rig.path(side)).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() != ".yeet" {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

#[test]
fn d04_a_mass_delete_is_held_and_allow_lets_it_through() {
    let rig = with_files(3000);
    delete_everything(&rig, "b");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert!(files(&rig, "a") >= 2000, "at most 1,000 deletes are carried out");
    assert!(rig.exits(1, &["status"]).contains("\theld\t"));
    rig.write("a/other", "flows");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("b/other"), "flows");
    rig.ok(&["allow", "s"]);
    rig.settle();
    rig.equal();
    assert_eq!(files(&rig, "a"), 1);
    rig.exits(1, &["allow", "s"]);
}

#[test]
fn denied_it_brings_everything_back() {
    let rig = with_files(3000);
    let before = rig.tree("a");
    delete_everything(&rig, "a");
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig.ok(&["deny", "s"]);
    rig.settle();
    rig.equal();
    let is_file = |line: &&String| line.contains(" file ");
    let after = rig.tree("a");
    assert!(before.iter().filter(is_file).eq(after.iter().filter(is_file)), "everything is back");
}

#[test]
fn a_small_delete_flows_at_once() {
    let rig = with_files(200);
    fs::remove_dir_all(rig.path("a/d1")).unwrap();
    fs::remove_dir_all(rig.path("a/d2")).unwrap();
    rig.settle();
    rig.equal();
}

#[test]
fn d01_a_root_that_is_gone_or_replaced_holds_the_sync() {
    let mut rig = with_files(50);
    rig.stop();
    fs::rename(rig.path("b"), rig.path("elsewhere")).unwrap();
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert!(rig.exits(1, &["status"]).contains("held"));
    assert_eq!(files(&rig, "a"), 50);
    rig.stop();
    fs::create_dir(rig.path("b")).unwrap();
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(files(&rig, "a"), 50, "an empty directory in its place deletes nothing");
    assert_eq!(files(&rig, "b"), 0);
    rig.ok(&["allow", "s"]);
    rig.settle();
    rig.equal();
    assert_eq!(files(&rig, "b"), 50);
}
