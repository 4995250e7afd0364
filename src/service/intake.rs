//! What sources see becomes facts; what was agreed in a directory reaches the engine before its first listing does.
//!
//! Holds: agreements below a directory that is not there any more are loaded with the fact that says so: nobody would
//! ever list it.

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::rules::brake::EMPTIED_FILES;
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::service::problems::{About, Problem};
use crate::sinks::journal::Change;
use crate::sources::scan::pool::{Seen, Trouble};

impl Actor {
    pub(crate) fn take_seen(&mut self, seen: Seen) {
        if let Seen::Facts(_) | Seen::Same { .. } = seen {
            self.waiters.moved();
        }
        match seen {
            Seen::Facts(facts) => facts.iter().for_each(|fact| self.take_fact(fact)),
            Seen::Same { replica, dir, print } => self.take_print(replica, dir, print),
            Seen::Trouble { replica, path, trouble } => self.take_trouble(replica, path, trouble),
            Seen::Watched { replica, dir } => {
                self.problems.clear(&dir, replica, About::Watching);
            }
            Seen::RootGone { replica } => self.root_lost(replica),
            Seen::Done { scan, .. } => drop(self.scans_open.remove(&scan)),
            Seen::Quiet { .. } => {}
            Seen::Away { replica, scans, why } => self.take_away(replica, &scans, why),
            Seen::Flushed { number } => {
                self.waiters.flushed(number);
                self.repositories.flushed(number);
                self.groups.flushed(number);
            }
        }
    }

    pub(crate) fn take_fact(&mut self, fact: &Fact) {
        self.overtake_prints(fact);
        match fact {
            Fact::Listed { replica, dir, children } => {
                self.problems.clear(dir, *replica, About::Looking);
                let is_dir =
                    |name: &[u8]| children.iter().any(|(n, v)| n.as_bytes() == name && v.is_dir());
                self.load(dir, is_dir);
                for (name, _) in children.iter().filter(|(_, value)| *value == Value::Ignored) {
                    self.load_within(&dir.join(name));
                }
                if dir.is_root() && children.is_empty() {
                    self.holds.emptied(*replica, self.files_had(*replica));
                }
                if !self.problems.is_empty() {
                    self.problems.clear_gone(dir, *replica, is_dir);
                }
            }
            Fact::Holds { replica, path, value } => {
                if !self.problems.is_empty() && value.is_none_or(|v| !v.is_dir()) {
                    self.problems.clear(path, *replica, About::Looking);
                    self.problems.clear(path, *replica, About::Watching);
                    self.problems.clear_gone(path, *replica, |_| false);
                }
                if let Some((dir, _)) = path.split() {
                    self.load(&dir, |_| true);
                }
                if value.is_none_or(|v| !v.is_dir()) {
                    self.load_within(path);
                }
            }
            Fact::Unlisted { .. }
            | Fact::Agreed { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => {}
        }
        self.note_unlearned(fact);
        let again = self.directories_again(fact);
        self.note_early(fact);
        self.engine.observe(fact);
        for (replica, dir) in again.into_iter().chain(self.early_again(fact)) {
            self.sources.scan(replica, &dir);
        }
        self.read_unanswered(fact);
        let (Fact::Listed { replica, dir: path, .. } | Fact::Holds { replica, path, .. }) = fact
        else {
            return;
        };
        let Some(id) = self.id_of(path) else { return };
        self.settle_doubts(fact, id);
        self.note_seen(*replica, id);
        self.note_eased(id);
        self.touch_repository(id);
        self.touch_groups(id);
        if let Fact::Holds { .. } = fact {
            self.touched.insert(id);
        }
    }

    /// Directories that could not be looked at, and now can: what was said of their insides meanwhile did not count, so
    /// nothing is known of them.
    fn directories_again(&mut self, fact: &Fact) -> Vec<(Replica, RelPath)> {
        match fact {
            Fact::Holds { replica, path, value: Some(value) } if value.is_dir() => {
                let Some(id) = self.id_of(path) else { return Vec::new() };
                let again = self.is_unreadable(id, *replica);
                again.then(|| (*replica, path.clone())).into_iter().collect()
            }
            Fact::Listed { replica, dir, children } => {
                let Some(id) = self.id_of(dir) else { return Vec::new() };
                let dirs = children.iter().filter(|(_, value)| value.is_dir());
                let known: Vec<(PathId, &Name)> = {
                    let paths = self.engine.paths();
                    let id = |name: &Name| paths.child(id, name.as_bytes());
                    dirs.filter_map(|(name, _)| Some((id(name)?, name))).collect()
                };
                let known = known.into_iter();
                let again = known.filter(|(id, _)| self.is_unreadable(*id, *replica));
                again.map(|(_, name)| (*replica, dir.join(name))).collect()
            }
            Fact::Holds { .. }
            | Fact::Unlisted { .. }
            | Fact::Agreed { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => Vec::new(),
        }
    }

    fn is_unreadable(&mut self, id: PathId, at: Replica) -> bool {
        matches!(self.engine.held(id, at), Some(Value::Unreadable { .. }))
    }

    /// What is said of a file that is to be read can undo within one epoch what reading it had brought: the file is unread
    /// again, it could not be read, or its directory could not be opened. That changes no row, and no row that comes would
    /// have it read.
    fn note_unlearned(&mut self, fact: &Fact) {
        if self.reads.is_empty() {
            return;
        }
        let (replica, said): (Replica, Vec<(PathId, Value)>) = match fact {
            Fact::Holds { replica, path, value: Some(value) } => {
                (*replica, self.id_of(path).map(|id| (id, *value)).into_iter().collect())
            }
            Fact::Listed { replica, dir, children } => {
                let Some(dir) = self.id_of(dir) else { return };
                let paths = self.engine.paths();
                let id = |name: &Name| paths.child(dir, name.as_bytes());
                let said = children.iter().filter_map(|(name, value)| Some((id(name)?, *value)));
                (*replica, said.collect())
            }
            Fact::Unlisted { replica, dir } => {
                let Some(dir) = self.id_of(dir) else { return };
                let paths = self.engine.paths();
                let inside = |path: PathId| paths.ancestors(path).any(|above| above == dir);
                let reads = self.reads.iter().filter(|(_, of)| of.contains(*replica));
                let inside = reads.map(|(key, _)| key.path).filter(|path| inside(*path));
                self.unlearned.extend(inside.map(|path| (*replica, path)));
                return;
            }
            Fact::Holds { .. }
            | Fact::Agreed { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => return,
        };
        for (id, value) in said {
            if self.is_to_be_read(replica, id) && self.engine.held(id, replica) != Some(value) {
                self.unlearned.push((replica, id));
            }
        }
    }

    pub(crate) fn is_to_be_read(&self, replica: Replica, path: PathId) -> bool {
        let key = |leaf| JobKey { path, leaf };
        let asks = |leaf| self.reads.get(&key(leaf)).is_some_and(|of| of.contains(replica));
        self.record.leaves().iter().any(asks)
    }

    /// Has what was unlearned read again, where that is still asked for.
    pub(crate) fn read_unlearned(&mut self) {
        for (replica, id) in std::mem::take(&mut self.unlearned) {
            if self.is_to_be_read(replica, id) {
                self.read(replica, id);
            }
        }
        self.ask_to_read();
    }

    /// How many files a replica had; at the start of a daemon only what was agreed tells.
    pub(crate) fn files_had(&self, replica: Replica) -> u64 {
        let seen = self.engine.files(replica);
        let Some(journal) = self.shop.journal.as_ref().filter(|_| seen == 0) else { return seen };
        let leaves = self.record.leaves();
        let of = leaves.iter().filter(|leaf| replica.is_source() || *leaf == replica);
        let agreed = of.map(|leaf| journal.agreed_files(leaf, EMPTIED_FILES));
        // Where the store cannot be read nothing is agreed, so nothing is deleted.
        agreed.filter_map(Result::ok).max().unwrap_or(0)
    }

    /// Tells the engine what was agreed in `dir`, once, and all that was agreed below children that are no
    /// directories.
    fn load(&mut self, dir: &RelPath, is_dir: impl Fn(&[u8]) -> bool) {
        let Some(journal) = self.shop.journal.clone() else { return };
        if !self.loaded.insert(dir.clone()) {
            return;
        }
        let facts = match journal.facts_in(dir, self.record.leaves().with(Replica::SOURCE)) {
            Ok(facts) => facts,
            Err(error) => {
                // Tried again with the next listing.
                self.loaded.remove(dir);
                let what = error.to_string();
                self.note_problem(dir, Replica::SOURCE, About::Looking, Problem::new(what));
                return;
            }
        };
        for fact in &facts {
            self.engine.observe(fact);
            if let Fact::Agreed { path, value: Some(value), .. } = fact
                && is_directory(value)
                && path.split().is_some_and(|(_, name)| !is_dir(name.as_bytes()))
            {
                self.load_below(path);
            }
        }
    }

    /// Loads what was agreed below a path that is no directory (any more), however much of it is loaded: nobody will
    /// list it. What is left in the store would be taken for agreed when a directory of that name comes back.
    fn load_within(&mut self, path: &RelPath) {
        let known = self.id_of(path);
        if self.shop.journal.is_none() || !known.is_some_and(|id| self.engine.agreed_is_dir(id)) {
            return;
        }
        self.load_below(path);
        let inner = known.map(|id| self.engine.paths().children(id).collect::<Vec<_>>());
        for child in inner.into_iter().flatten() {
            let child = self.engine.paths().path(child);
            self.load_within(&child);
        }
    }

    /// Loads the agreements of a directory that is not there, all the way down.
    fn load_below(&mut self, path: &RelPath) {
        if self.shop.journal.is_some() && !self.loaded.contains(path) {
            self.load(path, |_| false);
        }
    }

    fn take_trouble(&mut self, replica: Replica, path: RelPath, trouble: Trouble) {
        let (errno, about) = match trouble {
            Trouble::Unlistable { errno }
            | Trouble::Rules { errno }
            | Trouble::NoRules { errno } => (Some(errno), About::Looking),
            Trouble::Restless => (None, About::Looking),
            Trouble::Unwatched(_) => (None, About::Watching),
        };
        let problem = Problem { errno, ..Problem::new(trouble.to_string()) };
        self.note_problem(&path, replica, about, problem);
    }

    /// Notes a problem; it is logged when it is new.
    pub(crate) fn note_problem(
        &mut self,
        path: &RelPath,
        replica: Replica,
        about: About,
        problem: Problem,
    ) {
        let note = problem.what.clone();
        if self.problems.note(path, replica, about, problem) {
            self.log("problem", path, replica, note);
        }
    }

    /// What the engine let go of has to leave the journal too.
    pub(crate) fn journal_what_the_engine_dropped(&mut self) {
        let forgotten = self.engine.forgotten();
        let resolved = self.engine.resolved();
        let past = self.engine.past();
        let Some(journal) = &self.shop.journal else { return };
        let mut changes = Vec::new();
        changes.extend(forgotten.into_iter().map(|(leaf, path)| Change::Agreed {
            leaf,
            path,
            value: None,
        }));
        changes.extend(resolved.into_iter().map(|(replica, path)| Change::Yields {
            replica,
            path,
            value: None,
        }));
        changes.extend(past.into_iter().map(|(path, digest)| Change::Past { path, digest }));
        if !changes.is_empty() {
            journal.submit(changes, None);
        }
    }

    /// Scans a replica from its root.
    pub(crate) fn scan_all(&mut self, replica: Replica) {
        if let Some(scan) = self.sources.scan(replica, &RelPath::root()) {
            self.scans_open.insert(scan);
        }
    }

    /// The id of a path that may be new.
    pub(crate) fn id_of(&self, path: &RelPath) -> Option<PathId> {
        self.engine.paths().lookup(path)
    }
}

fn is_directory(value: &Value) -> bool {
    value.is_dir() || *value == Value::Remnant
}
