//! The plain version of what follows: computed from the definitions, all of it, whenever it is asked.
//!
//! Holds: shares nothing with the engine but the model, the rules, and the numbers of paths (for the order of moves).

use std::collections::{BTreeMap, BTreeSet};

use super::oracle::{Oracle, above, within};
use super::script::Row;
use crate::dataflow::engine::Engine;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Digest, Value};
use crate::dataflow::model::verdict::{
    Act, ConflictKind, Decision, LeafView, Rule, Verdict, Views,
};
use crate::dataflow::query::Tally;
use crate::dataflow::rules::decide;

/// What follows from it.
#[derive(Default)]
pub(super) struct Derived {
    pub(super) ready: BTreeSet<Row>,
    pub(super) stuck: BTreeSet<(PathId, Verdict)>,
    pub(super) tallies: BTreeMap<(PathId, Replica), Tally>,
    pub(super) file_deletes: BTreeMap<Replica, u64>,
    pub(super) rules: BTreeSet<Rule>,
}

/// Tallies by directory and leaf.
type Tallies = BTreeMap<(String, Replica), Tally>;

/// Everything that is wished, before anything about directories and moves.
struct Wishes<'a> {
    told: &'a Oracle,
    /// Asserted ones.
    wishes: Vec<(String, Decision)>,
    /// Asserted remnants: the leaf, and the side that has the directory.
    remnants: Vec<(String, Replica, Replica)>,
    below: Tallies,
}

/// Everything that follows from what was told.
pub(super) fn derive(told: &Oracle, engine: &Engine) -> Derived {
    let id = |path: &str| {
        let path = RelPath::parse(path.as_bytes()).expect("a path");
        engine.paths().lookup(&path).expect("the engine saw it too")
    };
    let wishes = Wishes::of(told);
    let mut out = Derived::default();
    let mut tallies = wishes.below.clone();
    let moves = moves(&wishes.wishes, &wishes.stuck(), &id);
    for (path, decision) in &wishes.wishes {
        let wish = decision.verdict;
        let ruled = wishes.ruled(path, decision);
        let known = ruled.unwrap_or(wish);
        out.rules.insert(known.rule);
        roll_up(&mut tallies, path, wish.leaf, counted(&wish), -1);
        roll_up(&mut tallies, path, wish.leaf, counted(&known), 1);
        if matches!(known.act, Act::Conflict(_) | Act::Blocked(_)) {
            out.stuck.insert((id(path), known));
        }
        let Some(verdict) = ruled else { continue };
        match verdict.act {
            Act::Put { to, .. } if told.is_dir(to, above(path)) => {
                let moved = moves.come.get(&(to, id(path))).copied();
                let moved = moved.filter(|_| movable(decision).is_some());
                out.ready.insert((id(path), verdict, moved));
            }
            Act::Delete { .. } if decision.expect.is_some_and(|v| v.is_dir()) => {
                out.ready.insert((id(path), verdict, None));
            }
            Act::Delete { at } if !moves.go.contains(&(at, id(path))) => {
                *out.file_deletes.entry(at).or_default() += 1;
                out.ready.insert((id(path), verdict, None));
            }
            Act::Agree | Act::Read(_) => {
                out.ready.insert((id(path), verdict, None));
            }
            Act::Put { .. }
            | Act::Delete { .. }
            | Act::Await
            | Act::Conflict(_)
            | Act::Blocked(_) => {}
        }
    }
    for (path, leaf, at) in &wishes.remnants {
        let to = if at == leaf { Replica::SOURCE } else { *leaf };
        let tally = wishes.below(path, *leaf);
        if (if at == leaf { tally.up } else { tally.down }) > 0 {
            let verdict = lives(*leaf, *at, to, 0);
            out.rules.insert(verdict.rule);
            roll_up(&mut tallies, path, *leaf, counted(&verdict), 1);
            if told.is_dir(to, above(path)) {
                out.ready.insert((id(path), verdict, None));
            }
        }
    }
    tallies.retain(|_, tally| *tally != Tally::default());
    let tallies = tallies.into_iter();
    out.tallies = tallies.map(|((dir, leaf), t)| ((id(&dir), leaf), t)).collect();
    out
}

fn roll_up(tallies: &mut Tallies, path: &str, leaf: Replica, tally: Tally, sign: i32) {
    let mut dir = path;
    while !dir.is_empty() {
        dir = above(dir);
        let sum = tallies.entry((dir.to_owned(), leaf)).or_default();
        *sum = plus(*sum, tally, sign);
    }
}

impl<'a> Wishes<'a> {
    fn of(told: &'a Oracle) -> Self {
        let mut all =
            Self { told, wishes: Vec::new(), remnants: Vec::new(), below: Tallies::new() };
        for path in told.paths() {
            let views = told.views(&path);
            let mut decisions = Vec::new();
            decide(&views, told.policy, &mut decisions);
            for view in &views.leaves {
                let decision = decisions.iter().find(|d| d.verdict.leaf == view.leaf);
                match decision {
                    Some(decision) if all.is_asserted(&path, view.leaf) => {
                        let tally = counted(&decision.verdict);
                        roll_up(&mut all.below, &path, view.leaf, tally, 1);
                        all.wishes.push((path.clone(), *decision));
                    }
                    None => all.unspoken(&path, &views, view),
                    Some(_) => {}
                }
            }
        }
        all
    }

    fn is_asserted(&self, path: &str, leaf: Replica) -> bool {
        let listed = |replica| self.told.is_listed(replica, above(path));
        listed(Replica::SOURCE) && listed(leaf)
    }

    /// What a side holds that no rule speaks of.
    fn unspoken(&mut self, path: &str, views: &Views, view: &LeafView) {
        let carried = |v: Value| matches!(v, Value::File(_) | Value::Symlink { .. }) || v.is_dir();
        let own = views.source.is_none() && view.value.is_some_and(carried);
        match self.told.policy.mode {
            Mode::OneWay | Mode::OneWaySource if own => {
                let own = Tally { own: 1, ..Tally::default() };
                roll_up(&mut self.below, path, view.leaf, own, 1);
            }
            Mode::TwoWay | Mode::TwoWaySource => {
                let (at, there) = match (views.source, view.value) {
                    (None, Some(there)) => (view.leaf, there),
                    (Some(there), None) => (Replica::SOURCE, there),
                    (None, None) | (Some(_), Some(_)) => return,
                };
                let remnant = view.agreed == Some(Value::Remnant) && there.is_dir();
                if remnant && self.is_asserted(path, view.leaf) {
                    self.remnants.push((path.to_owned(), view.leaf, at));
                }
            }
            Mode::OneWay | Mode::OneWaySource | Mode::Mirror => {}
        }
    }

    fn below(&self, path: &str, leaf: Replica) -> Tally {
        let tally = self.below.get(&(path.to_owned(), leaf));
        tally.copied().unwrap_or_default()
    }

    /// Paths and leaves in conflict, or with something in the way.
    fn stuck(&self) -> BTreeSet<(String, Replica)> {
        let wishes = self.wishes.iter();
        let ruled = wishes.map(|(path, decision)| {
            let verdict = self.ruled(path, decision).unwrap_or(decision.verdict);
            (path.clone(), verdict)
        });
        let stuck = ruled.filter(|(_, v)| matches!(v.act, Act::Conflict(_) | Act::Blocked(_)));
        stuck.map(|(path, verdict)| (path, verdict.leaf)).collect()
    }

    /// The verdict that a wish has become; `None`: it waits for what is below, or for a listing of the directory.
    fn ruled(&self, path: &str, decision: &Decision) -> Option<Verdict> {
        let wish = decision.verdict;
        let leaf = wish.leaf;
        let tally = self.below(path, leaf);
        if !decision.expect.is_some_and(|v| v.is_dir()) {
            return Some(wish);
        }
        let busy = |leaf| {
            let tally = self.below(path, leaf);
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
                if busy(leaf) || !self.told.is_listed(leaf, path) {
                    None
                } else if tally.own > 0 {
                    Some(Verdict { act: Act::Agree, rule: Rule::BecomesLeafOnly, ..wish })
                } else {
                    Some(wish)
                }
            }
            Act::Delete { .. } => {
                let quiet = !self.told.leaves.iter().any(|leaf| busy(*leaf));
                (quiet && self.told.is_listed(Replica::SOURCE, path)).then_some(wish)
            }
            Act::Put { to, .. } if !decision.new.is_some_and(|v| v.is_dir()) => {
                let lost = if to == leaf { tally.up > 0 || tally.own > 0 } else { tally.down > 0 };
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
                    !self.told.leaves.iter().any(|leaf| busy(*leaf))
                };
                (quiet && self.told.is_listed(to, path)).then_some(wish)
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

/// What goes and which leaves wish so; what comes from which leaf, and whether that is below a conflict.
type Ends = (BTreeMap<PathId, BTreeSet<Replica>>, BTreeMap<PathId, (Replica, bool)>);

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
        Value::File(_)
        | Value::Dir { .. }
        | Value::Symlink { .. }
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => None,
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
            let leaf = decision.verdict.leaf;
            let mut above = stuck.iter().filter(|(at, _)| at != path && within(path, at));
            if matches!(decision.verdict.act, Act::Delete { .. }) {
                go.entry(id(path)).or_default().insert(leaf);
            } else {
                come.insert(id(path), (leaf, above.any(|(_, l)| *l == leaf)));
            }
        }
    }
    let mut moves = Moves { go: BTreeSet::new(), come: BTreeMap::new() };
    for ((at, _), (mut go, come)) in groups {
        for (to, (leaf, doomed)) in come {
            let from = go.iter().find(|(_, leaves)| leaves.contains(&leaf)).map(|(from, _)| *from);
            let Some(from) = from else { continue };
            go.remove(&from);
            if !doomed {
                moves.go.insert((at, from));
                moves.come.insert((at, to), from);
            }
        }
    }
    moves
}

fn lives(leaf: Replica, from: Replica, to: Replica, print: u64) -> Verdict {
    Verdict { leaf, act: Act::Put { from, to }, rule: Rule::ChildLives, bytes: 0, print }
}

fn counted(verdict: &Verdict) -> Tally {
    let mut tally = Tally::default();
    match verdict.act {
        Act::Conflict(_) => tally.conflicts = 1,
        Act::Blocked(_) => tally.blocked = 1,
        Act::Put { to, .. } => {
            tally.pending = 1;
            tally.bytes = i64::try_from(verdict.bytes).expect("small");
            tally.up = i32::from(to == Replica::SOURCE);
            tally.down = i32::from(to != Replica::SOURCE);
        }
        Act::Delete { .. } => {
            tally.pending = 1;
            tally.deletes = 1;
        }
        Act::Agree | Act::Read(_) | Act::Await => tally.pending = 1,
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
