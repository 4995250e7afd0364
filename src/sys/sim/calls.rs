//! The kernel's calls over either kind of handle: a real one goes to the system, a simulated one to the machine.
//!
//! Names and signatures are those of `os::system`, which production code has in their place.

use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    self, AtFlags, FlockOperation, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, SeekFrom, Stat,
    Statx, StatxFlags, Timestamps,
};
use rustix::io::Errno;
use rustix::path::Arg;

use super::open::Open;
use super::{maybe, with};

type Call<T> = Result<T, Errno>;

/// A handle of either kind.
#[derive(Debug)]
pub enum Fd {
    Real(OwnedFd),
    Sim(Open),
}

/// Which handle a call is about.
#[derive(Clone, Copy)]
pub enum At<'a> {
    Real(BorrowedFd<'a>),
    Sim(u64),
}

/// What has a handle.
pub trait Handle {
    fn at(&self) -> At<'_>;
}

impl<T: Handle + ?Sized> Handle for &T {
    fn at(&self) -> At<'_> {
        (**self).at()
    }
}

impl<T: Handle + ?Sized> Handle for std::sync::Arc<T> {
    fn at(&self) -> At<'_> {
        (**self).at()
    }
}

impl Handle for Fd {
    fn at(&self) -> At<'_> {
        match self {
            Self::Real(fd) => At::Real(fd.as_fd()),
            Self::Sim(open) => At::Sim(open.0),
        }
    }
}

impl Handle for File {
    fn at(&self) -> At<'_> {
        self.0.at()
    }
}

impl Handle for std::fs::File {
    fn at(&self) -> At<'_> {
        At::Real(self.as_fd())
    }
}

impl Handle for BorrowedFd<'_> {
    fn at(&self) -> At<'_> {
        At::Real(self.as_fd())
    }
}

impl Handle for crate::sys::Dir {
    fn at(&self) -> At<'_> {
        self.fd.at()
    }
}

impl Handle for crate::sys::Root {
    fn at(&self) -> At<'_> {
        self.fd.at()
    }
}

impl Handle for crate::sys::Lease {
    fn at(&self) -> At<'_> {
        self.0.at()
    }
}

impl AsFd for Fd {
    /// A simulated handle stands for a real one where nothing is done with it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        static NULL: OnceLock<std::fs::File> = OnceLock::new();
        match self {
            Self::Real(fd) => fd.as_fd(),
            Self::Sim(_) => NULL
                .get_or_init(|| std::fs::File::open("/dev/null").expect("there is a null device"))
                .as_fd(),
        }
    }
}

/// An open file of either kind.
#[derive(Debug)]
pub struct File(Fd);

impl From<Fd> for File {
    fn from(fd: Fd) -> Self {
        Self(fd)
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        Self(Fd::Real(file.into()))
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs something with the system's file.
fn as_std<T>(
    fd: BorrowedFd<'_>,
    act: impl FnOnce(&std::fs::File) -> io::Result<T>,
) -> io::Result<T> {
    act(&fd.try_clone_to_owned()?.into())
}

impl File {
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        match self.at() {
            At::Real(fd) => Ok(fs::ftruncate(fd, len)?),
            At::Sim(open) => Ok(with(|kernel| kernel.set_len(open, len))?),
        }
    }

    pub fn sync_all(&self) -> io::Result<()> {
        Ok(fsync(self)?)
    }

    pub fn sync_data(&self) -> io::Result<()> {
        match self.at() {
            At::Real(fd) => Ok(fs::fdatasync(fd)?),
            At::Sim(open) => Ok(with(|kernel| kernel.sync(open))?),
        }
    }

    pub fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        match self.at() {
            At::Real(fd) => as_std(fd, |file| file.read_exact_at(bytes, at)),
            At::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Read for &File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.at() {
            At::Real(fd) => Ok(rustix::io::read(fd, bytes)?),
            At::Sim(open) => Ok(with(|kernel| kernel.read(open, bytes))?),
        }
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self).read(bytes)
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.at() {
            At::Real(fd) => Ok(rustix::io::write(fd, bytes)?),
            At::Sim(open) => Ok(with(|kernel| kernel.write(open, bytes))?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn name<T>(path: impl Arg, call: impl FnOnce(&CStr) -> Call<T>) -> Call<T> {
    path.into_with_c_str(call)
}

pub fn open(path: &std::path::Path, flags: OFlags, mode: Mode) -> Call<Fd> {
    match maybe(|kernel| kernel.open_mount(path)).flatten() {
        Some(opened) => opened.map(|open| Fd::Sim(Open(open))),
        None => fs::open(path, flags, mode).map(Fd::Real),
    }
}

pub fn find(path: &CStr) -> io::Result<(u64, u64)> {
    let sim = PathBuf::from(path.to_string_lossy().into_owned());
    match maybe(|kernel| kernel.find_mount(&sim)).flatten() {
        Some(found) => Ok(found?),
        None => fs::stat(path).map(|found| (found.st_dev, found.st_ino)).map_err(Into::into),
    }
}

pub fn openat(dir: impl Handle, path: impl Arg, flags: OFlags, mode: Mode) -> Call<Fd> {
    match dir.at() {
        At::Real(fd) => fs::openat(fd, path, flags, mode).map(Fd::Real),
        At::Sim(open) => name(path, |name| {
            let mode = u16::try_from(mode.as_raw_mode()).unwrap_or(0);
            with(|kernel| kernel.open_at(open, name.to_bytes(), flags, mode))
                .map(|n| Fd::Sim(Open(n)))
        }),
    }
}

pub fn openat2(
    dir: impl Handle,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> Call<Fd> {
    match dir.at() {
        At::Real(fd) => fs::openat2(fd, path, flags, mode, how).map(Fd::Real),
        At::Sim(_) => openat(dir, path, flags, mode),
    }
}

pub fn statx(dir: impl Handle, path: impl Arg, flags: AtFlags, mask: StatxFlags) -> Call<Statx> {
    match dir.at() {
        At::Real(fd) => fs::statx(fd, path, flags, mask),
        At::Sim(open) => name(path, |name| with(|kernel| kernel.statx(open, name.to_bytes()))),
    }
}

pub fn statat(dir: impl Handle, path: impl Arg, flags: AtFlags) -> Call<Stat> {
    match dir.at() {
        At::Real(fd) => fs::statat(fd, path, flags),
        At::Sim(_) => Err(Errno::NOSYS),
    }
}

pub fn mkdirat(dir: impl Handle, path: impl Arg, mode: Mode) -> Call<()> {
    match dir.at() {
        At::Real(fd) => fs::mkdirat(fd, path, mode),
        At::Sim(open) => name(path, |name| {
            let mode = u16::try_from(mode.as_raw_mode()).unwrap_or(0);
            with(|kernel| kernel.make_dir(open, name.to_bytes(), mode))
        }),
    }
}

pub fn symlinkat(text: impl Arg, dir: impl Handle, path: impl Arg) -> Call<()> {
    match dir.at() {
        At::Real(fd) => fs::symlinkat(text, fd, path),
        At::Sim(open) => name(text, |text| {
            name(path, |name| {
                with(|kernel| kernel.make_link(open, name.to_bytes(), text.to_bytes()))
            })
        }),
    }
}

pub fn unlinkat(dir: impl Handle, path: impl Arg, flags: AtFlags) -> Call<()> {
    match dir.at() {
        At::Real(fd) => fs::unlinkat(fd, path, flags),
        At::Sim(open) => name(path, |name| {
            let is_dir = flags.contains(AtFlags::REMOVEDIR);
            with(|kernel| kernel.unlink(open, name.to_bytes(), is_dir))
        }),
    }
}

pub fn renameat(from: impl Handle, path: impl Arg, to: impl Handle, to_path: impl Arg) -> Call<()> {
    match (from.at(), to.at()) {
        (At::Real(from), At::Real(to)) => fs::renameat(from, path, to, to_path),
        _ => renameat_with(from, path, to, to_path, RenameFlags::empty()),
    }
}

pub fn renameat_with(
    from: impl Handle,
    path: impl Arg,
    to: impl Handle,
    to_path: impl Arg,
    flags: RenameFlags,
) -> Call<()> {
    match (from.at(), to.at()) {
        (At::Real(from), At::Real(to)) => fs::renameat_with(from, path, to, to_path, flags),
        (At::Sim(from), At::Sim(to)) => name(path, |name_from| {
            name(to_path, |name_to| {
                let (from, to) = ((from, name_from.to_bytes()), (to, name_to.to_bytes()));
                with(|kernel| kernel.rename(from, to, flags))
            })
        }),
        _ => Err(Errno::XDEV),
    }
}

pub fn linkat(
    from: impl Handle,
    path: impl Arg,
    to: impl Handle,
    to_path: impl Arg,
    flags: AtFlags,
) -> Call<()> {
    match (from.at(), to.at()) {
        (At::Real(from), At::Real(to)) => fs::linkat(from, path, to, to_path, flags),
        (At::Sim(from), At::Sim(to)) => name(path, |name_from| {
            name(to_path, |name_to| {
                let (from, to) = ((from, name_from.to_bytes()), (to, name_to.to_bytes()));
                with(|kernel| kernel.link(from, to))
            })
        }),
        _ => Err(Errno::XDEV),
    }
}

pub fn readlinkat(dir: impl Handle, path: impl Arg, reuse: Vec<u8>) -> Call<CString> {
    match dir.at() {
        At::Real(fd) => fs::readlinkat(fd, path, reuse),
        At::Sim(open) => name(path, |name| {
            let text = with(|kernel| kernel.read_link(open, name.to_bytes()))?;
            CString::new(text).map_err(|_| Errno::INVAL)
        }),
    }
}

pub fn fchmod(file: impl Handle, mode: Mode) -> Call<()> {
    match file.at() {
        At::Real(fd) => fs::fchmod(fd, mode),
        At::Sim(open) => with(|kernel| kernel.set_mode(open, mode.as_raw_mode())),
    }
}

pub fn chmodat(dir: impl Handle, path: impl Arg, mode: Mode, flags: AtFlags) -> Call<()> {
    match dir.at() {
        At::Real(fd) => fs::chmodat(fd, path, mode, flags),
        At::Sim(_) => Err(Errno::ACCESS),
    }
}

pub fn futimens(file: impl Handle, times: &Timestamps) -> Call<()> {
    match file.at() {
        At::Real(fd) => fs::futimens(fd, times),
        At::Sim(open) => {
            let time = times.last_modification;
            let mtime = time.tv_sec * 1_000_000_000 + time.tv_nsec;
            with(|kernel| kernel.set_mtime(open, mtime))
        }
    }
}

pub fn fsync(file: impl Handle) -> Call<()> {
    match file.at() {
        At::Real(fd) => fs::fsync(fd),
        At::Sim(open) => with(|kernel| kernel.sync(open)),
    }
}

pub fn syncfs(file: impl Handle) -> Call<()> {
    match file.at() {
        At::Real(fd) => fs::syncfs(fd),
        At::Sim(open) => with(|kernel| kernel.sync_all(open)),
    }
}

pub fn seek(file: impl Handle, to: SeekFrom) -> Call<u64> {
    match file.at() {
        At::Real(fd) => fs::seek(fd, to),
        At::Sim(open) => with(|kernel| kernel.seek(open, to)),
    }
}

pub fn copy_file_range(
    from: impl Handle,
    off_in: Option<&mut u64>,
    to: impl Handle,
    off_out: Option<&mut u64>,
    len: usize,
) -> Call<usize> {
    match (from.at(), to.at()) {
        (At::Real(from), At::Real(to)) => fs::copy_file_range(from, off_in, to, off_out, len),
        _ => Err(Errno::NOSYS),
    }
}

pub fn ioctl_ficlone(to: impl Handle, from: impl Handle) -> Call<()> {
    match (from.at(), to.at()) {
        (At::Real(from), At::Real(to)) => fs::ioctl_ficlone(to, from),
        (At::Sim(from), At::Sim(to)) => with(|kernel| kernel.clone_file(to, from)),
        _ => Err(Errno::OPNOTSUPP),
    }
}

pub fn flock(file: impl Handle, how: FlockOperation) -> Call<()> {
    match file.at() {
        At::Real(fd) => fs::flock(fd, how),
        At::Sim(_) => Ok(()),
    }
}

pub fn names(dir: &Fd) -> io::Result<Vec<Vec<u8>>> {
    match dir.at() {
        At::Real(fd) => {
            fs::seek(fd, SeekFrom::Start(0))?;
            let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
            let mut names = Vec::new();
            let mut entries = RawDir::new(fd, &mut buffer);
            while let Some(entry) = entries.next() {
                names.push(entry?.file_name().to_bytes().to_vec());
            }
            Ok(names)
        }
        At::Sim(open) => Ok(with(|kernel| kernel.names(open))?),
    }
}

pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    let sim = maybe(|kernel| {
        kernel.ids += 1;
        bytes.fill(kernel.ids);
    });
    match sim {
        Some(()) => Ok(()),
        None => std::fs::File::open("/dev/urandom")?.read_exact(bytes),
    }
}

pub fn opened(file: std::fs::File) -> File {
    file.into()
}

pub fn lease(file: &File) -> io::Result<()> {
    match file.at() {
        At::Real(fd) => {
            #[allow(unsafe_code, reason = "rustix has no leases")]
            // SAFETY: fcntl with F_SETLEASE takes an open descriptor, which `file` is, and an integer.
            match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }
        At::Sim(open) => Ok(with(|kernel| kernel.lease(open))?),
    }
}

pub fn is_leased(file: &File) -> bool {
    match file.at() {
        At::Real(fd) => {
            #[allow(unsafe_code, reason = "rustix has no leases")]
            // SAFETY: fcntl with F_GETLEASE takes an open descriptor, which the file is, and nothing else.
            let now = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETLEASE) };
            now == libc::F_RDLCK
        }
        At::Sim(open) => with(|kernel| kernel.is_leased(open)),
    }
}

pub fn proc_link(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

pub fn now_ns() -> i64 {
    maybe(|kernel| kernel.clock_ns).unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    })
}

pub fn now() -> Instant {
    maybe(|kernel| kernel.now()).unwrap_or_else(Instant::now)
}

pub fn pause(time: Duration) {
    maybe(|kernel| kernel.pass(time)).unwrap_or_else(|| std::thread::sleep(time));
}

pub fn boot_text() -> String {
    maybe(|kernel| format!("{:032x}", kernel.boot)).unwrap_or_else(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    })
}
