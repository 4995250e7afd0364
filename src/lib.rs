//! yeet keeps directories the same, continuously, and can say why.
//!
//! *Facts* come in, *verdicts* are derived, *jobs* go out. A fact is something observed; a single-threaded
//! differential dataflow holds all facts arranged by path and derives one verdict for every path and leaf; a job is
//! what is left between the verdict and the world. What sinks did is observed again, and the job retracts itself.
//! The map of the code is `docs/design/architecture.md`.

// The purity fence of `.clippy.toml`; tests may do what they need.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests"))]

pub mod agent;
pub mod cli;
pub mod config;
pub mod copy;
pub mod dataflow;
pub mod places;
pub mod service;
pub mod sinks;
pub mod sources;
pub mod ssh;
pub mod sys;

// It needs what only tests of the library have: the simulated kernel, and threads that are stepped.
#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;
