//! Every kind of job with each of its calls failing once, with each error number.

use super::bench::{Bench, Case, LEAF, value};
use super::crashes::CASES;
use super::habits::RULES;
use super::users::Dice;
use super::world::World;
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::Waits;
use crate::sys::sim::{Node, with};

const ERRNOS: [i32; 6] =
    [libc::EIO, libc::ENOSPC, libc::EMFILE, libc::EINTR, libc::ESTALE, libc::EACCES];

/// Fails each call of a case with each of these numbers. Returns how often a call failed.
pub(super) fn fail_everywhere(case: &Case, errnos: &[i32], faults: &mut Vec<String>) -> u64 {
    let mut runs = 0;
    let reference = Bench::new(case);
    drop(reference.carry_out());
    let calls = with(|kernel| kernel.calls);
    drop(reference);
    for (call, errno) in (0..calls).flat_map(|call| errnos.iter().map(move |errno| (call, *errno)))
    {
        let mut bench = Bench::new(case);
        with(|kernel| kernel.plan.fail = Some((call, errno)));
        drop(bench.carry_out());
        runs += 1;
        with(|kernel| kernel.plan.fail = None);
        let mut check = |result: Result<(), String>, when: &str| {
            if let Err(fault) = result {
                let failed =
                    with(|kernel| kernel.log.iter().find(|line| line.contains("fails")).cloned());
                faults.push(format!("{}: {when}: {failed:?}: {fault}", case.name));
            }
        };
        check(bench.check_trees(), "while it runs");
        bench.start_again(None);
        check(bench.check().and_then(|()| bench.check_settled()), "after another start");
    }
    runs
}

/// More than a start on a small tree makes.
const CALLS_OF_A_START: u64 = 300;
const STEPS_OF_A_START: usize = 200;

#[test]
fn whichever_call_fails_nothing_is_lost_or_torn_and_agreement_is_never_ahead() {
    let mut faults = Vec::new();
    let fail = |case| fail_everywhere(case, &ERRNOS, &mut faults);
    let runs: u64 = CASES.iter().map(fail).sum();
    println!("{} cases, {runs} failed calls", CASES.len());
    let shown: Vec<_> = faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", faults.len());
}

/// Starts a daemon on two equal trees with an error at the call of this number. What is wrong, if anything is.
fn fail_at_start(call: u64, errno: i32) -> Result<(), String> {
    let mut world = World::new(2, 0, true);
    with(|kernel| {
        let mut ledger = world.ledger.borrow_mut();
        ledger.observe(kernel);
        kernel.user_make(0, "d", Node::Dir);
        kernel.user_write(0, "d/a", b"written once");
        ledger.accept(kernel, 0);
        kernel.disks[0].flush();
    });
    world.start();
    world.rest();
    world.kill();
    with(|kernel| kernel.plan.fail = Some((kernel.calls + call, errno)));
    world.start();
    // The sinks look once more before they delete: what is decided wrongly is asked for after each step.
    let (mut dice, mut decided) = (Dice::new(call), false);
    // Behind a listing that is still to come it is no decision: nothing is known there yet.
    let is_delete = |(verdict, waits): &(Verdict, Waits)| {
        matches!(verdict.act, Act::Delete { .. }) && !matches!(waits, Waits::Listing(_))
    };
    for _ in 0..STEPS_OF_A_START {
        world.step(&mut dice);
        decided |= world.verdicts("d/a").iter().any(is_delete);
    }
    let fault = world.ledger.borrow_mut().fault.take();
    let decided = decided.then(|| "a delete was decided that no user asked for".to_owned());
    fault.or(decided).map_or(Ok(()), Err)
}

/// An error at each call of a start, one after the other.
pub(super) fn fail_at_every_start(faults: &mut Vec<String>) {
    for call in 0..CALLS_OF_A_START {
        if let Err(fault) = fail_at_start(call, libc::EIO) {
            faults.push(format!("EIO at call {call} of a start: {fault}"));
        }
    }
}

#[test]
fn an_error_at_any_call_of_a_start_is_no_absence() {
    let mut faults = Vec::new();
    fail_at_every_start(&mut faults);
    assert_eq!(faults, [] as [String; 0]);
}

/// Starts a daemon for the first time where the rules of a disk leave something out, with an error at the call of this
/// number. What is carried of that, if anything is, and what failed.
fn fail_before_rules_are_known(
    (disks, ruled): (usize, usize),
    (call, errno): (u64, i32),
) -> Option<(String, Option<String>)> {
    let mut world = World::new(disks, 0, true);
    with(|kernel| {
        for (at, path, text) in [
            (ruled, ".yeetignore", "a\n"),
            (0, "a", "left out"),
            (ruled, "d/.yeetignore", "b\n"),
            (0, "d/b", "left out"),
            (0, "d/c", "carried"),
        ] {
            if let Some((dir, _)) = path.split_once('/') {
                kernel.user_make(at, dir, Node::Dir);
            }
            kernel.user_write(at, path, text.as_bytes());
        }
        for at in 0..disks {
            world.ledger.borrow_mut().accept(kernel, at);
            kernel.disks[at].flush();
        }
        kernel.plan.fail = Some((kernel.calls + call, errno));
    });
    world.start();
    for _ in 0..2 {
        if world.is_up()
            && world.rest()
            && !world.is_held()
            && with(|k| k.disks[1].at("d/c")).is_some()
        {
            break;
        }
        world.kill();
        world.start();
    }
    with(|kernel| {
        let failed = kernel.log.iter().find(|line| line.contains("fails")).cloned();
        let carried = ["a", "d/b"].into_iter().find(|path| kernel.disks[1].at(path).is_some());
        let nothing = kernel.disks[1].at("d/c").is_none().then_some("nothing at all");
        carried.or(nothing).map(|what| (format!("{what} was carried"), failed))
    })
}

/// Each call of a start, with errors that may pass.
fn errors_of_a_start() -> impl Iterator<Item = (u64, i32)> {
    let errnos = [libc::EIO, libc::EMFILE];
    (0..CALLS_OF_A_START).flat_map(move |call| errnos.map(|errno| (call, errno)))
}

#[test]
fn an_error_at_any_call_of_a_start_carries_nothing_that_rules_leave_out() {
    let fail = |error| fail_before_rules_are_known((2, 0), error);
    let faults: Vec<_> = errors_of_a_start().filter_map(fail).collect();
    assert_eq!(faults, []);
}

#[test]
fn nor_between_two_replicas_what_the_rules_of_a_third_leave_out_that_cannot_be_read_at_first() {
    let fail = |error| fail_before_rules_are_known((3, 2), error);
    let faults = errors_of_a_start().filter_map(fail);
    // Where its directory cannot be looked at, nobody knows that it has rules.
    let of_rules = |failed: &Option<String>| failed.as_ref().is_none_or(|f| f.ends_with(RULES));
    let faults: Vec<_> = faults.filter(|(_, failed)| of_rules(failed)).collect();
    assert_eq!(faults, []);
}

#[test]
fn a_check_after_the_swap_that_cannot_be_made_swaps_back() {
    let case = CASES.iter().find(|case| case.name.contains("coarse")).unwrap();
    let bench = Bench::new(case);
    let before = value(LEAF, "a");
    drop(bench.carry_out());
    let swap = with(|kernel| kernel.log.iter().find(|line| line.contains("EXCHANGE")).cloned());
    let swap: u64 = swap.unwrap().split(':').next().unwrap().parse().unwrap();
    drop(bench);
    let mut checks = 0;
    for call in swap + 1.. {
        let bench = Bench::new(case);
        with(|kernel| kernel.plan.fail = Some((call, libc::EIO)));
        let Err(error) = &bench.carry_out()[0].result else { panic!("call {call} failed") };
        if error.to_string().contains("in its place") {
            break;
        }
        assert_eq!(value(LEAF, "a"), before, "call {call}: {error}");
        checks += 1;
    }
    assert!(checks > 3, "the bytes are read once more");
}

/// Writes two files of one size, with an error at the call of this number after the start.
fn fail_while_reading(call: u64, errno: i32) -> Result<(), String> {
    let mut world = World::new(2, 0, true);
    with(|kernel| {
        let mut ledger = world.ledger.borrow_mut();
        for (at, text) in [(0, b"an edit, one side"), (1, b"an edit, no other")] {
            ledger.observe(kernel);
            kernel.user_write(at, "a", text);
            ledger.accept(kernel, at);
        }
    });
    world.start();
    with(|kernel| kernel.plan.fail = Some((kernel.calls + call, errno)));
    match world.rest() {
        true if world.left().is_empty() && world.problems().is_empty() => Ok(()),
        rests => {
            let failed = with(|kernel| kernel.log.iter().find(|l| l.contains("fails")).cloned());
            Err(format!("{failed:?}, rests: {rests}, {:?}, {:?}", world.left(), world.problems()))
        }
    }
}

#[test]
fn what_could_not_be_looked_at_or_read_for_a_moment_is_tried_again_by_itself() {
    for call in 0..60 {
        for errno in [libc::EMFILE, libc::ENOMEM, libc::EIO] {
            assert_eq!(fail_while_reading(call, errno), Ok(()), "{errno} at call {call}");
        }
    }
}
