//! The plain version of what was told: maps of strings. What follows from it is in `derived.rs`.
//!
//! Holds: shares nothing with the engine but the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::{LeafView, Views};

#[derive(Clone, Default)]
struct Side {
    holds: BTreeMap<String, Value>,
    told: BTreeSet<String>,
    agreed: BTreeMap<String, Value>,
    yields: BTreeMap<String, Value>,
}

/// All that was ever told, as plain maps.
pub(super) struct Oracle {
    pub(super) policy: Policy,
    pub(super) leaves: Vec<Replica>,
    sides: BTreeMap<Replica, Side>,
    past: BTreeMap<String, Vec<Digest>>,
}

impl Oracle {
    pub(super) fn new(policy: Policy, leaves: ReplicaSet) -> Self {
        let all = leaves.with(Replica::SOURCE);
        Self {
            policy,
            leaves: leaves.iter().collect(),
            sides: all.iter().map(|r| (r, Side::default())).collect(),
            past: BTreeMap::new(),
        }
    }

    pub(super) fn observe(&mut self, fact: &Fact) {
        match fact {
            Fact::Listed { replica, dir, children } => self.listed(*replica, &text(dir), children),
            Fact::Holds { replica, path, value } => {
                let path = text(path);
                if !path.is_empty() && self.believes(*replica, above(&path)) {
                    self.hold(*replica, &path, *value);
                    self.drop_yields(&path);
                }
            }
            Fact::Unlisted { replica, dir } => {
                let dir = text(dir);
                let side = self.side(*replica);
                side.told.retain(|told| !within(told, &dir));
            }
            Fact::Agreed { leaf, path, value } => {
                let path = text(path);
                let refused = value.is_some() && self.is_ignored(&path, *leaf);
                let agreed = &mut self.side(*leaf).agreed;
                match value.filter(|_| !refused) {
                    Some(value) => agreed.insert(path.clone(), value),
                    None => agreed.remove(&path),
                };
                if !refused {
                    self.drop_yields(&path);
                }
            }
            Fact::Means { .. } => unreachable!("no history says what contents mean"),
            Fact::Past { path, digest } => self.remember(&text(path), *digest),
            Fact::Yields { replica, path, value } => {
                let path = text(path);
                let yields = &mut self.side(*replica).yields;
                match value {
                    Some(value) => yields.insert(path.clone(), *value),
                    None => yields.remove(&path),
                };
                self.drop_yields(&path);
            }
        }
    }

    fn side(&mut self, replica: Replica) -> &mut Side {
        self.sides.get_mut(&replica).expect("registered")
    }

    pub(super) fn value(&self, replica: Replica, path: &str) -> Option<Value> {
        self.sides[&replica].holds.get(path).copied()
    }

    pub(super) fn is_listed(&self, replica: Replica, dir: &str) -> bool {
        self.sides[&replica].told.contains(dir)
            || (!dir.is_empty()
                && self.is_listed(replica, above(dir))
                && matches!(
                    self.value(replica, dir),
                    None | Some(Value::File(_) | Value::Symlink { .. })
                ))
    }

    /// Whether `dir` may be a directory there, for all that is known.
    fn believes(&self, replica: Replica, dir: &str) -> bool {
        if dir.is_empty() {
            return true;
        }
        let here = match self.value(replica, dir) {
            Some(value) => value.is_dir(),
            None => !self.is_listed(replica, above(dir)),
        };
        here && self.believes(replica, above(dir))
    }

    fn listed(
        &mut self,
        replica: Replica,
        dir: &str,
        children: &[(crate::dataflow::model::path::Name, Value)],
    ) {
        if !self.believes(replica, dir) {
            return;
        }
        let mut unnamed: BTreeSet<String> = BTreeSet::new();
        let side = &self.sides[&replica];
        for path in side.holds.keys().chain(&side.told) {
            if path != dir && within(path, dir) {
                let rest = path[dir.len()..].trim_start_matches('/');
                let first = rest.split('/').next().expect("a name");
                unnamed.insert(join(dir, first));
            }
        }
        for (name, value) in children {
            let path = join(dir, std::str::from_utf8(name.as_bytes()).expect("ascii"));
            unnamed.remove(&path);
            self.hold(replica, &path, Some(*value));
        }
        for path in unnamed {
            self.hold(replica, &path, None);
        }
        self.side(replica).told.insert(dir.to_owned());
        let sides = self.sides.values();
        let yielding: BTreeSet<String> = sides.flat_map(|s| s.yields.keys().cloned()).collect();
        for path in yielding.iter().filter(|p| !p.is_empty() && above(p) == dir) {
            self.drop_yields(path);
        }
    }

    fn hold(&mut self, replica: Replica, path: &str, new: Option<Value>) {
        let old = self.value(replica, path);
        match new {
            Some(new) => self.side(replica).holds.insert(path.to_owned(), new),
            None => self.side(replica).holds.remove(path),
        };
        if new != Some(Value::Ignored) {
            self.note_past(replica, path, old, new);
        }
        match new {
            Some(Value::Dir { .. }) => {}
            None | Some(Value::File(_) | Value::Symlink { .. }) => {
                for (path, value) in self.clear(replica, path) {
                    self.note_past(replica, &path, Some(value), None);
                }
            }
            Some(Value::Ignored) if old != new => {
                self.clear(replica, path);
                for side in self.sides.values_mut() {
                    side.agreed.retain(|agreed, _| !within(agreed, path));
                }
            }
            Some(Value::Ignored) => {}
            Some(_) if old != new => {
                let side = self.side(replica);
                side.told.retain(|told| !within(told, path));
            }
            Some(_) => {}
        }
    }

    fn clear(&mut self, replica: Replica, path: &str) -> Vec<(String, Value)> {
        let side = self.side(replica);
        side.told.retain(|told| !within(told, path));
        let below = |known: &String| known != path && within(known, path);
        let gone = side.holds.iter().filter(|(known, _)| below(known));
        let gone: Vec<(String, Value)> =
            gone.map(|(known, value)| (known.clone(), *value)).collect();
        side.holds.retain(|known, _| !below(known));
        gone
    }

    fn note_past(&mut self, replica: Replica, path: &str, old: Option<Value>, new: Option<Value>) {
        let Some(old) = old.filter(|_| replica.is_source()) else {
            return;
        };
        let same = new.is_some_and(|new| old.same_content(&new) == Some(true));
        if let Some(digest) = old.digest().filter(|_| !same) {
            self.remember(path, digest);
        }
    }

    fn remember(&mut self, path: &str, digest: Digest) {
        let past = self.past.entry(path.to_owned()).or_default();
        past.retain(|known| *known != digest);
        past.push(digest);
        if past.len() > 16 {
            past.remove(0);
        }
    }

    /// The source's past of these paths does not count any more: nobody has them, and nothing is agreed.
    pub(super) fn forget_past(&mut self, gone: &[RelPath]) {
        for path in gone.iter().map(text) {
            let sides = self.sides.values();
            let held = |s: &Side| s.holds.contains_key(&path) || s.agreed.contains_key(&path);
            assert!(!sides.clone().any(held), "{path} is there");
            assert!(self.is_listed(Replica::SOURCE, above(&path)), "{path} may be there");
            self.past.remove(&path);
        }
    }

    fn is_ignored(&self, path: &str, leaf: Replica) -> bool {
        let ignores = |replica, path: &str| self.value(replica, path) == Some(Value::Ignored);
        let mut dir = path;
        while !dir.is_empty() {
            dir = above(dir);
            if ignores(Replica::SOURCE, dir) || ignores(leaf, dir) {
                return true;
            }
        }
        self.sides.keys().any(|replica| ignores(*replica, path))
    }

    fn drop_yields(&mut self, path: &str) {
        let source = self.value(Replica::SOURCE, path);
        let yields =
            |oracle: &Self, replica: Replica| oracle.sides[&replica].yields.get(path).copied();
        let known = |replica| source.is_some() || self.is_listed(replica, above(path));
        let settled: Vec<Replica> = self
            .leaves
            .iter()
            .copied()
            .filter(|leaf| {
                self.value(*leaf, path) == source
                    && self.sides[leaf].agreed.get(path).copied() == source
                    && known(*leaf)
                    && known(Replica::SOURCE)
            })
            .collect();
        let mut done: Vec<Replica> = settled.clone();
        done.retain(|leaf| yields(self, *leaf).is_some());
        if let Some(content) = yields(self, Replica::SOURCE) {
            let gave_way = Some(content) != source && known(Replica::SOURCE);
            if settled.len() == self.leaves.len() || (gave_way && !done.is_empty()) {
                done.push(Replica::SOURCE);
            }
        }
        for replica in done {
            self.side(replica).yields.remove(path);
        }
    }

    pub(super) fn paths(&self) -> BTreeSet<String> {
        let sides = self.sides.values();
        let named = sides.flat_map(|s| s.holds.keys().chain(&s.told).chain(s.agreed.keys()));
        let mut paths: BTreeSet<String> = named.cloned().collect();
        paths.remove("");
        paths
    }

    pub(super) fn views(&self, path: &str) -> Views {
        Views {
            source: self.value(Replica::SOURCE, path),
            source_yields: self.sides[&Replica::SOURCE].yields.get(path).copied(),
            leaves: self
                .leaves
                .iter()
                .map(|leaf| LeafView {
                    leaf: *leaf,
                    value: self.value(*leaf, path),
                    agreed: self.sides[leaf].agreed.get(path).copied(),
                    yields: self.sides[leaf].yields.get(path).copied(),
                })
                .collect(),
            past: self.past.get(path).cloned().unwrap_or_default(),
        }
    }

    pub(super) fn is_dir(&self, replica: Replica, path: &str) -> bool {
        path.is_empty() || self.value(replica, path).is_some_and(|v| v.is_dir())
    }
}

fn text(path: &RelPath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).expect("ascii")
}

pub(super) fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

pub(super) fn within(path: &str, dir: &str) -> bool {
    dir.is_empty() || path == dir || path.strip_prefix(dir).is_some_and(|r| r.starts_with('/'))
}
