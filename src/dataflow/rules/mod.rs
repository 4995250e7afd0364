//! What is to be done about one path: a stand-in with the two-way rule alone.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::model::mode::Policy;
use super::model::replica::{Replica, ReplicaSet};
use super::model::value::Value;
use super::model::verdict::{
    Act, ConflictKind, Decision, LeafView, Obstacle, Rule, Verdict, Views,
};

/// Appends the decision for every leaf that is not in sync.
pub fn decide(views: &Views, _policy: Policy, out: &mut Vec<Decision>) {
    let held = || views.leaves.iter().map(|l| l.value).chain([views.source]);
    if held().any(|v| v == Some(Value::Ignored)) {
        return;
    }
    let mut taken = false;
    for leaf in &views.leaves {
        let Some(mut decision) = pair(views.source, leaf) else {
            continue;
        };
        let upward = matches!(
            decision.verdict.act,
            Act::Put {
                to: Replica::SOURCE,
                ..
            } | Act::Delete {
                at: Replica::SOURCE
            }
        );
        if upward && taken {
            decision.verdict.act = Act::Await;
            decision.verdict.rule = Rule::OtherLeafFirst;
            decision.verdict.bytes = 0;
        }
        taken |= upward;
        out.push(decision);
    }
}

fn pair(source: Option<Value>, view: &LeafView) -> Option<Decision> {
    let (leaf, value, agreed) = (view.leaf, view.value, view.agreed);
    let down = Act::Put {
        from: Replica::SOURCE,
        to: leaf,
    };
    let up = Act::Put {
        from: leaf,
        to: Replica::SOURCE,
    };
    let opaque = |v: Option<Value>| matches!(v, Some(Value::Skipped(_) | Value::Unreadable { .. }));
    let (act, rule, new, expect) = if opaque(source) {
        value?;
        (
            Act::Blocked(Obstacle::Special(Replica::SOURCE)),
            Rule::CannotBeCarried,
            None,
            None,
        )
    } else if opaque(value) {
        source?;
        (
            Act::Blocked(Obstacle::Special(leaf)),
            Rule::CannotBeCarried,
            None,
            None,
        )
    } else if source == value {
        if source == agreed {
            return None;
        }
        (Act::Agree, Rule::SameOnBoth, source, None)
    } else if let (Some(a), Some(b)) = (source, value)
        && a.same_content(&b).is_none()
    {
        let both = ReplicaSet::of(&[Replica::SOURCE, leaf]);
        (Act::Read(both), Rule::NeedsReading, None, None)
    } else if source.is_none() && agreed == Some(Value::Remnant) {
        return None;
    } else if source == agreed {
        match value {
            Some(_) => (up, Rule::LeafChanged, value, source),
            None => (
                Act::Delete {
                    at: Replica::SOURCE,
                },
                Rule::DeletedAtLeaf,
                None,
                source,
            ),
        }
    } else if value == agreed {
        match source {
            Some(_) => (down, Rule::SourceChanged, source, value),
            None => (Act::Delete { at: leaf }, Rule::DeletedAtSource, None, value),
        }
    } else if source.is_none() {
        (up, Rule::EditBeatsDelete, value, source)
    } else if value.is_none() {
        (down, Rule::EditBeatsDelete, source, value)
    } else {
        (
            Act::Conflict(ConflictKind::EditEdit),
            Rule::BothChanged,
            None,
            None,
        )
    };
    let mut print = DefaultHasher::new();
    (source, value, agreed).hash(&mut print);
    let bytes = match act {
        Act::Put { .. } => new.map_or(0, |v| v.bytes()),
        _ => 0,
    };
    let verdict = Verdict {
        leaf,
        act,
        rule,
        bytes,
        print: print.finish(),
    };
    Some(Decision {
        verdict,
        new,
        expect,
    })
}
