//! Deliberate faults of yeet, and what finds each of them.

use std::collections::BTreeSet;

use super::crashes::{CASES, Found, end_everywhere};
use super::errnos::{fail_at_every_start, fail_everywhere};
use super::growth::weigh_everything;
use super::history::{Place, outcome};
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

fn in_histories(mut seeds: impl Iterator<Item = u64>) -> Option<(u64, String)> {
    seeds.find_map(|seed| Some((seed, outcome((Place::Here, seed), &BTreeSet::new()).err()?)))
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
    let (seed, shown) = in_histories(std::iter::once(usual_seed(fault)).chain(0..SEEDS_MAX))?;
    drop(faulty);
    assert_eq!(
        outcome((Place::Here, seed), &BTreeSet::new()),
        Ok(()),
        "seed {seed} fails without {fault:?}, too"
    );
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
            for seed in std::iter::once(usual_seed(fault)).chain(0..SEEDS_MAX) {
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

/// What looks for faults of the sinks. All of it takes minutes, so what found a fault last is asked first.
const FINDERS: [&str; 5] = ["crashes", "races", "errnos", "reports", "workloads"];

fn usual_finder(fault: Fault) -> &'static str {
    match fault {
        Fault::UncheckedBefore
        | Fault::UncheckedAfter
        | Fault::LeaseIgnored
        | Fault::ReasonUnchecked
        | Fault::NamesTakenOver => "races",
        Fault::ErrorIsAbsence | Fault::LostRootIsEmpty => "errnos",
        Fault::DeleteBeatsEdit | Fault::StaleReport | Fault::OverflowSilent => "reports",
        Fault::GroupApart => "workloads",
        _ => "crashes",
    }
}

/// The seed that found a fault last.
fn usual_seed(fault: Fault) -> u64 {
    match fault {
        Fault::EmptiedUnnoticed => 92,
        Fault::BrakeIgnored => 76,
        Fault::LinksFollowed => 109,
        Fault::RulesStay | Fault::IgnoredCarried => 10,
        Fault::OlderBelieved => 24,
        Fault::AnsweredUnflushed => 1,
        Fault::LeavesInOrder | Fault::ArrivalDecides => 17,
        Fault::SidesDiffer => 322,
        _ => 0,
    }
}

fn found_at_once(fault: Fault) -> Option<(String, String)> {
    let usual = usual_finder(fault);
    let others = FINDERS.into_iter().filter(|by| *by != usual);
    std::iter::once(usual)
        .chain(others)
        .find_map(|by| Some((by.to_owned(), first_line(&look(by, fault)?))))
}

/// The first that one of the finders shows of a fault.
fn look(by: &str, fault: Fault) -> Option<String> {
    let mut cases = CASES.iter().filter(|_| !fault.is_about_the_whole());
    let mut faults = Vec::new();
    match by {
        "crashes" => {
            return cases.find_map(|case| {
                let mut found = Found::default();
                end_everywhere(case, &mut found);
                found.faults.into_iter().next()
            });
        }
        "races" => {
            let shows = |case| {
                race_everywhere(case, &mut faults);
                !faults.is_empty()
            };
            let _is_shown: bool = cases.any(shows);
        }
        "errnos" => {
            let shows = |case| {
                fail_everywhere(case, &[libc::EIO], &mut faults);
                !faults.is_empty()
            };
            let is_shown: bool = cases.any(shows);
            if !is_shown {
                fail_at_every_start(&mut faults);
            }
        }
        "reports" => {
            meet_everywhere(&mut faults);
        }
        _ => {
            group_everywhere(&mut faults);
        }
    }
    faults.into_iter().next()
}

/// Whether a fault is asked for: all are, unless `YEET_SIM_FAULTS` names some.
fn is_asked_for(fault: &Fault) -> bool {
    let name = format!("{fault:?}");
    std::env::var("YEET_SIM_FAULTS").map_or(true, |some| some.split(',').any(|one| one == name))
}

/// Looks for every fourth one, from this one on.
fn all_are_found(from: usize) {
    let mut missed = Vec::new();
    for fault in Fault::ALL.into_iter().skip(from).step_by(4).filter(is_asked_for) {
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

#[test]
fn every_deliberate_fault_is_found_in_the_first_quarter() {
    all_are_found(0);
}

#[test]
fn every_deliberate_fault_is_found_in_the_second_quarter() {
    all_are_found(1);
}

#[test]
fn every_deliberate_fault_is_found_in_the_third_quarter() {
    all_are_found(2);
}

#[test]
fn every_deliberate_fault_is_found_in_the_last_quarter() {
    all_are_found(3);
}
