//! What the engine has been told, as state rows in the graph and the differences of the open epoch, with an index.
//!
//! Holds: every difference goes through [`State::set`], which looks the old value up, so a side has at most one value;
//! the index says which replicas hold what kind of thing at a path, exactly as the rows do, so that most facts need no
//! look into the rows at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt};

use super::listings::Listing;
use crate::dataflow::graph::rows::{Bits, Row};
use crate::dataflow::graph::{Kept, Reader};
use crate::dataflow::model::paths::{PathId, Paths};
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Special, Value};

/// What a replica holds at a path, as far as the engine's own bookkeeping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataflow) enum Kind {
    /// Nothing, or nothing known.
    Absent,
    /// A file or symlink: nothing can be below.
    File,
    Dir,
    /// Ignored, skipped, unreadable: what is below, if anything, is not known.
    Opaque,
}

impl Kind {
    pub(in crate::dataflow) fn of(value: Option<&Value>) -> Self {
        match value {
            None => Self::Absent,
            Some(Value::File(_) | Value::Symlink { .. }) => Self::File,
            Some(Value::Dir { .. }) => Self::Dir,
            Some(
                Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. } | Value::Remnant,
            ) => Self::Opaque,
        }
    }
}

/// The index entry of a path: a bit a replica in each.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// Directory or opaque.
    pub(super) broad: u32,
    /// File or opaque.
    pub(super) firm: u32,
    /// Something is agreed with this leaf.
    pub(super) agreed: u32,
    /// The epoch (its low bits) in which a row of the path last changed.
    touched: u32,
}

/// One of the values of a path: of a replica, agreed with a leaf, or to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Holds(Replica),
    Agreed(Replica),
    Yields(Replica),
}

/// Rows with their bits.
pub(super) type KnownRows = Vec<(Row, Bits)>;

pub(in crate::dataflow) struct State {
    pub(super) paths: Rc<RefCell<Paths>>,
    /// The source and the registered leaves.
    pub(in crate::dataflow) replicas: ReplicaSet,
    pub(super) index: Vec<Entry>,
    pub(super) listings: HashMap<PathId, Listing>,
    /// Replicas whose content gives way, by path: as the rows, which are few.
    pub(super) yields: HashMap<PathId, ReplicaSet>,
    /// The leaves with which a directory is agreed to stay for what is not synced: as the rows, which are few.
    pub(super) remnants: HashMap<PathId, ReplicaSet>,
    pub(in crate::dataflow) skipped: BTreeMap<(Replica, PathId), Special>,
    /// Files and symlinks by replica.
    pub(in crate::dataflow) files: [u64; 32],
    /// The differences of the open epoch, in order.
    open: Vec<((PathId, Row), Bits)>,
    /// Where each path's differences are in `open`, as far as it was needed.
    overlay: HashMap<PathId, Vec<u32>>,
    overlaid: usize,
    reader: Option<Reader<Row, Bits>>,
    /// Paths from this id on have no settled rows.
    settled_paths: u32,
    epoch: u32,
}

impl State {
    pub(super) fn new(paths: Rc<RefCell<Paths>>, replicas: ReplicaSet) -> Self {
        Self {
            paths,
            replicas,
            index: vec![Entry::default()],
            listings: HashMap::new(),
            yields: HashMap::new(),
            remnants: HashMap::new(),
            skipped: BTreeMap::new(),
            files: [0; 32],
            open: Vec::new(),
            overlay: HashMap::new(),
            overlaid: 0,
            reader: None,
            settled_paths: 1,
            epoch: 1,
        }
    }

    /// Takes the differences of the open epoch, which ends.
    pub(super) fn close(&mut self) -> Vec<((PathId, Row), Bits)> {
        self.reader = None;
        self.overlay.clear();
        self.overlaid = 0;
        self.epoch = self.epoch.wrapping_add(1);
        self.settled_paths = u32::try_from(self.index.len()).expect("ids are u32");
        std::mem::take(&mut self.open)
    }

    /// Gives the buffer of a closed epoch back.
    pub(super) fn reuse(&mut self, mut buffer: Vec<((PathId, Row), Bits)>) {
        buffer.clear();
        if self.open.is_empty() {
            self.open = buffer;
        }
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Gives memory back that a bulk load needed.
    pub(super) fn shrink(&mut self) {
        self.index.shrink_to_fit();
        self.open.shrink_to_fit();
        self.overlay.shrink_to_fit();
        self.listings.shrink_to_fit();
    }

    pub(in crate::dataflow) fn kind(&self, path: PathId, replica: Replica) -> Kind {
        let entry = &self.index[path.0 as usize];
        let bit = 1 << replica.slot();
        match (entry.broad & bit != 0, entry.firm & bit != 0) {
            (false, false) => Kind::Absent,
            (false, true) => Kind::File,
            (true, false) => Kind::Dir,
            (true, true) => Kind::Opaque,
        }
    }

    /// The replicas that hold neither a directory nor anything opaque here.
    pub(super) fn nothing_below(&self, path: PathId) -> u32 {
        !self.index[path.0 as usize].broad & self.replicas.bits()
    }

    /// The replicas that hold something opaque here.
    pub(super) fn opaque(&self, path: PathId) -> u32 {
        let entry = &self.index[path.0 as usize];
        entry.broad & entry.firm
    }

    /// The leaves something is agreed with here.
    pub(super) fn agreed(&self, path: PathId) -> ReplicaSet {
        ReplicaSet::from_bits(self.index[path.0 as usize].agreed)
    }

    /// Whether a directory is agreed here with any leaf.
    pub(in crate::dataflow) fn agreed_is_dir(&mut self, path: PathId) -> bool {
        self.agreed(path).iter().any(|leaf| {
            let agreed = self.value(path, Side::Agreed(leaf));
            agreed.is_some_and(|value| value.is_dir() || value == Value::Remnant)
        })
    }

    /// Whether a replica is known to hold anything below a path.
    pub(in crate::dataflow) fn holds_below(&self, path: PathId, replica: Replica) -> bool {
        let paths = self.paths.borrow();
        paths.children(path).any(|child| self.kind(child, replica) != Kind::Absent)
    }

    /// Visits a path and all that is known below it, parents first.
    pub(in crate::dataflow) fn walk(&self, from: PathId, visit: &mut dyn FnMut(PathId)) {
        let paths = self.paths.borrow();
        let mut left = vec![from];
        while let Some(path) = left.pop() {
            visit(path);
            left.extend(paths.children(path));
        }
    }

    /// Sets one value of a path; the old one is returned. Nothing happens if it is the same.
    pub(super) fn set(&mut self, path: PathId, side: Side, new: Option<Value>) -> Option<Value> {
        let old = self.value(path, side);
        if old == new {
            return old;
        }
        let (row, bits) = match side {
            Side::Holds(replica) => (Row::Holds as fn(Value) -> Row, Bits::holds(replica)),
            Side::Agreed(leaf) => (Row::Holds as fn(Value) -> Row, Bits::agreed(leaf)),
            Side::Yields(replica) => (Row::Yields as fn(Value) -> Row, Bits::holds(replica)),
        };
        for value in [old, new].into_iter().flatten() {
            self.change(path, row(value), bits);
        }
        match side {
            Side::Holds(replica) => self.reindex(path, replica, old, new),
            Side::Agreed(leaf) => {
                let bit = 1 << leaf.slot();
                let agreed = &mut self.index[path.0 as usize].agreed;
                *agreed = (*agreed & !bit) | if new.is_some() { bit } else { 0 };
                if [old, new].contains(&Some(Value::Remnant)) {
                    mark(&mut self.remnants, path, leaf, new == Some(Value::Remnant));
                }
            }
            Side::Yields(replica) => mark(&mut self.yields, path, replica, new.is_some()),
        }
        old
    }

    /// One value of a path, as observed so far.
    pub(super) fn value(&mut self, path: PathId, side: Side) -> Option<Value> {
        let entry = &self.index[path.0 as usize];
        let known = match side {
            Side::Holds(replica) => (entry.broad | entry.firm) & (1 << replica.slot()) != 0,
            Side::Agreed(leaf) => entry.agreed & (1 << leaf.slot()) != 0,
            Side::Yields(replica) => self.yields.get(&path).is_some_and(|r| r.contains(replica)),
        };
        if !known {
            return None;
        }
        let rows = self.rows(path);
        rows.into_iter().find_map(|(row, bits)| match (row, side) {
            (Row::Holds(value), Side::Holds(replica)) if bits.has(Bits::holds(replica)) => {
                Some(value)
            }
            (Row::Holds(value), Side::Agreed(leaf)) if bits.has(Bits::agreed(leaf)) => Some(value),
            (Row::Yields(value), Side::Yields(replica)) if bits.has(Bits::holds(replica)) => {
                Some(value)
            }
            (Row::Holds(_) | Row::Yields(_) | Row::Listed | Row::Past { .. }, _) => None,
        })
    }

    /// Adds a difference to the open epoch.
    pub(super) fn change(&mut self, path: PathId, row: Row, bits: Bits) {
        self.open.push(((path, row), bits));
        self.index[path.0 as usize].touched = self.epoch;
    }

    /// All rows of a path, as observed so far.
    pub(super) fn rows(&mut self, path: PathId) -> KnownRows {
        let mut rows = KnownRows::new();
        if path.0 < self.settled_paths
            && let Some(reader) = &mut self.reader
        {
            reader.at(path, |row, bits| rows.push((row, bits)));
        }
        if self.index[path.0 as usize].touched == self.epoch {
            self.lay_over(path, &mut rows);
        }
        rows
    }

    /// Whether [`State::rows`] of this path would need a reader that is not there yet.
    pub(super) fn lacks_reader(&self) -> bool {
        self.reader.is_none() && self.settled_paths > 1
    }

    pub(super) fn read_from(&mut self, trace: &mut Kept<Row, Bits>) {
        self.reader = Some(trace.open());
    }

    fn lay_over(&mut self, path: PathId, rows: &mut KnownRows) {
        for (at, ((path, _), _)) in self.open.iter().enumerate().skip(self.overlaid) {
            let at = u32::try_from(at).expect("an epoch has fewer than 2^32 differences");
            self.overlay.entry(*path).or_default().push(at);
        }
        self.overlaid = self.open.len();
        for at in self.overlay.get(&path).into_iter().flatten() {
            let ((_, row), bits) = self.open[*at as usize];
            match rows.iter_mut().find(|(known, _)| *known == row) {
                Some((_, known)) => known.0 ^= bits.0,
                None => rows.push((row, bits)),
            }
        }
        rows.retain(|(_, bits)| bits.0 != 0);
    }

    fn reindex(&mut self, path: PathId, replica: Replica, old: Option<Value>, new: Option<Value>) {
        let (was, is) = (Kind::of(old.as_ref()), Kind::of(new.as_ref()));
        let bit = 1 << replica.slot();
        let entry = &mut self.index[path.0 as usize];
        entry.broad &= !bit;
        entry.firm &= !bit;
        match is {
            Kind::Absent => {}
            Kind::File => entry.firm |= bit,
            Kind::Dir => entry.broad |= bit,
            Kind::Opaque => {
                entry.broad |= bit;
                entry.firm |= bit;
            }
        }
        let files = &mut self.files[usize::from(replica.slot())];
        *files -= u64::from(was == Kind::File);
        *files += u64::from(is == Kind::File);
        if let Some(Value::Skipped(_)) = old {
            self.skipped.remove(&(replica, path));
        }
        if let Some(Value::Skipped(special)) = new {
            self.skipped.insert((replica, path), special);
        }
    }
}

/// Says of a path whether a replica is among those of `marks`.
fn mark(marks: &mut HashMap<PathId, ReplicaSet>, path: PathId, replica: Replica, is: bool) {
    let bit = 1 << replica.slot();
    let bits = marks.get(&path).copied().unwrap_or_default().bits();
    let bits = (bits & !bit) | if is { bit } else { 0 };
    if bits == 0 {
        marks.remove(&path);
    } else {
        marks.insert(path, ReplicaSet::from_bits(bits));
    }
}
