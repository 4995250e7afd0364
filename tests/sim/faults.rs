//! Deliberate faults of yeet, and what finds each of them.

use std::collections::BTreeSet;
use std::ops::Range;

use super::crashes::{CASES, Found, end_everywhere};
use super::errnos::{fail_at_every_start, fail_everywhere};
use super::growth::weigh_everything;
use super::history::outcome;
use super::orders::compare_all;
use super::races::race_everywhere;
use super::reports::meet_everywhere;
use super::small::send_everything;
use super::workloads::group_everywhere;
use crate::dataflow::rules::skewed::{self, Skew};
use crate::sys::sim::fault::{Fault, Faulty};

/// A fault that so many histories do not show is not found.
const SEEDS_MAX: u64 = 400;

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(90).collect()
}

fn in_histories(seeds: Range<u64>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| Some((seed, outcome(seed, &BTreeSet::new()).err()?)))
}

/// What shows a fault: crashes, races and failing calls one after the other, then histories.
fn found_by(fault: Fault) -> Option<(String, String)> {
    let faulty = Faulty::with(fault);
    if let Some(found) = found_at_rest(fault) {
        return found;
    }
    if !fault.needs_histories()
        && let Some(found) = found_at_once(fault)
    {
        return Some(found);
    }
    let (seed, shown) = in_histories(0..SEEDS_MAX)?;
    drop(faulty);
    assert_eq!(outcome(seed, &BTreeSet::new()), Ok(()), "seed {seed} fails without {fault:?}, too");
    Some((format!("seed {seed}"), first_line(&shown)))
}

/// What is asked of whole runs and has tests of its own.
fn found_at_rest(fault: Fault) -> Option<Option<(String, String)>> {
    let mut faults = Vec::new();
    let by = match fault {
        Fault::LeavesInOrder | Fault::ArrivalDecides | Fault::SidesDiffer => {
            skewed::set(Some(match fault {
                Fault::LeavesInOrder => Skew::LeavesInOrder,
                Fault::ArrivalDecides => Skew::ArrivalDecides,
                _ => Skew::SidesDiffer,
            }));
            for seed in 0..SEEDS_MAX {
                compare_all(seed..seed + 1, &mut faults);
                if !faults.is_empty() {
                    break;
                }
            }
            skewed::set(None);
            "orders"
        }
        Fault::SizeIgnored | Fault::NothingAges | Fault::LargeTakesLast => {
            send_everything(0..4, &mut faults);
            "small"
        }
        Fault::NothingForgotten | Fault::NamesKept => {
            weigh_everything(&mut faults);
            "growth"
        }
        _ => return None,
    };
    Some(faults.first().map(|first| (by.to_owned(), first_line(first))))
}

fn found_at_once(fault: Fault) -> Option<(String, String)> {
    let cases = CASES.iter().filter(|_| !fault.is_about_the_whole());
    let mut faults = Vec::new();
    for case in cases.clone() {
        let mut found = Found::default();
        end_everywhere(case, &mut found);
        if let Some(first) = found.faults.first() {
            return Some(("crashes".to_owned(), first_line(first)));
        }
    }
    for case in cases.clone() {
        race_everywhere(case, &mut faults);
        if let Some(first) = faults.first() {
            return Some(("races".to_owned(), first_line(first)));
        }
    }
    for case in cases {
        fail_everywhere(case, &[libc::EIO], &mut faults);
        if let Some(first) = faults.first() {
            return Some(("errnos".to_owned(), first_line(first)));
        }
    }
    fail_at_every_start(&mut faults);
    if let Some(first) = faults.first() {
        return Some(("errnos".to_owned(), first_line(first)));
    }
    meet_everywhere(&mut faults);
    if let Some(first) = faults.first() {
        return Some(("reports".to_owned(), first_line(first)));
    }
    group_everywhere(&mut faults);
    faults.first().map(|first| ("workloads".to_owned(), first_line(first)))
}

/// Whether a fault is asked for: all are, unless `YEET_SIM_FAULTS` names some.
fn is_asked_for(fault: &Fault) -> bool {
    let name = format!("{fault:?}");
    std::env::var("YEET_SIM_FAULTS").map_or(true, |some| some.split(',').any(|one| one == name))
}

#[test]
fn every_deliberate_fault_is_found() {
    let mut missed = Vec::new();
    for fault in Fault::ALL.into_iter().filter(is_asked_for) {
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
