//! What all targets share: seeds made by code, the memory a decoder takes, and what every decoded path must be.
//!
//! Holds: a seed is a valid input of the code as it is now, so none goes stale; a bound on memory is a multiple of the
//! input's length, never of a length that the input claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use yeet::dataflow::model::path::{NAME_BYTES_MAX, RelPath};

/// Counts what is allocated: a target runs in one thread.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

/// What `act` returns. Fails if it ever held more than `bytes` at once.
pub fn within<T>(bytes: usize, act: impl FnOnce() -> T) -> T {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = act();
    let peak = PEAK.load(Relaxed).saturating_sub(before);
    assert!(peak <= bytes, "{peak} bytes were allocated of at most {bytes}");
    done
}

/// Writes valid inputs to the corpus, which is the first directory in the arguments.
pub fn seed(seeds: impl IntoIterator<Item = Vec<u8>>) {
    let named = std::env::args_os().skip(1).map(std::path::PathBuf::from);
    let Some(corpus) = named.into_iter().find(|path| path.is_dir()) else { return };
    for (number, bytes) in seeds.into_iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{number:02}")), bytes).expect("a writable corpus");
    }
}

/// Fails for a path that could name anything but an object below the root it is resolved from.
pub fn check_path(path: &RelPath) {
    let bytes = path.as_bytes();
    assert!(!bytes.contains(&0), "{path:?} holds a NUL");
    if bytes.is_empty() {
        return;
    }
    for name in bytes.split(|byte| *byte == b'/') {
        assert!(!name.is_empty(), "{path:?} has an empty name");
        assert!(name.len() <= NAME_BYTES_MAX, "{path:?} has a name that is too long");
        assert!(name != b"." && name != b"..", "{path:?} leaves its place");
    }
    let os: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
    let normal = |part: Component<'_>| matches!(part, Component::Normal(_));
    assert!(Path::new(os).components().all(normal), "{path:?} is no plain path");
}

/// The replicas that inputs speak of.
pub fn leaf() -> yeet::dataflow::model::replica::Replica {
    yeet::dataflow::model::replica::Replica::leaf(1).expect("slot 1")
}

/// A path of a seed.
pub fn path(text: &[u8]) -> RelPath {
    RelPath::parse(text).expect("a good path")
}
