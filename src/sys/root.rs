//! A replica's root: held open, told apart from any other directory, and owned by one daemon.
//!
//! Holds: nothing outside the root is reached through it; an absence may be believed only while
//! [`Root::still_there`].

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::caps::Caps;
use super::dir::{Dir, with_name};
use super::file::sync_fs;
use super::os::{self as fs, Fd, File};
use super::stat::{Kind, Stat, fstat};
use crate::dataflow::model::path::{Name, RelPath};

/// The one name of ours in a root.
pub const OWN_DIR: &str = ".yeet";

/// What tells a root from another directory at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub dev: u64,
    pub ino: u64,
    /// Nanoseconds since the Unix epoch, where the file system knows.
    pub birth: Option<i64>,
    /// The random id in `.yeet/id`, where one could be written.
    pub id: Option<[u8; 16]>,
}

impl Identity {
    /// Whether a root with this identity is the one that had `earlier`.
    ///
    /// A random id decides where both have one; a device number may change between boots. But a backup has the id too,
    /// and the top of a new file system the number of the old one's: only the birth tells them apart.
    #[must_use]
    pub fn is_same(&self, earlier: &Self) -> bool {
        let born = self.birth.zip(earlier.birth).is_none_or(|(now, then)| now == then);
        match (self.id, earlier.id) {
            (Some(now), Some(then)) => now == then && self.ino == earlier.ino && born,
            // Its id may have been written since, when it could not be at first.
            (_, None) => (self.ino, self.birth) == (earlier.ino, earlier.birth),
            (None, Some(_)) => false,
        }
    }
}

/// Why a directory cannot be a root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error("{path} does not exist")]
    Missing { path: PathBuf },
    #[error("{path} is not a directory")]
    NotADirectory { path: PathBuf },
    #[error("cannot open {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Why a root's lock was not granted.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path} belongs to another daemon ({owner})")]
    Owned { path: PathBuf, owner: String, holder: Holder },
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Whose lock it is, where an agent holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// What it is for; only the same daemon's same replica has this.
    pub errand: Option<[u8; 16]>,
    pub agent: Option<u32>,
}

impl Holder {
    fn write(self) -> String {
        let errand = self.errand.map(|errand| {
            let hex: String = errand.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("errand {hex}\n")
        });
        let agent = self.agent.map(|pid| format!("agent {pid}\n"));
        errand.unwrap_or_default() + &agent.unwrap_or_default()
    }

    fn read(lines: std::str::Lines<'_>) -> Self {
        let mut holder = Self::default();
        for line in lines {
            match line.split_once(' ') {
                Some(("errand", hex)) => {
                    holder.errand = u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
                }
                Some(("agent", pid)) => holder.agent = pid.parse().ok(),
                Some(_) | None => {}
            }
        }
        holder
    }
}

/// Held while a daemon owns a root; dropping it gives the root back.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// The locked file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// An opened root.
pub struct Root {
    pub(super) fd: Fd,
    path: PathBuf,
    stat: Stat,
    caps: Caps,
    id: Option<[u8; 16]>,
    /// It had an id when it was opened.
    was_known: bool,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Opens a root as it is; nothing is written. Its capabilities are assumed until [`Self::prepare`].
    ///
    /// # Errors
    /// It is missing, no directory, or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, RootError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let failed = |source: io::Error| {
            let path = path.to_owned();
            match source.raw_os_error() {
                Some(libc::ENOENT) => RootError::Missing { path },
                Some(libc::ENOTDIR) => RootError::NotADirectory { path },
                _ => RootError::Io { path, source },
            }
        };
        let fd = fs::open(path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        let stat = fstat(&fd).map_err(failed)?;
        let caps = Caps::assumed(&fd);
        let (path, id, was_known) = (path.to_owned(), None, false);
        let mut root = Self { fd, path, stat, caps, id, was_known };
        root.id = root.read_id();
        root.was_known = root.id.is_some();
        Ok(root)
    }

    /// Makes `.yeet` with a random id in it and finds out what the file system can do.
    ///
    /// A root that cannot be written stays as it is: no id, and [`Caps::read_only`]. On a disk that is full nothing can
    /// be tried, and the root comes up all the same.
    ///
    /// # Errors
    /// It could be written but something in it is not as it should be.
    pub fn prepare(&mut self) -> io::Result<()> {
        let own = match self.own_dir() {
            Ok(own) => own,
            Err(error) if is_unwritable(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        match Caps::probe(&own) {
            Ok(caps) => self.caps = caps,
            Err(error) if is_unwritable(&error) => return Ok(()),
            // What is full now can be written once there is space; what it then refuses, an act finds out.
            Err(error) if is_full(&error) => {
                self.caps = Caps { exchange: true, read_only: false, ..Caps::assumed(&own) };
            }
            Err(error) => return Err(error),
        }
        if self.id.is_none() {
            match self.write_id(&own) {
                Err(error) if is_full(&error) => return Ok(()),
                written => written?,
            }
        }
        hide_from_git(&own)
    }

    /// Puts on disk what a daemon had placed of which nothing is known any more. To be called where nothing was known of
    /// this root (`was` is the default) before it was opened.
    ///
    /// Whoever remembers what is under way there knows after a power loss what is torn by it; nobody would know of this.
    ///
    /// # Errors
    /// The kernel's: some write did not reach the disk.
    pub fn settle_unknown(&self, was: &Identity) -> io::Result<()> {
        match self.was_known && *was == Identity::default() {
            true => sync_fs(self),
            false => Ok(()),
        }
    }

    /// The directory `.yeet`, made if need be, for the owner alone.
    ///
    /// # Errors
    /// The kernel's, or something else has that name.
    pub fn own_dir(&self) -> io::Result<Dir> {
        let root = self.open_dir(&RelPath::root())?;
        match root.make_dir(OWN_DIR.as_bytes(), 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // All names in it are ours.
            _ => Ok(Dir { folds: false, ..root.open_child(OWN_DIR.as_bytes())? }),
        }
    }

    /// Removes a folder of `.yeet` that holds nothing, and then what is there without any: the id is of use to a remembered
    /// sync only, which would have left more than it.
    pub fn tidy(&self, folder: &str) {
        let Ok(root) = self.open_dir(&RelPath::root()) else { return };
        let Ok(own) = root.open_child(OWN_DIR.as_bytes()) else { return };
        let always = [&b"id"[..], b".gitignore"];
        let is_always = |name: &Vec<u8>| always.contains(&name.as_slice());
        if own.remove_dir(folder.as_bytes()).is_ok()
            && own.entries().is_ok_and(|names| names.iter().all(is_always))
        {
            always.iter().for_each(|name| drop(own.unlink(name)));
            drop(root.remove_dir(OWN_DIR.as_bytes()));
        }
    }

    fn read_id(&self) -> Option<[u8; 16]> {
        let own = self.open_dir(&RelPath::root()).ok()?.open_child(OWN_DIR.as_bytes()).ok()?;
        let mut text = String::new();
        own.open_read(b"id").ok()?.take(64).read_to_string(&mut text).ok()?;
        let mut id = [0; 16];
        let text = text.trim_end();
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        for (byte, at) in id.iter_mut().zip((0..32).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(id)
    }

    fn write_id(&mut self, own: &Dir) -> io::Result<()> {
        let mut id = [0; 16];
        fs::random(&mut id)?;
        let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let new = format!("id.new-{}", std::process::id());
        drop(own.unlink(new.as_bytes()));
        let mut file = own.create_new(new.as_bytes())?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        match own.rename_new(new.as_bytes(), own, b"id") {
            Ok(()) => self.id = Some(id),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                own.unlink(new.as_bytes())?;
                self.id = self.read_id();
            }
            Err(error) => return Err(error),
        }
        own.sync()
    }

    /// Makes this root a stranger to what was agreed with it: it gets a new random id.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn renew_id(&mut self) -> io::Result<()> {
        let own = self.own_dir()?;
        match own.unlink(b"id") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.write_id(&own),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// How far apart two changes of a file must be to show in its ctime, in nanoseconds.
    #[must_use]
    pub fn grain_ns(&self) -> i64 {
        self.caps.ctime_grain_ns
    }

    #[must_use]
    pub fn stat_of_root(&self) -> &Stat {
        &self.stat
    }

    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { dev: self.stat.dev, ino: self.stat.ino, birth: self.stat.birth_ns, id: self.id }
    }

    /// Whether the root's path still leads to the directory that was opened.
    #[must_use]
    pub fn still_there(&self) -> bool {
        let same = |stat: Stat| (stat.dev, stat.ino) == (self.stat.dev, self.stat.ino);
        let path = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(self.path.as_os_str()));
        path.is_ok_and(|path| {
            fs::find(&path).is_ok_and(|found| found == (self.stat.dev, self.stat.ino))
        }) && fstat(&self.fd).is_ok_and(same)
    }

    /// Opens a directory below the root.
    ///
    /// # Errors
    /// The kernel's; a symlink on the way or another mount is an error.
    pub fn open_dir(&self, dir: &RelPath) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folds = self.caps.folds;
        if self.caps.openat2 {
            let path = if dir.is_root() { b"." } else { dir.as_bytes() };
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            return with_name(path, |path| {
                Ok(Dir { fd: fs::openat2(&self.fd, path, flags, Mode::empty(), how)?, folds })
            });
        }
        let mut at = Dir { fd: fs::openat(&self.fd, ".", flags, Mode::empty())?, folds };
        for name in dir.components() {
            at = at.open_child(name)?;
            if at.fstat()?.dev != self.stat.dev {
                return Err(io::Error::from_raw_os_error(libc::EXDEV));
            }
        }
        Ok(at)
    }

    /// Opens the directory a path is in; the name in it.
    ///
    /// # Errors
    /// As [`Self::open_dir`]; the root has no parent.
    pub fn open_parent(&self, path: &RelPath) -> io::Result<(Dir, Name)> {
        let (dir, name) = path.split().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.open_dir(&dir)?, name))
    }

    /// The stat of a path; `None` if its parent is there and it is not.
    ///
    /// # Errors
    /// As [`Self::open_dir`] for its parent, and the kernel's.
    pub fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        match path.split() {
            None => fstat(&self.fd).map(Some),
            Some((dir, name)) => self.open_dir(&dir)?.stat(name.as_bytes()),
        }
    }

    /// Takes the root for the daemon that calls itself `owner`; `holder` is told to whoever comes after.
    ///
    /// # Errors
    /// Another daemon has it, or `.yeet/lock` cannot be used. A root that cannot be written needs no lock: `None`.
    pub fn lock(&self, owner: &str, holder: Holder) -> Result<Option<Lock>, LockError> {
        let failed = |source| LockError::Io { path: self.path.clone(), source };
        let own = match self.own_dir() {
            Ok(own) => own,
            Err(error) if is_unwritable(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let open = |flags| {
            let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            fs::openat(&own, "lock", flags, Mode::from_raw_mode(0o600)).map(File::from)
        };
        let (mut file, writable) = match open(OFlags::RDWR | OFlags::CREATE) {
            Ok(file) => (file, true),
            // It was writable once: what is there can be locked all the same.
            Err(Errno::ROFS) => match open(OFlags::RDONLY) {
                Ok(file) => (file, false),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(failed(errno.into())),
            },
            Err(errno) => return Err(failed(errno.into())),
        };
        if fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            drop((&mut file).take(512).read_to_string(&mut text));
            let mut lines = text.lines();
            let owner = lines.next().unwrap_or_default().to_owned();
            let holder = Holder::read(lines);
            return Err(LockError::Owned { path: self.path.clone(), owner, holder });
        }
        if writable {
            let text = format!("{}\n{}", owner.replace('\n', " "), holder.write());
            match file.set_len(0).and_then(|()| file.write_all(text.as_bytes())) {
                // It is locked, if without a name on it.
                Err(error) if is_full(&error) => {}
                written => written.map_err(failed)?,
            }
        }
        Ok(Some(Lock(file)))
    }
}

impl Root {
    /// Ends an agent that has the root, and nothing else: no process that does not have the very lock open. Whether it was
    /// ended. What it had under way is settled as after any other end of it.
    #[must_use]
    pub fn evict(&self, agent: u32) -> bool {
        let Ok(Some(lock)) = self.own_dir().and_then(|own| own.stat(b"lock")) else { return false };
        let is_lock = |fd: std::fs::DirEntry| {
            let meta = std::fs::metadata(fd.path());
            meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == (lock.dev, lock.ino))
        };
        let fds = std::fs::read_dir(format!("/proc/{agent}/fd"));
        let pid = i32::try_from(agent).ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid.filter(|_| agent != std::process::id()) else { return false };
        if !fds.into_iter().flatten().flatten().any(is_lock) {
            return false;
        }
        // One that is stopped hears nothing else.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
    }
}

/// Where the root is a work tree, git is told that nothing in `.yeet` is its business: what is kept there must not be
/// committed by an `add --all`, or go with a `clean`.
fn hide_from_git(own: &Dir) -> io::Result<()> {
    let written = own
        .create_new(b".gitignore")
        .and_then(|mut file| writeln!(file, "*").inspect_err(|_| drop(own.unlink(b".gitignore"))));
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !is_full(&error) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

/// Whether an error says that nothing can be written here, by anybody or by us.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Whether an error says that there is no space, for anybody or for us.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an object on the way is not what a tree of ours may hold: another mount or a symlink.
#[must_use]
pub fn is_outside(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EXDEV | libc::ELOOP))
}

/// Whether a child directory is another file system's.
#[must_use]
pub fn is_mount(child: &Stat, parent: &Stat) -> bool {
    child.kind == Kind::Dir
        && (child.dev != parent.dev
            || (child.mnt != 0 && parent.mnt != 0 && child.mnt != parent.mnt))
}

#[cfg(test)]
mod tests {
    use super::Identity;

    fn identity(ino: u64, birth: Option<i64>, id: Option<u8>) -> Identity {
        Identity { dev: 1, ino, birth, id: id.map(|byte| [byte; 16]) }
    }

    #[test]
    fn a_root_is_told_by_its_id_and_by_what_no_backup_has() {
        let is_same = |now: Identity, then: Identity| now.is_same(&then);
        let one = identity(2, Some(5), Some(1));
        assert!(is_same(one, one));
        assert!(is_same(Identity { dev: 9, ..one }, one), "its device got another number");
        assert!(is_same(Identity { birth: None, ..one }, one), "its file system says no births");
        assert!(!is_same(identity(2, Some(5), Some(2)), one), "another id");
        assert!(!is_same(identity(3, Some(5), Some(1)), one), "a copy, with its id");
        assert!(!is_same(identity(2, Some(6), Some(1)), one), "a backup on a new file system");
        assert!(!is_same(identity(2, Some(5), None), one), "what lost its id");
    }

    #[test]
    fn a_root_that_could_not_be_written_at_first_stays_itself_once_it_has_an_id() {
        let full = identity(2, Some(5), None);
        assert!(full.is_same(&full));
        assert!(identity(2, Some(5), Some(1)).is_same(&full));
        assert!(!identity(3, Some(5), Some(1)).is_same(&full), "another inode");
        assert!(!identity(2, Some(6), Some(1)).is_same(&full), "another birth");
    }
}
