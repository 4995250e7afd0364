//! A program that never stops writing to its file: what arrives is what the file had at one moment, and nothing else
//! waits for it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::mount::{Kind, Mount};
use crate::rig::Rig;

const RECORD_BYTES: usize = 32;
/// More than what is read as soon as it is seen.
const RECORDS: usize = 3 << 15;

/// All records of a file with the same number; each write of it is one call, which no snapshot can divide.
fn records(number: u64) -> Vec<u8> {
    let mut record = number.to_le_bytes().to_vec();
    record.extend_from_slice(&blake3::hash(&record).as_bytes()[..RECORD_BYTES - 8]);
    record.repeat(RECORDS)
}

/// The number of what was written, if it is one write's.
fn number(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == records(number)).then_some(number)
}

/// A database, if a simple one, at work until it is dropped.
struct Database {
    at: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Database {
    fn start(at: &Path) -> Self {
        fs::write(at, records(0)).unwrap();
        let file = fs::File::options().write(true).open(at).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut writes = (1..).take_while(|_| !stopped.load(Ordering::Relaxed));
            writes.try_for_each(|number| file.write_all_at(&records(number), 0)).unwrap();
        });
        Self { at: at.to_owned(), stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks until the answer says so.
fn explained(rig: &Rig, path: &str, word: &str) -> String {
    loop {
        let said = rig.run(&["explain", path]).stdout;
        if said.contains(word) {
            return said;
        }
        std::thread::yield_now();
    }
}

fn is_carried_from_snapshots(kind: Kind) {
    let mut rig = Rig::new();
    let Some(_disk) = Mount::empty(kind, &rig.path("image"), &rig.path("disk")) else { return };
    fs::create_dir(rig.path("disk/a")).unwrap();
    let mut database = Database::start(&rig.path("disk/a/db"));
    rig.start();
    rig.ok(&["add", "--name", "s", "disk/a", "b"]);
    let said = explained(&rig, "disk/a/db", "changes while it is read");
    assert!(said.contains("from a snapshot"), "{said}");
    assert!(!rig.path("b/db").exists(), "nothing has arrived that was not whole");
    rig.write("disk/a/other", "at rest");
    // In sync for a moment or not: all that was written before was carried.
    rig.run(&["wait", "--timeout", "100"]);
    let first = number(&fs::read(rig.path("b/db")).unwrap()).expect("a version it had");
    assert_eq!(rig.read("b/other"), "at rest");
    let said = rig.ok(&["explain", "disk/a/db"]);
    assert!(said.contains(" from a snapshot") && said.contains("it changes while"), "{said}");

    rig.run(&["wait", "--timeout", "100"]);
    let second = number(&fs::read(rig.path("b/db")).unwrap()).expect("a version it had");
    assert!(first <= second, "{first} {second}");
    database.stop();
    rig.settle();
    assert_eq!(fs::read(rig.path("b/db")).unwrap(), fs::read(&database.at).unwrap());
    assert_eq!(rig.tree("disk/a"), rig.tree("b"));
    let ours = fs::read_dir(rig.path("disk/a/.yeet/s")).unwrap().count();
    assert_eq!(ours, 0, "no snapshot is left at the source");
}

#[test]
fn a_database_that_never_rests_arrives_as_it_was_at_one_moment_from_xfs() {
    is_carried_from_snapshots(Kind::Xfs);
}

#[test]
fn a_database_that_never_rests_arrives_as_it_was_at_one_moment_from_btrfs() {
    is_carried_from_snapshots(Kind::Btrfs);
}

#[test]
fn without_snapshots_a_database_is_carried_when_it_rests() {
    let mut rig = Rig::new();
    // On a file system that surely has none.
    let Some(_disk) = Mount::empty(Kind::Tmpfs, &rig.path("image"), &rig.path("disk")) else {
        return;
    };
    fs::create_dir(rig.path("disk/a")).unwrap();
    let mut database = Database::start(&rig.path("disk/a/db"));
    rig.start();
    rig.ok(&["add", "--name", "s", "disk/a", "b"]);
    rig.exits(1, &["wait", "--timeout", "100"]);
    assert!(rig.exits(1, &["status"]).contains("\tproblems\t"));
    let files = rig.exits(1, &["status", "--files"]);
    assert!(files.contains("no snapshots"), "{files}");
    let said = rig.ok(&["explain", "disk/a/db"]);
    assert!(said.contains("it is carried when it has rested"), "{said}");
    assert!(!rig.path("b/db").exists());
    database.stop();
    // It rests: the next attempt carries it, and the problem is over.
    while rig.run(&["status"]).code != 0 {
        std::thread::yield_now();
    }
    assert_eq!(fs::read(rig.path("b/db")).unwrap(), fs::read(&database.at).unwrap());
}
