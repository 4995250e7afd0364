//! The files of a group are carried together: all that is to be done about them with a leaf, or nothing.
//!
//! Holds: a row of a group is never handed out by itself. One of them is in the schedule for all, and they go when the
//! watchers were flushed since anything of the group was last seen to change, no file of it is still to be looked at, none
//! is in conflict, and all go in one direction. What could not be carried is tried again after a pause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::dataflow::model::job::{Job, JobChange};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::Waits;
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::service::settling::Settling;
use crate::sinks::schedule::{Item, Kind};
use crate::sinks::unit::{Member, Unit};
use crate::sys;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// Failures of a passing kind before they are shown as a problem: about ten seconds of them.
pub const TRIES_PASSING: u32 = 15;

/// How long to wait after so many attempts: what is written in one go is whole a moment later; what never rests is looked
/// at now and then.
fn pause(tries: u32) -> Duration {
    match tries {
        0..=5 => Duration::from_millis(100),
        6..=TRIES_PASSING => Duration::from_secs(1),
        _ => Duration::from_secs(5),
    }
}

/// One group and one leaf. A group goes by the path of it that was seen first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Of {
    dir: PathId,
    first: PathId,
    leaf: Replica,
}

#[derive(Default)]
struct Group {
    /// The ready rows, those that have a job included.
    rows: BTreeSet<JobKey>,
    /// The one that is in the schedule for all.
    leader: Option<JobKey>,
    /// Those that workers have.
    running: BTreeSet<JobKey>,
    /// Attempts since the last one that carried all.
    tries: u32,
    failed: bool,
    state: Settling,
}

impl Group {
    fn is_waiting(&self) -> bool {
        !self.rows.is_empty() && self.leader.is_none() && self.running.is_empty()
    }
}

/// All groups with something to carry over.
#[derive(Default)]
pub struct Groups {
    known: BTreeMap<Of, Group>,
}

impl Groups {
    /// The watchers have told all that happened before this number was given out.
    pub fn flushed(&mut self, number: u64) {
        self.known.values_mut().for_each(|group| group.state.flushed(number));
    }

    /// The paths that are known here.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathId> {
        self.known.iter().flat_map(|(of, group)| {
            let keys = group.rows.iter().chain(&group.running).chain(&group.leader);
            keys.map(|key| key.path).chain([of.dir, of.first])
        })
    }

    /// The groups in order, from this one of a directory on.
    fn starting_at(
        &mut self,
        dir: PathId,
        first: PathId,
    ) -> impl Iterator<Item = (&Of, &mut Group)> {
        self.known.range_mut(Of { dir, first, leaf: Replica::SOURCE }..)
    }

    /// Whether something may be handed out soon, with nothing else happening.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        self.known.values().any(|group| group.is_waiting() && !group.state.is_settled())
    }

    /// The groups that have something that is not under way, by a path of each.
    pub(super) fn waiting(&self) -> Vec<PathId> {
        let waiting = self.known.iter().filter(|(_, group)| group.is_waiting());
        let mut firsts: Vec<PathId> = waiting.map(|(of, _)| of.first).collect();
        firsts.dedup();
        firsts
    }
}

/// From which replica to which a verdict lets something flow.
fn direction(verdict: &Verdict) -> Option<(Replica, Replica)> {
    match verdict.act {
        Act::Put { from, to } => Some((from, to)),
        Act::Delete { at } if at.is_source() => Some((verdict.leaf, at)),
        Act::Delete { at } => Some((Replica::SOURCE, at)),
        Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => None,
    }
}

/// The leaves with which a group has changed on both sides, though perhaps no single file has: part of it is to go one way
/// and part the other way, or different leaves have changed different files of it.
pub(super) fn crossed(verdicts: &[(PathId, Verdict, Waits)]) -> ReplicaSet {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (_, verdict, waits) in verdicts {
        let asserted = !matches!(waits, Waits::Listing(_));
        match direction(verdict).filter(|_| asserted) {
            Some((from, _)) if from.is_source() => down.push(verdict.leaf),
            Some(_) => up.push(verdict.leaf),
            None => {}
        }
    }
    let down = ReplicaSet::of(&down);
    let several = ReplicaSet::of(&up).iter().count() > 1;
    up.retain(|leaf| several || down.contains(*leaf));
    ReplicaSet::of(&up)
}

/// Whether a path of such a name is a file of the group between two ends: also where a directory stands at one of them, as
/// long as a file does at the other. A directory that has to do with no file goes by itself, before what is in it or after.
fn is_of_files(ends: [Option<Value>; 2]) -> bool {
    let there = || ends.iter().flatten();
    there().all(|value| !value.is_dir()) || there().any(|value| !value.is_dir())
}

impl Actor {
    fn group_of(&self, key: JobKey) -> Option<Of> {
        let paths = self.engine.paths();
        let first = paths.group(key.path).into_iter().min()?;
        Some(Of { dir: paths.parent(first)?, first, leaf: key.leaf })
    }

    fn is_member(&mut self, key: JobKey) -> bool {
        is_of_files([Replica::SOURCE, key.leaf].map(|at| self.engine.held(key.path, at)))
    }

    /// What is decided about the files of a group with each leaf.
    pub(super) fn verdicts_of_group(&mut self, id: PathId) -> Vec<(PathId, Verdict, Waits)> {
        let mut found = Vec::new();
        for path in self.members(id) {
            for (verdict, waits) in self.engine.verdicts(path) {
                if self.is_member(JobKey { path, leaf: verdict.leaf }) {
                    found.push((path, verdict, waits));
                }
            }
        }
        found
    }

    fn group_mut(&mut self, key: JobKey) -> Option<(Of, &mut Group)> {
        if self.groups.known.is_empty() {
            return None;
        }
        let of = self.group_of(key)?;
        self.groups.known.get_mut(&of).map(|group| (of, group))
    }

    /// A ready row came. Agreements go by themselves: both ends hold the same already.
    pub(crate) fn enter_group(&mut self, key: JobKey, row: &JobChange) {
        if self.shop.journal.is_none() || direction(&row.verdict).is_none() {
            return;
        }
        #[cfg(test)]
        if has(Fault::GroupApart) {
            return;
        }
        let Some(of) = self.group_of(key) else { return };
        if self.is_member(key) {
            self.groups.known.entry(of).or_default().rows.insert(key);
        }
    }

    /// A ready row went.
    pub(crate) fn leave_group(&mut self, key: JobKey) {
        let Some((of, group)) = self.group_mut(key) else { return };
        group.rows.remove(&key);
        if group.leader == Some(key) {
            group.leader = None;
        }
        if group.rows.is_empty() && group.running.is_empty() {
            self.groups.known.remove(&of);
        }
    }

    /// Whether a row goes with those of its group, and not by itself.
    pub(crate) fn goes_in_group(&self, key: JobKey) -> bool {
        if self.groups.known.is_empty() {
            return false;
        }
        let group = self.group_of(key).and_then(|of| self.groups.known.get(&of));
        group.is_some_and(|group| group.rows.contains(&key))
    }

    /// Whether a row is in the schedule for its group.
    pub(crate) fn leads_group(&self, key: JobKey) -> bool {
        if self.groups.known.is_empty() {
            return false;
        }
        let group = self.group_of(key).and_then(|of| self.groups.known.get(&of));
        group.is_some_and(|group| group.leader == Some(key))
    }

    /// How often the group of a row has been tried; `None` if it is in none.
    pub(crate) fn tries_of_group(&mut self, key: JobKey) -> Option<u32> {
        self.group_mut(key).map(|(_, group)| group.tries)
    }

    /// Something was seen at a path: what was known of its group, or of the groups in it, may be out of date.
    pub(crate) fn touch_groups(&mut self, id: PathId) {
        if self.groups.known.is_empty() {
            return;
        }
        let paths = self.engine.paths();
        let group = paths.group(id).into_iter().min().zip(paths.parent(id));
        drop(paths);
        for (_, group) in
            self.groups.starting_at(id, PathId::ROOT).take_while(|(of, _)| of.dir == id)
        {
            group.state = Settling::Touched;
        }
        let Some((first, dir)) = group else { return };
        let same = |of: &Of| (of.dir, of.first) == (dir, first);
        for (_, group) in self.groups.starting_at(dir, first).take_while(|(of, _)| same(of)) {
            group.state = Settling::Touched;
        }
    }

    /// A job of a group ended.
    pub(crate) fn end_in_group(&mut self, key: JobKey, well: bool) {
        let Some((of, group)) = self.group_mut(key) else { return };
        if !group.running.remove(&key) {
            return;
        }
        group.failed |= !well;
        if !group.running.is_empty() {
            return;
        }
        if !std::mem::take(&mut group.failed) {
            group.tries = 0;
        }
        if group.rows.is_empty() {
            self.groups.known.remove(&of);
        }
    }

    /// A row of a group that was carried out is still there: that counts as a failure.
    pub(crate) fn try_group_again(&mut self, key: JobKey) {
        if let Some((_, group)) = self.group_mut(key) {
            group.tries = group.tries.max(1);
        }
    }

    /// With nothing left to be looked at: asks the watchers about what was touched, hands out what is settled and whole.
    /// Returns whether anything was.
    pub(crate) fn go_on_in_groups(&mut self) -> bool {
        let waiting = self.groups.known.iter().filter(|(_, group)| group.is_waiting());
        let waiting: Vec<(Of, Settling)> = waiting.map(|(of, group)| (*of, group.state)).collect();
        let touched = waiting.iter().any(|(_, state)| *state == Settling::Touched);
        let asked = if touched { self.settling() } else { Settling::Touched };
        let mut any = touched && asked.is_settled();
        for (of, state) in waiting {
            match state {
                Settling::Touched => {
                    if let Some(group) = self.groups.known.get_mut(&of) {
                        group.state = asked;
                    }
                }
                Settling::Flushing(_) => {}
                Settling::Settled => any |= self.may_go(of) && self.lead(of),
            }
        }
        any
    }

    /// Whether everything about a group is known, and can go.
    fn may_go(&mut self, of: Of) -> bool {
        let Some(group) = self.groups.known.get(&of) else { return false };
        let is_busy = |key: &JobKey| self.doubts.has(*key) || self.running.contains_key(key);
        let runs = !group.running.is_empty();
        if !group.state.is_settled() || runs || group.rows.iter().any(is_busy) {
            return false;
        }
        let verdicts = self.verdicts_of_group(of.first);
        for (path, verdict, waits) in &verdicts {
            let is_ready = || {
                let key = JobKey { path: *path, leaf: of.leaf };
                let group = self.groups.known.get(&of);
                *waits == Waits::Nothing && group.is_some_and(|group| group.rows.contains(&key))
            };
            let goes = match verdict.act {
                Act::Agree => true,
                Act::Put { .. } | Act::Delete { .. } => is_ready(),
                Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => false,
            };
            if verdict.leaf == of.leaf && !goes {
                return false;
            }
        }
        !crossed(&verdicts).contains(of.leaf)
    }

    /// The paths of a group, as far as they were ever seen, in the order of its patterns; a directory may be among them.
    pub(super) fn members(&self, id: PathId) -> Vec<PathId> {
        self.engine.paths().group(id)
    }

    /// Puts one row of a group into the schedule for all of them: a delete if there is one, which the brake may hold.
    fn lead(&mut self, of: Of) -> bool {
        let now = sys::now();
        let Some(group) = self.groups.known.get(&of) else { return false };
        let rows: Vec<(JobKey, Item)> = group
            .rows
            .iter()
            .filter_map(|key| Some((*key, self.item_of(self.rows.get(key)?)?)))
            .collect();
        let is_delete = |(_, item): &&(JobKey, Item)| item.gate.kind == Kind::Delete;
        let Some((leader, item)) = rows.iter().find(is_delete).or_else(|| rows.first()) else {
            return false;
        };
        let bytes = rows.iter().map(|(_, item)| item.bytes).sum();
        let live = rows.iter().any(|(_, item)| item.live);
        let (leader, item) = (*leader, Item { bytes, live, ..*item });
        let tries = group.tries;
        if tries == 0 {
            self.schedule.add(leader, item);
        } else {
            self.schedule.add_later(leader, item, now + pause(tries));
            if tries <= TRIES_PASSING {
                self.passing.insert(leader);
            }
        }
        if let Some(group) = self.groups.known.get_mut(&of) {
            group.leader = Some(leader);
        }
        true
    }

    /// All jobs of a group whose turn it is; `None` if it has to wait again.
    pub(crate) fn begin_unit(&mut self, leader: JobKey, now: Instant) -> Option<Unit<JobKey>> {
        self.schedule.forget(leader);
        self.passing.remove(&leader);
        let (of, group) = self.group_mut(leader)?;
        group.leader = None;
        let rows: Vec<JobKey> = group.rows.iter().copied().collect();
        let rows: Vec<JobChange> =
            rows.iter().filter_map(|key| self.rows.get(key)).copied().collect();
        let first = rows.first()?;
        let (origin, target) = direction(&first.verdict)?;
        // What it was queued for may have been overtaken by what was seen since.
        let deletes = rows.iter().filter(|row| matches!(row.verdict.act, Act::Delete { .. }));
        let deletes = deletes.count();
        let is_braked = |row: &JobChange| {
            row.path == leader.path && matches!(row.verdict.act, Act::Delete { .. })
        };
        if !self.may_go(of) || (deletes > 0 && !rows.iter().any(is_braked)) {
            return None;
        }
        let key = |row: &JobChange| JobKey { path: row.path, leaf: of.leaf };
        if rows.iter().any(|row| self.waits_in_doubt(key(row), row)) {
            return None;
        }
        let jobs = rows.iter().map(|row| self.engine.job(row.path, &row.verdict, row.moved_from));
        let jobs: Option<Vec<Job>> = jobs.collect();
        let group = self.groups.known.get_mut(&of)?;
        group.tries = group.tries.saturating_add(1);
        let jobs = jobs?;
        let placed = self.in_order(of.first, rows.into_iter().zip(jobs).collect());
        let jobs = placed.into_iter().filter_map(|(row, job)| {
            let item = self.item_of(&row)?;
            Some(self.assign(key(&row), (row, item), job, false, now))
        });
        let jobs: Vec<_> = jobs.collect();
        if let Some(group) = self.groups.known.get_mut(&of) {
            group.running = jobs.iter().map(|assigned| assigned.key).collect();
        }
        if deletes > 0 {
            self.holds.started(target, deletes);
        }
        Some(Unit { jobs, origin, target, members: self.known_of_group(of.first, origin, target) })
    }

    /// The order in which the files of a group get their names: the main file, that of the first pattern, last.
    fn in_order(&self, id: PathId, mut jobs: Vec<(JobChange, Job)>) -> Vec<(JobChange, Job)> {
        let members = self.members(id);
        let place = |row: &JobChange| members.iter().position(|member| *member == row.path);
        jobs.sort_by_key(|(row, _)| place(row).map_or(usize::MAX, |at| at.wrapping_sub(1)));
        jobs
    }

    /// Every name that a group can have, with what is known to be there.
    fn known_of_group(&mut self, id: PathId, origin: Replica, target: Replica) -> Vec<Member> {
        let names: Vec<(RelPath, Option<PathId>)> = {
            let paths = self.engine.paths();
            let Some(dir) = paths.parent(id) else { return Vec::new() };
            let (at, names) = (paths.path(dir), paths.names_of_group(id));
            names.iter().map(|name| (at.join(name), paths.child(dir, name.as_bytes()))).collect()
        };
        let member = |(path, known): (RelPath, Option<PathId>)| {
            let mut held = |at| known.and_then(|id| self.engine.held(id, at));
            let (at_origin, at_target) = (held(origin), held(target));
            Member { path, at_origin, at_target }
        };
        let members = names.into_iter().map(member);
        members.filter(|member| is_of_files([member.at_origin, member.at_target])).collect()
    }

    /// What a row waits for that goes with its group.
    pub(crate) fn group_words(&mut self, key: JobKey) -> String {
        let mut words = Vec::new();
        for (path, verdict, waits) in self.verdicts_of_group(key.path) {
            let is_other = path != key.path && verdict.leaf == key.leaf;
            if !is_other || matches!(verdict.act, Act::Agree) {
                continue;
            }
            let name = self.engine.paths().name(path).escape_ascii().to_string();
            let why = verdict.rule.sentence();
            words.push(if waits == Waits::Nothing { name } else { format!("{name} ({why})") });
        }
        let also = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
        format!("the other files of its group, with which it goes as one{also}")
    }
}
