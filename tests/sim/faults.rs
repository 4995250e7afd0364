//! Deliberate faults of yeet, and what finds each of them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::crashes::{CASES, Found, end_everywhere};
use super::errnos::fail_everywhere;
use super::history::outcome;
use crate::sys::sim::fault::{Fault, Faulty};

/// A fault that so many histories do not show is not found.
const SEEDS_MAX: u64 = 400;

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(90).collect()
}

fn in_histories(seeds: Range<u64>) -> Option<(String, String)> {
    seeds.into_iter().find_map(|seed| {
        let fault = outcome(seed, &BTreeSet::new()).err()?;
        Some((format!("seed {seed}"), first_line(&fault)))
    })
}

/// What shows a fault: some histories, crashes and failing calls one after the other, more histories.
fn found_by(fault: Fault) -> Option<(String, String)> {
    let _faulty = Faulty::with(fault);
    if let Some(found) = in_histories(0..40) {
        return Some(found);
    }
    for case in CASES {
        let mut found = Found::default();
        end_everywhere(case, &mut found);
        if let Some(first) = found.faults.first() {
            return Some(("crashes".to_owned(), first_line(first)));
        }
    }
    if let Some(first) = fail_everywhere(&[libc::EIO]).0.first() {
        return Some(("errnos".to_owned(), first_line(first)));
    }
    in_histories(40..SEEDS_MAX)
}

#[test]
fn every_deliberate_fault_is_found() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        match found_by(fault) {
            Some((by, what)) => println!("| {fault:?} | {by} | {what} |"),
            None => {
                println!("| {fault:?} | - | |");
                missed.push(fault);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
