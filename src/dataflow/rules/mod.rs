//! The decisions: plain functions over plain values.

pub mod brake;
