//! Ten thousand random histories: after every settle the engine says what the plain version says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use super::derived::{Derived, derive};
use super::oracle::Oracle;
use super::script::{Bench, leaf, leaves_of, path, policy, value};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::Name;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Rule, Verdict};
use crate::dataflow::query::{Tally, Waits};

/// Directories and the names that occur in them.
pub(super) const DIRS: [(&str, &[&str]); 3] =
    [("", &["a", "b", "d"]), ("d", &["x", "y", "e"]), ("d/e", &["z"])];
pub(super) const PATHS: [&str; 7] = ["a", "b", "d", "d/x", "d/y", "d/e", "d/e/z"];

#[derive(Clone, Debug)]
pub(super) enum Step {
    Fact(Fact),
    Settle,
}

fn is_dir_name(path: &str) -> bool {
    matches!(path, "d" | "d/e")
}

/// What a path may hold: mostly what its name suggests.
fn held(path: &'static str) -> BoxedStrategy<Option<Value>> {
    let file = ["1", "1", "2", "2", "2", "3", "1!", "2!", "u1", "u2"];
    let dir = ["dir", "dir", "dir", "dir", "dir", "dir", "dir", "dir!"];
    let odd = ["link", "ignored", "fifo", "mount", "broken"];
    let pick = |texts: &[&'static str]| prop::sample::select(texts.to_vec()).boxed();
    let (files, dirs) = if is_dir_name(path) { (2, 12) } else { (12, 1) };
    let text = prop_oneof![
        files => pick(&file),
        dirs => pick(&dir),
        1 => pick(&odd),
        5 => pick(&[""]),
    ];
    text.prop_map(|text| (!text.is_empty()).then(|| value(text))).boxed()
}

fn agreed(path: &'static str) -> BoxedStrategy<Option<Value>> {
    let carried = |v: Option<Value>| {
        v.filter(|v| matches!(v, Value::File(_) | Value::Dir { .. } | Value::Symlink { .. }))
    };
    let held = held(path).prop_map(carried).boxed();
    if is_dir_name(path) {
        prop_oneof![10 => held, 2 => Just(Some(Value::Remnant))].boxed()
    } else {
        held
    }
}

pub(super) fn listing(
    replica: Replica,
    (dir, names): (&'static str, &'static [&'static str]),
) -> BoxedStrategy<Fact> {
    let children: Vec<_> = names
        .iter()
        .map(|name| {
            let at = if dir.is_empty() { (*name).to_owned() } else { format!("{dir}/{name}") };
            let at = PATHS.into_iter().find(|p| *p == at).expect("a known path");
            held(at)
                .prop_map(move |v| v.map(|v| (Name::parse(name.as_bytes()).expect("a name"), v)))
        })
        .collect();
    children
        .prop_map(move |children| Fact::Listed {
            replica,
            dir: path(dir),
            children: children.into_iter().flatten().collect(),
        })
        .boxed()
}

fn any_path() -> BoxedStrategy<&'static str> {
    prop::sample::select(PATHS.to_vec()).boxed()
}

fn any_fact(leaves: u8) -> BoxedStrategy<Fact> {
    let replica = || {
        let slots = 0..=leaves;
        slots.prop_map(|slot| Replica::try_from(slot).expect("a slot")).boxed()
    };
    let a_leaf = || (1..=leaves).prop_map(leaf).boxed();
    let dir = || prop::sample::select(DIRS.to_vec()).boxed();
    prop_oneof![
        8 => (replica(), dir()).prop_flat_map(|(r, d)| listing(r, d)),
        10 => (replica(), any_path()).prop_flat_map(|(replica, at)| {
            held(at).prop_map(move |value| Fact::Holds { replica, path: path(at), value })
        }),
        6 => (a_leaf(), any_path()).prop_flat_map(|(leaf, at)| {
            agreed(at).prop_map(move |value| Fact::Agreed { leaf, path: path(at), value })
        }),
        1 => (replica(), dir()).prop_map(|(replica, (dir, _))| Fact::Unlisted { replica, dir: path(dir) }),
        1 => (replica(), any_path()).prop_flat_map(|(replica, at)| {
            agreed(at).prop_map(move |value| Fact::Yields { replica, path: path(at), value })
        }),
        1 => (any_path(), 1..4_u8).prop_map(|(at, n)| Fact::Past {
            path: path(at),
            digest: value(&n.to_string()).digest().expect("a file"),
        }),
    ]
    .boxed()
}

fn steps(leaves: u8) -> BoxedStrategy<Vec<Step>> {
    let step = prop_oneof![
        3 => any_fact(leaves).prop_map(Step::Fact),
        1 => Just(Step::Settle),
    ];
    (opening(leaves), prop::collection::vec(step, 1..14))
        .prop_map(|(mut facts, rest)| {
            facts.extend(rest);
            facts
        })
        .boxed()
}

/// Often all is listed and something agreed before anything happens: else hardly anything is ever ready.
pub(super) fn opening(leaves: u8) -> BoxedStrategy<Vec<Step>> {
    let agree = (1..=leaves, any_path()).prop_flat_map(|(slot, at)| {
        agreed(at).prop_map(move |value| Fact::Agreed { leaf: leaf(slot), path: path(at), value })
    });
    let mut lists = Vec::new();
    for slot in 0..=leaves {
        for dir in DIRS {
            lists.push(listing(Replica::try_from(slot).expect("a slot"), dir));
        }
    }
    let full = (prop::collection::vec(agree, 0..8), lists);
    let full =
        full.prop_map(|(agreed, lists)| agreed.into_iter().chain(lists).map(Step::Fact).collect());
    prop_oneof![3 => full, 1 => Just(Vec::new())].boxed()
}

/// Runs both and compares after every settle.
fn compare(mode: Mode, leaves: u8, steps: &[Step]) -> Result<Derived, TestCaseError> {
    let mut bench = Bench::new(mode, leaves);
    let mut oracle = Oracle::new(policy(mode), leaves_of(leaves));
    let mut last = Derived::default();
    for step in steps.iter().chain([&Step::Settle]) {
        match step {
            Step::Fact(fact) => {
                bench.engine.observe(fact);
                oracle.observe(fact);
            }
            Step::Settle => {
                bench.settle();
                last = derive(&oracle, &bench.engine);
                same(&mut bench, &last, leaves)?;
                // Nothing follows from a name that is gone, so nothing changes with it.
                oracle.forget_past(&bench.forget_names());
                last = derive(&oracle, &bench.engine);
                same(&mut bench, &last, leaves)?;
            }
        }
    }
    Ok(last)
}

fn same(bench: &mut Bench, expected: &Derived, leaves: u8) -> Result<(), TestCaseError> {
    let ready: BTreeSet<_> = bench.ready.keys().copied().collect();
    prop_assert_eq!(&ready, &expected.ready);
    let mut stuck = BTreeSet::new();
    let mut seen: BTreeMap<(PathId, Replica), (Verdict, Waits)> = BTreeMap::new();
    bench.engine.outstanding(PathId::ROOT, &mut |path, verdict, waits| {
        if matches!(verdict.act, Act::Conflict(_) | Act::Blocked(_)) {
            stuck.insert((path, *verdict));
        }
        assert!(seen.insert((path, verdict.leaf), (*verdict, waits)).is_none());
        true
    });
    prop_assert_eq!(&stuck, &expected.stuck);
    let idle = seen.iter().filter(|(_, (_, waits))| *waits == Waits::Nothing);
    let idle: BTreeSet<_> = idle.map(|((path, _), (verdict, _))| (*path, *verdict)).collect();
    let rows: BTreeSet<_> = ready.iter().map(|(path, verdict, _)| (*path, *verdict)).collect();
    prop_assert_eq!(idle, rows);
    for (dir, _) in DIRS {
        let Some(dir) = bench.engine.paths().lookup(&path(dir)) else {
            continue;
        };
        let mut tallies: BTreeMap<Replica, Tally> = bench.engine.tallies(dir).into_iter().collect();
        // The plain version counts what is strictly below.
        for ((_, leaf), (verdict, _)) in seen.iter().filter(|((path, _), _)| *path == dir) {
            let sum = tallies.get_mut(leaf).expect("its own verdict counts");
            *sum = sum.less(&Tally::of(verdict));
        }
        tallies.retain(|_, tally| *tally != Tally::default());
        let known = expected.tallies.range((dir, Replica::SOURCE)..);
        let known = known.take_while(|((d, _), _)| *d == dir);
        let known: BTreeMap<_, _> = known.map(|((_, leaf), tally)| (*leaf, *tally)).collect();
        prop_assert_eq!(tallies, known);
    }
    for slot in 0..=leaves {
        let at = Replica::try_from(slot).expect("a slot");
        let deletes = expected.file_deletes.get(&at).copied().unwrap_or_default();
        prop_assert_eq!(bench.engine.deletes(at).outstanding, deletes);
    }
    bench.jobs();
    Ok(())
}

pub(super) fn config(cases: u32) -> Config {
    let mut config = Config::with_cases(cases);
    // The same histories every time; PROPTEST_RNG_SEED asks for others.
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0x7965_6574);
    }
    config
}

macro_rules! histories {
    ($($name:ident: $modes:expr, $leaves:expr, $cases:expr;)*) => {
        $(proptest! {
            #![proptest_config(config($cases))]
            #[test]
            fn $name(mode in prop::sample::select($modes.to_vec()), steps in steps($leaves)) {
                compare(mode, $leaves, &steps)?;
            }
        })*
    };
}

const TWO_WAY: [Mode; 2] = [Mode::TwoWay, Mode::TwoWaySource];
const ONE_WAY: [Mode; 3] = [Mode::OneWay, Mode::OneWaySource, Mode::Mirror];

histories! {
    two_way_with_one_leaf: TWO_WAY, 1, 3500;
    two_way_with_two_leaves: TWO_WAY, 2, 2500;
    two_way_with_three_leaves: TWO_WAY, 3, 1500;
    one_way_with_one_leaf: ONE_WAY, 1, 1500;
    one_way_with_two_leaves: ONE_WAY, 2, 1000;
}

/// Guards the generator: a history that reaches nothing tests nothing.
#[test]
fn the_histories_reach_every_stage() {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (mode, leaves) in [(Mode::TwoWay, 1), (Mode::TwoWay, 2), (Mode::OneWay, 1)] {
        let mut runner = TestRunner::new(config(1));
        for _ in 0..1200 {
            let steps = steps(leaves).new_tree(&mut runner).expect("a history").current();
            let derived = compare(mode, leaves, &steps).expect("the same");
            let rules = derived.rules.iter().map(|rule| format!("{rule:?}"));
            let moves = derived.ready.iter().filter(|(_, _, moved)| moved.is_some());
            for name in rules.chain(moves.map(|_| "move".to_owned())) {
                *counts.entry(name).or_default() += 1;
            }
        }
    }
    for rule in [Rule::ChildLives, Rule::DirectoryInTheWay, Rule::BecomesLeafOnly] {
        assert!(counts.get(&format!("{rule:?}")) >= Some(&20), "{rule:?}: {counts:?}");
    }
    assert!(counts.get("move") >= Some(&20), "{counts:?}");
}
