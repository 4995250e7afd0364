//! One leaf in the two-way modes: what only one side changed flows, an edit beats a delete (R2, R3, R6, R8).
//!
//! Holds: what both changed differently stays as it is on both sides (`two-way`), or becomes the source's
//! (`two-way-source`). A delete flows only to content that is still the agreed one.

use super::metadata;
use super::pair::{Pair, Ruling, same_kind};
use super::reading::Answers;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{ConflictKind, Rule};

/// The contents differ, or only one side has something.
pub(super) fn ruling(pair: &Pair<'_>, same: Answers) -> Option<Ruling> {
    Some(match (pair.source, pair.leaf) {
        (None, None) => return None,
        (Some(source), None) => gone_at_leaf(pair, same, source),
        (None, Some(leaf)) => gone_at_source(pair, same, leaf),
        (Some(source), Some(leaf)) => on_both(pair, same, &source, &leaf),
    })
}

fn gone_at_leaf(pair: &Pair<'_>, same: Answers, source: Value) -> Ruling {
    if pair.agreed.is_none() {
        pair.put_leaf(source, Rule::NewAtSource)
    } else if same.source_agreed {
        pair.delete_source(Rule::DeletedAtLeaf)
    } else {
        pair.put_leaf(source, Rule::EditBeatsDelete)
    }
}

fn gone_at_source(pair: &Pair<'_>, same: Answers, leaf: Value) -> Ruling {
    if pair.agreed.is_none() {
        pair.put_source(leaf, Rule::NewAtLeaf)
    } else if same.leaf_agreed {
        pair.delete_leaf(Rule::DeletedAtSource)
    } else {
        pair.put_source(leaf, Rule::EditBeatsDelete)
    }
}

fn on_both(pair: &Pair<'_>, same: Answers, source: &Value, leaf: &Value) -> Ruling {
    let rule_for = |new: &Value, edited: &Value, rule| {
        if new == edited { rule } else { Rule::MetadataMerged }
    };
    if same.leaf_agreed {
        let new = metadata::combined(pair, source);
        pair.put_leaf(new, rule_for(&new, source, Rule::SourceChanged))
    } else if same.source_agreed {
        let new = metadata::combined(pair, leaf);
        pair.put_source(new, rule_for(&new, leaf, Rule::LeafChanged))
    } else if pair.policy.mode == Mode::TwoWaySource {
        pair.put_leaf(*source, Rule::SourceWins)
    } else if pair.agreed.is_none() {
        Ruling::conflict(ConflictKind::CreateCreate, Rule::BothCreated)
    } else if same_kind(source, leaf) {
        Ruling::conflict(ConflictKind::EditEdit, Rule::BothChanged)
    } else {
        Ruling::conflict(ConflictKind::EditType, Rule::BothChanged)
    }
}
