//! Files that are worth something only together: whatever stands in their names was there at one moment.
//!
//! Holds: asked of whole steps of a daemon that nothing ends. A kill, or a user in the middle of a step, can leave files of
//! two moments (`docs/design/0011`).

use std::collections::{BTreeMap, BTreeSet};

use super::bench::Bytes;

type State = Vec<Option<Bytes>>;

/// The files of a group, and every state of all of them that users made at some replica.
#[derive(Clone)]
pub(super) struct Moments {
    names: [&'static str; 2],
    made: BTreeSet<State>,
}

impl Moments {
    pub(super) fn of(names: [&'static str; 2]) -> Self {
        Self { names, made: BTreeSet::from([vec![None; names.len()]]) }
    }

    fn state(&self, tree: &BTreeMap<String, Bytes>) -> State {
        self.names.iter().map(|name| tree.get(*name).cloned()).collect()
    }

    /// A user made this.
    pub(super) fn note(&mut self, tree: &BTreeMap<String, Bytes>) {
        self.made.insert(self.state(tree));
    }

    /// What no user made, if that is what is there.
    pub(super) fn fault(&self, tree: &BTreeMap<String, Bytes>) -> Option<String> {
        let state = self.state(tree);
        let is_made = self.made.contains(&state);
        (!is_made).then(|| format!("0011: {:?} of no one moment: {state:?}", self.names))
    }
}
