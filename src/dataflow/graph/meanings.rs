//! Contents that differ in bytes and say the same, and what that makes of the views of a path.
//!
//! Holds: what means the same as what was agreed counts as not changed, and what means the same as the other side's
//! counts as equal to it; a put still carries, and replaces, the very bytes that are there.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::Views;

/// Beyond this many all are forgotten: what was told apart by meaning is then told apart by bytes.
const MEANINGS_MAX: usize = 1 << 16;

/// Shared by the rules in the graph and those asked outside it.
#[derive(Clone)]
pub(in crate::dataflow) struct Meanings(Rc<RefCell<HashMap<Digest, Digest>>>);

impl Meanings {
    pub(in crate::dataflow) fn new() -> Self {
        Self(Rc::new(RefCell::new(HashMap::new())))
    }

    /// The content of this digest says what all others of the same meaning say.
    pub(in crate::dataflow) fn learn(&self, digest: Digest, meaning: Digest) {
        let mut known = self.0.borrow_mut();
        if known.len() >= MEANINGS_MAX {
            known.clear();
        }
        known.insert(digest, meaning);
    }

    /// Makes equal in the views what means the same.
    pub(super) fn align(&self, views: &mut Views) {
        let known = self.0.borrow();
        if known.is_empty() {
            return;
        }
        let of = |value: Option<Value>| match value {
            Some(Value::File(file)) => file.content.digest().and_then(|d| known.get(&d).copied()),
            _ => None,
        };
        let source = of(views.source);
        for leaf in &mut views.leaves {
            let (held, agreed) = (of(leaf.value), of(leaf.agreed));
            if source.is_some() && source == held {
                leaf.value = views.source;
            }
            if agreed.is_some() && agreed == source {
                leaf.agreed = views.source;
            } else if agreed.is_some() && agreed == held {
                leaf.agreed = leaf.value;
            }
        }
    }
}
