//! What was agreed, and when it is: after crashes, failures, absences and lost state.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::mount::{Kind, Mount};
use crate::rig::Rig;

fn mode(rig: &Rig, file: &str) -> u32 {
    fs::metadata(rig.path(file)).unwrap().permissions().mode() & 0o777
}

#[test]
fn d09_whichever_state_is_lost_an_older_copy_never_replaces_a_newer_one_unseen() {
    for lost in ["state", "cache", "both"] {
        let mut rig = Rig::synced("two-way");
        rig.write("a/f", "first");
        rig.settle();
        rig.stop();
        rig.write("a/f", "second");
        if lost != "cache" {
            fs::remove_dir_all(rig.path("state/yeet")).unwrap();
        }
        if lost != "state" {
            fs::remove_dir_all(rig.path("cache/yeet")).unwrap();
        }
        rig.start();
        if lost == "cache" {
            rig.settle();
            assert_eq!(rig.read("b/f"), "second");
            continue;
        }
        rig.ok(&["add", "--name", "s", "a", "b"]);
        rig.exits(1, &["wait", "--timeout", "60"]);
        assert_eq!((rig.read("a/f"), rig.read("b/f")), ("second".into(), "first".into()));
        assert_eq!(rig.exits(1, &["conflicts", "-p"]), "f\n");
    }
}

#[test]
fn d09_a_replica_brought_back_from_an_older_copy_neither_edits_nor_deletes() {
    for old in ["a", "b"] {
        let mut rig = Rig::synced("two-way");
        rig.write("a/f", "first");
        rig.write("a/same", "same");
        rig.settle();
        let copied = Command::new("cp")
            .args(["-a", &rig.path(old).display().to_string()])
            .arg(rig.path("copy"))
            .status();
        assert!(copied.unwrap().success());
        rig.write("a/f", "second");
        rig.write("b/new", "made since");
        rig.settle();
        rig.stop();
        // In place, as a backup is played back: the directory is the same one.
        for entry in fs::read_dir(rig.path(old)).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => fs::remove_dir_all(entry.path()).unwrap(),
                false => fs::remove_file(entry.path()).unwrap(),
            }
        }
        let copied = Command::new("cp")
            .args(["-a", &format!("{}/.", rig.path("copy").display())])
            .arg(rig.path(old))
            .status();
        assert!(copied.unwrap().success());
        rig.start();
        let log = rig.ok(&["log", "-o", "act,replica,note"]);
        assert!(log.contains("it is an older copy of itself: nothing is agreed with it"), "{log}");
        if old == "a" {
            rig.exits(1, &["wait", "--timeout", "60"]);
            assert_eq!((rig.read("a/f"), rig.read("b/f")), ("first".into(), "second".into()));
            assert_eq!(rig.exits(1, &["conflicts", "-p"]), "f\n");
        } else {
            // The source had both, one after the other.
            rig.settle();
            assert_eq!((rig.read("a/f"), rig.read("b/f")), ("second".into(), "second".into()));
        }
        assert_eq!(
            (rig.read("a/new"), rig.read("b/new")),
            ("made since".into(), "made since".into())
        );
    }
}

#[test]
fn d10_a_delete_waits_for_a_leaf_that_is_away_and_is_not_undone_by_it() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("c")).unwrap();
    for i in 0..5 {
        rig.write(&format!("a/f{i}"), &format!("file {i}"));
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b", "c"]);
    rig.settle();
    rig.stop();
    fs::rename(rig.path("c"), rig.path("away")).unwrap();
    rig.start();
    fs::remove_file(rig.path("a/f1")).unwrap();
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig.kill();
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    fs::rename(rig.path("away"), rig.path("c")).unwrap();
    rig.settle();
    for side in ["a", "b", "c"] {
        assert_eq!(rig.tree(side).len(), 4, "{side}");
        assert!(!rig.path(side).join("f1").exists(), "{side}");
    }
}

#[test]
fn d10_a_leaf_that_was_forgotten_comes_back_as_a_stranger() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("c")).unwrap();
    rig.write("a/f", "first");
    rig.write("a/g", "kept");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b", "c"]);
    rig.settle();
    rig.ok(&["forget", "s", "c"]);
    fs::remove_file(rig.path("c/g")).unwrap();
    rig.write("c/f", "edited while it was away");
    rig.write("a/f", "second");
    rig.settle();
    rig.ok(&["add", "--to", "s", "c"]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("a/g"), "kept", "what a stranger lacks it did not delete");
    assert_eq!(rig.read("c/g"), "kept");
    assert_eq!(rig.read("a/f"), "second");
    assert_eq!(rig.read("c/f"), "edited while it was away");
    assert_eq!(rig.exits(1, &["conflicts", "-p"]), "f\n");
}

#[test]
fn d12_an_edit_that_size_and_time_hide_is_seen_after_a_restart() {
    let mut rig = Rig::synced("two-way");
    let names: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    for name in &names {
        rig.write(&format!("a/{name}"), "before");
    }
    rig.settle();
    for (round, side) in ["a", "b", "a", "b"].into_iter().enumerate() {
        if round < 2 {
            rig.stop();
        } else {
            rig.kill();
        }
        for (i, name) in names.iter().enumerate() {
            let path = rig.path(side).join(name);
            let mtime = fs::metadata(&path).unwrap().modified().unwrap();
            let text = format!("after{round}");
            if i % 2 == 0 {
                fs::write(&path, text).unwrap();
            } else {
                // As editors save: another file takes the name.
                fs::write(rig.path("new"), text).unwrap();
                fs::rename(rig.path("new"), &path).unwrap();
            }
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(mtime).unwrap();
        }
        rig.start();
        rig.settle();
        rig.equal();
        for name in &names {
            assert_eq!(rig.read(&format!("a/{name}")), format!("after{round}"));
        }
    }
}

#[test]
fn d13_what_could_not_be_carried_is_not_agreed() {
    let mut rig = Rig::new();
    let Some(disk) = Mount::empty(Kind::Ext4, &rig.path("image"), &rig.path("disk")) else {
        return;
    };
    for name in ["mode", "text", "large"] {
        rig.write(&format!("a/{name}"), "old");
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "disk/leaf"]);
    rig.settle();
    rig.stop();
    assert!(disk.remount("remount,ro"));
    rig.start();
    fs::set_permissions(rig.path("a/mode"), fs::Permissions::from_mode(0o755)).unwrap();
    rig.write("a/text", "new");
    fs::write(rig.path("a/large"), vec![1; 3 << 20]).unwrap();
    rig.exits(1, &["wait", "--timeout", "60"]);
    for _ in 0..2 {
        rig.kill();
        rig.start();
        rig.exits(1, &["wait", "--timeout", "60"]);
    }
    assert!(disk.remount("remount,rw"));
    disk.fill();
    rig.ok(&["resume", "s"]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig.stop();
    disk.empty_ballast();
    // Had the failed edit been agreed, this would look like the only edit there is.
    rig.write("disk/leaf/large", "leaf's");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("a/large").len(), 3 << 20);
    assert_eq!(rig.read("disk/leaf/large"), "leaf's");
    assert_eq!(rig.exits(1, &["conflicts", "-p"]), "large\n");
    assert_eq!((mode(&rig, "a/mode"), mode(&rig, "disk/leaf/mode")), (0o755, 0o755));
    assert_eq!((rig.read("a/text"), rig.read("disk/leaf/text")), ("new".into(), "new".into()));
}

#[test]
fn d14_an_edit_right_after_a_file_arrived_is_an_edit_of_what_arrived() {
    let mut rig = Rig::synced("two-way");
    for round in 0..80 {
        let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let (text, edited) = (format!("round {round}"), format!("round {round} edited"));
        rig.write(&format!("{from}/f"), &text);
        let at = rig.path(to).join("f");
        while !fs::read_to_string(&at).is_ok_and(|found| found == text) {
            std::thread::yield_now();
        }
        rig.write(&format!("{to}/f"), &edited);
        if round % 4 == 3 {
            rig.kill();
            rig.start();
        }
        rig.settle();
        assert_eq!((rig.read("a/f"), rig.read("b/f")), (edited.clone(), edited), "round {round}");
    }
}

#[test]
fn d20_a_resolve_that_is_cut_short_is_done_or_not_done() {
    for round in 0..8 {
        let mut rig = Rig::synced("two-way");
        for i in 0..20 {
            rig.write(&format!("a/f{i}"), "base");
        }
        rig.settle();
        rig.stop();
        for i in 0..20 {
            rig.write(&format!("a/f{i}"), &format!("source's {i}"));
            rig.write(&format!("b/f{i}"), &format!("leaf's {i}"));
        }
        rig.start();
        rig.exits(1, &["wait", "--timeout", "60"]);
        let keep = if round % 2 == 0 { "source" } else { "b" };
        rig.ok(&["resolve", "--sync", "s", "--keep", keep, "--all"]);
        for _ in 0..round / 2 {
            drop(rig.run(&["status", "-q"]));
        }
        rig.kill();
        for i in 0..20 {
            let (source, leaf) = (format!("source's {i}"), format!("leaf's {i}"));
            let now = (rig.read(&format!("a/f{i}")), rig.read(&format!("b/f{i}")));
            let won = if keep == "source" { source.clone() } else { leaf.clone() };
            assert!(now == (source, leaf) || now == (won.clone(), won), "{now:?}");
        }
        rig.start();
        // Twice is once.
        drop(rig.run(&["resolve", "--sync", "s", "--keep", keep, "--all"]));
        rig.settle();
        rig.equal();
        let won = if keep == "source" { "source's" } else { "leaf's" };
        assert_eq!(rig.read("a/f7"), format!("{won} 7"));
        assert_eq!(rig.ok(&["versions", "a"]).lines().count(), 20, "each loser is kept once");
    }
}

#[test]
fn d30_killed_while_it_removes_moves_and_replaces_it_never_deletes_at_the_source() {
    let mut rig = Rig::synced("two-way");
    for round in 0..24_usize {
        for i in 0..30 {
            rig.write(&format!("a/d{}/f{i}", i % 3), &format!("round {round} file {i}"));
        }
        drop(rig.run(&["wait", "--timeout", "60"]));
        // All at the source; whatever is missing at the leaf yeet took away itself.
        fs::remove_dir_all(rig.path("a/d0")).unwrap();
        drop(fs::remove_dir_all(rig.path("a/moved")));
        fs::rename(rig.path("a/d1"), rig.path("a/moved")).unwrap();
        for i in (2..30).step_by(3) {
            fs::remove_file(rig.path(&format!("a/d2/f{i}"))).unwrap();
            if round % 2 == 0 {
                rig.write(&format!("a/d2/f{i}/in"), "a directory now");
            } else {
                std::os::unix::fs::symlink("target", rig.path(&format!("a/d2/f{i}"))).unwrap();
            }
        }
        let meant = rig.tree("a");
        // Until one thing or another has gone from the leaf.
        let sign = rig.path(["b/d0/f0", "b/d1/f1", "b/d0/f27", "b/d1/f28"][round % 4]);
        while sign.exists() {
            std::thread::yield_now();
        }
        rig.kill();
        assert_eq!(rig.tree("a"), meant, "round {round}");
        rig.start();
        rig.settle();
        assert_eq!(rig.tree("a"), meant, "round {round}");
        rig.equal();
        fs::remove_dir_all(rig.path("a/d2")).unwrap();
    }
}

#[test]
fn d31_what_was_deleted_stays_deleted_whatever_ends_and_begins() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("c")).unwrap();
    for i in 0..40 {
        rig.write(&format!("a/d/f{i}"), &format!("file {i}"));
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b", "c"]);
    rig.settle();
    for (round, side) in ["a", "b", "c", "a", "b", "c"].into_iter().enumerate() {
        for i in 0..4 {
            fs::remove_file(rig.path(side).join(format!("d/f{}", 4 * round + i))).unwrap();
        }
        match round {
            0 => rig.stop(),
            1 | 2 => rig.kill(),
            3 => {
                rig.settle();
                rig.stop();
                fs::remove_dir_all(rig.path("cache/yeet")).unwrap();
            }
            _ => {
                rig.settle();
                rig.ok(&["set", "s", "keep-size=0"]);
                rig.ok(&["pause", "s"]);
                rig.stop();
            }
        }
        rig.start();
        rig.ok(&["resume", "s"]);
        rig.settle();
        for side in ["a", "b", "c"] {
            assert_eq!(rig.tree(side).len(), 1 + 40 - 4 * (round + 1), "{side} round {round}");
        }
    }
    // Held and allowed after a restart.
    fs::remove_dir_all(rig.path("b/d")).unwrap();
    drop(rig.run(&["wait", "--timeout", "60"]));
    rig.kill();
    rig.start();
    drop(rig.run(&["wait", "--timeout", "60"]));
    drop(rig.run(&["allow", "s"]));
    rig.settle();
    for side in ["a", "b", "c"] {
        assert_eq!(rig.tree(side), [""; 0], "{side}");
    }
}

#[test]
fn d32_a_path_displaced_many_times_has_that_many_versions() {
    let mut rig = Rig::synced("two-way");
    for round in 0..12 {
        rig.write("a/f", &format!("version {round}"));
        rig.settle();
        match round % 3 {
            0 => fs::remove_file(rig.path("a/f")).unwrap(),
            1 => rig.write("b/f", &format!("leaf's {round}")),
            _ => {}
        }
        rig.settle();
        if round == 5 {
            rig.kill();
            rig.start();
        }
    }
    let versions = rig.ok(&["versions", "a/f"]);
    let ids: Vec<&str> = versions.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    let mut found = Vec::new();
    for (i, id) in ids.iter().enumerate() {
        let to = rig.path(&format!("home/{i}"));
        rig.ok(&["restore", "a/f", "--version", id, "--to", to.to_str().unwrap()]);
        found.push(rig.read(&format!("home/{i}")));
    }
    for round in (0..12).filter(|round| round % 3 != 2) {
        assert!(found.contains(&format!("version {round}")), "{round}: {found:?}");
    }
    for round in [1, 4, 7, 10] {
        assert!(round == 10 || found.contains(&format!("leaf's {round}")), "{round}: {found:?}");
    }
}
