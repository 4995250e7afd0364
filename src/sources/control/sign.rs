//! The sign of a replica: what stands in `.yeet/daemon` about the daemon on another machine that has it, and where it is asked.
//!
//! Holds: a sign is its user's own file, and is of the very directory it stands in: one that was carried there, or copied with
//! its directory, says nothing; no more of it is read than the longest there can be.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::socket::own_uid;
use crate::dataflow::model::path::RelPath;
use crate::sys::{Identity, OWN_DIR, Root};

const NAME: &[u8] = b"daemon";
/// A symlink to the agent's program: the same word in every replica, whatever build is there.
const PROGRAM: &[u8] = b"yeet";
/// The longest sign, in bytes.
const BYTES_MAX: u64 = 16 << 10;

/// What a replica says about the daemon that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The directory that it is of, as [`mark`] names it.
    pub replica: String,
    /// Who has it, and where.
    pub daemon: String,
    /// The program that was copied here to serve it, and speaks as that daemon does.
    pub program: PathBuf,
    /// Where the daemon is asked; or why it cannot be.
    pub socket: Result<PathBuf, String>,
}

/// The name of a directory among all of its machine, in letters of every file system.
#[must_use]
pub fn mark(identity: &Identity) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&identity.dev.to_le_bytes()).update(&identity.ino.to_le_bytes());
    hasher.update(&identity.id.unwrap_or_default());
    format!("replica-{}", &hasher.finalize().to_hex()[..16])
}

/// The name of its socket.
#[must_use]
pub fn socket_name(mark: &str) -> String {
    format!("{mark}.sock")
}

impl Sign {
    /// Its text: a line for each thing, a word before it. `None` if something in it has a line's end.
    #[must_use]
    pub fn text(&self) -> Option<Vec<u8>> {
        let (word, value) = match &self.socket {
            Ok(path) => ("socket", path.as_os_str().as_bytes()),
            Err(why) => ("trouble", why.as_bytes()),
        };
        let lines = [
            ("replica", self.replica.as_bytes()),
            ("daemon", self.daemon.as_bytes()),
            ("program", self.program.as_os_str().as_bytes()),
            (word, value),
        ];
        let mut text = Vec::new();
        for (word, value) in lines {
            if value.contains(&b'\n') {
                return None;
            }
            text.extend([word.as_bytes(), b" ", value, b"\n"].concat());
        }
        Some(text)
    }

    /// The sign in these bytes; `None` if they are none. Lines that are not known are a later version's.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let value = |wanted: &str| {
            text.split(|byte| *byte == b'\n').find_map(|line| {
                let rest = line.strip_prefix(wanted.as_bytes())?;
                rest.strip_prefix(b" ").filter(|value| !value.is_empty())
            })
        };
        let words = |wanted| value(wanted).map(|it| String::from_utf8_lossy(it).into_owned());
        let path = |wanted| {
            let path = value(wanted).map(|it| PathBuf::from(OsStr::from_bytes(it)));
            path.filter(|path| path.is_absolute())
        };
        let replica = words("replica")?;
        let socket = match path("socket") {
            Some(path) => Ok(path),
            None => Err(words("trouble")?),
        };
        let sign = Self { replica, daemon: words("daemon")?, program: path("program")?, socket };
        // What has another name is not what an agent made for this directory.
        let name = socket_name(&sign.replica);
        let is_its = |path: &PathBuf| path.file_name() == Some(name.as_ref());
        sign.socket.as_ref().map_or(true, is_its).then_some(sign)
    }

    /// Puts it up in a root, in the place of what is there.
    ///
    /// # Errors
    /// The root cannot be written, or the sign has no text.
    pub fn put_up(&self, root: &Root) -> io::Result<()> {
        let text = self.text().ok_or(io::ErrorKind::InvalidInput)?;
        let own = root.own_dir()?;
        let new = format!("daemon.new-{}", std::process::id());
        drop(own.unlink(new.as_bytes()));
        own.create_new(new.as_bytes())?.write_all(&text)?;
        own.rename_over(new.as_bytes(), &own, NAME)?;
        drop(own.unlink(PROGRAM));
        // For convenience: some file systems have no symlinks.
        drop(own.make_symlink(self.program.as_os_str().as_bytes(), PROGRAM));
        Ok(())
    }

    /// Takes down what an agent put up: the root is a daemon's of this machine now.
    pub fn take_down(root: &Root) {
        let Ok(own) = root.own_dir() else { return };
        if own.unlink(NAME).is_ok() {
            drop(own.unlink(PROGRAM));
        }
    }
}

/// A sign, and where it was found from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub root: PathBuf,
    pub sign: Sign,
}

impl Found {
    /// A path in this replica; `None` if it is in it neither as written nor once its directory is resolved.
    #[must_use]
    pub fn within(&self, path: &Path) -> Option<RelPath> {
        let in_root = |path: &Path| {
            let rest = path.strip_prefix(&self.root).ok()?;
            RelPath::parse(rest.as_os_str().as_bytes()).ok()
        };
        let real = || {
            let root = self.root.canonicalize().ok()?;
            let resolved = resolved(path);
            let rest = resolved.strip_prefix(root).ok()?;
            RelPath::parse(rest.as_os_str().as_bytes()).ok()
        };
        in_root(path).or_else(real)
    }
}

/// The signs of the replicas that an absolute path is in, the innermost first: as it is written, then as it is resolved.
#[must_use]
pub fn around(path: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let resolved = resolved(path);
    for root in path.ancestors().chain(resolved.ancestors()) {
        if let Some(sign) = sign_of(root)
            && found.iter().all(|other| other.sign.replica != sign.replica)
        {
            found.push(Found { root: root.to_owned(), sign });
        }
    }
    found
}

fn sign_of(root: &Path) -> Option<Sign> {
    let own = root.join(OWN_DIR);
    if !own.symlink_metadata().is_ok_and(|own| own.is_dir() && own.uid() == own_uid()) {
        return None;
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let path = own.join(OsStr::from_bytes(NAME));
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.uid() != own_uid() || meta.len() > BYTES_MAX {
        return None;
    }
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text).ok()?;
    let here = Root::open(root).ok()?.identity();
    Sign::read(&text).filter(|sign| sign.replica == mark(&here))
}

/// The path with its directory resolved; the last component is not followed.
fn resolved(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    parent.canonicalize().map_or_else(|_| path.to_owned(), |parent| parent.join(name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataflow::model::mutated::mutations;

    fn root_in(dir: &Path) -> Root {
        fs::create_dir_all(dir).unwrap();
        let mut root = Root::open(dir).unwrap();
        root.prepare().unwrap();
        root
    }

    fn sign(root: &Root) -> Sign {
        let replica = mark(&root.identity());
        let socket = Ok(Path::new("/run/yeet").join(socket_name(&replica)));
        Sign { replica, daemon: "laptop, pid 7".into(), program: "/a/yeet-1".into(), socket }
    }

    #[test]
    fn a_sign_that_is_put_up_is_found_from_everywhere_in_its_replica_and_taken_down_again() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let root = root_in(&top.join("work"));
        let up = sign(&root);
        up.put_up(&root).unwrap();
        up.put_up(&root).unwrap();
        fs::create_dir_all(top.join("work/a/b")).unwrap();
        std::os::unix::fs::symlink(top.join("work/a"), top.join("link")).unwrap();
        for (path, within) in [
            ("work", Some("")),
            ("work/a/b", Some("a/b")),
            ("work/no/such", Some("no/such")),
            ("link/b", Some("a/b")),
            ("elsewhere", None),
        ] {
            let path = top.join(path);
            let found = around(&path);
            let at = found.first().and_then(|found| found.within(&path));
            let within = within.map(|within| RelPath::parse(within.as_bytes()).unwrap());
            assert_eq!(at, within, "{path:?}");
            assert!(found.iter().all(|found| found.sign == up));
        }
        assert_eq!(fs::read_link(top.join("work/.yeet/yeet")).unwrap(), Path::new("/a/yeet-1"));
        Sign::take_down(&root);
        assert_eq!(around(&top.join("work")), []);
        assert!(top.join("work/.yeet/yeet").symlink_metadata().is_err());
    }

    #[test]
    fn a_sign_in_another_directory_than_its_own_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = root_in(&dir.path().join("work"));
        sign(&root).put_up(&root).unwrap();
        let planted = dir.path().join("work/sub/.yeet");
        fs::create_dir_all(&planted).unwrap();
        for name in ["daemon", "id"] {
            fs::copy(dir.path().join("work/.yeet").join(name), planted.join(name)).unwrap();
        }
        let found = around(&dir.path().join("work/sub"));
        let roots: Vec<&Path> = found.iter().map(|found| found.root.as_path()).collect();
        assert_eq!(roots, [dir.path().join("work")]);
    }

    #[test]
    fn whatever_is_almost_a_sign_is_one_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let good = sign(&root_in(dir.path()));
        let trouble = Sign { socket: Err("no space".into()), ..good.clone() };
        for sign in [&good, &trouble] {
            let text = sign.text().unwrap();
            assert_eq!(Sign::read(&text).as_ref(), Some(sign));
            assert_eq!(Sign::read(&[b"later x\n", &text[..]].concat()).as_ref(), Some(sign));
            for text in mutations(&text) {
                let Some(other) = Sign::read(&text) else { continue };
                assert_eq!(Sign::read(&other.text().unwrap()), Some(other));
            }
        }
        let elsewhere = Sign { socket: Ok("/run/yeet/other.sock".into()), ..good.clone() };
        assert_eq!(Sign::read(&elsewhere.text().unwrap()), None);
        assert_eq!(Sign { daemon: "two\nlines".into(), ..good }.text(), None);
    }
}
