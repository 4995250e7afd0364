//! Which watch descriptor is which directory.
//!
//! Holds: a directory is known by its parent's descriptor and its name, so a rename moves all that is below it, too. A
//! descriptor that is not below a root any more is *loose*: its events mean nothing, and it is taken off in time.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::Replica;

/// A watch descriptor.
pub(super) type Wd = i32;

enum Place {
    /// Directly below a watched directory.
    In { parent: Wd, name: Box<[u8]> },
    /// A root, or a directory whose parent is not watched.
    Top(Replica, RelPath),
    /// Renamed away or replaced.
    Loose,
}

struct Node {
    place: Place,
    /// The round in which a scan last came by.
    round: u32,
}

#[derive(Default)]
pub(super) struct Table {
    nodes: HashMap<Wd, Node>,
    /// By the hash of parent and name; the node has the last word.
    children: HashMap<u64, Wd>,
    tops: HashMap<(Replica, RelPath), Wd>,
    hasher: RandomState,
    round: u32,
    /// Renamed away, by the cookie that comes with the event of their new name.
    moving: HashMap<u32, Wd>,
    replaced: Vec<Wd>,
    /// How many descriptors were taken off since all were last looked through for what was below them.
    cut: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The replicas of which something is watched.
    pub(super) fn replicas(&self) -> BTreeSet<Replica> {
        self.tops.keys().map(|(replica, _)| *replica).collect()
    }

    /// The path a descriptor stands for.
    pub(super) fn path(&self, wd: Wd) -> Option<(Replica, RelPath)> {
        let mut names = Vec::new();
        let mut at = wd;
        loop {
            match &self.nodes.get(&at)?.place {
                Place::In { parent, name } => {
                    names.push(name);
                    at = *parent;
                }
                Place::Top(replica, dir) => {
                    let path =
                        names.iter().rev().fold(dir.as_bytes().to_vec(), |mut path, name| {
                            if !path.is_empty() {
                                path.push(b'/');
                            }
                            path.extend_from_slice(name);
                            path
                        });
                    return Some((*replica, RelPath::parse(&path).ok()?));
                }
                Place::Loose => return None,
            }
        }
    }

    pub(super) fn wd(&self, replica: Replica, dir: &RelPath) -> Option<Wd> {
        if let Some(wd) = self.tops.get(&(replica, dir.clone())) {
            return Some(*wd);
        }
        let mut at = *self.tops.get(&(replica, RelPath::root()))?;
        for name in dir.components() {
            at = self.child(at, name)?;
        }
        Some(at)
    }

    /// The watched directory `name` in a watched directory.
    pub(super) fn child(&self, parent: Wd, name: &[u8]) -> Option<Wd> {
        let wd = *self.children.get(&self.hasher.hash_one((parent, name)))?;
        let Place::In { parent: p, name: n } = &self.nodes.get(&wd)?.place else {
            return None;
        };
        (*p == parent && **n == *name).then_some(wd)
    }

    /// Puts a descriptor where a scan found its directory.
    pub(super) fn put(&mut self, wd: Wd, replica: Replica, dir: &RelPath) {
        if let Some(before) = self.wd(replica, dir)
            && before != wd
        {
            self.detach(before);
            self.replaced.push(before);
        }
        let parent =
            dir.split().and_then(|(parent, name)| Some((self.wd(replica, &parent)?, name)));
        let round = self.round;
        match parent {
            Some((parent, name)) => self.link(wd, parent, name.as_bytes()),
            None => {
                self.unlink(wd);
                self.tops.insert((replica, dir.clone()), wd);
                let place = Place::Top(replica, dir.clone());
                self.nodes.insert(wd, Node { place, round });
            }
        }
    }

    /// The kernel has taken the descriptor off. Returns where it was.
    pub(super) fn removed(&mut self, wd: Wd) -> Option<(Replica, RelPath)> {
        let path = self.path(wd);
        self.unlink(wd);
        self.nodes.remove(&wd);
        path
    }

    pub(super) fn moved_from(&mut self, parent: Wd, name: &[u8], cookie: u32) {
        if let Some(wd) = self.child(parent, name) {
            self.detach(wd);
            self.moving.insert(cookie, wd);
        }
    }

    pub(super) fn moved_to(&mut self, parent: Wd, name: &[u8], cookie: u32) {
        let moved = self.moving.remove(&cookie).filter(|wd| self.is_loose(*wd));
        let Some(wd) = moved else {
            return;
        };
        if let Some(replaced) = self.child(parent, name) {
            self.detach(replaced);
            self.replaced.push(replaced);
        }
        self.link(wd, parent, name);
    }

    /// Takes out the directories that went where nothing is watched; what was below them, at times.
    pub(super) fn take_loose(&mut self) -> Vec<Wd> {
        let moved = self.moving.drain().map(|(_, wd)| wd);
        let mut taken: Vec<Wd> = moved.chain(self.replaced.drain(..)).collect();
        taken.retain(|wd| self.is_loose(*wd));
        for wd in &taken {
            self.nodes.remove(wd);
        }
        self.cut += taken.len();
        // Looking through all for every single one would be quadratic when a tree goes piece by piece.
        if self.cut * 8 > self.nodes.len() + 512 {
            self.cut = 0;
            taken.extend(self.take(|table, wd| table.path(wd).is_none()));
        }
        taken
    }

    fn is_loose(&self, wd: Wd) -> bool {
        self.nodes.get(&wd).is_some_and(|node| matches!(node.place, Place::Loose))
    }

    /// Takes out all descriptors of a replica.
    pub(super) fn take_replica(&mut self, replica: Replica) -> Vec<Wd> {
        self.take(|table, wd| table.path(wd).is_some_and(|(r, _)| r == replica))
    }

    /// Begins a round: what no [`Table::put`] touches from now until [`Table::take_unseen`] is where nobody found it.
    pub(super) fn begin_round(&mut self) -> u32 {
        self.round += 1;
        self.round
    }

    /// Takes out what a scan of all of `replica` did not come by since `round` began.
    pub(super) fn take_unseen(&mut self, replica: Replica, round: u32) -> Vec<Wd> {
        self.take(|table, wd| {
            let unseen = table.nodes.get(&wd).is_some_and(|node| node.round < round);
            unseen && table.path(wd).is_none_or(|(r, _)| r == replica)
        })
    }

    fn take(&mut self, which: impl Fn(&Self, Wd) -> bool) -> Vec<Wd> {
        let taken: Vec<Wd> = self.nodes.keys().copied().filter(|wd| which(self, *wd)).collect();
        for wd in &taken {
            self.unlink(*wd);
            self.nodes.remove(wd);
        }
        taken
    }

    fn link(&mut self, wd: Wd, parent: Wd, name: &[u8]) {
        self.unlink(wd);
        self.children.insert(self.hasher.hash_one((parent, name)), wd);
        let place = Place::In { parent, name: name.into() };
        self.nodes.insert(wd, Node { place, round: self.round });
    }

    fn detach(&mut self, wd: Wd) {
        self.unlink(wd);
        if let Some(node) = self.nodes.get_mut(&wd) {
            node.place = Place::Loose;
        }
    }

    /// Forgets the ways to a descriptor; its node stays.
    fn unlink(&mut self, wd: Wd) {
        match self.nodes.get(&wd).map(|node| &node.place) {
            Some(Place::In { parent, name }) => {
                let key = self.hasher.hash_one((*parent, &**name));
                if self.children.get(&key) == Some(&wd) {
                    self.children.remove(&key);
                }
            }
            Some(Place::Top(replica, dir)) => {
                let key = (*replica, dir.clone());
                if self.tops.get(&key) == Some(&wd) {
                    self.tops.remove(&key);
                }
            }
            Some(Place::Loose) | None => {}
        }
    }
}

/// Joins an event's name to its directory; `None` for a name no replica can hold.
pub(super) fn join(dir: &RelPath, name: &[u8]) -> Option<RelPath> {
    Name::parse(name).ok().map(|name| dir.join(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    fn at(table: &Table, wd: Wd) -> Option<String> {
        table.path(wd).map(|(_, path)| format!("{path:?}"))
    }

    fn table() -> Table {
        let mut table = Table::default();
        for (wd, dir) in [(1, ""), (2, "a"), (3, "a/b"), (4, "a/b/c"), (5, "d")] {
            table.put(wd, Replica::SOURCE, &path(dir));
        }
        table
    }

    #[test]
    fn a_rename_takes_everything_below_along() {
        let mut table = table();
        table.moved_from(1, b"a", 77);
        assert_eq!(at(&table, 4), None);
        table.moved_to(5, b"z", 77);
        assert_eq!(at(&table, 4).as_deref(), Some("d/z/b/c"));
        assert_eq!(table.wd(Replica::SOURCE, &path("d/z/b")), Some(3));
        assert_eq!(table.wd(Replica::SOURCE, &path("a")), None);
        assert_eq!(table.take_loose(), [] as [Wd; 0]);
    }

    #[test]
    fn what_is_renamed_out_of_sight_is_taken_off_with_all_below() {
        let mut table = table();
        table.moved_from(1, b"a", 77);
        assert_eq!(table.take_loose(), [2]);
        assert_eq!(at(&table, 4), None);
        let round = table.begin_round();
        table.put(1, Replica::SOURCE, &path(""));
        table.put(5, Replica::SOURCE, &path("d"));
        let mut below = table.take_unseen(Replica::SOURCE, round);
        below.sort_unstable();
        assert_eq!(below, [3, 4]);
        table.moved_to(5, b"z", 77);
        assert_eq!(table.wd(Replica::SOURCE, &path("d/z")), None);
    }

    #[test]
    fn a_scan_that_comes_before_the_event_has_it_right() {
        let mut table = table();
        table.put(2, Replica::SOURCE, &path("d/z"));
        table.moved_from(1, b"a", 77);
        table.moved_to(5, b"z", 77);
        assert_eq!(at(&table, 4).as_deref(), Some("d/z/b/c"));
    }

    #[test]
    fn a_directory_replaced_by_another_is_loose() {
        let mut table = table();
        table.put(9, Replica::SOURCE, &path("a"));
        assert_eq!(at(&table, 3), None);
        assert_eq!(at(&table, 9).as_deref(), Some("a"));
        assert_eq!(table.take_loose(), [2]);
    }

    #[test]
    fn what_was_below_a_tree_gone_piece_by_piece_is_taken_off_in_time() {
        let mut table = Table::default();
        table.put(0, Replica::SOURCE, &path(""));
        for wd in (1..4000).step_by(2) {
            table.put(wd, Replica::SOURCE, &path(&format!("d{wd}")));
            table.put(wd + 1, Replica::SOURCE, &path(&format!("d{wd}/below")));
        }
        let mut taken = 0;
        for wd in (1..4000).step_by(2) {
            table.moved_from(0, format!("d{wd}").as_bytes(), 7);
            taken += table.take_loose().len();
        }
        assert_eq!(taken + table.len(), 4001);
        assert!(table.len() < 200, "{}", table.len());
    }

    #[test]
    fn a_directory_whose_parent_is_not_watched_has_its_path() {
        let mut table = table();
        table.put(20, Replica::SOURCE, &path("x/y/z"));
        assert_eq!(at(&table, 20).as_deref(), Some("x/y/z"));
        assert_eq!(table.wd(Replica::SOURCE, &path("x/y/z")), Some(20));
        table.put(21, Replica::SOURCE, &path("x/y/z/w"));
        assert_eq!(table.removed(20), Some((Replica::SOURCE, path("x/y/z"))));
        assert_eq!(at(&table, 21), None);
    }

    #[test]
    fn replicas_do_not_mix() {
        let leaf = Replica::leaf(1).expect("slot 1");
        let mut table = table();
        table.put(30, leaf, &path(""));
        table.put(31, leaf, &path("a"));
        assert_eq!(table.wd(leaf, &path("a")), Some(31));
        assert_eq!(table.take_replica(leaf).len(), 2);
        assert_eq!(table.wd(Replica::SOURCE, &path("a")), Some(2));
    }

    #[test]
    fn what_a_whole_scan_does_not_come_by_is_taken_off() {
        let mut table = table();
        let round = table.begin_round();
        for (wd, dir) in [(1, ""), (2, "a"), (3, "moved")] {
            table.put(wd, Replica::SOURCE, &path(dir));
        }
        let mut gone = table.take_unseen(Replica::SOURCE, round);
        gone.sort_unstable();
        assert_eq!(gone, [4, 5]);
        assert_eq!(at(&table, 3).as_deref(), Some("moved"));
    }
}
