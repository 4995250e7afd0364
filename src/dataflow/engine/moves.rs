//! Which paired moves count, and what that makes of the ready rows.
//!
//! Holds: a pair counts unless something above its new name is stuck for its leaf; a path is in at most one pair that
//! counts per replica. A pair that does not count leaves a put that copies and a delete.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;

use crate::dataflow::graph::rows::{Output, Pair, Ready};
use crate::dataflow::model::paths::{PathId, Paths};
use crate::dataflow::model::replica::{Replica, ReplicaSet};

/// Paths in conflict or with something in the way, and with which leaves.
pub(in crate::dataflow) type Stuck = BTreeMap<PathId, ReplicaSet>;

#[derive(Default)]
struct Effect {
    /// Rows that the pair takes away (-1) and adds (+1).
    rows: Vec<(Ready, isize)>,
    counts: bool,
}

#[derive(Default)]
pub(in crate::dataflow) struct Moves {
    pairs: HashMap<Pair, Effect>,
    /// Pairs by both their ends.
    ends: HashMap<(PathId, Replica), Pair>,
}

/// A change of the effect of a pair: the row, whether the pair adds it, and whether that came or went.
pub(super) type EffectChange = (Pair, Ready, isize, isize);

/// What an output of the graph says about a pair's effect.
pub(super) fn effect(output: &Output, diff: isize) -> Option<EffectChange> {
    match output {
        Output::Withheld(pair, row) => Some((*pair, *row, -1, diff)),
        Output::Moved(pair, row) => Some((*pair, *row, 1, diff)),
        Output::Ready(_) | Output::Stuck(..) | Output::Turned { .. } => None,
    }
}

impl Moves {
    /// The move that a path is part of at a replica, if it counts.
    pub(in crate::dataflow) fn of(&self, path: PathId, at: Replica) -> Option<Pair> {
        let pair = self.ends.get(&(path, at))?;
        self.pairs.get(pair).is_some_and(|p| p.counts).then_some(*pair)
    }

    /// Takes the changes in and appends what they make of the ready rows.
    pub(super) fn update(
        &mut self,
        changes: Vec<EffectChange>,
        stuck: &Stuck,
        stuck_changed: bool,
        paths: &Paths,
        ready: &mut Vec<(Ready, isize)>,
    ) {
        let mut touched: BTreeSet<Pair> = changes.iter().map(|(pair, ..)| *pair).collect();
        if stuck_changed {
            touched.extend(self.pairs.keys().copied());
        }
        for pair in &touched {
            if let Some(effect) = self.pairs.get(pair).filter(|effect| effect.counts) {
                ready.extend(effect.rows.iter().map(|(row, sign)| (*row, -sign)));
            }
        }
        for (pair, row, sign, diff) in changes {
            let rows = &mut self.pairs.entry(pair).or_default().rows;
            if diff > 0 {
                rows.push((row, sign));
            } else {
                rows.retain(|known| *known != (row, sign));
            }
        }
        for pair in &touched {
            if self.pairs.get(pair).is_some_and(|effect| effect.rows.is_empty()) {
                self.pairs.remove(pair);
                self.ends.remove(&(pair.from, pair.at));
                self.ends.remove(&(pair.to, pair.at));
            }
        }
        for pair in touched {
            let Some(effect) = self.pairs.get_mut(&pair) else {
                continue;
            };
            self.ends.insert((pair.from, pair.at), pair);
            self.ends.insert((pair.to, pair.at), pair);
            let is_stuck = |dir| stuck.get(&dir).is_some_and(|leaves| leaves.contains(pair.leaf));
            effect.counts = stuck.is_empty() || !paths.ancestors(pair.to).any(is_stuck);
            if effect.counts {
                ready.extend(effect.rows.iter().copied());
            }
        }
    }
}
