//! Facts may come twice, late and in another order: in the end the engine says the same.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::histories::{DIRS, Step, config, listing, opening};
use super::script::{Bench, path};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;

type Rows = BTreeSet<(String, String, Option<String>)>;

/// The ready rows by name: the ids depend on the order in which paths were seen.
fn rows(bench: &Bench) -> Rows {
    let paths = bench.engine.paths();
    let name = |id| format!("{:?}", paths.path(id));
    let rows = bench.ready.keys();
    rows.map(|(path, verdict, moved)| {
        // Which of several equal files is renamed may differ.
        let verdict = format!("{:?} {:?}", verdict.act, verdict.rule);
        (name(*path), verdict, moved.map(|_| "moved".to_owned()))
    })
    .collect()
}

fn run(facts: &[Fact], each: usize) -> Rows {
    let mut bench = Bench::new(Mode::TwoWay, 2);
    for (at, fact) in facts.iter().enumerate() {
        bench.engine.observe(fact);
        if at % each == 0 {
            bench.settle();
        }
    }
    bench.settle();
    rows(&bench)
}

fn facts() -> BoxedStrategy<Vec<Fact>> {
    opening(2)
        .prop_map(|steps| {
            let facts = steps.into_iter().filter_map(|step| match step {
                Step::Fact(fact) => Some(fact),
                Step::Settle => None,
            });
            facts.collect()
        })
        .boxed()
}

/// A whole scan: every directory there is, of every replica, parents first.
fn scan() -> BoxedStrategy<Vec<Fact>> {
    let there = |facts: &[Fact], replica: Replica, dir: &str| {
        let Some((above, name)) = dir.rsplit_once('/').or((!dir.is_empty()).then_some(("", dir)))
        else {
            return true;
        };
        facts.iter().any(|fact| match fact {
            Fact::Listed { replica: r, dir, children } => {
                *r == replica
                    && *dir == path(above)
                    && children.iter().any(|(n, v)| n.as_bytes() == name.as_bytes() && v.is_dir())
            }
            Fact::Holds { .. }
            | Fact::Unlisted { .. }
            | Fact::Agreed { .. }
            | Fact::Past { .. }
            | Fact::Means { .. }
            | Fact::Yields { .. } => false,
        })
    };

    let mut lists = Vec::new();
    for slot in 0..=2 {
        for dir in DIRS {
            lists.push(listing(Replica::try_from(slot).expect("a slot"), dir));
        }
    }
    let keep = move |lists: Vec<Fact>| {
        let mut kept: Vec<Fact> = Vec::new();
        for list in lists {
            let Fact::Listed { replica, dir, .. } = &list else {
                continue;
            };
            let dir = String::from_utf8(dir.as_bytes().to_vec()).expect("ascii");
            if there(&kept, *replica, &dir) {
                kept.push(list);
            }
        }
        kept
    };
    lists.prop_map(keep).boxed()
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_doubled_fact_changes_nothing(facts in facts(), each in 1..5_usize) {
        let doubled: Vec<Fact> = facts.iter().flat_map(|f| [f.clone(), f.clone()]).collect();
        prop_assert_eq!(run(&facts, each), run(&doubled, each));
    }

    #[test]
    fn it_does_not_matter_where_epochs_end(facts in facts(), each in 1..5_usize) {
        prop_assert_eq!(run(&facts, usize::MAX), run(&facts, each));
    }

    #[test]
    fn replicas_may_be_heard_in_any_order(facts in facts()) {
        let mut by_replica = facts.clone();
        by_replica.sort_by_key(|fact| match fact {
            Fact::Agreed { .. } => 0,
            Fact::Listed { replica, .. } => 10 - replica.slot(),
            Fact::Holds { .. } | Fact::Unlisted { .. } | Fact::Past { .. } | Fact::Means { .. } | Fact::Yields { .. } => 11,
        });
        let ignores = facts.iter().any(|fact| format!("{fact:?}").contains("Ignored"));
        // What is forgotten for an ignore depends on when it was heard of; what is past, on what was seen.
        prop_assume!(!ignores);
        prop_assert_eq!(run(&facts, 2), run(&by_replica, 3));
    }

    #[test]
    fn whatever_was_heard_before_a_scan_ends_what_the_scan_says(
        scan in scan(),
        before in facts(),
        shuffled in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
    ) {
        // What is below something skipped or unreadable stays as it was last seen.
        let hidden = ["Skipped", "Unreadable"].iter().any(|w| format!("{scan:?}").contains(w));
        prop_assume!(!hidden);
        let mut noise: Vec<Fact> = before;
        noise.retain(|fact| matches!(fact, Fact::Listed { .. }));
        noise.extend(scan.clone());
        let mut state = shuffled | 1;
        noise.sort_by_cached_key(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state
        });
        let known = |bench: &Bench| {
            let paths = bench.engine.paths();
            let mut files = Vec::new();
            for slot in 0..=2 {
                files.push(bench.engine.files(Replica::try_from(slot).expect("a slot")));
            }
            drop(paths);
            files
        };
        let mut noisy = Bench::new(Mode::TwoWay, 2);
        noise.iter().chain(&scan).for_each(|fact| noisy.engine.observe(fact));
        noisy.settle();
        let mut clean = Bench::new(Mode::TwoWay, 2);
        scan.iter().for_each(|fact| clean.engine.observe(fact));
        clean.settle();
        prop_assert_eq!(known(&noisy), known(&clean));
        for at in super::histories::PATHS {
            let views = |bench: &mut Bench| {
                let id = bench.engine.paths().lookup(&path(at));
                let views = id.map(|id| bench.engine.views(id)).unwrap_or_default();
                let held: Vec<_> = views.leaves.iter().filter_map(|l| l.value.map(|v| (l.leaf, v))).collect();
                (views.source, held)
            };
            prop_assert_eq!(views(&mut noisy), views(&mut clean), "{}", at);
        }
        let dirs = DIRS.map(|(dir, _)| dir);
        for dir in dirs {
            let listed = |bench: &mut Bench| {
                let id = bench.engine.paths().lookup(&path(dir));
                id.map(|id| bench.engine.listed(id)).unwrap_or_default()
            };
            let (noisy, clean) = (listed(&mut noisy), listed(&mut clean));
            prop_assert!(noisy.contains_all(clean), "{}: {:?} {:?}", dir, noisy, clean);
        }
    }
}
