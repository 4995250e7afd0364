//! Users of the simulated replicas: what editors, shells and builds do, with the weights of the guarantees.

use super::bench::Bytes;
use super::habits::RULES;
use super::ledger::Ledger;
use crate::sys::sim::{Kernel, Node};

/// A small generator: the same seed makes the same choices.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        dice.roll();
        dice
    }

    pub(super) fn roll(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, sides: u64) -> u64 {
        self.roll() % sides
    }

    pub(super) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }
}

const DIRS: [&str; 4] = ["", "d/", "d/e/", "g/"];
const NAMES: [&str; 5] = ["a", "b", "c", "e", "d"];
const TEMPORARY: &str = "~";
/// Two calls of the simulated kernel.
const ARRIVAL_NS: i64 = 2000;

/// Whether users give such names.
pub(super) fn is_given(path: &str) -> bool {
    let known = ["a", "b", "c", "d", "e", "g", RULES];
    let numbered = |name: &str| name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    path.split('/').all(|name| {
        let name = name.trim_end_matches(TEMPORARY);
        known.contains(&&name[..numbered(name)])
    })
}

fn any_path(dice: &mut Dice) -> String {
    format!("{}{}", DIRS[dice.index(DIRS.len())], NAMES[dice.index(NAMES.len())])
}

/// Bytes that nobody wrote before, in a few lengths.
fn bytes(dice: &mut Dice) -> Vec<u8> {
    let text = format!("{:012x}", dice.roll());
    text.repeat([1, 1, 1, 2, 30][dice.index(5)]).into_bytes()
}

pub(super) struct User<'a> {
    pub(super) kernel: &'a mut Kernel,
    pub(super) ledger: &'a mut Ledger,
    pub(super) at: usize,
}

impl User<'_> {
    pub(super) fn done(&mut self) {
        self.ledger.accept(self.kernel, self.at);
    }

    fn make_parents(&mut self, path: &str) {
        for (end, _) in path.match_indices('/') {
            self.kernel.user_make(self.at, &path[..end], Node::Dir);
        }
    }

    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) {
        self.make_parents(path);
        self.done();
        let there = self.kernel.disks[self.at].read(path);
        if self.kernel.user_write(self.at, path, bytes) {
            let waits = self.kernel.disks[self.at].read(path).as_deref() != Some(bytes);
            if waits && there.is_some() {
                self.ledger.waits(self.at, path, &Bytes::File(bytes.to_vec()));
            }
            self.done();
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.ledger.renames(self.at, from, to);
        if self.kernel.user_rename(self.at, from, to) {
            self.ledger.adopts(&self.kernel.disks[self.at], self.at, to);
        }
        self.done();
    }

    fn link(&mut self, path: &str, dice: &mut Dice) {
        self.make_parents(path);
        let text = format!("{:012x}", dice.roll()).into_bytes();
        self.kernel.user_make(self.at, path, Node::Link(text));
    }

    /// Writes beside it, then renames over it.
    fn save(&mut self, path: &str, bytes: &[u8]) {
        let temporary = format!("{path}{TEMPORARY}");
        self.write(&temporary, bytes);
        self.rename(&temporary, path);
    }

    /// Writes as many bytes, and puts the mtime back. Not between the call that gives a file its name and the look at it
    /// right after: that cannot be told (`docs/design/0005`).
    fn disguise(&mut self, path: &str, dice: &mut Dice) {
        let disk = &self.kernel.disks[self.at];
        let Some(ino) = disk.at(path) else { return };
        let age_ns = self.kernel.clock_ns - disk.attributes(ino).ctime;
        if !disk.users.contains(&ino) && age_ns < ARRIVAL_NS {
            return;
        }
        let (bytes, mtime) = (super::bench::bytes_of(disk, ino), disk.attributes(ino).mtime);
        if let Some(Bytes::File(old)) = bytes {
            let new = format!("{:012x}", dice.roll()).repeat(old.len().div_ceil(12));
            self.write(path, &new.as_bytes()[..old.len()]);
            self.kernel.user_touch(self.at, path, None, Some(mtime));
        }
    }
}

/// One thing that a user does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deed {
    Write(&'static str),
    Save(&'static str),
    Directory(&'static str),
    Disguise(&'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Link(&'static str),
}

/// A user at one replica does this. Returns whether it changed something.
pub(super) fn does(
    kernel: &mut Kernel,
    ledger: &mut Ledger,
    dice: &mut Dice,
    at: usize,
    deed: Deed,
) -> bool {
    ledger.observe(kernel);
    let before = kernel.disks[at].unflushed();
    kernel.log.push(format!("user of {at}: {deed:?}"));
    let mut user = User { kernel, ledger, at };
    match deed {
        Deed::Write(path) => user.write(path, &bytes(dice)),
        Deed::Save(path) => user.save(path, &bytes(dice)),
        Deed::Directory(path) => drop(user.kernel.user_make(at, path, Node::Dir)),
        Deed::Disguise(path) => user.disguise(path, dice),
        Deed::Remove(path) => drop(user.kernel.user_remove(at, path)),
        Deed::Rename(from, to) => user.rename(from, to),
        Deed::Link(path) => user.link(path, dice),
    }
    user.done();
    user.kernel.disks[at].unflushed() > before
}

/// One user at one replica does something.
pub(super) fn act(kernel: &mut Kernel, ledger: &mut Ledger, dice: &mut Dice) {
    let at = dice.index(kernel.replicas().len());
    // Where nothing is mounted nobody works.
    if kernel.mounts.values().any(|disk| *disk == at) {
        act_at(kernel, ledger, dice, (at, (at + 1) % kernel.replicas().len()));
    }
}

/// The user of a replica does something, perhaps together with another one.
pub(super) fn act_at(
    kernel: &mut Kernel,
    ledger: &mut Ledger,
    dice: &mut Dice,
    (at, other_at): (usize, usize),
) {
    ledger.observe(kernel);
    let path = any_path(dice);
    let other = any_path(dice);
    let choice = dice.below(31);
    kernel.log.push(format!("user of {at}: {choice} {path} {other}"));
    let mut user = User { kernel, ledger, at };
    match choice {
        0..=7 => user.write(&path, &bytes(dice)),
        8..=10 => user.save(&path, &bytes(dice)),
        11 | 12 => user.disguise(&path, dice),
        13 => {
            if let Some(mut old) = user.kernel.disks[at].read(&path) {
                old.extend(bytes(dice));
                user.write(&path, &old);
            }
        }
        14..=16 => {
            let is_dir = user.kernel.disks[at].read(&path).is_none();
            if !is_dir {
                user.kernel.user_remove(at, &path);
            }
        }
        17 => drop(user.kernel.user_remove(at, ["d", "d/e", "g"][dice.index(3)])),
        18 | 19 => {
            user.make_parents(&path);
            user.kernel.user_make(at, &path, Node::Dir);
        }
        20..=22 => user.rename(&path, &other),
        23 | 24 => user
            .rename(["d", "d/e", "g", "e"][dice.index(4)], ["g", "e", "d/e", "d"][dice.index(4)]),
        25 => user.link(&path, dice),
        26 => user.kernel.user_touch(at, &path, Some([0o644, 0o755][dice.index(2)]), None),
        27 => {
            let now = user.kernel.clock_ns;
            user.ledger.touched(at, &path);
            user.kernel.user_touch(at, &path, None, Some(now));
        }
        // The same edit on two replicas.
        28 | 29 => {
            let new = bytes(dice);
            user.write(&path, &new);
            user.at = other_at;
            user.write(&path, &new);
        }
        _ => {
            user.kernel.user_remove(at, &path);
            user.done();
            user.kernel.user_make(at, &path, Node::Dir);
            user.done();
            user.write(&format!("{path}/a"), &bytes(dice));
        }
    }
    user.done();
    if dice.one_in(2) {
        user.kernel.disks[at].flush();
    }
}
