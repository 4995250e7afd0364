//! Deliberate faults of the rules that lose nothing and are still wrong: they make a difference where there is to be none.
//! For the proof that the simulation would find them.

use std::cell::Cell;

use super::pair::Ruling;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::{Act, ConflictKind, Decision, Rule};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skew {
    /// Of different edits of leaves, that of the leaf with the smallest number flows.
    LeavesInOrder,
    /// A leaf's edit does not beat a delete at the source: it is a conflict. The other way round it does.
    SidesDiffer,
}

thread_local! {
    static NOW: Cell<Option<Skew>> = const { Cell::new(None) };
}

/// Gives this thread's rules such a fault, or none again.
pub(crate) fn set(skew: Option<Skew>) {
    NOW.set(skew);
}

/// What faulty rules make of the decisions. `own`: those of each leaf, as if there were no other.
pub(super) fn skew(own: &[Decision], decisions: &mut [Decision]) {
    match NOW.get() {
        None => {}
        Some(Skew::LeavesInOrder) => {
            let is_rival = |decision: &Decision| decision.verdict.rule == Rule::LeavesDisagree;
            let rivals: Vec<_> = (0..own.len()).filter(|at| is_rival(&decisions[*at])).collect();
            for (nth, at) in rivals.into_iter().enumerate() {
                let waits = Ruling::bare(Act::Await, Rule::OtherLeafFirst);
                decisions[at] =
                    if nth == 0 { own[at] } else { waits.decision(own[at].verdict.leaf) };
            }
        }
        Some(Skew::SidesDiffer) => {
            for decision in decisions {
                if let (Rule::EditBeatsDelete, Act::Put { to: Replica::SOURCE, .. }) =
                    (decision.verdict.rule, decision.verdict.act)
                {
                    let conflict = Ruling::conflict(ConflictKind::EditEdit, Rule::BothChanged);
                    *decision = conflict.decision(decision.verdict.leaf);
                }
            }
        }
    }
}
