//! Reports of sinks and of sources that cross each other on their way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::dataflow::model::job::Op;
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::Name;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Digest, File, Value};
use crate::service::hosts::Hosts;
use crate::service::start::{Locks, Options, Ready, Shared, prepare};
use crate::sinks::apply::ApplyError;
use crate::sources::scan::pool::{Scanner, Trouble};
use crate::sources::watch::WatchError;
use crate::ssh::ask::Nobody;

mod prints;

fn leaf() -> Replica {
    Replica::leaf(1).unwrap()
}

fn path(rel: &str) -> RelPath {
    RelPath::parse(rel.as_bytes()).unwrap()
}

/// An actor over the source `a` and the leaf `b`, which nothing watches.
struct Pair {
    dir: TempDir,
    ready: Ready,
}

impl Pair {
    /// `make` is given both roots before the first scan.
    fn new(make: impl Fn(&dyn Fn(&str) -> PathBuf)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |rel: &str| dir.path().join(rel);
        for root in ["a", "b"] {
            fs::create_dir(at(root)).unwrap();
        }
        make(&at);
        let shared = Shared {
            scanner: Arc::new(Scanner::start(2).unwrap()),
            pool: Arc::new(Pool::start("worker", 2).unwrap()),
            cache: Arc::new(StatCache::in_memory()),
            registry: None,
            locks: Locks::default(),
            stores: PathBuf::new(),
            hosts: Arc::new(Hosts::new(Arc::new(Nobody), None)),
        };
        let policy = Policy { mode: Mode::TwoWay, trust_times: false };
        let record = SyncRecord::of_roots(&[at("a"), at("b")]);
        let options = Options { policy, lasting: false };
        let mut ready = prepare(&shared, record, &options, 0).unwrap();
        ready.actor.begin();
        Self { dir, ready }
    }

    /// The same, once the first scan is done and carried out.
    fn synced(make: impl Fn(&dyn Fn(&str) -> PathBuf)) -> Self {
        let mut pair = Self::new(make);
        pair.rest();
        pair
    }

    fn at(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    fn exists(&self, rel: &str) -> bool {
        self.at(rel).symlink_metadata().is_ok()
    }

    fn held(&mut self, replica: Replica, rel: &str) -> Option<Value> {
        let actor = &mut self.ready.actor;
        let id = actor.id_of(&path(rel)).unwrap();
        actor.engine.held(id, replica)
    }

    /// A look at a path told this.
    fn holds(&mut self, replica: Replica, rel: &str, value: Option<Value>) {
        let fact = Fact::Holds { replica, path: path(rel), value };
        self.ready.actor.take_seen(Seen::Facts(vec![fact]));
    }

    /// A look into a directory told this.
    fn listed(&mut self, replica: Replica, rel: &str, children: &[(&str, Value)]) {
        let name = |name: &str| Name::parse(name.as_bytes()).unwrap();
        let children = children.iter().map(|(child, value)| (name(child), *value)).collect();
        let fact = Fact::Listed { replica, dir: path(rel), children };
        self.ready.actor.take_seen(Seen::Facts(vec![fact]));
    }

    fn turn(&mut self) {
        self.ready.actor.turn();
    }

    /// Works until a job is under way.
    fn begin(&mut self) {
        let Ready { actor, seen, .. } = &mut self.ready;
        while actor.running.is_empty() {
            actor.take_seen(seen.recv().unwrap());
            actor.turn();
        }
    }

    /// Works until a job has been carried out, and gives its report instead of taking it.
    fn report(&mut self) -> Event {
        loop {
            self.begin();
            let Ready { actor, events, .. } = &mut self.ready;
            match events.recv().unwrap() {
                Event::Done { done, leaf, large } => return Event::Done { done, leaf, large },
                other => actor.take(other),
            }
        }
    }

    /// The report of the first job of this kind.
    fn report_of(&mut self, wanted: impl Fn(&Op) -> bool) -> Event {
        loop {
            let report = self.report();
            if let Event::Done { done, .. } = &report
                && done.iter().any(|done| wanted(&done.job.op))
            {
                return report;
            }
            self.ready.actor.take(report);
            self.turn();
        }
    }

    /// Takes a report at last, and works until nothing is left to do.
    fn rest_after(&mut self, report: Event) {
        self.ready.actor.take(report);
        self.rest();
    }

    fn rest(&mut self) {
        self.turn();
        self.ready.actor.run(&self.ready.events, &self.ready.seen, Actor::is_quiet);
    }

    fn problems(&self) -> Vec<String> {
        let root = RelPath::root();
        let problems = self.ready.actor.problems.within(&root);
        problems.map(|(path, _, _)| format!("{path:?}")).collect()
    }
}

#[test]
fn a_source_that_is_deleted_or_moved_stops_its_running_transfer_at_once() {
    // So large, if only in name, that it would not end within this test.
    let size: u64 = 1 << 40;
    for gone in [|a: &Path| fs::remove_file(a), |a: &Path| fs::rename(a, a.with_extension("new"))] {
        let mut pair = Pair::new(|at| fs::File::create(at("a/f")).unwrap().set_len(size).unwrap());
        pair.begin();
        let running = pair.ready.actor.running.values().next().unwrap();
        let control = running.control.clone();
        while control.moved() == 0 {
            std::thread::yield_now();
        }
        gone(&pair.at("a/f")).unwrap();
        pair.holds(Replica::SOURCE, "f", None);
        pair.turn();
        assert!(control.is_cancelled());
        let Event::Done { done, leaf, large } = pair.report() else { panic!("a report") };
        assert!(matches!(done[0].result, Err(ApplyError::Cancelled)), "{:?}", done[0].result);
        pair.rest_after(Event::Done { done, leaf, large });
        assert!(!pair.exists("b/f"));
    }
}

#[test]
fn what_a_user_undid_before_the_sink_reported_is_undone() {
    let mut pair = Pair::new(|at| symlink("target", at("a/l")).unwrap());

    // The link was made at the leaf, the user removed it, and the look that found that is faster than the report.
    let report = pair.report();
    fs::remove_file(pair.at("b/l")).unwrap();
    pair.holds(leaf(), "l", None);
    pair.turn();
    pair.rest_after(report);

    for replica in [Replica::SOURCE, leaf()] {
        assert_eq!(pair.held(replica, "l"), None);
    }
    assert!(!pair.exists("a/l"), "the user's delete went on");
}

#[test]
fn what_a_user_made_again_before_the_sink_reported_its_delete_is_there() {
    let mut pair = Pair::synced(|at| {
        fs::create_dir(at("a/d")).unwrap();
        fs::create_dir(at("b/d")).unwrap();
    });
    let value = pair.held(leaf(), "d");
    assert!(matches!(value, Some(Value::Dir { .. })), "{value:?}");
    fs::remove_dir(pair.at("a/d")).unwrap();
    pair.ready.actor.sources.look(Replica::SOURCE, &path("d"));

    let report = pair.report();
    fs::create_dir(pair.at("b/d")).unwrap();
    fs::write(pair.at("b/d/f"), "content").unwrap();
    pair.holds(leaf(), "d", value);
    pair.turn();
    pair.rest_after(report);

    assert!(pair.held(leaf(), "d").is_some(), "it is not taken for gone");
}

#[test]
fn what_a_user_makes_and_removes_again_and_again_before_the_sink_reported_is_gone() {
    let mut pair = Pair::new(|at| symlink("target", at("a/l")).unwrap());

    let report = pair.report();
    let link = pair.held(Replica::SOURCE, "l");
    fs::remove_file(pair.at("a/l")).unwrap();
    for value in [None, link, None] {
        pair.holds(Replica::SOURCE, "l", value);
        pair.turn();
    }
    pair.rest_after(report);

    assert!(!pair.exists("b/l"), "its delete went on");
}

#[test]
fn a_directory_that_could_not_be_listed_is_a_problem_until_it_is() {
    let mut pair = Pair::synced(|at| fs::create_dir(at("a/d")).unwrap());
    let replica = Replica::SOURCE;
    let value = pair.held(replica, "d");
    let limit = WatchError::Limit { limit: 1, better: 2 };
    let troubles = [Trouble::Restless, Trouble::Unlistable { errno: libc::EIO }];

    for trouble in troubles {
        pair.ready.actor.take_seen(Seen::Trouble { replica, path: path("d"), trouble });
        pair.holds(replica, "d", value);
        assert_eq!(pair.problems(), ["d"], "that it is there does not say what is in it");
        pair.listed(replica, "d", &[]);
        assert_eq!(pair.problems(), [] as [&str; 0]);
    }
    let trouble = Trouble::Unwatched(limit);
    pair.ready.actor.take_seen(Seen::Trouble { replica, path: path("d"), trouble });
    pair.listed(replica, "d", &[]);
    assert_eq!(pair.problems(), ["d"], "what is listed now and then is not watched");
    pair.ready.actor.take_seen(Seen::Watched { replica, dir: path("d") });
    assert_eq!(pair.problems(), [] as [&str; 0]);
}

#[test]
fn a_directory_that_was_moved_away_does_not_come_back_for_what_was_seen_while_it_was() {
    let mut pair = Pair::synced(|at| {
        for dir in ["a/old", "b/old"].map(at) {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("f"), "content").unwrap();
            let file = fs::File::options().write(true).open(dir.join("f")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    });
    let [dir, file] = ["old", "old/f"].map(|rel| pair.held(leaf(), rel).unwrap());
    fs::rename(pair.at("b/old"), pair.at("b/new")).unwrap();
    pair.listed(leaf(), "", &[("new", dir)]);
    pair.listed(leaf(), "new", &[("f", file)]);
    pair.turn();

    let report = pair.report_of(|op| matches!(op, Op::Move { .. }));
    // A listing of the new directory that was begun before the move, and ended before its report.
    pair.listed(Replica::SOURCE, "new", &[]);
    pair.turn();
    pair.rest_after(report);

    assert!(
        ["a/new/f", "b/new/f"].iter().all(|new| pair.exists(new)),
        "it is where it was moved to"
    );
    assert!(!["a/old", "b/old"].iter().any(|old| pair.exists(old)), "it is not where it was");
}

#[test]
fn a_directory_that_was_removed_does_not_come_back_for_what_was_just_put_into_it() {
    let mut pair = Pair::new(|at| {
        fs::create_dir(at("a/d")).unwrap();
        fs::create_dir(at("b/d")).unwrap();
        symlink("target", at("a/d/l")).unwrap();
    });
    let report = pair.report_of(|op| matches!(op, Op::Put { .. }));

    // The leaf is looked at before the report is taken, and the user has removed the directory by then.
    fs::remove_dir_all(pair.at("a/d")).unwrap();
    let link = pair.held(Replica::SOURCE, "d/l");
    pair.holds(leaf(), "d/l", link);
    pair.holds(Replica::SOURCE, "d", None);
    pair.turn();
    pair.rest_after(report);

    assert!(!pair.exists("a/d") && !pair.exists("b/d"), "the user's delete went on");
}

#[test]
fn what_was_put_is_agreed_on_though_the_origin_was_touched_before_it_was_read() {
    let mut pair = Pair::synced(|at| fs::write(at("a/f"), "1").unwrap());
    let Some(Value::File(first)) = pair.held(Replica::SOURCE, "f") else { panic!("a file") };
    let origin = pair.at("a/f");
    let edit = |text: &str, seconds: u64| {
        fs::write(&origin, text).unwrap();
        let file = fs::File::options().write(true).open(&origin).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        let content = Content::known(Digest(*blake3::hash(text.as_bytes()).as_bytes()));
        let (size, mtime) = (text.len() as u64, i64::try_from(seconds).unwrap() * 1_000_000_000);
        Some(Value::File(File { size, mtime, content, ..first }))
    };
    let second = edit("22", 2);
    let touched = edit("22", 3);
    assert_ne!(second, touched);
    pair.holds(Replica::SOURCE, "f", second);
    pair.turn();
    let report = pair.report_of(|op| matches!(op, Op::Put { .. }));

    // The next edit is seen before anything else can be agreed on.
    let third = edit("333", 4);
    pair.holds(Replica::SOURCE, "f", third);
    pair.rest_after(report);

    assert_eq!(fs::read_to_string(pair.at("b/f")).unwrap(), "333", "it is no conflict");
}
