//! The folder in a replica where content is staged and displaced versions are kept: `.yeet/<sync>`.
//!
//! Holds: a file is staged under the name under which what it displaces is kept, so nothing moves between the swap
//! and the keeping; a name is used once. How far the replica has come is a name, too: after a power loss that is one
//! which was given, and never a part of one (docs/design/0020).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::sinks::apply::forget_old;
use crate::sys::{self, Dir, File, Leased, Naming, Root};

/// What the name of the mark begins with; 16 hexadecimal digits follow.
const MARK: &[u8] = b"reached-";
/// No clock gives a greater one.
const MARK_MAX: u64 = 1 << 63;
/// The greatest mark that another machine may say it has: what comes after it is still one.
pub const PEER_MARK_MAX: u64 = MARK_MAX / 2;

/// An operation on one path; also its file's name, in 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

impl OpId {
    /// The file's name.
    #[must_use]
    pub fn name(self) -> [u8; 16] {
        let mut name = [0; 16];
        for (i, digit) in name.iter_mut().enumerate() {
            let nibble = (self.0 >> (60 - 4 * i)) & 15;
            *digit = b"0123456789abcdef"[usize::try_from(nibble).expect("a nibble")];
        }
        name
    }

    /// The operation that a file's name names.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok().filter(|text| text.len() == 16)?;
        if text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+') {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// Where operation ids come from: the time of the start and a counter, so that no id comes twice.
pub struct OpIds(AtomicU64);

impl OpIds {
    /// Ids after all those of earlier starts, unless the clock was put back (then a taken name is passed over, and
    /// [`Self::pass`] helps).
    #[must_use]
    pub fn start() -> Self {
        Self(AtomicU64::new(u64::try_from(sys::now_ns() / 1_000).unwrap_or(0) << 8))
    }

    /// All ids that are taken from now on come after this one; one that nobody can have given is passed over.
    pub fn pass(&self, other: u64) {
        if other <= MARK_MAX {
            self.0.fetch_max(other + 1, Ordering::Relaxed);
        }
    }

    pub fn take(&self) -> OpId {
        OpId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// The open staging folder of one sync in one replica.
pub struct Store {
    dir: Dir,
    unnamed: Naming,
    /// Set once the file system has refused to share blocks.
    pub(super) no_reflink: AtomicBool,
    /// Set once the kernel has refused to copy for us.
    pub(super) no_range: AtomicBool,
    /// The number in the mark; 0: there is none.
    reached: Mutex<u64>,
}

impl Store {
    /// Opens or makes `.yeet/<sync>`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(root: &Root, sync: &str) -> io::Result<Self> {
        let own = root.own_dir()?;
        match own.make_dir(sync.as_bytes(), 0o700) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => {
                let dir = own.open_child(sync.as_bytes())?;
                let (no_reflink, no_range) = (AtomicBool::new(false), AtomicBool::new(false));
                let names = dir.entries()?;
                forget_old(&dir, &names);
                let reached = names.iter().filter_map(|name| reached_by(name)).max().unwrap_or(0);
                let reached = Mutex::new(reached);
                Ok(Self { dir, unnamed: Naming::Never, no_reflink, no_range, reached })
            }
        }
    }

    /// As [`Self::open`], but what is new is staged without a name where that is possible.
    ///
    /// It takes less time, and a kill leaves nothing behind. But a watcher is told that the name was made, not that
    /// the file is complete, so it is for replicas that nobody watches.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open_unwatched(root: &Root, sync: &str) -> io::Result<Self> {
        let unnamed = root.caps().unnamed;
        Self::open(root, sync).map(|store| Self { unnamed, ..store })
    }

    /// A file to stage something new in, if it can do without a name.
    pub(super) fn create_unnamed(&self, mode: u16) -> Option<File> {
        match self.unnamed {
            Naming::Never => None,
            Naming::Descriptor | Naming::Proc => self.dir.create_unnamed(mode).ok(),
        }
    }

    /// Gives a free name to a file of [`Self::create_unnamed`].
    pub(super) fn give_name(&self, file: &File, to: &Dir, name: &[u8]) -> io::Result<()> {
        to.give_name(file, self.unnamed, name)
    }

    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The last number that was left here by [`Self::mark`]; 0 where none was.
    #[must_use]
    pub fn reached(&self) -> u64 {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the least number where there is none: from then on a mark is a new name alone, which a full disk can take.
    pub fn begin_marks(&self) {
        if self.reached() == 0 {
            // Nothing waits for a mark: the next batch tries again.
            self.mark(1).unwrap_or_default();
        }
    }

    /// Leaves a number here, by which a copy of the replica from before is known as that: this one, or a greater one if
    /// the last is not less. With 0 the last one stands. Returns the number that is here now.
    ///
    /// # Errors
    /// The kernel's; then the last number stands.
    pub fn mark(&self, number: u64) -> io::Result<u64> {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if number == 0 {
            return Ok(*reached);
        }
        // A batch that began later may have come to its end before.
        let number = number.max(*reached + 1);
        if number > MARK_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let renamed = match *reached {
            0 => Err(io::ErrorKind::NotFound.into()),
            last => self.dir.rename_new(&mark_of(last), &self.dir, &mark_of(number)),
        };
        match renamed {
            // Somebody took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(self.dir.create_new(&mark_of(number))?);
            }
            renamed => renamed?,
        }
        *reached = number;
        Ok(number)
    }

    /// The operations that have a file here.
    ///
    /// # Errors
    /// The kernel's.
    pub fn operations(&self) -> io::Result<Vec<OpId>> {
        let names = self.dir.entries()?;
        Ok(names.iter().filter_map(|name| OpId::parse(name)).collect())
    }

    /// Removes the file of an operation, unless a program has it open for writing. Returns whether it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_unless_written(&self, op: OpId) -> io::Result<bool> {
        let leased = self.dir.open_read(&op.name()).map(sys::lease);
        if matches!(leased, Ok(Leased::Writing)) {
            return Ok(false);
        }
        self.remove(op).map(|()| true)
    }

    /// Removes the file of an operation; that it is gone already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, op: OpId) -> io::Result<()> {
        match self.dir.unlink(&op.name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn mark_of(number: u64) -> Vec<u8> {
    [MARK, &OpId(number).name()].concat()
}

fn reached_by(name: &[u8]) -> Option<u64> {
    let OpId(number) = OpId::parse(name.strip_prefix(MARK)?)?;
    (number <= MARK_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_names_its_operation_and_nothing_else_does() {
        let op = OpId(0x0123_4567_89ab_cdef);
        assert_eq!(&op.name(), b"0123456789abcdef");
        assert_eq!(OpId::parse(&op.name()), Some(op));
        for other in [&b"id"[..], b"0123456789ABCDEF", b"+123456789abcdef", b"0123456789abcdef0"] {
            assert_eq!(OpId::parse(other), None);
        }
    }

    #[test]
    fn a_mark_only_grows_and_is_what_the_next_start_finds() {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root::open(dir.path()).unwrap();
        root.prepare().unwrap();
        let open = || Store::open(&root, "s").unwrap();
        assert_eq!(open().reached(), 0);
        let store = open();
        for (given, reached) in [(7, 7), (9, 9), (8, 10), (10, 11), (0, 11)] {
            assert_eq!(store.mark(given).unwrap(), reached);
            assert_eq!((store.reached(), open().reached()), (reached, reached));
        }
        store.dir().unlink(&mark_of(11)).unwrap();
        assert_eq!(open().reached(), 0);
        store.mark(12).unwrap();
        assert_eq!(open().reached(), 12, "one that was taken away is made anew");
    }

    #[test]
    fn whatever_mark_a_peer_says_it_has_what_comes_after_it_can_be_read_again() {
        let ops = OpIds::start();
        ops.pass(PEER_MARK_MAX);
        let OpId(next) = ops.take();
        assert_eq!(reached_by(&mark_of(next)), Some(next));
        ops.pass(u64::MAX);
        assert_eq!(ops.take(), OpId(next + 1));
    }
}
