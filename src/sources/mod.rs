//! The world as facts: scanning, hashing, watching.
//!
//! Holds: the disk is the truth, events are hints to look at it again; an error is never an absence (INV-3); nothing
//! wakes while nothing happens (INV-8).

pub mod hash;
pub mod ignores;
pub mod stat_cache;
pub mod watch;
