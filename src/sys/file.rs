//! What is done with open files.

use std::io::{self, Read, Write};
#[cfg(not(test))]
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use rustix::fs::{Mode, SeekFrom, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::os::{self as fs, File, Handle};

/// Sets permission bits.
///
/// # Errors
/// The kernel's.
pub fn set_mode(file: impl Handle, mode: u16) -> io::Result<()> {
    Ok(fs::fchmod(file, Mode::from_raw_mode(mode.into()))?)
}

/// Sets the mtime, in nanoseconds since the Unix epoch.
///
/// # Errors
/// The kernel's.
pub fn set_mtime(file: impl Handle, mtime_ns: i64) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(1_000_000_000),
            tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
        },
    };
    Ok(fs::futimens(file, &times)?)
}

/// Makes `to` share the blocks of `from`; false where the file systems cannot.
#[must_use]
pub fn reflink(from: &File, to: &File) -> bool {
    fs::ioctl_ficlone(to, from).is_ok()
}

/// Flushes everything written to the file system of `at`.
///
/// # Errors
/// The kernel's: some write did not reach the disk.
pub fn sync_fs(at: impl Handle) -> io::Result<()> {
    Ok(fs::syncfs(at)?)
}

/// What is read or written next is there, in bytes from the beginning.
///
/// # Errors
/// The kernel's.
pub fn seek_to(file: &File, at: u64) -> io::Result<()> {
    Ok(fs::seek(file, SeekFrom::Start(at)).map(drop)?)
}

/// Has a file for oneself, among those who ask for it like this; false if somebody else has.
#[must_use]
pub fn claim(file: &File) -> bool {
    fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Copies bytes and gives them to `see` on the way, leaving holes where whole blocks are zero.
///
/// At most `limit` bytes are read. `go_on` is asked once a buffer; false ends the copy with `Interrupted`. Returns the bytes copied.
///
/// # Errors
/// Reading or writing failed.
pub fn copy_bytes(
    from: &mut File,
    to: &mut &File,
    buffer: &mut [u8],
    limit: u64,
    mut see: impl FnMut(&[u8]),
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<u64> {
    let (mut copied, mut hole) = (0u64, false);
    while copied < limit {
        let read = match from.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = &buffer[..read];
        see(bytes);
        copied += read as u64;
        // Only a whole buffer is worth a hole.
        hole = read == buffer.len() && is_zero(bytes);
        if hole {
            fs::seek(*to, SeekFrom::Current(i64::try_from(read).map_err(io::Error::other)?))?;
        } else {
            to.write_all(bytes)?;
        }
        if !go_on(copied) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    if hole {
        to.set_len(copied)?;
    }
    Ok(copied)
}

/// Copies bytes inside the kernel or the file system, from the present offsets on; holes are kept.
///
/// `see`, if there is one, is given every byte as it is in `to` now. False where it cannot be done: both offsets are at
/// the start.
///
/// # Errors
/// As [`copy_bytes`].
pub fn copy_range(
    from: &File,
    to: &File,
    buffer: &mut [u8],
    size: u64,
    mut see: Option<impl FnMut(&[u8])>,
    mut go_on: impl FnMut(u64) -> bool,
) -> io::Result<bool> {
    let mut at = 0;
    while at < size {
        let (data, hole) = data_from(from, at, size)?;
        // Of a hole the bytes are known.
        while at < data {
            let Some(see) = &mut see else {
                at = data;
                break;
            };
            let len = buffer.len().min(usize::try_from(data - at).unwrap_or(usize::MAX));
            buffer[..len].fill(0);
            see(&buffer[..len]);
            at += len as u64;
            if !go_on(at) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        while at < hole {
            let len = buffer.len().min(usize::try_from(hole - at).unwrap_or(usize::MAX));
            let (mut off_in, mut off_out) = (at, at);
            match fs::copy_file_range(from, Some(&mut off_in), to, Some(&mut off_out), len) {
                // Cut off while it was copied: whoever compares its stat will see.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(copied) => {
                    if let Some(see) = &mut see {
                        to.read_exact_at(&mut buffer[..copied], at)?;
                        see(&buffer[..copied]);
                    }
                    at += copied as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) if is_unsupported(error) => {
                    fs::seek(from, SeekFrom::Start(0))?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
            if !go_on(at) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
    to.set_len(size)?;
    Ok(true)
}

/// Where the next data is at or after `at`, and where it ends; both the size if there is none.
fn data_from(file: &File, at: u64, size: u64) -> io::Result<(u64, u64)> {
    match fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok((data.min(size), fs::seek(file, SeekFrom::Hole(data))?.min(size))),
        Err(Errno::NXIO) => Ok((size, size)),
        // The file system does not know: all of it is data.
        Err(Errno::INVAL) => Ok((at, size)),
        Err(error) => Err(error.into()),
    }
}

/// Whether `copy_file_range` says that it cannot, not that it failed.
fn is_unsupported(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOSYS | Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM | Errno::TXTBSY
    )
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && tail.iter().all(|b| *b == 0)
}

/// The permission bits that the kernel takes from what this process makes; all, where it does not tell.
#[must_use]
pub fn umask() -> u16 {
    static MASK: OnceLock<u16> = OnceLock::new();
    *MASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        mask.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
    })
}

/// The id of this boot of the machine; zeros where the kernel does not tell.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    let text = fs::boot_text();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).unwrap_or("0");
        *byte = u8::from_str_radix(pair, 16).unwrap_or(0);
    }
    id
}

/// Has the allocator give large blocks back as soon as they are freed, and keep few arenas: a first scan needs much
/// more than what comes after it.
pub fn tune_memory() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "the C library has no safe interface")]
    // SAFETY: mallopt may be called at any time; these are its documented parameters.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives memory that was freed back to the system.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code, reason = "the C library has no safe interface")]
    // SAFETY: malloc_trim may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
