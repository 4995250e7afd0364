//! The digest of a file that may be written to at the same time.
//!
//! Holds: a digest is only ever given for content that was the file's from before the first read until after the
//! last one, as far as size, mtime and ctime tell; whatever moved meanwhile is [`Hashed::Changed`].

use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dataflow::model::value::Digest;
use crate::sys::{self, File, Kind, Stat, now_ns};

/// Reading is as fast with this as with anything larger, and it stays in the second-level cache.
const BUFFER_BYTES: usize = 256 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What came of hashing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// The digest of what `stat` describes, and when it was looked at: just before the first stat, in nanoseconds
    /// since the epoch.
    Whole { digest: Digest, stat: Stat, looked_at_ns: i64 },
    /// It was written to, or is no regular file (any more): look again.
    Changed,
    /// The flag was raised.
    Cancelled,
}

/// Hashes an open file from its start. The file's position must be there, too.
///
/// # Errors
/// What reading fails with; the file may be fine in parts.
pub fn hash(file: &File, cancel: &AtomicBool) -> io::Result<Hashed> {
    hash_noticing(file, cancel, || {})
}

/// Calls `read_done` between the last read and the check of what moved.
fn hash_noticing(
    mut file: &File,
    cancel: &AtomicBool,
    read_done: impl FnOnce(),
) -> io::Result<Hashed> {
    let looked_at_ns = now_ns();
    let stat = sys::fstat(file)?;
    if stat.kind != Kind::File {
        return Ok(Hashed::Changed);
    }
    let mut hasher = blake3::Hasher::new();
    let read = BUFFER.with_borrow_mut(|buffer| -> io::Result<Option<u64>> {
        buffer.resize(BUFFER_BYTES, 0);
        let mut bytes = 0;
        while bytes < stat.size {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match file.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    bytes += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Some(bytes))
    })?;
    read_done();
    let Some(bytes) = read else {
        return Ok(Hashed::Cancelled);
    };
    let after = sys::fstat(file)?;
    let same =
        (after.size, after.mtime_ns, after.ctime_ns) == (stat.size, stat.mtime_ns, stat.ctime_ns);
    if !same || bytes != stat.size {
        return Ok(Hashed::Changed);
    }
    Ok(Hashed::Whole { digest: Digest(*hasher.finalize().as_bytes()), stat, looked_at_ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("f");
        fs::write(&path, content).expect("written");
        (dir, path)
    }

    fn while_reading(content: &[u8], act: impl FnOnce(&std::path::Path)) -> Hashed {
        let (_dir, path) = file(content);
        let open = File::from(fs::File::open(&path).expect("opened"));
        hash_noticing(&open, &AtomicBool::new(false), || act(&path)).expect("read")
    }

    #[test]
    fn a_file_at_rest_has_its_digest() {
        for size in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES * 2 + 7] {
            let content = vec![7; size];
            let hashed = while_reading(&content, |_| {});
            let Hashed::Whole { digest, stat, .. } = hashed else {
                panic!("{hashed:?}");
            };
            assert_eq!(digest.0, *blake3::hash(&content).as_bytes());
            assert_eq!(stat.size, size as u64);
        }
    }

    #[test]
    fn a_file_written_to_while_it_is_read_has_none() {
        let appended = while_reading(b"abc", |path| fs::write(path, b"abcd").expect("written"));
        assert_eq!(appended, Hashed::Changed);
        let cut = while_reading(b"abc", |path| fs::write(path, b"").expect("written"));
        assert_eq!(cut, Hashed::Changed);
    }

    #[test]
    fn a_raised_flag_stops_it() {
        let (_dir, path) = file(b"abc");
        let open = File::from(fs::File::open(&path).expect("opened"));
        let hashed = hash(&open, &AtomicBool::new(true)).expect("not even read");
        assert_eq!(hashed, Hashed::Cancelled);
    }

    #[test]
    fn a_directory_is_no_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = File::from(fs::File::open(dir.path()).expect("opened"));
        let hashed = hash(&open, &AtomicBool::new(false)).expect("only stat");
        assert_eq!(hashed, Hashed::Changed);
    }
}
