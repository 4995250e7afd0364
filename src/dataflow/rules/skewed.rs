//! Deliberate faults of the rules that lose nothing and are still wrong: they make a difference where there is to be none.
//! For the proof that the simulation would find them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::pair::Ruling;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::{Act, ConflictKind, Decision, Rule};

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skew {
    /// Of different edits of leaves, that of the leaf with the smallest number flows.
    LeavesInOrder,
    /// Of different edits of leaves, that which was heard of first flows.
    ArrivalDecides,
    /// A leaf's edit does not beat a delete at the source: it is a conflict. The other way round it does.
    SidesDiffer,
}

thread_local! {
    static NOW: Cell<Option<Skew>> = const { Cell::new(None) };
    static AT: Cell<u32> = const { Cell::new(0) };
    static HEARD: RefCell<BTreeMap<u32, Vec<Replica>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Gives this thread's rules such a fault, or none again.
pub(crate) fn set(skew: Option<Skew>) {
    NOW.set(skew);
}

/// Says that another value of a replica was heard of, at the path of this number.
pub(in crate::dataflow) fn heard(path: u32, from: Replica) {
    HEARD.with_borrow_mut(|heard| {
        let order = heard.entry(path).or_default();
        order.retain(|other| *other != from);
        order.push(from);
    });
}

/// Says the number of the path that is decided next.
pub(in crate::dataflow) fn at(path: u32) {
    AT.set(path);
}

/// Lets the edit of one of the leaves that disagree flow; `choose` is given their places.
fn let_one_flow(
    own: &[Decision],
    decisions: &mut [Decision],
    choose: impl FnOnce(&[usize]) -> usize,
) {
    let is_rival = |decision: &Decision| decision.verdict.rule == Rule::LeavesDisagree;
    let rivals: Vec<_> = (0..own.len()).filter(|at| is_rival(&decisions[*at])).collect();
    if rivals.is_empty() {
        return;
    }
    let flows = choose(&rivals);
    for at in rivals {
        let waits = Ruling::bare(Act::Await, Rule::OtherLeafFirst);
        decisions[at] = if at == flows { own[at] } else { waits.decision(own[at].verdict.leaf) };
    }
}

/// What faulty rules make of the decisions. `own`: those of each leaf, as if there were no other.
pub(super) fn skew(own: &[Decision], decisions: &mut [Decision]) {
    match NOW.get() {
        None => {}
        Some(Skew::LeavesInOrder) => let_one_flow(own, decisions, |rivals| rivals[0]),
        Some(Skew::ArrivalDecides) => let_one_flow(own, decisions, |rivals| {
            let order = HEARD.with_borrow(|heard| heard.get(&AT.get()).cloned());
            let order = order.unwrap_or_default();
            let place = |at: &usize| order.iter().position(|r| *r == own[*at].verdict.leaf);
            rivals.iter().copied().min_by_key(place).unwrap_or(rivals[0])
        }),
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
