//! From ready rows to workers and back.
//!
//! Holds: a row that goes while its job runs cancels it; a job that ended is forgotten only when its row has gone,
//! else it failed and is tried again later; one job at a time acts on a path for a leaf.

use std::sync::Arc;
use std::time::Instant;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, JobChange, Op};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;
use crate::service::actor::Actor;
use crate::service::event::Event;
use crate::service::freshness::Ticket;
use crate::sinks::apply::{ApplyError, Control};
use crate::sinks::schedule::{Class, Ticketless};
use crate::sinks::transfer::{self, Assigned, Done};

/// Batches on their way at once: one for each worker of the pool.
const BATCHES_MAX: usize = 4;
/// Jobs a batch holds at most.
const BATCH_JOBS_MAX: usize = 64;

/// A job's name: its path and leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobKey {
    pub path: PathId,
    pub leaf: Replica,
}

/// A job that a worker has.
pub struct Running {
    pub change: JobChange,
    pub control: Arc<Control>,
    /// Its row went while it ran.
    pub unwanted: bool,
}

impl Actor {
    pub(crate) fn take_changes(&mut self, changes: Vec<JobChange>, now: Instant) {
        for change in changes.iter().filter(|c| c.diff < 0) {
            self.withdraw(change);
        }
        for change in changes.into_iter().filter(|c| c.diff > 0) {
            self.admit(change, now);
        }
        for key in std::mem::take(&mut self.ended) {
            let Some(ended) = self.running.remove(&key) else { continue };
            match self.next.remove(&key) {
                Some(change) => self.admit(change, now),
                None if ended.unwanted => {}
                None => self.try_again(ended.change, now),
            }
        }
    }

    fn withdraw(&mut self, change: &JobChange) {
        let key = JobKey { path: change.path, leaf: change.verdict.leaf };
        if let Some(running) = self.running.get_mut(&key)
            && running.change.verdict == change.verdict
        {
            running.unwanted = true;
            running.control.cancel();
            return;
        }
        if self.next.get(&key).is_some_and(|next| next.verdict == change.verdict) {
            self.next.remove(&key);
            return;
        }
        self.schedule.cancel(key);
    }

    fn admit(&mut self, change: JobChange, now: Instant) {
        let key = JobKey { path: change.path, leaf: change.verdict.leaf };
        if self.running.contains_key(&key) {
            self.next.insert(key, change);
            return;
        }
        self.schedule.add(key, change, self.is_live(), now);
    }
}
