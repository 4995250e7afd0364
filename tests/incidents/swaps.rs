//! Content on its way: what is seen under a real name is one whole version, and nothing is overwritten unseen.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mount::{Kind, Mount};
use crate::rig::{Raised, Rig};

/// All bytes in a replica, kept versions too, as texts.
fn texts(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            texts(&path, found);
        } else if meta.is_file()
            && let Ok(bytes) = fs::read(&path)
        {
            found.insert(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

#[test]
fn d05_killed_on_a_full_disk_it_leaves_no_partial_file_and_comes_up_again() {
    let mut rig = Rig::new();
    let image = rig.path("image");
    let Some(disk) = Mount::empty(Kind::Ext4, &image, &rig.path("disk")) else { return };
    rig.write("a/f", "old");
    rig.write("a/g", "old");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "disk/leaf"]);
    rig.settle();
    disk.fill();
    fs::write(rig.path("a/f"), vec![b'2'; 4 << 20]).unwrap();
    for _ in 0..6 {
        rig.kill();
        rig.start();
        rig.exits(1, &["wait", "--timeout", "60"]);
        assert_eq!(rig.read("disk/leaf/f"), "old");
        assert_eq!(rig.read("a/f").len(), 4 << 20);
    }
    // What needs no space is done all the same.
    fs::remove_file(rig.path("a/g")).unwrap();
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert!(!rig.path("disk/leaf/g").exists());
    disk.empty_ballast();
    rig.ok(&["resume", "s"]);
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("disk/leaf"));
}

#[test]
fn d06_a_source_file_moved_away_while_it_is_carried_leaves_nothing_half() {
    let rig = Rig::synced("two-way");
    let whole: Vec<u8> = (0..(8_u32 << 20)).map(|i| u8::try_from(i % 251).unwrap()).collect();
    for round in 0..12 {
        let (old, new) = (format!("f{round}"), format!("away/f{round}"));
        fs::create_dir_all(rig.path("a/away")).unwrap();
        fs::write(rig.path("a").join(&old), &whole).unwrap();
        for _ in 0..round {
            drop(rig.run(&["status", "-q"]));
        }
        match round % 3 {
            0 => fs::rename(rig.path("a").join(&old), rig.path("a").join(&new)).unwrap(),
            1 => fs::remove_file(rig.path("a").join(&old)).unwrap(),
            _ => fs::write(rig.path("a").join(&old), "other").unwrap(),
        }
        let seen = fs::read(rig.path("b").join(&old)).unwrap_or_default();
        assert!(seen.is_empty() || seen == whole || seen == b"other", "{} bytes", seen.len());
        rig.settle();
        rig.equal();
        assert_eq!(rig.path("b").join(&old).exists(), round % 3 == 2);
    }
}

#[test]
fn d07_an_edit_nobody_has_seen_yet_stops_a_delete_a_rename_and_a_change_of_type() {
    let mut rig = Rig::synced("two-way");
    for name in ["deleted", "renamed", "dir", "link"] {
        rig.write(&format!("a/{name}"), "agreed");
    }
    rig.settle();
    rig.stop();
    for name in ["deleted", "renamed", "dir", "link"] {
        rig.write(&format!("b/{name}"), &format!("{name} edited"));
    }
    fs::remove_file(rig.path("a/deleted")).unwrap();
    fs::rename(rig.path("a/renamed"), rig.path("a/new")).unwrap();
    fs::remove_file(rig.path("a/dir")).unwrap();
    rig.write("a/dir/in", "in");
    fs::remove_file(rig.path("a/link")).unwrap();
    std::os::unix::fs::symlink("target", rig.path("a/link")).unwrap();
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    for name in ["deleted", "renamed", "dir", "link"] {
        assert_eq!(rig.read(&format!("b/{name}")), format!("{name} edited"));
    }
    assert_eq!(rig.read("a/deleted"), "deleted edited", "an edit beats a delete");
    assert_eq!(rig.read("a/renamed"), "renamed edited", "and the half of a rename that is one");
    assert_eq!(rig.read("b/new"), "agreed");
    assert_eq!(rig.exits(1, &["conflicts", "-p"]), "dir\nlink\n");
}

#[test]
fn d08_what_is_written_while_the_other_side_deletes_or_replaces_it_is_somewhere() {
    let rig = Rig::synced("two-way");
    for round in 0..60 {
        rig.write("a/f", &format!("base {round}"));
        rig.settle();
        std::thread::scope(|scope| {
            scope.spawn(|| match round % 2 {
                0 => fs::remove_file(rig.path("a/f")).unwrap(),
                _ => rig.write("a/f", &format!("source's {round}")),
            });
            scope.spawn(|| {
                for part in 0..4 {
                    rig.write("b/f", &format!("leaf's {round} {part}"));
                }
            });
        });
        drop(rig.run(&["wait", "--timeout", "60"]));
        drop(rig.run(&["resolve", "--sync", "s", "--keep", "source", "--all"]));
        rig.settle();
        rig.equal();
        let mut found = BTreeSet::new();
        texts(&rig.path("a"), &mut found);
        texts(&rig.path("b"), &mut found);
        assert!(found.contains(&format!("leaf's {round} 3")), "round {round}");
        if round % 2 == 1 {
            assert!(found.contains(&format!("source's {round}")), "round {round}");
        }
    }
}

#[test]
fn d19_a_file_is_replaced_and_never_written_in_place() {
    let rig = Rig::synced("two-way");
    fs::write(rig.path("a/f"), vec![1; 2 << 20]).unwrap();
    rig.settle();
    // A second name of the leaf's file, and a reader that has it open.
    fs::hard_link(rig.path("b/f"), rig.path("second")).unwrap();
    let mut reader = fs::File::open(rig.path("b/f")).unwrap();
    let writer = fs::File::options().write(true).open(rig.path("a/f")).unwrap();
    writer.write_all_at(&[2; 100], 1 << 20).unwrap();
    drop(writer);
    rig.settle();
    rig.equal();
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    assert!(seen == vec![1; 2 << 20]);
    assert!(fs::read(rig.path("second")).unwrap() == vec![1; 2 << 20]);
}

/// Whether `bytes` may have been in the file at one instant: a piece of one version, then what is left of the one
/// before it.
fn is_one_instant(bytes: &[u8]) -> bool {
    let mut runs = bytes.chunk_by(|a, b| a == b).map(|run| run[0]);
    match (runs.next(), runs.next(), runs.next()) {
        (_, None, _) => true,
        (Some(new), Some(old), None) => new == old.wrapping_add(1),
        _ => false,
    }
}

#[test]
fn d25_a_file_that_grows_and_shrinks_while_it_is_carried_is_never_sent_torn() {
    let rig = Rig::synced("two-way");
    let stop = AtomicBool::new(false);
    fs::write(rig.path("a/f"), "").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _stop = Raised(&stop);
            let file = fs::File::options().write(true).open(rig.path("a/f")).unwrap();
            let sizes = [6 << 20, 3 << 20, 300 << 10, 6 << 20, 1 << 20];
            for version in 0_u8..90 {
                let size: u64 = sizes[usize::from(version) % sizes.len()];
                let now = file.metadata().unwrap().len();
                if size < now {
                    file.set_len(size).unwrap();
                }
                let piece = [version; 64 << 10];
                let mut at = 0;
                while at < size {
                    let len = usize::try_from(size - at).unwrap().min(piece.len());
                    at += file.write_at(&piece[..len], at).unwrap() as u64;
                }
                // Time for it to be found at rest, sometimes.
                if version % 3 == 0 {
                    drop(rig.run(&["status", "-q"]));
                }
            }
        });
        while !stop.load(Ordering::Relaxed) {
            let seen = fs::read(rig.path("b/f")).unwrap_or_default();
            let runs: Vec<u8> = seen.chunk_by(|a, b| a == b).map(|run| run[0]).collect();
            assert!(is_one_instant(&seen), "{} bytes of {runs:?}", seen.len());
        }
    });
    rig.settle();
    rig.equal();
}

#[test]
fn d26_holes_and_zeros_made_in_a_file_arrive() {
    let rig = Rig::synced("two-way");
    let (block, mib) = (4096_u64, 1_u64 << 20);
    let file = |name: &str, size: u64| {
        fs::write(rig.path("a").join(name), vec![7; usize::try_from(size).unwrap()]).unwrap();
        fs::File::options().read(true).write(true).open(rig.path("a").join(name)).unwrap()
    };
    let sizes = [1, block - 1, block, block + 1, mib - 1, mib, mib + 1, 3 * mib + 1];
    let files: Vec<(u64, fs::File)> =
        sizes.into_iter().map(|size| (size, file(&format!("f{size}"), size))).collect();
    rig.settle();
    rig.equal();
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    for (size, file) in &files {
        // At the start, and at the end: its size is the same.
        rustix::fs::fallocate(file, punch, 0, block.min(*size)).unwrap();
        rustix::fs::fallocate(file, punch, size - size / 3, size / 3 + 1).unwrap();
    }
    rig.settle();
    rig.equal();
    for (size, file) in &files {
        file.set_len(0).unwrap();
        file.set_len(*size).unwrap();
    }
    rig.settle();
    rig.equal();
    for (size, file) in &files {
        file.write_all_at(b"x", *size + block).unwrap();
    }
    fs::write(rig.path("a/empty"), "").unwrap();
    drop(files);
    rig.settle();
    rig.equal();
    assert_eq!(rig.tree("b").len(), 9);
}

#[test]
fn d27_a_daemon_that_may_open_no_more_files_does_nothing_by_halves() {
    let mut rig = Rig::new();
    for i in 0..60 {
        rig.write(&format!("a/d{}/f{i}", i % 20), &format!("file {i}"));
    }
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    for spare in [0, 1, 2, 3, 5, 8, 13] {
        let used = rig.open_files();
        rig.limit_files(used + spare);
        for i in 0..30 {
            rig.write(&format!("a/d{}/new{i}", i % 20), &format!("{spare} new {i}"));
            rig.write(&format!("b/d{}/f{i}", i % 20), &format!("{spare} edited {i}"));
        }
        for i in 40..50 {
            drop(fs::remove_file(rig.path(&format!("a/d{}/f{i}", i % 20))));
            rig.write(&format!("b/e{spare}/g{i}"), "made at the leaf");
        }
        // Nobody can be asked: what it sees and does meanwhile is its own.
        let end = format!("{spare} new 29");
        for _ in 0..200 {
            let arrived = fs::read_to_string(rig.path("b/d9/new29")).unwrap_or_default();
            assert!(arrived.is_empty() || arrived.ends_with("new 29"), "{arrived}");
            if arrived == end {
                break;
            }
            std::thread::yield_now();
        }
        rig.limit_files(4096);
        // What could not be listed would be listed again after a pause.
        rig.stop();
        rig.start();
        rig.settle();
        rig.equal();
        assert_eq!(rig.read("b/d9/new29"), end);
        assert_eq!(rig.read("a/d9/f29"), format!("{spare} edited 29"));
        assert_eq!(rig.read(&format!("a/e{spare}/g49")), "made at the leaf");
        assert!(!rig.path("b/d0/f40").exists());
    }
}
