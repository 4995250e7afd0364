//! The plain version: maps of strings, everything computed again from the definitions whenever it is asked.
//!
//! Holds: shares nothing with the engine but the model, the rules, and the numbers of paths (for the order of moves).

use std::collections::{BTreeMap, BTreeSet};

use super::script::Row;
use crate::dataflow::engine::Engine;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::{Mode, Policy};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::{
    Act, ConflictKind, Decision, LeafView, Rule, Verdict, Views,
};
use crate::dataflow::query::Tally;
use crate::dataflow::rules::decide;

#[derive(Clone, Default)]
struct Side {
    holds: BTreeMap<String, Value>,
    told: BTreeSet<String>,
    agreed: BTreeMap<String, Value>,
    yields: BTreeMap<String, Value>,
}

/// All that was ever told, as plain maps.
pub(super) struct Oracle {
    policy: Policy,
    leaves: Vec<Replica>,
    sides: BTreeMap<Replica, Side>,
    past: BTreeMap<String, Vec<Digest>>,
}

/// What follows from it.
#[derive(Default)]
pub(super) struct Derived {
    pub(super) ready: BTreeSet<Row>,
    pub(super) stuck: BTreeSet<(PathId, Verdict)>,
    pub(super) tallies: BTreeMap<(PathId, Replica), Tally>,
    pub(super) file_deletes: BTreeMap<Replica, u64>,
    pub(super) rules: BTreeSet<Rule>,
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
            Fact::Listed {
                replica,
                dir,
                children,
            } => self.listed(*replica, &text(dir), children),
            Fact::Holds {
                replica,
                path,
                value,
            } => {
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
            Fact::Past { path, digest } => self.remember(&text(path), *digest),
            Fact::Yields {
                replica,
                path,
                value,
            } => {
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

    fn value(&self, replica: Replica, path: &str) -> Option<Value> {
        self.sides[&replica].holds.get(path).copied()
    }

    fn is_listed(&self, replica: Replica, dir: &str) -> bool {
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

    fn paths(&self) -> BTreeSet<String> {
        let sides = self.sides.values();
        let named = sides.flat_map(|s| s.holds.keys().chain(&s.told).chain(s.agreed.keys()));
        let mut paths: BTreeSet<String> = named.cloned().collect();
        paths.remove("");
        paths
    }

    fn views(&self, path: &str) -> Views {
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

    fn is_dir(&self, replica: Replica, path: &str) -> bool {
        path.is_empty() || self.value(replica, path).is_some_and(|v| v.is_dir())
    }

    /// Everything that follows.
    pub(super) fn derive(&self, engine: &Engine) -> Derived {
        let id = |path: &str| {
            let path = RelPath::parse(path.as_bytes()).expect("a path");
            engine.paths().lookup(&path).expect("the engine saw it too")
        };
        let mut out = Derived::default();
        let mut wishes: Vec<(String, Decision)> = Vec::new();
        let mut remnants: Vec<(String, Replica)> = Vec::new();
        let mut wanted: BTreeMap<(String, Replica), Tally> = BTreeMap::new();
        let mut add = |path: &str, leaf: Replica, tally: Tally| {
            let mut dir = path;
            while !dir.is_empty() {
                dir = above(dir);
                let sum = wanted.entry((dir.to_owned(), leaf)).or_default();
                *sum = plus(*sum, tally, 1);
            }
        };
        for path in self.paths() {
            let views = self.views(&path);
            let mut decisions = Vec::new();
            decide(&views, self.policy, &mut decisions);
            for view in &views.leaves {
                let asserted = self.is_listed(Replica::SOURCE, above(&path))
                    && self.is_listed(view.leaf, above(&path));
                let decision = decisions.iter().find(|d| d.verdict.leaf == view.leaf);
                match (decision, view.value) {
                    (Some(decision), _) if asserted => {
                        add(&path, view.leaf, counted(&decision.verdict));
                        wishes.push((path.clone(), *decision));
                    }
                    (None, Some(value)) if views.source.is_none() => match self.policy.mode {
                        Mode::OneWay | Mode::OneWaySource => {
                            if matches!(
                                value,
                                Value::File(_) | Value::Symlink { .. } | Value::Dir { .. }
                            ) {
                                let own = Tally {
                                    own: 1,
                                    ..Tally::default()
                                };
                                add(&path, view.leaf, own);
                            }
                        }
                        Mode::TwoWay | Mode::TwoWaySource => {
                            let remnant = view.agreed == Some(Value::Remnant) && value.is_dir();
                            if remnant && asserted {
                                remnants.push((path.clone(), view.leaf));
                            }
                        }
                        Mode::Mirror => {}
                    },
                    _ => {}
                }
            }
        }
        let below = |path: &str, leaf: Replica| {
            let tally = wanted.get(&(path.to_owned(), leaf));
            tally.copied().unwrap_or_default()
        };
        let mut stuck: BTreeSet<(String, Replica)> = BTreeSet::new();
        for (path, decision) in &wishes {
            let verdict = self.ruled(path, decision, &below);
            let act = verdict.unwrap_or(decision.verdict).act;
            if matches!(act, Act::Conflict(_) | Act::Blocked(_)) {
                stuck.insert((path.clone(), decision.verdict.leaf));
            }
        }
        let moves = moves(&wishes, &stuck, &id);
        let mut corrected = wanted.clone();
        let mut correct = |path: &str, leaf: Replica, from: Tally, to: Tally| {
            let mut dir = path;
            while !dir.is_empty() {
                dir = above(dir);
                let sum = corrected.entry((dir.to_owned(), leaf)).or_default();
                *sum = plus(plus(*sum, to, 1), from, -1);
            }
        };
        for (path, decision) in &wishes {
            let wish = decision.verdict;
            let verdict = self.ruled(path, decision, &below);
            let known = verdict.unwrap_or(wish);
            out.rules.insert(known.rule);
            correct(path, wish.leaf, counted(&wish), counted(&known));
            if matches!(known.act, Act::Conflict(_) | Act::Blocked(_)) {
                out.stuck.insert((id(path), known));
            }
            let Some(verdict) = verdict else { continue };
            let was_dir = decision.expect.is_some_and(|v| v.is_dir());
            match verdict.act {
                Act::Put { to, .. } => {
                    if self.is_dir(to, above(path)) {
                        let moved = moves.come.get(&(to, id(path))).copied();
                        let moved = moved.filter(|_| movable(decision).is_some());
                        out.ready.insert((id(path), verdict, moved));
                    }
                }
                Act::Delete { at } => {
                    if !was_dir {
                        if moves.go.contains(&(at, id(path))) {
                            continue;
                        }
                        *out.file_deletes.entry(at).or_default() += 1;
                    }
                    out.ready.insert((id(path), verdict, None));
                }
                Act::Agree | Act::Read(_) => {
                    out.ready.insert((id(path), verdict, None));
                }
                Act::Await | Act::Conflict(_) | Act::Blocked(_) => {}
            }
        }
        for (path, leaf) in remnants {
            if below(&path, leaf).up > 0 {
                let verdict = lives(leaf, leaf, Replica::SOURCE, 0);
                out.rules.insert(verdict.rule);
                correct(&path, leaf, Tally::default(), counted(&verdict));
                if self.is_dir(Replica::SOURCE, above(&path)) {
                    out.ready.insert((id(&path), verdict, None));
                }
            }
        }
        corrected.retain(|_, tally| *tally != Tally::default());
        let tallies = corrected.into_iter();
        out.tallies = tallies
            .map(|((dir, leaf), t)| ((id(&dir), leaf), t))
            .collect();
        out
    }

    /// The verdict that a wish has become; `None`: it waits for what is below, or for a listing of the directory.
    fn ruled(
        &self,
        path: &str,
        decision: &Decision,
        below: &dyn Fn(&str, Replica) -> Tally,
    ) -> Option<Verdict> {
        let wish = decision.verdict;
        let leaf = wish.leaf;
        let tally = below(path, leaf);
        if !decision.expect.is_some_and(|v| v.is_dir()) {
            return Some(wish);
        }
        let busy = |leaf| {
            let tally = below(path, leaf);
            tally.pending + tally.conflicts + tally.blocked > 0
        };
        match wish.act {
            Act::Delete { at } if at == leaf && tally.up > 0 => {
                Some(lives(leaf, leaf, Replica::SOURCE, wish.print))
            }
            Act::Delete { at } if at != leaf && tally.down > 0 => {
                Some(lives(leaf, Replica::SOURCE, leaf, wish.print))
            }
            Act::Delete { at } if at == leaf => {
                if busy(leaf) || !self.is_listed(leaf, path) {
                    None
                } else if tally.own > 0 {
                    Some(Verdict {
                        act: Act::Agree,
                        rule: Rule::BecomesLeafOnly,
                        ..wish
                    })
                } else {
                    Some(wish)
                }
            }
            Act::Delete { .. } => {
                let quiet = !self.leaves.iter().any(|leaf| busy(*leaf));
                (quiet && self.is_listed(Replica::SOURCE, path)).then_some(wish)
            }
            Act::Put { to, .. } if !decision.new.is_some_and(|v| v.is_dir()) => {
                let lost = if to == leaf {
                    tally.up > 0 || tally.own > 0
                } else {
                    tally.down > 0
                };
                if lost {
                    return Some(Verdict {
                        act: Act::Conflict(ConflictKind::TypeBelow),
                        rule: Rule::DirectoryInTheWay,
                        bytes: 0,
                        ..wish
                    });
                }
                let quiet = if to == leaf {
                    !busy(leaf)
                } else {
                    !self.leaves.iter().any(|leaf| busy(*leaf))
                };
                (quiet && self.is_listed(to, path)).then_some(wish)
            }
            Act::Put { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => Some(wish),
        }
    }
}

struct Moves {
    go: BTreeSet<(Replica, PathId)>,
    come: BTreeMap<(Replica, PathId), PathId>,
}

/// What goes, and what comes with whether that is below a conflict.
type Ends = (BTreeSet<PathId>, BTreeMap<PathId, bool>);

/// The replica, and the content that goes or comes there, if it could be part of a move.
fn movable(decision: &Decision) -> Option<(Replica, Digest)> {
    let (at, value) = match decision.verdict.act {
        Act::Delete { at } => (at, decision.expect?),
        Act::Put { to, .. } if decision.expect.is_none() => (to, decision.new?),
        Act::Put { .. }
        | Act::Agree
        | Act::Read(_)
        | Act::Await
        | Act::Conflict(_)
        | Act::Blocked(_) => return None,
    };
    match value {
        Value::File(file) if file.size > 0 => Some((at, file.content.digest()?)),
        _ => None,
    }
}

fn moves(
    wishes: &[(String, Decision)],
    stuck: &BTreeSet<(String, Replica)>,
    id: &dyn Fn(&str) -> PathId,
) -> Moves {
    let mut groups: BTreeMap<(Replica, Digest), Ends> = BTreeMap::new();
    for (path, decision) in wishes {
        if let Some(key) = movable(decision) {
            let (go, come) = groups.entry(key).or_default();
            match decision.verdict.act {
                Act::Delete { .. } => {
                    go.insert(id(path));
                }
                _ => {
                    let leaf = decision.verdict.leaf;
                    let doomed = stuck
                        .iter()
                        .any(|(at, l)| *l == leaf && at != path && within(path, at));
                    come.insert(id(path), doomed);
                }
            }
        }
    }
    let mut moves = Moves {
        go: BTreeSet::new(),
        come: BTreeMap::new(),
    };
    for ((at, _), (go, come)) in groups {
        for (from, (to, doomed)) in go.into_iter().zip(come) {
            if !doomed {
                moves.go.insert((at, from));
                moves.come.insert((at, to), from);
            }
        }
    }
    moves
}

fn lives(leaf: Replica, from: Replica, to: Replica, print: u64) -> Verdict {
    Verdict {
        leaf,
        act: Act::Put { from, to },
        rule: Rule::ChildLives,
        bytes: 0,
        print,
    }
}

fn counted(verdict: &Verdict) -> Tally {
    let mut tally = Tally::default();
    match verdict.act {
        Act::Conflict(_) => tally.conflicts += 1,
        Act::Blocked(_) => tally.blocked += 1,
        _ => tally.pending += 1,
    }
    match verdict.act {
        Act::Put { to, .. } => {
            tally.bytes += i64::try_from(verdict.bytes).expect("small");
            tally.up += i32::from(to == Replica::SOURCE);
            tally.down += i32::from(to != Replica::SOURCE);
        }
        Act::Delete { .. } => tally.deletes += 1,
        _ => {}
    }
    tally
}

fn plus(a: Tally, b: Tally, sign: i32) -> Tally {
    Tally {
        bytes: a.bytes + b.bytes * i64::from(sign),
        pending: a.pending + b.pending * sign,
        conflicts: a.conflicts + b.conflicts * sign,
        blocked: a.blocked + b.blocked * sign,
        deletes: a.deletes + b.deletes * sign,
        up: a.up + b.up * sign,
        down: a.down + b.down * sign,
        own: a.own + b.own * sign,
    }
}

fn text(path: &RelPath) -> String {
    String::from_utf8(path.as_bytes().to_vec()).expect("ascii")
}

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

fn within(path: &str, dir: &str) -> bool {
    dir.is_empty() || path == dir || path.strip_prefix(dir).is_some_and(|r| r.starts_with('/'))
}
