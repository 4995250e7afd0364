//! A held directory and what can be done to the names in it.
//!
//! Holds: every call is relative to the handle and follows no symlink; names are single components.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::caps::Naming;
use super::os::{self as fs, Fd, File};
use super::stat::{Kind, Stat, fstat, stat_at};

/// An open directory below a root.
pub struct Dir {
    pub(super) fd: Fd,
    /// A name may be found by another that differs in case or form only.
    pub(super) folds: bool,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name as the kernel takes it, without allocating for the usual lengths.
pub(super) fn with_name<T>(
    name: &[u8],
    call: impl FnOnce(&CStr) -> io::Result<T>,
) -> io::Result<T> {
    let mut buffer = [0u8; 256];
    if name.len() < buffer.len() {
        buffer[..name.len()].copy_from_slice(name);
        if let Ok(name) = CStr::from_bytes_with_nul(&buffer[..=name.len()]) {
            return call(name);
        }
    }
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    call(&name)
}

impl Dir {
    /// The names in it, in no order.
    ///
    /// # Errors
    /// The kernel's; a partial listing is an error, never a shorter one.
    pub fn entries(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = fs::names(&self.fd)?;
        names.retain(|name| name != b"." && name != b"..");
        Ok(names)
    }

    /// What `name` is; `None` if nothing has that name, to the byte: what is found only because the file system does
    /// not tell two names apart has the other one.
    ///
    /// # Errors
    /// Any but the absence of the name.
    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match self.found(name)? {
            Some(_) if self.folds && !self.entries()?.iter().any(|entry| entry == name) => Ok(None),
            found => Ok(found),
        }
    }

    /// What `name` leads to: for a name that was just listed, or to know whether it is free.
    ///
    /// # Errors
    /// Any but the absence of the name.
    pub fn found(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match with_name(name, |name| stat_at(&self.fd, name, AtFlags::empty())) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Its own stat.
    ///
    /// # Errors
    /// The kernel's.
    pub fn fstat(&self) -> io::Result<Stat> {
        fstat(&self.fd)
    }

    /// Opens a regular file for reading; never blocks on a pipe that took its place.
    ///
    /// # Errors
    /// The kernel's, or `InvalidInput` if it is no regular file.
    pub fn open_read(&self, name: &[u8]) -> io::Result<File> {
        Ok(self.open_with_stat(name)?.0)
    }

    /// As [`Self::open_read`], with the stat that shows that it is a regular file.
    ///
    /// # Errors
    /// As [`Self::open_read`].
    pub fn open_with_stat(&self, name: &[u8]) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = with_name(name, |name| {
            Ok(File::from(fs::openat(&self.fd, name, flags, Mode::empty())?))
        })?;
        let stat = fstat(&file)?;
        if stat.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((file, stat))
    }

    /// Opens a directory in it.
    ///
    /// # Errors
    /// The kernel's; a symlink is `NotADirectory` or `FilesystemLoop`.
    pub fn open_child(&self, name: &[u8]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECTORY;
        let folds = self.folds;
        with_name(name, |name| {
            Ok(Self { fd: fs::openat(&self.fd, name, flags, Mode::empty())?, folds })
        })
    }

    /// The text of a symlink.
    ///
    /// # Errors
    /// The kernel's.
    pub fn readlink(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        with_name(name, |name| Ok(fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes()))
    }

    /// Makes a new file, readable and writable by the owner alone.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` if the name is taken.
    pub fn create_new(&self, name: &[u8]) -> io::Result<File> {
        self.create_with(name, 0o600)
    }

    /// Makes a new file with these permission bits, less those of the umask.
    ///
    /// # Errors
    /// As [`Self::create_new`].
    pub fn create_with(&self, name: &[u8], mode: u16) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode.into());
        with_name(name, |name| Ok(fs::openat(&self.fd, name, flags, mode)?.into()))
    }

    /// Opens a file that is there, to be written to.
    ///
    /// # Errors
    /// The kernel's; or it is no file.
    pub fn open_write(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file: File =
            with_name(name, |name| Ok(fs::openat(&self.fd, name, flags, Mode::empty())?.into()))?;
        match fstat(&file)?.kind {
            Kind::File => Ok(file),
            Kind::Dir | Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    /// Makes a file that has no name: it is gone when it is closed, unless it was given one.
    ///
    /// # Errors
    /// The kernel's; many file systems have no such files.
    pub fn create_unnamed(&self, mode: u16) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, c".", flags, Mode::from_raw_mode(mode.into()))?.into())
    }

    /// Gives a name that is free to a file of [`Self::create_unnamed`].
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` if the name is taken.
    pub fn give_name(&self, file: &File, way: Naming, name: &[u8]) -> io::Result<()> {
        with_name(name, |name| match way {
            Naming::Never => Err(io::ErrorKind::Unsupported.into()),
            Naming::Descriptor => Ok(fs::linkat(file, c"", &self.fd, name, AtFlags::EMPTY_PATH)?),
            Naming::Proc => {
                let link = fs::proc_link(file);
                Ok(fs::linkat(CWD, link, &self.fd, name, AtFlags::SYMLINK_FOLLOW)?)
            }
        })
    }

    /// Makes a new directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_dir(&self, name: &[u8], mode: u16) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode.into());
        with_name(name, |name| Ok(fs::mkdirat(&self.fd, name, mode)?))
    }

    /// Makes a new symlink.
    ///
    /// # Errors
    /// The kernel's.
    pub fn make_symlink(&self, target: &[u8], name: &[u8]) -> io::Result<()> {
        let target = CString::new(target).map_err(io::Error::other)?;
        with_name(name, |name| Ok(fs::symlinkat(&*target, &self.fd, name)?))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The kernel's; `DirectoryNotEmpty` if it is not.
    pub fn remove_dir(&self, name: &[u8]) -> io::Result<()> {
        with_name(name, |name| Ok(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?))
    }

    /// Removes a name that is no directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unlink(&self, name: &[u8]) -> io::Result<()> {
        with_name(name, |name| Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?))
    }

    /// Gives `name` to `to` as `to_name`, which must be free.
    ///
    /// Without `RENAME_NOREPLACE` (before Linux 3.15, NFS, some FUSE) a file is linked and unlinked: both names exist
    /// for a moment. A directory or where links are refused: the name is checked, then renamed; a name that appears
    /// between these two calls would be replaced.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` if the new name is taken.
    pub fn rename_new(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        match self.rename_if_free(name, to, to_name) {
            Err(error) if is_unsupported(&error) => self.rename_new_by_link(name, to, to_name),
            result => result,
        }
    }

    /// As [`Self::rename_new`], into a directory in which nobody but us makes names: one call moves it on every file
    /// system, so nothing that takes the old name meanwhile is touched.
    ///
    /// # Errors
    /// The kernel's; `AlreadyExists` if the new name is taken.
    pub fn rename_to_own(&self, name: &[u8], own: &Self, own_name: &[u8]) -> io::Result<()> {
        match self.rename_if_free(name, own, own_name) {
            Err(error) if is_unsupported(&error) => {
                if own.stat(own_name)?.is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                self.rename_over(name, own, own_name)
            }
            result => result,
        }
    }

    fn rename_if_free(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        with_name(name, |name| {
            with_name(to_name, |to_name| {
                Ok(fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::NOREPLACE)?)
            })
        })
    }

    fn rename_new_by_link(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        let linked = with_name(name, |name| {
            with_name(to_name, |to_name| {
                Ok(fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty())?)
            })
        });
        match linked {
            Ok(()) => return self.unlink(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
        }
        if to.found(to_name)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        with_name(name, |name| {
            with_name(to_name, |to_name| Ok(fs::renameat(&self.fd, name, &to.fd, to_name)?))
        })
    }

    /// Gives `name` to `to` as `to_name`, replacing what has it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn rename_over(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<()> {
        with_name(name, |name| {
            with_name(to_name, |to_name| Ok(fs::renameat(&self.fd, name, &to.fd, to_name)?))
        })
    }

    /// Swaps two names, which must both exist; false where the file system cannot.
    ///
    /// # Errors
    /// The kernel's.
    pub fn exchange(&self, name: &[u8], to: &Self, to_name: &[u8]) -> io::Result<bool> {
        let swapped = with_name(name, |name| {
            with_name(to_name, |to_name| {
                Ok(fs::renameat_with(&self.fd, name, &to.fd, to_name, RenameFlags::EXCHANGE)?)
            })
        });
        match swapped {
            Ok(()) => Ok(true),
            Err(error) if is_unsupported(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sets the permission bits of a name that is no symlink.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_mode(&self, name: &[u8], mode: u16) -> io::Result<()> {
        // Opened without following, so that a symlink that took its place is refused.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = with_name(name, |name| Ok(fs::openat(&self.fd, name, flags, Mode::empty())?));
        match opened {
            Ok(fd) => Ok(fs::fchmod(&fd, Mode::from_raw_mode(mode.into()))?),
            // Unreadable by ourselves: by name, if it is no link.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                match self.stat(name)?.map(|stat| stat.kind) {
                    Some(Kind::File | Kind::Dir) => with_name(name, |name| {
                        let mode = Mode::from_raw_mode(mode.into());
                        Ok(fs::chmodat(&self.fd, name, mode, AtFlags::empty())?)
                    }),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Flushes the directory itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }
}

/// Whether an error says that the kernel or file system lacks the call.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP))
}
