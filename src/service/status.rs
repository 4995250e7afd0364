//! How a sync stands: read from the engine's arrangements, the schedule and the holds; never a second bookkeeping.

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Special;
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::{Tally, Waits};
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::sources::control::wire::{
    FileKind, FileStatus, LeafStatus, Listed, Progress, State, SyncStatus,
};
use crate::sys;

/// Sums over the leaves asked about.
#[derive(Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) pending: u64,
    pub(crate) bytes: u64,
    pub(crate) conflicts: u64,
    pub(crate) problems: u64,
    pub(crate) held: u64,
    /// Replicas that are not reached.
    pub(crate) offline: u64,
}

fn unsigned(n: impl Into<i64>) -> u64 {
    u64::try_from(n.into()).unwrap_or(0)
}

impl Actor {
    /// What is outstanding at and below `dir`, with all leaves or one.
    pub(crate) fn standing(&mut self, dir: &RelPath, leaf: Option<Replica>) -> Standing {
        let mut standing =
            Standing { problems: self.problems.within(dir).count() as u64, ..Standing::default() };
        let Some(id) = self.id_of(dir) else { return standing };
        let mut sum = Tally::default();
        for (of, tally) in self.engine.tallies(id) {
            if leaf.is_none_or(|leaf| leaf == of) {
                sum.pending += tally.pending;
                sum.bytes += tally.bytes;
                sum.conflicts += tally.conflicts;
                sum.blocked += tally.blocked;
            }
        }
        standing.pending = unsigned(sum.pending);
        standing.bytes = unsigned(sum.bytes);
        standing.conflicts = unsigned(sum.conflicts);
        standing.problems += unsigned(sum.blocked);
        if sum.conflicts > 0 || !self.groups.waiting().is_empty() {
            standing.conflicts = self.conflicted(id, leaf).len() as u64;
        }
        standing.held = self.holds.roots.len() as u64;
        let absent = self.away.absent().iter();
        let absent = absent.filter(|r| r.is_source() || leaf.is_none_or(|leaf| leaf == *r));
        standing.offline = absent.count() as u64;
        for replica in self.holds.held().iter() {
            if leaf.is_none_or(|leaf| leaf == replica || replica.is_source()) {
                standing.held += self.engine.deletes(replica).outstanding.max(1);
            }
        }
        standing
    }

    pub(crate) fn state(&self, standing: &Standing) -> State {
        let looking = !self.scans_open.is_empty() || !self.caught_up;
        // What a host that is being reached has is not known either.
        let scanning = looking || self.away.is_trying();
        let state = self.state_at_rest(standing);
        if scanning && matches!(state, State::Syncing | State::InSync) {
            return State::Scanning;
        }
        state
    }

    /// The state at a moment of rest: what is looked at from now on came after it.
    pub(crate) fn state_at_rest(&self, standing: &Standing) -> State {
        if self.holds.paused {
            State::Paused
        } else if standing.held > 0 {
            State::Held
        } else if standing.offline > 0 {
            State::Offline
        } else if standing.problems > 0 {
            State::Problems
        } else if standing.conflicts > 0 {
            State::Conflicts
        } else if standing.pending > 0 || !self.running.is_empty() {
            State::Syncing
        } else {
            State::InSync
        }
    }

    pub(crate) fn sync_status(&mut self, dir: &RelPath, leaf: Option<Replica>) -> SyncStatus {
        let standing = self.standing(dir, leaf);
        let id = self.id_of(dir);
        let files = id.map_or(0, |id| self.engine.files_within(id, Replica::SOURCE));
        SyncStatus {
            name: self.record.name.clone(),
            state: self.state(&standing),
            files,
            pending: standing.pending,
            bytes: standing.bytes,
            conflicts: standing.conflicts,
            problems: standing.problems,
            held: standing.held,
        }
    }

    pub(crate) fn leaf_status(&mut self, dir: &RelPath, only: Option<Replica>) -> Vec<LeafStatus> {
        let leaves: Vec<Replica> = self.record.leaves().iter().collect();
        let mut rows = Vec::new();
        for leaf in leaves.into_iter().filter(|leaf| only.is_none_or(|only| only == *leaf)) {
            let standing = self.standing(dir, Some(leaf));
            let state = self.state(&standing);
            let absence = [Replica::SOURCE, leaf].into_iter().find_map(|r| self.away.absence(r));
            let reason = absence.filter(|_| state == State::Offline).map(|a| a.reason.word());
            let peer = self.shop.far(leaf).and_then(|far| far.peer());
            let rtt = peer.as_ref().and_then(|peer| peer.rtt());
            let route = match (&peer, self.record.host(leaf)) {
                (Some(peer), _) => peer.route().to_string(),
                (None, Some(host)) => host.to_owned(),
                (None, None) => "local".to_owned(),
            };
            rows.push(LeafStatus {
                name: self.record.name.clone(),
                leaf: self.record.replica_name(leaf).to_owned(),
                state,
                reason: reason.unwrap_or_default().to_owned(),
                pending: standing.pending,
                bytes: standing.bytes,
                route,
                rtt_ms: rtt.and_then(|rtt| u64::try_from(rtt.mean.as_millis()).ok()),
                agent: peer.map(|peer| peer.program().to_owned()),
            });
        }
        rows
    }

    pub(crate) fn progress(&mut self) -> Progress {
        let standing = self.standing(&RelPath::root(), None);
        Progress {
            name: self.record.name.clone(),
            scanning: !self.scans_open.is_empty(),
            files_left: standing.pending,
            bytes_left: standing.bytes,
            files_done: self.moved_files,
            bytes_done: self.moved_bytes
                + self.running.values().map(|r| r.control.moved()).sum::<u64>(),
            conflicts: standing.conflicts,
            problems: standing.problems,
        }
    }

    /// As [`Self::progress`], without asking the arrangements.
    #[must_use]
    pub fn counted(&self) -> Progress {
        Progress {
            name: self.record.name.clone(),
            scanning: !self.scans_open.is_empty(),
            files_left: (self.schedule.len() + self.running.len()) as u64,
            files_done: self.moved_files,
            bytes_done: self.moved_bytes,
            ..Progress::default()
        }
    }

    pub(crate) fn listed_row(&mut self) -> Listed {
        use std::os::unix::ffi::OsStrExt;
        let standing = self.standing(&RelPath::root(), None);
        let replicas = self.record.replicas.iter();
        Listed {
            name: self.record.name.clone(),
            mode: self.record.mode,
            state: self.state(&standing),
            replicas: replicas
                .map(|r| {
                    let host = self.record.host(r.replica).map(|host| format!("{host}:"));
                    let host = host.unwrap_or_default().into_bytes();
                    (r.name.clone(), [&host[..], r.path.as_os_str().as_bytes()].concat())
                })
                .collect(),
        }
    }

    /// Every path with something outstanding at and below `dir`, in path order.
    pub(crate) fn file_rows(&mut self, dir: &RelPath, leaf: Option<Replica>) -> Vec<FileStatus> {
        let mut found: Vec<(PathId, Verdict, Waits)> = Vec::new();
        if let Some(id) = self.id_of(dir) {
            self.engine.outstanding(id, &mut |path, verdict, waits| {
                // A one-shot copy has nothing to record.
                let is_over = (verdict.act == Act::Agree && self.shop.journal.is_none())
                    || self.over.contains(&JobKey { path, leaf: verdict.leaf });
                if leaf.is_none_or(|leaf| leaf == verdict.leaf) && !is_over {
                    found.push((path, *verdict, waits));
                }
                true
            });
        }
        let mut rows: Vec<FileStatus> = found
            .iter()
            .map(|(path, verdict, waits)| self.file_row(*path, verdict, *waits))
            .collect();
        for (path, replica, problem) in self.problems.within(dir) {
            rows.push(FileStatus {
                name: self.record.name.clone(),
                kind: FileKind::Problem,
                from: "-".to_owned(),
                to: self.record.replica_name(replica).to_owned(),
                bytes: 0,
                why: problem.what.clone(),
                path: path.clone(),
            });
        }
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        rows
    }

    fn file_row(&self, path: PathId, verdict: &Verdict, waits: Waits) -> FileStatus {
        let name = |replica: Replica| self.record.replica_name(replica).to_owned();
        let (from, to) = match verdict.act {
            Act::Put { from, to } => (name(from), name(to)),
            Act::Delete { at } => ("-".to_owned(), name(at)),
            Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => {
                ("-".to_owned(), name(verdict.leaf))
            }
        };
        let key = JobKey { path, leaf: verdict.leaf };
        FileStatus {
            name: self.record.name.clone(),
            kind: self.file_kind(key, verdict, waits),
            from,
            to,
            bytes: verdict.bytes,
            why: self.restless_words(key).unwrap_or_else(|| verdict.rule.sentence().to_owned()),
            path: self.engine.paths().path(path),
        }
    }

    fn file_kind(&self, key: JobKey, verdict: &Verdict, waits: Waits) -> FileKind {
        match verdict.act {
            Act::Conflict(_) => return FileKind::Conflict,
            Act::Blocked(_) => return FileKind::Problem,
            Act::Delete { at } if self.holds.held().contains(at) => return FileKind::Held,
            Act::Put { .. } | Act::Delete { .. } | Act::Agree | Act::Read(_) | Act::Await => {}
        }
        if self.running.contains_key(&key) {
            FileKind::Sending
        } else if !self.holds.roots.is_empty() {
            FileKind::Held
        } else if waits == Waits::Nothing && self.schedule.position(key).is_some() {
            FileKind::Queued
        } else {
            FileKind::Waiting
        }
    }

    /// What a delayed or queued job waits for, in words.
    pub(crate) fn waiting_for(&mut self, path: PathId, verdict: &Verdict, waits: Waits) -> String {
        let names = |set: crate::dataflow::model::replica::ReplicaSet| {
            let names: Vec<&str> = set.iter().map(|r| self.record.replica_name(r)).collect();
            names.join(" and ")
        };
        match waits {
            Waits::Listing(replicas) => {
                format!("its directory is being listed at {}", names(replicas))
            }
            Waits::Parent(at) => {
                format!("its directory is not there yet at {}", self.record.replica_name(at))
            }
            Waits::Below => "something below it is still under way".to_owned(),
            Waits::Move(to) => {
                format!("it is renamed to {:?}", self.engine.paths().path(to))
            }
            Waits::OtherLeaf => "another leaf's change of it goes first".to_owned(),
            Waits::Resolve => "you: resolve the conflict".to_owned(),
            Waits::Obstacle => "what is in the way to go".to_owned(),
            Waits::Nothing => self.queue_position(JobKey { path, leaf: verdict.leaf }),
        }
    }

    fn queue_position(&mut self, key: JobKey) -> String {
        if let Some(running) = self.running.get(&key) {
            let how = if running.still { ", from a snapshot of it" } else { "" };
            return format!("nothing: it is being carried out{how}");
        }
        if self.holds.paused {
            return "`yeet resume`: the sync is paused".to_owned();
        }
        if let Some(words) = self.restless_words(key) {
            return format!("it to rest: {words}");
        }
        if let Some((until, attempts)) = self.schedule.delayed(key) {
            let seconds = until.saturating_duration_since(sys::now()).as_secs();
            let why = self.failures.get(&key).map_or(String::new(), |why| format!(": {why}"));
            return format!("the next attempt in {seconds} s, after {attempts} that failed{why}");
        }
        if self.repositories.has(key) {
            return "the rest of its git repository, which goes first".to_owned();
        }
        if self.goes_in_group(key) && self.schedule.position(key).is_none() {
            return self.group_words(key);
        }
        match self.schedule.position(key) {
            Some(ahead) => format!("the queue: {ahead} before it"),
            None => "nothing".to_owned(),
        }
    }

    /// How it stands with a file that does not rest.
    fn restless_words(&self, key: JobKey) -> Option<String> {
        self.restless.words(key, sys::now())
    }

    /// Special files and mount points at and below `dir`.
    pub(crate) fn skipped_rows(&self, dir: &RelPath) -> Vec<(String, &'static str, RelPath)> {
        let mut rows = Vec::new();
        self.engine.skipped(&mut |replica, path, special| {
            let path = self.engine.paths().path(path);
            if path.is_within(dir) {
                let kind = match special {
                    Special::Fifo => "fifo",
                    Special::Socket => "socket",
                    Special::Device => "device",
                    Special::Mount => "mount",
                };
                rows.push((self.record.replica_name(replica).to_owned(), kind, path));
            }
            true
        });
        rows.sort_by(|a, b| a.2.cmp(&b.2));
        rows
    }
}
