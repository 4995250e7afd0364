//! One leaf in the modes where only the source may change: `one-way`, `one-way-source`, `mirror`.
//!
//! Holds: nothing here flows to the source. A leaf's own content is displaced only where the mode says so:
//! `one-way-source` overwrites edits of what the source has, `mirror` also removes what the source has not.

use super::pair::{Pair, Ruling};
use super::reading::Answers;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{ConflictKind, Rule};

/// The contents differ, or only one side has something.
pub(super) fn ruling(pair: &Pair<'_>, same: Answers) -> Option<Ruling> {
    match (pair.source, pair.leaf) {
        (None, None) => None,
        (Some(source), None) if pair.agreed.is_none() => {
            Some(pair.put_leaf(source, Rule::NewAtSource))
        }
        (Some(source), None) => Some(pair.put_leaf(source, Rule::LeafUndone)),
        (None, Some(_)) => gone_at_source(pair, same),
        (Some(source), Some(_)) if same.leaf_agreed => {
            Some(pair.put_leaf(source, Rule::SourceChanged))
        }
        (Some(source), Some(leaf)) => Some(changed_at_leaf(pair, same, source, leaf)),
    }
}

fn gone_at_source(pair: &Pair<'_>, same: Answers) -> Option<Ruling> {
    if same.leaf_agreed {
        Some(pair.delete_leaf(Rule::DeletedAtSource))
    } else if pair.policy.mode == Mode::Mirror {
        Some(pair.delete_leaf(Rule::MirrorRemoves))
    } else if pair.agreed.is_some() {
        Some(Ruling::agree(None, Rule::BecomesLeafOnly))
    } else {
        None
    }
}

fn changed_at_leaf(pair: &Pair<'_>, same: Answers, source: Value, leaf: Value) -> Ruling {
    if pair.policy.mode != Mode::OneWay {
        let rule = if same.source_agreed { Rule::LeafUndone } else { Rule::SourceWins };
        pair.put_leaf(source, rule)
    } else if source.is_dir() || leaf.is_dir() {
        Ruling::conflict(ConflictKind::LeafType, Rule::LeafMayNotChange)
    } else if pair.agreed.is_none() {
        Ruling::conflict(ConflictKind::CreateCreate, Rule::BothCreated)
    } else {
        Ruling::conflict(ConflictKind::LeafEdit, Rule::LeafMayNotChange)
    }
}
