//! Forgetting names of which nothing is known any more but that they were there once.
//!
//! Holds: what is forgotten has no row left but of its past, nobody has it in hand, and everything below it is forgotten
//! too; the graph has settled its last row before its id is taken back. So its id can be given to another path, as if it
//! had never been given. What the source once had under a name is kept as long as the source may still have it.

use super::Engine;
use super::observe::Notes;
use super::state::{Entry, State};
use crate::dataflow::graph::rows::Row;
use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;

/// What was forgotten.
#[derive(Debug, Default)]
pub struct Forgotten {
    pub paths: Vec<RelPath>,
    /// Those of them of which the journal remembers what the source had.
    pub past: Vec<RelPath>,
    /// Nothing that is ready rests on a name that is not there; were it otherwise, it would be here.
    pub changes: Vec<JobChange>,
}

impl Engine {
    /// Whether so many names were seen since the last time, and so many of those known then, that it is worth to look
    /// for those that are gone.
    #[must_use]
    pub fn has_many_names(&self, least: usize) -> bool {
        let new = self.paths.borrow().len().saturating_sub(self.names_left);
        new > least.max(self.names_left / 2)
    }

    /// Forgets the names that are gone, but for those `in_hand` and above them; nothing while facts are not settled, or
    /// notes not taken.
    pub fn forget_names(&mut self, in_hand: &[PathId]) -> Forgotten {
        let Notes { forgotten, resolved, past } = &self.notes;
        if self.state.has_open()
            || !(forgotten.is_empty() && resolved.is_empty() && past.is_empty())
        {
            return Forgotten::default();
        }
        self.read();
        let gone = self.state.gone(in_hand);
        let mut forgotten = Forgotten::default();
        if !gone.is_empty() {
            let past: Vec<PathId> =
                gone.iter().copied().filter(|id| self.state.blank(*id)).collect();
            forgotten.changes = self.settle();
            let path = |id: &PathId| self.paths.borrow().path(*id);
            forgotten.past = past.iter().map(path).collect();
            forgotten.paths = gone.iter().map(path).collect();
            self.state.take_back(&gone);
            forgotten.changes.extend(self.settle());
            debug_assert!(forgotten.changes.is_empty(), "{:?}", forgotten.changes);
        }
        self.names_left = self.paths.borrow().len();
        forgotten
    }
}

impl State {
    /// The paths to forget, each with all below it, by id.
    fn gone(&mut self, in_hand: &[PathId]) -> Vec<PathId> {
        let paths = std::rc::Rc::clone(&self.paths);
        let paths = paths.borrow();
        let mut stays = vec![false; paths.end().0 as usize];
        in_hand.iter().for_each(|id| stays[id.0 as usize] = true);
        self.yields.keys().for_each(|id| stays[id.0 as usize] = true);
        let mut gone = Vec::new();
        for id in paths.deepest_first() {
            let Some(parent) = paths.parent(id) else { continue };
            if stays[id.0 as usize] || self.is_known(id) || self.may_have_past(id, parent) {
                stays[parent.0 as usize] = true;
            } else {
                gone.push(id);
            }
        }
        gone.reverse();
        gone
    }

    /// Whether any replica holds something here or listed it, or something is agreed.
    fn is_known(&self, id: PathId) -> bool {
        let entry = &self.index[id.0 as usize];
        let is_told = || self.listings.get(&id).is_some_and(|listing| listing.told != 0);
        entry.broad | entry.firm | entry.agreed != 0 || is_told()
    }

    /// Whether the source had something here and is not known to have nothing by now.
    fn may_have_past(&mut self, id: PathId, parent: PathId) -> bool {
        let source = Replica::SOURCE;
        !self.are_listed(parent, 1 << source.slot())
            && self.rows(id).iter().any(|(row, _)| matches!(row, Row::Past { .. }))
    }

    /// Takes the rows of a gone path away; whether it had a past.
    fn blank(&mut self, id: PathId) -> bool {
        let mut had_past = false;
        for (row, bits) in self.rows(id) {
            debug_assert!(matches!(row, Row::Past { .. } | Row::Listed), "{row:?} is gone");
            had_past |= matches!(row, Row::Past { .. });
            self.change(id, row, bits);
        }
        self.listings.remove(&id);
        had_past
    }

    fn take_back(&mut self, gone: &[PathId]) {
        let above: Vec<PathId> = {
            let mut paths = self.paths.borrow_mut();
            let mut above: Vec<PathId> = gone.iter().filter_map(|id| paths.parent(*id)).collect();
            above.sort_unstable();
            above.dedup();
            above.retain(|dir| gone.binary_search(dir).is_err());
            paths.forget(gone);
            self.index.truncate(paths.end().0 as usize);
            above.retain(|dir| paths.children(*dir).next().is_none());
            above
        };
        self.index.shrink_to(self.index.len() * 2);
        self.listings.shrink_to(self.listings.len() * 2);
        for dir in above {
            // With nothing below it needs no row that says so.
            self.mark(dir);
        }
    }

    /// Makes room in the index for a path that was just given its id.
    pub(super) fn admit(&mut self, path: PathId) {
        let at = path.0 as usize;
        if at == self.index.len() {
            self.index.push(Entry::default());
        } else {
            debug_assert!(!self.is_known(path), "{path:?} is known by another name");
            self.index[at] = Entry::default();
        }
    }
}
