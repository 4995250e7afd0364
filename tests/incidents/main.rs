//! The incidents in which other tools lost data, one test or more each, on real directories with the real daemon.
//!
//! A test's name begins with the incident's number; `docs/design/incidents.md` is the list of them all. Holds: each of
//! them is in that list, and each test it names exists.

#![allow(clippy::disallowed_methods, reason = "these tests live in the real world")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod absences;
mod document;
mod ignores;
mod memory;
#[allow(dead_code, reason = "the part that other tests use")]
#[path = "../system/mount.rs"]
mod mount;
mod names;
#[allow(dead_code, reason = "the part of the rig that other tests use")]
#[path = "../system/rig.rs"]
mod rig;
mod roots;
mod swaps;
