//! Waking who sleeps for something that others change under a lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::time::Duration;

/// Wakes who sleeps for something, and costs nothing where nobody does.
#[derive(Default)]
pub(super) struct Bell {
    condvar: Condvar,
    /// Counted up under the lock that they leave.
    sleepers: AtomicUsize,
}

impl Bell {
    pub(super) fn wait<'a, T>(&self, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let state = self.condvar.wait(state).unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// As [`Self::wait`], for so long; and whether that is over.
    pub(super) fn wait_for<'a, T>(
        &self,
        state: MutexGuard<'a, T>,
        time: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        let waited = self.condvar.wait_timeout(state, time);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        (state, timeout.timed_out())
    }

    /// What they wait for was changed under the lock.
    pub(super) fn ring(&self) {
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            self.condvar.notify_all();
        }
    }
}
