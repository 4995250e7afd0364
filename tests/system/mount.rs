//! File systems mounted for a test: images on loop devices, memory, and views of what is there already.
//!
//! Holds: what was mounted is unmounted when its value is dropped. Where this user cannot mount, or the kernel or a
//! tool lacks the kind, there is no value, and a word says so.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command for the test's scenery; whether it went well.
pub(crate) fn did(command: &str, args: &[&OsStr]) -> bool {
    Command::new(command).args(args).output().is_ok_and(|out| out.status.success())
}

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
    Btrfs,
    Tmpfs,
}

impl Kind {
    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let of = |kind: Self| (kind.name() == name).then_some(kind);
        [Self::Ext4, Self::Xfs, Self::Btrfs, Self::Tmpfs].into_iter().find_map(of)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
        }
    }

    /// About the smallest size its tool accepts, in MiB.
    fn mib(self) -> u64 {
        match self {
            Self::Ext4 | Self::Tmpfs => 32,
            Self::Xfs => 320,
            Self::Btrfs => 160,
        }
    }
}

/// A mounted file system.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// An empty file system of its kind's usual small size at `at`, which is made.
    pub(crate) fn empty(kind: Kind, image: &Path, at: &Path) -> Option<Self> {
        let made = Self::sized(kind, kind.mib(), image, at)?;
        // It is the checker's, and no user's.
        drop(fs::remove_dir(at.join("lost+found")));
        Some(made)
    }

    /// A file system of so many MiB at `at`, which is made.
    pub(crate) fn sized(kind: Kind, mib: u64, image: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        if kind == Kind::Tmpfs {
            let size = format!("size={mib}m");
            return Self::mounted(
                &["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "none".as_ref()],
                at,
            );
        }
        fs::File::create(image).and_then(|file| file.set_len(mib << 20)).expect("an image");
        let mkfs = format!("mkfs.{}", kind.name());
        if !did(&mkfs, &["-q".as_ref(), image.as_ref()]) {
            return skipped();
        }
        Self::again(image, at)
    }

    /// What is on an image that was made before, at `at`.
    pub(crate) fn again(image: &Path, at: &Path) -> Option<Self> {
        Self::mounted(&["-o".as_ref(), "loop".as_ref(), image.as_ref()], at)
    }

    /// What `of` holds, at `at`, which is made.
    pub(crate) fn bind(of: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory");
        Self::mounted(&["--bind".as_ref(), of.as_ref()], at)
    }

    fn mounted(args: &[&OsStr], at: &Path) -> Option<Self> {
        if did("mount", &[args, &[at.as_ref()]].concat()) {
            return Some(Self(at.to_owned()));
        }
        skipped()
    }

    /// Lets a view be written, or not; the file system it shows is as it was.
    pub(crate) fn set_writable(&self, writable: bool) {
        let how = if writable { "remount,bind,rw" } else { "remount,bind,ro" };
        assert!(self.remount(how), "{how}");
    }

    /// Mounts it once more with this option; whether the kernel did: not read-only while a file is open for writing.
    pub(crate) fn remount(&self, how: &str) -> bool {
        did("mount", &["-o".as_ref(), how.as_ref(), self.0.as_ref()])
    }

    /// Takes all space that is left with a file `ballast` at its top.
    pub(crate) fn fill(&self) {
        let Ok(mut ballast) = fs::File::create(self.0.join("ballast")) else { return };
        let mut size = 0;
        // Reserved space costs an image nothing.
        let mut step: u64 = 64 << 20;
        while step >= 4096 {
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&ballast, flags, size, step) {
                Ok(()) => size += step,
                Err(_) => step /= 2,
            }
        }
        drop(ballast.write_all_at(&[1], size).and_then(|()| ballast.flush()));
    }

    /// Gives the space back. Some file systems free what has no name any more in their own time: it is made empty
    /// before, and written out after.
    pub(crate) fn empty_ballast(&self) {
        let at = self.0.join("ballast");
        drop(fs::File::options().write(true).truncate(true).open(&at));
        drop(fs::remove_file(&at));
        drop(fs::File::open(&self.0).map(|top| rustix::fs::syncfs(&top)));
    }
}

#[allow(clippy::print_stdout, reason = "a test that was skipped says so")]
fn skipped<T>() -> Option<T> {
    println!("skipped: nothing can be mounted here");
    None
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, since a daemon may still hold it.
        did("umount", &["-l".as_ref(), self.0.as_ref()]);
    }
}
