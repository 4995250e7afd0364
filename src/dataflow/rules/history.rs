//! What counts beside the agreed value: the source's past (R12) and the user's word.
//!
//! Holds: the past counts only where nothing is agreed, and an absence is never historical. The user's word counts only
//! where there would be a conflict, and only for the content it names.

use super::pair::{Pair, Ruling, is_unread};
use super::reading::Answers;
use crate::dataflow::model::verdict::{Act, Rule};

/// Whether the leaf, with which nothing is agreed, holds what the source once held; `None`: it has to be read.
pub(super) fn is_stale(pair: &Pair<'_>) -> Option<bool> {
    let (Some(source), Some(leaf), None) = (&pair.source, &pair.leaf, &pair.agreed) else {
        return Some(false);
    };
    // What the source has now is no older version of it.
    let now = source.digest();
    let mut past = pair.past.iter().filter(|digest| now != Some(**digest));
    match leaf.digest() {
        Some(digest) => Some(past.any(|old| *old == digest)),
        None => (!is_unread(leaf) || past.next().is_none()).then_some(false),
    }
}

/// Ends a conflict in which one side's present content gives way by the user's word.
pub(super) fn resolved(pair: &Pair<'_>, same: Answers, ruling: Option<Ruling>) -> Option<Ruling> {
    let conflict = ruling.is_some_and(|ruling| matches!(ruling.act, Act::Conflict(_)));
    if conflict && same.leaf_yields {
        Some(leaf_gives_way(pair))
    } else if conflict && same.source_yields {
        Some(source_gives_way(pair))
    } else {
        ruling
    }
}

/// The leaf gets what the source has, be it nothing.
pub(super) fn leaf_gives_way(pair: &Pair<'_>) -> Ruling {
    match pair.source {
        Some(source) => pair.put_leaf(source, Rule::Resolved),
        None => pair.delete_leaf(Rule::Resolved),
    }
}

fn source_gives_way(pair: &Pair<'_>) -> Ruling {
    match pair.leaf {
        Some(leaf) => pair.put_source(leaf, Rule::Resolved),
        None => pair.delete_source(Rule::Resolved),
    }
}
