//! What is said to agents and heard of them on a simulated machine: a step at a time, by whoever drives it.

use std::cell::RefCell;

use crossbeam_channel::TryRecvError;

use super::{Hearing, Saying};
use crate::ssh::link::stepped;

/// Both ways of one replica's stream; each is gone when it is over.
struct Talk {
    says: Option<Saying>,
    hears: Option<Hearing>,
}

thread_local! {
    static TALKS: RefCell<Vec<Talk>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn is_here() -> bool {
    stepped::is_installed()
}

pub(super) fn take(says: Saying, hears: Hearing) {
    TALKS.with_borrow_mut(|talks| talks.push(Talk { says: Some(says), hears: Some(hears) }));
}

/// The process is gone, and all of these with it.
pub(crate) fn wipe() {
    TALKS.take();
}

impl Talk {
    fn say(&mut self) -> bool {
        let Some(says) = &mut self.says else { return false };
        match says.asks.try_recv() {
            Ok(ask) => {
                if says.say(&ask).is_err() {
                    self.says = None;
                }
                true
            }
            Err(TryRecvError::Disconnected) => {
                says.end();
                self.says = None;
                true
            }
            Err(TryRecvError::Empty) => false,
        }
    }

    fn hear(&mut self) -> bool {
        let Some(hears) = self.hears.as_mut().filter(|hears| hears.incoming.has_come()) else {
            return false;
        };
        if let Some(why) = hears.hear() {
            hears.end(why);
            self.hears = None;
        }
        true
    }
}

/// Whether anything was said, or heard.
fn each(step: impl Fn(&mut Talk) -> bool) -> bool {
    // What is dropped here may have others dropped.
    let mut talks = TALKS.take();
    let mut stepped = false;
    talks.iter_mut().for_each(|talk| stepped |= step(talk));
    TALKS.with_borrow_mut(|all| {
        talks.retain(|talk| talk.says.is_some() || talk.hears.is_some());
        talks.append(all);
        *all = talks;
    });
    stepped
}

/// One question of each is said.
pub(crate) fn say() -> bool {
    each(Talk::say)
}

/// One word of each agent is heard.
pub(crate) fn hear() -> bool {
    each(Talk::hear)
}
