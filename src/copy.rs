//! `yeet copy`: the same graph as the daemon's, in one process, for one pass, without a state.
//!
//! Holds: what differs is replaced and its old bytes are kept; a copy that is killed leaves only whole files, and run
//! again does what is missing.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::actor::Actor;
use crate::service::pool::Pool;
use crate::service::start::{Locks, Options, Shared, prepare};
use crate::sinks::journal::registry::{ReplicaRecord, SyncRecord};
use crate::sources::control::wire::Progress;
use crate::sources::ignores::Ignores;
use crate::sources::scan::pool::Scanner;
use crate::sources::stat_cache::StatCache;
use crate::sys::{Identity, OWN_DIR};

/// The name of the folder in `.yeet` where a copy stages and keeps.
const STORE: &str = "copy";
const WORKERS: usize = 4;
const SCANNERS: usize = 2;
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// What to copy and how.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub dry_run: bool,
    pub mirror: bool,
    pub verify: bool,
    pub ignore: Vec<String>,
}

/// What a copy did.
#[derive(Clone, Debug, Default)]
pub struct CopyOutcome {
    pub files: u64,
    pub bytes: u64,
    pub kept: u64,
    /// Of a dry run: what would be done, one line each.
    pub planned: Vec<String>,
    pub problems: Vec<String>,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Cannot(String),
}

fn record(options: &CopyOptions) -> SyncRecord {
    let replica = |replica, name: &str, path: &Path| ReplicaRecord {
        replica,
        name: name.to_owned(),
        path: path.to_owned(),
        identity: Identity::default(),
    };
    let leaf = Replica::leaf(1).expect("slot 1 is a leaf");
    SyncRecord {
        name: STORE.to_owned(),
        mode: if options.mirror { Mode::Mirror } else { Mode::OneWaySource },
        ignore: options.ignore.clone(),
        ignore_vcs: false,
        keep_age_s: u64::MAX,
        keep_size: u64::MAX,
        paused: options.dry_run,
        replicas: vec![
            replica(Replica::SOURCE, "SRC", &options.source),
            replica(leaf, "DST", &options.destination),
        ],
        used: ReplicaSet::of(&[leaf]),
        held: ReplicaSet::EMPTY,
        groups: Vec::new(),
    }
}

/// An empty directory that stands for a destination that is not there, for a dry run; gone when dropped.
struct StandIn(PathBuf);

impl StandIn {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("yeet-dry-run-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Checks both ends; makes the destination, or what stands for it.
fn checked(options: &CopyOptions) -> Result<(CopyOptions, Option<StandIn>), CopyError> {
    let cannot = |path: &Path, error: io::Error| {
        CopyError::Cannot(format!("cannot use {}: {error}", path.display()))
    };
    let source = options.source.canonicalize().map_err(|e| cannot(&options.source, e))?;
    if !source.is_dir() {
        return Err(CopyError::Cannot(format!("{} is not a directory", source.display())));
    }
    let mut stand_in = None;
    let mut destination = options.destination.clone();
    if destination.symlink_metadata().is_err() {
        if options.dry_run {
            let made = StandIn::make().map_err(|e| cannot(&std::env::temp_dir(), e))?;
            destination.clone_from(&made.0);
            stand_in = Some(made);
        } else {
            std::fs::create_dir_all(&destination).map_err(|e| cannot(&destination, e))?;
        }
    }
    let destination = destination.canonicalize().map_err(|e| cannot(&destination, e))?;
    if source.starts_with(&destination) || destination.starts_with(&source) {
        return Err(CopyError::Usage("one directory is the other, or inside it".to_owned()));
    }
    Ignores::new(&options.ignore, false).map_err(|error| CopyError::Usage(error.to_string()))?;
    Ok((CopyOptions { source, destination, ..options.clone() }, stand_in))
}

/// Copies once. `show` is told now and then how far it is.
///
/// # Errors
/// An end cannot be used; what fails on one path is in the outcome and stops nothing else.
pub fn run(options: &CopyOptions, show: &dyn Fn(&Progress)) -> Result<CopyOutcome, CopyError> {
    let (options, _stand_in) = checked(options)?;
    let thread = |error: io::Error| CopyError::Cannot(format!("cannot start a thread: {error}"));
    let shared = Shared {
        scanner: Arc::new(Scanner::start(SCANNERS).map_err(thread)?),
        pool: Arc::new(Pool::start("worker", WORKERS).map_err(thread)?),
        cache: Arc::new(StatCache::in_memory()),
        registry: None,
        locks: Locks::default(),
        stores: PathBuf::new(),
    };
    let record = record(&options);
    let policy = Policy { mode: record.mode, trust_times: !options.verify };
    let wanted = Options { policy, lasting: false };
    let mut ready = prepare(&shared, record, &wanted, 0)
        .map_err(|error| CopyError::Cannot(error.to_string()))?;
    let actor = &mut ready.actor;
    actor.begin();
    let shown = Cell::new(Instant::now());
    actor.run(&ready.events, &ready.seen, |actor| {
        if shown.get().elapsed() > SHOW_EVERY {
            shown.set(Instant::now());
            show(&actor.counted());
        }
        actor.is_quiet()
    });
    let outcome = outcome(actor, &options);
    drop(ready);
    if outcome.kept == 0 {
        tidy(&options.destination);
    }
    Ok(outcome)
}

fn outcome(actor: &mut Actor, options: &CopyOptions) -> CopyOutcome {
    let root = RelPath::root();
    let mut outcome = CopyOutcome {
        files: actor.moved_files,
        bytes: actor.moved_bytes,
        kept: actor.displaced,
        ..CopyOutcome::default()
    };
    let rows = actor.file_rows(&root, None);
    for row in rows {
        let path = row.path.as_bytes().escape_ascii();
        let line = format!("{}: {}", path, row.why);
        if options.dry_run {
            outcome.planned.push(format!("{}\t{}\t{path}", row.to, row.why));
        } else {
            outcome.problems.push(line);
        }
    }
    outcome
}

/// Removes our folder where it holds nothing.
fn tidy(destination: &Path) {
    let own = destination.join(OWN_DIR);
    let always = ["id", ".gitignore"].map(std::ffi::OsString::from);
    if std::fs::remove_dir(own.join(STORE)).is_ok() {
        let others = std::fs::read_dir(&own).map_or(1, |entries| {
            entries.flatten().filter(|entry| !always.contains(&entry.file_name())).count()
        });
        if others == 0 {
            // The id is of use to a remembered sync only, which would have left more than it.
            always.iter().for_each(|name| drop(std::fs::remove_file(own.join(name))));
            drop(std::fs::remove_dir(own));
        }
    }
}
