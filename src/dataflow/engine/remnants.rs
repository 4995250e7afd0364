//! Directories that one side deleted and that stay at the other for what is not synced (R10), once that is gone.
//!
//! Holds: one is over as soon as its side has listed it all and nothing opaque is left in it. Agreed as a directory again it
//! is what it was, a directory that the other side deleted, and every gate of a delete stands before it.

use super::Engine;
use crate::dataflow::graph::rows::{Outcome, Shape};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;

use super::state::{Kind, State};

impl Engine {
    /// Whether a directory is agreed anywhere to stay for what is not synced.
    #[must_use]
    pub fn has_remnants(&self) -> bool {
        !self.state.remnants.is_empty()
    }

    /// The remnants at and above `dirs` that are over, with the leaf they are agreed with and what is to be agreed.
    ///
    /// Of a settled engine: walks what is known below each.
    pub fn ended_remnants(&mut self, dirs: &[PathId]) -> Vec<(PathId, Replica, Value)> {
        let mut asked: Vec<PathId> = Vec::new();
        {
            let paths = self.paths.borrow();
            let all =
                dirs.iter().flat_map(|dir| std::iter::once(*dir).chain(paths.ancestors(*dir)));
            asked.extend(all.filter(|dir| self.state.remnants.contains_key(dir)));
        }
        asked.sort_unstable();
        asked.dedup();
        self.read();
        let mut ended = Vec::new();
        for dir in asked {
            for (leaf, at) in self.sleeping(dir) {
                let value = self.state.held(dir, at).filter(|value| value.is_dir());
                if let Some(value) = value.filter(|_| self.state.is_all_synced(dir, at)) {
                    ended.push((dir, leaf, value));
                }
            }
        }
        ended
    }

    /// The leaves a directory is a remnant with, and the replica that holds it.
    fn sleeping(&mut self, dir: PathId) -> Vec<(Replica, Replica)> {
        let outcomes = self.graph.traces.outcomes.at(dir).into_iter();
        let sleeping = outcomes.filter_map(|(outcome, _)| {
            let Outcome::Wish(wish) = outcome else { return None };
            let Act::Put { from, .. } = wish.verdict.act else { return None };
            (wish.shape == Shape::Remnant).then_some((wish.verdict.leaf, from))
        });
        sleeping.collect()
    }
}

impl State {
    /// Whether a replica has listed a directory and all below, and holds nothing opaque there.
    fn is_all_synced(&self, dir: PathId, replica: Replica) -> bool {
        let paths = self.paths.borrow();
        let mut left = vec![dir];
        while let Some(dir) = left.pop() {
            if !self.is_told(dir, replica) {
                return false;
            }
            for child in paths.children(dir) {
                match self.kind(child, replica) {
                    Kind::Opaque => return false,
                    Kind::Dir => left.push(child),
                    Kind::File | Kind::Absent => {}
                }
            }
        }
        true
    }
}
