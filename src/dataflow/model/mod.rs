//! The words of the engine: paths, values, facts, verdicts, jobs. Plain data, no decisions.

pub mod fact;
pub mod git;
pub mod group;
pub mod job;
pub mod list;
pub mod mode;
#[cfg(test)]
pub(crate) mod mutated;
pub mod path;
pub mod paths;
pub mod replica;
pub mod value;
pub mod verdict;
