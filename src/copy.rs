//! `yeet copy`: the same graph as the daemon's, in one process, for one pass, without a state.
//!
//! Holds: what differs is replaced and its old bytes are kept; a copy that is killed leaves only whole files, and run
//! again does what is missing.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::actor::Actor;
use crate::service::hosts::{Hosts, Linked, NoReplica};
use crate::service::pool::Pool;
use crate::service::start::{Locks, Options, Shared, prepare};
use crate::sinks::journal::registry::{ReplicaRecord, SyncRecord};
use crate::sources::control::wire::{FileKind, FileStatus, Progress};
use crate::sources::far::wire::{Open, Opened, Refusal};
use crate::sources::ignores::Ignores;
use crate::sources::scan::pool::Scanner;
use crate::sources::stat_cache::StatCache;
use crate::ssh::ask::Ask;
use crate::sys::{Identity, Root};

/// The name of the folder in `.yeet` where a copy stages and keeps.
const STORE: &str = "copy";
const WORKERS: usize = 4;
const SCANNERS: usize = 2;
const NESTED: &str = "one directory is the other, or inside it";
/// How long an agent may take to put a replica away.
const FAREWELL: Duration = Duration::from_secs(10);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// A directory, here or on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Here(PathBuf),
    /// The host as it was written; the path from the root there, or from the user's home.
    There {
        host: String,
        path: PathBuf,
    },
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::Here(path) | Self::There { path, .. } => path,
        }
    }

    fn host(&self) -> Option<&str> {
        match self {
            Self::Here(_) => None,
            Self::There { host, .. } => Some(host),
        }
    }
}

/// What to copy and how.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    pub source: Place,
    pub destination: Place,
    pub dry_run: bool,
    pub mirror: bool,
    pub verify: bool,
    pub ignore: Vec<String>,
    /// Nothing but SSH connects to other machines.
    pub ssh_only: bool,
    /// The folder of the config file, which knows ways to hosts.
    pub config: Option<PathBuf>,
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
    #[error("{what}")]
    Cannot { what: String, hint: Option<String> },
}

impl CopyError {
    fn cannot(what: String) -> Self {
        Self::Cannot { what, hint: None }
    }
}

fn record(options: &CopyOptions) -> SyncRecord {
    let leaf = Replica::leaf(1).expect("slot 1 is a leaf");
    let ends = [(Replica::SOURCE, "SRC", &options.source), (leaf, "DST", &options.destination)];
    let replica = |(replica, name, place): (Replica, &str, &Place)| ReplicaRecord {
        replica,
        name: name.to_owned(),
        path: place.path().to_owned(),
        identity: Identity::default(),
    };
    let host = |(replica, _, place): (Replica, &str, &Place)| {
        place.host().map(|host| (replica, host.to_owned()))
    };
    SyncRecord {
        name: STORE.to_owned(),
        mode: if options.mirror { Mode::Mirror } else { Mode::OneWaySource },
        ignore: options.ignore.clone(),
        ignore_vcs: false,
        keep_age_s: u64::MAX,
        keep_size: u64::MAX,
        paused: options.dry_run,
        replicas: ends.into_iter().map(replica).collect(),
        used: ReplicaSet::of(&[leaf]),
        held: ReplicaSet::EMPTY,
        groups: Vec::new(),
        hosts: ends.into_iter().filter_map(host).collect(),
        ssh_only: options.ssh_only,
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

fn unusable(path: &Path, error: &io::Error) -> CopyError {
    CopyError::cannot(format!("cannot use {}: {error}", path.display()))
}

/// Checks both ends as far as they are here; makes the destination, or what stands for it.
fn checked(options: &CopyOptions) -> Result<(CopyOptions, Option<StandIn>), CopyError> {
    let mut checked = options.clone();
    let mut stand_in = None;
    if let Place::Here(source) = &mut checked.source {
        *source = source.canonicalize().map_err(|e| unusable(source, &e))?;
        if !source.is_dir() {
            return Err(CopyError::cannot(format!("{} is not a directory", source.display())));
        }
    }
    if let Place::Here(destination) = &mut checked.destination {
        if destination.symlink_metadata().is_err() {
            if options.dry_run {
                let made = StandIn::make().map_err(|e| unusable(&std::env::temp_dir(), &e))?;
                destination.clone_from(&made.0);
                stand_in = Some(made);
            } else {
                std::fs::create_dir_all(&*destination).map_err(|e| unusable(destination, &e))?;
            }
        }
        *destination = destination.canonicalize().map_err(|e| unusable(destination, &e))?;
    }
    if let (Place::Here(source), Place::Here(destination)) = (&checked.source, &checked.destination)
        && (source.starts_with(destination) || destination.starts_with(source))
    {
        return Err(CopyError::Usage(NESTED.to_owned()));
    }
    if let (Place::There { host, path }, Place::There { host: other_host, path: other }) =
        (&checked.source, &checked.destination)
    {
        // Before anything is made there; what only the machine can tell is looked at later.
        let in_home = |path: &Path| path.strip_prefix("~").unwrap_or(path).to_owned();
        let (source, destination) = (in_home(path), in_home(other));
        let is_nested = source.starts_with(&destination) || destination.starts_with(&source);
        if host == other_host && source.is_absolute() == destination.is_absolute() && is_nested {
            return Err(CopyError::Usage(NESTED.to_owned()));
        }
    }
    Ignores::new(&options.ignore, false).map_err(|error| CopyError::Usage(error.to_string()))?;
    Ok((checked, stand_in))
}

/// The ends on other machines.
type Far = Vec<(Replica, Linked)>;

/// Has the ends on other machines opened. A destination that does not exist there, and is not to be made, is stood for by
/// an empty directory here.
fn link(hosts: &Hosts, options: &mut CopyOptions) -> Result<(Far, Option<StandIn>), CopyError> {
    let (mut linked, mut stand_in) = (Far::new(), None);
    for (replica, host) in record(options).hosts {
        let is_source = replica.is_source();
        let open = open_of(options, replica, !is_source && !options.dry_run);
        match hosts.link(&host, &open) {
            Ok(one) => linked.push((replica, one)),
            Err(NoReplica::Refused { refusal: Refusal::Missing, .. })
                if options.dry_run && !is_source =>
            {
                let made = StandIn::make().map_err(|e| unusable(&std::env::temp_dir(), &e))?;
                options.destination = Place::Here(made.0.clone());
                stand_in = Some(made);
            }
            Err(error) => {
                let (what, hint) = (error.to_string(), error.hint());
                return Err(CopyError::Cannot { what, hint });
            }
        }
    }
    if let [(_, source), (_, destination)] = linked.as_slice() {
        let path = |opened: &Opened| PathBuf::from(OsStr::from_bytes(&opened.path));
        let (from, to) = (path(&source.opened), path(&destination.opened));
        let is_one_machine = source.opened.boot == destination.opened.boot;
        if is_one_machine && (from.starts_with(&to) || to.starts_with(&from)) {
            return Err(CopyError::Usage(NESTED.to_owned()));
        }
    }
    Ok((linked, stand_in))
}

fn open_of(options: &CopyOptions, replica: Replica, make: bool) -> Open {
    let place = if replica.is_source() { &options.source } else { &options.destination };
    Open {
        path: place.path().as_os_str().as_bytes().to_vec(),
        make,
        store: STORE.to_owned(),
        lasting: false,
        replica,
        identity: Identity::default(),
        ignore: options.ignore.clone(),
        ignore_vcs: false,
        owner: String::new(),
        errand: [0; 16],
        take_over: false,
        trust_times: !options.verify,
    }
}

/// Copies once. `ask` is asked what only a person can say, `show` is told now and then how far it is.
///
/// # Errors
/// An end cannot be used; what fails on one path is in the outcome and stops nothing else.
pub fn run(
    options: &CopyOptions,
    ask: Arc<dyn Ask>,
    show: &dyn Fn(&Progress),
) -> Result<CopyOutcome, CopyError> {
    let (mut options, _stand_in) = checked(options)?;
    let hosts = Arc::new(Hosts::new(ask, options.config.clone()));
    let (linked, _stand_in_there) = link(&hosts, &mut options)?;
    let thread = |error: io::Error| CopyError::cannot(format!("cannot start a thread: {error}"));
    let shared = Shared {
        scanner: Arc::new(Scanner::start(SCANNERS).map_err(thread)?),
        pool: Arc::new(Pool::start("worker", WORKERS).map_err(thread)?),
        cache: Arc::new(StatCache::in_memory()),
        registry: None,
        locks: Locks::default(),
        stores: PathBuf::new(),
        hosts,
    };
    let record = record(&options);
    let policy = Policy { mode: record.mode, trust_times: !options.verify };
    let wanted = Options { policy, lasting: false };
    let mut ready = prepare(&shared, record, &wanted, 0)
        .map_err(|error| CopyError::cannot(error.to_string()))?;
    let actor = &mut ready.actor;
    for (replica, linked) in linked {
        actor.take_linked(replica, linked);
    }
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
    ready.end(FAREWELL);
    if let Place::Here(destination) = &options.destination
        && outcome.kept == 0
        && let Ok(root) = Root::open(destination)
    {
        root.tidy(STORE);
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
    let is_problem = |row: &FileStatus| row.kind == FileKind::Problem;
    let told: HashSet<RelPath> =
        rows.iter().filter(|row| is_problem(row)).map(|row| row.path.clone()).collect();
    for row in rows {
        let path = row.path.as_bytes().escape_ascii();
        if options.dry_run {
            outcome.planned.push(format!("{}\t{}\t{path}", row.to, row.why));
        } else if row.path.is_root() {
            outcome.problems.push(row.why);
        } else if is_problem(&row) || !told.contains(&row.path) {
            outcome.problems.push(format!("{path}: {}", row.why));
        }
    }
    outcome
}
