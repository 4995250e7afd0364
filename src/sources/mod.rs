//! The world as facts: scanning, hashing, watching.
//!
//! Holds: the disk is the truth, events are hints to look at it again; an error is never an absence (INV-3); nothing
//! wakes while nothing happens (INV-8).

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub mod control;
pub mod far;
mod flushes;
mod git_index;
pub mod hash;
pub mod ignores;
pub mod look;
pub mod scan;
pub mod stat_cache;
pub mod tree;
pub mod watch;

use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::ssh::talk::{Incoming, Outgoing};
use crate::sys::Root;
use far::{FarTree, Wiring};
use flushes::Flushes;
use ignores::Ignores;
use scan::pool::{Handle, Scanner, Sink};
use stat_cache::StatCache;
use tree::Tree;
use watch::inotify::{Notice, Watcher};
use watch::{NoWatch, Watch};

/// What a git index says, for `tests/fuzz`.
#[cfg(fuzzing)]
#[must_use]
pub fn index_meaning(index: &[u8]) -> Option<crate::dataflow::model::value::Digest> {
    git_index::meaning(index)
}

type Handles = Arc<RwLock<BTreeMap<Replica, Handle>>>;
type Fars = Arc<RwLock<BTreeMap<Replica, Arc<FarTree>>>>;

/// The replicas of one sync, scanned and watched: here, or by their agents.
pub struct Sources {
    scanner: Arc<Scanner>,
    sync: u32,
    ignores: Arc<Ignores>,
    cache: Arc<StatCache>,
    sink: Sink,
    handles: Handles,
    fars: Fars,
    flushes: Arc<Flushes>,
    watcher: Option<Arc<Watcher>>,
    watch: Arc<dyn Watch>,
    /// A test tells what happens.
    #[cfg(test)]
    simulated: Option<Arc<watch::simulated::Watched>>,
}

impl Sources {
    /// Sources of the sync `sync` (any number of its own), in which changes are noticed.
    #[must_use]
    pub fn watching(
        scanner: Arc<Scanner>,
        sync: u32,
        ignores: Arc<Ignores>,
        cache: Arc<StatCache>,
        sink: Sink,
    ) -> Self {
        let mut sources = Self::unwatched(scanner, sync, ignores, cache, sink);
        #[cfg(test)]
        if let Some(watched) = watch::simulated::here() {
            (sources.watch, sources.simulated) = (watched.clone(), Some(watched));
            return sources;
        }
        let (known, flushes) = (sources.handles.clone(), sources.flushes.clone());
        let started = Watcher::start(move |notice| match notice {
            Notice::Flushed(number) => flushes.ended(number),
            Notice::Hint(replica, hint) => {
                let handle = read(&known).get(&replica).cloned();
                if let Some(handle) = handle {
                    handle.hint(hint);
                }
            }
        });
        sources.watch = match started {
            Ok(started) => sources.watcher.insert(Arc::new(started)).clone(),
            // Every directory will be said to be unwatched, and listed from time to time.
            Err(error) => Arc::new(NoWatch::Refused(error)),
        };
        sources
    }

    /// Sources that look at what they are asked to, once.
    #[must_use]
    pub fn unwatched(
        scanner: Arc<Scanner>,
        sync: u32,
        ignores: Arc<Ignores>,
        cache: Arc<StatCache>,
        sink: Sink,
    ) -> Self {
        let watch = Arc::new(NoWatch::NotWanted);
        let (handles, fars) = (Handles::default(), Fars::default());
        let flushes = Arc::new(Flushes::new(sink.clone()));
        Self {
            fars,
            flushes,
            scanner,
            sync,
            ignores,
            cache,
            sink,
            handles,
            watcher: None,
            watch,
            #[cfg(test)]
            simulated: None,
        }
    }

    /// Takes in a replica. Nothing is looked at before [`Sources::scan`].
    ///
    /// # Errors
    /// What looking at its root failed with.
    pub fn attach(&self, replica: Replica, root: Arc<Root>) -> io::Result<()> {
        let (ignores, cache) = (self.ignores.clone(), self.cache.clone());
        let tree = Tree::new(replica, root, ignores, cache, self.watch.clone())?;
        self.detach(replica);
        self.ignores.attach(replica);
        let handle = self.scanner.attach(self.sync, tree, self.sink.clone());
        write(&self.handles).insert(replica, handle);
        Ok(())
    }

    /// Takes in a replica that an agent has opened on this stream, in place of what was known of it. Nothing is looked at
    /// before [`Sources::scan`]; [`Seen::Away`] tells its end. `known`: what it had when it was looked at before is.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn attach_far(
        &self,
        replica: Replica,
        known: bool,
        (incoming, outgoing): (Incoming, Outgoing),
    ) -> io::Result<()> {
        let flushes = self.flushes.clone();
        let wiring = Wiring {
            replica,
            sync: self.sync,
            scanner: self.scanner.clone(),
            ignores: self.ignores.clone(),
            sink: self.sink.clone(),
            known,
            flushed: Arc::new(move |number| flushes.ended(number)),
        };
        self.tell_fars_of_rules();
        self.ignores.attach(replica);
        let far = FarTree::start(wiring, incoming, outgoing)?;
        let mut fars = write(&self.fars);
        // Its own, too: what it finds otherwise it tells.
        for (whose, dir, text) in self.ignores.files() {
            far.rules(whose, &dir, Some(&text), false);
        }
        fars.insert(replica, Arc::new(far));
        Ok(())
    }

    /// Has the agent of a replica let in who asks about it on its machine.
    pub fn let_in(&self, replica: Replica) {
        if let Some(far) = read(&self.fars).get(&replica) {
            far.let_in();
        }
    }

    /// Whether the agent of a replica is gone, if it had one: what is said of an earlier one is said of that alone.
    #[must_use]
    pub fn is_lost(&self, replica: Replica) -> bool {
        read(&self.fars).get(&replica).is_none_or(|far| far.is_lost())
    }

    /// Looks no more at a replica that an agent has; its rules stay.
    pub fn release(&self, replica: Replica) {
        drop(write(&self.fars).remove(&replica));
    }

    /// Looks no more at a replica that an agent has, and never will again. What is to be called, by another thread than that
    /// which takes what is seen, has its agent take down what says whose it is; whether that was done.
    pub fn put_away(&self, replica: Replica) -> Option<impl FnOnce(Duration) -> bool + use<>> {
        let far = write(&self.fars).remove(&replica)?;
        Some(move |patience| far.put_away(patience))
    }

    /// Has agents put their replicas away, and waits for each as long as this. Whoever takes what is seen must be gone.
    pub fn end_far(&self, patience: Duration) {
        let fars = std::mem::take(&mut *write(&self.fars));
        fars.values().for_each(|far| far.end(patience));
    }

    /// Has agents hear of all rules but their own.
    fn tell_fars_of_rules(&self) {
        // Weak: the rules are the sources' own.
        let listening = Arc::downgrade(&self.fars);
        self.ignores.listen(Box::new(move |replica, dir, text, again| {
            let Some(fars) = listening.upgrade() else { return };
            // Taken out first: telling may wait for whoever takes what is seen, who may be about to change them.
            let others: Vec<Arc<FarTree>> = {
                let fars = read(&fars);
                let others = fars.iter().filter(|(other, _)| **other != replica);
                others.map(|(_, far)| far.clone()).collect()
            };
            others.iter().for_each(|far| far.rules(replica, dir, text, again));
        }));
    }

    /// Looks at a replica no more and forgets its rules; what they alone left out is looked for on the others.
    pub fn detach(&self, replica: Replica) {
        let handle = write(&self.handles).remove(&replica);
        let far = write(&self.fars).remove(&replica);
        if handle.is_none() && far.is_none() {
            return;
        }
        if let Some(handle) = handle {
            handle.detach();
        }
        if let Some(watcher) = &self.watcher {
            watcher.forget(replica);
        }
        read(&self.fars).values().for_each(|other| other.forget(replica));
        let others: Vec<Handle> = read(&self.handles).values().cloned().collect();
        for dir in self.ignores.detach(replica) {
            for other in &others {
                let _nobody_waits_for_it = other.scan(&dir);
            }
        }
    }

    /// Scans `dir` and all below it on a replica. Returns the number that [`Seen::Done`] will tell; `None` for a
    /// replica that is not attached.
    pub fn scan(&self, replica: Replica, dir: &RelPath) -> Option<u64> {
        if let Some(far) = read(&self.fars).get(&replica) {
            return far.scan(dir);
        }
        self.handle(replica).map(|handle| handle.scan(dir))
    }

    /// As [`Sources::scan`]; [`Seen::Done`] will tell this number, which is one of whoever asks.
    pub fn scan_as(&self, replica: Replica, dir: &RelPath, number: u64) {
        if let Some(handle) = self.handle(replica) {
            handle.scan_as(dir, number);
        }
    }

    /// Reads a file, whatever its size, and reports what is there.
    pub fn read(&self, replica: Replica, path: &RelPath) {
        if let Some(far) = read(&self.fars).get(&replica) {
            far.read(path);
        }
        if let Some(handle) = self.handle(replica) {
            handle.read(path);
        }
    }

    /// Lists a directory, and has all of it told.
    pub fn list(&self, replica: Replica, dir: &RelPath) {
        if let Some(far) = read(&self.fars).get(&replica) {
            far.list(dir);
        }
        if let Some(handle) = self.handle(replica) {
            handle.hint(watch::Hint::List(dir.clone()));
        }
    }

    /// Reads all small files in a directory that nobody has read, but these, and reports the directory.
    pub fn fill(&self, replica: Replica, dir: &RelPath, except: Vec<Name>) {
        if let Some(far) = read(&self.fars).get(&replica) {
            return far.fill(dir, except);
        }
        if let Some(handle) = self.handle(replica) {
            handle.fill(dir, except);
        }
    }

    /// Looks at a path again.
    pub fn look(&self, replica: Replica, path: &RelPath) {
        if let Some(far) = read(&self.fars).get(&replica) {
            far.look(path);
        }
        if let Some(handle) = self.handle(replica) {
            handle.hint(watch::Hint::Look(path.clone()));
        }
    }

    /// Has [`Seen::Flushed`] told once all that happened before this call is taken in; it has been looked at when
    /// [`Sources::is_quiet`] after that. Returns whether it will be told: without a watcher, only a scan tells.
    pub fn flush(&self, number: u64) -> bool {
        #[cfg(test)]
        if let Some(watched) = &self.simulated {
            self.flush_fars(number);
            watched.flush(number);
            return true;
        }
        let Some(watcher) = &self.watcher else { return false };
        self.flush_fars(number);
        watcher.flush(number);
        true
    }

    /// Begins a flush of what happens here and there, and has it told what happened there.
    fn flush_fars(&self, number: u64) {
        let fars = read(&self.fars);
        // Counted before any of them can end.
        self.flushes.begin(number, 1 + fars.len());
        for far in fars.values() {
            if !far.flush(number) {
                self.flushes.ended(number);
            }
        }
    }

    /// Whether changes are noticed, as far as the system lets them be.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        #[cfg(test)]
        if self.simulated.is_some() {
            return true;
        }
        self.watcher.is_some()
    }

    /// Whether what happens in the directory a path is in is noticed; where nothing is to be watched, it counts as that.
    #[must_use]
    pub fn notices_in(&self, replica: Replica, path: &RelPath) -> bool {
        let is_far = read(&self.fars).contains_key(&replica);
        !self.watch.wanted()
            || is_far
            || path.split().is_none_or(|(dir, _)| self.watch.knows(replica, &dir))
    }

    /// Tells the end of a flush, as a watcher would.
    #[cfg(test)]
    pub(crate) fn flushed(&self, number: u64) {
        self.flushes.ended(number);
    }

    /// Passes a hint on as a watcher would.
    #[cfg(test)]
    pub(crate) fn hint(&self, replica: Replica, hint: watch::Hint) {
        if let Some(handle) = self.handle(replica) {
            handle.hint(hint);
        }
    }

    /// Whether nothing is left to look at.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.busy().is_empty()
    }

    /// The replicas at which something is left to be looked at.
    #[must_use]
    pub fn busy(&self) -> ReplicaSet {
        let (handles, fars) = (read(&self.handles), read(&self.fars));
        let here = handles.iter().filter(|(_, handle)| handle.outstanding() > 0);
        let there = fars.iter().filter(|(_, far)| !far.is_quiet());
        let busy = here.map(|(replica, _)| *replica).chain(there.map(|(replica, _)| *replica));
        busy.fold(ReplicaSet::EMPTY, ReplicaSet::with)
    }

    /// The watcher, if there is one.
    #[must_use]
    pub fn watcher(&self) -> Option<&Arc<Watcher>> {
        self.watcher.as_ref()
    }

    /// The rules of this sync.
    #[must_use]
    pub fn ignores(&self) -> &Arc<Ignores> {
        &self.ignores
    }

    fn handle(&self, replica: Replica) -> Option<Handle> {
        read(&self.handles).get(&replica).cloned()
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        for handle in std::mem::take(&mut *write(&self.handles)).values() {
            handle.detach();
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
