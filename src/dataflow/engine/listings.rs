//! Which directories are completely known at which replica: what makes an absence an assertion.
//!
//! Holds: a directory is *listed* at a replica if a listing said so (it is *told*), or if the directory it is in is
//! listed there and it is not a directory there: then certainly nothing is below (it is *vacuous*). Something ignored,
//! skipped or unreadable is never vacuous. Only paths with something below need the row, and have it.

use super::state::{Kind, State};
use crate::dataflow::graph::rows::{Bits, Row};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};

/// What is known of one directory, a bit a replica.
#[derive(Clone, Copy, Default)]
pub(super) struct Listing {
    /// A listing said so.
    pub(super) told: u32,
    /// Told or vacuous: the bits of its `Listed` row.
    marked: u32,
}

impl State {
    /// Whether a replica has listed this directory: told, not vacuous.
    pub(in crate::dataflow) fn is_told(&self, dir: PathId, replica: Replica) -> bool {
        self.listing(dir).told & (1 << replica.slot()) != 0
    }

    /// Whether a replica certainly holds nothing below a path because of what is listed above it.
    pub(super) fn is_vacuous(&self, path: PathId, replica: Replica) -> bool {
        let listing = self.listing(path);
        (listing.marked & !listing.told) & (1 << replica.slot()) != 0
    }

    /// Whether a fact of this replica about something in `dir` is to be believed: neither it nor anything above is
    /// known to be something else than a directory there. What became a directory is listed anew anyway.
    pub(super) fn may_hold_in(&self, dir: PathId, replica: Replica) -> bool {
        let paths = self.paths.borrow();
        let is_dir = |path: PathId| match self.kind(path, replica) {
            Kind::Dir => true,
            Kind::File | Kind::Opaque => false,
            Kind::Absent => paths
                .parent(path)
                .is_none_or(|above| self.listing(above).marked & (1 << replica.slot()) == 0),
        };
        is_dir(dir) && paths.ancestors(dir).all(is_dir)
    }

    pub(super) fn tell(&mut self, dir: PathId, replica: Replica) {
        self.listings.entry(dir).or_default().told |= 1 << replica.slot();
        self.mark(dir);
    }

    /// Takes back that a replica listed this directory; the marks are to be made anew.
    pub(super) fn untell(&mut self, dir: PathId, replica: Replica) {
        if let Some(listing) = self.listings.get_mut(&dir) {
            listing.told &= !(1 << replica.slot());
        }
    }

    /// The directories at and below `dir` that a replica has listed, parents first.
    pub(super) fn told_within(&self, dir: PathId, replica: Replica) -> Vec<PathId> {
        let paths = self.paths.borrow();
        let within = |path: PathId| path == dir || paths.ancestors(path).any(|d| d == dir);
        let told = self.listings.iter();
        let told = told.filter(|(path, l)| l.told & (1 << replica.slot()) != 0 && within(**path));
        let mut told: Vec<PathId> = told.map(|(path, _)| *path).collect();
        told.sort_unstable();
        told
    }

    /// Makes the `Listed` row of a path, and of all below that depend on it, what it has to be.
    pub(super) fn mark(&mut self, from: PathId) {
        let mut left = vec![from];
        while let Some(path) = left.pop() {
            let listing = self.listing(path);
            let marked = listing.told | self.vacuous(path);
            if marked == listing.marked {
                continue;
            }
            self.change(path, Row::Listed, Bits(u64::from(marked ^ listing.marked)));
            if marked == 0 {
                self.listings.remove(&path);
            } else {
                self.listings.entry(path).or_default().marked = marked;
            }
            let paths = self.paths.borrow();
            let inner = |path: &PathId| paths.children(*path).next().is_some();
            left.extend(paths.children(path).filter(inner));
        }
    }

    /// The replicas at which nothing can be below a path that has something below elsewhere.
    fn vacuous(&self, path: PathId) -> u32 {
        let paths = self.paths.borrow();
        match paths.parent(path) {
            Some(parent) if paths.children(path).next().is_some() => {
                self.listing(parent).marked & self.nothing_below(path)
            }
            Some(_) | None => 0,
        }
    }

    fn listing(&self, dir: PathId) -> Listing {
        self.listings.get(&dir).copied().unwrap_or_default()
    }

    /// Whether all of these replicas have the directory listed.
    pub(super) fn are_listed(&self, dir: PathId, replicas: u32) -> bool {
        self.listing(dir).marked & replicas == replicas
    }

    /// Whether the replica is part of the sync.
    pub(super) fn registered(&self, replica: Replica) -> bool {
        self.replicas.contains(replica)
    }

    /// The source and this leaf.
    pub(super) fn ends(leaf: Replica) -> u32 {
        ReplicaSet::of(&[Replica::SOURCE, leaf]).bits()
    }
}
