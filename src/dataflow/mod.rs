//! The engine: facts in, verdicts derived, jobs out.
//!
//! Holds: no io, no clock, no environment, no tokio in here (INV-9); nothing of yeet outside this folder is imported.

pub mod engine;
mod graph;
pub mod model;
pub mod query;
pub mod rules;
#[cfg(test)]
mod tests;
