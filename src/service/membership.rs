//! Syncs and leaves come and go: `add`, `set`, `move`.
//!
//! Holds: roots that overlap, are nested or are one object are refused before anything is written.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{parse_age, parse_size};
use crate::dataflow::model::group::{self, Groups};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::start::StartError;
use crate::service::target::{cannot, usage};
use crate::service::wishes::os;
use crate::service::{Daemon, Entry};
use crate::sinks::journal::Change;
use crate::sinks::journal::registry::{ReplicaRecord, SyncRecord, is_sync_name};
use crate::sources::control::wire::{Failure, NewLeaf, Place, Request};
use crate::sources::ignores::Ignores;
use crate::ssh::destination::Destination;
use crate::sys::{self, Identity, Root, RootError};

fn failure(error: &StartError) -> Failure {
    let hint = match error {
        StartError::Lock(_) => Some("stop the other daemon first, or forget the sync there"),
        StartError::Root(_)
        | StartError::Journal(_)
        | StartError::Io { .. }
        | StartError::Ignore(_)
        | StartError::Group(_) => None,
    };
    cannot(error.to_string(), hint)
}

/// A directory that is to be a root, or is one, as it is on disk.
struct Candidate {
    path: PathBuf,
    /// None of a root that is not there now.
    id: Option<(u64, u64)>,
    place: Option<sys::Place>,
}

impl Candidate {
    fn of(root: &Root, path: PathBuf) -> Self {
        let identity = root.identity();
        let place = sys::Place::of(root, &path);
        Self { path, id: Some((identity.dev, identity.ino)), place }
    }

    /// What a directory that need not be there would be.
    fn planned(path: &Path) -> Self {
        let there =
            path.ancestors().find_map(|above| above.canonicalize().ok().map(|at| (above, at)));
        let Some((above, at)) = there else {
            return Self { path: path.to_owned(), id: None, place: None };
        };
        let rest = path.strip_prefix(above).unwrap_or(Path::new(""));
        let found = Self::taken(&at);
        if rest.as_os_str().is_empty() {
            return found;
        }
        let place = found.place.map(|place| place.join(rest));
        Self { path: at.join(rest), id: None, place }
    }

    /// A root that was taken earlier.
    fn taken(path: &Path) -> Self {
        match Root::open(path) {
            Ok(root) => Self::of(&root, path.to_owned()),
            Err(_) => Self { path: path.to_owned(), id: None, place: None },
        }
    }

    /// Whether `other` is in this directory, by its path or through another mount.
    fn contains(&self, other: &Self) -> bool {
        let by_place = self.place.as_ref().zip(other.place.as_ref());
        other.path.starts_with(&self.path) || by_place.is_some_and(|(a, b)| a.contains(b))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.id.is_some() && self.id == other.id)
    }
}

fn candidate(bytes: &[u8], make: bool) -> Result<Candidate, Failure> {
    let path = PathBuf::from(os(bytes));
    if make && !path.exists() {
        std::fs::create_dir_all(&path)
            .map_err(|error| cannot(format!("cannot make {}: {error}", path.display()), None))?;
    }
    let root = Root::open(&path).map_err(|error| match error {
        RootError::Missing { .. } => cannot(
            format!("the source {} does not exist", path.display()),
            Some("a missing leaf is made, a missing source is not"),
        ),
        RootError::NotADirectory { .. } | RootError::Io { .. } => cannot(error.to_string(), None),
    })?;
    let path = path.canonicalize().unwrap_or(path);
    Ok(Candidate::of(&root, path))
}

/// What is to be a replica, or is one, wherever it is.
enum Found {
    Here(Candidate),
    /// By what was written alone: two names of one machine are told apart by its agent, which gives a root to one daemon.
    There {
        host: String,
        path: PathBuf,
    },
}

impl Found {
    fn of(place: &Place, make: bool) -> Result<Self, Failure> {
        match &place.host {
            None => candidate(&place.path, make).map(Self::Here),
            Some(host) => {
                let path = PathBuf::from(os(&place.path));
                if !path.is_absolute() || Destination::parse(host).is_err() {
                    return Err(usage(format!("{host}:{} is no place", path.display()), None));
                }
                Ok(Self::There { host: host.clone(), path })
            }
        }
    }

    fn taken(record: &SyncRecord, replica: &ReplicaRecord) -> Self {
        match record.host(replica.replica) {
            None => Self::Here(Candidate::taken(&replica.path)),
            Some(host) => Self::There { host: host.to_owned(), path: replica.path.clone() },
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Here(candidate) => &candidate.path,
            Self::There { path, .. } => path,
        }
    }

    /// As a record says it of a replica on another machine.
    fn host(&self, replica: Replica) -> Option<(Replica, String)> {
        match self {
            Self::Here(_) => None,
            Self::There { host, .. } => Some((replica, host.clone())),
        }
    }

    fn is_written_as(&self, other: &Self) -> bool {
        let at = Replica::SOURCE;
        self.path() == other.path() && self.host(at) == other.host(at)
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(a), Self::Here(b)) => a.is_same(b),
            _ => self.is_written_as(other),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(a), Self::Here(b)) => a.contains(b),
            (Self::There { host: a, .. }, Self::There { host: b, .. }) => {
                a == b && other.path().starts_with(self.path())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::There { host, .. } = self {
            write!(f, "{host}:")?;
        }
        self.path().display().fmt(f)
    }
}

fn refuse_overlap(a: &Found, b: &Found) -> Result<(), Failure> {
    if a.is_same(b) {
        return Err(usage(format!("{a} and {b} are the same directory"), None));
    }
    if b.contains(a) {
        return Err(usage(format!("{a} is inside {b}"), None));
    }
    if a.contains(b) {
        return Err(usage(format!("{b} is inside {a}"), None));
    }
    Ok(())
}

impl Daemon {
    pub(crate) fn add(&self, request: Request) -> Result<String, Failure> {
        let Request::Add { name, mode, ignore, ignore_vcs, groups, ssh_only, source, leaves } =
            request
        else {
            return Err(usage("not an add", None));
        };
        let mode = mode.unwrap_or(self.config.mode);
        let ignore_vcs = ignore_vcs || self.config.ignore_vcs;
        let patterns: Vec<String> = self.config.ignore.iter().cloned().chain(ignore).collect();
        Ignores::new(&patterns, ignore_vcs).map_err(|error| usage(error.to_string(), None))?;
        let groups = [self.config.groups.clone(), groups_of(&groups)?].concat();
        Groups::parse(&groups).map_err(|error| usage(error.to_string(), None))?;
        self.note_take_over(&source);
        let source = Found::of(&source, false)?;
        let name = match name {
            Some(name) => self.checked_name(&name)?,
            None => self.free_name(source.path()),
        };
        let mut record = SyncRecord {
            name: name.clone(),
            mode,
            ignore: patterns,
            ignore_vcs,
            keep_age_s: self.config.keep_age_s,
            keep_size: self.config.keep_size,
            paused: false,
            replicas: vec![ReplicaRecord {
                replica: Replica::SOURCE,
                name: "source".to_owned(),
                path: source.path().to_owned(),
                identity: Identity::default(),
            }],
            used: ReplicaSet::EMPTY,
            held: ReplicaSet::EMPTY,
            groups,
            hosts: source.host(Replica::SOURCE).into_iter().collect(),
            ssh_only,
        };
        self.refuse_taken(&source, true, &name)?;
        self.append_leaves(&mut record, &leaves)?;
        self.create(record)?;
        Ok(name)
    }

    fn create(&self, record: SyncRecord) -> Result<(), Failure> {
        let name = record.name.clone();
        // What an earlier sync of this name agreed on is nothing to this one.
        let store = self.shared.stores.join(format!("{name}.redb"));
        if let Err(error) = std::fs::remove_file(&store)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(cannot(format!("cannot remove {}: {error}", store.display()), None));
        }
        if let Err(error) = self.bring_up(record) {
            self.syncs().remove(&name);
            return Err(failure(&error));
        }
        self.remember(&name)
    }

    /// The sync's thread has saved its record with the identities of the roots; here it is said if that failed.
    fn remember(&self, name: &str) -> Result<(), Failure> {
        let record = self.running(name)?.record();
        self.registry.put(&record).map_err(|error| cannot(error.to_string(), None))
    }

    fn checked_name(&self, name: &str) -> Result<String, Failure> {
        if !is_sync_name(name) || name.len() > 100 {
            return Err(usage(
                format!("{name:?} is no name for a sync"),
                Some("letters, digits, '-', '_', '+' and '.' make a name"),
            ));
        }
        if self.syncs().contains_key(name) {
            return Err(usage(
                format!("there is a sync called {name} already"),
                Some("choose another with --name, or `yeet add --to NAME LEAF` for another leaf"),
            ));
        }
        Ok(name.to_owned())
    }

    fn free_name(&self, path: &Path) -> String {
        let base = name_after(path);
        let syncs = self.syncs();
        let numbered = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
        numbered.into_iter().find(|name| !syncs.contains_key(name)).unwrap_or(base)
    }

    /// Has a replica on a host taken from who has it, when it is reached.
    fn note_take_over(&self, place: &Place) {
        if let Some(host) = place.host.as_ref().filter(|_| place.take_over) {
            self.shared.hosts.take_over(host, &place.path);
        }
    }

    fn append_leaves(&self, record: &mut SyncRecord, leaves: &[NewLeaf]) -> Result<(), Failure> {
        if leaves.is_empty() {
            return Err(usage("a sync needs a leaf", Some("yeet add SOURCE LEAF")));
        }
        for leaf in leaves {
            let found = match &leaf.place {
                Place { host: None, path, .. } => {
                    // Nothing is made where it would be refused.
                    let planned = Candidate::planned(&PathBuf::from(os(path)));
                    self.refuse_leaf(record, &Found::Here(planned))?;
                    Found::of(&leaf.place, true)?
                }
                Place { host: Some(_), .. } => Found::of(&leaf.place, true)?,
            };
            self.refuse_leaf(record, &found)?;
            self.note_take_over(&leaf.place);
            let slot = record.free_slot().ok_or_else(|| {
                usage("a sync has at most 31 leaves", Some("make a second sync of the same source"))
            })?;
            let name = leaf_name(record, leaf, found.path())?;
            record.used = record.used.with(slot);
            record.replicas.push(ReplicaRecord {
                replica: slot,
                name,
                path: found.path().to_owned(),
                identity: Identity::default(),
            });
            record.hosts.extend(found.host(slot));
        }
        Ok(())
    }

    fn refuse_leaf(&self, record: &SyncRecord, found: &Found) -> Result<(), Failure> {
        for replica in &record.replicas {
            refuse_overlap(found, &Found::taken(record, replica))?;
        }
        self.refuse_taken(found, false, &record.name)
    }

    /// The roots of other syncs: the same source may be shared, everything else may not overlap.
    fn refuse_taken(&self, found: &Found, is_source: bool, by: &str) -> Result<(), Failure> {
        let records: Vec<SyncRecord> = self.syncs().values().map(Entry::record).collect();
        for record in records.iter().filter(|record| record.name != by) {
            for replica in &record.replicas {
                let taken = Found::taken(record, replica);
                let same = taken.is_written_as(found);
                if same && (is_source || replica.replica.is_source()) {
                    continue;
                }
                refuse_overlap(found, &taken).map_err(|refused| Failure {
                    message: format!("{} of the sync {}", refused.message, record.name),
                    hint: Some(format!("`yeet forget {}` first", record.name)),
                    ..refused
                })?;
            }
        }
        Ok(())
    }

    pub(crate) fn add_to(&self, sync: &str, leaves: &[NewLeaf]) -> Result<String, Failure> {
        let name = self.name_of(sync)?;
        let mut record = self.running(&name)?.record();
        self.append_leaves(&mut record, leaves)?;
        self.restart(&name, record)?;
        Ok(name)
    }

    /// Ends a sync and starts it as `record` says; if that fails it runs again as it was.
    pub(crate) fn restart(&self, name: &str, record: SyncRecord) -> Result<(), Failure> {
        let Some(before) = self.take_down(name) else {
            return Err(cannot(format!("there is no sync called {name}"), None));
        };
        if let Err(error) = self.bring_up(record) {
            // As it was it ran before.
            drop(self.bring_up(before));
            return Err(failure(&error));
        }
        self.remember(name)
    }

    /// Changes settings and starts the sync anew where that takes it. Returns all settings.
    pub(crate) fn set(
        &self,
        sync: &str,
        settings: &[(String, String)],
    ) -> Result<Vec<(String, String)>, Failure> {
        let name = self.name_of(sync)?;
        let before = self.running(&name)?.record();
        let mut record = before.clone();
        for (key, value) in settings {
            set_one(&mut record, key, value)?;
        }
        let shown = settings_of(&record);
        if record != before {
            self.restart(&name, record)?;
        }
        Ok(shown)
    }

    pub(crate) fn move_replica(
        &self,
        sync: &str,
        replica: &str,
        path: &[u8],
    ) -> Result<bool, Failure> {
        let name = self.name_of(sync)?;
        let handle = self.running(&name)?;
        let mut record = handle.record();
        let Some(of) = record.by_name(replica).map(|r| r.replica) else {
            return Err(cannot(format!("the sync {name} has no replica called {replica}"), None));
        };
        if let Some(host) = record.host(of) {
            let hint = "forget that leaf, and add the directory where it is now";
            return Err(usage(format!("{replica} is on {host}, and cannot be moved"), Some(hint)));
        }
        let found = Found::Here(candidate(path, false)?);
        for other in record.replicas.iter().filter(|r| r.replica != of) {
            refuse_overlap(&found, &Found::taken(&record, other))?;
        }
        self.refuse_taken(&found, of.is_source(), &name)?;
        let identity = Root::open(found.path()).map(|root| root.identity());
        let identity = identity.map_err(|error| cannot(error.to_string(), None))?;
        let known = record.replica(of).is_some_and(|r| identity.is_same(&r.identity));
        for entry in record.replicas.iter_mut().filter(|r| r.replica == of) {
            found.path().clone_into(&mut entry.path);
            if !known {
                entry.identity = Identity::default();
            }
        }
        if !known {
            self.become_strangers(&handle, &record, of)?;
        }
        drop(handle);
        self.restart(&name, record)?;
        Ok(known)
    }

    /// Nothing is agreed any more with a replica (with any leaf, if it is the source).
    pub(crate) fn become_strangers(
        &self,
        handle: &crate::service::start::Handle,
        record: &SyncRecord,
        replica: Replica,
    ) -> Result<(), Failure> {
        let mut changes = vec![Change::DropReplica(replica)];
        if replica.is_source() {
            changes.extend(record.leaves().iter().map(Change::DropReplica));
            changes.push(Change::DropPast);
        }
        let dropped = handle.ask(move |actor| match &actor.shop.journal {
            Some(journal) => journal.commit(changes),
            None => Ok(()),
        });
        match dropped {
            Some(Err(error)) => Err(cannot(error.to_string(), None)),
            _ => Ok(()),
        }
    }
}

/// A name for a sync of the directory `path`, short enough for a number after it.
fn name_after(path: &Path) -> String {
    let Some(name) = path.file_name() else { return "root".to_owned() };
    let name = name.to_string_lossy();
    let keep = |c: char| {
        if c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+') { c } else { '-' }
    };
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += c.len_utf8();
        bytes <= 90
    };
    let base: String = name.trim_start_matches('.').chars().map(keep).take_while(fits).collect();
    if base.is_empty() { "sync".to_owned() } else { base }
}

fn leaf_name(record: &SyncRecord, leaf: &NewLeaf, path: &Path) -> Result<String, Failure> {
    if let Some(name) = &leaf.name {
        if record.by_name(name).is_some() || name.is_empty() || name.contains('/') {
            return Err(usage(format!("{name:?} is no free name for a leaf"), None));
        }
        return Ok(name.clone());
    }
    let base = path.file_name().map_or_else(
        || "leaf".to_owned(),
        |name| name.to_string_lossy().replace(|c: char| c.is_control() || c == '=', "-"),
    );
    let numbered = (1..).map(|n| if n == 1 { base.clone() } else { format!("{base}-{n}") });
    Ok(numbered.into_iter().find(|name| record.by_name(name).is_none()).unwrap_or(base))
}

/// The groups that are written one a line.
fn groups_of(lines: &[String]) -> Result<Vec<Vec<String>>, Failure> {
    let groups = lines.iter().map(|line| group::patterns_of_line(line));
    let groups: Vec<_> = groups.filter(|patterns| !patterns.is_empty()).collect();
    let hint = Some("a group is file names of one directory with at most one *: '*.db *.db-wal'");
    Groups::parse(&groups).map_err(|error| usage(error.to_string(), hint))?;
    Ok(groups)
}

const SETTINGS: &str =
    "the settings are mode, ignore, ignore-vcs, group, keep-age, keep-size and ssh-only";

fn set_one(record: &mut SyncRecord, key: &str, value: &str) -> Result<(), Failure> {
    let bad = |what: &str| usage(format!("{value:?} is no {what}"), None);
    match key {
        "mode" => {
            let mode = Mode::ALL.into_iter().find(|mode| mode.word() == value);
            record.mode = mode.ok_or_else(|| bad("mode"))?;
        }
        "ignore" => {
            let patterns: Vec<String> =
                value.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
            Ignores::new(&patterns, record.ignore_vcs)
                .map_err(|error| usage(error.to_string(), None))?;
            record.ignore = patterns;
        }
        "ignore-vcs" => {
            record.ignore_vcs = value.parse().map_err(|_| bad("truth value (true or false)"))?;
        }
        "group" => {
            let lines: Vec<String> = value.lines().map(str::to_owned).collect();
            record.groups = groups_of(&lines)?;
        }
        "ssh-only" => {
            record.ssh_only = match value {
                "yes" => true,
                "no" => false,
                _ => return Err(bad("answer (yes or no)")),
            }
        }
        "keep-age" => record.keep_age_s = parse_age(value).ok_or_else(|| bad("age (as 30d)"))?,
        "keep-size" => record.keep_size = parse_size(value).ok_or_else(|| bad("size (as 10G)"))?,
        _ => {
            return Err(usage(format!("there is no setting {key}"), Some(SETTINGS)));
        }
    }
    Ok(())
}

fn settings_of(record: &SyncRecord) -> Vec<(String, String)> {
    let groups: Vec<String> = record.groups.iter().map(|patterns| patterns.join(" ")).collect();
    let settings = [
        ("mode", record.mode.to_string()),
        ("ignore", record.ignore.join("\n")),
        ("ignore-vcs", record.ignore_vcs.to_string()),
        ("group", groups.join("\n")),
        ("keep-age", format!("{}s", record.keep_age_s)),
        ("keep-size", record.keep_size.to_string()),
        ("ssh-only", if record.ssh_only { "yes" } else { "no" }.to_owned()),
    ];
    settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_of_wide_letters_is_cut_to_one_that_files_can_have() {
        let name = name_after(Path::new(&format!("/home/{}", "語".repeat(85))));
        assert_eq!(name, "語".repeat(30));
        assert_eq!(name_after(Path::new("/home/.a b")), "a-b");
        assert_eq!(name_after(Path::new("/")), "root");
        assert_eq!(name_after(Path::new("/home/...")), "sync");
    }
}
