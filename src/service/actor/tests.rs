//! Reports of sinks and of sources that cross each other on their way.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::dataflow::model::job::Op;
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::Name;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::service::start::{Locks, Options, Ready, Shared, prepare};
use crate::sinks::journal::registry::ReplicaRecord;
use crate::sources::scan::pool::{Scanner, Trouble};
use crate::sources::watch::WatchError;
use crate::sys::Identity;

fn leaf() -> Replica {
    Replica::leaf(1).unwrap()
}

fn record(dir: &Path) -> SyncRecord {
    let replica = |replica, name: &str| {
        let (name, path) = (name.to_owned(), dir.join(name));
        ReplicaRecord { replica, name, path, identity: Identity::default() }
    };
    SyncRecord {
        name: "s".to_owned(),
        mode: Mode::TwoWay,
        ignore: Vec::new(),
        ignore_vcs: false,
        keep_age_s: u64::MAX,
        keep_size: u64::MAX,
        paused: false,
        replicas: vec![replica(Replica::SOURCE, "a"), replica(leaf(), "b")],
        used: ReplicaSet::of(&[leaf()]),
        held: ReplicaSet::EMPTY,
    }
}

/// An actor over `a` and `b` that nothing watches.
fn ready(dir: &Path) -> Ready {
    let shared = Shared {
        scanner: Arc::new(Scanner::start(2).unwrap()),
        pool: Arc::new(Pool::start("worker", 2).unwrap()),
        cache: Arc::new(StatCache::in_memory()),
        registry: None,
        locks: Locks::default(),
        stores: PathBuf::new(),
    };
    let policy = Policy { mode: Mode::TwoWay, trust_times: false };
    let mut ready = prepare(&shared, record(dir), &Options { policy, lasting: false }, 0).unwrap();
    ready.actor.begin();
    ready
}

/// Works until a job has been carried out, and gives its report instead of taking it.
fn report(ready: &mut Ready) -> Event {
    loop {
        while ready.actor.running.is_empty() {
            let seen = ready.seen.recv().unwrap();
            ready.actor.take_seen(seen);
            ready.actor.turn();
        }
        match ready.events.recv().unwrap() {
            Event::Done { done, large } => return Event::Done { done, large },
            other => ready.actor.take(other),
        }
    }
}

/// Works until a job of a kind has been carried out, and gives its report instead of taking it.
fn report_of(ready: &mut Ready, wanted: impl Fn(&Op) -> bool) -> Event {
    loop {
        let report = report(ready);
        if matches!(&report, Event::Done { done, .. } if done.iter().any(|done| wanted(&done.job.op)))
        {
            return report;
        }
        ready.actor.take(report);
        ready.actor.turn();
    }
}

fn rest(ready: &mut Ready) {
    ready.actor.turn();
    ready.actor.run(&ready.events, &ready.seen, Actor::is_quiet);
}

#[test]
fn what_a_user_undid_before_the_sink_reported_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    std::os::unix::fs::symlink("target", dir.path().join("a/l")).unwrap();
    let mut ready = ready(dir.path());
    let path = RelPath::parse(b"l").unwrap();

    // The link was made at the leaf, the user removed it, and the look that found that is faster than the report.
    let report = report(&mut ready);
    fs::remove_file(dir.path().join("b/l")).unwrap();
    let gone = Fact::Holds { replica: leaf(), path: path.clone(), value: None::<Value> };
    ready.actor.take_seen(Seen::Facts(vec![gone]));
    ready.actor.turn();
    ready.actor.take(report);
    rest(&mut ready);

    let id = ready.actor.id_of(&path).unwrap();
    for replica in [Replica::SOURCE, leaf()] {
        assert_eq!(ready.actor.engine.held(id, replica), None);
    }
    assert!(dir.path().join("a/l").symlink_metadata().is_err(), "the user's delete went on");
}

#[test]
fn what_a_user_made_again_before_the_sink_reported_its_delete_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for side in ["a", "b"] {
        fs::create_dir_all(dir.path().join(side).join("d")).unwrap();
    }
    let mut ready = ready(dir.path());
    rest(&mut ready);
    let path = RelPath::parse(b"d").unwrap();
    let mode = match ready.actor.engine.held(ready.actor.id_of(&path).unwrap(), leaf()) {
        Some(Value::Dir { mode }) => mode,
        other => panic!("{other:?}"),
    };
    fs::remove_dir(dir.path().join("a/d")).unwrap();
    ready.actor.sources.look(Replica::SOURCE, &path);

    let report = report(&mut ready);
    fs::create_dir(dir.path().join("b/d")).unwrap();
    fs::write(dir.path().join("b/d/f"), "content").unwrap();
    let (replica, value) = (leaf(), Some(Value::Dir { mode }));
    ready.actor.take_seen(Seen::Facts(vec![Fact::Holds { replica, path: path.clone(), value }]));
    ready.actor.turn();
    ready.actor.take(report);
    rest(&mut ready);

    let id = ready.actor.id_of(&path).unwrap();
    assert!(ready.actor.engine.held(id, leaf()).is_some(), "it is not taken for gone");
}

#[test]
fn what_a_user_makes_and_removes_again_and_again_before_the_sink_reported_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    std::os::unix::fs::symlink("target", dir.path().join("a/l")).unwrap();
    let mut ready = ready(dir.path());
    let path = RelPath::parse(b"l").unwrap();

    let report = report(&mut ready);
    let id = ready.actor.id_of(&path).unwrap();
    let link = ready.actor.engine.held(id, Replica::SOURCE);
    fs::remove_file(dir.path().join("a/l")).unwrap();
    for value in [None, link, None] {
        let replica = Replica::SOURCE;
        let seen = Fact::Holds { replica, path: path.clone(), value };
        ready.actor.take_seen(Seen::Facts(vec![seen]));
        ready.actor.turn();
    }
    ready.actor.take(report);
    rest(&mut ready);

    assert!(dir.path().join("b/l").symlink_metadata().is_err(), "its delete went on");
}

fn problems(ready: &Ready) -> Vec<String> {
    let root = RelPath::root();
    ready.actor.problems.within(&root).map(|(path, _, _)| format!("{path:?}")).collect()
}

#[test]
fn a_directory_that_could_not_be_listed_is_a_problem_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/d")).unwrap();
    fs::create_dir(dir.path().join("b")).unwrap();
    let mut ready = ready(dir.path());
    rest(&mut ready);
    let (replica, path) = (Replica::SOURCE, RelPath::parse(b"d").unwrap());
    let value = ready.actor.engine.held(ready.actor.id_of(&path).unwrap(), replica);
    let listed = Fact::Listed { replica, dir: path.clone(), children: Vec::new() };
    let seen_there = Fact::Holds { replica, path: path.clone(), value };
    let limit = WatchError::Limit { limit: 1, better: 2 };
    let troubles = [Trouble::Restless, Trouble::Unlistable { errno: libc::EIO }];

    for trouble in troubles {
        let path = path.clone();
        ready.actor.take_seen(Seen::Trouble { replica, path, trouble });
        ready.actor.take_seen(Seen::Facts(vec![seen_there.clone()]));
        assert_eq!(problems(&ready), ["d"], "that it is there does not say what is in it");
        ready.actor.take_seen(Seen::Facts(vec![listed.clone()]));
        assert_eq!(problems(&ready), [] as [&str; 0]);
    }
    let trouble = Trouble::Unwatched(limit);
    ready.actor.take_seen(Seen::Trouble { replica, path: path.clone(), trouble });
    ready.actor.take_seen(Seen::Facts(vec![listed]));
    assert_eq!(problems(&ready), ["d"], "what is listed now and then is not watched");
    ready.actor.take_seen(Seen::Watched { replica, dir: path });
    assert_eq!(problems(&ready), [] as [&str; 0]);
}

#[test]
fn a_directory_that_was_moved_away_does_not_come_back_for_what_was_seen_while_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |rel: &str| dir.path().join(rel);
    for side in ["a", "b"] {
        fs::create_dir_all(at(side).join("old")).unwrap();
        fs::write(at(side).join("old/f"), "content").unwrap();
        let file = fs::File::options().write(true).open(at(side).join("old/f")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let mut ready = ready(dir.path());
    rest(&mut ready);
    let held = |ready: &mut Ready, path: &[u8]| {
        let id = ready.actor.id_of(&RelPath::parse(path).unwrap()).unwrap();
        ready.actor.engine.held(id, leaf()).unwrap()
    };
    let (old, file) = (held(&mut ready, b"old"), held(&mut ready, b"old/f"));
    fs::rename(at("b/old"), at("b/new")).unwrap();
    for (dir, name, value) in [(&b""[..], &b"new"[..], old), (b"new", b"f", file)] {
        let (dir, name) = (RelPath::parse(dir).unwrap(), Name::parse(name).unwrap());
        let listed = Fact::Listed { replica: leaf(), dir, children: vec![(name, value)] };
        ready.actor.take_seen(Seen::Facts(vec![listed]));
    }
    ready.actor.turn();

    let report = report_of(&mut ready, |op| matches!(op, Op::Move { .. }));
    // A listing of the new directory that was begun before the move, and ended before its report.
    let (replica, listed) = (Replica::SOURCE, RelPath::parse(b"new").unwrap());
    let seen = Fact::Listed { replica, dir: listed, children: Vec::new() };
    ready.actor.take_seen(Seen::Facts(vec![seen]));
    ready.actor.turn();
    ready.actor.take(report);
    rest(&mut ready);

    for new in ["a/new/f", "b/new/f"] {
        assert!(at(new).is_file(), "{new} is there");
    }
    for old in ["a/old", "b/old"] {
        assert!(!at(old).exists(), "{old} is gone");
    }
}

#[test]
fn a_directory_that_was_removed_does_not_come_back_for_what_was_just_put_into_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |rel: &str| dir.path().join(rel);
    fs::create_dir_all(at("a/d")).unwrap();
    fs::create_dir_all(at("b/d")).unwrap();
    std::os::unix::fs::symlink("target", at("a/d/l")).unwrap();
    let mut ready = ready(dir.path());
    let report = report_of(&mut ready, |op| matches!(op, Op::Put { .. }));

    // The leaf is looked at before the report is taken, and the user has removed the directory by then.
    fs::remove_dir_all(at("a/d")).unwrap();
    let (of, link) = (Replica::SOURCE, RelPath::parse(b"d/l").unwrap());
    let value = ready.actor.engine.held(ready.actor.id_of(&link).unwrap(), of);
    let put = Fact::Holds { replica: leaf(), path: link, value };
    let gone = Fact::Holds { replica: of, path: RelPath::parse(b"d").unwrap(), value: None };
    ready.actor.take_seen(Seen::Facts(vec![put, gone]));
    ready.actor.turn();
    ready.actor.take(report);
    rest(&mut ready);

    assert!(!at("a/d").exists() && !at("b/d").exists(), "the user's delete went on");
}
