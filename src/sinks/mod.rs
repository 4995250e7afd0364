//! Jobs out: the schedule, the transfers, the one place that touches a user's files, and the journal of it all.
//!
//! Holds: every job is idempotent and checked against the disk at the moment it acts; a retracted job is cancelled.

mod act;
pub mod apply;
mod batch;
pub mod desk;
pub mod far;
#[cfg(test)]
mod faulty;
pub mod journal;
mod left;
pub mod older;
pub mod recover;
pub mod schedule;
pub mod stage;
pub mod transfer;
pub mod unit;
