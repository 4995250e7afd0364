//! The real daemon on real directories: what a user does, and what must be true afterwards.

#![allow(clippy::disallowed_methods, reason = "these tests live in the real world")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod conflicts;
mod crash;
mod disks;
mod everyday;
mod git;
mod groups;
mod holds;
#[allow(dead_code, reason = "the part that other tests use")]
mod mount;
mod refusals;
mod restless;
#[allow(dead_code, reason = "the part that other tests use")]
mod rig;
