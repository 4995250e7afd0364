//! The platform: roots, directories, stats. A minimal half until the real one is merged.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

use crate::dataflow::model::path::RelPath;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    Device,
}

/// What `statx` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: Kind,
    pub mode: u16,
    pub size: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub dev: u64,
    pub ino: u64,
    pub mnt: u64,
}

impl Stat {
    #[must_use]
    pub fn identity(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for word in [
            self.dev,
            self.ino,
            self.size,
            self.mtime_ns as u64,
            self.ctime_ns as u64,
        ] {
            hasher.update(&word.to_le_bytes());
        }
        u64::from_le_bytes(
            hasher.finalize().as_bytes()[..8]
                .try_into()
                .expect("8 bytes"),
        )
    }
}

pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    stat: Stat,
}

pub struct Dir {
    fd: OwnedFd,
}

fn statx(fd: BorrowedFd<'_>, name: &CString, flags: AtFlags) -> io::Result<Stat> {
    let s = fs::statx(
        fd,
        name,
        flags | AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )?;
    let kind = match fs::FileType::from_raw_mode(u32::from(s.stx_mode)) {
        fs::FileType::RegularFile => Kind::File,
        fs::FileType::Directory => Kind::Dir,
        fs::FileType::Symlink => Kind::Symlink,
        fs::FileType::Fifo => Kind::Fifo,
        fs::FileType::Socket => Kind::Socket,
        _ => Kind::Device,
    };
    let ns = |t: fs::StatxTimestamp| t.tv_sec * 1_000_000_000 + i64::from(t.tv_nsec);
    Ok(Stat {
        kind,
        mode: s.stx_mode & 0o777,
        size: s.stx_size,
        mtime_ns: ns(s.stx_mtime),
        ctime_ns: ns(s.stx_ctime),
        dev: fs::makedev(s.stx_dev_major, s.stx_dev_minor),
        ino: s.stx_ino,
        mnt: s.stx_mnt_id,
    })
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = fs::open(
            path,
            OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY,
            Mode::empty(),
        )?;
        let stat = statx(fd.as_fd(), &CString::default(), AtFlags::EMPTY_PATH)?;
        Ok(Self {
            fd,
            path: path.to_path_buf(),
            stat,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn open_dir(&self, dir: &RelPath) -> io::Result<Dir> {
        let path = if dir.is_root() { b"." } else { dir.as_bytes() };
        let path = CString::new(path).expect("no NUL in a RelPath");
        let fd = fs::openat2(
            &self.fd,
            &path,
            OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
        )?;
        Ok(Dir { fd })
    }

    pub fn stat(&self, path: &RelPath) -> io::Result<Option<Stat>> {
        match path.split() {
            None => Ok(Some(statx(
                self.fd.as_fd(),
                &CString::default(),
                AtFlags::EMPTY_PATH,
            )?)),
            Some((dir, name)) => self.open_dir(&dir)?.stat(name.as_bytes()),
        }
    }

    /// Whether the root is still the directory that was opened.
    pub fn still_there(&self) -> bool {
        Self::open(&self.path)
            .is_ok_and(|now| (now.stat.dev, now.stat.ino) == (self.stat.dev, self.stat.ino))
    }

    pub fn grain_ns(&self) -> i64 {
        10_000_000
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    pub fn entries(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        Ok(names)
    }

    pub fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let name = CString::new(name).expect("no NUL in a name");
        match statx(self.fd.as_fd(), &name, AtFlags::empty()) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn fstat(&self) -> io::Result<Stat> {
        statx(self.fd.as_fd(), &CString::default(), AtFlags::EMPTY_PATH)
    }

    pub fn open_read(&self, name: &[u8]) -> io::Result<File> {
        let name = CString::new(name).expect("no NUL in a name");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(fs::openat(&self.fd, &name, flags, Mode::empty())?.into())
    }

    pub fn readlink(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        let name = CString::new(name).expect("no NUL in a name");
        Ok(fs::readlinkat(&self.fd, &name, Vec::new())?.into_bytes())
    }
}

/// The stat of an open file.
pub fn fstat(fd: impl AsFd) -> io::Result<Stat> {
    statx(fd.as_fd(), &CString::default(), AtFlags::EMPTY_PATH)
}
