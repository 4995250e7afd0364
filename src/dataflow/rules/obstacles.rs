//! What is never carried: ignored, skipped, unreadable, and the directories that stay for its sake (R10).
//!
//! Holds: none of it is ever read as an absence (INV-3), and none of it is ever written or recorded.

use super::pair::{Pair, Ruling, is_carried};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, LeafView, Obstacle, Rule, Views};

/// Whether some replica's rules leave the path out: then nobody touches it.
pub(super) fn is_ignored(views: &Views) -> bool {
    let held = views.leaves.iter().map(|leaf| leaf.value);
    held.chain([views.source]).any(|value| value == Some(Value::Ignored))
}

/// What stands in the way of the pair: the unreadable first, at the source first.
pub(super) fn of(pair: &Pair<'_>) -> Option<Obstacle> {
    let sides = [(pair.source, Replica::SOURCE), (pair.leaf, pair.slot)];
    let unreadable =
        sides.iter().find(|(value, _)| matches!(value, Some(Value::Unreadable { .. })));
    if let Some((_, replica)) = unreadable {
        return Some(Obstacle::Unreadable(*replica));
    }
    sides
        .iter()
        .find(|(value, _)| value.is_some_and(|value| !is_carried(&value)))
        .map(|(_, replica)| Obstacle::Special(*replica))
}

/// A special object nobody else has anything to say about is only listed; all else is a problem.
pub(super) fn ruling(pair: &Pair<'_>, obstacle: Obstacle) -> Option<Ruling> {
    let wanted = [pair.source, pair.leaf, pair.agreed].iter().flatten().any(is_carried);
    match obstacle {
        Obstacle::Special(_) if !wanted => None,
        Obstacle::Special(_) | Obstacle::Unreadable(_) => {
            Some(Ruling::bare(Act::Blocked(obstacle), Rule::CannotBeCarried))
        }
    }
}

/// The side, source or leaf, where alone a directory stays that is agreed to do so for its unsynced content.
///
/// One pair's matter: other leaves that still hold the directory keep it, empty, as long as the source does. Where
/// leaves may not change the source nothing is deleted there for a leaf's sake, so a source's directory is none.
pub(in crate::dataflow) fn remnant(
    source: Option<Value>,
    leaf: &LeafView,
    mode: Mode,
) -> Option<Replica> {
    match (leaf.agreed, source, leaf.value) {
        (Some(Value::Remnant), None, Some(Value::Dir { .. })) => Some(leaf.leaf),
        (Some(Value::Remnant), Some(Value::Dir { .. }), None) if mode.is_two_way() => {
            Some(Replica::SOURCE)
        }
        _ => None,
    }
}
