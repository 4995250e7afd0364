//! Two and three leaves of one source.

use super::alphabet::{act, decisions, digest, policy, slot, value, views, word};
use super::world::{ORDERS, Order, World, agreed, same};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Decision, LeafView, Rule, Views};

type Words<'a> = &'a [&'a str];

/// Every source × leaves, each leaf with every agreed × held.
fn every_star(source: Words<'_>, agreed: Words<'_>, held: Words<'_>, leaves: usize) -> Vec<Views> {
    let mut kinds = Vec::new();
    for agreed in agreed {
        kinds.extend(held.iter().map(|held| (*agreed, *held)));
    }
    let mut stars: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
    for _ in 0..leaves {
        let with = |star: &Vec<_>| {
            let star = star.clone();
            let add = |kind: &(_, _)| [star.as_slice(), &[*kind]].concat();
            kinds.iter().map(add).collect::<Vec<_>>()
        };
        stars = stars.iter().flat_map(with).collect();
    }
    let all = |s: &&str| stars.iter().map(|l| views(s, l)).collect::<Vec<_>>();
    source.iter().flat_map(all).collect()
}

fn two_leaves() -> Vec<Views> {
    let held = ["-", "f1", "f1x", "f1t", "f2", "f2x", "f3", "link1", "dir", "u1", "u2", "u3"];
    let source = ["-", "f1", "f1x", "f2", "f3", "link1", "dir", "dirx", "u1", "u2"];
    every_star(&source, &["-", "f1", "f2", "dir"], &held, 2)
}

fn three_leaves() -> Vec<Views> {
    let held = ["-", "f1", "f1x", "f2", "f3", "dir"];
    every_star(&["-", "f1", "f2", "dir"], &["-", "f1"], &held, 3)
}

/// Whether the path stands still for the user.
fn stands(act: Act) -> bool {
    matches!(act, Act::Conflict(_) | Act::Await)
}

/// Runs `start` and checks the end; returns it.
fn comes_to_rest(start: &Views, mode: Mode, order: Order) -> World {
    let mut world = World::new(start.clone(), mode);
    let left = world.run(order);
    let tell =
        || format!("{order:?} {} became {}", World::new(start.clone(), mode).tell(), world.tell());
    let conflict = left.iter().any(|d| matches!(d.verdict.act, Act::Conflict(_)));
    for d in &left {
        assert!(stands(d.verdict.act) && conflict, "{}", tell());
    }
    for leaf in &world.views.leaves {
        if left.iter().any(|d| d.verdict.leaf == leaf.leaf) {
            continue;
        }
        let one_side = leaf.value.is_none() != world.views.source.is_none();
        if leaf.agreed == Some(Value::Remnant) && one_side {
            continue;
        }
        let own = world.views.source.is_none() && agreed(leaf).is_none();
        if own && matches!(mode, Mode::OneWay | Mode::OneWaySource) {
            continue;
        }
        assert_eq!(leaf.value, world.views.source, "{}", tell());
        assert_eq!(leaf.agreed, world.views.source, "{}", tell());
    }
    if mode == Mode::TwoWay && start.past.is_empty() && start.source_yields.is_none() {
        nothing_is_lost(start, &world, &tell());
    }
    world
}

/// What somebody wrote and nobody agreed to is still there.
fn nothing_is_lost(start: &Views, end: &World, told: &str) {
    let held = |views: &Views| {
        let leaves = views.leaves.iter().map(|leaf| leaf.value);
        leaves.chain([views.source]).collect::<Vec<_>>()
    };
    for written in held(start).into_iter().filter(Option::is_some) {
        let known = start.leaves.iter().any(|leaf| same(leaf.agreed, written));
        let given = start.leaves.iter().any(|leaf| same(leaf.yields, written));
        let there = held(&end.views).iter().any(|now| same(*now, written));
        assert!(known || given || there, "{} is gone: {told}", word(written));
    }
}

#[test]
fn two_leaves_come_to_rest_equal_or_in_conflict() {
    for mode in Mode::ALL {
        for star in two_leaves() {
            for order in ORDERS {
                comes_to_rest(&star, mode, order);
            }
        }
    }
}

#[test]
fn leaves_with_remnants_come_to_rest() {
    let held = ["-", "dir", "f1"];
    for mode in Mode::ALL {
        for star in every_star(&held, &["-", "dir", "remnant"], &held, 3) {
            for order in ORDERS {
                comes_to_rest(&star, mode, order);
            }
        }
    }
}

#[test]
fn two_leaves_with_a_past_come_to_rest() {
    let held = ["-", "f1", "f1x", "f2", "f3", "u1", "u3"];
    for mode in Mode::ALL {
        for mut star in every_star(&["-", "f2", "f3", "u2"], &["-", "f1"], &held, 2) {
            star.past = vec![digest(1), digest(2)];
            for order in ORDERS {
                comes_to_rest(&star, mode, order);
            }
        }
    }
}

#[test]
fn three_leaves_come_to_rest_equal_or_in_conflict() {
    for mode in Mode::ALL {
        for star in three_leaves() {
            comes_to_rest(&star, mode, Order::All);
            if mode.is_two_way() {
                comes_to_rest(&star, mode, Order::Last);
            }
        }
    }
}

#[test]
fn at_most_one_value_flows_to_the_source() {
    let to_source = |d: &&Decision| match d.verdict.act {
        Act::Put { to: at, .. } | Act::Delete { at } => at.is_source(),
        Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => false,
    };
    for mode in Mode::ALL {
        for star in two_leaves().into_iter().chain(three_leaves()) {
            let decided = decisions(&star, policy(mode));
            let slots: Vec<_> = decided.iter().map(|d| d.verdict.leaf).collect();
            assert!(slots.is_sorted() && slots.len() <= star.leaves.len());
            assert!(decided.iter().filter(to_source).count() <= 1);
            let waits = decided.iter().any(|d| d.verdict.act == Act::Await);
            let awaited = decided
                .iter()
                .any(|d| to_source(&d) || matches!(d.verdict.act, Act::Conflict(_) | Act::Read(_)));
            assert!(!waits || awaited, "{}", World::new(star, mode).tell());
        }
    }
}

/// What is decided, without which leaf donates what several have.
fn unnumbered(views: &Views, mode: Mode) -> Vec<String> {
    let decided = decisions(views, policy(mode));
    let mut all = Vec::new();
    for leaf in &views.leaves {
        let of_it = decided.iter().find(|d| d.verdict.leaf == leaf.leaf);
        let told = act(of_it, false);
        let own = format!("{}|{}", word(leaf.agreed), word(leaf.value));
        let rival = told == "wait" || told.starts_with("source :=");
        all.push(if rival { format!("{own} rival") } else { format!("{own} {told}") });
        if told.starts_with("source :=") {
            all.push(told);
        }
    }
    all.sort();
    all
}

#[test]
fn d34_the_numbers_of_leaves_do_not_matter() {
    for mode in Mode::ALL {
        for star in two_leaves().into_iter().chain(three_leaves()) {
            let told = unnumbered(&star, mode);
            for turn in 1..star.leaves.len() {
                let mut turned = star.clone();
                turned.leaves.rotate_left(turn);
                renumber(&mut turned.leaves);
                assert_eq!(told, unnumbered(&turned, mode), "{}", World::new(star, mode).tell());
            }
        }
    }
}

/// Gives the leaves their numbers by place, unread files included.
fn renumber(leaves: &mut [LeafView]) {
    for (at, leaf) in leaves.iter_mut().enumerate() {
        leaf.leaf = slot(at + 1);
        leaf.value = value(&word(leaf.value), leaf.leaf);
    }
}

#[test]
fn an_ignored_path_at_one_leaf_stops_it_for_all() {
    for mode in Mode::ALL {
        for mut star in two_leaves() {
            star.leaves[1].value = Some(Value::Ignored);
            assert_eq!(decisions(&star, policy(mode)), []);
        }
    }
}

#[test]
fn an_obstacle_at_one_leaf_does_not_stop_the_other() {
    for mode in Mode::ALL {
        for mut star in two_leaves() {
            star.leaves[1].value = Some(Value::Unreadable { errno: 13 });
            let decided = decisions(&star, policy(mode));
            star.leaves.truncate(1);
            let alone = decisions(&star, policy(mode));
            assert_eq!(decided.len(), alone.len() + 1);
            assert_eq!(decided[..alone.len()], alone);
        }
    }
}

#[test]
fn leaves_that_disagree_end_as_the_user_says() {
    let disagree = |d: &Decision| {
        d.verdict.rule == Rule::LeavesDisagree && matches!(d.verdict.act, Act::Conflict(_))
    };
    let mut seen = 0;
    for mode in Mode::ALL {
        for star in two_leaves() {
            let decided = decisions(&star, policy(mode));
            if !decided.iter().all(disagree) || decided.is_empty() {
                continue;
            }
            seen += 1;
            for kept in 0..3 {
                let mut told = star.clone();
                // 0: the source is kept, else the leaf with this number.
                for leaf in &mut told.leaves {
                    if leaf.leaf.slot() != kept {
                        leaf.yields = leaf.value;
                    }
                }
                if kept != 0 {
                    told.source_yields = told.source;
                }
                let wanted = match Replica::leaf(kept) {
                    Some(leaf) => World::new(star.clone(), mode).held(leaf),
                    None => star.source,
                };
                for order in ORDERS {
                    let end = comes_to_rest(&told, mode, order);
                    assert!(same(end.views.source, wanted), "{} {kept}", end.tell());
                    for leaf in &end.views.leaves {
                        assert!(same(leaf.value, wanted), "{} {kept}", end.tell());
                    }
                }
            }
        }
    }
    assert!(seen > 100);
}

#[test]
fn any_words_of_the_user_leave_it_at_rest_and_lawful() {
    let held = ["-", "f1", "f2", "f2x", "f3", "u1", "u2"];
    for mode in Mode::ALL {
        for star in every_star(&["-", "f1", "f2", "f4"], &["-", "f1"], &held, 2) {
            for bits in 1..8 {
                let mut told = star.clone();
                told.source_yields = told.source.filter(|_| bits & 1 != 0);
                for (leaf, bit) in told.leaves.iter_mut().zip([2, 4]) {
                    leaf.yields = leaf.value.filter(|_| bits & bit != 0);
                }
                comes_to_rest(&told, mode, Order::All);
                comes_to_rest(&told, mode, Order::Last);
            }
        }
    }
}
