//! The file of the stat cache: as it comes, or with a header and a hash made right for whatever rows there are.
//!
//! The first byte says which; then come the run and the rows.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::value::Digest;
use yeet::sources::stat_cache::StatCache;
use yeet::sys::{Kind, Stat};

const HEADER_BYTES: usize = 128;
const ROW_BYTES: usize = 80;
/// Nothing is taken for the rows but a bit and a fence now and then; merging has a buffer of 1 MiB.
const ROOM: usize = 2 << 20;

struct Ground {
    file: PathBuf,
    _dir: tempfile::TempDir,
    whole: Vec<u8>,
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let memory = std::path::Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(base).expect("a temporary directory");
    let file = dir.path().join("cache");
    let cache = StatCache::open(&file);
    for ino in [1, 2, 9, 300] {
        cache.record(&stat(7, ino), Digest([3; 32]), i64::MAX, 1);
    }
    cache.flush().expect("a writable directory");
    let whole = std::fs::read(&file).expect("it was written");
    Ground { file, _dir: dir, whole }
});

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let bytes = if *kind == 0 { data.to_vec() } else { made_right(data) };
    std::fs::write(&GROUND.file, &bytes).expect("a writable directory");
    fuzz::within(ROOM, || look(&bytes));
});

fn look(bytes: &[u8]) {
    let cache = StatCache::open(&GROUND.file);
    assert!(cache.len() * ROW_BYTES <= bytes.len(), "more rows than bytes");
    let inodes: Vec<(u64, u64)> = rows(bytes).take(cache.len()).map(inode).collect();
    let before: Vec<_> = inodes.iter().map(|(dev, ino)| cache.by_inode(*dev, *ino)).collect();
    assert!(before.iter().all(Option::is_some), "a row of the file is not found");
    cache.record(&stat(u64::MAX, 5), Digest([1; 32]), i64::MAX, 1);
    cache.flush().expect("what was read can be written");
    let again = StatCache::open(&GROUND.file);
    let found = again.by_inode(u64::MAX, 5).expect("what was just written");
    assert_eq!(found.digest, Digest([1; 32]));
    for ((dev, ino), row) in inodes.into_iter().zip(before) {
        if (dev, ino) != (u64::MAX, 5) {
            assert_eq!(again.by_inode(dev, ino), row);
        }
    }
}

fn rows(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(ROW_BYTES)
}

fn inode(row: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_ne_bytes(row[at * 8..][..8].try_into().expect("8 bytes"));
    (word(0), word(1))
}

/// A file of these rows and this run that nothing but its rows can be wrong with.
fn made_right(data: &[u8]) -> Vec<u8> {
    let (run, rows) = data.split_at(data.len().min(8));
    let rows = &rows[..rows.len() / ROW_BYTES * ROW_BYTES];
    let mut file = GROUND.whole[..HEADER_BYTES].to_vec();
    file[24..32].copy_from_slice(&(rows.len() / ROW_BYTES).to_ne_bytes());
    file[32..32 + run.len()].copy_from_slice(run);
    let mut hasher = blake3::Hasher::new();
    hasher.update(rows).update(&file[..64]);
    file[64..96].copy_from_slice(hasher.finalize().as_bytes());
    file.extend_from_slice(rows);
    file
}

fn stat(dev: u64, ino: u64) -> Stat {
    Stat {
        kind: Kind::File,
        mode: 0o644,
        size: ino * 10,
        mtime_ns: 1,
        ctime_ns: 2,
        birth_ns: None,
        dev,
        ino,
        mnt: 0,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = &GROUND.whole;
    let right = [&[1], &whole[32..40], &whole[HEADER_BYTES..]].concat();
    let many: Vec<u8> = (0..70_u64)
        .flat_map(|ino| [7, ino, ino * 10, 1, 2, 0, 0, 0, 0, 1])
        .flat_map(u64::to_ne_bytes)
        .collect();
    vec![[&[0], &whole[..]].concat(), right, [&[1], &1_u64.to_ne_bytes()[..], &many].concat()]
}
