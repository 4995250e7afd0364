//! Every kind of job with each of its calls failing once, with each error number.

use super::bench::{Bench, Case};
use super::crashes::CASES;
use crate::sys::sim::with;

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

#[test]
fn whichever_call_fails_nothing_is_lost_or_torn_and_agreement_is_never_ahead() {
    let mut faults = Vec::new();
    let fail = |case| fail_everywhere(case, &ERRNOS, &mut faults);
    let runs: u64 = CASES.iter().map(fail).sum();
    println!("{} cases, {runs} failed calls", CASES.len());
    let shown: Vec<_> = faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", faults.len());
}
