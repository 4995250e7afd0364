//! The kernel as the rest of this folder calls it.
//!
//! Holds: outside of tests these names are the system's own and nothing else. In tests a handle may also be one of a
//! simulated disk (`sim`); everything above, from [`super::Dir`] on, is the same code over both.

#[cfg(not(test))]
mod system {
    use std::ffi::CStr;
    use std::io::{self, Read};
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    pub(in crate::sys) use rustix::fs::{
        chmodat, copy_file_range, fchmod, flock, fsync, futimens, ioctl_ficlone, linkat, mkdirat,
        open, openat, openat2, readlinkat, renameat, renameat_with, seek, statat, statx, symlinkat,
        syncfs, unlinkat,
    };
    pub use std::fs::File;
    pub(in crate::sys) use std::os::fd::{AsFd as Handle, OwnedFd as Fd};

    /// The wall clock, which file times are compared with, in nanoseconds since the epoch.
    #[must_use]
    pub fn now_ns() -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// The clock that waits go by.
    #[must_use]
    pub fn now() -> Instant {
        Instant::now()
    }

    /// Waits.
    pub fn pause(time: Duration) {
        std::thread::sleep(time);
    }

    /// The text of the file in which the kernel says which boot this is.
    pub(in crate::sys) fn boot_text() -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// Device and inode of what a path leads to.
    pub(in crate::sys) fn find(path: &CStr) -> io::Result<(u64, u64)> {
        let found = rustix::fs::stat(path)?;
        #[allow(clippy::unnecessary_cast, reason = "the C types differ by platform")]
        Ok((found.st_dev as u64, found.st_ino as u64))
    }

    /// The names in a directory, in no order, its own two among them.
    pub(in crate::sys) fn names(dir: &Fd) -> io::Result<Vec<Vec<u8>>> {
        seek(dir, rustix::fs::SeekFrom::Start(0))?;
        let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
        let mut names = Vec::new();
        let mut entries = rustix::fs::RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            names.push(entry?.file_name().to_bytes().to_vec());
        }
        Ok(names)
    }

    /// Fills `bytes` with what nobody can guess.
    pub(in crate::sys) fn random(bytes: &mut [u8]) -> io::Result<()> {
        File::open("/dev/urandom")?.read_exact(bytes)
    }

    /// A file that was opened by a path outside of all roots.
    #[must_use]
    pub fn opened(file: File) -> File {
        file
    }

    /// Takes a read lease.
    pub(in crate::sys) fn lease(file: &File) -> io::Result<()> {
        #[allow(unsafe_code, reason = "rustix has no leases")]
        // SAFETY: fcntl with F_SETLEASE takes an open descriptor, which `file` is, and an integer.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether a read lease that was taken still stands.
    pub(in crate::sys) fn is_leased(file: &File) -> bool {
        #[allow(unsafe_code, reason = "rustix has no leases")]
        // SAFETY: fcntl with F_GETLEASE takes an open descriptor, which the file is, and nothing else.
        let now = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) };
        now == libc::F_RDLCK
    }

    /// The link by which an open file can be named.
    pub(in crate::sys) fn proc_link(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }
}

#[cfg(test)]
pub use super::sim::calls::*;
#[cfg(not(test))]
pub use system::*;
