//! What has to be known as it was at one moment, before it may be carried.
//!
//! Holds: what is settled was flushed since something was last seen to change in it, so all that was done before that
//! was noticed.

use crate::service::actor::Actor;

/// How well something is known.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Settling {
    /// Something was seen in it: something done before may not have been.
    #[default]
    Touched,
    /// The watchers are asked for all that was done before.
    Flushing(u64),
    Settled,
}

impl Settling {
    /// The watchers have told all that happened before this number was given out.
    pub fn flushed(&mut self, number: u64) {
        if *self == Self::Flushing(number) {
            *self = Self::Settled;
        }
    }

    #[must_use]
    pub fn is_settled(self) -> bool {
        self == Self::Settled
    }
}

impl Actor {
    /// Asks the watchers for what was touched; where nothing is watched there is nothing to wait for.
    pub(crate) fn settling(&mut self) -> Settling {
        self.flush().map_or(Settling::Settled, Settling::Flushing)
    }
}
