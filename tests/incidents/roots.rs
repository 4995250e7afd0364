//! Roots that are one object, or one in the other, by whatever way.

use std::fs;
use std::os::unix::fs::symlink;

use crate::mount::Mount;
use crate::rig::Rig;

#[track_caller]
fn refused(rig: &Rig, args: &[&str], says: &str) {
    let out = rig.run(args);
    assert_eq!(out.code, 2, "{args:?}: {out:?}");
    assert!(out.stderr.contains(says), "{args:?}: {out:?}");
}

#[test]
fn d16_roots_that_are_one_or_nested_are_refused_by_every_way_to_them() {
    let mut rig = Rig::new();
    rig.write("a/in/f", "content");
    rig.write("o/deep/er/f", "content");
    symlink("a", rig.path("link")).unwrap();
    symlink("a/in", rig.path("link-in")).unwrap();
    rig.start();
    for (source, leaf, says) in [
        ("a", "a", "same"),
        ("a", "link", "same"),
        ("a", "a/../a/.", "same"),
        ("a", "a/in", "inside"),
        ("a/in", "a", "inside"),
        ("a", "link-in", "inside"),
        ("link-in", "a", "inside"),
        ("a", "link/new", "inside"),
        ("a", "link-in/new/er", "inside"),
    ] {
        refused(&rig, &["add", source, leaf], says);
    }
    assert_eq!(rig.ok(&["list"]), "");
    assert!(!rig.path("a/new").exists(), "nothing is made where it is refused");
    assert!(!rig.path("a/in/new").exists(), "nothing is made where it is refused");
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.ok(&["add", "--name", "t", "o", "c"]);
    refused(&rig, &["add", "--to", "s", "b"], "same");
    refused(&rig, &["add", "--to", "s", "c"], "same");
    refused(&rig, &["add", "--to", "s", "o/deep"], "inside");
    refused(&rig, &["move", "s", "b", "a/in"], "inside");
    refused(&rig, &["move", "s", "b", "c"], "same");
    refused(&rig, &["move", "s", "b", "o/deep"], "inside");
    refused(&rig, &["move", "s", "source", "o/deep"], "inside");
    rig.settle();
    rig.equal();
}

#[test]
fn d16_what_a_bind_mount_shows_is_recognised() {
    let mut rig = Rig::new();
    rig.write("a/in/deep/f", "content");
    let views = [("a", "view"), ("a/in", "view-in"), (".", "view-out")];
    let views = views.map(|(of, at)| Mount::bind(&rig.path(of), &rig.path(at)));
    if views.iter().any(Option::is_none) {
        return;
    }
    rig.start();
    for (source, leaf, says) in [
        ("a", "view", "same"),
        ("a", "view-in", "inside"),
        ("view-in", "a", "inside"),
        ("a", "view-in/deep", "inside"),
        ("a", "view-out", "inside"),
        ("a", "view-out/a", "same"),
        ("view-in", "view-out/a/in/deep", "inside"),
    ] {
        refused(&rig, &["add", source, leaf], says);
    }
    rig.ok(&["add", "--name", "s", "a", "b"]);
    refused(&rig, &["add", "--to", "s", "view-in"], "inside");
    refused(&rig, &["add", "view-in", "c"], "inside");
    refused(&rig, &["add", "view-out/b", "c"], "same");
    refused(&rig, &["move", "s", "b", "view-in"], "inside");
    rig.settle();
    rig.equal();
    assert_eq!(rig.read("a/in/deep/f"), "content");
    // What only looks alike is another directory.
    fs::create_dir_all(rig.path("view-2")).unwrap();
    rig.ok(&["add", "--name", "t", "view-2", "d"]);
}
