//! One sync, alive: the thread that owns its engine, its schedule and its holds.
//!
//! Facts come in through two channels, are observed in batches and settled; ready rows go to the schedule and from
//! there to the workers. Holds: nothing here waits for a worker, a scanner or the journal; at rest the thread is
//! parked on its channels without a timeout (INV-8).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, select};

use crate::dataflow::engine::Engine;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::service::dispatch::{JobKey, Running};
use crate::service::event::{Event, Post};
use crate::service::freshness::Freshness;
use crate::service::holds::Holds;
use crate::service::problems::Problems;
use crate::service::site::Sites;
use crate::service::waiting::Waiters;
use crate::sinks::journal::SyncRecord;
use crate::sinks::schedule::Schedule;
use crate::sources::ignores::Ignores;

/// The first epoch takes few events so that the first job comes out at once; later ones amortize.
const EPOCH_EVENTS_FIRST: usize = 4;
const EPOCH_EVENTS_MAX: usize = 256;

type Question = Box<dyn FnOnce(&mut Actor) + Send>;

/// A sync's state; all of it belongs to its thread.
pub struct Actor {
    pub spec: SyncRecord,
    pub sites: Arc<Sites>,
    pub engine: Engine,
    pub schedule: Schedule<JobKey>,
    pub running: HashMap<JobKey, Running>,
    /// Rows that came while an older job of the same path and leaf was still running.
    pub next: HashMap<JobKey, JobChange>,
    /// Jobs that ended since the last epoch: their rows must go in this one.
    pub ended: Vec<JobKey>,
    pub batches_running: usize,
    pub freshness: Freshness,
    pub problems: Problems,
    pub holds: Holds,
    pub ignores: Arc<Ignores>,
    pub waiters: Waiters,
    /// Directories whose agreements have been given to the engine.
    pub loaded: HashSet<PathId>,
    /// Directories being listed, and whether they have to be listed once more.
    pub listing: HashMap<(Replica, PathId), bool>,
    /// Listings and looks that failed and are tried again later.
    pub retries: BTreeMap<Instant, Vec<(Replica, RelPath)>>,
    /// Looks asked for and not yet answered.
    pub looks: u64,
    pub post: Post,
    pub questions: Vec<Question>,
    pub stopping: bool,
}

impl Actor {
    /// Runs until told to stop.
    pub fn run(mut self, events: &Receiver<Event>, listings: &Receiver<Event>) {
        let mut budget = EPOCH_EVENTS_FIRST;
        while !self.stopping {
            if let Some(event) = self.next_event(events, listings) {
                self.take(event);
            }
            for _ in 1..budget {
                match events.try_recv().or_else(|_| listings.try_recv()) {
                    Ok(event) => self.take(event),
                    Err(_) => break,
                }
            }
            budget = (budget * 2).min(EPOCH_EVENTS_MAX);
            self.turn();
        }
    }

    /// The next event; `None` when a deadline came first.
    fn next_event(&self, events: &Receiver<Event>, listings: &Receiver<Event>) -> Option<Event> {
        let closed = |_| Some(Event::Stop);
        match self.next_deadline() {
            None => select! {
                recv(events) -> event => event.map_or_else(closed, Some),
                recv(listings) -> event => event.map_or_else(closed, Some),
            },
            Some(at) => select! {
                recv(events) -> event => event.map_or_else(closed, Some),
                recv(listings) -> event => event.map_or_else(closed, Some),
                recv(crossbeam_channel::at(at)) -> _ => None,
            },
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let retry = self.retries.keys().next().copied();
        [retry, self.schedule.next_deadline(), self.holds.next_deadline()].into_iter().flatten().min()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Listed { replica, dir, ticket, listing } => {
                self.take_listing(replica, &dir, ticket, *listing);
            }
            Event::Looked { replica, ticket, outcome } => self.take_look(replica, ticket, outcome),
            Event::Hinted { replica, hint } => self.take_hint(replica, hint),
            Event::Flushed(token) => self.waiters.flushed(token),
            Event::Done(done) => self.take_done(done),
            Event::Ask(question) => self.questions.push(question),
            Event::Stop => self.stopping = true,
        }
    }

    /// One epoch: settle, hand the changes on, answer what was asked.
    pub fn turn(&mut self) {
        let now = Instant::now();
        self.retry(now);
        let changes = self.engine.settle();
        self.journal_what_the_engine_dropped();
        self.take_changes(changes, now);
        self.watch_deletes(now);
        self.dispatch(now);
        for question in std::mem::take(&mut self.questions) {
            question(self);
        }
        if self.is_quiet() {
            self.freshness.rest();
            self.rest();
        }
        self.answer_waiters();
    }

    /// Nothing is on its way: no observation, no job that could run now, no record.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.listing.is_empty()
            && self.looks == 0
            && self.running.is_empty()
            && self.batches_running == 0
            && !self.schedule.has_runnable(&self.holds.gates())
            && self.holds.is_decided()
    }

    /// Gives facts to the engine that need no ticket: the journal's and the user's.
    pub fn observe_all(&mut self, facts: &[Fact]) {
        for fact in facts {
            self.engine.observe(fact);
        }
    }
}
