//! Deliberate faults of the sinks ([`crate::sys::sim::fault`]), for the proof that the simulation would find them.

use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Value};
use crate::dataflow::model::verdict::Rule;
use crate::sinks::apply::{Control, digest_of, target_digest, value_of};
use crate::sinks::journal::Change;
use crate::sinks::transfer::Shop;
use crate::sys::Kind;
use crate::sys::sim::fault::{Fault, has};

/// What a replica holds now, its bytes read.
fn holds(shop: &Shop, at: Replica, path: &RelPath) -> Option<Value> {
    let (dir, name) = shop.site(at)?.root.open_parent(path).ok()?;
    let stat = dir.stat(name.as_bytes()).ok()??;
    let digest = match stat.kind {
        Kind::File => {
            digest_of(&mut dir.open_read(name.as_bytes()).ok()?, &Control::default()).ok()??
        }
        Kind::Symlink => target_digest(&dir.readlink(name.as_bytes()).ok()?),
        _ => return Some(value_of(&stat, Content::unread(0))),
    };
    Some(value_of(&stat, Content::known(digest)))
}

/// The job as a faulty yeet would carry it out.
pub(super) fn job(shop: &Shop, job: &Job) -> Job {
    let mut job = job.clone();
    if has(Fault::DeleteBeatsEdit)
        && job.rule == Rule::EditBeatsDelete
        && let Op::Put { from, to, new, expect: None } = job.op
    {
        job.op = Op::Delete { at: from, because: to, expect: new };
    }
    if has(Fault::UncheckedBefore) {
        match &mut job.op {
            Op::Put { to, expect: Some(expect), .. } | Op::Delete { at: to, expect, .. } => {
                *expect = holds(shop, *to, &job.path).unwrap_or(*expect);
            }
            Op::Put { .. } | Op::Move { .. } | Op::Agree { .. } | Op::Read { .. } => {}
        }
    }
    job
}

/// What a faulty yeet would write into its journal.
pub(super) fn changes(mut changes: Vec<Change>) -> Vec<Change> {
    changes.retain(|change| match change {
        Change::Intent { .. } => !has(Fault::IntentNotJournalled),
        Change::Kept { kept, .. } => {
            let forgets = has(Fault::FailureForgotten) && kept.why == "recovered";
            !forgets && !has(Fault::KeptNotJournalled)
        }
        _ => true,
    });
    changes
}
