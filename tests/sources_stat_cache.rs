//! The stat cache: what it remembers, when it must not, and what a damaged file of it does (nothing).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use yeet::dataflow::model::value::Digest;
use yeet::sources::stat_cache::StatCache;
use yeet::sys::{Kind, Stat};

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { path: dir.path().join("deep/er/stat-cache"), _dir: dir }
}

fn stat(ino: u64) -> Stat {
    Stat { dev: 7, ino, size: 100, mtime_ns: 5_000, ctime_ns: 6_000, ..a_file() }
}

fn a_file() -> Stat {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"x").unwrap();
    yeet::sys::fstat(fs::File::open(&path).unwrap()).unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

const LONG_AFTER: i64 = 1_000_000;
const GRAIN: i64 = 1_000;

#[test]
fn a_digest_is_known_after_a_restart() {
    let place = place();
    let cache = StatCache::open(&place.path);
    for ino in 0..1000_u64 {
        cache.record(&stat(ino), digest((ino % 251) as u8), LONG_AFTER, GRAIN);
    }
    cache.flush().unwrap();
    assert_eq!(cache.lookup(&stat(999)), Some(digest((999 % 251) as u8)), "still, after the flush");
    let cache = StatCache::open(&place.path);
    assert_eq!(cache.len(), 1000);
    for ino in 0..1000_u64 {
        assert_eq!(cache.lookup(&stat(ino)), Some(digest((ino % 251) as u8)));
    }
    assert_eq!(cache.lookup(&stat(1000)), None);
    assert_eq!(cache.lookup(&Stat { dev: 6, ..stat(3) }), None);
}

#[test]
fn a_file_that_looks_different_in_anything_is_not_known() {
    let cache = StatCache::in_memory();
    let known = stat(1);
    cache.record(&known, digest(1), LONG_AFTER, GRAIN);
    assert_eq!(cache.lookup(&known), Some(digest(1)));
    for other in [
        Stat { size: 101, ..known },
        Stat { mtime_ns: 5_001, ..known },
        Stat { ctime_ns: 6_001, ..known },
        Stat { dev: 8, ..known },
        Stat { ino: 2, ..known },
    ] {
        assert_eq!(cache.lookup(&other), None, "{other:?}");
    }
}

#[test]
fn a_file_changed_within_a_tick_of_the_look_is_not_remembered() {
    let cache = StatCache::in_memory();
    let fresh = stat(1);
    cache.record(&fresh, digest(1), fresh.ctime_ns + GRAIN, GRAIN);
    assert_eq!(cache.lookup(&fresh), None);
    cache.record(&fresh, digest(1), fresh.ctime_ns - 1, GRAIN);
    assert_eq!(cache.lookup(&fresh), None, "a clock that went back proves nothing");
    cache.record(&fresh, digest(1), fresh.ctime_ns + GRAIN + 1, GRAIN);
    assert_eq!(cache.lookup(&fresh), Some(digest(1)));
    let told_apart = stat(2);
    cache.record(&told_apart, digest(2), told_apart.ctime_ns, 0);
    assert_eq!(cache.lookup(&told_apart), Some(digest(2)));
}

#[test]
fn a_renamed_file_is_a_suspect_not_a_certainty() {
    let cache = StatCache::in_memory();
    cache.record(&stat(1), digest(1), LONG_AFTER, GRAIN);
    let renamed = Stat { ctime_ns: 9_000, ..stat(1) };
    assert_eq!(cache.lookup(&renamed), None);
    let row = cache.by_inode(7, 1).unwrap();
    assert!(row.could_describe(&renamed));
    assert!(!row.describes(&renamed));
    assert!(!row.could_describe(&Stat { mtime_ns: 1, ..renamed }));
}

#[test]
fn only_regular_files_are_remembered() {
    let cache = StatCache::in_memory();
    let link = Stat { kind: Kind::Symlink, ..stat(1) };
    cache.record(&link, digest(1), LONG_AFTER, GRAIN);
    assert!(cache.is_empty());
}

#[test]
fn new_rows_replace_old_ones_and_the_rest_stays() {
    let place = place();
    let cache = StatCache::open(&place.path);
    for ino in [1, 5, 9] {
        cache.record(&stat(ino), digest(1), LONG_AFTER, GRAIN);
    }
    cache.flush().unwrap();
    let edited = Stat { mtime_ns: 7_000, ctime_ns: 7_000, ..stat(5) };
    cache.record(&edited, digest(2), LONG_AFTER, GRAIN);
    cache.record(&stat(0), digest(3), LONG_AFTER, GRAIN);
    cache.record(&stat(10), digest(3), LONG_AFTER, GRAIN);
    cache.flush().unwrap();
    let cache = StatCache::open(&place.path);
    assert_eq!(cache.len(), 5);
    assert_eq!(cache.lookup(&stat(5)), None);
    assert_eq!(cache.lookup(&edited), Some(digest(2)));
    assert_eq!(cache.lookup(&stat(9)), Some(digest(1)));
    assert_eq!(cache.lookup(&stat(10)), Some(digest(3)));
}

#[test]
fn rows_nobody_asks_for_are_dropped_after_sixteen_runs() {
    let place = place();
    let cache = StatCache::open(&place.path);
    cache.record(&stat(1), digest(1), LONG_AFTER, GRAIN);
    cache.record(&stat(2), digest(2), LONG_AFTER, GRAIN);
    cache.flush().unwrap();
    drop(cache);
    for run in 0..20 {
        let cache = StatCache::open(&place.path);
        assert!(cache.lookup(&stat(1)).is_some());
        cache.record(&stat(100 + run), digest(3), LONG_AFTER, GRAIN);
        cache.flush().unwrap();
    }
    let cache = StatCache::open(&place.path);
    assert!(cache.lookup(&stat(1)).is_some(), "it was asked for every time");
    assert!(cache.lookup(&stat(2)).is_none());
}

fn written() -> (Place, Vec<u8>) {
    let place = place();
    let cache = StatCache::open(&place.path);
    for ino in 0..5 {
        cache.record(&stat(ino), digest(1), LONG_AFTER, GRAIN);
    }
    cache.flush().unwrap();
    let bytes = fs::read(&place.path).unwrap();
    (place, bytes)
}

#[test]
fn a_flip_of_any_bit_means_an_empty_cache() {
    let (place, bytes) = written();
    assert_eq!(StatCache::open(&place.path).len(), 5);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&place.path, &bad).unwrap();
        assert!(StatCache::open(&place.path).is_empty(), "byte {at}");
    }
}

#[test]
fn a_file_of_any_other_length_means_an_empty_cache() {
    let (place, mut bytes) = written();
    bytes.push(0);
    for length in (0..bytes.len() - 1).chain([bytes.len()]) {
        fs::write(&place.path, &bytes[..length]).unwrap();
        assert!(StatCache::open(&place.path).is_empty(), "{length} bytes");
    }
}

#[test]
fn whatever_else_is_there_means_an_empty_cache_that_mends_itself() {
    let (place, _) = written();
    fs::write(&place.path, b"not a cache at all").unwrap();
    let cache = StatCache::open(&place.path);
    assert!(cache.is_empty());
    cache.record(&stat(1), digest(1), LONG_AFTER, GRAIN);
    cache.flush().unwrap();
    assert_eq!(StatCache::open(&place.path).len(), 1);

    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    let cache = StatCache::open(&place.path);
    assert!(cache.is_empty());
    cache.record(&stat(1), digest(1), LONG_AFTER, GRAIN);
    assert!(cache.flush().is_err());
    assert_eq!(cache.lookup(&stat(1)), Some(digest(1)), "what cannot be written is still known");
    let left: Vec<_> = fs::read_dir(place.path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

proptest! {
    #[test]
    fn any_bytes_at_all_mean_an_empty_cache(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let place = place();
        fs::create_dir_all(place.path.parent().unwrap()).unwrap();
        fs::write(&place.path, &bytes).unwrap();
        prop_assert!(StatCache::open(&place.path).is_empty());
    }
}

#[test]
fn several_threads_record_and_look_up_while_it_is_flushed() {
    let place = place();
    let cache = StatCache::open(&place.path);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let cache = &cache;
            scope.spawn(move || {
                for i in 0..2000 {
                    let file = stat(u64::from(thread) * 10_000 + i);
                    cache.record(&file, digest(thread), LONG_AFTER, GRAIN);
                    assert_eq!(cache.lookup(&file), Some(digest(thread)));
                    if i % 500 == 0 {
                        cache.flush().unwrap();
                    }
                }
            });
        }
    });
    cache.flush().unwrap();
    assert_eq!(StatCache::open(&place.path).len(), 8000);
}

/// `cargo test --release --test sources_stat_cache -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn a_lookup_takes_less_than_a_microsecond() {
    let place = place();
    let cache = StatCache::open(&place.path);
    let rows = 2_000_000_u64;
    let started = std::time::Instant::now();
    for ino in 0..rows {
        cache.record(&stat(ino * 3), digest(1), LONG_AFTER, GRAIN);
    }
    cache.flush().unwrap();
    println!("record {rows}: {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let cache = StatCache::open(&place.path);
    println!("open {} MB: {:?}", fs::metadata(&place.path).unwrap().len() >> 20, started.elapsed());
    let model = stat(0);
    let (mut state, mut hits) = (1_u64, 0_u64);
    let started = std::time::Instant::now();
    let tries = 2_000_000;
    for _ in 0..tries {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        hits += u64::from(cache.lookup(&Stat { ino: (state >> 20) % rows * 3, ..model }).is_some());
    }
    println!("random lookup: {:?}, {hits} hits", started.elapsed() / tries);
    let started = std::time::Instant::now();
    for i in 0..u64::from(tries) {
        hits += u64::from(cache.lookup(&Stat { ino: i * 3, ..model }).is_some());
    }
    println!("lookup in order: {:?}, {hits} hits", started.elapsed() / tries);
}
