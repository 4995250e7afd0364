//! The engine and everything that touches a disk, over a simulated machine (`sys::sim`): the same every time.
//!
//! `crashes`, `errnos`, `races`, `reports` and `workloads` are small and exhaustive; `history` is large and random. What is
//! real and what is simulated: `docs/design/testing.md`, "Simulation".

mod amnesia;
mod announced;
mod bench;
mod crashes;
mod decide;
mod errnos;
mod faults;
mod growth;
mod habits;
mod history;
mod hosts;
mod ignoring;
mod ledger;
mod links;
mod moments;
mod names;
mod orders;
mod questions;
mod races;
mod renamed;
mod reports;
mod restless;
mod small;
mod sound;
mod strangers;
mod telling;
mod users;
mod words;
mod workloads;
mod world;
