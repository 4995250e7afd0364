//! What is asked from inside a replica on another machine, and passed on by its agent.
//!
//! Holds: it is about that replica's sync and no other; it can do no more than an edit made in the replica could, and see no
//! more than what is carried there; no path of this machine is taken from it. What a host's users may is what its agent may:
//! nothing that comes from there is believed because of who passes it on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::Daemon;
use crate::service::answer::{Answer, end};
use crate::service::contents::reaches;
use crate::service::start::Handle;
use crate::service::target::cannot;
use crate::sinks::journal::registry::SyncRecord;
use crate::sources::control::socket::Replies;
use crate::sources::control::stream;
use crate::sources::control::wire::{Failure, Request, Target, Winner};
use crate::ssh::link::{Stream, Streams};
use crate::ssh::peer::Peer;
use crate::ssh::protocol::Call;

/// How many of one host are answered at a time.
const ASKERS_MAX: usize = 32;

const ELSEWHERE: &str = "ask on the machine that has the sync";

/// Answers on a stream who asks in the replica that an agent knows by this number.
type Answerer = dyn Fn(&Weak<Peer>, u32, Stream) + Send + Sync;

/// Those who ask in replicas on hosts; nobody answers them until it is said who.
#[derive(Default)]
pub(crate) struct Askers(OnceLock<Arc<Answerer>>);

impl Askers {
    /// Listens to what an agent asks, as long as it is connected.
    pub(crate) fn attend(&self, peer: &Arc<Peer>) -> Result<(), String> {
        let Some(answerer) = self.0.get().cloned() else { return Ok(()) };
        let (streams, peer) = (peer.streams(), Arc::downgrade(peer));
        let thread = std::thread::Builder::new().name("askers".to_owned());
        let started = thread.spawn(move || take_all(&streams, &peer, &answerer));
        started.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }
}

fn take_all(streams: &Streams, peer: &Weak<Peer>, answerer: &Arc<Answerer>) {
    let busy = Arc::new(AtomicUsize::new(0));
    while let Ok((call, stream)) = streams.accept() {
        let replica = match Call::read(&call) {
            Ok(Call::Control { replica }) => replica,
            Err(bad) => {
                stream.refuse(&bad.to_string());
                continue;
            }
        };
        if busy.fetch_add(1, Ordering::Relaxed) >= ASKERS_MAX {
            busy.fetch_sub(1, Ordering::Relaxed);
            stream.refuse("too much is asked at a time");
            continue;
        }
        let (peer, answerer, done) = (peer.clone(), answerer.clone(), busy.clone());
        let answering = std::thread::Builder::new().name("answer".to_owned()).spawn(move || {
            answerer(&peer, replica, stream);
            done.fetch_sub(1, Ordering::Relaxed);
        });
        if answering.is_err() {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Daemon {
    /// Answers from now on who asks in replicas on hosts.
    pub(super) fn answer_askers(self: &Arc<Self>) {
        let daemon = Arc::downgrade(self);
        let answerer = move |peer: &Weak<Peer>, number: u32, stream: Stream| {
            let Some(daemon) = daemon.upgrade() else { return stream.refuse("it ends") };
            let Some((handle, replica)) = daemon.known_as(peer, number) else {
                return stream.refuse("it is no replica that is reached");
            };
            stream::answer(stream, &|request, replies| {
                end(daemon.answer_in(&handle, replica, request, replies), replies);
            });
        };
        // Nobody else says so.
        drop(self.shared.hosts.askers.0.set(Arc::new(answerer)));
    }

    /// The replica that an agent knows by this number.
    fn known_as(&self, peer: &Weak<Peer>, number: u32) -> Option<(Arc<Handle>, Replica)> {
        self.all_running().into_iter().find_map(|handle| {
            let hosts = handle.record().hosts;
            if hosts.is_empty() {
                return None;
            }
            let peer = peer.clone();
            let found = handle.ask(move |actor| {
                let is_it = |replica: &Replica| {
                    actor.shop.far(*replica).is_some_and(|far| far.is_known_as(&peer, number))
                };
                hosts.iter().map(|(replica, _)| *replica).find(is_it)
            });
            Some((handle, found??))
        })
    }

    fn answer_in(
        &self,
        handle: &Handle,
        replica: Replica,
        request: Request,
        replies: &Replies,
    ) -> Answer {
        let request = narrowed(request, &handle.record(), replica)?;
        self.carry_out(request, Some(replica), replies)
    }
}

/// The request as it is answered to who asks in `replica`: about that sync alone, by its whole name.
fn narrowed(
    mut request: Request,
    record: &SyncRecord,
    replica: Replica,
) -> Result<Request, Failure> {
    is_answered(&request, record, replica)?;
    for target in request.targets_mut() {
        *target = about(record, target)?;
    }
    Ok(request)
}

fn is_answered(request: &Request, record: &SyncRecord, replica: Replica) -> Result<(), Failure> {
    match request {
        Request::Status { .. }
        | Request::StatusLeaves { .. }
        | Request::StatusFiles { .. }
        | Request::StatusSkipped { .. }
        | Request::Wait { .. }
        | Request::Conflicts { .. }
        | Request::Sides { .. }
        | Request::Cat { .. }
        | Request::Explain { .. }
        | Request::Log { .. }
        | Request::Versions { .. }
        | Request::Displaced { .. } => Ok(()),
        Request::Resolve { winner, .. } => may_win(winner, record, replica),
        // In place, where what flows from here does not reach the source, it would be an edit of the source all the same.
        Request::Restore { .. } if !reaches(record, replica, Replica::SOURCE) => Err(cannot(
            "in this mode what is restored here would not reach the source",
            Some("restore it with --to, or on the machine that has the sync"),
        )),
        Request::Restore { .. } => Ok(()),
        Request::Add { .. }
        | Request::AddTo { .. }
        | Request::Forget { .. }
        | Request::Set { .. }
        | Request::Move { .. }
        | Request::List
        | Request::Pause { .. }
        | Request::Resume { .. }
        | Request::Allow { .. }
        | Request::Deny { .. }
        | Request::Bump { .. }
        | Request::DaemonStatus
        | Request::DaemonStop
        | Request::Names { .. }
        | Request::Ways { .. }
        | Request::NewWays { .. } => {
            Err(cannot("that is not answered in a replica on another machine", Some(ELSEWHERE)))
        }
    }
}

/// Whether a conflict may be decided so from there: the source is changed by those only whose edits reach it.
fn may_win(winner: &Winner, record: &SyncRecord, replica: Replica) -> Result<(), Failure> {
    let reaches_source = reaches(record, replica, Replica::SOURCE);
    match winner {
        Winner::With(_) => Err(cannot("a file of another machine cannot be named here", None)),
        Winner::Both(_) => Ok(()),
        Winner::Keep(name) if name == record.replica_name(Replica::SOURCE) => Ok(()),
        Winner::Keep(_) | Winner::Newest | Winner::Content(_) if reaches_source => Ok(()),
        Winner::Keep(_) | Winner::Newest | Winner::Content(_) => Err(cannot(
            "in this mode nothing that is decided here reaches the source: only what it has can be kept",
            Some(ELSEWHERE),
        )),
    }
}

/// The part of the sync that is meant.
fn about(record: &SyncRecord, target: &Target) -> Result<Target, Failure> {
    let all = RelPath::root();
    let (sync, path) = match target {
        Target::All | Target::Here { .. } => (None, all),
        Target::Sync(sync) => (Some(sync), all),
        Target::In { sync, path } => (Some(sync), path.clone()),
        Target::Inside { sync, path } => (sync.as_ref(), path.clone()),
        Target::Path { path, .. } => {
            let path = path.escape_ascii();
            let why = format!("{path} is not in the replica that is asked about");
            return Err(cannot(why, Some("ask there")));
        }
    };
    match sync.filter(|sync| !record.name.starts_with(*sync)) {
        None => Ok(Target::In { sync: record.name.clone(), path }),
        Some(sync) => Err(cannot(
            format!("this is a replica of the sync {}, and of none called {sync}", record.name),
            Some(ELSEWHERE),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mode::Mode;
    use crate::sources::control::wire::Which;

    fn record(mode: Mode) -> SyncRecord {
        let roots = ["/a/source", "/b/near", "/c/far"].map(Into::into);
        let mut record = SyncRecord { mode, ..SyncRecord::of_roots(&roots) };
        record.name = "work".to_owned();
        record.replicas[0].name = "source".to_owned();
        record.hosts = vec![(far(), "nas".to_owned())];
        record
    }

    fn far() -> Replica {
        Replica::leaf(2).unwrap()
    }

    fn asked(mode: Mode, request: Request) -> Result<Request, String> {
        narrowed(request, &record(mode), far()).map_err(|failure| failure.message)
    }

    fn status(target: Target) -> Request {
        Request::Status { target, leaf: None }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn whatever_is_asked_is_about_the_sync_of_the_replica_by_its_whole_name() {
        let within = |path: RelPath| status(Target::In { sync: "work".to_owned(), path });
        let all = || within(RelPath::root());
        let prefix = || Some("wo".to_owned());
        for (target, narrow) in [
            (Target::All, all()),
            (Target::Here { dir: b"/etc".to_vec() }, all()),
            (Target::Sync("work".to_owned()), all()),
            (Target::Sync("w".to_owned()), all()),
            (Target::In { sync: "wo".to_owned(), path: path("d/f") }, within(path("d/f"))),
            (Target::Inside { sync: None, path: path("d") }, within(path("d"))),
            (Target::Inside { sync: prefix(), path: path("d") }, within(path("d"))),
        ] {
            assert_eq!(asked(Mode::TwoWay, status(target.clone())), Ok(narrow), "{target:?}");
        }
        for target in [
            Target::Sync("works".to_owned()),
            Target::In { sync: "other".to_owned(), path: path("f") },
            Target::Inside { sync: Some("other".to_owned()), path: path("f") },
            Target::Path { sync: None, path: b"/a/source/f".to_vec() },
            Target::Path { sync: Some("work".to_owned()), path: b"/c/far/f".to_vec() },
        ] {
            assert!(asked(Mode::TwoWay, status(target.clone())).is_err(), "{target:?}");
        }
        // One that is not meant makes all of it void.
        let inside = Target::Inside { sync: None, path: path("f") };
        let outside = Target::Path { sync: None, path: b"/f".to_vec() };
        let which = Which::Paths(vec![inside, outside]);
        let winner = Winner::Newest;
        assert!(asked(Mode::TwoWay, Request::Resolve { which, winner, dry_run: true }).is_err());
    }

    #[test]
    fn what_changes_a_sync_or_names_a_file_of_the_daemons_machine_is_refused() {
        let sync = || "work".to_owned();
        let (settings, force) = (vec![("mode".to_owned(), "mirror".to_owned())], true);
        for request in [
            Request::Forget { sync: sync(), leaf: None },
            Request::Set { sync: sync(), settings, force },
            Request::Move { sync: sync(), replica: "source".to_owned(), path: b"/x".to_vec() },
            Request::Pause { sync: sync() },
            Request::Resume { sync: sync() },
            Request::Allow { sync: sync(), dry_run: true },
            Request::Deny { sync: sync() },
            Request::Bump { targets: vec![Target::All] },
            Request::AddTo { sync: sync(), leaves: Vec::new() },
            Request::List,
            Request::Names { conflicts: true },
            Request::DaemonStatus,
            Request::DaemonStop,
            Request::Resolve {
                which: Which::All(Target::All),
                winner: Winner::With(b"/etc/passwd".to_vec()),
                dry_run: false,
            },
        ] {
            assert!(asked(Mode::TwoWay, request.clone()).is_err(), "{request:?}");
        }
    }

    #[test]
    fn a_leaf_decides_nothing_for_a_source_that_its_edits_do_not_reach() {
        let resolve = |winner| {
            let (which, dry_run) = (Which::All(Target::All), false);
            Request::Resolve { which, winner, dry_run }
        };
        let restore = Request::Restore { target: Target::All, version: None };
        let reaching = [
            resolve(Winner::Keep("far".to_owned())),
            resolve(Winner::Keep("0123456789abcdef".to_owned())),
            resolve(Winner::Newest),
            resolve(Winner::Content(b"x".to_vec())),
            restore,
        ];
        let others = [Winner::Keep("source".to_owned()), Winner::Both("-2".to_owned())];
        for mode in [Mode::OneWay, Mode::OneWaySource, Mode::Mirror] {
            for request in &reaching {
                assert!(asked(mode, request.clone()).is_err(), "{mode}: {request:?}");
                let of_source = narrowed(request.clone(), &record(mode), Replica::SOURCE);
                assert!(of_source.is_ok(), "the source's own machine may: {request:?}");
            }
            for winner in &others {
                assert!(asked(mode, resolve(winner.clone())).is_ok(), "{mode}: {winner:?}");
            }
        }
        for mode in [Mode::TwoWay, Mode::TwoWaySource] {
            for request in &reaching {
                assert!(asked(mode, request.clone()).is_ok(), "{mode}: {request:?}");
            }
        }
    }
}
