//! One simulated disk: what is visible, and what a power loss would leave of it.
//!
//! Holds: names, modes and times become durable in the order in which they were changed (as with the journals of ext4,
//! xfs and btrfs), bytes only by a flush of their file or of the whole disk. A crash keeps any beginning of the first
//! and, of a file whose bytes were not flushed, what [`Bytes`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The number of an object.
pub type Ino = u64;

/// What an object is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(Rc<Vec<u8>>),
    Dir,
    Link(Vec<u8>),
}

/// An object without its bytes and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub mode: u16,
    pub mtime: i64,
    pub ctime: i64,
}

/// One change of names or attributes.
#[derive(Clone, Debug)]
pub enum Change {
    Name(Ino, Vec<u8>, Option<Ino>),
    Attributes(Ino, Attributes),
}

/// What a crash leaves of bytes that were never flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// They had reached the disk anyway.
    All,
    /// What was there when the file was last flushed; of a new file, nothing.
    Old,
    /// The size, but zeros.
    Zeros,
    /// The first half.
    Half,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// So many of the changes of names and attributes had reached the disk.
    pub changes: usize,
    pub bytes: Bytes,
}

#[derive(Clone, Debug, Default)]
pub struct Image {
    pub names: BTreeMap<Ino, BTreeMap<Vec<u8>, Ino>>,
    pub attributes: BTreeMap<Ino, Attributes>,
    pub nodes: BTreeMap<Ino, Node>,
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Name(dir, name, Some(ino)) => {
                self.names.entry(*dir).or_default().insert(name.clone(), *ino);
            }
            Change::Name(dir, name, None) => {
                self.names.entry(*dir).or_default().remove(name);
            }
            Change::Attributes(ino, attributes) => {
                self.attributes.insert(*ino, *attributes);
            }
        }
    }
}

/// Something that a watcher would be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A name in a directory came or went; what it names now.
    Name(Ino, Vec<u8>, Option<Ino>),
    /// An object has other bytes or attributes.
    Object(Ino),
}

/// A disk.
#[derive(Clone, Debug)]
pub struct Disk {
    pub dev: u64,
    pub root: Ino,
    pub now: Image,
    durable: Image,
    /// Changes made and not durable, those of one call together.
    pending: Vec<Vec<Change>>,
    next: Ino,
    /// No byte can be written any more.
    pub full: bool,
    /// Two names can be swapped.
    pub exchange: bool,
    /// There are files without names.
    pub unnamed: bool,
    /// Files can share blocks.
    pub reflinks: bool,
    /// What ctimes are rounded down to; 0: no two changes have the same.
    pub grain: i64,
    /// What happened and was not told yet.
    pub events: Vec<Event>,
    /// Objects that users made or wrote to.
    pub users: BTreeSet<Ino>,
}

impl Disk {
    pub fn new(dev: u64, now: i64) -> Self {
        Self::rooted(dev, 2, now)
    }

    /// With this inode at its top.
    pub fn rooted(dev: u64, root: Ino, now: i64) -> Self {
        let mut disk = Self {
            dev,
            root,
            now: Image::default(),
            durable: Image::default(),
            pending: Vec::new(),
            next: root + 1,
            full: false,
            exchange: true,
            unnamed: false,
            reflinks: false,
            grain: 0,
            events: Vec::new(),
            users: BTreeSet::new(),
        };
        let attributes = Attributes { mode: 0o755, mtime: now, ctime: now };
        disk.now.nodes.insert(root, Node::Dir);
        disk.now.names.insert(root, BTreeMap::new());
        disk.now.attributes.insert(root, attributes);
        disk.flush();
        disk
    }

    /// The time a change made now gets.
    pub fn stamp(&self, now: i64) -> i64 {
        if self.grain == 0 { now } else { now - now.rem_euclid(self.grain) }
    }

    pub fn child(&self, dir: Ino, name: &[u8]) -> Option<Ino> {
        self.now.names.get(&dir)?.get(name).copied()
    }

    pub fn node(&self, ino: Ino) -> &Node {
        &self.now.nodes[&ino]
    }

    pub fn attributes(&self, ino: Ino) -> Attributes {
        self.now.attributes[&ino]
    }

    pub fn make(&mut self, node: Node, mode: u16, now: i64) -> Ino {
        let ino = self.next;
        self.next += 1;
        if node == Node::Dir {
            self.now.names.insert(ino, BTreeMap::new());
        }
        self.now.nodes.insert(ino, node);
        let stamp = self.stamp(now);
        self.change(vec![Change::Attributes(ino, Attributes { mode, mtime: stamp, ctime: stamp })]);
        ino
    }

    /// Changes of one call: a crash keeps all of them or none.
    pub fn change(&mut self, changes: Vec<Change>) {
        changes.iter().for_each(|change| self.now.apply(change));
        self.pending.push(changes);
    }

    /// Gives names away and takes them, with the times that change by it.
    pub fn rename(&mut self, names: Vec<(Ino, Vec<u8>, Option<Ino>)>, now: i64) {
        let stamp = self.stamp(now);
        let mut changes = Vec::new();
        for (dir, name, ino) in names {
            changes.push(Change::Attributes(
                dir,
                Attributes { mtime: stamp, ctime: stamp, ..self.attributes(dir) },
            ));
            for changed in ino.into_iter().chain(self.child(dir, &name)) {
                let attributes = Attributes { ctime: stamp, ..self.attributes(changed) };
                changes.push(Change::Attributes(changed, attributes));
            }
            self.events.push(Event::Name(dir, name.clone(), ino));
            changes.push(Change::Name(dir, name, ino));
        }
        self.change(changes);
    }

    /// Gives a file other bytes.
    pub fn write(&mut self, ino: Ino, bytes: Vec<u8>, now: i64) {
        let stamp = self.stamp(now);
        self.now.nodes.insert(ino, Node::File(Rc::new(bytes)));
        self.events.push(Event::Object(ino));
        let attributes = Attributes { mtime: stamp, ctime: stamp, ..self.attributes(ino) };
        self.change(vec![Change::Attributes(ino, attributes)]);
    }

    /// How many calls changed names or attributes since the last flush.
    pub fn unflushed(&self) -> usize {
        self.pending.len()
    }

    /// `syncfs`: all of it is durable.
    pub fn flush(&mut self) {
        self.pending.clear();
        self.durable = self.now.clone();
    }

    /// `fdatasync`: a file's bytes are durable, its name need not be.
    pub fn flush_bytes(&mut self, ino: Ino) {
        let node = self.now.nodes[&ino].clone();
        self.durable.nodes.insert(ino, node);
    }

    /// The objects that have a name of which a crash would leave at least the one it had at the last flush.
    #[must_use]
    pub fn durable(&self) -> Vec<(Ino, Node)> {
        let named = self.durable.names.values().flat_map(BTreeMap::values);
        named.filter_map(|ino| Some((*ino, self.durable.nodes.get(ino)?.clone()))).collect()
    }

    /// The objects that have a name outside of `.yeet` in that case.
    #[must_use]
    pub fn durable_tree(&self) -> Vec<Ino> {
        let (mut found, mut dirs) = (Vec::new(), vec![self.root]);
        while let Some(dir) = dirs.pop() {
            for (name, ino) in self.durable.names.get(&dir).into_iter().flatten() {
                if name != b".yeet" {
                    found.push(*ino);
                    dirs.push(*ino);
                }
            }
        }
        found
    }

    /// The path of a directory, if it has one.
    #[must_use]
    pub fn path_of(&self, dir: Ino) -> Option<String> {
        if dir == self.root {
            return Some(String::new());
        }
        let found = self.now.names.iter().find_map(|(parent, names)| {
            let name = names.iter().find(|(_, ino)| **ino == dir)?.0;
            Some((*parent, String::from_utf8_lossy(name).into_owned()))
        });
        let (parent, name) = found?;
        let above = self.path_of(parent)?;
        Some(if above.is_empty() { name } else { format!("{above}/{name}") })
    }

    /// The power goes. What had not been made durable is lost but for what `loss` says.
    pub fn crash(&mut self, loss: Loss) {
        for changes in &self.pending[..loss.changes.min(self.pending.len())] {
            changes.iter().for_each(|change| self.durable.apply(change));
        }
        for (ino, node) in &self.now.nodes {
            let kept = match (node, self.durable.nodes.get(ino)) {
                // What is no file has no bytes of its own to lose.
                (Node::Dir | Node::Link(_), _) => node.clone(),
                (Node::File(now), Some(Node::File(old))) if now == old => node.clone(),
                (Node::File(now), old) => Node::File(Rc::new(match loss.bytes {
                    Bytes::All => now.to_vec(),
                    Bytes::Old => match old {
                        Some(Node::File(old)) => old.to_vec(),
                        _ => Vec::new(),
                    },
                    Bytes::Zeros => vec![0; now.len()],
                    Bytes::Half => now[..now.len() / 2].to_vec(),
                })),
            };
            self.durable.nodes.insert(*ino, kept);
            if *node == Node::Dir {
                self.durable.names.entry(*ino).or_default();
            }
        }
        self.pending.clear();
        self.events.clear();
        self.now = self.durable.clone();
    }
}
