//! A toy world: replicas are maps, ready jobs are carried out on them and observed back, until nothing is ready.
//!
//! Holds: every job meets the world it expects, its parent there and, for a directory that goes, nothing in it; in the
//! end the replicas are equal but for what is in conflict.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::histories::config;
use super::script::{Bench, path, value};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;

type Tree = BTreeMap<String, Value>;

/// What a user does at a replica.
#[derive(Clone, Debug)]
enum Edit {
    Write(&'static str, &'static str),
    MakeDir(&'static str),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Chmod(&'static str),
}

struct World {
    trees: Vec<Tree>,
    bench: Bench,
}

fn replica(slot: usize) -> Replica {
    Replica::try_from(u8::try_from(slot).expect("few")).expect("a slot")
}

fn slot(replica: Replica) -> usize {
    usize::from(replica.slot())
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn within(path: &str, dir: &str) -> bool {
    path == dir || path.strip_prefix(dir).is_some_and(|r| r.starts_with('/'))
}

fn text(path: &RelPath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).expect("ascii")
}

impl World {
    fn new(mode: Mode, leaves: usize) -> Self {
        let mut world = Self {
            trees: vec![Tree::new(); leaves + 1],
            bench: Bench::new(mode, u8::try_from(leaves).expect("few")),
        };
        for at in 0..=leaves {
            world.list(at, "");
        }
        world
    }

    fn is_dir(&self, at: usize, path: &str) -> bool {
        path.is_empty() || self.trees[at].get(path).is_some_and(Value::is_dir)
    }

    /// Lists a directory and all in it.
    fn list(&mut self, at: usize, dir: &str) {
        let tree = self.trees[at].clone();
        let children = tree.iter().filter(|(path, _)| above(path) == dir);
        let children: Vec<(Name, Value)> = children
            .map(|(path, value)| {
                let name = path.rsplit('/').next().expect("a name");
                (Name::parse(name.as_bytes()).expect("a name"), *value)
            })
            .collect();
        self.bench.engine.observe(&Fact::Listed { replica: replica(at), dir: path(dir), children });
        for (path, value) in &tree {
            if above(path) == dir && value.is_dir() {
                self.list(at, path);
            }
        }
    }

    /// What the watcher says after a change.
    fn look(&mut self, at: usize, place: &str) {
        let value = self.trees[at].get(place).copied();
        self.bench.engine.observe(&Fact::Holds { replica: replica(at), path: path(place), value });
        if value.is_some_and(|v| v.is_dir()) {
            self.list(at, place);
        }
    }

    fn edit(&mut self, at: usize, edit: &Edit) {
        match *edit {
            Edit::Write(path, text) => {
                let free = !self.is_dir(at, path);
                if self.is_dir(at, above(path)) && free {
                    self.trees[at].insert(path.to_owned(), value(text));
                    self.look(at, path);
                }
            }
            Edit::MakeDir(path) => {
                if self.is_dir(at, above(path)) && !self.is_dir(at, path) {
                    self.trees[at].insert(path.to_owned(), value("dir"));
                    self.look(at, path);
                }
            }
            Edit::Remove(path) => {
                self.trees[at].retain(|known, _| !within(known, path));
                self.look_if_there(at, path);
            }
            Edit::Rename(from, to) => {
                let there = self.trees[at].contains_key(from) && !self.trees[at].contains_key(to);
                if there && self.is_dir(at, above(to)) && !within(to, from) {
                    let moved: Vec<(String, Value)> = self.trees[at]
                        .iter()
                        .filter(|(known, _)| within(known, from))
                        .map(|(known, value)| (format!("{to}{}", &known[from.len()..]), *value))
                        .collect();
                    self.trees[at].retain(|known, _| !within(known, from));
                    self.trees[at].extend(moved);
                    self.look(at, to);
                    self.look(at, from);
                }
            }
            Edit::Chmod(path) => {
                if let Some(Value::File(file)) = self.trees[at].get_mut(path) {
                    file.mode ^= 0o100;
                    self.look(at, path);
                }
            }
        }
    }

    fn look_if_there(&mut self, at: usize, place: &str) {
        if self.is_dir(at, above(place)) {
            self.look(at, place);
        }
    }

    fn agree(&mut self, leaf: Replica, place: &str, value: Option<Value>) {
        self.bench.engine.observe(&Fact::Agreed { leaf, path: path(place), value });
    }

    /// Carries a job out; what it rests on must be so.
    fn apply(&mut self, job: &Job) {
        let place = text(&job.path);
        match &job.op {
            Op::Put { from, to, new, expect } => {
                let to = slot(*to);
                assert_eq!(self.trees[to].get(&place), expect.as_ref(), "{job:?}");
                assert!(self.is_dir(to, above(&place)), "no parent: {job:?}");
                if !new.is_dir() {
                    self.must_be_empty(to, &place, job);
                }
                self.trees[to].insert(place.clone(), *new);
                self.look(to, &place);
                if self.trees[slot(*from)].get(&place) == Some(new) {
                    self.agree(job.leaf, &place, Some(*new));
                }
            }
            Op::Move { at, source_path, expect, new } => {
                let (at, old) = (slot(*at), text(source_path));
                assert_eq!(self.trees[at].get(&old), Some(expect), "{job:?}");
                assert!(!self.trees[at].contains_key(&place), "{job:?}");
                assert!(self.is_dir(at, above(&place)), "no parent: {job:?}");
                self.trees[at].remove(&old);
                self.trees[at].insert(place.clone(), *new);
                self.look(at, &place);
                self.look(at, &old);
            }
            Op::Delete { at, because, expect } => {
                let at = slot(*at);
                assert_eq!(self.trees[at].get(&place), Some(expect), "{job:?}");
                assert_eq!(self.trees[slot(*because)].get(&place), None, "{job:?}");
                self.must_be_empty(at, &place, job);
                self.trees[at].remove(&place);
                self.look(at, &place);
                self.agree(job.leaf, &place, None);
            }
            Op::Agree { value } => {
                if let Some(value) = value {
                    assert_eq!(self.trees[0].get(&place), Some(value), "{job:?}");
                    assert_eq!(self.trees[slot(job.leaf)].get(&place), Some(value), "{job:?}");
                }
                self.agree(job.leaf, &place, *value);
            }
            Op::Read { replicas } => panic!("everything is read here: {replicas:?}"),
        }
    }

    fn must_be_empty(&self, at: usize, place: &str, job: &Job) {
        let inside = self.trees[at].keys().find(|p| *p != place && within(p, place));
        assert_eq!(inside, None, "not empty: {job:?}");
    }

    /// Carries out what is ready, some at a time, until nothing is.
    fn run(&mut self, mut seed: u64) {
        for _ in 0..400 {
            self.bench.settle();
            let rows: Vec<_> = self.bench.ready.keys().copied().collect();
            if rows.is_empty() {
                return;
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let first = usize::try_from(seed >> 33).expect("31 bits") % rows.len();
            let some = 1 + usize::try_from(seed >> 60).expect("4 bits") % 3;
            let picked: Vec<_> = rows.iter().cycle().skip(first).take(some).collect();
            for (path, verdict, moved) in picked {
                // What an earlier job of the batch changed is not ready any more.
                if let Some(job) = self.bench.engine.job(*path, verdict, *moved) {
                    self.apply(&job);
                }
            }
        }
        panic!("it does not come to rest: {:?}", self.bench.jobs());
    }

    /// The paths in conflict.
    fn conflicts(&mut self) -> BTreeSet<String> {
        let mut found = Vec::new();
        let mut others = Vec::new();
        self.bench.engine.outstanding(PathId::ROOT, &mut |path, verdict, waits| {
            if matches!(verdict.act, Act::Conflict(_)) {
                found.push(path);
            } else {
                others.push((path, *verdict, waits));
            }
            true
        });
        let paths = self.bench.engine.paths();
        assert!(!found.is_empty() || others.is_empty(), "stuck: {others:?}");
        found.into_iter().map(|id| text(&paths.path(id))).collect()
    }
}

const FILES: [&str; 6] = ["a", "b", "d/x", "d/y", "d/e/z", "d/e"];
const PLACES: [&str; 7] = ["a", "b", "d", "d/x", "d/y", "d/e", "d/e/z"];

fn edit() -> BoxedStrategy<Edit> {
    let file = || prop::sample::select(FILES.to_vec());
    let place = || prop::sample::select(PLACES.to_vec()).boxed();
    let content = prop::sample::select(vec!["1", "2", "3", "4"]);
    prop_oneof![
        6 => (file(), content).prop_map(|(path, text)| Edit::Write(path, text)),
        4 => prop::sample::select(vec!["d", "d/e", "a"]).prop_map(Edit::MakeDir),
        3 => place().prop_map(Edit::Remove),
        3 => (place(), place()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => file().prop_map(Edit::Chmod),
    ]
    .boxed()
}

/// Edits at replicas, and the number of a random order.
type Round = (Vec<(usize, Edit)>, u64);

/// Rounds of edits at replicas, with the number of a random order.
fn rounds(leaves: usize) -> BoxedStrategy<Vec<Round>> {
    let edits = prop::collection::vec((0..=leaves, edit()), 1..8);
    prop::collection::vec((edits, any::<u64>()), 1..5).boxed()
}

fn live(mode: Mode, leaves: usize, rounds: &[Round]) {
    let mut world = World::new(mode, leaves);
    for (edits, seed) in rounds {
        for (at, edit) in edits {
            world.edit(*at, edit);
        }
        world.run(*seed);
        let conflicts = world.conflicts();
        let [source, others @ ..] = world.trees.as_slice() else {
            panic!("no source");
        };
        for tree in others {
            let touches =
                |path: &String| conflicts.iter().any(|c| within(path, c) || within(c, path));
            match mode {
                Mode::TwoWay | Mode::TwoWaySource | Mode::Mirror => {
                    let rest = |tree: &Tree| -> Tree {
                        let kept = tree.iter().filter(|(path, _)| !touches(path));
                        kept.map(|(path, value)| (path.clone(), *value)).collect()
                    };
                    assert_eq!(rest(source), rest(tree), "conflicts: {conflicts:?}");
                }
                Mode::OneWay | Mode::OneWaySource => {
                    for (path, value) in source.iter().filter(|(path, _)| !touches(path)) {
                        assert_eq!(tree.get(path), Some(value), "{path}");
                    }
                }
            }
        }
        if mode == Mode::Mirror {
            assert!(conflicts.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn two_sides_become_equal(rounds in rounds(1)) {
        live(Mode::TwoWay, 1, &rounds);
    }

    #[test]
    fn the_source_wins_where_it_may(rounds in rounds(1)) {
        live(Mode::TwoWaySource, 1, &rounds);
    }

    #[test]
    fn a_star_becomes_equal(rounds in rounds(3)) {
        live(Mode::TwoWay, 3, &rounds);
    }

    #[test]
    fn a_mirror_becomes_the_source(rounds in rounds(2)) {
        live(Mode::Mirror, 2, &rounds);
    }

    #[test]
    fn one_way_leaves_have_what_the_source_has(rounds in rounds(2)) {
        live(Mode::OneWay, 2, &rounds);
        live(Mode::OneWaySource, 2, &rounds);
    }
}
