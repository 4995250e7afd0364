//! Other machines, by SSH and without an `ssh` program.
//!
//! Holds: russh and rustls are known here and nowhere else; what says whom to trust and how to log in (`destination`, `pattern`,
//! `settings`, `known_hosts`, `hops`, `route`, `routes`) and what two yeets say (`protocol`) is pure; nothing is asked of a person but
//! through [`ask::Ask`].

pub mod ask;
mod auth;
pub mod bootstrap;
pub mod client;
pub mod contact;
mod data;
pub mod destination;
pub mod error;
pub mod exec;
pub mod files;
pub mod hops;
mod keys;
mod known_hosts;
pub mod link;
mod pattern;
pub mod peer;
pub mod place;
pub mod protocol;
pub mod reach;
pub mod route;
pub mod routes;
pub mod settings;
pub mod socket;
pub mod talk;
mod trust;

#[cfg(fuzzing)]
pub use known_hosts::is_revoked;
