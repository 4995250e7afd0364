//! What an agent does for a replica when it has a moment: it is done soon, by threads of its own.
//!
//! Holds: at rest they sleep without a deadline (INV-8); whoever asks for a chore never waits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::sources::stat_cache::StatCache;
use crate::ssh::talk::Outgoing;
use crate::sys;

/// What comes within this time after what waits to be sent goes with it.
const GATHER: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// To send what waits.
    Send,
    /// To write down what was read: an agent that is killed has to read no more than what came since.
    Remember,
}

/// Dropped, no more is done.
pub(super) struct Chores {
    send: Sender<()>,
    remember: Sender<()>,
}

impl Chores {
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(outgoing: Arc<Outgoing>, cache: Arc<StatCache>) -> io::Result<Self> {
        let ((send, to_send), (remember, to_remember)) = (bounded(1), bounded(1));
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let sends = move || {
            each(&to_send, || {
                sys::pause(GATHER);
                // A connection that broke ends all of this.
                drop(outgoing.flush());
            });
        };
        drop(thread("agent-sends").spawn(sends)?);
        // A cache that cannot be written costs the next start time, nothing else.
        let remembers = move || each(&to_remember, || drop(cache.flush_if_much()));
        drop(thread("agent-cache").spawn(remembers)?);
        Ok(Self { send, remember })
    }

    /// Those that whoever drives a simulated machine does: to send, and to remember.
    #[cfg(test)]
    pub(super) fn stepped() -> (Self, Receiver<()>, Receiver<()>) {
        let ((send, to_send), (remember, to_remember)) = (bounded(1), bounded(1));
        (Self { send, remember }, to_send, to_remember)
    }

    pub(super) fn do_soon(&self, chore: Chore) {
        let whose = match chore {
            Chore::Send => &self.send,
            Chore::Remember => &self.remember,
        };
        // One that is already asked for does for both.
        whose.try_send(()).unwrap_or_default();
    }
}

fn each(asked: &Receiver<()>, chore: impl Fn()) {
    while asked.recv().is_ok() {
        chore();
    }
}
