//! The arena of paths: the paths known in a sync, as a parent and a name, under a `u32`.
//!
//! Holds: an id never changes its path before [`Paths::forget`] takes it back, and only ids taken back are given again; a
//! parent's id is smaller than its child's, and in a group of files that of the path seen first is the smallest; memory
//! is about 40 bytes a path plus its name. Decided in 0018.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::ops::Bound;

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
    /// None of the root, and of an id that was taken back.
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
    /// Ids that were taken back.
    free: BTreeSet<PathId>,
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
            free: BTreeSet::new(),
        }
    }

    /// Says which files belong together, before any path is known.
    pub fn set_groups(&mut self, groups: Groups) {
        debug_assert_eq!(self.nodes.len(), 1, "a path's group does not change");
        self.groups = groups;
    }

    /// How many paths are known, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// One more than the largest id that was given and not taken back.
    #[must_use]
    pub fn end(&self) -> PathId {
        PathId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 paths in a sync"))
    }

    /// All ids but the root's, the largest first: what is in a directory before the directory.
    pub fn deepest_first(&self) -> impl Iterator<Item = PathId> + '_ {
        let given = |id: &PathId| self.nodes[id.index()].parent != PathId::NONE;
        (1..self.end().0).rev().map(PathId).filter(given)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The id of `name` in `parent`, if it is known.
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
        let (name_block, name_at) = self.store(name.as_bytes());
        let siblings = self.nodes[parent.index()].first_child;
        let in_git = self.nodes[parent.index()].in_git || name.as_bytes() == git::REPOSITORY;
        let node = Node {
            parent,
            first_child: PathId::NONE,
            next_sibling: siblings,
            name_at,
            name_block,
            name_len: u8::try_from(name.as_bytes().len()).expect("a name has at most 255 bytes"),
            in_git,
            in_group: !in_git && self.groups.of(name.as_bytes()).is_some(),
        };
        let id = self.place(node, name.as_bytes());
        self.nodes[parent.index()].first_child = id;
        self.table[slot] = id;
        if self.len() * 4 > self.table.len() * 3 {
            self.fill_table(self.table.len() * 2);
        }
        (id, true)
    }

    /// Gives an id: the smallest that was taken back and is larger than those it has to be larger than. So what comes below
    /// finds one, too.
    fn place(&mut self, node: Node, name: &[u8]) -> PathId {
        if let Some(id) = self.reusable(&node, name) {
            self.free.remove(&id);
            self.nodes[id.index()] = node;
            return id;
        }
        let id = self.end();
        assert!(id != PathId::NONE, "fewer than 2^32 - 1 paths in a sync");
        self.nodes.push(node);
        id
    }

    fn reusable(&self, node: &Node, name: &[u8]) -> Option<PathId> {
        if self.free.is_empty() {
            return None;
        }
        let member = node.in_group.then(|| self.groups.of(name)).flatten();
        let names = member.map_or_else(Vec::new, |member| self.groups.names(member));
        let known = names.iter().filter_map(|name| self.child(node.parent, name.as_bytes()));
        let above = known.fold(node.parent, PathId::max);
        self.free.range((Bound::Excluded(above), Bound::Unbounded)).next().copied()
    }

    /// Takes ids back, each with all that is below it. Whoever has one kept would find another path under it.
    pub fn forget(&mut self, gone: &[PathId]) {
        for id in gone {
            self.nodes[id.index()].parent = PathId::NONE;
        }
        while self.nodes.len() > 1 && self.nodes[self.nodes.len() - 1].parent == PathId::NONE {
            self.nodes.pop();
        }
        self.nodes.shrink_to(self.nodes.len() * 2);
        self.free = BTreeSet::new();
        self.nodes[0].first_child = PathId::NONE;
        let blocks = std::mem::replace(&mut self.blocks, vec![Vec::new()]);
        for id in (1..self.end().0).map(PathId) {
            let node = self.nodes[id.index()];
            if node.parent == PathId::NONE {
                self.free.insert(id);
                continue;
            }
            let (block, at) = (&blocks[usize::from(node.name_block)], node.name_at as usize);
            let (name_block, name_at) = self.store(&block[at..at + usize::from(node.name_len)]);
            let next_sibling = self.nodes[node.parent.index()].first_child;
            debug_assert!(next_sibling < id || next_sibling == PathId::NONE, "the newest is first");
            self.nodes[node.parent.index()].first_child = id;
            let first_child = PathId::NONE;
            self.nodes[id.index()] =
                Node { first_child, next_sibling, name_at, name_block, ..node };
        }
        let slots = (self.len() * 4 / 3 + 1).next_power_of_two().max(64);
        self.fill_table(slots);
    }

    /// The id of a whole path, if it is known.
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
        debug_assert!(id == PathId::ROOT || parent != PathId::NONE, "{id:?} was taken back");
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

    /// The paths of the group that a path is one of, as far as they are known, in the order of its patterns.
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
        debug_assert!(id == PathId::ROOT || node.parent != PathId::NONE, "{id:?} was taken back");
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

    /// Every known path directly in `dir`.
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

    /// Makes the table anew with so many slots, a power of two.
    fn fill_table(&mut self, slots: usize) {
        let mask = slots - 1;
        let mut table = vec![PathId::NONE; slots];
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            if node.parent == PathId::NONE {
                continue;
            }
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

    /// All paths but the root, by id.
    fn all(paths: &Paths) -> Vec<(PathId, RelPath)> {
        paths.deepest_first().map(|id| (id, paths.path(id))).collect()
    }

    #[test]
    fn what_is_forgotten_is_gone_and_all_else_keeps_its_id() {
        let mut paths = Paths::new();
        for n in 0..3000 {
            let dir = paths.intern(PathId::ROOT, &name(&format!("d{}", n % 7))).0;
            paths.intern(dir, &name(&format!("f{n}")));
        }
        let kept = |(id, path): &(PathId, RelPath)| {
            id.0 % 3 == 0 || path.split().is_some_and(|(dir, _)| dir.is_root())
        };
        let (left, gone): (Vec<_>, Vec<_>) = all(&paths).into_iter().partition(kept);
        paths.forget(&gone.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        assert_eq!(all(&paths), left);
        assert_eq!(paths.len(), left.len() + 1);
        for (id, path) in &left {
            assert_eq!(paths.lookup(path), Some(*id));
            let parent = paths.parent(*id).expect("not the root");
            assert!(parent < *id && paths.children(parent).any(|child| child == *id));
        }
        assert!(gone.iter().all(|(_, path)| paths.lookup(path).is_none()));
    }

    #[test]
    fn names_that_come_and_go_take_no_more_room_than_those_that_are_there_at_once() {
        let mut paths = Paths::new();
        let mut gone = Vec::new();
        for round in 0..50 {
            paths.forget(&std::mem::take(&mut gone));
            for n in 0..20 {
                let lasting = paths.intern(PathId::ROOT, &name(&format!("l{n}"))).0;
                assert!(paths.path(lasting).as_bytes() == format!("l{n}").as_bytes());
                gone.push(paths.intern(PathId::ROOT, &name(&format!("d{round}-{n}"))).0);
            }
            for dir in gone.clone() {
                let file = paths.intern(dir, &name("f")).0;
                assert!(dir < file);
                gone.push(file);
            }
        }
        assert!(paths.end().0 == 61, "{} ids for 61 paths", paths.end().0);
    }

    #[test]
    fn of_a_group_the_path_seen_first_has_the_smallest_id_also_when_ids_come_again() {
        let mut paths = Paths::new();
        let patterns = [vec!["*.db".to_owned(), "*.db-wal".to_owned()]];
        paths.set_groups(Groups::parse(&patterns).expect("good patterns"));
        let early = paths.intern(PathId::ROOT, &name("early")).0;
        let first = paths.intern(PathId::ROOT, &name("a.db-wal")).0;
        paths.forget(&[early]);
        let second = paths.intern(PathId::ROOT, &name("a.db")).0;
        assert!(first < second, "{first:?} was there before {second:?}");
        assert_eq!(paths.group(second), [second, first]);
        assert_eq!(paths.intern(PathId::ROOT, &name("b.db")).0, early);
    }
}
