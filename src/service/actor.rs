//! One sync, alive: the thread that owns its engine, its schedule and its holds.
//!
//! Facts come in, are observed in batches and settled; ready rows go to the schedule and from there to the workers.
//! Holds: nothing here waits for a worker or a scanner; at rest the thread is parked on its channels without a
//! timeout (INV-8).

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use foldhash::HashMap;

use crate::dataflow::engine::Engine;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::away::Away;
use crate::service::dispatch::{JobKey, Running};
use crate::service::doubts::Doubts;
use crate::service::groups::Groups;
use crate::service::holds::Holds;
use crate::service::pool::Pool;
use crate::service::prints::Prints;
use crate::service::problems::Problems;
use crate::service::repositories::Repositories;
use crate::service::restless::Restless;
use crate::service::waiting::Waiters;
use crate::service::ways::Ways;
use crate::sinks::journal::registry::{Registry, SyncRecord};
use crate::sinks::schedule::Schedule;
use crate::sinks::transfer::{Done, Shop};
use crate::sources::Sources;
use crate::sources::scan::pool::Seen;
use crate::sources::stat_cache::StatCache;
use crate::sys;

/// The first epoch takes few facts so that the first job comes out at once; later ones amortize.
const EPOCH_FACTS_FIRST: usize = 256;
const EPOCH_FACTS_MAX: usize = 4096;

/// What a directory counts that is told by its print.
const SAME_FACTS: usize = 16;

/// How long a job that is called off may take to end.
const WIND_UP_MAX: Duration = Duration::from_secs(10);

/// How much is taken on at a time.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Batches on their way at once.
    pub slots: usize,
    /// Jobs a batch holds at most.
    pub batch_jobs: usize,
    /// An epoch that took longer is followed by a smaller one.
    pub epoch: Duration,
    /// So many names have to be new before those that are gone are looked for.
    pub names: usize,
}

impl Pace {
    /// What was just saved waits behind one epoch and one batch.
    pub const LASTING: Self =
        Self { slots: 4, batch_jobs: 128, epoch: Duration::from_millis(4), names: 1 << 16 };
    /// Nobody saves anything: epochs end only so that the workers have something to do.
    pub const ONCE: Self =
        Self { slots: 8, batch_jobs: 256, epoch: Duration::from_millis(10), names: usize::MAX };
}

/// A question or a wish: runs on the sync's thread after the facts before it are settled.
pub type Question = Box<dyn FnOnce(&mut Actor) + Send>;

/// What reaches a sync beside what its sources see.
pub enum Event {
    Done { done: Vec<Done<JobKey>>, leaf: Replica, large: bool },
    Ask(Question),
    Stop,
}

impl Event {
    fn facts(&self) -> usize {
        match self {
            Self::Done { done, .. } => done.len(),
            Self::Ask(_) | Self::Stop => 1,
        }
    }
}

fn facts_in(seen: &Seen) -> usize {
    match seen {
        Seen::Facts(facts) => facts.iter().map(facts_of).sum(),
        Seen::Same { .. } => SAME_FACTS,
        Seen::Trouble { .. }
        | Seen::Watched { .. }
        | Seen::RootGone { .. }
        | Seen::Done { .. }
        | Seen::Quiet { .. }
        | Seen::Flushed { .. }
        | Seen::Away { .. } => 1,
    }
}

fn facts_of(fact: &Fact) -> usize {
    if let Fact::Listed { children, .. } = fact { children.len() + 1 } else { 1 }
}

/// A sync's state; all of it belongs to its thread.
pub struct Actor {
    pub(crate) record: SyncRecord,
    pub(crate) shop: Arc<Shop>,
    pub(crate) sources: Sources,
    pub(crate) pool: Arc<Pool>,
    pub(crate) engine: Engine,
    pub(crate) pace: Pace,
    pub(crate) schedule: Schedule<JobKey>,
    /// The ready rows of the engine that ask for a job.
    pub(crate) rows: HashMap<JobKey, JobChange>,
    pub(crate) running: HashMap<JobKey, Running>,
    pub(crate) doubts: Doubts,
    pub(crate) repositories: Repositories,
    pub(crate) groups: Groups,
    pub(crate) problems: Problems,
    pub(crate) restless: Restless,
    pub(crate) holds: Holds,
    pub(crate) away: Away,
    pub(crate) prints: Prints,
    pub(crate) ways: Ways,
    pub(crate) waiters: Waiters,
    /// Jobs that failed because the disk had moved on: they are about to be carried out or to go.
    pub(crate) passing: foldhash::HashSet<JobKey>,
    /// Why the last attempt of a job that is tried again failed.
    pub(crate) failures: HashMap<JobKey, String>,
    /// Directories whose agreements have been given to the engine.
    pub(crate) loaded: HashSet<RelPath>,
    /// Puts of a one-shot copy that trusts times: they are carried out, and the engine is not told.
    pub(crate) over: foldhash::HashSet<JobKey>,
    /// Paths looked at since the last epoch: their rows are live.
    pub(crate) touched: foldhash::HashSet<PathId>,
    /// The ready rows of the engine that ask for a file to be read, and where.
    pub(crate) reads: HashMap<JobKey, ReplicaSet>,
    /// Files to be read of which something else was said since the last epoch.
    pub(crate) unlearned: Vec<(Replica, PathId)>,
    /// Where something was said since the last epoch, while there are remnants.
    pub(crate) eased: BTreeSet<PathId>,
    pub(crate) scans_open: HashSet<u64>,
    /// Whether nothing was left to be looked at after the last epoch.
    pub(crate) rested: bool,
    /// Whether nothing was left to be looked at before this epoch, and all that was found is taken in.
    pub(crate) caught_up: bool,
    /// The first scan is through.
    pub(crate) scanned_once: bool,
    pub(crate) moved_files: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) displaced: u64,
    /// Delete verdicts that came since the brakes looked, by the slot of the replica they would delete at.
    pub(crate) deletes_came: [u64; 32],
    pub(crate) purged: bool,
    /// What the sinks reported since the last epoch.
    pub(crate) done: Vec<Done<JobKey>>,
    pub(crate) post: Sender<Event>,
    pub(crate) questions: Vec<Question>,
    pub(crate) stopping: bool,
    /// Whether memory of the first scan was given back.
    pub(crate) compacted: bool,
    /// The record as others see it.
    pub(crate) saved: Option<Arc<Mutex<SyncRecord>>>,
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) cache: Arc<StatCache>,
}

impl Actor {
    /// Runs until told to stop, or until `until` says so after an epoch.
    pub fn run(
        &mut self,
        events: &Receiver<Event>,
        seen: &Receiver<Seen>,
        until: impl Fn(&Self) -> bool,
    ) {
        let mut budget = EPOCH_FACTS_FIRST;
        while !self.stopping {
            self.take_next(events, seen);
            if self.epoch(events, seen, &mut budget) && until(self) {
                return;
            }
        }
    }

    /// Ends what is under way, so that all that it has open is free.
    pub(crate) fn wind_up(&mut self, events: &Receiver<Event>) {
        self.away.end();
        self.running.values().for_each(|running| running.control.cancel());
        // A connection that no other sync uses ends with that, and so does what waits for it.
        self.shop.far.iter().flatten().for_each(|far| far.lost());
        while !self.running.is_empty() {
            match events.recv_timeout(WIND_UP_MAX) {
                Ok(Event::Done { done, .. }) => {
                    done.iter().for_each(|done| drop(self.running.remove(&done.key)));
                }
                Ok(Event::Ask(_) | Event::Stop) => {}
                Err(_) => return,
            }
        }
    }

    /// Takes in what waits, up to a budget of facts, and acts on it. Returns whether nothing waits any more.
    pub(crate) fn epoch(
        &mut self,
        events: &Receiver<Event>,
        seen: &Receiver<Seen>,
        budget: &mut usize,
    ) -> bool {
        // Before the channels are looked into: what was found by then is in them.
        let busy = self.sources.busy();
        let mut taken = 1;
        while taken < *budget {
            if let Ok(event) = events.try_recv() {
                taken += event.facts();
                self.take(event);
            } else if let Ok(seen) = seen.try_recv() {
                taken += facts_in(&seen);
                self.take_seen(seen);
            } else {
                break;
            }
        }
        self.caught_up = busy.is_empty() && seen.is_empty();
        let began = sys::now();
        if seen.is_empty() {
            self.holds.looked(busy, began);
        } else {
            self.holds.looking(self.record.leaves().with(Replica::SOURCE), began);
        }
        self.turn();
        *budget = if sys::now().saturating_duration_since(began) > self.pace.epoch {
            (*budget / 2).max(EPOCH_FACTS_FIRST)
        } else {
            (*budget * 2).min(EPOCH_FACTS_MAX)
        };
        // Before the channels are looked into: what was found by then is in them.
        let busy = self.sources.busy();
        self.rested = busy.is_empty();
        let calm = events.is_empty() && seen.is_empty();
        if calm {
            *budget = EPOCH_FACTS_FIRST.max(*budget / 2);
            let now = sys::now();
            if self.holds.looked(busy, now) {
                self.dispatch(now);
            }
            self.calm();
        }
        calm
    }

    /// Waits for the next event, or for a deadline.
    fn take_next(&mut self, events: &Receiver<Event>, seen: &Receiver<Seen>) {
        let deadline =
            self.next_deadline().map_or_else(crossbeam_channel::never, crossbeam_channel::at);
        select! {
            recv(events) -> event => self.take(event.unwrap_or(Event::Stop)),
            recv(seen) -> seen => match seen {
                Ok(seen) => self.take_seen(seen),
                Err(_) => self.stopping = true,
            },
            recv(deadline) -> _ => {}
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.schedule.next_deadline(), self.holds.next_deadline(sys::now())]
            .into_iter()
            .flatten()
            .min()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Done { done, leaf, large } => {
                self.schedule.batch_done(large);
                self.ways.end(leaf, large);
                self.done.extend(done);
            }
            Event::Ask(question) => self.questions.push(question),
            Event::Stop => self.stopping = true,
        }
    }

    /// One epoch: settle, hand the changes on, answer what was asked.
    fn turn(&mut self) {
        let now = sys::now();
        let changes = self.settle();
        self.take_changes(changes);
        if self.end_remnants() {
            let changes = self.settle();
            self.take_changes(changes);
        }
        self.read_unlearned();
        self.guess_again();
        if !self.done.is_empty() {
            self.waiters.moved();
            let done = std::mem::take(&mut self.done);
            let ended = self.take_done(done, now);
            let changes = self.settle();
            self.take_changes(changes);
            self.try_again(ended, now);
            self.queue_what_waited();
            self.link_what_waits();
        }
        self.touched.clear();
        self.journal_what_the_engine_dropped();
        self.watch_deletes(now);
        self.dispatch(now);
        for question in std::mem::take(&mut self.questions) {
            question(self);
        }
        self.answer_flushed();
        // An answer may have been a wish: it is acted on at once.
        let changes = self.settle();
        if !changes.is_empty() {
            self.take_changes(changes);
            self.watch_deletes(now);
        }
        self.dispatch(now);
    }

    /// Settles the engine, and counts the deletes that came of it.
    pub(crate) fn settle(&mut self) -> Vec<JobChange> {
        let changes = self.engine.settle();
        for replica in &self.record.replicas {
            let slot = replica.replica;
            self.deletes_came[usize::from(slot.slot())] += self.engine.deletes(slot).came;
        }
        changes
    }

    /// Nothing is waiting in the channels.
    fn calm(&mut self) {
        self.forget_names();
        if self.rested && self.guess_no_more() {
            return;
        }
        if self.rested && self.settle_all_doubts() {
            self.dispatch(sys::now());
        }
        if self.rested && self.scans_open.is_empty() {
            while self.go_on_in_repositories() | self.go_on_in_groups() {
                self.dispatch(sys::now());
            }
        }
        if self.is_quiet() {
            self.check_rows();
            self.scanned_once = true;
            // A one-shot copy ends here anyway.
            if !self.compacted && self.registry.is_some() {
                self.compacted = true;
                self.give_memory_back();
            }
            self.purge_if_due();
            self.answer_waiters();
        }
    }

    /// Nothing is on its way: no look, no job that could run now, no record.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.rested
            && self.scans_open.is_empty()
            && self.running.is_empty()
            && self.done.is_empty()
            && self.prints.is_empty()
            && !self.repositories.are_moving()
            && !self.groups.are_moving()
            && (self.passing.is_empty() || self.holds.is_stopped())
            && !self.schedule.has_runnable(|gate| self.holds.open(gate, sys::now()))
            && !self.holds.is_deciding(sys::now())
            && !self.away.is_trying()
    }

    fn give_memory_back(&mut self) {
        self.engine.compact();
        self.schedule.shrink();
        self.rows.shrink_to_fit();
        self.running.shrink_to_fit();
        self.touched.shrink_to_fit();
        self.reads.shrink_to_fit();
        // A cache that cannot be written costs the next start time, nothing else.
        drop(self.cache.flush());
        sys::trim_memory();
    }
}

#[cfg(test)]
mod tests;
