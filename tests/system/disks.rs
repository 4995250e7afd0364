//! File systems that are full or may not be written, and names that are no text.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::mount::{Kind, Mount};
use crate::rig::Rig;

/// A file system of 16 MiB at `at`.
fn small(rig: &Rig, at: &str) -> Option<Mount> {
    Mount::sized(Kind::Ext4, 16, &rig.path("image"), &rig.path(at))
}

/// What `of` holds, at `at`.
fn bind(rig: &Rig, of: &str, at: &str) -> Option<Mount> {
    Mount::bind(&rig.path(of), &rig.path(at))
}

#[test]
fn a_full_leaf_is_a_problem_that_ends_with_space() {
    let mut rig = Rig::new();
    let Some(_disk) = small(&rig, "disk") else { return };
    rig.write("a/small", "fits");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "disk/leaf"]);
    rig.settle();
    fs::write(rig.path("disk/ballast"), vec![1; 8 << 20]).unwrap();
    rig.save("a/large", &vec![2; 8 << 20]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert!(rig.exits(1, &["status"]).contains("\tproblems\t"));
    let files = rig.exits(1, &["status", "--files"]);
    assert!(files.contains("large") && files.to_lowercase().contains("space"), "{files}");
    assert!(rig.ok(&["explain", "a/large"]).contains("free some space"));
    let tree = rig.tree("disk/leaf");
    assert_eq!(tree.len(), 1, "nothing partial is seen: {tree:?}");
    rig.write("a/other", "flows");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("disk/leaf/other"), "flows");
    fs::remove_file(rig.path("disk/ballast")).unwrap();
    rig.ok(&["resume", "s"]);
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("disk/leaf"));
    rig.ok(&["status"]);
}

#[test]
fn d05_a_full_leaf_keeps_the_old_version_of_what_does_not_fit() {
    let mut rig = Rig::new();
    let Some(_disk) = small(&rig, "disk") else { return };
    rig.write("a/f", "old");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "disk/leaf"]);
    rig.settle();
    rig.save("a/f", &vec![2; 24 << 20]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("disk/leaf/f"), "old");
    rig.write("a/f", "new and short");
    rig.settle();
    assert_eq!(rig.read("disk/leaf/f"), "new and short");
}

#[test]
fn a_leaf_that_may_not_be_written_holds_up_no_other() {
    let mut rig = Rig::new();
    let Some(disk) = bind(&rig, "b", "b") else { return };
    rig.write("a/f", "old");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b", "c"]);
    rig.settle();
    rig.stop();
    disk.set_writable(false);
    rig.write("a/f", "newer");
    rig.write("a/g", "new");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!((rig.read("c/f"), rig.read("c/g")), ("newer".into(), "new".into()));
    assert_eq!((rig.read("a/f"), rig.read("b/f")), ("newer".into(), "old".into()));
    assert!(rig.exits(1, &["status"]).contains("\tproblems\t"));
    let files = rig.exits(1, &["status", "--files"]).to_lowercase();
    assert!(files.contains("read-only"), "{files}");
    let why = rig.ok(&["explain", "a/f"]);
    assert!(why.contains("mount the file system writable"), "{why}");
    disk.set_writable(true);
    rig.ok(&["resume", "s"]);
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("b"));
}

#[test]
fn what_may_not_be_written_can_be_the_source_of_one_way() {
    let mut rig = Rig::new();
    let Some(view) = bind(&rig, "a", "view") else { return };
    view.set_writable(false);
    rig.write("a/dir/f", "content");
    rig.start();
    rig.ok(&["add", "--name", "s", "--mode", "one-way", "view", "b"]);
    rig.settle();
    assert_eq!(rig.read("b/dir/f"), "content");
    rig.write("a/dir/f", "edited");
    rig.write("a/g", "new");
    rig.settle();
    assert_eq!(rig.tree("view"), rig.tree("b"));
    rig.stop();
    rig.write("a/g", "edited while nobody looked");
    fs::remove_dir_all(rig.path("a/dir")).unwrap();
    rig.start();
    rig.settle();
    assert_eq!(rig.tree("view"), rig.tree("b"));
    assert!(!rig.path("a/.yeet").exists(), "nothing was written to it");
}

#[test]
fn a_name_that_is_no_text_is_a_name() {
    let rig = Rig::synced("two-way");
    let name = OsStr::from_bytes(b"caf\xe9 \xff\n\t");
    let (a, b) = (rig.path("a").join(name), rig.path("b").join(name));
    fs::create_dir(&a).unwrap();
    fs::write(a.join(name), "content").unwrap();
    rig.settle();
    assert_eq!(fs::read(b.join(name)).unwrap(), b"content");
    fs::write(b.join(name), "edited").unwrap();
    rig.settle();
    assert_eq!(fs::read(a.join(name)).unwrap(), b"edited");
    rig.ok(&["status", "--files"]);
    fs::remove_dir_all(&a).unwrap();
    rig.settle();
    rig.equal();
    assert!(rig.tree("b").is_empty());
}
