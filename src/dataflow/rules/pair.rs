//! The source and one leaf: what they hold, and what can be said about them.
//!
//! Holds: a ruling's `expect` is what the place it writes holds now; `new` carries the content of its place wherever
//! only mode and mtime are to be set.

use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::{
    Act, ConflictKind, Decision, LeafView, Rule, Verdict, Views,
};

/// The views of one leaf.
pub(super) struct Pair<'a> {
    pub(super) slot: Replica,
    pub(super) source: Option<Value>,
    pub(super) leaf: Option<Value>,
    /// What both once held; a remnant counts as nothing.
    pub(super) agreed: Option<Value>,
    /// Something is recorded as agreed, a remnant too.
    pub(super) recorded: bool,
    pub(super) source_yields: Option<Value>,
    pub(super) leaf_yields: Option<Value>,
    pub(super) past: &'a [Digest],
    pub(super) policy: Policy,
}

impl<'a> Pair<'a> {
    pub(super) fn of(views: &'a Views, leaf: &LeafView, policy: Policy) -> Self {
        Self {
            slot: leaf.leaf,
            source: views.source,
            leaf: leaf.value,
            agreed: leaf.agreed.filter(is_carried),
            recorded: leaf.agreed.is_some(),
            source_yields: views.source_yields,
            leaf_yields: leaf.yields,
            past: &views.past,
            policy,
        }
    }

    /// The leaf gets `new`.
    pub(super) fn put_leaf(&self, new: Value, rule: Rule) -> Ruling {
        let act = Act::Put { from: Replica::SOURCE, to: self.slot };
        Ruling { act, rule, new: Some(new), expect: self.leaf }
    }

    /// The source gets `new`.
    pub(super) fn put_source(&self, new: Value, rule: Rule) -> Ruling {
        let act = Act::Put { from: self.slot, to: Replica::SOURCE };
        Ruling { act, rule, new: Some(new), expect: self.source }
    }

    /// What the leaf holds goes.
    pub(super) fn delete_leaf(&self, rule: Rule) -> Ruling {
        Ruling { expect: self.leaf, ..Ruling::bare(Act::Delete { at: self.slot }, rule) }
    }

    /// What the source holds goes.
    pub(super) fn delete_source(&self, rule: Rule) -> Ruling {
        let at = Replica::SOURCE;
        Ruling { expect: self.source, ..Ruling::bare(Act::Delete { at }, rule) }
    }
}

/// Whether both hold what is agreed: the case of nearly every path, told apart cheaply.
pub(super) fn in_sync(views: &Views, leaf: &LeafView) -> bool {
    let agreed = &leaf.agreed;
    agreed.as_ref().is_none_or(is_carried) && leaf.value == *agreed && views.source == *agreed
}

/// A decision before it is measured and stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) act: Act,
    pub(super) rule: Rule,
    pub(super) new: Option<Value>,
    pub(super) expect: Option<Value>,
}

impl Ruling {
    /// One that writes nothing.
    pub(super) fn bare(act: Act, rule: Rule) -> Self {
        Self { act, rule, new: None, expect: None }
    }

    pub(super) fn agree(new: Option<Value>, rule: Rule) -> Self {
        Self { new, ..Self::bare(Act::Agree, rule) }
    }

    pub(super) fn conflict(kind: ConflictKind, rule: Rule) -> Self {
        Self::bare(Act::Conflict(kind), rule)
    }

    /// Whether both do the same, for whatever reason.
    pub(super) fn does_the_same(&self, other: &Self) -> bool {
        (self.act, self.new, self.expect) == (other.act, other.new, other.expect)
    }

    pub(super) fn decision(self, leaf: Replica) -> Decision {
        let stays = match (&self.expect, &self.new) {
            (Some(expect), Some(new)) => expect.same_content(new) == Some(true),
            _ => false,
        };
        let bytes = match (self.act, &self.new) {
            (Act::Put { .. }, Some(new)) if !stays => new.bytes(),
            _ => 0,
        };
        Decision {
            verdict: Verdict { leaf, act: self.act, rule: self.rule, bytes, print: 0 },
            new: self.new,
            expect: self.expect,
        }
    }
}

/// Whether the act changes what the source holds.
pub(super) fn writes_source(act: Act) -> bool {
    match act {
        Act::Put { to: at, .. } | Act::Delete { at } => at.is_source(),
        Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => false,
    }
}

/// Whether it is of a kind that is synced.
pub(in crate::dataflow) fn is_carried(value: &Value) -> bool {
    match value {
        Value::File(_) | Value::Dir { .. } | Value::Symlink { .. } => true,
        Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. } | Value::Remnant => false,
    }
}

/// Whether both are files, both directories or both symlinks.
pub(super) fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Whether it is a file whose digest nobody knows.
pub(super) fn is_unread(value: &Value) -> bool {
    matches!(value, Value::File(file) if file.content.digest().is_none())
}
