//! The arena of paths: every path ever seen in a sync, as a parent and a name, under a `u32`.
//!
//! Holds: an id never changes its path and is never reused while the arena lives; a parent's id is smaller than its
//! child's; memory is about 40 bytes a path plus its name.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::git;
use super::group::Groups;
use super::path::{Name, RelPath};

/// A path in a [`Paths`] arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathId(pub u32);

impl PathId {
    pub const ROOT: Self = Self(0);
    const NONE: Self = Self(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy)]
struct Node {
    parent: PathId,
    first_child: PathId,
    next_sibling: PathId,
    name_at: u32,
    name_block: u16,
    name_len: u8,
    /// It is a git repository, or in one.
    in_git: bool,
    /// Its name makes it one of a group of files.
    in_group: bool,
}

/// Names are kept in blocks so that growing never copies them.
const BLOCK_BYTES: usize = 1 << 20;

/// All paths of one sync.
pub struct Paths {
    nodes: Vec<Node>,
    blocks: Vec<Vec<u8>>,
    /// Open addressing, linear probing; a power of two, at most 3/4 full.
    table: Vec<PathId>,
    hasher: RandomState,
    groups: Groups,
}

impl Default for Paths {
    fn default() -> Self {
        Self::new()
    }
}

impl Paths {
    /// An arena with the root alone.
    #[must_use]
    pub fn new() -> Self {
        let root = Node {
            parent: PathId::NONE,
            first_child: PathId::NONE,
            next_sibling: PathId::NONE,
            name_at: 0,
            name_block: 0,
            name_len: 0,
            in_git: false,
            in_group: false,
        };
        Self {
            nodes: vec![root],
            blocks: vec![Vec::new()],
            table: vec![PathId::NONE; 64],
            hasher: RandomState::default(),
            groups: Groups::default(),
        }
    }

    /// Says which files belong together, before any path is known.
    pub fn set_groups(&mut self, groups: Groups) {
        debug_assert_eq!(self.nodes.len(), 1, "a path's group does not change");
        self.groups = groups;
    }

    /// How many paths there are, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The id of `name` in `parent`, if it was seen before.
    #[must_use]
    pub fn child(&self, parent: PathId, name: &[u8]) -> Option<PathId> {
        self.find(parent, name).ok()
    }

    /// The id of `name` in `parent`, and whether it is new.
    pub fn intern(&mut self, parent: PathId, name: &Name) -> (PathId, bool) {
        let slot = match self.find(parent, name.as_bytes()) {
            Ok(id) => return (id, false),
            Err(slot) => slot,
        };
        let id = PathId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 paths in a sync"));
        assert!(id != PathId::NONE, "fewer than 2^32 - 1 paths in a sync");
        let (name_block, name_at) = self.store(name.as_bytes());
        let siblings = self.nodes[parent.index()].first_child;
        let in_git = self.nodes[parent.index()].in_git || name.as_bytes() == git::REPOSITORY;
        self.nodes.push(Node {
            parent,
            first_child: PathId::NONE,
            next_sibling: siblings,
            name_at,
            name_block,
            name_len: u8::try_from(name.as_bytes().len()).expect("a name has at most 255 bytes"),
            in_git,
            in_group: !in_git && self.groups.of(name.as_bytes()).is_some(),
        });
        self.nodes[parent.index()].first_child = id;
        self.table[slot] = id;
        if self.nodes.len() * 4 > self.table.len() * 3 {
            self.grow();
        }
        (id, true)
    }

    /// The id of a whole path, if every component was seen before.
    #[must_use]
    pub fn lookup(&self, path: &RelPath) -> Option<PathId> {
        path.components().try_fold(PathId::ROOT, |dir, name| self.child(dir, name))
    }

    /// The id of a whole path, interning what is missing.
    pub fn intern_path(&mut self, path: &RelPath) -> PathId {
        path.components().fold(PathId::ROOT, |dir, name| {
            let name = Name::parse(name).expect("a RelPath is made of names");
            self.intern(dir, &name).0
        })
    }

    /// The directory a path is in; `None` for the root.
    #[must_use]
    pub fn parent(&self, id: PathId) -> Option<PathId> {
        let parent = self.nodes[id.index()].parent;
        (parent != PathId::NONE).then_some(parent)
    }

    /// Whether it is a git repository, or in one.
    #[must_use]
    pub fn is_in_git(&self, id: PathId) -> bool {
        self.nodes[id.index()].in_git
    }

    /// Whether it is one of a group of files; what is in a git repository is in no other group.
    #[must_use]
    pub fn is_in_group(&self, id: PathId) -> bool {
        self.nodes[id.index()].in_group
    }

    /// Whether it has to go in an order, or together, with other paths.
    #[must_use]
    pub fn is_bound(&self, id: PathId) -> bool {
        self.is_in_git(id) || self.is_in_group(id)
    }

    /// Whether a directory above it has the name of a file of a group, and may have to wait for that group.
    #[must_use]
    pub fn is_below_group(&self, id: PathId) -> bool {
        !self.groups.is_empty() && self.ancestors(id).any(|dir| self.is_in_group(dir))
    }

    /// All names that can be in the group that a path is one of, in the order of its patterns; none without a group.
    #[must_use]
    pub fn names_of_group(&self, id: PathId) -> Vec<Name> {
        let member = self.is_in_group(id).then(|| self.groups.of(self.name(id))).flatten();
        member.map_or_else(Vec::new, |member| self.groups.names(member))
    }

    /// The paths of the group that a path is one of, as far as they were ever seen, in the order of its patterns.
    #[must_use]
    pub fn group(&self, id: PathId) -> Vec<PathId> {
        let Some(dir) = self.parent(id) else { return Vec::new() };
        let names = self.names_of_group(id).into_iter();
        names.filter_map(|name| self.child(dir, name.as_bytes())).collect()
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn name(&self, id: PathId) -> &[u8] {
        let node = &self.nodes[id.index()];
        let at = node.name_at as usize;
        &self.blocks[usize::from(node.name_block)][at..at + usize::from(node.name_len)]
    }

    /// The whole path.
    #[must_use]
    pub fn path(&self, id: PathId) -> RelPath {
        let mut names: Vec<&[u8]> = self.ancestors(id).map(|dir| self.name(dir)).collect();
        names.pop();
        names.reverse();
        names.insert(names.len(), self.name(id));
        let bytes = if id == PathId::ROOT { Vec::new() } else { names.join(&b'/') };
        RelPath::parse(&bytes).expect("the arena holds checked names")
    }

    /// The directories above a path, nearest first, the root last; none for the root.
    pub fn ancestors(&self, id: PathId) -> impl Iterator<Item = PathId> + '_ {
        std::iter::successors(self.parent(id), |dir| self.parent(*dir))
    }

    /// Every path ever seen directly in `dir`, newest first.
    pub fn children(&self, dir: PathId) -> impl Iterator<Item = PathId> + '_ {
        let first = self.nodes[dir.index()].first_child;
        std::iter::successors((first != PathId::NONE).then_some(first), |id| {
            let next = self.nodes[id.index()].next_sibling;
            (next != PathId::NONE).then_some(next)
        })
    }

    fn find(&self, parent: PathId, name: &[u8]) -> Result<PathId, usize> {
        let mask = self.table.len() - 1;
        let mut slot = self.hash(parent, name) & mask;
        loop {
            let id = self.table[slot];
            if id == PathId::NONE {
                return Err(slot);
            }
            if self.nodes[id.index()].parent == parent && self.name(id) == name {
                return Ok(id);
            }
            slot = (slot + 1) & mask;
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low bits of a hash are enough")]
    fn hash(&self, parent: PathId, name: &[u8]) -> usize {
        self.hasher.hash_one((parent.0, name)) as usize
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        let mut table = vec![PathId::NONE; mask + 1];
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let id = PathId(u32::try_from(index).expect("ids are u32"));
            let mut slot = self.hash(node.parent, self.name(id)) & mask;
            while table[slot] != PathId::NONE {
                slot = (slot + 1) & mask;
            }
            table[slot] = id;
        }
        self.table = table;
    }

    fn store(&mut self, name: &[u8]) -> (u16, u32) {
        if self.blocks.last().is_none_or(|b| b.len() + name.len() > BLOCK_BYTES) {
            self.blocks.push(Vec::with_capacity(BLOCK_BYTES));
        }
        let block = self.blocks.len() - 1;
        let at = self.blocks[block].len();
        self.blocks[block].extend_from_slice(name);
        (
            u16::try_from(block).expect("at most 64 GiB of names"),
            u32::try_from(at).expect("a block is 1 MiB"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).expect("a good name")
    }

    #[test]
    fn a_path_comes_back_as_it_went_in() {
        let mut paths = Paths::new();
        for text in ["", "a", "a/b", "a/b/\u{e9}", "z/-x/a\nb"] {
            let path = RelPath::parse(text.as_bytes()).expect("a good path");
            let id = paths.intern_path(&path);
            assert_eq!(paths.path(id), path);
            assert_eq!(paths.lookup(&path), Some(id));
        }
        assert_eq!(paths.len(), 7);
    }

    #[test]
    fn a_hundred_thousand_paths_stay_apart() {
        let mut paths = Paths::new();
        let ids: Vec<PathId> = (0..100_000)
            .map(|i| {
                let dir = paths.intern(PathId::ROOT, &name(&format!("d{}", i % 100))).0;
                paths.intern(dir, &name(&format!("f{i}"))).0
            })
            .collect();
        assert_eq!(paths.len(), 100_101);
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(paths.path(*id).as_bytes(), format!("d{}/f{i}", i % 100).as_bytes());
        }
        let dir = paths.child(PathId::ROOT, b"d7").expect("seen");
        assert_eq!(paths.children(dir).count(), 1000);
    }
}
