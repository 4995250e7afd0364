//! What is not there, and why that need not mean that a user deleted it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mount::{Kind, Mount};
use crate::rig::{Raised, Rig};

fn files(rig: &Rig, side: &str) -> usize {
    rig.tree(side).iter().filter(|line| line.contains(" file ")).count()
}

/// Files of the other side, of which the rest of a test may not lose any.
fn many(rig: &Rig, count: usize) {
    for i in 0..count {
        rig.write(&format!("a/d{}/f{i}", i % 50), &format!("file {i}"));
    }
}

#[test]
fn d01_a_backup_that_was_put_back_on_a_new_disk_deletes_nothing() {
    let mut rig = Rig::new();
    let Some(disk) = Mount::empty(Kind::Tmpfs, &rig.path("image"), &rig.path("b")) else { return };
    many(&rig, 20);
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    let copy = |from: &str, to: &str| {
        let copied = Command::new("cp").arg("-a").arg(rig.path(from)).arg(rig.path(to)).status();
        assert!(copied.unwrap().success());
    };
    // Everything, yeet's own directory too. The top of a new file system has the number of the old one's.
    copy("b", "backup");
    many(&rig, 30);
    rig.settle();
    rig.stop();
    drop(disk);
    let Some(_new) = Mount::empty(Kind::Tmpfs, &rig.path("image-2"), &rig.path("b")) else {
        return;
    };
    let copied = Command::new("cp").arg("-a").arg(rig.path("backup/.")).arg(rig.path("b")).status();
    assert!(copied.unwrap().success());
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(files(&rig, "a"), 30);
    assert!(rig.exits(1, &["status"]).contains("\theld\t"));
    rig.ok(&["allow", "s"]);
    rig.settle();
    rig.equal();
    assert_eq!(files(&rig, "b"), 30, "what was newer than the backup came back to it");
}

/// Takes a replica's disk away at ever later moments of a scan; the other side keeps all.
fn unplugged(side: &str, other: &str) {
    let mut rig = Rig::new();
    let image = rig.path("image");
    let Some(disk) = Mount::empty(Kind::Ext4, &image, &rig.path(side)) else { return };
    let mut disk = Some(disk);
    many(&rig, 1000);
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    rig.stop();
    for round in 0..12 {
        rig.start();
        for _ in 0..round {
            drop(rig.run(&["status", "-q"]));
        }
        drop(disk.take());
        drop(rig.run(&["wait", "--timeout", "60"]));
        assert_eq!(files(&rig, other), 1000, "round {round}");
        assert!(rig.exits(1, &["status"]).contains("\theld\t"), "round {round}");
        assert_eq!(files(&rig, side), 0, "nothing is written where the disk was");
        if round % 2 == 0 {
            // It is back while the daemon runs: the next question takes it up again.
            disk = Mount::again(&image, &rig.path(side));
            rig.settle();
            rig.stop();
        } else {
            rig.kill();
            disk = Mount::again(&image, &rig.path(side));
        }
        assert!(disk.is_some());
    }
    rig.start();
    rig.settle();
    rig.equal();
    assert_eq!(files(&rig, other), 1000);
}

#[test]
fn d02_a_leaf_unplugged_while_it_is_scanned_deletes_nothing() {
    unplugged("b", "a");
}

#[test]
fn d02_a_source_unplugged_while_it_is_scanned_deletes_nothing() {
    unplugged("a", "b");
}

#[test]
fn d03_a_directory_made_in_the_place_of_a_root_is_no_root() {
    let mut rig = Rig::synced("two-way");
    many(&rig, 5);
    rig.settle();
    for running in [true, false] {
        if !running {
            rig.stop();
        }
        fs::rename(rig.path("b"), rig.path("away")).unwrap();
        fs::create_dir_all(rig.path("b/.yeet/s")).unwrap();
        fs::write(rig.path("b/.yeet/lock"), "").unwrap();
        // Even with the old one's id in it.
        fs::copy(rig.path("away/.yeet/id"), rig.path("b/.yeet/id")).unwrap();
        if !running {
            rig.start();
        }
        rig.exits(1, &["wait", "--timeout", "60"]);
        assert!(rig.exits(1, &["status"]).contains("\theld\t"), "running: {running}");
        assert_eq!((files(&rig, "a"), files(&rig, "b")), (5, 0), "running: {running}");
        fs::remove_dir_all(rig.path("b")).unwrap();
        fs::rename(rig.path("away"), rig.path("b")).unwrap();
        rig.settle();
        rig.equal();
    }
}

#[test]
fn d03_a_leaf_moved_to_an_empty_directory_is_filled() {
    let rig = Rig::synced("two-way");
    many(&rig, 5);
    rig.settle();
    fs::create_dir(rig.path("c")).unwrap();
    rig.ok(&["move", "s", "b", "c"]);
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("c"));
    assert_eq!((files(&rig, "a"), files(&rig, "b")), (5, 5));
    fs::create_dir(rig.path("d")).unwrap();
    rig.ok(&["move", "s", "source", "d"]);
    rig.settle();
    assert_eq!(rig.tree("c"), rig.tree("d"));
    assert_eq!(files(&rig, "c"), 5);
}

#[test]
fn d04_a_disk_that_shows_empty_for_a_while_deletes_nothing() {
    let mut rig = Rig::synced("two-way");
    many(&rig, 50);
    rig.settle();
    let before = rig.tree("a");
    for running in [true, false] {
        if !running {
            rig.stop();
        }
        fs::create_dir(rig.path("aside")).unwrap();
        for i in 0..50 {
            fs::rename(rig.path(&format!("b/d{i}")), rig.path(&format!("aside/d{i}"))).unwrap();
        }
        if !running {
            rig.start();
            rig.exits(1, &["wait", "--timeout", "60"]);
            assert_eq!(rig.tree("a"), before, "held before the first");
            assert!(rig.exits(1, &["status"]).contains("\theld\t"));
        }
        for i in 0..50 {
            fs::rename(rig.path(&format!("aside/d{i}")), rig.path(&format!("b/d{i}"))).unwrap();
        }
        fs::remove_dir(rig.path("aside")).unwrap();
        rig.settle();
        assert_eq!(rig.tree("b"), before);
        rig.equal();
    }
}

#[test]
fn d22_a_root_behind_a_link_that_leads_nowhere_is_no_empty_root() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("disk")).unwrap();
    fs::rename(rig.path("b"), rig.path("disk/b")).unwrap();
    symlink("disk/b", rig.path("b")).unwrap();
    many(&rig, 20);
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    for running in [true, false] {
        for instead in ["nothing", "itself", "a file"] {
            if !running {
                rig.stop();
            }
            fs::rename(rig.path("disk/b"), rig.path("disk/away")).unwrap();
            match instead {
                "itself" => symlink("b", rig.path("disk/b")).unwrap(),
                "a file" => fs::write(rig.path("disk/b"), "a file").unwrap(),
                _ => {}
            }
            if !running {
                rig.start();
            }
            assert_ne!(rig.run(&["wait", "--timeout", "60"]).code, 0, "{instead}");
            assert_ne!(rig.run(&["status"]).code, 0, "{instead}");
            assert_eq!(files(&rig, "a"), 20, "{instead}, running: {running}");
            drop(fs::remove_file(rig.path("disk/b")));
            fs::rename(rig.path("disk/away"), rig.path("disk/b")).unwrap();
            rig.ok(&["resume", "s"]);
            rig.settle();
            rig.equal();
        }
    }
}

#[test]
fn d22_links_that_lead_nowhere_are_themselves() {
    let mut rig = Rig::synced("two-way");
    fs::create_dir(rig.path("offline")).unwrap();
    symlink(rig.path("offline"), rig.path("a/to-a-disk")).unwrap();
    symlink("loop", rig.path("a/loop")).unwrap();
    rig.settle();
    fs::remove_dir(rig.path("offline")).unwrap();
    rig.stop();
    rig.start();
    rig.settle();
    rig.equal();
    assert_eq!(rig.tree("a").len(), 2);
}

#[test]
fn d23_a_directory_that_changes_while_it_is_listed_loses_none_of_its_files() {
    let mut rig = Rig::synced("two-way");
    for i in 0..400 {
        rig.write(&format!("a/d/stays{i}"), &format!("file {i}"));
    }
    rig.settle();
    let stop = AtomicBool::new(false);
    let dir = rig.path("a/d");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (one, other) = (dir.join(format!("x{}", i % 90)), dir.join(format!("y{i}")));
                fs::write(&one, format!("{i}")).unwrap();
                fs::rename(&one, &other).unwrap();
                fs::remove_file(&other).unwrap();
            }
        });
        let _stop = Raised(&stop);
        for _ in 0..8 {
            rig.kill();
            rig.start();
            for _ in 0..10 {
                drop(rig.run(&["status"]));
                // By name alone: the others come and go meanwhile.
                let names = fs::read_dir(rig.path("b/d")).unwrap().map(|e| e.unwrap().file_name());
                let stays = |name: &OsString| name.as_encoded_bytes().starts_with(b"stays");
                assert_eq!(names.filter(stays).count(), 400);
            }
        }
    });
    rig.settle();
    rig.equal();
    assert_eq!(rig.tree("a").len(), 401);
}
