//! One leaf, every combination of agreed, source, leaf and mode.

use super::alphabet::{
    EVERYTHING, OBSTACLES, UNREAD, act, decisions, digest, of_leaf, policy, read, sentence, slot,
    value, views,
};
use super::world::{ORDERS, Order, World, agreed, same};
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, ConflictKind, Decision, Rule, Views};

fn held() -> Vec<&'static str> {
    [EVERYTHING, UNREAD].concat()
}

fn recorded() -> Vec<&'static str> {
    [EVERYTHING, &["remnant"]].concat()
}

/// Every agreed × source × leaf, with all values a replica can hold.
fn every_pair() -> Vec<Views> {
    let held = [held().as_slice(), OBSTACLES].concat();
    let mut all = Vec::new();
    for agreed in recorded() {
        for source in &held {
            for leaf in &held {
                all.push(views(source, &[(agreed, leaf)]));
            }
        }
    }
    all
}

/// The same without obstacles, with pasts.
fn every_clean_pair() -> Vec<Views> {
    let obstacle = |value: Option<Value>| {
        matches!(value, Some(Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. }))
    };
    let clean = |v: &Views| !obstacle(v.source) && !obstacle(v.leaves[0].value);
    let plain: Vec<Views> = every_pair().into_iter().filter(clean).collect();
    let mut all = plain.clone();
    for past in [vec![digest(1)], vec![digest(3), digest(2)]] {
        all.extend(plain.iter().cloned().map(|v| Views { past: past.clone(), ..v }));
    }
    all
}

fn both_read(v: &Views) -> Views {
    let mut v = v.clone();
    v.source = v.source.map(read);
    for leaf in &mut v.leaves {
        leaf.value = leaf.value.map(read);
    }
    v
}

#[test]
fn every_case_has_one_sound_answer() {
    for mode in Mode::ALL {
        for v in every_pair() {
            let told = || World::new(v.clone(), mode).tell();
            let decided = decisions(&v, policy(mode));
            assert!(decided.len() <= 1, "{}", told());
            assert_eq!(decided, decisions(&v, policy(mode)), "{}", told());
            for d in &decided {
                assert_eq!(d.verdict.leaf, slot(1));
                match d.verdict.act {
                    Act::Put { to, .. } => {
                        assert!(d.new.is_some(), "{}", told());
                        assert_eq!(d.expect, World::new(v.clone(), mode).held(to));
                        assert_ne!(d.new, d.expect, "{}", told());
                    }
                    Act::Delete { .. } => assert_eq!(d.new, None),
                    Act::Agree => {
                        let own = d.verdict.rule == Rule::BecomesLeafOnly;
                        let both = [v.source, v.leaves[0].value];
                        assert!(own || both == [d.new; 2], "{}", told());
                        assert_eq!(d.expect, None);
                    }
                    Act::Read(set) => {
                        assert!(!set.is_empty(), "{}", told());
                        for at in set.iter() {
                            let held = World::new(v.clone(), mode).held(at);
                            assert_ne!(held, held.map(read), "read again: {}", told());
                        }
                        assert_eq!(d.verdict.rule, Rule::NeedsReading);
                    }
                    Act::Await => panic!("nobody to wait for: {}", told()),
                    Act::Conflict(_) | Act::Blocked(_) => {
                        assert_eq!((d.new, d.expect), (None, None));
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_in_sync_says_nothing() {
    for mode in Mode::ALL {
        for word in EVERYTHING {
            assert_eq!(decisions(&views(word, &[(word, word)]), policy(mode)), []);
        }
        assert_eq!(decisions(&views("-", &[("remnant", "dir")]), policy(mode)), []);
        let at_source = decisions(&views("dir", &[("remnant", "-")]), policy(mode));
        assert_eq!(at_source.is_empty(), mode.is_two_way());
    }
}

#[test]
fn an_ignored_path_is_nobodys_business() {
    for mode in Mode::ALL {
        for mut v in every_pair() {
            v.leaves[0].value = Some(Value::Ignored);
            assert_eq!(decisions(&v, policy(mode)), []);
            (v.source, v.leaves[0].value) = (v.leaves[0].value, v.source);
            assert_eq!(decisions(&v, policy(mode)), []);
        }
    }
}

#[test]
fn an_obstacle_is_never_written_recorded_or_taken_for_an_absence() {
    for mode in Mode::ALL {
        for v in every_pair() {
            let obstacle =
                |v: Option<Value>| matches!(v, Some(Value::Skipped(_) | Value::Unreadable { .. }));
            if obstacle(v.source) || obstacle(v.leaves[0].value) {
                for d in decisions(&v, policy(mode)) {
                    assert!(matches!(d.verdict.act, Act::Blocked(_)), "{d:?}");
                }
            }
        }
    }
}

#[test]
fn one_leaf_comes_to_rest_equal_or_in_conflict_and_loses_nothing() {
    for mode in Mode::ALL {
        for v in every_clean_pair() {
            for order in ORDERS {
                let mut world = World::new(v.clone(), mode);
                let left = world.run(order);
                let told =
                    || format!("{} became {}", World::new(v.clone(), mode).tell(), world.tell());
                let leaf = &world.views.leaves[0];
                if let [conflict] = left.as_slice() {
                    assert!(matches!(conflict.verdict.act, Act::Conflict(_)), "{}", told());
                    assert!(same(world.views.source, v.source), "{}", told());
                    assert!(same(leaf.value, v.leaves[0].value), "{}", told());
                    continue;
                }
                let one_side = leaf.value.is_none() != world.views.source.is_none();
                let remnant = leaf.agreed == Some(Value::Remnant) && one_side;
                let own = world.views.source.is_none() && agreed(leaf).is_none();
                let leaf_only = own && matches!(mode, Mode::OneWay | Mode::OneWaySource);
                if remnant || leaf_only {
                    continue;
                }
                assert_eq!(leaf.value, world.views.source, "{}", told());
                assert_eq!(leaf.agreed, world.views.source, "{}", told());
                assert_eq!(leaf.value, leaf.value.map(read), "{}", told());
            }
        }
    }
}

#[test]
fn a_two_way_sync_drops_only_what_was_agreed() {
    for v in every_clean_pair().iter().filter(|v| v.past.is_empty()) {
        let mut world = World::new(v.clone(), Mode::TwoWay);
        world.run(Order::All);
        for edit in [v.source, v.leaves[0].value] {
            let descends = edit.is_none() || same(edit, agreed(&v.leaves[0]));
            let there = [world.views.source, world.views.leaves[0].value];
            let kept = there.iter().any(|now| same(*now, edit));
            assert!(
                descends || kept,
                "{} became {}",
                World::new(v.clone(), Mode::TwoWay).tell(),
                world.tell()
            );
        }
    }
}

#[test]
fn a_conflict_is_two_edits_and_nothing_else() {
    for v in every_clean_pair() {
        let v = both_read(&v);
        let (source, leaf, agreed) = (v.source, v.leaves[0].value, agreed(&v.leaves[0]));
        let differ = source.is_some() && leaf.is_some() && !same(source, leaf);
        let stale =
            agreed.is_none() && leaf.and_then(|l| l.digest()).is_some_and(|d| v.past.contains(&d));
        let edited = !same(leaf, agreed) && !stale;
        for mode in Mode::ALL {
            let expected = match mode {
                Mode::TwoWay => differ && edited && !same(source, agreed),
                Mode::OneWay => differ && edited,
                Mode::TwoWaySource | Mode::OneWaySource | Mode::Mirror => false,
            };
            let decided = decisions(&v, policy(mode));
            let conflict = matches!(decided.first().map(|d| d.verdict.act), Some(Act::Conflict(_)));
            assert_eq!(conflict, expected, "{}", World::new(v.clone(), mode).tell());
        }
    }
}

#[test]
fn two_way_does_the_mirror_image_for_the_mirror_image() {
    let flip = |text: &str| {
        let flipped = text.replace("source", "SIDE").replace("leaf", "source");
        flipped.replace("SIDE", "leaf")
    };
    for v in every_clean_pair().iter().filter(|v| v.past.is_empty()) {
        let v = both_read(v);
        let mut mirrored = v.clone();
        (mirrored.source, mirrored.leaves[0].value) = (v.leaves[0].value, v.source);
        let one = decisions(&v, policy(Mode::TwoWay));
        let other = decisions(&mirrored, policy(Mode::TwoWay));
        // Metadata both changed: the source's mode and the leaf's turn are not symmetric, by rule.
        let merged = |d: &Vec<_>| {
            let rule = d.first().map(|d: &Decision| d.verdict.rule);
            rule == Some(Rule::MetadataMerged)
        };
        if merged(&one) && merged(&other) {
            continue;
        }
        let (one, other) = (act(one.first(), false), act(other.first(), false));
        assert_eq!(one, flip(&other), "{}", World::new(v.clone(), Mode::TwoWay).tell());
    }
}

#[test]
fn a_word_of_the_user_ends_every_conflict_and_touches_nothing_else() {
    for mode in Mode::ALL {
        for v in every_clean_pair() {
            let mut world = World::new(v.clone(), mode);
            let left = world.run(Order::All);
            let conflict = left.iter().any(|d| matches!(d.verdict.act, Act::Conflict(_)));
            for source_yields in [true, false] {
                let mut told = world.clone();
                if source_yields {
                    told.views.source_yields = world.views.source;
                } else {
                    told.views.leaves[0].yields = world.views.leaves[0].value;
                }
                let before = told.tell();
                if !conflict {
                    assert_eq!(told.decide(), left, "{before}");
                    continue;
                }
                let kept =
                    if source_yields { world.views.leaves[0].value } else { world.views.source };
                assert_eq!(told.decide()[0].verdict.rule, Rule::Resolved, "{before}");
                for order in ORDERS {
                    let mut run = told.clone();
                    assert_eq!(run.run(order), [], "{before}");
                    assert!(same(run.views.source, kept), "{before}");
                    assert!(same(run.views.leaves[0].value, kept), "{before}");
                }
            }
        }
    }
}

#[test]
fn a_word_of_the_user_does_not_cover_a_later_edit() {
    let mut v = views("f2", &[("f1", "f3")]);
    v.leaves[0].yields = value("f4", slot(1));
    v.source_yields = value("f4", Replica::SOURCE);
    let act = decisions(&v, policy(Mode::TwoWay))[0].verdict.act;
    assert_eq!(act, Act::Conflict(ConflictKind::EditEdit));
    // A record nobody can read any more covers nothing, and asks for no reading.
    v.leaves[0].yields = value("u4", slot(1));
    v.leaves[0].value = value("f2x", slot(1));
    v.source = value("f3", Replica::SOURCE);
    v.source_yields = None;
    let act = decisions(&v, policy(Mode::TwoWay))[0].verdict.act;
    assert_eq!(act, Act::Conflict(ConflictKind::EditEdit));
}

#[test]
fn the_print_follows_every_value() {
    let print = |source, agreed, leaf| {
        let decided = decisions(&views(source, &[(agreed, leaf)]), policy(Mode::TwoWay));
        of_leaf(&decided, 0).expect("a verdict").verdict.print
    };
    let prints = [
        print("f2", "f1", "f3"),
        print("f2x", "f1", "f3"),
        print("f2", "f1x", "f3"),
        print("f2", "f1", "f3t"),
        print("f3", "f1", "f2"),
        print("f2", "-", "f3"),
        print("u2", "-", "f3"),
    ];
    for (at, one) in prints.iter().enumerate() {
        assert!(!prints[..at].contains(one), "{at}");
    }
    assert_eq!(print("f2", "f1", "f3"), prints[0]);
}

#[test]
fn copy_takes_equal_size_and_mtime_for_equal_content() {
    let copy = |mode, source, leaf| {
        let policy = Policy { mode, trust_times: true };
        sentence(decisions(&views(source, &[("-", leaf)]), policy).first(), false)
    };
    for mode in Mode::ALL {
        assert_eq!(copy(mode, "u1", "u2"), "nothing");
        assert_eq!(copy(mode, "f1", "u1"), "nothing");
        assert_eq!(copy(mode, "u1", "-"), "leaf := u1 (NewAtSource)");
        assert_eq!(copy(mode, "u1x", "u2"), "leaf := u2x (MetadataMerged)");
    }
    for mode in [Mode::OneWaySource, Mode::Mirror] {
        assert_eq!(copy(mode, "u1t", "u1"), "leaf := u1t (SourceWins)");
        assert_eq!(copy(mode, "f1t", "f1"), "leaf := f1t (MetadataMerged)");
    }
    for mode in [Mode::TwoWay, Mode::TwoWaySource, Mode::OneWay] {
        assert_eq!(copy(mode, "u1t", "u1"), "read source, leaf (NeedsReading)");
    }
}

#[test]
fn trusting_times_never_reads_what_times_can_tell() {
    for mode in Mode::ALL {
        for v in every_pair() {
            let trusting = Policy { mode, trust_times: true };
            let mtime = |value| match value {
                Some(Value::File(file)) => Some((file.size, file.mtime)),
                _ => None,
            };
            let decided = decisions(&v, trusting);
            assert!(decided.len() <= 1);
            let equal = mtime(v.source) == mtime(v.leaves[0].value);
            if agreed(&v.leaves[0]).is_none() && equal {
                let reads = decided.iter().any(|d| matches!(d.verdict.act, Act::Read(_)));
                assert!(!reads, "{}", World::new(v, mode).tell());
            }
        }
    }
}
