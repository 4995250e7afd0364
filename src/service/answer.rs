//! Requests and their answers: each on a thread of its own, each read from the syncs' arrangements.

use std::io;
use std::path::Path;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::service::Daemon;
use crate::service::Entry;
use crate::service::actor::Actor;
use crate::service::away;
use crate::service::holds::RootHold;
use crate::service::resolve::Resolved;
use crate::service::start::Handle;
use crate::service::target::{Scope, cannot, usage};
use crate::service::wishes::os;
use crate::sources::control::socket::Replies;
use crate::sources::control::wire::{
    Failure, FailureKind, FileStatus, LeafStatus, Listed, Outcome, Progress, Reply, Request, State,
    SyncStatus, Target, Which, Winner,
};

pub(super) type Answer = Result<Outcome, Failure>;

pub(super) fn gone(_: io::Error) -> Failure {
    cannot("the client is gone", None)
}

pub(super) fn ended() -> Failure {
    cannot("the sync ended meanwhile", None)
}

pub(super) fn well(yes: bool) -> Answer {
    Ok(if yes { Outcome::Well } else { Outcome::NotWell })
}

/// Says how an answer ended.
pub(super) fn end(answer: Answer, replies: &Replies) {
    let last = match answer {
        Ok(outcome) => Reply::Done(outcome),
        Err(failure) => Reply::Failed(failure),
    };
    // A client that is gone needs no answer.
    drop(replies.send(&last));
}

/// The leaf that a name names, in every sync asked about.
fn leaf_of(handle: &Handle, leaf: Option<&String>) -> Result<Option<Replica>, Failure> {
    let Some(leaf) = leaf else { return Ok(None) };
    let record = handle.record();
    let found = record.by_name(leaf).map(|r| r.replica);
    match found {
        Some(replica) => Ok(Some(replica)),
        None => Err(cannot(format!("the sync {} has no leaf called {leaf}", record.name), None)),
    }
}

impl Daemon {
    /// Answers one request to its end.
    pub(crate) fn answer(&self, request: Request, replies: &Replies) {
        let stops = request == Request::DaemonStop;
        if !stops && request != Request::DaemonStatus {
            self.wait_up();
        }
        end(self.carry_out(request, None, replies), replies);
        if stops {
            self.stop.stop();
        }
    }

    /// `from`: the replica in which it is asked, if that is on another machine.
    pub(super) fn carry_out(
        &self,
        request: Request,
        from: Option<Replica>,
        replies: &Replies,
    ) -> Answer {
        match request {
            Request::Add { .. } => {
                let name = self.add(request)?;
                replies.send(&Reply::Name(name)).map_err(gone)?;
                Ok(Outcome::Well)
            }
            Request::AddTo { sync, leaves } => {
                let name = self.add_to(&sync, &leaves)?;
                replies.send(&Reply::Name(name)).map_err(gone)?;
                Ok(Outcome::Well)
            }
            Request::Forget { sync, leaf } => {
                for left in self.forget(&sync, leaf.as_deref())? {
                    replies.send(&Reply::Notice(left)).map_err(gone)?;
                }
                Ok(Outcome::Well)
            }
            Request::Set { sync, settings, .. } => {
                for (key, value) in self.set(&sync, &settings)? {
                    replies.send(&Reply::Setting { key, value }).map_err(gone)?;
                }
                Ok(Outcome::Well)
            }
            Request::Move { sync, replica, path } => {
                if !self.move_replica(&sync, &replica, &path)? {
                    let notice = "this is another directory than before: nothing is agreed with it";
                    replies.send(&Reply::Notice(notice.to_owned())).map_err(gone)?;
                }
                Ok(Outcome::Well)
            }
            Request::List => self.list(replies),
            Request::Pause { sync } => self.pause(&sync, true),
            Request::Resume { sync } => self.pause(&sync, false),
            Request::Status { target, leaf } => self.status(&target, leaf.as_ref(), replies),
            Request::StatusLeaves { target, leaf } => {
                self.status_leaves(&target, leaf.as_ref(), replies)
            }
            Request::StatusFiles { target, leaf } => {
                self.status_files(&target, leaf.as_ref(), replies)
            }
            Request::StatusSkipped { target } => self.status_skipped(&target, replies),
            Request::Wait { target, leaf, offline } => {
                self.wait(&target, leaf.as_ref(), offline, replies)
            }
            Request::Conflicts { target } => self.conflicts(&target, replies),
            Request::Resolve { which, winner, dry_run } => {
                self.resolve(&which, &winner, dry_run, replies)
            }
            Request::Explain { target } => self.explain(&target, replies),
            Request::Cat { target, replica } => self.cat(&target, &replica, from, replies),
            Request::Sides { target } => self.sides(&target, from, replies),
            Request::Log { target, act, since_ms, limit, follow } => {
                self.log(&target, act, since_ms, limit, follow, replies)
            }
            Request::Versions { target } => self.versions(&target, replies),
            Request::Restore { target, version } => {
                self.restore(&target, version.as_deref(), replies)
            }
            Request::Displaced { target, version } => {
                self.displaced(&target, version.as_deref(), from, replies)
            }
            Request::Allow { sync, dry_run } => self.allow(&sync, dry_run, replies),
            Request::Deny { sync } => self.deny(&sync, replies),
            Request::Bump { targets } => self.bump(&targets),
            Request::DaemonStatus => self.daemon_status(replies),
            // It is carried out once it is answered.
            Request::DaemonStop => Ok(Outcome::Well),
            Request::Names { conflicts } => self.names(conflicts, replies),
            Request::Ways { host } => self.ways(&host, replies),
            Request::NewWays { host } => self.new_ways(&host),
        }
    }

    fn list(&self, replies: &Replies) -> Answer {
        use std::os::unix::ffi::OsStrExt;
        let names: Vec<String> = self.syncs().keys().cloned().collect();
        for name in names {
            let row = match self.running(&name) {
                Ok(handle) => handle.ask(Actor::listed_row),
                Err(_) => self.syncs().get(&name).map(Entry::record).map(|record| Listed {
                    name: record.name.clone(),
                    mode: record.mode,
                    state: State::Problems,
                    replicas: record
                        .replicas
                        .iter()
                        .map(|r| (r.name.clone(), r.path.as_os_str().as_bytes().to_vec()))
                        .collect(),
                }),
            };
            if let Some(row) = row {
                replies.send(&Reply::Listed(row)).map_err(gone)?;
            }
        }
        Ok(Outcome::Well)
    }

    fn pause(&self, sync: &str, paused: bool) -> Answer {
        if !paused {
            self.revive(sync)?;
        }
        let handle = self.running(sync)?;
        handle.ask(move |actor| actor.pause(paused)).ok_or_else(ended)?;
        Ok(Outcome::Well)
    }

    /// A sync that could not be started, whose roots were lost or could not be written, is tried again.
    fn revive(&self, sync: &str) -> Result<(), Failure> {
        let name = self.name_of(sync)?;
        let broken = self.syncs().get(&name).is_some_and(|entry| entry.running().is_err());
        // What is left of one that a fault ended goes first.
        if let Some(record) = broken.then(|| self.take_down(&name)).flatten() {
            return self
                .bring_up(record)
                .map_err(|error| cannot(format!("the sync {name} cannot start: {error}"), None));
        }
        let handle = self.running(&name)?;
        self.revive_lost(&handle);
        drop(handle);
        let handle = self.running(&name)?;
        if handle.ask(|actor: &mut Actor| actor.is_unwritable()).unwrap_or(false) {
            // What it can keep there is found out when it starts.
            let record = handle.record();
            drop(handle);
            self.restart(&name, record)?;
        }
        Ok(())
    }

    /// A disk that is unmounted while it is in use tells nobody: the roots are looked at when somebody asks. On this
    /// thread, since a disk that hangs may take long.
    fn look_at_roots(handle: &Handle) {
        let roots = handle.ask(|actor: &mut Actor| actor.roots()).unwrap_or_default();
        for (replica, _) in roots.into_iter().filter(|(_, root)| !root.still_there()) {
            handle.ask(move |actor| actor.root_lost(replica));
        }
    }

    /// Roots that were lost may be back: then the sync starts anew.
    fn revive_lost(&self, handle: &Handle) {
        let Some(lost) = handle.ask(|actor: &mut Actor| actor.lost_roots()) else { return };
        if lost.is_empty() {
            return;
        }
        let record = handle.record();
        let is_back = |replica: &Replica| {
            let Some(known) = record.replica(*replica) else { return false };
            let root = crate::sys::Root::open(&known.path);
            root.is_ok_and(|root| root.identity().is_same(&known.identity))
        };
        if lost.iter().all(|(replica, _)| is_back(replica)) {
            let name = record.name.clone();
            // What keeps it from starting is shown with the sync.
            drop(self.restart(&name, record));
        }
    }

    /// The syncs a question is about, with roots that came back taken up again, and rows for those that do not run.
    fn asked(&self, target: &Target) -> Result<(Vec<Scope>, Vec<SyncStatus>), Failure> {
        for scope in self.scopes(target)? {
            Self::look_at_roots(&scope.handle);
            away::check_hosts(&scope.handle);
            self.revive_lost(&scope.handle);
        }
        let mut broken = Vec::new();
        if matches!(target, Target::All | Target::Here { .. }) {
            for entry in self.syncs().values() {
                if entry.running().is_err() {
                    broken.push(SyncStatus {
                        name: entry.record().name,
                        state: State::Problems,
                        files: 0,
                        pending: 0,
                        bytes: 0,
                        conflicts: 0,
                        problems: 1,
                        held: 0,
                    });
                }
            }
        }
        Ok((self.scopes(target)?, broken))
    }

    fn status(&self, target: &Target, leaf: Option<&String>, replies: &Replies) -> Answer {
        let (scopes, broken) = self.asked(target)?;
        let mut all_well = broken.is_empty();
        for scope in scopes {
            let leaf = leaf_of(&scope.handle, leaf)?;
            let path = scope.path.clone();
            let row = scope.handle.ask_flushed(move |actor| actor.sync_status(&path, leaf));
            let row = row.ok_or_else(ended)?;
            all_well &= row.state == State::InSync;
            replies.send(&Reply::Status(row)).map_err(gone)?;
        }
        for row in broken {
            replies.send(&Reply::Status(row)).map_err(gone)?;
        }
        well(all_well)
    }

    fn status_leaves(&self, target: &Target, leaf: Option<&String>, replies: &Replies) -> Answer {
        let (scopes, broken) = self.asked(target)?;
        let mut all_well = broken.is_empty();
        for scope in scopes {
            let leaf = leaf_of(&scope.handle, leaf)?;
            let path = scope.path.clone();
            let rows = scope.handle.ask_flushed(move |actor| actor.leaf_status(&path, leaf));
            let rows: Vec<LeafStatus> = rows.ok_or_else(ended)?;
            for row in rows {
                all_well &= row.state == State::InSync;
                replies.send(&Reply::LeafStatus(row)).map_err(gone)?;
            }
        }
        well(all_well)
    }

    fn status_files(&self, target: &Target, leaf: Option<&String>, replies: &Replies) -> Answer {
        let mut all_well = true;
        for scope in self.asked(target)?.0 {
            let leaf = leaf_of(&scope.handle, leaf)?;
            let path = scope.path.clone();
            let asked = scope.handle.ask_flushed(move |actor| {
                (actor.file_rows(&path, leaf), actor.sync_status(&path, leaf).state)
            });
            let (rows, state): (Vec<FileStatus>, State) = asked.ok_or_else(ended)?;
            all_well &= state == State::InSync;
            for row in rows {
                replies.send(&Reply::FileStatus(row)).map_err(gone)?;
            }
        }
        well(all_well)
    }

    fn status_skipped(&self, target: &Target, replies: &Replies) -> Answer {
        for scope in self.scopes(target)? {
            let name = scope.handle.record().name;
            let path = scope.path.clone();
            let rows = scope.handle.ask_flushed(move |actor| actor.skipped_rows(&path));
            for (replica, kind, path) in rows.ok_or_else(ended)? {
                let (name, kind) = (name.clone(), kind.to_owned());
                replies.send(&Reply::SkippedPath { name, replica, kind, path }).map_err(gone)?;
            }
        }
        Ok(Outcome::Well)
    }

    fn wait(
        &self,
        target: &Target,
        leaf: Option<&String>,
        offline: bool,
        replies: &Replies,
    ) -> Answer {
        let (scopes, broken) = self.asked(target)?;
        let mut all_well = broken.is_empty();
        for scope in scopes {
            let leaf = leaf_of(&scope.handle, leaf)?;
            let path = scope.path.clone();
            let (tell, told) = crossbeam_channel::bounded(1);
            let asked = scope.handle.ask(move |actor| {
                actor.state_at_next_rest(path, leaf, offline, tell);
            });
            asked.ok_or_else(ended)?;
            let state = loop {
                let tick = std::time::Duration::from_millis(200);
                match told.recv_timeout(tick) {
                    Ok(state) => break state,
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Err(ended()),
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                        let progress: Progress =
                            scope.handle.ask(Actor::progress).ok_or_else(ended)?;
                        replies.send(&Reply::Progress(progress)).map_err(gone)?;
                    }
                }
            };
            all_well &= state == State::InSync;
        }
        well(all_well)
    }

    fn conflicts(&self, target: &Target, replies: &Replies) -> Answer {
        let mut none = true;
        for scope in self.scopes(target)? {
            let path = scope.path.clone();
            let found = scope.handle.ask_flushed(move |actor| {
                let Some(id) = actor.id_of(&path) else { return Vec::new() };
                let paths = actor.conflicted(id, None);
                let found = paths.into_iter().filter_map(|id| actor.conflict(id));
                let mut found: Vec<_> = found.collect();
                found.sort_by(|a, b| a.path.cmp(&b.path));
                found
            });
            for conflict in found.ok_or_else(ended)? {
                none = false;
                replies.send(&Reply::Conflict(conflict)).map_err(gone)?;
            }
        }
        well(none)
    }

    fn resolve(&self, which: &Which, winner: &Winner, dry_run: bool, replies: &Replies) -> Answer {
        let (targets, glob) = match which {
            Which::Paths(targets) => (targets.clone(), None),
            Which::All(target) => (vec![target.clone()], None),
            Which::Glob(target, glob) => (vec![target.clone()], Some(glob_matcher(glob)?)),
        };
        let mut decided = true;
        for target in targets {
            let mut any = false;
            for scope in self.scopes(&target)? {
                let (path, winner, glob) = (scope.path.clone(), winner.clone(), glob.clone());
                let asked = scope.handle.ask_flushed(move |actor| {
                    let Some(id) = actor.id_of(&path) else { return Vec::new() };
                    let matches = |actor: &Actor, id: PathId| {
                        let path = actor.engine.paths().path(id);
                        glob.as_ref().is_none_or(|glob| {
                            glob.matched(Path::new(&os(path.as_bytes())), false).is_ignore()
                        })
                    };
                    let paths = actor.conflicted(id, None);
                    let paths: Vec<PathId> =
                        paths.into_iter().filter(|id| matches(actor, *id)).collect();
                    let one = |id| (actor.engine.paths().path(id), id);
                    let paths: Vec<(RelPath, PathId)> = paths.into_iter().map(one).collect();
                    let resolve = |(path, id)| (path, actor.resolve(id, &winner, dry_run));
                    paths.into_iter().map(resolve).collect::<Vec<_>>()
                });
                let name = scope.handle.record().name;
                for (path, resolved) in asked.ok_or_else(ended)? {
                    any = true;
                    match resolved {
                        Resolved::Decided(outcome) => {
                            let name = name.clone();
                            replies.send(&Reply::Resolved { name, path, outcome }).map_err(gone)?;
                        }
                        Resolved::Stands(why) => {
                            decided = false;
                            let path = path.as_bytes().escape_ascii();
                            let notice = format!("{path} stands: {why}");
                            replies.send(&Reply::Notice(notice)).map_err(gone)?;
                        }
                    }
                }
            }
            if !any && matches!(which, Which::Paths(_)) {
                decided = false;
                let notice = "there is no conflict at one of the paths".to_owned();
                replies.send(&Reply::Notice(notice)).map_err(gone)?;
            }
        }
        well(decided)
    }

    fn explain(&self, target: &Target, replies: &Replies) -> Answer {
        let scope = self.place(target)?;
        let path = scope.path.clone();
        let explained = scope.handle.ask_flushed(move |actor| actor.explain(&path));
        let explained = explained.ok_or_else(ended)?;
        let unknown = || Failure {
            kind: FailureKind::Unknown,
            message: format!("nothing is known of {}", scope.path.as_bytes().escape_ascii()),
            hint: None,
        };
        replies.send(&Reply::Explanation(explained.ok_or_else(unknown)?)).map_err(gone)?;
        Ok(Outcome::Well)
    }

    fn allow(&self, sync: &str, dry_run: bool, replies: &Replies) -> Answer {
        let handle = self.running(sync)?;
        self.revive_lost(&handle);
        let handle = self.running(sync)?;
        let lost = handle.ask(|actor: &mut Actor| actor.lost_roots()).ok_or_else(ended)?;
        if !lost.is_empty() {
            return self.allow_replaced(&handle, &lost, dry_run, replies);
        }
        let record = handle.record();
        let allowed = handle.ask_flushed(move |actor| actor.allow(dry_run)).ok_or_else(ended)?;
        let some = !allowed.is_empty();
        for (replica, deletes) in allowed {
            let replica = record.replica_name(replica).to_owned();
            let (name, why) = (record.name.clone(), "mass delete".to_owned());
            replies.send(&Reply::Held { name, replica, deletes, why }).map_err(gone)?;
        }
        well(some)
    }

    /// Another directory in the place of a root is accepted as a new replica: nothing is agreed with it.
    fn allow_replaced(
        &self,
        handle: &Handle,
        lost: &[(Replica, RootHold)],
        dry_run: bool,
        replies: &Replies,
    ) -> Answer {
        let mut record = handle.record();
        for (replica, why) in lost {
            if *why == RootHold::Missing {
                let path = record.replica(*replica).map(|r| r.path.display().to_string());
                return Err(cannot(
                    format!("{} is missing", path.unwrap_or_default()),
                    Some("mount or make it, or `yeet move NAME REPLICA PATH`"),
                ));
            }
        }
        for (replica, _) in lost {
            let replica_name = record.replica_name(*replica).to_owned();
            let (name, why) = (record.name.clone(), "replaced root".to_owned());
            let held = Reply::Held { name, replica: replica_name, deletes: 0, why };
            replies.send(&held).map_err(gone)?;
            if dry_run {
                continue;
            }
            self.become_strangers(handle, &record, *replica)?;
            for entry in record.replicas.iter_mut().filter(|r| r.replica == *replica) {
                entry.identity = crate::sys::Identity::default();
            }
        }
        if !dry_run {
            let name = record.name.clone();
            self.restart(&name, record)?;
        }
        Ok(Outcome::Well)
    }

    fn deny(&self, sync: &str, replies: &Replies) -> Answer {
        let handle = self.running(sync)?;
        let record = handle.record();
        let denied = handle.ask_flushed(Actor::deny).ok_or_else(ended)?;
        let denied = denied.map_err(|error| cannot(error, None))?;
        let some = !denied.is_empty();
        for (replica, deletes) in denied {
            let replica = record.replica_name(replica).to_owned();
            let (name, why) = (record.name.clone(), "put back".to_owned());
            replies.send(&Reply::Held { name, replica, deletes, why }).map_err(gone)?;
        }
        well(some)
    }

    fn bump(&self, targets: &[Target]) -> Answer {
        for target in targets {
            let scope = self.place(target)?;
            let path = scope.path.clone();
            scope.handle.ask_flushed(move |actor| actor.bump(&path)).ok_or_else(ended)?;
        }
        Ok(Outcome::Well)
    }

    fn names(&self, conflicts: bool, replies: &Replies) -> Answer {
        if !conflicts {
            let names: Vec<String> = self.syncs().keys().cloned().collect();
            for name in names {
                replies.send(&Reply::Name(name)).map_err(gone)?;
            }
            return Ok(Outcome::Well);
        }
        self.conflicts(&Target::All, replies)
    }
}

fn glob_matcher(glob: &str) -> Result<ignore::gitignore::Gitignore, Failure> {
    crate::sources::ignores::check_length(glob).map_err(|reason| usage(reason, None))?;
    let mut builder = ignore::gitignore::GitignoreBuilder::new("");
    builder
        .add_line(None, glob)
        .and_then(|builder| builder.build())
        .map_err(|error| usage(format!("{glob:?} is no pattern: {error}"), None))
}
