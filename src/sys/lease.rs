//! Notices programs that write to a file while it is displaced.

use std::os::fd::{AsFd, BorrowedFd};

use super::os::{self, File};

/// Whether a file's writers are under control.
#[derive(Debug)]
pub enum Leased {
    /// Nobody has it open for writing, and whoever tries waits until the lease is dropped.
    Held(Lease),
    /// Somebody has it open for writing.
    Writing,
    /// The kernel does not tell: the file is somebody else's, or its file system has no leases.
    Unknown,
}

/// A read lease; it ends when it is dropped.
#[derive(Debug)]
pub struct Lease(pub(super) File);

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Leased {
    /// Whether it is known that somebody writes or waits to.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        match self {
            Self::Held(lease) => lease.is_broken(),
            Self::Writing => true,
            Self::Unknown => false,
        }
    }
}

impl Lease {
    /// Whether somebody waits to open the file for writing, or did because the lease ran out.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        !os::is_leased(&self.0)
    }
}

/// Takes a read lease on a file that is open for reading.
#[must_use]
pub fn lease(file: File) -> Leased {
    ignore_lease_breaks();
    match os::lease(&file) {
        Ok(()) => Leased::Held(Lease(file)),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Leased::Writing,
        Err(_) => Leased::Unknown,
    }
}

/// Somebody who opens a leased file has the kernel send SIGIO to us, which by default would end the process. That it
/// was broken is looked up instead.
fn ignore_lease_breaks() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        #[allow(unsafe_code, reason = "rustix has no signal dispositions")]
        // SAFETY: SIG_IGN runs no code of ours; nothing else in the process uses SIGIO.
        unsafe {
            libc::signal(libc::SIGIO, libc::SIG_IGN);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_write_that_begins_while_a_file_is_held_is_noticed_and_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let Leased::Held(lease) = lease(File::open(&path).unwrap().into()) else {
            return; // Without CAP_LEASE or on a file system without leases there is nothing to see.
        };
        assert!(!lease.is_broken());
        drop(File::open(&path).unwrap());
        assert!(!lease.is_broken(), "reading is no harm");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| std::fs::write(&path, "written"));
            while !lease.is_broken() {
                std::thread::yield_now();
            }
            assert_eq!(std::fs::read(&path).unwrap(), b"x");
            drop(lease);
            writer.join().unwrap().unwrap();
        });
        assert_eq!(std::fs::read(&path).unwrap(), b"written");
    }

    #[test]
    fn a_file_that_is_open_for_writing_is_not_leased() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let writer = File::create(&path).unwrap();
        assert!(!matches!(lease(File::open(&path).unwrap().into()), Leased::Held(_)));
        drop(writer);
    }
}
