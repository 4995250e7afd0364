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

const ACTS: [Act; 4] = [Act::Write, Act::Save, Act::Disguised, Act::Remove];

#[derive(Default)]
struct Did {
    wrote: Option<Bytes>,
    destroyed: Option<Bytes>,
}

fn act(kernel: &mut Kernel, at: usize, act: Act, path: &str) -> Did {
    let disk = &kernel.disks[at];
    let there = disk.at(path).and_then(|ino| Some((bytes_of(disk, ino)?, disk.attributes(ino))));
    let new = |len: usize| b"what the user wrote meanwhile".iter().copied().cycle().take(len);
    let mut did = Did { wrote: None, destroyed: there.as_ref().map(|(bytes, _)| bytes.clone()) };
    let mut bytes: Vec<u8> = new(29).collect();
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
    did.wrote = Some(Bytes::File(bytes));
    did
}

/// Runs a case with a user who acts before call `call`. What is wrong, if anything is.
fn race(case: &Case, call: u64, at: usize, what: Act) -> Result<(), String> {
    let mut bench = Bench::new(case);
    let did = Rc::new(RefCell::new(None));
    let (tell, path) = (did.clone(), bench.path());
    with(|kernel| {
        kernel.plan.hook = Some(Box::new({
            let path = path.clone();
            move |kernel, now| {
                if now == call && tell.borrow().is_none() {
                    *tell.borrow_mut() = Some(act(kernel, at, what, &path));
                }
            }
        }));
    });
    let done = bench.carry_out();
    with(|kernel| kernel.plan.hook = None);
    let did = did.take().unwrap_or_default();
    bench.raced(did.wrote.clone(), did.destroyed);
    bench.check_trees()?;
    bench.check_kept()?;
    let told = done.iter().any(|done| matches!(done.result, Err(ApplyError::Surprise)));
    let found = with(|kernel| {
        let disk = &kernel.disks[at];
        disk.at(&path).and_then(|ino| bytes_of(disk, ino))
    });
    let deletes = done.len() == 1 && matches!(done[0].job.op, Op::Delete { .. });
    if deletes && call == 0 && at == SOURCE && did.wrote.is_some() {
        let there = with(|kernel| kernel.disks[LEAF].at(&path).is_some());
        if !there {
            return Err("it was deleted although the other side has it again".to_owned());
        }
    }
    match did.wrote {
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
            if let Err(fault) = race(case, call, at, what) {
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
