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

const BLOCK_BYTES: usize = 4096;
/// So large that no attempt to read it ends between two writes, however busy the machine is.
const BLOCKS: u64 = 16_384;

/// What the write of this number writes: to the block after that of the write before, and over the last one again from the
/// first on. Each is one call, which no snapshot divides.
fn block(number: u64) -> Vec<u8> {
    let mut block = number.to_le_bytes().to_vec();
    block.extend_from_slice(blake3::hash(&block).as_bytes());
    block.resize(BLOCK_BYTES, b'.');
    block
}

fn block_at(number: u64) -> u64 {
    number % BLOCKS * BLOCK_BYTES as u64
}

/// The number of the last write before these bytes were all there was, if there was such a moment.
fn number(bytes: &[u8]) -> Option<u64> {
    let blocks = || bytes.chunks(BLOCK_BYTES);
    let numbers = || blocks().map(|block| u64::from_le_bytes(block[..8].try_into().unwrap()));
    let last = numbers().max()?;
    let is_whole = |(at, (number, bytes)): (u64, (u64, &[u8]))| {
        number % BLOCKS == at && last - number < BLOCKS && bytes == block(number)
    };
    let whole =
        blocks().count() as u64 == BLOCKS && (0..).zip(numbers().zip(blocks())).all(is_whole);
    whole.then_some(last)
}

/// A database, if a simple one, at work until it is dropped.
struct Database {
    at: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Database {
    fn start(at: &Path) -> Self {
        fs::write(at, (0..BLOCKS).flat_map(block).collect::<Vec<_>>()).unwrap();
        let file = fs::File::options().write(true).open(at).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut writes = (BLOCKS..).take_while(|_| !stopped.load(Ordering::Relaxed));
            writes.try_for_each(|n| file.write_all_at(&block(n), block_at(n))).unwrap();
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
    let Some(_disk) = Mount::sized(kind, 512, &rig.path("image"), &rig.path("disk")) else {
        return;
    };
    fs::create_dir(rig.path("disk/a")).unwrap();
    let mut database = Database::start(&rig.path("disk/a/db"));
    rig.start();
    rig.ok(&["add", "--name", "s", "disk/a", "b"]);
    let said = explained(&rig, "disk/a/db", "changes while it is read");
    assert!(said.contains("from a snapshot"), "{said}");
    rig.write("disk/a/other", "at rest");
    // In sync for a moment or not: something of it has arrived.
    rig.run(&["wait", "--timeout", "100"]);
    let first = number(&fs::read(rig.path("b/db")).unwrap()).expect("a version it had");
    assert_eq!(rig.read("b/other"), "at rest");
    explained(&rig, "disk/a/db", "was carried");

    rig.run(&["wait", "--timeout", "100"]);
    let second = number(&fs::read(rig.path("b/db")).unwrap()).expect("a version it had");
    assert!(first <= second, "{first} {second}");
    database.stop();
    rig.settle();
    assert_eq!(fs::read(rig.path("b/db")).unwrap(), fs::read(&database.at).unwrap());
    assert_eq!(rig.tree("disk/a"), rig.tree("b"));
    let ours = fs::read_dir(rig.path("disk/a/.yeet/s")).unwrap().flatten();
    let ours: Vec<_> = ours.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let is_mark = |name: &String| name.starts_with("reached-");
    assert!(ours.iter().all(is_mark), "no snapshot is left at the source: {ours:?}");
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
    let Some(_disk) = Mount::sized(Kind::Tmpfs, 256, &rig.path("image"), &rig.path("disk")) else {
        return;
    };
    fs::create_dir(rig.path("disk/a")).unwrap();
    let mut database = Database::start(&rig.path("disk/a/db"));
    rig.start();
    rig.ok(&["add", "--name", "s", "disk/a", "b"]);
    let said = explained(&rig, "disk/a/db", "no snapshots");
    assert!(said.contains("it is carried when it has rested"), "{said}");
    rig.exits(1, &["wait", "--timeout", "100"]);
    let status = rig.exits(1, &["status"]);
    assert!(status.contains("\tproblems\t"), "{status}");
    let files = rig.exits(1, &["status", "--files"]);
    assert!(files.contains("no snapshots"), "{files}");
    database.stop();
    // It rests: the next attempt carries it, and the problem is over.
    while rig.run(&["status"]).code != 0 {
        std::thread::yield_now();
    }
    assert_eq!(fs::read(rig.path("b/db")).unwrap(), fs::read(&database.at).unwrap());
}
