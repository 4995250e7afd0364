//! A replica's tree as sources see it, and what an object in it is worth.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::git_index;
use super::hash::{self, Hashed};
use super::ignores::{DirRules, IGNORE_FILE, IGNORE_FILE_BYTES_MAX, Ignores};
use super::stat_cache::StatCache;
use super::watch::Watch;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{self, Content, Digest, Special, Value};
use crate::sys::{self, Dir, Kind, Root, Stat};

/// A larger index is compared byte by byte.
const INDEX_BYTES_MAX: u64 = 256 << 20;
/// The most digests whose meaning is known to be told; beyond, they are told again.
const MEANINGS_MAX: usize = 1 << 14;

/// The one name of ours, at the root: never reported.
pub const OWN_DIR: &[u8] = b".yeet";

/// One replica of a sync, and what is shared to look at it.
pub struct Tree {
    pub replica: Replica,
    pub root: Arc<Root>,
    pub ignores: Arc<Ignores>,
    pub cache: Arc<StatCache>,
    pub watch: Arc<dyn Watch>,
    /// What the root is: objects of other file systems are mounts.
    home: Stat,
    meanings: Meanings,
}

impl Tree {
    /// Looks at the root.
    ///
    /// # Errors
    /// What looking at it failed with.
    pub fn new(
        replica: Replica,
        root: Arc<Root>,
        ignores: Arc<Ignores>,
        cache: Arc<StatCache>,
        watch: Arc<dyn Watch>,
    ) -> io::Result<Self> {
        let home = root.open_dir(&RelPath::root())?.fstat()?;
        ignores.attach(replica);
        let meanings = Meanings::default();
        Ok(Self { replica, root, ignores, cache, watch, home, meanings })
    }

    /// Whether `name` in `dir` is ours.
    #[must_use]
    pub fn is_own(&self, dir: &RelPath, name: &[u8]) -> bool {
        dir.is_root() && name == OWN_DIR
    }

    /// What the child `name` of an open directory is, without reading a file.
    #[must_use]
    pub fn value(&self, dir: &Dir, rules: &DirRules, name: &[u8], stat: &Stat) -> Value {
        if !rules.is_empty() && rules.matched(name, stat.kind == Kind::Dir).is_some() {
            return Value::Ignored;
        }
        if (stat.dev, stat.mnt) != (self.home.dev, self.home.mnt) {
            return Value::Skipped(Special::Mount);
        }
        match stat.kind {
            Kind::File => {
                let known = self.cache.lookup(stat);
                // What an index means is not remembered: it is read once.
                let known = known.filter(|d| !rules.is_index(name) || self.meanings.is_told(*d));
                let known = known.map(Content::known);
                file(stat, known.unwrap_or_else(|| Content::unread(stat.identity())))
            }
            Kind::Dir => Value::Dir { mode: stat.mode & 0o777 },
            Kind::Symlink => match dir.readlink(name) {
                Ok(target) => Value::Symlink {
                    target: Digest(*blake3::hash(&target).as_bytes()),
                    len: u16::try_from(target.len()).unwrap_or(u16::MAX),
                },
                Err(error) => Value::Unreadable { errno: errno(&error) },
            },
            Kind::Fifo => Value::Skipped(Special::Fifo),
            Kind::Socket => Value::Skipped(Special::Socket),
            Kind::Device => Value::Skipped(Special::Device),
        }
    }

    /// Reads the file `name` of an open directory and remembers its digest.
    ///
    /// # Errors
    /// What opening or reading it failed with.
    pub fn read(&self, dir: &Dir, name: &[u8], cancel: &AtomicBool) -> io::Result<Hashed> {
        let hashed = hash::hash(&dir.open_read(name)?, cancel)?;
        if let Hashed::Whole { digest, stat, looked_at_ns } = hashed {
            self.cache.record(&stat, digest, looked_at_ns, self.root.grain_ns());
        }
        Ok(hashed)
    }

    /// Reads what the file had at one moment, however it goes on changing; `None` where there are no snapshots.
    ///
    /// # Errors
    /// What opening it or reading failed with.
    pub fn read_still(
        &self,
        dir: &Dir,
        name: &[u8],
        cancel: &AtomicBool,
    ) -> io::Result<Option<(Stat, Digest)>> {
        let Some(still) = self.root.snapshot(&dir.open_read(name)?)? else { return Ok(None) };
        match hash::hash(&still.file, cancel)? {
            Hashed::Whole { digest, .. } => Ok(Some((still.stat, digest))),
            Hashed::Changed | Hashed::Cancelled => Ok(None),
        }
    }

    /// Finds out what the index that has just been read means; [`Tree::meanings`] tells it.
    ///
    /// # Errors
    /// What opening or reading it failed with.
    pub fn learn_index(
        &self,
        dir: &Dir,
        name: &[u8],
        stat: &Stat,
        digest: Digest,
    ) -> io::Result<()> {
        if self.meanings.is_told(digest) {
            return Ok(());
        }
        if stat.size > INDEX_BYTES_MAX {
            self.meanings.learn(digest, digest);
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut open = dir.open_read(name)?;
        let is_same = |open: &sys::File| Ok::<_, io::Error>(sys::fstat(open)?.is_unchanged(stat));
        if !is_same(&open)? {
            return Ok(());
        }
        // One that grows meanwhile is not what was looked at, however far it gets.
        io::Read::read_to_end(&mut io::Read::take(&mut open, stat.size), &mut bytes)?;
        if is_same(&open)? {
            let meaning = git_index::meaning(&bytes).unwrap_or(digest);
            self.meanings.learn(digest, meaning);
        }
        Ok(())
    }

    /// What was found out since it was last asked for: to be told before the values it is about.
    #[must_use]
    pub fn meanings(&self) -> Vec<Fact> {
        let found = std::mem::take(&mut self.meanings.known().new);
        found.into_iter().map(|(digest, meaning)| Fact::Means { digest, meaning }).collect()
    }

    /// Takes in what the `.yeetignore` of an open directory says. Returns the directory to be listed again on all
    /// replicas if that is new.
    ///
    /// # Errors
    /// What reading it failed with; the rules stay as they were.
    pub fn take_rules(&self, dir: &RelPath, handle: &Dir) -> io::Result<Option<RelPath>> {
        let stat = handle.stat(IGNORE_FILE)?;
        // Like git, a symlink of that name is no file of rules.
        let Some(stat) = stat.filter(|stat| stat.kind == Kind::File) else {
            return Ok(self.ignores.set(self.replica, dir, None));
        };
        let mut text = Vec::new();
        if stat.size <= IGNORE_FILE_BYTES_MAX {
            let file = handle.open_read(IGNORE_FILE)?;
            io::Read::read_to_end(&mut io::Read::take(file, IGNORE_FILE_BYTES_MAX + 1), &mut text)?;
        } else {
            // One byte too many says that it is too long, whatever they are.
            text.resize(usize::try_from(IGNORE_FILE_BYTES_MAX).unwrap_or(usize::MAX) + 1, b'\n');
        }
        Ok(self.ignores.set(self.replica, dir, Some(&text)))
    }
}

/// What indexes mean, as far as it is known and told.
#[derive(Default)]
struct Meanings(Mutex<Known>);

#[derive(Default)]
struct Known {
    all: HashSet<Digest>,
    new: Vec<(Digest, Digest)>,
}

impl Meanings {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_told(&self, digest: Digest) -> bool {
        self.known().all.contains(&digest)
    }

    fn learn(&self, digest: Digest, meaning: Digest) {
        let mut known = self.known();
        if known.all.len() >= MEANINGS_MAX {
            known.all.clear();
        }
        if known.all.insert(digest) {
            known.new.push((digest, meaning));
        }
    }
}

/// A file of this stat with this content.
#[must_use]
pub fn file(stat: &Stat, content: Content) -> Value {
    Value::File(value::File {
        size: stat.size,
        mtime: stat.mtime_ns,
        content,
        mode: stat.mode & 0o777,
    })
}

/// An error's number; `EIO` for one without.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
