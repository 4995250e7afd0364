//! What the kernel and a replica's file system can do, found out by trying.

use std::io::{self, Write};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::dir::Dir;
use super::file::set_mtime;
use super::os::{self as fs, File, Handle};
use super::stat::fstat;

/// A replica's capabilities and traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// `openat2` resolves paths beneath the root; else they are walked by component.
    pub openat2: bool,
    /// Two names can be swapped at once.
    pub exchange: bool,
    /// A file can be written before it has any name.
    pub unnamed: Naming,
    /// How far apart two changes must be to get different ctimes, in nanoseconds; 0 if they always do.
    pub ctime_grain_ns: i64,
    /// How much later than the directories a rename may stamp what it moves, in nanoseconds.
    pub rename_grain_ns: i64,
    /// What mtimes are rounded to, in nanoseconds.
    pub mtime_grain_ns: i64,
    /// `chmod` sticks.
    pub modes: bool,
    /// Symlinks can be made.
    pub symlinks: bool,
    /// A name is found by another that differs in case only.
    pub folds: bool,
    /// Nothing can be written.
    pub read_only: bool,
}

/// How a file without a name gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// There are no files without a name.
    Never,
    /// By its descriptor: with a privilege, and since Linux 6.10 for who opened it.
    Descriptor,
    /// By its link in `/proc`.
    Proc,
}

/// Kernels tick at least this often.
const TICK_NS: i64 = 10_000_000;

impl Caps {
    /// What is assumed where nothing can be tried.
    pub(super) fn assumed(dir: &impl Handle) -> Self {
        Self {
            openat2: has_openat2(dir),
            exchange: false,
            unnamed: Naming::Never,
            ctime_grain_ns: TICK_NS,
            rename_grain_ns: TICK_NS,
            mtime_grain_ns: 1,
            modes: true,
            symlinks: true,
            folds: false,
            read_only: true,
        }
    }

    /// Tries everything in `dir`, which is ours, and leaves nothing behind.
    pub(super) fn probe(dir: &Dir) -> io::Result<Self> {
        let name = format!("probe-{}-{:?}", std::process::id(), std::thread::current().id());
        let (name, other) = (name.as_bytes(), format!("{name}-2"));
        let other = other.as_bytes();
        // What one that was killed left: in a container the next has its number.
        drop(dir.unlink(name));
        drop(dir.unlink(other));
        let probed = Self::try_out(dir, name, other);
        for left in [name, other] {
            match dir.unlink(left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        probed
    }

    fn try_out(dir: &Dir, name: &[u8], other: &[u8]) -> io::Result<Self> {
        let mut file = dir.create_new(name)?;
        let folds = dir.found(&name.to_ascii_uppercase())?.is_some();
        let ctime_grain_ns = ctime_grain(&mut file)?;
        // An odd nanosecond in the past shows what is kept of it.
        set_mtime(&file, 1_234_567_891_234_567_891)?;
        let kept = fstat(&file)?.mtime_ns;
        let mtime_grain_ns = match kept {
            1_234_567_891_234_567_891 => 1,
            1_234_567_891_234_567_800 => 100,
            1_234_567_891_234_567_000 => 1_000,
            1_234_567_891_000_000_000 => 1_000_000_000,
            _ => 2_000_000_000,
        };
        fs::fchmod(&file, Mode::from_raw_mode(0o711))?;
        let modes = fstat(&file)?.mode == 0o711;
        let symlinks = dir.make_symlink(b"nowhere", other).is_ok();
        if !symlinks {
            drop(dir.create_new(other)?);
        }
        let exchange = dir.exchange(name, dir, other)?;
        dir.unlink(other)?;
        let unnamed = naming(dir, other);
        drop(dir.unlink(other));
        dir.rename_to_own(name, dir, other)?;
        let rename_grain_ns = if ctime_grain_ns == 0 { rename_grain(dir, other)? } else { TICK_NS };
        Ok(Self {
            openat2: has_openat2(dir),
            exchange,
            unnamed,
            ctime_grain_ns,
            rename_grain_ns,
            mtime_grain_ns,
            modes,
            symlinks,
            folds,
            read_only: false,
        })
    }
}

/// How an unnamed file in `dir` gets the name `free`.
fn naming(dir: &Dir, free: &[u8]) -> Naming {
    let Ok(file) = dir.create_unnamed(0o600) else { return Naming::Never };
    let ways = [Naming::Descriptor, Naming::Proc].into_iter();
    let mut ways = ways.filter(|way| dir.give_name(&file, *way, free).is_ok());
    ways.next().unwrap_or(Naming::Never)
}

fn has_openat2(dir: &impl Handle) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat2(dir, ".", flags, Mode::empty(), ResolveFlags::BENEATH).is_ok()
}

/// Kernels since 6.13 give a change made after a look a time of its own; older ones the time of the last tick.
fn ctime_grain(file: &mut File) -> io::Result<i64> {
    let mut last = fstat(&*file)?.ctime_ns;
    for _ in 0..8 {
        file.write_all(b"x")?;
        let now = fstat(&*file)?.ctime_ns;
        if now == last {
            return Ok(TICK_NS);
        }
        last = now;
    }
    Ok(0)
}

/// Some file systems stamp the directories first, with the time of the last tick, and then what was looked at before with
/// the time it is. `moved` was renamed within `dir` just now.
fn rename_grain(dir: &Dir, moved: &[u8]) -> io::Result<i64> {
    let moved = dir.stat(moved)?.ok_or(io::ErrorKind::NotFound)?;
    Ok(if moved.ctime_ns > dir.fstat()?.mtime_ns { TICK_NS } else { 0 })
}
