//! Who waits for a sync to come to rest.
//!
//! Holds: an answer is given at a moment of rest that came after everything that had happened before the question was
//! taken in, and after what that led to: the watchers are flushed first, and again after a directory was made. That it
//! is there is known before the watchers tell of it, and it may hold something by then. That all is in sync is said only
//! if nothing has moved, and nothing was seen, since a flush: then it was so at that moment, whatever users have done
//! meanwhile. Of what is renamed after a flush was asked for, the old name may be seen to be gone before the new one is
//! told. Where something moves all the time, an answer still comes: that all from before the question has arrived. Beside a
//! file that is carried from snapshots, because it never rests, there is no such moment to look for.

use crossbeam_channel::Sender;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::actor::{Actor, Question};
use crate::sources::control::wire::State;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// So often it is tried to see a moment at which nothing moves.
const TRIES_MAX: u32 = 4;

struct Waiter {
    flush: Option<u64>,
    /// How many directories had been made when the flush was asked for, and how often something had moved.
    made: u64,
    moved: u64,
    tries: u32,
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
    /// Counts the times at which something was seen, was to be done, or was done.
    moved: u64,
}

impl Waiters {
    /// A directory was made of which nothing was seen yet.
    pub fn made_dir(&mut self) {
        self.made += 1;
    }

    /// Something was seen, is to be done, or was done.
    pub fn moved(&mut self) {
        self.moved += 1;
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
        #[cfg(test)]
        if has(Fault::AnsweredUnflushed) {
            return None;
        }
        self.waiters.number += 1;
        let number = self.waiters.number;
        self.sources.flush(number).then_some(number)
    }

    /// Runs `then` at the first moment of rest after all that happened before now.
    pub(crate) fn at_rest(&mut self, then: Question) {
        self.away.try_again();
        let waiter = self.waiter(then);
        self.waiters.waiting.push(waiter);
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
        self.state_at_a_rest((path, leaf), offline, tell, TRIES_MAX);
    }

    fn state_at_a_rest(
        &mut self,
        (path, leaf): (RelPath, Option<Replica>),
        offline: bool,
        tell: Sender<State>,
        tries: u32,
    ) {
        let moved = self.waiters.moved;
        self.at_rest(Box::new(move |actor: &mut Self| {
            let standing = actor.standing(&path, leaf);
            let state = actor.state_at_rest(&standing);
            let has_moved = actor.waiters.moved != moved
                && actor.sources.is_watching()
                && !actor.restless.never_rests();
            if state == State::InSync && has_moved && tries > 0 {
                return actor.state_at_a_rest((path, leaf), offline, tell, tries - 1);
            }
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

    /// Runs `then` once the watchers have told all that happened before now, or at once where nothing is watched. Where
    /// something has moved meanwhile and nothing is left to be moved, they are asked once more.
    pub(crate) fn flushed(&mut self, then: Question) {
        let waiter = self.waiter(then);
        self.waiters.flushing.push(waiter);
    }

    fn waiter(&mut self, then: Question) -> Waiter {
        let flush = self.flush();
        let Waiters { made, moved, .. } = self.waiters;
        Waiter { flush, made, moved, tries: TRIES_MAX, then }
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
                    let moved = self.waiters.moved;
                    let again = again.into_iter().map(|w| Waiter { flush, made, moved, ..w });
                    self.waiters.waiting.extend(again);
                }
            }
        }
        for waiter in ready {
            // What was seen since the flush may be half of what happened since.
            if waiter.moved == self.waiters.moved {
                self.check_listed();
            }
            (waiter.then)(self);
        }
    }

    /// Answers those who wait for the watchers alone.
    pub(crate) fn answer_flushed(&mut self) {
        if self.waiters.flushing.iter().all(|w| w.flush.is_some()) {
            return;
        }
        let flushing = std::mem::take(&mut self.waiters.flushing);
        let (ready, flushing): (Vec<_>, Vec<_>) =
            flushing.into_iter().partition(|w| w.flush.is_none());
        self.waiters.flushing = flushing;
        for waiter in ready {
            if waiter.tries > 0 && self.may_have_missed(&waiter) {
                let tries = waiter.tries - 1;
                let again = Waiter { tries, ..self.waiter(waiter.then) };
                self.waiters.flushing.push(again);
            } else {
                (waiter.then)(self);
            }
        }
    }

    /// Whether all could be said to be in sync that was so at no moment. Where something is still to be moved nobody is
    /// told that.
    fn may_have_missed(&mut self, waiter: &Waiter) -> bool {
        waiter.moved != self.waiters.moved
            && self.sources.is_watching()
            && self.standing(&RelPath::root(), None).pending == 0
    }
}
