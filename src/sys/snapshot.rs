//! What a file held at one moment, however it goes on changing.
//!
//! Holds: a snapshot has no name and shares the file's blocks: nobody sees it, and whatever ends the process frees it.

use std::io;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::os::{self as fs, File};
use super::root::Root;
use super::stat::{Stat, fstat};

/// How often a snapshot is taken anew because the file's times moved around it.
const TRIES: u32 = 16;

/// The content a file had at one moment.
pub struct Snapshot {
    pub file: File,
    /// The file's stat at that moment.
    pub stat: Stat,
    /// Whether nothing was written around that moment; else its times are those it had just before.
    pub is_exact: bool,
}

impl Snapshot {
    /// Has it read from its start again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rewind(&self) -> io::Result<()> {
        Ok(fs::seek(&self.file, SeekFrom::Start(0)).map(drop)?)
    }
}

impl Root {
    /// Takes a snapshot of an open file of this root; `None` where nothing can be written or the file system has no
    /// reflinks or no files without a name.
    ///
    /// # Errors
    /// The kernel's: most likely the disk is full.
    pub fn snapshot(&self, of: &File) -> io::Result<Option<Snapshot>> {
        if self.caps().read_only {
            return Ok(None);
        }
        let Ok(own) = self.own_dir() else { return Ok(None) };
        let file = match own.create_unnamed(0o600) {
            Ok(file) => file,
            Err(error) if is_lack_of_space(&error) => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut tries = 1..=TRIES;
        loop {
            let before = fstat(of)?;
            // Sharing does not cut off what was longer.
            file.set_len(0)?;
            match fs::ioctl_ficlone(&file, of) {
                Ok(()) => {}
                Err(error) if has_no_reflinks(error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            let size = fstat(&file)?.size;
            let is_exact = fstat(of)?.is_unchanged(&before) && size == before.size;
            if is_exact || tries.next().is_none() {
                let stat = Stat { size, ..before };
                return Ok(Some(Snapshot { file, stat, is_exact }));
            }
        }
    }
}

fn is_lack_of_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// Whether the kernel says that blocks cannot be shared, not that it failed.
fn has_no_reflinks(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSYS
            | Errno::OPNOTSUPP
            | Errno::INVAL
            | Errno::XDEV
            | Errno::NOTTY
            | Errno::PERM
            | Errno::ACCESS
            | Errno::TXTBSY
    )
}
