//! Directories of which an agent says no more than their print: what is in them is guessed, and proven by it.
//!
//! Holds: a listing is taken in only if its print is that of the guess, so it is what the agent saw; a guess changes nothing
//! that is held but contents that nobody had read. A guess that waits ends with anything else that is said of the directory.
//! What cannot be guessed is asked for; what was said meanwhile of directories in it is asked for after that.

use std::collections::{BTreeMap, BTreeSet};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, Digest, File, Value};
use crate::service::actor::Actor;
use crate::sources::far::page::print;
use crate::sources::far::wire::{EXCEPT_MAX, FILL_BYTES_MAX};

/// So many files of a directory are worth one question for all of them.
const TOGETHER_MIN: usize = 3;
/// Of more nothing would be heard before the last is read.
const TOGETHER_MAX: usize = 1 << 14;

/// More directories than are kept apart; beyond, all of their replica is looked at again.
const EARLY_MAX: usize = 1 << 12;

type Held = Vec<(PathId, Name, Value)>;

/// What is guessed later, and what is asked for together.
#[derive(Default)]
pub struct Prints {
    /// The other end of the same files is still being read.
    waiting: BTreeMap<(PathId, Replica), Digest>,
    /// Of these something was said at the other end.
    again: BTreeSet<(PathId, Replica)>,
    /// Files to be read on hosts, by directory.
    to_read: BTreeMap<(Replica, PathId), Vec<PathId>>,
    /// Directories of which many files are read together: the next print of one answers for them.
    filled: BTreeSet<(PathId, Replica)>,
    /// Those of which it was told, so what it does not say of a file has to be asked for.
    answered: BTreeSet<(PathId, Replica)>,
    /// Directories that were listed before it was known that they are directories.
    early: BTreeSet<(Replica, RelPath)>,
}

impl Prints {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The paths that are known here.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathId> {
        let waiting = self.waiting.keys().chain(&self.again).chain(&self.filled);
        let waiting = waiting.chain(&self.answered).map(|(id, _)| *id);
        let to_read = self.to_read.iter();
        waiting.chain(to_read.flat_map(|((_, dir), files)| files.iter().copied().chain([*dir])))
    }

    /// Nothing counts any more that was said of what a replica has.
    pub(crate) fn forget(&mut self, replica: Replica) {
        self.waiting.retain(|(_, of), _| *of != replica);
        self.early.retain(|(of, _)| *of != replica);
        self.filled.retain(|(_, of)| *of != replica);
        self.answered.retain(|(_, of)| *of != replica);
    }

    fn too_early(&mut self, replica: Replica, dir: RelPath) {
        if self.early.len() < EARLY_MAX {
            self.early.insert((replica, dir));
        } else {
            self.early.retain(|(of, _)| *of != replica);
            self.early.insert((replica, RelPath::root()));
        }
    }

    /// Takes out what was too early in directories of which this is so, and of any where it is not known which.
    fn take_early(&mut self, replica: Replica, is_in: impl Fn(&RelPath) -> bool) -> Vec<RelPath> {
        let early = std::mem::take(&mut self.early).into_iter();
        let (due, early): (BTreeSet<_>, BTreeSet<_>) =
            early.partition(|(of, dir)| *of == replica && (dir.is_root() || is_in(dir)));
        self.early = early;
        due.into_iter().map(|(_, dir)| dir).collect()
    }
}

impl Actor {
    /// An agent has listed a directory.
    pub(crate) fn take_print(&mut self, replica: Replica, dir: RelPath, said: Digest) {
        let Some(id) = self.id_of(&dir) else {
            return match self.as_agreed(&dir, replica).filter(|children| print(children) == said) {
                Some(children) => self.take_fact(&Fact::Listed { replica, dir, children }),
                None => self.sources.list(replica, &dir),
            };
        };
        if self.prints.filled.remove(&(id, replica)) {
            self.prints.answered.insert((id, replica));
        }
        // It stands for whatever was to be guessed before.
        self.prints.waiting.remove(&(id, replica));
        let held = self.engine.held_in(id, replica);
        let mut guess = vec![listing(&held), self.as_read(&held, replica)];
        if held.is_empty() {
            guess.extend(self.as_agreed(&dir, replica));
        }
        if let Some(children) = guess.into_iter().find(|children| print(children) == said) {
            return self.take_fact(&Fact::Listed { replica, dir, children });
        }
        if self.are_read_soon(&held, replica) {
            self.prints.waiting.insert((id, replica), said);
        } else {
            self.sources.list(replica, &dir);
        }
    }

    /// Whether more will be known of what others have where files are unread.
    fn are_read_soon(&self, held: &Held, replica: Replica) -> bool {
        let others = self.others(replica);
        held.iter().any(|(path, _, value)| {
            unread(value).is_some() && others.iter().any(|other| self.is_to_be_read(*other, *path))
        })
    }

    /// The replicas that a replica is compared with.
    fn others(&self, replica: Replica) -> Vec<Replica> {
        match replica.is_source() {
            true => self.record.leaves().iter().collect(),
            false => vec![Replica::SOURCE],
        }
    }

    /// What a directory has if its unread files have what others have at their paths.
    fn as_read(&mut self, held: &Held, replica: Replica) -> Vec<(Name, Value)> {
        let others = self.others(replica);
        let mut children = listing(held);
        for ((path, ..), (_, value)) in held.iter().zip(&mut children) {
            let Some(file) = unread(value) else { continue };
            let known = others.iter().find_map(|other| match self.engine.held(*path, *other) {
                Some(Value::File(theirs)) if theirs.size == file.size => theirs.content.digest(),
                Some(_) | None => None,
            });
            if let Some(digest) = known {
                *value = Value::File(File { content: Content::known(digest), ..file });
            }
        }
        children
    }

    /// What was last agreed in a directory: what a daemon that has just started can know of it.
    fn as_agreed(&self, dir: &RelPath, replica: Replica) -> Option<Vec<(Name, Value)>> {
        let journal = self.shop.journal.as_ref()?;
        let leaf = if replica.is_source() { self.record.leaves().iter().next()? } else { replica };
        // Where the store cannot be read, it is asked for.
        let facts = journal.facts_in(dir, ReplicaSet::of(&[leaf])).ok()?;
        let agreed = facts.into_iter().filter_map(|fact| match fact {
            Fact::Agreed { path, value, .. } => Some((path.split()?.1, value?)),
            Fact::Listed { .. }
            | Fact::Holds { .. }
            | Fact::Unlisted { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => None,
        });
        let mut agreed: Vec<(Name, Value)> = agreed.collect();
        agreed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Some(agreed)
    }

    /// Something else is said of a directory, or of the other end of it.
    pub(crate) fn overtake_prints(&mut self, fact: &Fact) {
        if self.prints.is_empty() {
            return;
        }
        let (replica, dir) = match fact {
            Fact::Listed { replica, dir, .. } => (*replica, Some(dir.clone())),
            Fact::Holds { replica, path, .. } => (*replica, path.split().map(|(dir, _)| dir)),
            Fact::Unlisted { replica, dir } => return self.void_prints(*replica, dir),
            Fact::Agreed { .. } | Fact::Past { .. } | Fact::Means { .. } | Fact::Yields { .. } => {
                return;
            }
        };
        let Some(dir) = dir else { return };
        let Some(id) = self.id_of(&dir) else { return };
        let is_over = self.prints.waiting.remove(&(id, replica)).is_some();
        if is_over && matches!(fact, Fact::Holds { .. }) {
            self.sources.list(replica, &dir);
        }
        let of_dir = self.prints.waiting.range((id, Replica::SOURCE)..).map(|(key, _)| *key);
        self.prints.again.extend(of_dir.take_while(|(at, _)| *at == id));
    }

    /// Nothing that was said of a directory at a replica counts any more, or of what is below it.
    fn void_prints(&mut self, replica: Replica, dir: &RelPath) {
        let Some(dir) = self.id_of(dir) else { return };
        let paths = self.engine.paths();
        let is_in = |id: PathId| id == dir || paths.ancestors(id).any(|above| above == dir);
        self.prints.waiting.retain(|(id, of), _| *of != replica || !is_in(*id));
    }

    /// A host lists the directories in one as soon as it has told the print of that. Where the print does not do, and one of
    /// them was something else before, what it says of it comes too early to count.
    pub(crate) fn note_early(&mut self, fact: &Fact) {
        let Fact::Listed { replica, dir, .. } = fact else { return };
        if self.record.host(*replica).is_some() && !self.engine.is_directory(*replica, dir) {
            self.prints.too_early(*replica, dir.clone());
        }
    }

    /// The directories that are to be looked at again now that they are known for what they are.
    pub(crate) fn early_again(&mut self, fact: &Fact) -> Vec<(Replica, RelPath)> {
        if self.prints.early.is_empty() {
            return Vec::new();
        }
        let (replica, due) = match fact {
            Fact::Listed { replica, dir, children } => {
                let dirs = children.iter().filter(|(_, value)| value.is_dir());
                let dirs: Vec<RelPath> = dirs.map(|(name, _)| dir.join(name)).collect();
                let is_in = |early: &RelPath| dirs.iter().any(|dir| early.is_within(dir));
                (*replica, self.prints.take_early(*replica, is_in))
            }
            Fact::Holds { replica, path, value: Some(value) } if value.is_dir() => {
                (*replica, self.prints.take_early(*replica, |early| early.is_within(path)))
            }
            Fact::Holds { .. }
            | Fact::Unlisted { .. }
            | Fact::Agreed { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => return Vec::new(),
        };
        let (there, still): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|dir| self.engine.is_directory(replica, dir));
        still.into_iter().for_each(|dir| self.prints.too_early(replica, dir));
        there.into_iter().map(|dir| (replica, dir)).collect()
    }

    /// A directory is listed of which a print had answered for files that were read together, and did not do: what changes
    /// while it is looked at is not known for long, so the listing need not say of them what the print was of.
    pub(crate) fn read_unanswered(&mut self, fact: &Fact) {
        let Fact::Listed { replica, dir, children } = fact else { return };
        let Some(id) = self.id_of(dir) else { return };
        if !self.prints.answered.remove(&(id, *replica)) {
            return;
        }
        for (name, _) in children.iter().filter(|(_, value)| unread(value).is_some()) {
            let path = dir.join(name);
            if self.id_of(&path).is_some_and(|id| self.is_to_be_read(*replica, id)) {
                // On its own: it is answered by what is in it.
                self.sources.read(*replica, &path);
            }
        }
    }

    /// Guesses again where more is known now.
    pub(crate) fn guess_again(&mut self) {
        for (id, replica) in std::mem::take(&mut self.prints.again) {
            let held = self.engine.held_in(id, replica);
            // Until then no guess is any better than the last.
            if self.are_read_soon(&held, replica) {
                continue;
            }
            if let Some(said) = self.prints.waiting.remove(&(id, replica)) {
                let dir = self.engine.paths().path(id);
                self.take_print(replica, dir, said);
            }
        }
    }

    /// Nothing more will come to be known: asks for what was to be guessed. Returns whether there was anything.
    pub(crate) fn guess_no_more(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.prints.waiting);
        for (id, replica) in waiting.keys() {
            let dir = self.engine.paths().path(*id);
            self.sources.list(*replica, &dir);
        }
        !waiting.is_empty()
    }

    /// Has a file read: here at once, on a host with all that is to be read in its directory.
    pub(crate) fn read(&mut self, replica: Replica, id: PathId) {
        let dir = self.engine.paths().parent(id);
        match dir.filter(|_| self.record.host(replica).is_some()) {
            Some(dir) => self.prints.to_read.entry((replica, dir)).or_default().push(id),
            None => {
                let path = self.engine.paths().path(id);
                self.sources.read(replica, &path);
            }
        }
    }

    /// Asks for what is to be read on hosts: the small files of a directory together, where that says more shortly which.
    pub(crate) fn ask_to_read(&mut self) {
        for ((replica, dir), mut files) in std::mem::take(&mut self.prints.to_read) {
            files.sort_unstable();
            files.dedup();
            let except =
                (files.len() >= TOGETHER_MIN).then(|| self.split(replica, dir, &mut files));
            if let Some(except) = except.flatten() {
                self.prints.filled.insert((dir, replica));
                let dir = self.engine.paths().path(dir);
                self.sources.fill(replica, &dir, except);
            }
            for id in files {
                let path = self.engine.paths().path(id);
                self.sources.read(replica, &path);
            }
        }
    }

    /// Takes those of the files out that are read together; returns the other unread ones of the directory.
    fn split(
        &mut self,
        replica: Replica,
        dir: PathId,
        files: &mut Vec<PathId>,
    ) -> Option<Vec<Name>> {
        let mut except = Vec::new();
        let mut together = BTreeSet::new();
        for (id, name, value) in self.engine.held_in(dir, replica) {
            if unread(&value).is_none() {
                continue;
            }
            match files.binary_search(&id) {
                Ok(_) => drop(together.insert(id)),
                Err(_) => except.push(name),
            }
        }
        let is_worth_it = (TOGETHER_MIN..=TOGETHER_MAX).contains(&together.len());
        if !is_worth_it || except.len() > together.len().min(EXCEPT_MAX) {
            return None;
        }
        files.retain(|id| !together.contains(id));
        Some(except)
    }
}

fn listing(held: &Held) -> Vec<(Name, Value)> {
    held.iter().map(|(_, name, value)| (name.clone(), *value)).collect()
}

/// A small file that nobody has read.
fn unread(value: &Value) -> Option<File> {
    let Value::File(file) = value else { return None };
    (file.content.digest().is_none() && file.size <= FILL_BYTES_MAX).then_some(*file)
}
