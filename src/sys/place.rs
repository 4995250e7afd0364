//! Where a directory is in its file system, whichever mount shows it: a bind mount gives one directory several paths.
//!
//! Holds: two directories of which one contains the other are recognised through any mounts of this namespace. Where
//! the kernel does not say which mount a directory is on there is no place, and only paths can be compared.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::root::Root;

/// A directory's device and its path from the top of its file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    device: String,
    path: PathBuf,
}

impl Place {
    /// The place of an opened root whose path, free of symlinks, is `path`.
    #[must_use]
    pub fn of(root: &Root, path: &Path) -> Option<Self> {
        let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
        Self::by(&mounts, root.stat_of_root().mnt, path)
    }

    fn by(mounts: &[u8], mnt: u64, path: &Path) -> Option<Self> {
        mounts.split(|b| *b == b'\n').find_map(|line| {
            // Its id, its parent's, device, what of the file system it shows, where, ...
            let mut fields = line.split(|b| *b == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?;
            if id.parse() != Ok(mnt) {
                return None;
            }
            let device = std::str::from_utf8(fields.nth(1)?).ok()?.to_owned();
            let (shown, at) = (unescaped(fields.next()?), unescaped(fields.next()?));
            let below = path.strip_prefix(at).ok()?;
            Some(Self { device, path: shown.join(below) })
        })
    }

    /// The place of what would be at `rest` below this directory.
    #[must_use]
    pub fn join(&self, rest: &Path) -> Self {
        Self { device: self.device.clone(), path: self.path.join(rest) }
    }

    /// Whether `other` is this directory or below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.device == other.device && other.path.starts_with(&self.path)
    }
}

/// A path as the kernel writes it there: blanks and backslashes are three octal digits after a backslash.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 21 8:1 /home/me /view\\040of\\134it rw - ext4 /dev/sda1 rw\n\
        31 21 0:40 /home /other rw - tmpfs none rw\n";

    fn place(mnt: u64, path: &str) -> Place {
        Place::by(MOUNTS, mnt, Path::new(path)).expect("it is on that mount")
    }

    #[test]
    fn one_directory_has_one_place_whichever_mount_shows_it() {
        assert_eq!(place(30, "/view of\\it/work"), place(21, "/home/me/work"));
        assert!(place(21, "/home").contains(&place(30, "/view of\\it")));
        assert!(!place(30, "/view of\\it").contains(&place(21, "/home")));
        assert!(!place(21, "/home").contains(&place(31, "/other")), "it is another file system");
        assert!(!place(21, "/home/me").contains(&place(21, "/home/men")));
        assert_eq!(Place::by(MOUNTS, 0, Path::new("/")), None);
    }
}
