//! Brings a sync to life: roots, stores, journal, recovery, sources, and the thread that owns it all.

use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::dataflow::engine::{Engine, EngineConfig};
use crate::dataflow::model::group::Groups;
use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::actor::{Actor, Event, Pace};
use crate::service::away::Away;
use crate::service::digests::Cached;
use crate::service::holds::{Holds, RootHold};
use crate::service::hosts::Hosts;
use crate::service::pool::Pool;
use crate::service::prints::Prints;
use crate::service::problems::{About, Problem, Problems};
use crate::service::waiting::Waiters;
use crate::service::ways::Ways;
use crate::sinks::far::Far;
use crate::sinks::journal::record::LogRecord;
use crate::sinks::journal::registry::{Registry, SyncRecord};
use crate::sinks::journal::{Change, Journal, JournalError};
use crate::sinks::older;
use crate::sinks::recover::recover;
use crate::sinks::schedule::Schedule;
use crate::sinks::stage::{OpIds, Store};
use crate::sinks::transfer::{Shop, Site, now_ms};
use crate::sources::Sources;
use crate::sources::control::sign::Sign;
use crate::sources::ignores::Ignores;
use crate::sources::scan::pool::{Scanner, Seen};
use crate::sources::stat_cache::StatCache;
use crate::sys::{self, Holder, Lock, LockError, Root, RootError};

/// Listings that may wait for the thread of a sync; a full queue makes scanners wait. Short, because what a leaf or an
/// edit has to say waits behind what the first scan of the source found.
const SEEN_QUEUE: usize = if cfg!(test) { SEEN_QUEUE_ONCE } else { 8 };
/// In a one-shot copy nobody edits: there the queue keeps all cores busy.
const SEEN_QUEUE_ONCE: usize = 1024;

/// Why a sync cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Ignore(String),
    #[error("{0}")]
    Group(String),
}

/// What all syncs of a daemon share.
pub struct Shared {
    pub scanner: Arc<Scanner>,
    pub pool: Arc<Pool>,
    pub cache: Arc<StatCache>,
    /// None in a one-shot copy.
    pub registry: Option<Arc<Registry>>,
    pub locks: Locks,
    /// Where the stores of the syncs are.
    pub stores: PathBuf,
    pub hosts: Arc<Hosts>,
}

/// The roots this process has locked: several syncs may share one.
#[derive(Default)]
pub struct Locks(Mutex<HashMap<PathBuf, Weak<Lock>>>);

impl Locks {
    fn take(&self, root: &Root, owner: &str) -> Result<Option<Arc<Lock>>, LockError> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(root.path()).and_then(Weak::upgrade) {
            return Ok(Some(lock));
        }
        let lock = root.lock(owner, Holder::default())?.map(Arc::new);
        if let Some(lock) = &lock {
            locks.insert(root.path().to_owned(), Arc::downgrade(lock));
        }
        Ok(lock)
    }
}

/// A running sync.
pub struct Handle {
    pub post: Sender<Event>,
    /// As last saved.
    pub record: Arc<Mutex<SyncRecord>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    fault: Arc<OnceLock<String>>,
}

impl Handle {
    /// The sync as it is remembered.
    #[must_use]
    pub fn record(&self) -> SyncRecord {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What ended the sync though nobody asked for that: a fault in yeet.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Runs a question on the sync's thread and waits for its answer; `None` if the sync has ended.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Actor) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let ask = move |actor: &mut Actor| drop(tell.send(question(actor)));
        self.post.send(Event::Ask(Box::new(ask))).ok()?;
        told.recv().ok()
    }

    /// As [`Self::ask`], after everything that happened before now has been looked at.
    pub fn ask_flushed<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Actor) -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = crossbeam_channel::bounded(1);
        let ask = move |actor: &mut Actor| drop(tell.send(question(actor)));
        let flush = move |actor: &mut Actor| actor.flushed(Box::new(ask));
        self.post.send(Event::Ask(Box::new(flush))).ok()?;
        told.recv().ok()
    }
}

impl Handle {
    /// Ends the sync's thread and waits for it: its roots and its store are free afterwards.
    pub fn stop(&self) {
        drop(self.post.send(Event::Stop));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A name for lock files: which process owns a root.
fn owner() -> String {
    format!("pid {}", std::process::id())
}

/// An opened root, or why it holds the sync.
type Opened = Result<(Arc<Root>, Option<Arc<Lock>>), RootHold>;

fn open_root(shared: &Shared, path: &Path, was: &sys::Identity) -> Result<Opened, StartError> {
    let mut root = match Root::open(path) {
        Ok(root) => root,
        Err(RootError::Missing { .. }) => return Ok(Err(RootHold::Missing)),
        Err(RootError::NotADirectory { .. }) => return Ok(Err(RootHold::Replaced)),
        Err(error) => return Err(error.into()),
    };
    if *was != sys::Identity::default() && !root.identity().is_same(was) {
        return Ok(Err(RootHold::Replaced));
    }
    root.prepare().map_err(|source| StartError::Io { path: path.to_owned(), source })?;
    let lock = if shared.registry.is_some() { shared.locks.take(&root, &owner())? } else { None };
    if lock.is_some() {
        Sign::take_down(&root);
    }
    Ok(Ok((Arc::new(root), lock)))
}

/// What a sync is started with beside its record.
pub struct Options {
    pub policy: Policy,
    /// Keep watching, and remember what was agreed.
    pub lasting: bool,
}

impl Options {
    fn pace(&self) -> Pace {
        if self.lasting { Pace::LASTING } else { Pace::ONCE }
    }
}

/// A sync that is ready to run on the thread that made it.
pub struct Ready {
    pub actor: Actor,
    pub events: Receiver<Event>,
    pub seen: Receiver<Seen>,
    locks: Vec<Arc<Lock>>,
}

impl Ready {
    /// Ends what it began, here and on other machines, whose agents have so long for it.
    pub fn end(self, patience: Duration) {
        let Self { actor, seen, events, locks } = self;
        drop((seen, events));
        actor.sources.end_far(patience);
        drop((actor, locks));
    }

    /// The roots that are locked for it.
    #[must_use]
    pub fn locks(&self) -> usize {
        self.locks.len()
    }
}

/// The roots of a sync, opened.
struct Grounds {
    sites: Vec<Option<Site>>,
    far: Vec<Option<Arc<Far>>>,
    roots: Vec<(Replica, Arc<Root>)>,
    locks: Vec<Arc<Lock>>,
    held: Vec<(Replica, RootHold)>,
}

fn open_grounds(
    shared: &Shared,
    record: &mut SyncRecord,
    lasting: bool,
) -> Result<Grounds, StartError> {
    let mut grounds = Grounds {
        sites: Vec::new(),
        far: vec![None; 32],
        roots: Vec::new(),
        locks: Vec::new(),
        held: Vec::new(),
    };
    grounds.sites.resize_with(32, || None);
    for (replica, host) in &record.hosts {
        grounds.far[usize::from(replica.slot())] =
            Some(Arc::new(Far::new(host.clone(), record.ssh_only)));
    }
    for replica in &mut record.replicas {
        if grounds.far[usize::from(replica.replica.slot())].is_some() {
            continue;
        }
        let (root, lock) = match open_root(shared, &replica.path, &replica.identity)? {
            Ok(opened) => opened,
            Err(why) => {
                grounds.held.push((replica.replica, why));
                continue;
            }
        };
        let was = std::mem::replace(&mut replica.identity, root.identity());
        let store = match open_store((&root, &was), &record.name, lasting) {
            Ok(store) => Ok(store),
            Err(error) if root.caps().read_only => Err(error.raw_os_error().unwrap_or(libc::EROFS)),
            Err(source) => {
                return Err(StartError::Io { path: replica.path.clone(), source });
            }
        };
        grounds.locks.extend(lock);
        grounds.roots.push((replica.replica, root.clone()));
        grounds.sites[usize::from(replica.replica.slot())] = Some(Site { root, store });
    }
    Ok(grounds)
}

fn open_store(
    (root, was): (&Root, &sys::Identity),
    sync: &str,
    lasting: bool,
) -> io::Result<Store> {
    if !lasting {
        return Store::open_unwatched(root, sync);
    }
    root.settle_unknown(was)?;
    Store::open(root, sync)
}

fn open_journal(
    shared: &Shared,
    name: &str,
    problems: &mut Problems,
) -> Result<Arc<Journal>, StartError> {
    let store = shared.stores.join(format!("{name}.redb"));
    let (journal, notice) = Journal::open_or_set_aside(&store)?;
    if let Some(note) = notice {
        let (act, path, replica) = ("problem".to_owned(), RelPath::root(), Replica::SOURCE);
        problems.note(&path, replica, About::Looking, Problem::new(note.clone()));
        let line = LogRecord { when_ms: now_ms(), act, replica, path, old: None, new: None, note };
        journal.submit(vec![Change::Log(line)], None);
    }
    Ok(Arc::new(journal))
}

fn open_sources(
    shared: &Shared,
    record: &SyncRecord,
    options: &Options,
    number: u32,
    grounds: &Grounds,
) -> Result<(Sources, Receiver<Seen>), StartError> {
    let ignores = Ignores::new(&record.ignore, record.ignore_vcs)
        .map_err(|error| StartError::Ignore(error.to_string()))?;
    let queue = if options.lasting { SEEN_QUEUE } else { SEEN_QUEUE_ONCE };
    let (tell, seen) = crossbeam_channel::bounded(queue);
    let sink = Arc::new(move |seen| drop(tell.send(seen)));
    let (scanner, cache) = (shared.scanner.clone(), shared.cache.clone());
    let hosts: Vec<Replica> = record.hosts.iter().map(|(replica, _)| *replica).collect();
    ignores.wait_for(ReplicaSet::of(&hosts));
    let ignores = Arc::new(ignores);
    let sources = if options.lasting {
        Sources::watching(scanner, number, ignores, cache, sink)
    } else {
        Sources::unwatched(scanner, number, ignores, cache, sink)
    };
    for (replica, root) in &grounds.roots {
        sources
            .attach(*replica, root.clone())
            .map_err(|source| StartError::Io { path: root.path().to_owned(), source })?;
    }
    Ok((sources, seen))
}

/// Where a root here is an older copy of itself, nothing is agreed with it any more. Those that are.
fn disagree_with_older(
    shop: &Shop,
    journal: &Journal,
    record: &SyncRecord,
) -> Result<ReplicaSet, JournalError> {
    let mut older = ReplicaSet::EMPTY;
    for replica in record.replicas.iter().map(|replica| replica.replica) {
        // The clock may have been put back.
        shop.ops.pass(journal.reached(replica)?);
        let Some(store) = shop.site(replica).and_then(|site| site.store.as_ref().ok()) else {
            continue;
        };
        shop.ops.pass(store.reached());
        if older::is_older(journal, replica, store.reached())? {
            older::disagree(journal, replica, record.leaves())?;
            older = older.with(replica);
        }
        older::unlist_gone(journal, replica, store)?;
        store.begin_marks();
    }
    Ok(older)
}

fn engine_of(record: &SyncRecord, options: &Options) -> Result<Engine, StartError> {
    let groups = Groups::parse(&record.groups).map_err(|e| StartError::Group(e.to_string()))?;
    let config = EngineConfig { policy: options.policy, leaves: record.leaves() };
    let mut engine = Engine::new(config);
    engine.set_groups(groups);
    Ok(engine)
}

/// The digests of the files below some roots, as far as they are remembered.
fn digests_of(shared: &Shared, options: &Options, grounds: &Grounds) -> Cached {
    let grains = grounds.roots.iter().map(|(_, root)| (root.identity().dev, root.grain_ns()));
    Cached {
        cache: shared.cache.clone(),
        grains: grains.collect(),
        remembers: options.lasting,
        are_wanted: !options.policy.trust_times,
    }
}

/// Makes everything a sync needs; nothing is looked at before its thread runs.
///
/// # Errors
/// A root cannot be used or belongs to another daemon, or the store cannot be opened.
pub fn prepare(
    shared: &Shared,
    mut record: SyncRecord,
    options: &Options,
    number: u32,
) -> Result<Ready, StartError> {
    let grounds = open_grounds(shared, &mut record, options.lasting)?;
    let mut problems = Problems::default();
    let journal = options.lasting.then(|| open_journal(shared, &record.name, &mut problems));
    let journal = journal.transpose()?;
    let (post, events) = crossbeam_channel::unbounded();
    let (sources, seen) = open_sources(shared, &record, options, number, &grounds)?;
    let digests = digests_of(shared, options, &grounds);
    let Grounds { sites, far, locks, held, .. } = grounds;
    let (digests, ops, boot) = (Arc::new(digests), OpIds::start(), sys::boot_id());
    let shop =
        Arc::new(Shop { sites, far, journal, digests, ops, boot, unflushed: Default::default() });
    // Before anything is marked or agreed anew.
    let older = match &shop.journal {
        Some(journal) => disagree_with_older(&shop, journal, &record)?,
        None => ReplicaSet::EMPTY,
    };
    if let Err(error) = recover(&shop, older) {
        let problem = Problem::new(error.to_string());
        problems.note(&RelPath::root(), Replica::SOURCE, About::Acting, problem);
    }
    let mut holds = Holds::of(&record);
    holds.roots = held.into_iter().collect();
    let engine = engine_of(&record, options)?;
    let ways = Ways::of(&record, options.pace().slots);
    let actor = Actor {
        record,
        shop,
        sources,
        pool: shared.pool.clone(),
        engine,
        pace: options.pace(),
        schedule: Schedule::new(ways.slots()),
        rows: Default::default(),
        running: Default::default(),
        passing: Default::default(),
        failures: Default::default(),
        doubts: Default::default(),
        repositories: Default::default(),
        groups: Default::default(),
        restless: Default::default(),
        problems,
        holds,
        away: Away::of(&shared.hosts, shared.stores.clone()),
        prints: Prints::default(),
        ways,
        waiters: Waiters::default(),
        loaded: HashSet::new(),
        over: Default::default(),
        touched: Default::default(),
        reads: Default::default(),
        unlearned: Vec::new(),
        eased: BTreeSet::new(),
        scans_open: HashSet::new(),
        rested: false,
        caught_up: false,
        scanned_once: false,
        moved_files: 0,
        moved_bytes: 0,
        displaced: 0,
        deletes_came: [0; 32],
        purged: false,
        done: Vec::new(),
        post,
        questions: Vec::new(),
        stopping: false,
        compacted: false,
        saved: None,
        registry: shared.registry.clone(),
        cache: shared.cache.clone(),
    };
    Ok(Ready { actor, events, seen, locks })
}

/// Starts a sync on a thread of its own.
///
/// # Errors
/// As [`prepare`]; or no thread can be started.
pub fn start(shared: &Arc<Shared>, record: SyncRecord, number: u32) -> Result<Handle, StartError> {
    let path = shared.stores.clone();
    let (tell, told) = crossbeam_channel::bounded(1);
    let (shared, fault) = (shared.clone(), Arc::new(OnceLock::new()));
    let (name, falls) = (format!("sync-{}", record.name), fault.clone());
    // The engine lives on the thread that made it.
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            let policy = Policy { mode: record.mode, trust_times: false };
            let options = Options { policy, lasting: true };
            let mut ready = match prepare(&shared, record, &options, number) {
                Ok(ready) => ready,
                Err(error) => return drop(tell.send(Err(error))),
            };
            let record = Arc::new(Mutex::new(ready.actor.record.clone()));
            ready.actor.saved = Some(record.clone());
            ready.actor.save_record();
            drop(tell.send(Ok((ready.actor.post.clone(), record))));
            let run = || {
                ready.actor.begin();
                ready.actor.run(&ready.events, &ready.seen, |_| false);
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                drop(falls.set(words_of(&*panic)));
            }
            ready.actor.wind_up(&ready.events);
        })
        .map_err(|source| StartError::Io { path: path.clone(), source })?;
    match told.recv() {
        Ok(Ok((post, record))) => {
            Ok(Handle { post, record, thread: Mutex::new(Some(thread)), fault })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let source = io::Error::other("the sync's thread ended at once");
            Err(StartError::Io { path, source })
        }
    }
}

/// What a panic said.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref().copied()).unwrap_or("it did not say what").to_owned()
}

impl Actor {
    /// Starts looking; with a lost root nothing is looked at.
    pub(crate) fn begin(&mut self) {
        if self.shop.journal.is_some() {
            self.reach_hosts();
        }
        if !self.holds.roots.is_empty() {
            return;
        }
        let here = self.record.replicas.iter().map(|r| r.replica);
        // Those on other machines are scanned once they are reached.
        let replicas: Vec<Replica> = here.filter(|r| self.shop.far(*r).is_none()).collect();
        // Leaves first: an empty leaf is listed at once, and the source's first file can go.
        for replica in replicas.into_iter().rev() {
            self.scan_all(replica);
        }
    }

    /// Remembers the sync as it is now.
    pub(crate) fn save_record(&self) {
        if let Some(saved) = &self.saved {
            *saved.lock().unwrap_or_else(PoisonError::into_inner) = self.record.clone();
        }
        if let Some(registry) = &self.registry {
            // A registry that cannot be written shows when the daemon is asked to change something.
            drop(registry.put(&self.record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Entry;
    use crate::sources::stat_cache::StatCache;
    use crate::ssh::ask::Nobody;

    #[test]
    fn a_sync_that_a_fault_ended_says_so_and_can_be_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |rel: &str| dir.path().join(rel);
        ["a", "b", "stores"].iter().for_each(|rel| std::fs::create_dir(at(rel)).unwrap());
        let shared = Arc::new(Shared {
            scanner: Arc::new(Scanner::start(1).unwrap()),
            pool: Arc::new(Pool::start("worker", 1).unwrap()),
            cache: Arc::new(StatCache::in_memory()),
            registry: None,
            locks: Locks::default(),
            stores: at("stores"),
            hosts: Arc::new(Hosts::new(Arc::new(Nobody), None)),
        });
        let handle = start(&shared, SyncRecord::of_roots(&[at("a"), at("b")]), 0).unwrap();
        let faulty = |_: &mut Actor| panic!("no such luck");
        assert_eq!(handle.ask::<()>(faulty), None);
        // It is over when its thread is.
        handle.stop();
        let entry = Entry::Running(Arc::new(handle));
        let why = entry.running().err();
        assert_eq!(why.as_deref(), Some("a fault in yeet ended it: no such luck"));
        let handle = start(&shared, entry.record(), 1).unwrap();
        assert_eq!(handle.ask(|actor| actor.record.name.clone()), Some(entry.record().name));
        handle.stop();
        assert!(Entry::Running(Arc::new(handle)).running().is_ok(), "it was asked to end");
    }
}
