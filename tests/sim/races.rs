//! Every kind of job, with a user who does something to its path before each of its calls.
//!
//! Holds after each: nothing is lost, nothing is torn, and what the user wrote last is what he finds, unless he is told
//! that both versions were kept.

use std::cell::RefCell;
use std::rc::Rc;

use super::bench::{Bench, Bytes, Case, LEAF, SOURCE, bytes_of};
use super::crashes::CASES;
use crate::dataflow::model::job::Op;
use crate::sinks::apply::ApplyError;
use crate::sys::sim::{Kernel, with};

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Into the file that is there.
    Write,
    /// A file beside it, renamed over it.
    Save,
    /// As many bytes, and the mtime put back.
    Disguised,
    Remove,
}

const TEXTS: [&str; 2] = ["what the user wrote meanwhile", "and what he wrote after that"];
const ACTS: [Act; 4] = [Act::Write, Act::Save, Act::Disguised, Act::Remove];

#[derive(Default)]
struct Did {
    wrote: Option<Bytes>,
    destroyed: Option<Bytes>,
    /// Its writing has to wait for a lease.
    waits: bool,
}

fn act(kernel: &mut Kernel, at: usize, act: Act, path: &str, text: &[u8]) -> Did {
    let disk = &kernel.disks[at];
    let there = disk.at(path).and_then(|ino| Some((bytes_of(disk, ino)?, disk.attributes(ino))));
    let new = |len: usize| text.iter().copied().cycle().take(len);
    let mut did = Did {
        waits: false,
        wrote: None,
        destroyed: there.as_ref().map(|(bytes, _)| bytes.clone()),
    };
    let mut bytes = text.to_vec();
    let done = match (act, there) {
        (Act::Write, _) => kernel.user_write(at, path, &bytes),
        (Act::Save, _) => {
            let beside = format!("{path}~");
            kernel.user_write(at, &beside, &bytes);
            let done = kernel.user_rename(at, &beside, path);
            done || !kernel.user_remove(at, &beside)
        }
        (Act::Disguised, Some((Bytes::File(old), was))) => {
            bytes = new(old.len()).collect();
            let done = kernel.user_write(at, path, &bytes);
            kernel.user_touch(at, path, None, Some(was.mtime));
            done
        }
        (Act::Disguised, _) => return Did::default(),
        (Act::Remove, Some(_)) => {
            kernel.user_remove(at, path);
            return did;
        }
        (Act::Remove, None) => return Did::default(),
    };
    if !done {
        return Did::default();
    }
    let disk = &kernel.disks[at];
    let now = disk.at(path).and_then(|ino| bytes_of(disk, ino));
    did.wrote = Some(Bytes::File(bytes));
    did.waits = now != did.wrote;
    did
}

/// Runs a case with a user at `at` who acts before these calls. What is wrong, if anything is.
fn race(case: &Case, at: usize, acts: &[(u64, Act)]) -> Result<(), String> {
    let mut bench = Bench::new(case);
    let did = Rc::new(RefCell::new(Vec::new()));
    let (tell, path) = (did.clone(), bench.path());
    with(|kernel| {
        kernel.plan.hook = Some(Box::new({
            let (path, acts) = (path.clone(), acts.to_vec());
            move |kernel, now| {
                let done = tell.borrow().len();
                if acts.get(done).is_some_and(|(call, _)| *call == now) {
                    let text = TEXTS[done].as_bytes();
                    let did = act(kernel, at, acts[done].1, &path, text);
                    tell.borrow_mut().push(did);
                }
            }
        }));
    });
    let done = bench.carry_out();
    with(|kernel| kernel.plan.hook = None);
    let did = did.take();
    for did in &did {
        bench.raced(did.wrote.clone(), did.destroyed.clone());
    }
    // What waits to write to a file comes before what its user does to it then.
    if let [first, _] = &did[..]
        && first.waits
    {
        bench.raced(None, first.wrote.clone());
    }
    let wrote = did.last().and_then(|did| did.wrote.clone());
    bench.check_trees()?;
    bench.check_kept()?;
    let told = done.iter().any(|done| matches!(done.result, Err(ApplyError::Surprise)));
    let found = with(|kernel| {
        let disk = &kernel.disks[at];
        disk.at(&path).and_then(|ino| bytes_of(disk, ino))
    });
    let deletes = done.len() == 1 && matches!(done[0].job.op, Op::Delete { .. });
    if deletes && acts[0].0 == 0 && at == SOURCE && wrote.is_some() {
        let there = with(|kernel| kernel.disks[LEAF].at(&path).is_some());
        if !there {
            return Err("it was deleted although the other side has it again".to_owned());
        }
    }
    match wrote {
        Some(wrote) if !told && found.as_ref() != Some(&wrote) => {
            Err(format!("he finds {found:?} for what he wrote"))
        }
        _ => Ok(()),
    }
}

/// Has a user act before each call of a case. Returns how often one acted.
pub(super) fn race_everywhere(case: &Case, faults: &mut Vec<String>) -> u64 {
    let reference = Bench::new(case);
    drop(reference.carry_out());
    let calls = with(|kernel| kernel.calls);
    drop(reference);
    let mut runs = 0;
    for call in 0..calls {
        for (at, what) in [SOURCE, LEAF].into_iter().flat_map(|at| ACTS.map(|act| (at, act))) {
            runs += 1;
            if let Err(fault) = race(case, at, &[(call, what)]) {
                faults.push(format!("{}: {what:?} on {at} before call {call}: {fault}", case.name));
            }
        }
    }
    runs
}

#[test]
fn whatever_a_user_does_in_the_middle_of_a_job_is_what_he_finds() {
    let mut faults = Vec::new();
    let runs: u64 = CASES.iter().map(|case| race_everywhere(case, &mut faults)).sum();
    println!("{runs} races");
    let shown: Vec<_> = faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", faults.len());
}

/// Calls between the two acts of a user.
const APART: std::ops::RangeInclusive<u64> = 1..=5;

#[test]
fn so_it_is_if_he_does_two_things_in_the_middle_of_it() {
    let (mut faults, mut runs) = (Vec::new(), 0);
    for case in CASES {
        let reference = Bench::new(case);
        drop(reference.carry_out());
        let calls = with(|kernel| kernel.calls);
        drop(reference);
        let twice = [Act::Save, Act::Write].into_iter();
        let twice = twice.flat_map(|first| [(first, Act::Write), (first, Act::Save)]);
        let twice: Vec<_> =
            [SOURCE, LEAF].into_iter().flat_map(|at| twice.clone().map(move |a| (at, a))).collect();
        for (call, later) in (0..calls).flat_map(|call| APART.map(move |n| (call, call + n))) {
            for (at, (first, second)) in &twice {
                runs += 1;
                if let Err(fault) = race(case, *at, &[(call, *first), (later, *second)]) {
                    faults.push(format!(
                        "{}: {first:?} on {at} before call {call}, {second:?} before {later}: {fault}",
                        case.name
                    ));
                }
            }
        }
    }
    println!("{runs} races");
    let shown: Vec<_> = faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", faults.len());
}
