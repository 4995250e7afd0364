//! One stream of a connection, as who asks or answers on it has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::broken::Broken;
use super::{Shared, State};
use crate::ssh::protocol::{Chunk, StreamId};

/// One question and its answer, or one transfer. It is broken off if whoever asked drops it before the answer's end, or
/// whoever answers before they have ended.
pub struct Stream {
    shared: Arc<Shared>,
    id: StreamId,
    is_own: bool,
    changed: Arc<Bell>,
    has_ended: AtomicBool,
    they_ended: AtomicBool,
    has_deadline: bool,
}

/// What came on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes(Vec<u8>),
    /// The other side has ended.
    End,
    /// In the time that was given.
    Nothing,
}

impl Stream {
    pub(super) fn new(shared: &Arc<Shared>, state: &mut State, id: StreamId, is_own: bool) -> Self {
        let changed = state.inboxes.entry(id).or_default().changed.clone();
        let (has_ended, they_ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = shared.clone();
        Self { shared, id, is_own, changed, has_ended, they_ended, has_deadline: false }
    }

    /// One on which work is done: who waits on it does not wait for a connection on which nothing moves any more.
    #[must_use]
    pub fn with_deadline(mut self) -> Self {
        // That nothing moved before was no wonder.
        self.shared.state().moved = Instant::now();
        self.has_deadline = true;
        self
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        #[cfg(test)]
        if let Some(plug) = &self.shared.stepped {
            drop(state);
            plug.wait(self.id);
            return self.shared.state();
        }
        match self.has_deadline {
            true => self.shared.wait_for_work(&self.changed, state),
            false => self.changed.wait(state),
        }
    }

    /// Sends all of it, as fast as the other side takes it.
    ///
    /// # Errors
    /// As [`Self::send_chunk`].
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), Broken> {
        let mut chunk = Chunk::default();
        while !bytes.is_empty() {
            let taken = chunk.put(bytes);
            bytes = &bytes[taken..];
            self.send_chunk(&mut chunk)?;
        }
        Ok(())
    }

    /// Sends a chunk, which is empty then, once the other side has taken enough of what was sent before.
    ///
    /// # Errors
    /// The other side broke the stream off, or the connection is over.
    pub fn send_chunk(&self, chunk: &mut Chunk) -> Result<(), Broken> {
        let mut state = self.shared.state();
        while !chunk.is_empty() {
            if let Some(inbox) = state.inboxes.get(&self.id) {
                if let Some(why) = inbox.reset.clone() {
                    return Err(Broken::Reset(why));
                }
                if inbox.has_ended && self.is_own {
                    return Err(Broken::Enough);
                }
            }
            if let Some(over) = &state.over {
                return Err(over.clone().into());
            }
            match state.session.send(self.id, chunk) {
                Some(true) => self.shared.to_write.ring(),
                Some(false) => state = self.wait(state),
                None => return Err(Broken::Reset("it has ended here".to_owned())),
            }
        }
        Ok(())
    }

    /// Nothing more will be sent.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
        self.shared.state().session.end(self.id);
        self.shared.to_write.ring();
    }

    /// The next bytes; `None` once the other side has ended.
    ///
    /// # Errors
    /// The other side broke the stream off, or the connection is over.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Broken> {
        self.receive_until(None).map(|received| match received {
            Received::Bytes(bytes) => Some(bytes),
            Received::End | Received::Nothing => None,
        })
    }

    /// As [`Self::receive`], if it comes in this time.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_within(&self, time: Duration) -> Result<Received, Broken> {
        self.receive_until(Some(Instant::now() + time))
    }

    fn receive_until(&self, until: Option<Instant>) -> Result<Received, Broken> {
        let mut state = self.shared.state();
        loop {
            let inbox = state.inboxes.entry(self.id).or_default();
            if let Some(bytes) = inbox.chunks.pop_front() {
                state.session.consumed(self.id, bytes.len());
                if state.session.has_output() {
                    self.shared.to_write.ring();
                }
                return Ok(Received::Bytes(bytes));
            }
            if let Some(why) = inbox.reset.clone() {
                self.they_ended.store(true, Ordering::Relaxed);
                return Err(Broken::Reset(why));
            }
            if inbox.has_ended {
                self.they_ended.store(true, Ordering::Relaxed);
                return Ok(Received::End);
            }
            if let Some(over) = &state.over {
                return Err(over.clone().into());
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match left {
                None => self.wait(state),
                Some(left) if left.is_zero() => return Ok(Received::Nothing),
                Some(left) => self.changed.wait_for(state, left).0,
            };
        }
    }

    /// All that comes until the other side ends, at most `max` bytes.
    ///
    /// # Errors
    /// As [`Self::receive`]; or there is more.
    pub fn receive_all(&self, max: usize) -> Result<Vec<u8>, Broken> {
        let mut all = Vec::new();
        while let Some(bytes) = self.receive()? {
            if all.len() + bytes.len() > max {
                return Err(Broken::Reset(format!("the answer is longer than {max} bytes")));
            }
            all.extend(bytes);
        }
        Ok(all)
    }

    /// Whether who reads from it would not wait.
    #[cfg(test)]
    pub(crate) fn has_come(&self) -> bool {
        let state = self.shared.state();
        let has_come = |inbox: &super::Inbox| {
            !inbox.chunks.is_empty() || inbox.has_ended || inbox.reset.is_some()
        };
        state.over.is_some() || state.inboxes.get(&self.id).is_some_and(has_come)
    }

    /// Breaks it off, and says why.
    pub fn refuse(&self, why: &str) {
        self.shared.state().session.reset(self.id, why);
        self.shared.to_write.ring();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let inbox = state.inboxes.remove(&self.id).unwrap_or_default();
        let they_ended = self.they_ended.load(Ordering::Relaxed) || inbox.has_ended;
        let has_ended = self.has_ended.load(Ordering::Relaxed);
        let is_over = has_ended && (they_ended || !self.is_own);
        if !is_over && inbox.reset.is_none() {
            state.session.reset(self.id, "it is not wanted any more");
        }
        self.shared.to_write.ring();
        // A stream more can be opened.
        self.shared.changed.ring();
    }
}
