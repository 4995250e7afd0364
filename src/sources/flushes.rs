//! Flushes that several watchers take part in.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::scan::pool::{Seen, Sink};

/// Tells the end of a flush when all who take part in it have ended it.
pub(super) struct Flushes {
    left: Mutex<HashMap<u64, usize>>,
    sink: Sink,
}

impl Flushes {
    pub(super) fn new(sink: Sink) -> Self {
        Self { left: Mutex::default(), sink }
    }

    pub(super) fn begin(&self, number: u64, parts: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(number, parts);
    }

    pub(super) fn ended(&self, number: u64) {
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = all.get_mut(&number) {
            *left -= 1;
            if *left > 0 {
                return;
            }
            all.remove(&number);
        }
        drop(all);
        (self.sink)(Seen::Flushed { number });
    }
}
