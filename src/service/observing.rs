//! A sync's eyes: what scanners, lookers and watchers report becomes facts, in the order in which it was seen.
//!
//! Holds: a stale observation never replaces a newer one; agreements of a directory reach the engine before its
//! first listing does; a directory that cannot be listed is never an empty one (INV-3).

use std::time::{Duration, Instant};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::service::actor::Actor;
use crate::service::freshness::Ticket;
use crate::service::problems::Problem;
use crate::sources::look::Looked;
use crate::sources::scan::{ListError, Listing};
use crate::sources::watch::Hint;

/// How long a failed listing or look waits before it is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Actor {
    /// Asks for a listing of one directory; what it finds below unlisted is asked for in turn.
    pub(crate) fn list(&mut self, replica: Replica, dir: PathId) {
        if let Some(again) = self.listing.get_mut(&(replica, dir)) {
            *again = true;
            return;
        }
        if self.sites.site(replica).is_none() {
            return;
        }
        self.listing.insert((replica, dir), false);
        let path = self.engine.paths().path(dir);
        self.sites.list(replica, path, &self.ignores, &self.post);
    }

    /// Asks for a look at one path.
    pub(crate) fn look(&mut self, replica: Replica, path: RelPath) {
        if self.sites.site(replica).is_some() {
            self.looks += 1;
            self.sites.look(replica, path);
        }
    }

    /// Everything is listed from the root again; until then nothing missing counts as deleted.
    pub(crate) fn rescan(&mut self, replica: Replica) {
        self.engine.observe(&Fact::Unlisted { replica, dir: RelPath::root() });
        self.list(replica, PathId::ROOT);
    }

    pub(crate) fn take_listing(
        &mut self,
        replica: Replica,
        dir: &RelPath,
        ticket: Ticket,
        listing: Result<Listing, ListError>,
    ) {
        let id = self.engine.intern(dir);
        if self.listing.remove(&(replica, id)) == Some(true) {
            self.list(replica, id);
        }
        let listing = match listing {
            Ok(listing) => listing,
            Err(error) => return self.take_list_error(replica, dir, &error),
        };
        self.problems.clear(dir, replica);
        let mut newer = Vec::new();
        if !self.freshness.admit_listing(replica, id, ticket, &mut newer) {
            return self.list(replica, id);
        }
        self.take_ignore_file(replica, dir, listing.ignore_text);
        self.load_agreements(id, dir, replica, &listing.children);
        if dir.is_root() {
            self.holds.root_listed(replica, listing.children.len(), self.engine.files(replica));
        }
        let children = self.patched(replica, id, listing.children, &newer);
        let below: Vec<Name> =
            children.iter().filter(|(_, v)| v.is_dir()).map(|(name, _)| name.clone()).collect();
        self.engine.observe(&Fact::Listed { replica, dir: dir.clone(), children });
        for name in below {
            let child = self.engine.intern(&dir.join(&name));
            if !self.engine.is_listed(replica, child) {
                self.list(replica, child);
            }
        }
        for path in newer {
            let path = self.engine.paths().path(path);
            self.look(replica, path);
        }
    }

    /// For paths looked at since the listing began, what is known stays.
    fn patched(
        &mut self,
        replica: Replica,
        dir: PathId,
        mut children: Vec<(Name, Value)>,
        newer: &[PathId],
    ) -> Vec<(Name, Value)> {
        for path in newer {
            let known = self.engine.value(replica, *path);
            let paths = self.engine.paths();
            debug_assert_eq!(paths.parent(*path), Some(dir));
            let Ok(name) = Name::parse(paths.name(*path)) else { continue };
            drop(paths);
            children.retain(|(n, _)| *n != name);
            children.extend(known.map(|value| (name, value)));
        }
        children
    }

    fn take_list_error(&mut self, replica: Replica, dir: &RelPath, error: &ListError) {
        self.engine.observe(&Fact::Unlisted { replica, dir: dir.clone() });
        if error.is_gone() {
            if !dir.is_root() {
                self.look(replica, dir.clone());
            }
            return;
        }
        self.problem(dir, replica, error, error.errno(), error.hint());
        self.retry_later(replica, dir.clone());
    }

    /// Notes a problem; it is logged once.
    pub(crate) fn problem(
        &mut self,
        path: &RelPath,
        replica: Replica,
        error: &dyn std::fmt::Display,
        errno: Option<i32>,
        hint: Option<String>,
    ) {
        let problem = Problem { what: error.to_string(), errno, hint, attempts: 1 };
        if self.problems.note(path, replica, problem.clone()) {
            self.log_problem(path, replica, &problem);
        }
    }

    pub(crate) fn retry_later(&mut self, replica: Replica, path: RelPath) {
        self.retries.entry(Instant::now() + RETRY).or_default().push((replica, path));
    }

    pub(crate) fn retry(&mut self, now: Instant) {
        while let Some(entry) = self.retries.first_entry() {
            if *entry.key() > now {
                return;
            }
            for (replica, path) in entry.remove() {
                if path.is_root() { self.list(replica, PathId::ROOT) } else { self.look(replica, path) }
            }
        }
    }

    pub(crate) fn take_look(&mut self, replica: Replica, ticket: Ticket, looked: Looked) {
        self.looks = self.looks.saturating_sub(1);
        match looked {
            Looked::Holds { path, value } => self.take_value(replica, ticket, &path, value),
            Looked::ParentGone { path } => match path.split() {
                Some((parent, _)) if !parent.is_root() => self.look(replica, parent),
                _ => self.root_lost(replica),
            },
            Looked::RootGone => self.root_lost(replica),
            Looked::Failed { path, error } => {
                let errno = error.raw_os_error();
                self.problem(&path, replica, &error, errno, None);
                self.retry_later(replica, path);
            }
        }
    }

    fn take_value(&mut self, replica: Replica, ticket: Ticket, path: &RelPath, value: Option<Value>) {
        let Some((dir, _)) = path.split() else { return self.list(replica, PathId::ROOT) };
        let (id, parent) = (self.engine.intern(path), self.engine.intern(&dir));
        if !self.freshness.admit_look(replica, parent, id, ticket) {
            return self.look(replica, path.clone());
        }
        if !self.loaded.contains(&parent) {
            // Its directory has not been listed yet: the listing to come will see it.
            return self.list(replica, parent);
        }
        self.problems.clear(path, replica);
        if value.is_none_or(|v| !v.is_dir()) {
            self.load_below(id, path);
        }
        self.engine.observe(&Fact::Holds { replica, path: path.clone(), value });
        if value.is_some_and(|v| v.is_dir()) && !self.engine.is_listed(replica, id) {
            self.list(replica, id);
        }
        if path.as_bytes().ends_with(b".yeetignore") {
            self.list(replica, parent);
        }
    }

    pub(crate) fn take_hint(&mut self, replica: Replica, hint: Hint) {
        match hint {
            Hint::Look(path) => self.look(replica, path),
            Hint::List(dir) => {
                let dir = self.engine.intern(&dir);
                self.list(replica, dir);
            }
            Hint::Overflow => self.rescan(replica),
            Hint::RootGone => self.root_lost(replica),
            Hint::Unwatched { dir, errno } => self.unwatched(replica, dir, errno),
        }
    }

    fn take_ignore_file(&mut self, replica: Replica, dir: &RelPath, text: Option<Vec<u8>>) {
        let Some(affected) = self.sites.set_ignores(&mut self.ignores, replica, dir, text) else {
            return;
        };
        let top = self.engine.intern(&affected);
        for replica in self.sites.replicas() {
            for dir in self.engine.directories_within(replica, top) {
                self.list(replica, dir);
            }
        }
    }

    /// Before the first listing of a directory the engine is told what was agreed in it, and below those children
    /// that are no directories (any more): nobody would ever list these.
    fn load_agreements(
        &mut self,
        id: PathId,
        dir: &RelPath,
        replica: Replica,
        children: &[(Name, Value)],
    ) {
        let Some(journal) = self.sites.journal() else { return };
        if self.loaded.insert(id) {
            match journal.facts_in(dir) {
                Ok(facts) => self.observe_all(&facts),
                Err(error) => self.problem(dir, replica, &error, None, None),
            }
        }
        for child in self.engine.agreed_directories_in(id) {
            let name = self.engine.paths().name(child).to_vec();
            let is_dir = children.iter().any(|(n, v)| n.as_bytes() == name && v.is_dir());
            if !is_dir {
                let path = self.engine.paths().path(child);
                self.load_below(child, &path);
            }
        }
    }

    /// Loads the agreements of a directory that is not one any more, all the way down.
    fn load_below(&mut self, id: PathId, path: &RelPath) {
        if self.loaded.contains(&id) || !self.engine.was_agreed_directory(id) {
            return;
        }
        let Some(journal) = self.sites.journal() else { return };
        let mut dirs = vec![path.clone()];
        while let Some(dir) = dirs.pop() {
            let id = self.engine.intern(&dir);
            if !self.loaded.insert(id) {
                continue;
            }
            let Ok(facts) = journal.facts_in(&dir) else { continue };
            dirs.extend(facts.iter().filter_map(|fact| match fact {
                Fact::Agreed { path, value: Some(v), .. } if v.is_dir() => Some(path.clone()),
                _ => None,
            }));
            self.observe_all(&facts);
        }
    }
}
