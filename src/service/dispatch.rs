//! From ready rows to workers and back.
//!
//! Holds: `rows` are the engine's ready rows, and each of them has a job that is queued, delayed or running; a row that
//! goes while its job runs cancels it; a job that ended while its row stays failed and is tried again later; one job at
//! a time acts on a path for a leaf. What a sink reports is taken over only where nothing newer has been seen since the
//! job was made.

use std::sync::Arc;
use std::time::Instant;

use foldhash::HashMap;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::git;
use crate::dataflow::model::job::{Job, JobChange, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, File, Value};
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::{Remains, Waits};
use crate::service::actor::{Actor, Event};
use crate::service::groups;
use crate::service::pool::on_its_own;
use crate::service::problems::{About, Problem};
use crate::service::repositories::Answer;
use crate::sinks::apply::{Applied, ApplyError, Control};
use crate::sinks::schedule::{Gate, Item, Kind};
use crate::sinks::transfer::{self, Assigned, Done};
use crate::sinks::unit;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// Failures of a passing kind before they are shown as a problem.
const PASSING_MAX: u32 = 5;
const CLASHES_MAX: u32 = 3;

/// A job's name: its path and leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    pub path: PathId,
    pub leaf: Replica,
}

/// A job that a worker has.
pub struct Running {
    pub change: JobChange,
    pub item: Item,
    pub control: Arc<Control>,
    /// It carries a snapshot, and began then.
    pub still: bool,
    pub since: Instant,
    /// Its row went while it ran.
    pub unwanted: bool,
    /// Replicas that have said something about its paths while it ran.
    pub seen: ReplicaSet,
}

fn gate_of(verdict: &Verdict) -> Option<Gate> {
    let (replica, kind) = match verdict.act {
        Act::Put { to, .. } => (to, Kind::Put),
        Act::Delete { at } => (at, Kind::Delete),
        Act::Agree => (verdict.leaf, Kind::Agree),
        Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => return None,
    };
    Some(Gate { replica, leaf: verdict.leaf, kind })
}

impl Actor {
    pub(crate) fn take_changes(&mut self, changes: Vec<JobChange>) {
        if !changes.is_empty() {
            self.waiters.moved();
        }
        let gone = || changes.iter().filter(|change| change.diff < 0);
        let key = |change: &JobChange| JobKey { path: change.path, leaf: change.verdict.leaf };
        let asked = gone().filter_map(|change| Some((key(change), *self.reads.get(&key(change))?)));
        let asked: HashMap<JobKey, ReplicaSet> = asked.collect();
        gone().for_each(|change| self.withdraw(change));
        changes.iter().filter(|c| c.diff > 0).for_each(|change| {
            self.admit(*change, asked.get(&key(change)).copied().unwrap_or_default());
        });
        self.ask_to_read();
        self.leave_restless(gone());
    }

    fn withdraw(&mut self, change: &JobChange) {
        let key = JobKey { path: change.path, leaf: change.verdict.leaf };
        self.reads.remove(&key);
        let Some(row) = self.rows.remove(&key) else { return };
        debug_assert_eq!(row, JobChange { diff: 1, ..*change }, "a key has one row");
        self.leave_repository(key);
        self.leave_group(key);
        self.doubts.forget(key);
        if let Some(running) = self.running.get_mut(&key) {
            running.unwanted = true;
            if !running.still {
                running.control.cancel();
            }
            return;
        }
        self.passing.remove(&key);
        #[cfg(test)]
        if has(Fault::NothingForgotten) {
            return;
        }
        self.failures.remove(&key);
        self.schedule.cancel(key);
        if self.restless.is_problem(key) {
            return;
        }
        if let Some(gate) = gate_of(&row.verdict).filter(|_| !self.problems.is_empty()) {
            let path = self.engine.paths().path(change.path);
            self.problems.clear(&path, gate.replica, About::Acting);
        }
    }

    /// `asked`: the replicas that the row before asked to read. What is said of them otherwise since is unlearned.
    fn admit(&mut self, change: JobChange, asked: ReplicaSet) {
        let key = JobKey { path: change.path, leaf: change.verdict.leaf };
        if let Act::Read(replicas) = change.verdict.act {
            let new = replicas.iter().filter(|replica| !asked.contains(*replica));
            new.for_each(|replica| self.read(replica, change.path));
            self.reads.insert(key, replicas);
            return;
        }
        if gate_of(&change.verdict).is_none() {
            return;
        }
        self.rows.insert(key, change);
        self.enter_repository(key, &change);
        self.enter_group(key, &change);
        if !self.running.contains_key(&key) {
            self.queue(key);
        }
    }

    /// Queues the job of a row, as if none of its key had been tried before, once it is its turn.
    pub(crate) fn queue(&mut self, key: JobKey) {
        if !self.waits_in_repository(key, &mut None) && !self.goes_in_group(key) {
            self.queue_now(key);
        }
    }

    pub(crate) fn queue_now(&mut self, key: JobKey) {
        if let Some(item) = self.rows.get(&key).and_then(|row| self.item_of(row))
            && !self.put_off(key, item)
        {
            self.schedule.add(key, item);
        }
    }

    pub(crate) fn item_of(&self, row: &JobChange) -> Option<Item> {
        let gate = gate_of(&row.verdict)?;
        let bytes = if row.moved_from.is_some() { 0 } else { row.verdict.bytes };
        Some(Item { gate, bytes, live: self.touched.contains(&row.path) })
    }
    /// Hands out what can run now.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        let mut turn = None;
        // Deletes of which was just heard may be one half of moves, and the other half is about to be looked at.
        self.holds.looking(self.sources.busy(), now);
        loop {
            let (holds, ways) = (&self.holds, &self.ways);
            let max = self.pace.batch_jobs;
            let open = |gate: Gate, large| match ways.has_room(gate.leaf, large) {
                true => holds.open(gate, now),
                false => 0,
            };
            let batch = self.schedule.next(now, max, open);
            let Some(batch) = batch else { return };
            let mut assigned = Vec::with_capacity(batch.keys.len());
            let mut units = Vec::new();
            for key in batch.keys {
                if self.leads_group(key) {
                    units.extend(self.begin_unit(key, now));
                } else {
                    assigned.extend(self.begin_job(key, now, &mut turn));
                }
            }
            if assigned.is_empty() && units.is_empty() {
                self.schedule.batch_done(batch.large);
                continue;
            }
            if batch.gate.kind == Kind::Delete {
                self.holds.started(batch.gate.replica, assigned.len());
            }
            let (shop, post, large) = (self.shop.clone(), self.post.clone(), batch.large);
            let leaf = batch.gate.leaf;
            let work = move || {
                let mut done = transfer::carry_out(&shop, assigned);
                done.extend(units.into_iter().flat_map(|unit| unit::carry_out(&shop, unit)));
                // Whoever hears of the end may close what this has open.
                drop(shop);
                drop(post.send(Event::Done { done, leaf, large }));
            };
            self.ways.begin(leaf, large);
            let waits = self.ways.is_far(leaf);
            #[cfg(test)]
            let waits = waits && !crate::service::stepped::is_here();
            match waits {
                true => on_its_own(Box::new(work)),
                false => self.pool.submit(&[], Box::new(work)),
            }
        }
    }

    /// The job of a row whose turn it is, which counts as running from now on; `None` if it has to wait.
    fn begin_job(
        &mut self,
        key: JobKey,
        now: Instant,
        turn: &mut Option<Answer>,
    ) -> Option<Assigned<JobKey>> {
        let change = self.rows.get(&key).copied()?;
        let item = self.item_of(&change)?;
        // What it was queued for may have been overtaken by what was seen since.
        if self.waits_in_doubt(key, &change) {
            return None;
        }
        if self.waits_in_repository(key, turn) {
            self.schedule.forget(key);
            return None;
        }
        let Some(job) = self.engine.job(key.path, &change.verdict, change.moved_from) else {
            // Its row is about to change. Until then it waits like one that failed.
            self.schedule.failed(key, item, now);
            self.passing.insert(key);
            return None;
        };
        let still = self.goes_from_snapshot(key, &change, now);
        Some(self.assign(key, (change, item), job, still, now))
    }

    /// Notes that a worker gets a job.
    pub(crate) fn assign(
        &mut self,
        key: JobKey,
        (change, item): (JobChange, Item),
        job: Job,
        still: bool,
        since: Instant,
    ) -> Assigned<JobKey> {
        let control = Arc::new(Control::default());
        self.doubts.begins(&change);
        let (unwanted, seen) = (false, ReplicaSet::EMPTY);
        let running =
            Running { change, item, control: control.clone(), still, since, unwanted, seen };
        self.running.insert(key, running);
        Assigned { key, job, control, still }
    }

    /// Takes over what sinks did. Returns the jobs whose rows must be gone after the next settle.
    pub(crate) fn take_done(&mut self, done: Vec<Done<JobKey>>, now: Instant) -> Vec<Running> {
        let mut ended = Vec::new();
        for done in done {
            let Some(running) = self.running.remove(&done.key) else { continue };
            self.doubts.ended(&running.change);
            self.end_in_group(done.key, done.result.is_ok());
            let is_delete = running.item.gate.kind == Kind::Delete;
            if is_delete {
                self.holds.ended(running.item.gate.replica);
            }
            match &done.result {
                Ok(applied) => {
                    if is_delete
                        && matches!(&done.job.op, Op::Delete { expect, .. } if !expect.is_dir())
                    {
                        self.holds.carried_out(running.item.gate.replica, 1);
                    }
                    self.count(&done.job.op, applied);
                    if self.is_over(&done) {
                        self.withdraw(&running.change);
                        self.over.insert(done.key);
                        continue;
                    }
                    self.take_applied(&done, applied, running.seen);
                    self.take_rest(&running, done.key, now);
                    ended.push(running);
                }
                Err(error) => self.take_failure(running, &done, error, now),
            }
        }
        ended
    }

    /// Whether nothing more can come of a job. Nothing follows from what a one-shot copy has put but that it is there,
    /// and where times are trusted nobody reads it: to tell the engine would only have it derived a second time.
    fn is_over(&self, done: &Done<JobKey>) -> bool {
        let is_file = matches!(done.job.op, Op::Put { new: Value::File(_), .. });
        is_file && !done.agreed.is_empty() && !self.shop.digests.are_wanted()
    }

    fn count(&mut self, op: &Op, applied: &Applied) {
        self.displaced += u64::from(applied.kept.is_some());
        self.moved_files += u64::from(matches!(op, Op::Put { .. } | Op::Move { .. }));
        if let Op::Put { .. } = op {
            self.moved_bytes += applied.from_now.map_or(0, |value| value.bytes());
        }
    }

    fn take_applied(&mut self, done: &Done<JobKey>, applied: &Applied, seen: ReplicaSet) {
        let running_at = transfer::writes_to(&done.job).unwrap_or(done.job.leaf);
        self.schedule.forget(done.key);
        self.passing.remove(&done.key);
        self.failures.remove(&done.key);
        let path = &done.job.path;
        self.problems.clear(path, running_at, About::Acting);
        match &done.job.op {
            Op::Put { from, to, new, expect } => {
                if let Some(now) = applied.from_now {
                    // A snapshot was taken after all that was known of the file when the job was made.
                    let known =
                        done.still.then(|| self.engine.held(done.key.path, *from)).flatten();
                    let before = [known.or(Some(*new)), unread_twin(new, &now)];
                    self.take_over(*from, path, &before, now.into(), seen);
                }
                self.take_over(*to, path, &[*expect], applied.to_now, seen);
                if self.engine.paths().is_in_git(done.key.path) && git::is_index(path) {
                    // What it means is found by reading it alone.
                    self.sources.look(*from, path);
                    self.sources.look(*to, path);
                }
                if new.is_dir() {
                    self.made_dir(*to, path);
                }
                if !self.sources.is_watching() && new.is_dir() {
                    // Nobody but this process looks at it: what was just made is empty.
                    let (replica, dir, children) = (*to, path.clone(), Vec::new());
                    self.engine.observe(&Fact::Listed { replica, dir, children });
                }
            }
            Op::Move { at, source_path, expect, .. } => {
                self.take_over(*at, source_path, &[Some(*expect)], None, seen);
                self.take_over(*at, path, &[None], applied.to_now, seen);
            }
            Op::Delete { at, expect, .. } => {
                self.take_over(*at, path, &[Some(*expect)], None, seen);
            }
            Op::Agree { .. } | Op::Read { .. } => {}
        }
        done.agreed.iter().for_each(|fact| self.engine.observe(fact));
    }

    /// A directory was made, which may hold something by now.
    pub(crate) fn made_dir(&mut self, at: Replica, path: &RelPath) {
        self.waiters.made_dir();
        if !self.sources.notices_in(at, path) {
            self.sources.scan(at, path);
        }
    }

    /// A sink's report of what a replica holds counts if the replica still is what the job was made from and said
    /// nothing meanwhile: what is as it was before may have been changed by us and changed back by the user. Which of
    /// the two came first only another look tells.
    fn take_over(
        &mut self,
        replica: Replica,
        path: &RelPath,
        before: &[Option<Value>],
        now: Option<Value>,
        seen: ReplicaSet,
    ) {
        let Some(id) = self.id_of(path) else { return };
        let held = self.engine.held(id, replica);
        if seen.contains(replica) {
            if held != now {
                self.doubt(replica, id);
            }
        } else if before.contains(&held) {
            self.engine.observe(&Fact::Holds { replica, path: path.clone(), value: now });
        }
    }

    /// Notes for the jobs under way that a replica said what is at a path, or in it.
    pub(crate) fn note_seen(&mut self, replica: Replica, at: PathId) {
        #[cfg(test)]
        if has(Fault::StaleReport) {
            return;
        }
        if self.running.is_empty() {
            return;
        }
        let paths = self.engine.paths();
        let has_below = paths.children(at).next().is_some();
        let concerns =
            |job: PathId| job == at || (has_below && paths.ancestors(job).any(|above| above == at));
        for (key, running) in &mut self.running {
            if concerns(key.path) || running.change.moved_from.is_some_and(concerns) {
                running.seen = running.seen.with(replica);
            }
        }
    }

    /// What was carried out but is still asked for is tried again after a pause; another row of its key goes at once.
    pub(crate) fn try_again(&mut self, ended: Vec<Running>, now: Instant) {
        for running in ended {
            let change = running.change;
            let key = JobKey { path: change.path, leaf: change.verdict.leaf };
            let Some(row) = self.rows.get(&key) else { continue };
            if running.unwanted || *row != change {
                self.queue(key);
                continue;
            }
            if self.goes_in_group(key) {
                self.try_group_again(key);
                continue;
            }
            self.schedule.failed(key, running.item, now);
            let attempts = self.schedule.delayed(key).map_or(1, |(_, attempts)| attempts);
            // A replica spoke meanwhile, and is looked at again: most likely it is done.
            if running.seen != ReplicaSet::EMPTY && attempts <= PASSING_MAX {
                self.passing.insert(key);
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "what is not told apart is tried again")]
    fn take_failure(
        &mut self,
        running: Running,
        done: &Done<JobKey>,
        error: &ApplyError,
        now: Instant,
    ) {
        let (key, path, change) = (done.key, &done.job.path, running.change);
        let restless = self.take_unrest(&running, key, error, now);
        if let Some(at) = transfer::writes_to(&done.job) {
            self.doubt_failed(&running, at);
        }
        if running.unwanted {
            self.passing.remove(&key);
            self.failures.remove(&key);
            if !self.restless.is_problem(key) {
                self.problems.clear(path, running.item.gate.replica, About::Acting);
            }
            self.schedule.forget(key);
            self.leave_restless([change].iter());
            // What the file has by now is another row, for which the same holds.
            if self.restless.is_problem(key) {
                self.note_failure(&done.job, &ApplyError::Restless, 1);
            }
            self.queue(key);
            return;
        }
        self.failures.insert(key, error.to_string());
        let of_group = self.goes_in_group(key).then(|| self.tries_of_group(key)).flatten();
        match (of_group, error) {
            (Some(_), _) => {}
            // Its host is there, by another connection: where it is not, the row goes as soon as that is heard.
            (None, ApplyError::Away { .. }) => self.schedule.interrupted(key, running.item, now),
            (None, _) => self.schedule.failed(key, running.item, now),
        }
        let attempts = of_group.or_else(|| self.schedule.delayed(key).map(|(_, tries)| tries));
        let attempts = attempts.unwrap_or(1);
        match error {
            ApplyError::Stale(_) => self.look_again(&done.job.op, done.job.leaf, path),
            ApplyError::NotEmpty => self.take_not_empty(key, path, &change.verdict),
            // It is done when the host is back.
            ApplyError::Away { .. } => {
                self.passing.remove(&key);
                self.note_loss(done.job.leaf, error);
                return;
            }
            _ => {}
        }
        let passing = match error {
            ApplyError::NotEmpty => !self.is_for_good(key, &change.verdict),
            // The other half of a rename that changed the case only goes meanwhile.
            ApplyError::Clash => attempts <= CLASHES_MAX,
            _ => error.is_passing(),
        };
        let put_off = restless && self.put_off(key, running.item);
        let is_problem = self.restless.is_problem(key);
        if put_off && !is_problem {
            return;
        }
        let is_of_another = matches!(error, ApplyError::Together);
        if let Some(tries) = of_group {
            // What is tried again is its group.
            if is_of_another || (passing && tries <= groups::TRIES_PASSING) {
                return;
            }
        } else if passing && attempts <= PASSING_MAX && !is_problem {
            self.passing.insert(key);
            return;
        }
        self.passing.remove(&key);
        let error = if is_problem { &ApplyError::Restless } else { error };
        self.note_failure(&done.job, error, attempts);
    }

    fn note_failure(&mut self, job: &Job, error: &ApplyError, attempts: u32) {
        let replica = transfer::writes_to(job).unwrap_or(job.leaf);
        let problem = Problem {
            what: error.to_string(),
            errno: error.errno(),
            hint: error.hint().map(str::to_owned),
            attempts,
        };
        self.note_problem(&job.path, replica, About::Acting, problem);
    }

    /// Checks, in debug builds, that the rows are the engine's and that each of them has a job.
    pub(crate) fn check_rows(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        for key in self.rows.keys() {
            let queued =
                self.schedule.position(*key).is_some() || self.schedule.delayed(*key).is_some();
            let bound = self.repositories.has(*key) || self.goes_in_group(*key);
            let waits = queued || bound || self.doubts.has(*key);
            assert!(waits || self.running.contains_key(key), "a row without a job: {key:?}");
        }
        let mut ready = 0;
        let (rows, over) = (&self.rows, &self.over);
        self.engine.outstanding(PathId::ROOT, &mut |path, verdict, waits| {
            let key = JobKey { path, leaf: verdict.leaf };
            if waits == Waits::Nothing && gate_of(verdict).is_some() && !over.contains(&key) {
                ready += 1;
                let row = rows.get(&key);
                assert_eq!(row.map(|row| row.verdict), Some(*verdict), "what is ready has its row");
            }
            true
        });
        assert_eq!(ready, rows.len(), "what has a row is ready");
    }

    pub(crate) fn check_listed(&mut self) {
        if !cfg!(debug_assertions) || self.holds.is_stopped() {
            return;
        }
        let away = self.holds.away;
        let there = self.record.leaves().with(Replica::SOURCE);
        for replica in there.iter().filter(|replica| !away.contains(*replica)) {
            if let Some(dir) = self.engine.unlisted(replica) {
                let path = self.engine.paths().path(dir);
                let root = RelPath::root();
                let mut problems = self.problems.within(&root);
                // Rules that cannot be read at one are not known at any.
                let troubled = problems.any(|(problem, at, _)| {
                    path.is_within(problem) || (at == replica && problem.is_within(&path))
                });
                assert!(troubled, "{path:?} is not listed at {replica:?}, and nobody says so");
            }
        }
    }

    fn look_again(&mut self, op: &Op, leaf: Replica, path: &RelPath) {
        self.sources.look(Replica::SOURCE, path);
        self.sources.look(leaf, path);
        if let Op::Move { source_path, .. } = op {
            self.sources.look(Replica::SOURCE, source_path);
            self.sources.look(leaf, source_path);
        }
    }

    /// Whether a directory is not empty for what is not synced: nothing but the user takes that out of the way.
    fn is_for_good(&self, key: JobKey, verdict: &Verdict) -> bool {
        let Act::Put { to, .. } = verdict.act else { return false };
        self.engine.remains(key.path, to) == Remains::Unsynced
    }

    /// A directory to be removed is not empty: either something new came, or only unsynced content is left (R10).
    fn take_not_empty(&mut self, key: JobKey, path: &RelPath, verdict: &Verdict) {
        let Act::Delete { at } = verdict.act else {
            if let Act::Put { to, .. } = verdict.act {
                self.sources.scan(to, path);
            }
            return;
        };
        if !self.leave_remnant(key.path, key.leaf, at) {
            self.sources.scan(at, path);
        }
    }
}

/// `new` says that the content is unread; the same file may have been read meanwhile.
fn unread_twin(new: &Value, now: &Value) -> Option<Value> {
    match (new, now) {
        (Value::File(a), Value::File(b)) => {
            Some(Value::File(File { content: Content::known(b.content.digest()?), ..*a }))
        }
        _ => None,
    }
}
