//! Who waits for a sync to come to rest.
//!
//! Holds: an answer is given at a moment of rest that came after everything that had happened before the question was
//! taken in, and after what that led to: the watchers are flushed first, and again after a directory was made. That it
//! is there is known before the watchers tell of it, and it may hold something by then.

use crossbeam_channel::Sender;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::actor::{Actor, Question};
use crate::sources::control::wire::State;

struct Waiter {
    flush: Option<u64>,
    /// How many directories had been made when the flush was asked for.
    made: u64,
    then: Question,
}

/// Questions that are answered at rest.
#[derive(Default)]
pub struct Waiters {
    waiting: Vec<Waiter>,
    /// Questions that are answered once the watchers are flushed, at rest or not.
    flushing: Vec<Waiter>,
    number: u64,
    /// Counts the directories that were made.
    made: u64,
}

impl Waiters {
    /// A directory was made of which nothing was seen yet.
    pub fn made_dir(&mut self) {
        self.made += 1;
    }

    /// The watchers have told all that happened before this number was given out.
    pub fn flushed(&mut self, number: u64) {
        for waiter in self.waiting.iter_mut().chain(&mut self.flushing) {
            if waiter.flush == Some(number) {
                waiter.flush = None;
            }
        }
    }
}

impl Actor {
    /// Asks the watchers for all that happened before now; `None` where nothing is watched.
    pub(crate) fn flush(&mut self) -> Option<u64> {
        self.waiters.number += 1;
        let number = self.waiters.number;
        self.sources.flush(number).then_some(number)
    }

    /// Runs `then` at the first moment of rest after all that happened before now.
    pub(crate) fn at_rest(&mut self, then: Question) {
        self.away.try_again();
        let (flush, made) = (self.flush(), self.waiters.made);
        self.waiters.waiting.push(Waiter { flush, made, then });
    }

    /// Tells how a part stands at the first moment of rest after all that happened before now. `offline`: and with its
    /// replicas there, however long that takes.
    pub(crate) fn state_at_next_rest(
        &mut self,
        path: RelPath,
        leaf: Option<Replica>,
        offline: bool,
        tell: Sender<State>,
    ) {
        self.at_rest(Box::new(move |actor: &mut Self| {
            let standing = actor.standing(&path, leaf);
            let state = actor.state_at_rest(&standing);
            if offline && state == State::Offline {
                let again = move |actor: &mut Self| {
                    actor.state_at_next_rest(path, leaf, offline, tell);
                };
                actor.away.when_one_is_back(Box::new(again));
                return;
            }
            // Whoever asked may be gone.
            tell.send(state).unwrap_or_default();
        }));
    }

    /// Runs `then` once all that happened before now has been looked at, or at once where nothing is watched.
    pub(crate) fn flushed(&mut self, then: Question) {
        let (flush, made) = (self.flush(), self.waiters.made);
        self.waiters.flushing.push(Waiter { flush, made, then });
    }

    /// Answers those who wait for rest, of which this is a moment.
    pub(crate) fn answer_waiters(&mut self) {
        let waiting = std::mem::take(&mut self.waiters.waiting);
        let (flushed, waiting): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|w| w.flush.is_none());
        self.waiters.waiting = waiting;
        let made = self.waiters.made;
        let (mut ready, again): (Vec<_>, Vec<_>) =
            flushed.into_iter().partition(|w| w.made == made);
        if !again.is_empty() {
            match self.flush() {
                None => ready.extend(again),
                flush => {
                    let again = again.into_iter().map(|w| Waiter { flush, made, ..w });
                    self.waiters.waiting.extend(again);
                }
            }
        }
        for waiter in ready {
            self.check_listed();
            (waiter.then)(self);
        }
    }

    /// Answers those who wait for the watchers alone.
    pub(crate) fn answer_flushed(&mut self) {
        if self.waiters.flushing.iter().all(|w| w.flush.is_some()) {
            return;
        }
        let flushing = std::mem::take(&mut self.waiters.flushing);
        let (ready, flushing) = flushing.into_iter().partition(|w| w.flush.is_none());
        self.waiters.flushing = flushing;
        for waiter in ready {
            (waiter.then)(self);
        }
    }
}
