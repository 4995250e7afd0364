//! One user at one side: what editors, shells and builds do, chosen by dice.

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::ledger::Ledger;

/// A small generator: the same seed makes the same choices.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(roll).unwrap() % sides
    }

    pub(crate) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

const DIRS: [&str; 6] = ["", "d0/", "d1/", "d0/e0/", "d0/e1/", "d1/e0/"];
const NAMES: [&str; 7] = ["f0", "f1", "f2", "f3", "e0", "d1", "l0"];
const TEMPORARY: &str = ".tmp~";

/// Whether a line of a tree names what a user could have named so.
pub(crate) fn is_given(line: &str) -> bool {
    let path = line.split('"').nth(1).unwrap_or_default();
    let known = |name: &str| {
        let name = name.strip_suffix(TEMPORARY).unwrap_or(name);
        NAMES.contains(&name) || ["d0", "e1", "r0", "r1"].contains(&name)
    };
    path.split('/').all(known)
}

pub(crate) struct User<'a> {
    pub(crate) side: &'static str,
    pub(crate) root: &'a Path,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) dice: &'a mut Dice,
    pub(crate) seed: u64,
    pub(crate) act: usize,
}

impl User<'_> {
    /// Does something. What the other side took away meanwhile cannot be worked on: that is no failure.
    pub(crate) fn act(&mut self) {
        let path = self.any_path();
        let dir = DIRS[1 + self.dice.below(DIRS.len() - 1)].trim_end_matches('/');
        drop(match self.dice.below(24) {
            0..=6 => self.write_in_place(&path),
            7..=12 => self.save(&path),
            13 | 14 => self.remove(&path),
            15 => self.remove_all(dir),
            16 | 17 => {
                let to = self.any_path();
                self.rename(&path, &to)
            }
            18 => {
                let from = ["d0", "d0/e0", "r0", "r1"][self.dice.below(4)];
                let to = ["r0", "r1", "d1", "d0/e1"][self.dice.below(4)];
                self.rename(from, to)
            }
            19 => self.set_mode(&path),
            20 => self.link(&path),
            21 => self.set_old(&path),
            22 => fs::create_dir_all(self.at(&path)),
            _ => self.save_twice(&path),
        });
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn any_path(&mut self) -> String {
        let dir = DIRS[self.dice.below(DIRS.len())];
        format!("{dir}{}", NAMES[self.dice.below(NAMES.len())])
    }

    /// Bytes that nobody wrote before.
    fn bytes(&mut self) -> Vec<u8> {
        let line =
            format!("seed {} act {} roll {}\n", self.seed, self.act, self.dice.below(1 << 30));
        let lines = [1, 1, 1, 40, 9000][self.dice.below(5)];
        line.repeat(lines).into_bytes()
    }

    fn make_parent(&self, path: &str) -> io::Result<()> {
        self.at(path).parent().map_or(Ok(()), fs::create_dir_all)
    }

    fn write_in_place(&mut self, path: &str) -> io::Result<()> {
        self.make_parent(path)?;
        if fs::symlink_metadata(self.at(path)).is_ok_and(|meta| !meta.is_file()) {
            return Ok(());
        }
        let bytes = self.bytes();
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // The daemon may have put a link there since: its target is no name that a user gives.
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.at(path))?;
        let mut old = Vec::new();
        file.read_to_end(&mut old)?;
        file.set_len(0)?;
        file.rewind()?;
        self.ledger.destroyed(self.side, path, &old);
        let (begin, end) = bytes.split_at(self.dice.below(bytes.len()));
        file.write_all(begin)?;
        file.write_all(end)?;
        self.ledger.wrote(self.side, path, &bytes);
        Ok(())
    }

    /// Does what takes the name from a file, and notes what went with it.
    fn replacing(&mut self, path: &str, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let at = self.at(path);
        let is_file = fs::symlink_metadata(&at).is_ok_and(|meta| meta.is_file());
        let opened = if is_file { fs::File::open(&at).ok() } else { None };
        let mut old = Vec::new();
        if let Some(mut file) = opened.as_ref() {
            file.read_to_end(&mut old)?;
        }
        act()?;
        // Somebody may have been faster with another file: that one was not his to destroy.
        if opened.is_some_and(|file| file.metadata().is_ok_and(|meta| meta.nlink() == 0)) {
            self.ledger.destroyed(self.side, path, &old);
        }
        Ok(())
    }

    fn save(&mut self, path: &str) -> io::Result<()> {
        let temporary = format!("{path}{TEMPORARY}");
        self.write_in_place(&temporary)?;
        self.rename(&temporary, path)
    }

    fn save_twice(&mut self, path: &str) -> io::Result<()> {
        self.save(path)?;
        self.save(path)
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        let at = self.at(path);
        self.replacing(path, || fs::remove_file(at))
    }

    fn remove_all(&mut self, dir: &str) -> io::Result<()> {
        for entry in fs::read_dir(self.at(dir))? {
            let entry = entry?;
            let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.remove_all(&path)?;
            } else {
                self.remove(&path)?;
            }
        }
        fs::remove_dir(self.at(dir))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        if from == to {
            return Ok(());
        }
        let (old, new) = (self.at(from), self.at(to));
        self.replacing(to, || fs::rename(old, new))?;
        self.ledger.note(format!("{} renamed {from} to {to}", self.side));
        Ok(())
    }

    fn set_mode(&mut self, path: &str) -> io::Result<()> {
        let is_dir = fs::symlink_metadata(self.at(path))?.is_dir();
        let mode = if is_dir { [0o755, 0o700] } else { [0o644, 0o755] }[self.dice.below(2)];
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode))
    }

    fn link(&mut self, path: &str) -> io::Result<()> {
        self.make_parent(path)?;
        symlink(format!("target {}", self.dice.below(3)), self.at(path))
    }

    fn set_old(&mut self, path: &str) -> io::Result<()> {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::File::options().write(true).open(self.at(path))?.set_modified(time)
    }
}
