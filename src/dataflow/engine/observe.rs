//! Facts become differences.
//!
//! Holds: facts are absolute; one that says what is known already changes nothing. What is asserted absent, or to be
//! something else than a directory, takes its whole known subtree at that replica with it. Something ignored takes its
//! subtree out of sight instead, and what was agreed there is forgotten, so that nothing is ever deleted for it.

use super::Engine;
use super::state::{Kind, Side, State};
use crate::dataflow::graph::rows::{Bits, Row};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Digest, Value};
#[cfg(test)]
use crate::dataflow::rules::skewed;

/// How many contents of the past are kept a path.
pub(super) const PAST_MAX: usize = 16;

/// What the journal is to be told, collected until it is asked for.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) forgotten: Vec<(Replica, PathId)>,
    pub(super) resolved: Vec<(Replica, PathId)>,
    pub(super) past: Vec<(PathId, Digest)>,
}

impl Engine {
    /// Whether what a replica says of something in a directory would be taken in: neither that nor anything above it is
    /// known to be something else there.
    pub fn is_directory(&mut self, replica: Replica, dir: &RelPath) -> bool {
        self.read();
        let dir = self.state.intern(dir);
        self.state.may_hold_in(dir, replica)
    }

    /// Takes a fact in. Nothing is derived from it before the next [`Engine::settle`].
    ///
    /// Facts of replicas that are not part of the sync are dropped. So are facts about something below what that
    /// replica is known not to hold as a directory: when it becomes one, its listing has to follow anyway. A directory
    /// that came into being counts as unlisted until its [`Fact::Listed`] comes, best in the same epoch.
    pub fn observe(&mut self, fact: &Fact) {
        self.read();
        let (state, notes) = (&mut self.state, &mut self.notes);
        match fact {
            Fact::Listed { replica, dir, children } if state.registered(*replica) => {
                state.listed(*replica, dir, children, notes)
            }
            Fact::Holds { replica, path, value }
                if state.registered(*replica) && *value != Some(Value::Remnant) =>
            {
                state.holds(*replica, path, *value, notes);
            }
            Fact::Unlisted { replica, dir } => {
                if let Some(dir) = state.lookup(dir) {
                    state.unlist(dir, *replica);
                }
            }
            Fact::Agreed { leaf, path, value } if state.registered(*leaf) && !leaf.is_source() => {
                state.agree(*leaf, path, *value, notes);
            }
            Fact::Means { digest, meaning } => self.meanings.learn(*digest, *meaning),
            Fact::Past { path, digest } => {
                let path = state.intern(path);
                state.remember(path, *digest);
            }
            Fact::Yields { replica, path, value } if state.registered(*replica) => {
                let path = state.intern(path);
                state.set(path, Side::Yields(*replica), *value);
                state.settle_yields(path, notes);
            }
            Fact::Listed { .. }
            | Fact::Holds { .. }
            | Fact::Agreed { .. }
            | Fact::Yields { .. } => {}
        }
    }
}

impl State {
    fn lookup(&self, path: &RelPath) -> Option<PathId> {
        self.paths.borrow().lookup(path)
    }

    pub(super) fn intern(&mut self, path: &RelPath) -> PathId {
        path.components().fold(PathId::ROOT, |dir, name| {
            let known = self.paths.borrow().child(dir, name);
            known.unwrap_or_else(|| {
                let name = Name::parse(name).expect("a RelPath is made of names");
                let (child, first) = self.intern_in(dir, &name);
                if first {
                    self.mark(dir);
                }
                child
            })
        })
    }

    /// The id of a child, and whether it is the first its directory ever had: then the directory is to be marked.
    fn intern_in(&mut self, dir: PathId, name: &Name) -> (PathId, bool) {
        let (child, new, first) = {
            let mut paths = self.paths.borrow_mut();
            let first = paths.children(dir).next().is_none();
            let (child, new) = paths.intern(dir, name);
            (child, new, first && new)
        };
        if new {
            self.admit(child);
        }
        (child, first)
    }

    fn listed(
        &mut self,
        replica: Replica,
        dir: &RelPath,
        children: &[(Name, Value)],
        notes: &mut Notes,
    ) {
        let dir = self.intern(dir);
        if !self.may_hold_in(dir, replica) {
            return;
        }
        let had_children = self.paths.borrow().children(dir).next().is_some();
        let mut named = Vec::with_capacity(if had_children { children.len() } else { 0 });
        let mut first = false;
        for (name, value) in children {
            let (child, is_first) = self.intern_in(dir, name);
            first |= is_first;
            if had_children {
                named.push(child);
            }
            if *value != Value::Remnant {
                self.hold(child, replica, Some(*value), notes);
            }
        }
        if had_children {
            named.sort_unstable();
            let unnamed: Vec<PathId> = {
                let paths = self.paths.borrow();
                let known = paths.children(dir);
                known.filter(|c| named.binary_search(c).is_err()).collect()
            };
            for child in unnamed {
                self.hold(child, replica, None, notes);
            }
        }
        if first {
            self.mark(dir);
        }
        // Only now: while the directory counts as unlisted, nothing in it counts as vacuous and is left uncleared.
        self.tell(dir, replica);
        for child in self.yielding_in(dir) {
            self.settle_yields(child, notes);
        }
    }

    fn holds(&mut self, replica: Replica, path: &RelPath, value: Option<Value>, notes: &mut Notes) {
        let path = self.intern(path);
        let Some(parent) = self.paths.borrow().parent(path) else {
            // The root is a directory, always; a missing root is a hold, not a fact.
            return;
        };
        if self.may_hold_in(parent, replica) {
            self.hold(path, replica, value, notes);
            self.settle_yields(path, notes);
        }
    }

    /// A replica holds this here, or asserts that it holds nothing.
    fn hold(&mut self, path: PathId, replica: Replica, new: Option<Value>, notes: &mut Notes) {
        let was = self.kind(path, replica);
        let is = Kind::of(new.as_ref());
        let old = self.set(path, Side::Holds(replica), new);
        #[cfg(test)]
        if old != new {
            skewed::heard(path.0, replica);
        }
        if replica.is_source() && new != Some(Value::Ignored) {
            self.note_past(path, old, new, notes);
        }
        let inner = self.paths.borrow().children(path).next().is_some();
        if !inner && is == was && is != Kind::Absent && old == new {
            return;
        }
        match is {
            Kind::Absent | Kind::File => {
                let known_empty = was == Kind::File
                    || (was == Kind::Absent && self.is_vacuous(path, replica))
                    || (!inner && !self.is_told(path, replica));
                if !known_empty {
                    self.clear_below(path, replica, Why::Gone, notes);
                }
            }
            Kind::Dir => {}
            Kind::Opaque if old == new => {}
            Kind::Opaque if new == Some(Value::Ignored) => {
                self.clear_below(path, replica, Why::Ignored, notes);
                self.forget_within(path, notes);
            }
            Kind::Opaque => self.unlist(path, replica),
        }
        if is != was && inner {
            self.mark(path);
        }
    }

    /// Takes away what a replica holds below a path, and that it listed it.
    fn clear_below(&mut self, path: PathId, replica: Replica, why: Why, notes: &mut Notes) {
        let mut within = Vec::new();
        self.walk(path, &mut |at| within.push(at));
        for at in &within {
            self.untell(*at, replica);
            if *at == path || self.kind(*at, replica) == Kind::Absent {
                continue;
            }
            let old = self.set(*at, Side::Holds(replica), None);
            if replica.is_source() && why == Why::Gone {
                self.note_past(*at, old, None, notes);
            }
        }
        for at in within {
            self.mark(at);
        }
    }

    fn unlist(&mut self, dir: PathId, replica: Replica) {
        let told = self.told_within(dir, replica);
        for at in &told {
            self.untell(*at, replica);
        }
        for at in told {
            self.mark(at);
        }
    }

    fn agree(&mut self, leaf: Replica, path: &RelPath, value: Option<Value>, notes: &mut Notes) {
        let path = self.intern(path);
        if path == PathId::ROOT {
            return;
        }
        if value.is_some() && self.is_ignored(path, leaf) {
            // Recorded before the rule was: it must not turn into a delete when the rule goes.
            self.set(path, Side::Agreed(leaf), None);
            notes.forgotten.push((leaf, path));
            return;
        }
        self.set(path, Side::Agreed(leaf), value);
        self.settle_yields(path, notes);
    }

    /// Whether any replica ignores the path itself, or source or leaf something above it.
    fn is_ignored(&mut self, path: PathId, leaf: Replica) -> bool {
        let mut suspects: Vec<(PathId, u32)> = Vec::new();
        {
            let paths = self.paths.borrow();
            let above = paths.ancestors(path).map(|dir| (dir, Self::ends(leaf)));
            let asked = std::iter::once((path, u32::MAX)).chain(above);
            suspects.extend(asked.map(|(at, who)| (at, self.opaque(at) & who)));
        }
        suspects.into_iter().any(|(at, who)| {
            let mut who = ReplicaSet::from_bits(who).iter();
            who.any(|r| self.value(at, Side::Holds(r)) == Some(Value::Ignored))
        })
    }

    /// Nothing is agreed any more at and below a path, with any leaf.
    fn forget_within(&mut self, path: PathId, notes: &mut Notes) {
        let mut agreed = Vec::new();
        self.walk(path, &mut |at| {
            agreed.extend(self.agreed(at).iter().map(|leaf| (leaf, at)));
        });
        for (leaf, at) in agreed {
            self.set(at, Side::Agreed(leaf), None);
            notes.forgotten.push((leaf, at));
        }
    }

    /// Once source and a leaf hold the same and have agreed on it, nothing has to give way any more.
    fn settle_yields(&mut self, path: PathId, notes: &mut Notes) {
        let Some(yielding) = self.yields.get(&path).copied() else {
            return;
        };
        let source = self.value(path, Side::Holds(Replica::SOURCE));
        let mut all_agree = true;
        let mut done = Vec::new();
        for leaf in self.replicas.iter().filter(|r| !r.is_source()) {
            let value = self.value(path, Side::Holds(leaf));
            let agrees = value == source
                && self.value(path, Side::Agreed(leaf)) == source
                && (source.is_some() || self.is_absence(path, leaf));
            all_agree &= agrees;
            if agrees && yielding.contains(leaf) {
                done.push(leaf);
            }
        }
        if yielding.contains(Replica::SOURCE) {
            let gave_way = self.value(path, Side::Yields(Replica::SOURCE)) != source
                && (source.is_some() || self.is_absence(path, Replica::SOURCE));
            if all_agree || (gave_way && !done.is_empty()) {
                done.push(Replica::SOURCE);
            }
        }
        for replica in done {
            self.set(path, Side::Yields(replica), None);
            notes.resolved.push((replica, path));
        }
    }

    /// Whether it is known that source and leaf hold nothing here, if they hold nothing.
    fn is_absence(&self, path: PathId, leaf: Replica) -> bool {
        let parent = self.paths.borrow().parent(path);
        parent.is_some_and(|dir| self.are_listed(dir, Self::ends(leaf)))
    }

    fn yielding_in(&self, dir: PathId) -> Vec<PathId> {
        let paths = self.paths.borrow();
        let mut inside: Vec<PathId> = self.yields.keys().copied().collect();
        inside.retain(|path| paths.parent(*path) == Some(dir));
        inside.sort_unstable();
        inside
    }

    /// Keeps in mind what the source stopped holding.
    fn note_past(
        &mut self,
        path: PathId,
        old: Option<Value>,
        new: Option<Value>,
        notes: &mut Notes,
    ) {
        let Some((old, digest)) = old.and_then(|v| v.digest().map(|digest| (v, digest))) else {
            return;
        };
        if new.is_some_and(|new| old.same_content(&new) == Some(true)) {
            return;
        }
        self.remember(path, digest);
        notes.past.push((path, digest));
    }

    /// Adds a content of the past as the newest, and drops the oldest where there are too many.
    fn remember(&mut self, path: PathId, digest: Digest) {
        if path == PathId::ROOT {
            return;
        }
        let past = self.rows(path).into_iter().filter_map(|(row, _)| match row {
            Row::Past { age, digest } => Some((age, digest)),
            Row::Holds(_) | Row::Listed | Row::Yields(_) => None,
        });
        let mut past: Vec<(u32, Digest)> = past.collect();
        past.sort_unstable();
        if past.last().is_some_and(|(_, newest)| *newest == digest) {
            return;
        }
        let next = past.last().map_or(0, |(age, _)| age + 1);
        let again = past.iter().position(|(_, known)| *known == digest);
        let surplus = if past.len() < PAST_MAX { None } else { Some(0) };
        if let Some(at) = again.or(surplus) {
            let (age, digest) = past[at];
            self.change(path, Row::Past { age, digest }, Bits(1));
        }
        self.change(path, Row::Past { age: next, digest }, Bits(1));
    }
}

/// Why a subtree is cleared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Gone,
    Ignored,
}
