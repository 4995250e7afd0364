//! Which digest a file had when it last looked as it looks now, across restarts.
//!
//! Holds: a row speaks only for a file whose device, inode, size, mtime *and* ctime are its own, and it exists only
//! if the file could not have been changed within one tick of its clock after it was read. The file on disk is ours
//! alone, checked as a whole before the first row is used, and worthless to lose: whatever is odd about it means an
//! empty cache, never an error. Never bytes from a peer.
//!
//! Rows are flat `u64` words written and read by `abomonation`. What RUSTSEC-2021-0120 is about (references made
//! from bytes that may be unaligned, too short, or not valid for their type) is shut out here: every bit pattern is
//! a valid `[u64; N]`, the bytes were checked by length and BLAKE3, and they are copied into an aligned array before
//! they are decoded there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{fs, io};

use foldhash::HashMap;

use crate::dataflow::model::value::Digest;
use crate::sys::{Kind, Stat};

mod file;

use file::Mapped;

/// Rows in memory before they are merged into the file, unless the file is large: merging rewrites it.
const OVERLAY_ROWS: usize = 64 << 10;
/// The most rows in memory: where the file cannot be written, later ones are not remembered.
const OVERLAY_ROWS_MAX: usize = 1 << 20;
/// The most rows in the file (80 bytes each).
const FILE_ROWS_MAX: usize = 8 << 20;
/// A row nobody asked for in so many runs is dropped.
const RUNS_UNUSED_MAX: u64 = 16;
/// So many new rows are worth rewriting the file at rest, and not less than this part of its rows.
const MUCH_ROWS: usize = 256;
const MUCH_PART: usize = 64;
const SHARDS: usize = 16;

/// What a file was like when its digest was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Nanoseconds since the epoch.
    pub ctime_ns: i64,
    pub digest: Digest,
}

impl Row {
    /// Whether the file still is what it was.
    #[must_use]
    pub fn describes(&self, stat: &Stat) -> bool {
        self.could_describe(stat) && self.ctime_ns == stat.ctime_ns
    }

    /// Whether only its ctime moved: renamed, linked or chmodded, or edited by somebody who put the mtime back.
    #[must_use]
    pub fn could_describe(&self, stat: &Stat) -> bool {
        self.size == stat.size && self.mtime_ns == stat.mtime_ns
    }
}

/// A file by device and inode.
type Inode = (u64, u64);
type Shard = RwLock<HashMap<Inode, Row>>;

/// Digests by stat, shared by all threads.
pub struct StatCache {
    path: Option<PathBuf>,
    mapped: RwLock<Mapped>,
    overlay: [Shard; SHARDS],
    overlay_rows: AtomicUsize,
    flush_at_rows: AtomicUsize,
    flushing: Mutex<()>,
    run: u64,
}

impl StatCache {
    /// Opens the cache kept in the file `path`; empty where that is missing or odd in any way.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self::with(Some(path.to_path_buf()), Mapped::open(path).unwrap_or_default())
    }

    /// A cache that lives as long as the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::with(None, Mapped::default())
    }

    fn with(path: Option<PathBuf>, mapped: Mapped) -> Self {
        Self {
            path,
            run: mapped.run().saturating_add(1),
            flush_at_rows: AtomicUsize::new(flush_at(mapped.len())),
            mapped: RwLock::new(mapped),
            overlay: Default::default(),
            overlay_rows: AtomicUsize::new(0),
            flushing: Mutex::default(),
        }
    }

    /// How many rows there are, doubles counted twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mapped().len() + self.overlay_rows.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of the file that looks like this, if it was hashed when it looked like this.
    #[must_use]
    pub fn lookup(&self, stat: &Stat) -> Option<Digest> {
        let row = self.by_inode(stat.dev, stat.ino)?;
        row.describes(stat).then_some(row.digest)
    }

    /// What is known of an inode, whether or not it is still true.
    #[must_use]
    pub fn by_inode(&self, dev: u64, ino: u64) -> Option<Row> {
        if self.overlay_rows.load(Ordering::Relaxed) > 0
            && let Some(row) = read(self.shard(ino)).get(&(dev, ino))
        {
            return Some(*row);
        }
        self.mapped().find(dev, ino)
    }

    /// Remembers the digest of the file that `stat` described both before and after it was read, which began at
    /// `looked_at_ns`. `grain_ns` is the tick of its file system's ctime, 0 where every change is told apart.
    ///
    /// A file changed less than a tick before it was read could change again unseen; it is not remembered.
    pub fn record(&self, stat: &Stat, digest: Digest, looked_at_ns: i64, grain_ns: i64) {
        let racy = grain_ns > 0 && stat.ctime_ns.saturating_add(grain_ns) >= looked_at_ns;
        if racy || stat.kind != Kind::File {
            return;
        }
        let row = Row { size: stat.size, mtime_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns, digest };
        if self.overlay_rows.load(Ordering::Relaxed) >= OVERLAY_ROWS_MAX {
            return;
        }
        let new = write(self.shard(stat.ino)).insert((stat.dev, stat.ino), row).is_none();
        if new
            && self.overlay_rows.fetch_add(1, Ordering::Relaxed) + 1
                >= self.flush_at_rows.load(Ordering::Relaxed)
        {
            self.flush_if_nobody_does();
        }
    }

    /// Merges what is in memory into the file. Nothing happens where nothing is new.
    ///
    /// # Errors
    /// What writing the file failed with: its folder, space, permission. Nothing is lost but what a restart forgets.
    pub fn flush(&self) -> io::Result<()> {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        self.merge()
    }

    /// As [`Self::flush`], where what is new is worth rewriting the file.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn flush_if_much(&self) -> io::Result<()> {
        let much = MUCH_ROWS.max(self.mapped().len() / MUCH_PART);
        match self.overlay_rows.load(Ordering::Relaxed) >= much {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush_if_nobody_does(&self) {
        if let Ok(_one_at_a_time) = self.flushing.try_lock()
            && self.merge().is_err()
        {
            // Not before there is as much again: a full disk is not asked for every row.
            let rows = self.overlay_rows.load(Ordering::Relaxed);
            self.flush_at_rows.store(rows.saturating_mul(2), Ordering::Relaxed);
        }
    }

    fn merge(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let mut new: Vec<(Inode, Row)> =
            Vec::with_capacity(self.overlay_rows.load(Ordering::Relaxed));
        for shard in &self.overlay {
            new.extend(read(shard).iter().map(|(inode, row)| (*inode, *row)));
        }
        if new.is_empty() {
            return Ok(());
        }
        new.sort_unstable_by_key(|(inode, _)| *inode);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let merged = file::write(path, &self.mapped(), &new, self.run)?;
        self.flush_at_rows.store(flush_at(merged.len()), Ordering::Relaxed);
        *write(&self.mapped) = merged;
        for (inode, row) in new {
            let mut shard = write(self.shard(inode.1));
            // Rows recorded while the file was written stay.
            if shard.get(&inode) == Some(&row) {
                shard.remove(&inode);
                self.overlay_rows.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.overlay.iter().for_each(|shard| write(shard).shrink_to_fit());
        Ok(())
    }

    #[allow(clippy::cast_possible_truncation, reason = "less than SHARDS")]
    fn shard(&self, ino: u64) -> &Shard {
        // Inodes of one directory are neighbours, and often looked at by different threads at once.
        &self.overlay[(ino / 8) as usize % SHARDS]
    }

    fn mapped(&self) -> RwLockReadGuard<'_, Mapped> {
        read(&self.mapped)
    }
}

/// A quarter of the file's rows: rewriting it costs a constant number of writes for every row.
fn flush_at(file_rows: usize) -> usize {
    OVERLAY_ROWS.max(file_rows / 4).min(OVERLAY_ROWS_MAX / 2)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Which rows of the file were asked for in this run, one bit each.
#[derive(Default)]
struct Used(Vec<AtomicU64>);

impl Used {
    fn none_of(rows: usize) -> Self {
        Self((0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, row: usize) {
        let word = &self.0[row / 64];
        let bit = 1 << (row % 64);
        // Mostly set already: a load leaves the line shared between the threads.
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn get(&self, row: usize) -> bool {
        self.0[row / 64].load(Ordering::Relaxed) & 1 << (row % 64) != 0
    }
}
