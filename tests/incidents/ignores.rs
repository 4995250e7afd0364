//! What a rule leaves out, and what is equal anyway.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use crate::rig::Rig;

/// The lines of a replica's tree that are files, but for files of rules.
fn files(rig: &Rig, side: &str) -> Vec<String> {
    let is_file = |line: &String| line.contains(" file ") && !line.contains(".yeetignore");
    rig.tree(side).into_iter().filter(is_file).collect()
}

fn grown(rig: &Rig) {
    for i in 0..6 {
        rig.write(&format!("a/src/f{i}.rs"), "code");
        rig.write(&format!("a/src/f{i}.log"), "log");
        rig.write(&format!("a/build/deep/f{i}.o"), "object");
        rig.write(&format!("a/f{i}.log"), "log");
    }
}

#[test]
fn d15_no_edit_of_any_rules_on_any_side_at_any_time_deletes_anything() {
    let mut rig = Rig::synced("two-way");
    grown(&rig);
    rig.settle();
    let before = files(&rig, "a");
    let edits: [&[(&str, Option<&str>)]; 12] = [
        &[("a/.yeetignore", Some("*.log\n"))],
        &[("b/src/.yeetignore", Some("!f1.log\nf2.rs\n"))],
        &[("a/.yeetignore", None)],
        &[("b/src/.yeetignore", None)],
        &[("a/.yeetignore", Some("build/\n")), ("b/.yeetignore", Some("*.rs\n"))],
        &[("b/.yeetignore", Some("src\n")), ("a/src/.yeetignore", Some("*\n"))],
        &[("a/build/.yeetignore", Some("deep\n")), ("b/build/deep/.yeetignore", Some("*.o\n"))],
        &[("a/.yeetignore", None), ("b/.yeetignore", None)],
        &[("a/src/.yeetignore", None), ("b/build/.yeetignore", Some("!deep\n"))],
        &[("a/.yeetignore", Some("*\n"))],
        &[("b/.yeetignore", Some("*\n!*.rs\n")), ("a/.yeetignore", Some("/build\n"))],
        &[("a/.yeetignore", None), ("b/.yeetignore", None), ("a/build/.yeetignore", None)],
    ];
    for (round, edits) in edits.iter().cycle().take(36).enumerate() {
        let how = round / 12;
        match how {
            0 => {}
            1 => rig.stop(),
            _ => drop(rig.ok(&["pause", "s"])),
        }
        for (path, text) in *edits {
            match text {
                Some(text) => rig.write(path, text),
                None => drop(fs::remove_file(rig.path(path))),
            }
            // The second is seen when the first has been acted on, or at once.
            if how == 0 && round % 2 == 0 {
                drop(rig.run(&["wait", "--timeout", "60"]));
            }
        }
        if how == 1 {
            rig.start();
        }
        rig.ok(&["resume", "s"]);
        drop(rig.run(&["resolve", "--sync", "s", "--keep", "source", "--all"]));
        drop(rig.run(&["wait", "--timeout", "60"]));
        assert_eq!(files(&rig, "a"), before, "round {round}");
        assert_eq!(files(&rig, "b"), before, "round {round}");
    }
}

#[test]
fn d15_what_is_deleted_and_ignored_at_once_stays_on_the_other_side() {
    for rules_first in [true, false] {
        let mut rig = Rig::synced("two-way");
        grown(&rig);
        rig.settle();
        let before = files(&rig, "b");
        rig.stop();
        // One side has the rules and no longer the files; the other has not heard of the rules.
        rig.write("a/.yeetignore", "*.log\nbuild/\n");
        for i in 0..6 {
            fs::remove_file(rig.path(&format!("a/f{i}.log"))).unwrap();
        }
        fs::remove_dir_all(rig.path("a/build")).unwrap();
        rig.start();
        rig.settle();
        assert_eq!(files(&rig, "b"), before);
        if rules_first {
            fs::remove_file(rig.path("b/.yeetignore")).unwrap();
        } else {
            rig.stop();
            fs::remove_file(rig.path("a/.yeetignore")).unwrap();
            rig.start();
        }
        rig.settle();
        rig.equal();
        assert_eq!(files(&rig, "a"), before, "it counts as new where it is");
    }
}

#[test]
fn d15_a_setting_of_the_sync_is_a_rule_like_any_other() {
    let rig = Rig::synced("two-way");
    grown(&rig);
    rig.settle();
    let before = files(&rig, "a");
    for ignore in ["*.log", "build", "*", ""] {
        rig.ok(&["set", "s", &format!("ignore={ignore}")]);
        drop(rig.run(&["wait", "--timeout", "60"]));
        assert_eq!(files(&rig, "a"), before, "{ignore}");
        assert_eq!(files(&rig, "b"), before, "{ignore}");
    }
    rig.settle();
    rig.equal();
}

#[test]
fn d21_a_directory_with_something_ignored_in_it_is_not_removed_for_a_file_or_a_rename() {
    for (makes, keeps) in [("a", "b"), ("b", "a")] {
        let mut rig = Rig::synced("two-way");
        rig.write("a/.yeetignore", ".env\n");
        for dir in ["file", "renamed", "gone/deep/er"] {
            rig.write(&format!("a/{dir}/synced"), "synced");
        }
        rig.settle();
        for dir in ["file", "renamed", "gone/deep/er"] {
            rig.write(&format!("{keeps}/{dir}/.env"), "secret");
        }
        rig.settle();
        fs::remove_dir_all(rig.path(makes).join("file")).unwrap();
        rig.write(&format!("{makes}/file"), "a file now");
        fs::rename(rig.path(makes).join("renamed"), rig.path(makes).join("new")).unwrap();
        fs::remove_dir_all(rig.path(makes).join("gone")).unwrap();
        for round in 0..3 {
            drop(rig.run(&["wait", "--timeout", "60"]));
            for dir in ["file", "renamed", "gone/deep/er"] {
                assert_eq!(rig.read(&format!("{keeps}/{dir}/.env")), "secret", "{dir} {round}");
            }
            assert_eq!(rig.read(&format!("{makes}/file")), "a file now");
            assert_eq!(rig.read(&format!("{keeps}/new/synced")), "synced");
            assert!(!rig.path(keeps).join("renamed/synced").exists());
            assert!(!rig.path(makes).join("gone").exists());
            rig.kill();
            rig.start();
            drop(rig.run(&["resolve", "--sync", "s", "--keep", "source", "--all"]));
        }
    }
}

#[test]
fn d21_after_a_reset_nothing_ignored_goes() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/.yeetignore", ".env\n");
    rig.write("a/dir/synced", "synced");
    rig.settle();
    rig.write("b/dir/.env", "secret");
    rig.ok(&["forget", "s"]);
    fs::remove_dir_all(rig.path("a/dir")).unwrap();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    assert_eq!(rig.read("b/dir/.env"), "secret");
    assert_eq!(rig.read("a/dir/synced"), "synced");
    rig.stop();
    fs::remove_dir_all(rig.path("state/yeet")).unwrap();
    rig.start();
    rig.ok(&["add", "--name", "s", "--mode", "mirror", "a", "b"]);
    rig.settle();
    assert_eq!(rig.read("b/dir/.env"), "secret");
}

#[test]
fn d33_equal_content_is_no_conflict_whatever_its_times_and_modes() {
    let mut rig = Rig::new();
    for i in 0..500_u64 {
        let path = format!("d{}/f{i}", i % 9);
        for (side, shift) in [("a", 0), ("b", i % 7)] {
            rig.write(&format!("{side}/{path}"), &format!("file {i}"));
            let at = rig.path(side).join(&path);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + shift);
            fs::File::options().write(true).open(&at).unwrap().set_modified(time).unwrap();
            let mode = if shift == 3 { 0o600 } else { 0o644 };
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.ok(&["conflicts"]), "");
    assert!(rig.run(&["versions", "a"]).stdout.is_empty(), "nothing was replaced");
    // Touched on both sides, and once more with nothing remembered.
    rig.stop();
    for (side, seconds) in [("a", 1_600_000_000), ("b", 1_500_000_000)] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = rig.path(side).join("d1/f1");
        fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
    rig.start();
    rig.settle();
    rig.stop();
    fs::remove_dir_all(rig.path("state/yeet")).unwrap();
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig.equal();
    assert_eq!(rig.ok(&["conflicts"]), "");
}
