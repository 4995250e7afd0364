//! Several leaves of one source: at most one value flows to the source per path (R11).
//!
//! Holds: an edit goes before a delete, a delete before mode and mtime; the others wait and are looked at again once the
//! source has it. Different edits of leaves are a conflict that names all of them, in every mode. What the source
//! gives to other leaves is not touched. Content that yields by the user's word never goes to a source of several leaves:
//! alone it would look like an edit once the others have given way. Slot numbers only decide which leaf donates what several hold.

use super::history;
use super::metadata;
use super::pair::{Pair, Ruling, is_unread, writes_source};
use super::reading::same_as_recorded;
use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, ConflictKind, Decision, LeafView, Rule, Views};

/// Leaves one flow to the source of those the leaves' own decisions ask for, or none.
///
/// `open`: leaves whose reading may yet show a change for the source.
pub(super) fn combine(views: &Views, open: ReplicaSet, decisions: &mut [Decision]) {
    let mut writing = decisions
        .iter()
        .filter(|decision| writes_source(decision.verdict.act));
    let several = writing.next().is_some() && writing.next().is_some();
    let words = views.leaves.len() > 1 && views.leaves.iter().any(|leaf| leaf.yields.is_some());
    if !several && open.is_empty() && !words {
        return;
    }
    let rivals = Rivals::of(views, decisions);
    if !open.is_empty() {
        rivals.wait(decisions, Rule::NeedsReading);
    } else if !rivals.edits.is_empty() {
        rivals.weigh_edits(decisions);
    } else if let Some(&donor) = rivals.deletes.first() {
        rivals.let_flow(decisions, donor, None);
    } else if let Some(&donor) = rivals.touches.first() {
        let new = rivals.merged(decisions, &rivals.touches);
        rivals.let_flow(decisions, donor, new);
    }
}

/// Decisions that want to change the source, by their place in the slice and so in slot order.
struct Rivals<'a> {
    views: &'a Views,
    /// They bring content.
    edits: Vec<usize>,
    deletes: Vec<usize>,
    /// They bring only mode or mtime.
    touches: Vec<usize>,
}

/// What the edits are when they are compared.
enum Contents {
    /// Leaves that have to be read first.
    Unknown(ReplicaSet),
    /// Places of the edits, by content.
    Known(Vec<Vec<usize>>),
}

impl<'a> Rivals<'a> {
    fn of(views: &'a Views, decisions: &[Decision]) -> Self {
        let mut rivals = Self {
            views,
            edits: Vec::new(),
            deletes: Vec::new(),
            touches: Vec::new(),
        };
        for (at, decision) in decisions.iter().enumerate() {
            if !writes_source(decision.verdict.act) {
                continue;
            }
            let kept = |new: &Value| {
                let source = views.source.as_ref();
                source.is_some_and(|source| source.same_content(new) == Some(true))
            };
            match &decision.new {
                None => rivals.deletes.push(at),
                Some(new) if kept(new) => rivals.touches.push(at),
                Some(_) => rivals.edits.push(at),
            }
        }
        rivals
    }

    fn weigh_edits(&self, decisions: &mut [Decision]) {
        let contents = match self.contents(decisions) {
            Contents::Known(contents) => contents,
            Contents::Unknown(unread) => return self.read(decisions, unread),
        };
        // A content gives way when every leaf that holds it does.
        let mut unread = ReplicaSet::EMPTY;
        let mut standing = Vec::new();
        for edits in &contents {
            let yields: Vec<_> = edits.iter().map(|at| self.yields(decisions, *at)).collect();
            if yields.contains(&Some(false)) {
                standing.push(edits);
            } else if yields.contains(&None) {
                let leaves = edits.iter().map(|at| decisions[*at].verdict.leaf);
                unread = leaves.fold(unread, ReplicaSet::with);
            }
        }
        match standing.as_slice() {
            [_, _, ..] => self.disagree(decisions),
            _ if !unread.is_empty() => self.read(decisions, unread),
            [edits] => {
                let new = self.merged(decisions, edits);
                let donor = edits[0];
                self.let_flow(decisions, donor, new);
                if contents.len() > 1 {
                    decisions[donor].verdict.rule = Rule::Resolved;
                }
            }
            [] => self.give_way(decisions),
        }
    }

    /// The edits in groups of equal content.
    fn contents(&self, decisions: &[Decision]) -> Contents {
        let held = |at: usize| (decisions[at].verdict.leaf, decisions[at].new);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut unread = ReplicaSet::EMPTY;
        for (nth, &at) in self.edits.iter().enumerate() {
            let (leaf, value) = held(at);
            let mut same = None;
            for &before in &self.edits[..nth] {
                let (other, earlier) = held(before);
                let (Some(value), Some(earlier)) = (value, earlier) else {
                    continue;
                };
                match value.same_content(&earlier) {
                    Some(true) => same = same.or(Some(before)),
                    Some(false) => {}
                    None => {
                        let pair = [(leaf, value), (other, earlier)];
                        let needed = pair.iter().filter(|(_, value)| is_unread(value));
                        unread = needed.fold(unread, |set, (leaf, _)| set.with(*leaf));
                    }
                }
            }
            match groups
                .iter_mut()
                .find(|group| same.is_some_and(|at| group.contains(&at)))
            {
                Some(group) => group.push(at),
                None => groups.push(vec![at]),
            }
        }
        if unread.is_empty() {
            Contents::Known(groups)
        } else {
            Contents::Unknown(unread)
        }
    }

    /// Whether the leaf's present content gives way by the user's word.
    fn yields(&self, decisions: &[Decision], at: usize) -> Option<bool> {
        let leaf = self.view(decisions[at].verdict.leaf);
        match leaf.and_then(|leaf| Some((leaf.value?, leaf.yields?))) {
            Some((value, yields)) => same_as_recorded(&value, &yields),
            None => Some(false),
        }
    }

    fn view(&self, leaf: Replica) -> Option<&LeafView> {
        self.views.leaves.iter().find(|view| view.leaf == leaf)
    }

    /// What the donor, the first of `group`, brings when all of them bring the same content.
    fn merged(&self, decisions: &[Decision], group: &[usize]) -> Option<Value> {
        let news: Vec<Value> = group.iter().filter_map(|at| decisions[*at].new).collect();
        metadata::of_several(self.views.source.as_ref(), &news)
    }

    /// `donor` goes to the source, with `new`; all other rivals wait for it.
    fn let_flow(&self, decisions: &mut [Decision], donor: usize, new: Option<Value>) {
        let flows = Decision {
            new,
            ..decisions[donor]
        };
        self.wait(decisions, Rule::OtherLeafFirst);
        decisions[donor] = flows;
    }

    fn wait(&self, decisions: &mut [Decision], rule: Rule) {
        for &at in [&self.edits, &self.deletes, &self.touches]
            .into_iter()
            .flatten()
        {
            let leaf = decisions[at].verdict.leaf;
            decisions[at] = Ruling::bare(Act::Await, rule).decision(leaf);
        }
    }

    fn read(&self, decisions: &mut [Decision], unread: ReplicaSet) {
        self.wait(decisions, Rule::NeedsReading);
        for &at in &self.edits {
            let leaf = decisions[at].verdict.leaf;
            if unread.contains(leaf) {
                let read = Act::Read(ReplicaSet::of(&[leaf]));
                decisions[at] = Ruling::bare(read, Rule::NeedsReading).decision(leaf);
            }
        }
    }

    fn disagree(&self, decisions: &mut [Decision]) {
        let held = |at: &usize| decisions[*at].new;
        let agreed = |at: &usize| {
            let leaf = self.view(decisions[*at].verdict.leaf);
            leaf.is_some_and(|leaf| leaf.agreed.is_some())
        };
        let kinds = self.edits.iter().filter_map(held);
        let mut kinds: Vec<_> = kinds.map(|value| std::mem::discriminant(&value)).collect();
        kinds.dedup();
        let kind = if !self.edits.iter().any(agreed) {
            ConflictKind::CreateCreate
        } else if kinds.len() > 1 {
            ConflictKind::EditType
        } else {
            ConflictKind::EditEdit
        };
        self.wait(decisions, Rule::LeavesDisagree);
        for &at in &self.edits {
            let leaf = decisions[at].verdict.leaf;
            decisions[at] = Ruling::conflict(kind, Rule::LeavesDisagree).decision(leaf);
        }
    }

    /// All of them give way: each leaf gets what the source has, be it nothing.
    fn give_way(&self, decisions: &mut [Decision]) {
        self.wait(decisions, Rule::OtherLeafFirst);
        for &at in &self.edits {
            let leaf = decisions[at].verdict.leaf;
            if let Some(view) = self.view(leaf) {
                let pair = Pair::of(self.views, view, Policy::default());
                decisions[at] = history::leaf_gives_way(&pair).decision(leaf);
            }
        }
    }
}
