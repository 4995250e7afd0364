//! What is never carried: ignored, skipped, unreadable, and the directories that stay for its sake (R10).
//!
//! Holds: none of it is ever read as an absence (INV-3), and none of it is ever written or recorded.

use super::pair::{Pair, Ruling, is_carried};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Obstacle, Rule, Views};

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

/// Whether the leaf's directory is agreed to stay for its unsynced content alone.
pub(super) fn remnant_stays(pair: &Pair<'_>) -> bool {
    pair.remnant && pair.source.is_none() && pair.leaf.is_some_and(|leaf| leaf.is_dir())
}
