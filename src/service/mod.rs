//! The daemon: every sync on its own thread, and the socket through which they are asked.
//!
//! Holds: one daemon a user and runtime directory; nothing is looked at or written for a sync whose roots are not what
//! they were; at rest every thread is parked (INV-8).

#![allow(clippy::disallowed_methods, reason = "io shell")]

pub mod actor;
pub mod answer;
pub mod asked;
pub mod away;
pub mod conflicts;
pub mod contents;
pub mod dial;
mod digests;
pub mod dispatch;
pub mod doubts;
pub mod explain;
pub mod forget;
pub mod groups;
pub mod holds;
pub mod host;
pub mod hosts;
pub mod intake;
mod keep;
pub mod membership;
pub mod names;
pub mod own;
pub mod past;
pub mod pool;
pub mod prints;
pub mod problems;
pub mod purge;
pub mod race;
pub mod remnants;
pub mod repositories;
pub mod resolve;
pub mod resolve_whole;
pub mod restless;
pub mod settling;
pub mod start;
pub mod status;
#[cfg(test)]
pub(crate) mod stepped;
pub mod target;
pub mod waiting;
pub mod ways;
pub mod wishes;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::places::Places;
use crate::sinks::journal::JournalError;
use crate::sinks::journal::registry::{Registry, SyncRecord};
use crate::sinks::transfer::now_ms;
use crate::sources::control::socket::{self, BindError};
use crate::sources::scan::pool::Scanner;
use crate::sources::stat_cache::StatCache;
use crate::ssh::ask::Nobody;
use hosts::Hosts;
use pool::Pool;
use start::{Handle, Locks, Shared, StartError};

/// Threads that carry jobs out, and threads that look at the disk.
const WORKERS: usize = 4;
const SCANNERS: usize = 3;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("cannot make {path}: {source}")]
    Place { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    #[error("cannot serve the control socket: {0}")]
    Serve(io::Error),
}

/// A sync that was started, or one that could not be and why.
pub(crate) enum Entry {
    Running(Arc<Handle>),
    Broken { record: SyncRecord, why: String },
}

impl Entry {
    fn record(&self) -> SyncRecord {
        match self {
            Self::Running(handle) => handle.record(),
            Self::Broken { record, .. } => record.clone(),
        }
    }

    /// Its handle, or why it does not run.
    fn running(&self) -> Result<&Arc<Handle>, String> {
        match self {
            Self::Running(handle) => match handle.fault() {
                None => Ok(handle),
                Some(fault) => Err(format!("a fault in yeet ended it: {fault}")),
            },
            Self::Broken { why, .. } => Err(why.clone()),
        }
    }
}

/// The daemon's state, shared by the threads that answer requests.
pub struct Daemon {
    shared: Arc<Shared>,
    registry: Arc<Registry>,
    config: Config,
    syncs: Mutex<BTreeMap<String, Entry>>,
    numbers: AtomicU32,
    started_ms: u64,
    stop: socket::Stop,
    /// Whether the remembered syncs have been started, as far as they could be.
    up: (Mutex<bool>, Condvar),
}

impl Daemon {
    /// Waits until the remembered syncs have been started.
    fn wait_up(&self) {
        let (up, changed) = &self.up;
        let up = up.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(up, |up| !*up));
    }

    fn set_up(&self) {
        *self.up.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.up.1.notify_all();
    }

    fn syncs(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a sync's thread; one that cannot start is kept with the reason.
    fn bring_up(&self, record: SyncRecord) -> Result<(), StartError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name = record.name.clone();
        match start::start(&self.shared, record.clone(), number) {
            Ok(handle) => {
                self.syncs().insert(name, Entry::Running(Arc::new(handle)));
                Ok(())
            }
            Err(error) => {
                let why = error.to_string();
                self.syncs().insert(name, Entry::Broken { record, why });
                Err(error)
            }
        }
    }

    /// Ends a sync's thread and gives its record.
    fn take_down(&self, name: &str) -> Option<SyncRecord> {
        let entry = self.syncs().remove(name)?;
        if let Entry::Running(handle) = &entry {
            handle.stop();
        }
        Some(entry.record())
    }
}

/// Has hosts looked after when the network changes or the machine wakes up. Where the system tells nothing, they are
/// looked after when somebody needs them.
fn watch_network(hosts: &Arc<Hosts>) {
    let Ok(mut network) = crate::sys::Network::listen() else { return };
    let hosts = hosts.clone();
    let watch = move || {
        while network.changed().is_ok() {
            hosts.network_changed();
        }
    };
    drop(std::thread::Builder::new().name("network".to_owned()).spawn(watch));
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Another daemon runs, or a place it needs cannot be used.
pub fn run(places: &Places, config: Config) -> Result<(), ServiceError> {
    crate::sys::tune_memory();
    let stores = places.state.join("syncs");
    for path in [&stores, &places.cache, &places.runtime] {
        std::fs::create_dir_all(path)
            .map_err(|source| ServiceError::Place { path: path.clone(), source })?;
    }
    let listener = socket::bind(&places.runtime)?;
    let lock = listener.lock();
    let registry = Arc::new(Registry::open(&places.state.join("registry.redb"))?);
    let cache = Arc::new(StatCache::open(&places.cache.join("digests.cache")));
    let shared = Shared {
        scanner: Arc::new(Scanner::start(SCANNERS).map_err(ServiceError::Thread)?),
        pool: Arc::new(Pool::start("worker", WORKERS).map_err(ServiceError::Thread)?),
        cache: cache.clone(),
        registry: Some(registry.clone()),
        locks: Locks::default(),
        stores,
        hosts: Arc::new(Hosts::new(Arc::new(Nobody), Some(places.config.clone()))),
    };
    let records = registry.all()?;
    let stop = socket::Stop::default();
    let daemon = Arc::new(Daemon {
        shared: Arc::new(shared),
        registry,
        config,
        syncs: Mutex::default(),
        numbers: AtomicU32::new(0),
        started_ms: now_ms(),
        stop: stop.clone(),
        up: (Mutex::new(false), Condvar::new()),
    });
    daemon.answer_askers();
    // The socket answers at once; what a sync needs to come up does not keep it waiting.
    for record in records {
        let record_of = record.clone();
        daemon.syncs().insert(
            record.name.clone(),
            Entry::Broken { record: record_of, why: "it is being started".to_owned() },
        );
    }
    let starting = daemon.clone();
    let starter = std::thread::Builder::new()
        .name("start".into())
        .spawn(move || {
            let records: Vec<SyncRecord> = starting.syncs().values().map(Entry::record).collect();
            for record in records {
                // Why it failed is kept with the sync and shown by `status`.
                drop(starting.bring_up(record));
            }
            starting.set_up();
        })
        .map_err(ServiceError::Thread)?;
    watch_network(&daemon.shared.hosts);
    let answering = daemon.clone();
    let answer = Arc::new(move |request, replies: &socket::Replies| {
        answering.answer(request, replies);
    });
    let served = socket::serve(listener, answer, &stop).map_err(ServiceError::Serve);
    drop(starter.join());
    let entries = std::mem::take(&mut *daemon.syncs());
    drop(entries);
    drop(cache.flush());
    drop(daemon);
    // An answer under way may still have something open that the next daemon opens: only the end of the process gives
    // the lock back.
    std::mem::forget(lock);
    served
}
