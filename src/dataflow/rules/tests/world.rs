//! One path of a star of replicas, with disks that carry decisions out and a judge who checks each of them.
//!
//! The judge knows all contents (unread ones too) and shares no code with the rules.

use super::alphabet::{decisions, policy, read, sentence, word};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Decision, LeafView, Rule, Views};

/// In which order a round's decisions are carried out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    /// All of them that still can be.
    All,
    /// The first alone, then it is decided anew.
    First,
    /// The last alone.
    Last,
}

pub(super) const ORDERS: [Order; 3] = [Order::All, Order::First, Order::Last];

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) views: Views,
    pub(super) mode: Mode,
}

/// Whether both are the same thing but for mode and mtime, once read.
pub(super) fn same(a: Option<Value>, b: Option<Value>) -> bool {
    let bare = |value: Option<Value>| {
        value.map(|value| match read(value) {
            Value::File(file) => (0, file.content.digest()),
            Value::Symlink { target, .. } => (1, Some(target)),
            Value::Dir { .. } => (2, None),
            Value::Ignored | Value::Skipped(_) => (3, None),
            Value::Unreadable { .. } => (4, None),
            Value::Remnant => (5, None),
        })
    };
    bare(a) == bare(b)
}

/// What is agreed, a remnant counting as nothing.
pub(super) fn agreed(leaf: &LeafView) -> Option<Value> {
    leaf.agreed.filter(|value| *value != Value::Remnant)
}

impl World {
    pub(super) fn new(views: Views, mode: Mode) -> Self {
        Self { views, mode }
    }

    pub(super) fn decide(&self) -> Vec<Decision> {
        decisions(&self.views, policy(self.mode))
    }

    pub(super) fn held(&self, at: Replica) -> Option<Value> {
        if at.is_source() {
            self.views.source
        } else {
            self.leaf(at).value
        }
    }

    pub(super) fn leaf(&self, at: Replica) -> &LeafView {
        let mut leaves = self.views.leaves.iter();
        leaves.find(|leaf| leaf.leaf == at).expect("a leaf")
    }

    fn leaf_mut(&mut self, at: Replica) -> &mut LeafView {
        let mut leaves = self.views.leaves.iter_mut();
        leaves.find(|leaf| leaf.leaf == at).expect("a leaf")
    }

    fn set(&mut self, at: Replica, value: Option<Value>) {
        if at.is_source() {
            let digests = [self.views.source, value];
            let digests = digests.iter().flatten().filter_map(|v| read(*v).digest());
            self.views.past.extend(digests);
            self.views.source = value;
        } else {
            self.leaf_mut(at).value = value;
        }
    }

    /// Decides and carries out until nothing moves; what is left then.
    pub(super) fn run(&mut self, order: Order) -> Vec<Decision> {
        let before = self.clone();
        for _ in 0..12 {
            let decided = self.decide();
            let moves = |d: &&Decision| {
                !matches!(
                    d.verdict.act,
                    Act::Await | Act::Conflict(_) | Act::Blocked(_)
                )
            };
            let todo: Vec<Decision> = decided.iter().filter(moves).copied().collect();
            match (order, todo.as_slice()) {
                (_, []) => return decided,
                (Order::All, todo) => todo.iter().for_each(|d| self.carry_out(d)),
                (Order::First, [first, ..]) => self.carry_out(first),
                (Order::Last, [.., last]) => self.carry_out(last),
            }
        }
        panic!(
            "never comes to rest ({order:?}): {}, now {}",
            before.tell(),
            self.tell()
        );
    }

    /// Does what a sink does, unless the world has moved on.
    pub(super) fn carry_out(&mut self, decision: &Decision) {
        let leaf = decision.verdict.leaf;
        match decision.verdict.act {
            Act::Put { from, to } => {
                let new = decision.new.expect("a put has a value");
                let donor = self.held(from);
                if self.held(to) != decision.expect || !self.gives(donor, new, decision) {
                    return;
                }
                self.judge(decision);
                // Copying reads.
                self.set(to, Some(read(new)));
                if same(donor, Some(new)) {
                    self.set(from, donor.map(read));
                }
                if self.held(from) == self.held(to) {
                    self.leaf_mut(leaf).agreed = Some(read(new));
                }
            }
            Act::Delete { at } => {
                let because = if at.is_source() {
                    leaf
                } else {
                    Replica::SOURCE
                };
                if self.held(at) != decision.expect || self.held(because).is_some() {
                    return;
                }
                self.judge(decision);
                self.set(at, None);
                self.leaf_mut(leaf).agreed = None;
            }
            Act::Agree => {
                let leaf_only = decision.verdict.rule == Rule::BecomesLeafOnly;
                let held = [self.views.source, self.held(leaf)];
                if leaf_only || held == [decision.new; 2] {
                    self.leaf_mut(leaf).agreed = decision.new;
                }
            }
            Act::Read(set) => {
                for at in set.iter() {
                    let value = self.held(at).expect("something to read");
                    self.set(at, Some(read(value)));
                }
            }
            Act::Await | Act::Conflict(_) | Act::Blocked(_) => {}
        }
    }

    /// Whether the bytes are still to be had: at the donor, or in place.
    fn gives(&self, donor: Option<Value>, new: Value, decision: &Decision) -> bool {
        same(donor, Some(new)) || same(decision.expect, Some(new))
    }

    /// S2, S3: what is displaced is agreed, history, or named by a resolve or the mode.
    fn judge(&self, decision: &Decision) {
        let (from, to) = match decision.verdict.act {
            Act::Put { from, to } => (Some(from), to),
            Act::Delete { at } => (None, at),
            Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => return,
        };
        let leaf = self.leaf(decision.verdict.leaf);
        let agreed = agreed(leaf);
        let told = || format!("{} in {}", sentence(Some(decision), true), self.tell());
        let moved = !same(decision.expect, decision.new);
        if let Some(from) = from {
            assert!(from.is_source() != to.is_source(), "{}", told());
            let size = decision.new.map_or(0, |new| new.bytes());
            let bytes = if moved { size } else { 0 };
            assert_eq!(decision.verdict.bytes, bytes, "{}", told());
        } else {
            assert!(decision.expect.is_some(), "deletes nothing: {}", told());
        }
        let gives_way = if to.is_source() {
            self.views.source_yields
        } else {
            leaf.yields
        };
        let resolved = gives_way.is_some() && same(gives_way, decision.expect);
        if to.is_source() {
            let allowed = self.mode.is_two_way() || resolved;
            assert!(allowed, "writes the source: {}", told());
        }
        if decision.expect.is_none() || !moved {
            return;
        }
        let held_agreed = agreed.is_some() && same(agreed, decision.expect);
        let digest = decision.expect.and_then(|value| read(value).digest());
        let stale = agreed.is_none()
            && from.is_some()
            && digest.is_some_and(|digest| self.views.past.contains(&digest));
        let by_mode = !to.is_source()
            && match self.mode {
                Mode::TwoWay | Mode::OneWay => false,
                Mode::TwoWaySource => from.is_some() && !same(self.views.source, agreed),
                Mode::OneWaySource => from.is_some(),
                Mode::Mirror => true,
            };
        let stale = stale && !to.is_source();
        assert!(
            held_agreed || stale || resolved || by_mode,
            "displaces what nobody gave up: {}",
            told()
        );
    }

    /// The world in words.
    pub(super) fn tell(&self) -> String {
        let leaves: Vec<String> = self
            .views
            .leaves
            .iter()
            .map(|l| {
                format!(
                    "{}|{} yields {}",
                    word(l.agreed),
                    word(l.value),
                    word(l.yields)
                )
            })
            .collect();
        format!(
            "{}: source {} yields {}, agreed|leaf {leaves:?}, past {:?}",
            self.mode,
            word(self.views.source),
            word(self.views.source_yields),
            self.views.past
        )
    }
}
