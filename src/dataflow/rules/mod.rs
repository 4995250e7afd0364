//! The rules: what is to be done at one path, and why. This file is their order and nothing else.
//!
//! Holds: [`decide`] is total and deterministic, says at most one thing per leaf and nothing where a leaf is in sync.
//! At most one value flows to the source. What is displaced is what was agreed, or history where nothing was agreed,
//! or named by a resolve or by the mode (INV-2). Absences count as asserted here; the gates come after (INV-3).
//! Does not know paths, children, listings, time or disk. `docs/design/decision-table.md` is made from this code.

pub mod brake;
mod history;
mod leaves;
mod metadata;
mod obstacles;
mod one_way;
mod pair;
mod print;
mod reading;
mod three_way;

#[cfg(test)]
pub(crate) mod skewed;
#[cfg(test)]
mod tests;

pub(in crate::dataflow) use obstacles::remnant;
pub(in crate::dataflow) use pair::is_carried;
use pair::{Pair, Ruling};
use reading::{Answers, Settled};

use super::model::mode::Policy;
use super::model::replica::ReplicaSet;
use super::model::verdict::{Act, Decision, Rule, Views};

/// Appends what is to be done for every leaf that is not in sync, in slot order.
pub fn decide(views: &Views, policy: Policy, out: &mut Vec<Decision>) {
    if obstacles::is_ignored(views) {
        return;
    }
    let first = out.len();
    let mut open = ReplicaSet::EMPTY;
    for leaf in &views.leaves {
        if pair::in_sync(views, leaf) || remnant(views.source, leaf, policy.mode).is_some() {
            continue;
        }
        let pair = Pair::of(views, leaf, policy);
        match one_leaf(&pair) {
            Settled::Sure(None) => {}
            Settled::Sure(Some(ruling)) => out.push(ruling.decision(leaf.leaf)),
            Settled::Open { read, to_source } => {
                if to_source {
                    open = open.with(leaf.leaf);
                }
                let ruling = Ruling::bare(Act::Read(read), Rule::NeedsReading);
                out.push(ruling.decision(leaf.leaf));
            }
        }
    }
    let decisions = &mut out[first..];
    #[cfg(test)]
    let own = decisions.to_vec();
    leaves::combine(views, open, decisions);
    #[cfg(test)]
    skewed::skew(&own, decisions);
    print::stamp(views, decisions);
}

/// The source and one leaf, as if there were no other.
fn one_leaf(pair: &Pair<'_>) -> Settled {
    if let Some(obstacle) = obstacles::of(pair) {
        return Settled::Sure(obstacles::ruling(pair, obstacle));
    }
    reading::settle(pair, |same| history::resolved(pair, same, ruling(pair, same)))
}

/// What holds once it is said which contents are the same.
fn ruling(pair: &Pair<'_>, same: Answers) -> Option<Ruling> {
    match (pair.source, pair.leaf) {
        (None, None) => pair.recorded.then(|| Ruling::agree(None, Rule::GoneOnBoth)),
        (Some(source), Some(leaf)) if same.source_leaf => metadata::ruling(pair, &source, &leaf),
        (Some(source), Some(_)) if same.stale => Some(pair.put_leaf(source, Rule::LeafIsStale)),
        _ if pair.policy.mode.is_two_way() => three_way::ruling(pair, same),
        _ => one_way::ruling(pair, same),
    }
}
