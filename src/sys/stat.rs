//! What the file system says of an object.

use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, StatxFlags, StatxTimestamp, makedev};
use rustix::io::Errno;
use serde::{Deserialize, Deserializer, Serialize};

use super::os::{self as fs, Handle};

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Device,
}

/// An object's stat. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub kind: Kind,
    /// Permission bits, at most `0o777`.
    #[serde(deserialize_with = "permission_bits")]
    pub mode: u16,
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    /// Where the file system knows it.
    pub birth_ns: Option<i64>,
    pub dev: u64,
    pub ino: u64,
    /// The mount it is on; 0 where the kernel does not say.
    pub mnt: u64,
}

/// A mode from outside.
fn permission_bits<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    Ok(u16::deserialize(from)? & 0o777)
}

impl Stat {
    /// A number that changes whenever the object may have: from device, inode, size, mtime and ctime.
    #[must_use]
    pub fn identity(&self) -> u64 {
        let words = [
            self.dev,
            self.ino,
            self.size,
            self.mtime_ns.cast_unsigned(),
            self.ctime_ns.cast_unsigned(),
        ];
        words.iter().fold(0x9e37_79b9_7f4a_7c15, |mixed: u64, word| {
            let mixed = (mixed ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
            mixed ^ (mixed >> 32)
        })
    }

    /// Whether this is the same object, unchanged.
    #[must_use]
    pub fn is_unchanged(&self, earlier: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime_ns, self.ctime_ns)
            == (earlier.dev, earlier.ino, earlier.size, earlier.mtime_ns, earlier.ctime_ns)
    }

    /// Whether this is the same object with the same bytes as far as size and mtime tell: a rename alters the ctime.
    #[must_use]
    pub fn is_same_object(&self, earlier: &Self) -> bool {
        (self.dev, self.ino, self.size, self.mtime_ns)
            == (earlier.dev, earlier.ino, earlier.size, earlier.mtime_ns)
    }
}

/// Set once the kernel has said that it has no `statx` (before 4.11).
static NO_STATX: AtomicBool = AtomicBool::new(false);

/// The stat of `name` in `dir`, of the link itself if it is one.
pub(super) fn stat_at(dir: impl Handle, name: &CStr, flags: AtFlags) -> io::Result<Stat> {
    let flags = flags | AtFlags::SYMLINK_NOFOLLOW;
    if !NO_STATX.load(Ordering::Relaxed) {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        match fs::statx(&dir, name, flags, mask) {
            Ok(found) => return Ok(from_statx(&found)),
            Err(Errno::NOSYS) => NO_STATX.store(true, Ordering::Relaxed),
            Err(errno) => return Err(errno.into()),
        }
    }
    let found = fs::statat(&dir, name, flags)?;
    Ok(from_stat(&found))
}

/// The stat of an open object.
///
/// # Errors
/// The kernel's.
pub fn fstat(fd: impl Handle) -> io::Result<Stat> {
    stat_at(fd, c"", AtFlags::EMPTY_PATH)
}

fn kind(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Kind::Device,
    }
}

fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

fn from_statx(found: &rustix::fs::Statx) -> Stat {
    let ns = |t: StatxTimestamp| nanoseconds(t.tv_sec, i64::from(t.tv_nsec));
    let has = |flag: StatxFlags| found.stx_mask & flag.bits() != 0;
    Stat {
        kind: kind(u32::from(found.stx_mode)),
        mode: found.stx_mode & 0o777,
        size: found.stx_size,
        mtime_ns: ns(found.stx_mtime),
        ctime_ns: ns(found.stx_ctime),
        birth_ns: has(StatxFlags::BTIME).then(|| ns(found.stx_btime)),
        dev: makedev(found.stx_dev_major, found.stx_dev_minor),
        ino: found.stx_ino,
        mnt: if has(StatxFlags::MNT_ID) { found.stx_mnt_id } else { 0 },
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::unnecessary_cast,
    reason = "the C types differ by platform; the masked bits fit"
)]
fn from_stat(found: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: kind(found.st_mode as u32),
        mode: (found.st_mode & 0o777) as u16,
        size: found.st_size.cast_unsigned(),
        mtime_ns: nanoseconds(found.st_mtime as i64, found.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(found.st_ctime as i64, found.st_ctime_nsec as i64),
        birth_ns: None,
        dev: found.st_dev as u64,
        ino: found.st_ino as u64,
        mnt: 0,
    }
}
