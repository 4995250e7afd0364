//! Files nobody has read: when a verdict waits for them, and that reading never takes a verdict back.

use super::alphabet::{
    EVERYTHING, UNREAD, act, decisions, digest, policy, read, slot, value, views,
};
use super::world::World;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, File, Value};
use crate::dataflow::model::verdict::{Act, Decision, Views};

/// What is done, once everything is read.
fn effect(decision: Option<&Decision>) -> String {
    let read = decision.map(|d| Decision {
        new: d.new.map(read),
        ..*d
    });
    act(read.as_ref(), false)
}

/// All with something unread at the source, at the leaf or at both, with pasts and words of the user.
fn unread_pairs() -> Vec<Views> {
    let held = [EVERYTHING, UNREAD].concat();
    let mut all = Vec::new();
    for agreed in ["-", "f1", "f1x", "f2t", "f3", "link1", "dir"] {
        for source in &held {
            for leaf in &held {
                if !UNREAD.contains(source) && !UNREAD.contains(leaf) {
                    continue;
                }
                let plain = views(source, &[(agreed, leaf)]);
                for past in [Vec::new(), vec![digest(1)], vec![digest(3)]] {
                    for yields in ["-", "f1", "f2", "f3"] {
                        let mut v = plain.clone();
                        v.past.clone_from(&past);
                        v.leaves[0].yields = value(yields, slot(1));
                        all.push(v.clone());
                        v.leaves[0].yields = None;
                        v.source_yields = value(yields, Replica::SOURCE);
                        all.push(v);
                    }
                }
            }
        }
    }
    all
}

/// The views with the content of unread files replaced: all that reading may show.
fn readings(v: &Views) -> Vec<Views> {
    let contents = |held: Option<Value>| match held {
        Some(Value::File(file)) if file.content.digest().is_none() => {
            // Nobody knows the sizes of the past.
            let mut numbers = if file.size == 11 {
                vec![3, 8]
            } else {
                vec![1, 2, 4, 9]
            };
            numbers.extend(v.past.iter().map(|digest| digest.0[0]));
            let read = |n: &u8| {
                let content = Content::known(digest(*n));
                Some(Value::File(File { content, ..file }))
            };
            numbers.iter().map(read).collect()
        }
        other => vec![other],
    };
    let mut all = Vec::new();
    for source in contents(v.source) {
        for leaf in contents(v.leaves[0].value) {
            let mut v = v.clone();
            v.source = source;
            v.leaves[0].value = leaf;
            all.push(v);
        }
    }
    all
}

#[test]
fn reading_never_takes_a_verdict_back() {
    for mode in Mode::ALL {
        for v in unread_pairs() {
            let decided = decisions(&v, policy(mode));
            let decided = decided.first();
            if decided.is_some_and(|d| matches!(d.verdict.act, Act::Read(_))) {
                continue;
            }
            let mut after = v.clone();
            after.source = v.source.map(read);
            after.leaves[0].value = v.leaves[0].value.map(read);
            let after = decisions(&after, policy(mode));
            let told = World::new(v, mode).tell();
            assert_eq!(effect(decided), effect(after.first()), "{told}");
        }
    }
}

#[test]
fn nothing_is_read_that_changes_nothing() {
    for mode in Mode::ALL {
        for v in unread_pairs() {
            let decided = decisions(&v, policy(mode));
            if !decided
                .iter()
                .any(|d| matches!(d.verdict.act, Act::Read(_)))
            {
                continue;
            }
            // Which bytes a put brings is what reading shows; its mode and mtime are not.
            let meta = |value: Value| {
                let Value::File(file) = value else {
                    return value;
                };
                let content = Content::unread(0);
                Value::File(File { content, ..file })
            };
            let whole = |v: &Views| {
                let decided = decisions(v, policy(mode));
                let first = decided.first();
                first.map(|d| (d.verdict.act, d.verdict.bytes, d.new.map(meta)))
            };
            let mut outcomes: Vec<_> = readings(&v).iter().map(whole).collect();
            outcomes.sort();
            outcomes.dedup();
            // Or it has to be known to be recorded.
            let recorded = outcomes
                .iter()
                .flatten()
                .any(|(act, ..)| *act == Act::Agree);
            assert!(
                outcomes.len() > 1 || recorded,
                "{}",
                World::new(v, mode).tell()
            );
        }
    }
}

#[test]
fn nothing_unread_is_ever_recorded() {
    for mode in Mode::ALL {
        for v in unread_pairs() {
            for d in decisions(&v, policy(mode)) {
                if d.verdict.act == Act::Agree {
                    assert_eq!(d.new, d.new.map(read));
                }
            }
        }
    }
}

#[test]
fn one_file_under_two_roots_is_read_before_it_is_recorded() {
    let mut v = views("u1", &[("-", "u1")]);
    v.leaves[0].value = v.source;
    let decided = decisions(&v, policy(Mode::TwoWay));
    assert_eq!(act(decided.first(), false), "read source, leaf");
}
