//! The state stage: all rows of a path make its views, and the rules say what follows.
//!
//! Holds: a path that is in sync and no directory has no row here, so everything downstream is as large as the work
//! that is left and the number of directories.

use std::cell::Cell;
use std::rc::Rc;

use differential_dataflow::operators::arrange::Arranged;
use differential_dataflow::trace::implementations::{ValBuilder, ValSpine};

use super::meanings::Meanings;
use super::rows::{Bits, DirFacts, Outcome, Row, Wish};
use super::{Plan, Trace};
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Decision, LeafView, Views};
#[cfg(test)]
use crate::dataflow::rules::skewed;
use crate::dataflow::rules::{decide, is_carried, remnant};

/// Rows `(path, outcome)`: wishes, directory facts, leaf-only content.
pub(super) fn outcomes<'s>(
    state: Arranged<'s, Trace<Row, Bits>>,
    plan: &Plan,
    fault: Rc<Cell<Option<PathId>>>,
) -> Arranged<'s, Trace<Outcome>> {
    let mut judge = Judge::new(plan.policy, plan.leaves, plan.meanings.clone());
    state.reduce_abelian::<_, ValBuilder<PathId, Outcome, u64, isize>, ValSpine<PathId, Outcome, u64, isize>, _, _>(
        "Decide",
        move |path, rows, out| {
            let rows = rows.iter().map(|(row, bits)| (**row, *bits));
            if !judge.outcomes(*path, rows, |outcome| out.push((outcome, 1))) {
                fault.set(Some(*path));
            }
        },
        |rows, path, changes| {
            rows.clear();
            rows.extend(changes.drain(..).map(|(row, at, diff)| ((*path, row), at, diff)));
        },
    )
}

/// Turns the rows of a path into views and asks the rules; keeps its buffers.
pub(in crate::dataflow) struct Judge {
    policy: Policy,
    /// Source and leaves.
    replicas: ReplicaSet,
    /// The bits of a row that everybody holds and has agreed on.
    everywhere: u64,
    meanings: Meanings,
    views: Views,
    decisions: Vec<Decision>,
}

impl Judge {
    pub(in crate::dataflow) fn new(policy: Policy, leaves: ReplicaSet, meanings: Meanings) -> Self {
        let view = |leaf| LeafView { leaf, value: None, agreed: None, yields: None };
        let leaves: Vec<Replica> = leaves.iter().filter(|r| !r.is_source()).collect();
        let replicas = ReplicaSet::of(&leaves).with(Replica::SOURCE);
        let bits = |bits: u64, leaf: &Replica| bits | Bits::holds(*leaf).0 | Bits::agreed(*leaf).0;
        Self {
            policy,
            replicas,
            everywhere: leaves.iter().fold(Bits::holds(Replica::SOURCE).0, bits),
            views: Views { leaves: leaves.into_iter().map(view).collect(), ..Views::default() },
            meanings,
            decisions: Vec::new(),
        }
    }

    /// Gives the outcomes of a path; false if a side was found with two values (then there is none).
    fn outcomes(
        &mut self,
        path: PathId,
        rows: impl Iterator<Item = (Row, Bits)> + Clone,
        mut give: impl FnMut(Outcome),
    ) -> bool {
        let facts = self.dir_facts(path, rows.clone());
        if facts != DirFacts::default() {
            give(Outcome::Dir(facts));
        }
        let mut values = rows.clone().filter(|(row, _)| *row != Row::Listed);
        let first = values.next();
        if values.next().is_none() && first.is_none_or(|(row, bits)| self.is_settled(row, bits)) {
            return true;
        }
        if path == PathId::ROOT {
            return true;
        }
        if !self.look(rows) {
            return false;
        }
        self.meanings.align(&mut self.views);
        self.decisions.clear();
        #[cfg(test)]
        skewed::at(path.0);
        decide(&self.views, self.policy, &mut self.decisions);
        for decision in &self.decisions {
            give(Outcome::Wish(Wish::of(decision, &facts)));
        }
        self.without_verdict(give);
        true
    }

    /// The wish for one leaf, and the decision behind it unless it is a sleeping one; and the views they rest on.
    pub(in crate::dataflow) fn wish(
        &mut self,
        path: PathId,
        rows: &[(Row, Bits)],
        leaf: Replica,
    ) -> Option<(Wish, Option<Decision>, &Views)> {
        let mut wish = None;
        self.decisions.clear();
        self.outcomes(path, rows.iter().copied(), |outcome| match outcome {
            Outcome::Wish(found) if found.verdict.leaf == leaf => wish = Some(found),
            Outcome::Wish(_) | Outcome::Dir(_) | Outcome::Own(_) => {}
        });
        let decision = self.decisions.iter().find(|d| d.verdict.leaf == leaf);
        Some((wish?, decision.copied(), &self.views))
    }

    /// The views of a path.
    pub(in crate::dataflow) fn views(&mut self, rows: &[(Row, Bits)]) -> &Views {
        self.look(rows.iter().copied());
        &self.views
    }

    /// Whether this one row, alone at its path, needs no verdict.
    fn is_settled(&self, row: Row, bits: Bits) -> bool {
        match row {
            Row::Holds(Value::File(_) | Value::Dir { .. } | Value::Symlink { .. }) => {
                bits.0 == self.everywhere
            }
            Row::Holds(
                Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. } | Value::Remnant,
            ) => false,
            Row::Listed | Row::Past { .. } | Row::Yields(_) => true,
        }
    }

    fn dir_facts(&self, path: PathId, rows: impl Iterator<Item = (Row, Bits)>) -> DirFacts {
        let (mut listed, mut dirs) = (0, 0);
        for (row, bits) in rows {
            match row {
                Row::Listed => listed = bits.replicas(),
                Row::Holds(Value::Dir { .. }) => dirs |= bits.replicas(),
                Row::Holds(_) | Row::Past { .. } | Row::Yields(_) => {}
            }
        }
        if path == PathId::ROOT {
            dirs = self.replicas.bits();
        }
        DirFacts { listed: ReplicaSet::from_bits(listed), dirs: ReplicaSet::from_bits(dirs) }
    }

    /// Fills the views; false if a side has two values.
    fn look(&mut self, rows: impl Iterator<Item = (Row, Bits)>) -> bool {
        let views = &mut self.views;
        views.source = None;
        views.source_yields = None;
        views.past.clear();
        for leaf in &mut views.leaves {
            (leaf.value, leaf.agreed, leaf.yields) = (None, None, None);
        }
        let mut seen = 0;
        for (row, bits) in rows {
            match row {
                Row::Holds(value) => {
                    if seen & bits.0 != 0 {
                        debug_assert!(false, "a side has two values: {row:?} {bits:?}");
                        return false;
                    }
                    seen |= bits.0;
                    let value = Some(value);
                    if bits.has(Bits::holds(Replica::SOURCE)) {
                        views.source = value;
                    }
                    for leaf in &mut views.leaves {
                        if bits.has(Bits::holds(leaf.leaf)) {
                            leaf.value = value;
                        }
                        if bits.has(Bits::agreed(leaf.leaf)) {
                            leaf.agreed = value;
                        }
                    }
                }
                Row::Yields(value) => {
                    if bits.has(Bits::holds(Replica::SOURCE)) {
                        views.source_yields = Some(value);
                    }
                    for leaf in &mut views.leaves {
                        if bits.has(Bits::holds(leaf.leaf)) {
                            leaf.yields = Some(value);
                        }
                    }
                }
                Row::Past { digest, .. } => views.past.push(digest),
                Row::Listed => {}
            }
        }
        true
    }

    /// What the graph must know of leaves the rules said nothing about.
    fn without_verdict(&self, mut give: impl FnMut(Outcome)) {
        let spoken = self.decisions.iter().map(|d| d.verdict.leaf);
        let spoken = ReplicaSet::of(&spoken.collect::<Vec<_>>());
        let (source, mode) = (self.views.source, self.policy.mode);
        for view in self.views.leaves.iter().filter(|view| !spoken.contains(view.leaf)) {
            match mode {
                Mode::TwoWay | Mode::TwoWaySource => {
                    if let Some(at) = remnant(source, view, mode) {
                        give(Outcome::Wish(Wish::remnant(view.leaf, at)));
                    }
                }
                Mode::OneWay | Mode::OneWaySource => {
                    if source.is_none() && view.value.as_ref().is_some_and(is_carried) {
                        give(Outcome::Own(view.leaf));
                    }
                }
                Mode::Mirror => {}
            }
        }
    }
}
