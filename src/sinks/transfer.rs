//! Carries out batches of jobs: intent, act, durability, agreement, in this order.
//!
//! Holds: an act is journalled before it happens and an agreement only after what it speaks of is durable at both
//! ends (INV-5); a failure of one job never stops the others of its batch (INV-6).

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::sync::Arc;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{self, Value};
use crate::sinks::act::{Given, act};
use crate::sinks::apply::{
    self, Applied, ApplyError, Control, Handles, KnownDigests, Still, Target,
};
use crate::sinks::batch;
use crate::sinks::desk::Desk;
use crate::sinks::far::{self, Far, Flushed};
use crate::sinks::journal::record::{Intent, IntentKind, Kept, LogRecord};
use crate::sinks::journal::{Change, Journal};
use crate::sinks::recover::AllUnflushed;
use crate::sinks::stage::{OpId, OpIds, Store};
use crate::sys::{self, Root};

/// One replica as sinks see it.
pub struct Site {
    pub root: Arc<Root>,
    /// Where nothing can be written: the error number of the attempt.
    pub store: Result<Store, i32>,
}

impl Site {
    /// Marks it, and says with what. A disk may be full or read-only: nothing waits for a mark.
    pub(super) fn mark(&self, mark: u64) -> Option<u64> {
        self.store.as_ref().ok()?.mark(mark).ok()
    }

    /// Marks it and has it on disk.
    pub(super) fn flush(&self, mark: u64) -> Flushed {
        let marked = self.mark(mark);
        match (sys::sync_fs(&self.root), marked) {
            (Ok(()), Some(reached)) => Flushed::Marked(reached),
            (Ok(()), None) => Flushed::Unmarked,
            (Err(_), _) => Flushed::No,
        }
    }
}

/// What all workers of a sync share.
pub struct Shop {
    /// By slot; `None` for a slot that is not in use.
    pub sites: Vec<Option<Site>>,
    /// By slot, those on other machines.
    pub far: Vec<Option<Arc<Far>>>,
    /// None for a one-shot copy: it remembers nothing.
    pub journal: Option<Arc<Journal>>,
    pub digests: Arc<dyn KnownDigests>,
    pub ops: OpIds,
    pub boot: [u8; 16],
    pub unflushed: AllUnflushed,
}

/// A job on its way to a worker.
pub struct Assigned<K> {
    pub key: K,
    pub job: Job,
    pub control: Arc<Control>,
    /// Its file does not rest: what it has at one moment is carried, whatever the job says of it.
    pub still: bool,
}

/// What became of a job.
pub struct Done<K> {
    pub key: K,
    pub job: Job,
    /// As it was [`Assigned`]; then the job speaks of what was carried.
    pub still: bool,
    pub result: Result<Applied, ApplyError>,
    /// Agreements that are durable now.
    pub agreed: Vec<Fact>,
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    u64::try_from(sys::now_ns() / 1_000_000).unwrap_or(0)
}

/// Carries out a batch, whose jobs have one target; every job of it is answered.
pub fn carry_out<K>(shop: &Shop, mut batch: Vec<Assigned<K>>) -> Vec<Done<K>> {
    // Before the announcement: it is to speak of what will be carried.
    let stills: Vec<_> = batch.iter_mut().map(|assigned| shop.hold_still(assigned)).collect();
    carry(shop, batch, |batch, ops| batch::act_all(shop, batch, ops, stills))
}

/// Replicas, and the marks they have on disk.
pub(super) type Marks = Vec<(Replica, u64)>;

/// What acts came to.
pub(super) struct Acted {
    pub(super) results: Vec<Result<Applied, ApplyError>>,
    /// What each displaced, also one that failed.
    pub(super) kept: Vec<Option<Value>>,
    /// If it is on disk at both ends, the marks that are.
    pub(super) durable: Option<Marks>,
}

/// Carries out jobs that are acted on by `act`.
pub(super) fn carry<K>(
    shop: &Shop,
    batch: Vec<Assigned<K>>,
    act: impl FnOnce(&[Assigned<K>], &[OpId]) -> Acted,
) -> Vec<Done<K>> {
    let ops: Vec<OpId> = batch.iter().map(|_| shop.ops.take()).collect();
    if let Err(error) = shop.announce(&batch, &ops) {
        let refused = |a: Assigned<K>| Done {
            key: a.key,
            job: a.job,
            still: a.still,
            result: Err(ApplyError::Journal(error.clone())),
            agreed: Vec::new(),
        };
        return batch.into_iter().map(refused).collect();
    }
    let Acted { mut results, kept, durable } = act(&batch, &ops);
    debug_assert_eq!(
        (results.len(), kept.len()),
        (batch.len(), batch.len()),
        "every job is answered"
    );
    let (is_durable, marked) = (durable.is_some(), durable.unwrap_or_default());
    let mut changes = Vec::new();
    // An agent may have taken a greater one.
    marked.iter().for_each(|(_, mark)| shop.ops.pass(*mark));
    changes.extend(marked.into_iter().map(|(replica, mark)| Change::Reached { replica, mark }));
    let mut agreed: Vec<Vec<Fact>> = Vec::new();
    for (((assigned, op), result), kept) in batch.iter().zip(&ops).zip(&results).zip(kept) {
        let facts = if is_durable { agreements(&assigned.job, result) } else { Vec::new() };
        shop.record(assigned, *op, (result, kept), is_durable, &facts, &mut changes);
        agreed.push(facts);
    }
    if let Some(journal) = &shop.journal
        && let Err(error) = journal.commit(changes)
    {
        for (result, facts) in results.iter_mut().zip(&mut agreed) {
            facts.clear();
            if result.is_ok() {
                *result = Err(ApplyError::Journal(error.to_string()));
            }
        }
    }
    let done = batch.into_iter().zip(results).zip(agreed);
    let done = done.map(|((a, result), agreed)| {
        let Assigned { key, job, still, .. } = a;
        Done { key, job, still, result, agreed }
    });
    done.collect()
}

/// What both ends hold now that a job was carried out; nothing where that takes another look.
fn agreements(job: &Job, result: &Result<Applied, ApplyError>) -> Vec<Fact> {
    let Ok(applied) = result else { return Vec::new() };
    let agreed = |path: &RelPath, value| Fact::Agreed { leaf: job.leaf, path: path.clone(), value };
    match &job.op {
        Op::Put { new, .. } if is_common(new, applied) => vec![agreed(&job.path, applied.to_now)],
        Op::Move { source_path, new, .. } if applied.to_now == Some(*new) => {
            vec![agreed(source_path, None), agreed(&job.path, applied.to_now)]
        }
        Op::Delete { .. } => vec![agreed(&job.path, None)],
        Op::Agree { value } => vec![agreed(&job.path, *value)],
        Op::Put { .. } | Op::Move { .. } | Op::Read { .. } => Vec::new(),
    }
}

/// Whether what the target holds now is what the origin holds, or held when the job was made: its time may have been set
/// between that and the reading. Without an agreement the next edit there would meet the one that was just carried.
fn is_common(new: &Value, applied: &Applied) -> bool {
    let was_touched = match (new, applied.from_now) {
        (Value::File(new), Some(Value::File(now))) => {
            new.content.digest().is_some() && value::File { mtime: new.mtime, ..now } == *new
        }
        _ => false,
    };
    let is_as_asked = was_touched && applied.to_now == Some(*new);
    is_as_asked || (applied.from_now.is_some() && applied.from_now == applied.to_now)
}

/// The replica a job writes to.
#[must_use]
pub fn writes_to(job: &Job) -> Option<Replica> {
    match job.op {
        Op::Put { to, .. } => Some(to),
        Op::Move { at, .. } | Op::Delete { at, .. } => Some(at),
        Op::Agree { .. } | Op::Read { .. } => None,
    }
}

/// The replica that a job takes something from, or whose lack of something is its reason.
#[must_use]
pub fn other_end(job: &Job) -> Option<Replica> {
    match job.op {
        Op::Put { from, .. } => Some(from),
        Op::Delete { because, .. } => Some(because),
        Op::Move { at, .. } => Some(if at.is_source() { job.leaf } else { Replica::SOURCE }),
        Op::Agree { .. } | Op::Read { .. } => None,
    }
}

/// Whether a job displaces something or brings a new file: then its file in the store has to be accounted for.
pub(super) fn intent_of(job: &Job, boot: [u8; 16]) -> Option<Intent> {
    let (kind, replica, old, new) = match job.op {
        Op::Put { to, new, expect, .. } if !is_metadata_only(&new, expect.as_ref()) => {
            if new.is_dir() && expect.is_none() {
                return None;
            }
            (IntentKind::Put, to, expect, Some(new))
        }
        Op::Delete { at, expect, .. } => (IntentKind::Delete, at, Some(expect), None),
        Op::Move { at, expect, new, .. } => (IntentKind::Put, at, Some(expect), Some(new)),
        Op::Put { .. } | Op::Agree { .. } | Op::Read { .. } => return None,
    };
    Some(Intent { kind, replica, leaf: job.leaf, path: job.path.clone(), old, new, boot })
}

pub(super) fn is_metadata_only(new: &Value, expect: Option<&Value>) -> bool {
    match (new, expect) {
        (Value::File(new), Some(Value::File(old))) => {
            new.content == old.content && new.size == old.size
        }
        (Value::Dir { .. }, Some(Value::Dir { .. })) => true,
        _ => false,
    }
}

impl Shop {
    /// The site of a replica.
    #[must_use]
    pub fn site(&self, replica: Replica) -> Option<&Site> {
        self.sites.get(usize::from(replica.slot()))?.as_ref()
    }

    /// Where things are asked of a replica, wherever it is.
    #[must_use]
    pub fn desk(&self, replica: Replica) -> Option<Desk<'_>> {
        let here = || self.site(replica).map(Desk::Here);
        self.far(replica).map(Desk::There).or_else(here)
    }

    /// A replica on another machine.
    #[must_use]
    pub fn far(&self, replica: Replica) -> Option<&Far> {
        self.far.get(usize::from(replica.slot()))?.as_deref()
    }

    pub(super) fn root(&self, replica: Replica) -> Result<&Root, ApplyError> {
        self.site(replica).map(|site| &*site.root).ok_or(ApplyError::Cancelled)
    }

    pub(super) fn target(&self, replica: Replica, op: OpId) -> Result<Target<'_>, ApplyError> {
        let site = self.site(replica).ok_or(ApplyError::Cancelled)?;
        let store = site.store.as_ref().map_err(|errno| far::unwritable(*errno))?;
        Ok(Target { root: &site.root, store, op, digests: &*self.digests })
    }

    /// Takes a snapshot for a job whose file does not rest; from then on the job speaks of what that has.
    fn hold_still<K>(&self, assigned: &mut Assigned<K>) -> Result<Option<Still>, ApplyError> {
        let Assigned { job, control, .. } = assigned;
        let Op::Put { from, new, expect, .. } = &mut job.op else { return Ok(None) };
        let is_read = matches!(new, Value::File(_)) && !is_metadata_only(new, expect.as_ref());
        if !assigned.still || !is_read {
            return Ok(None);
        }
        if self.far(*from).is_some() {
            return Err(ApplyError::Restless);
        }
        let (still, value) = apply::hold_still(self.root(*from)?, &job.path, control)?;
        *new = value;
        Ok(Some(still))
    }

    /// The boot of the machine a replica is on.
    fn boot_of(&self, replica: Replica) -> [u8; 16] {
        self.far(replica).map_or(self.boot, Far::boot)
    }

    fn announce<K>(&self, batch: &[Assigned<K>], ops: &[OpId]) -> Result<(), String> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let intents = batch.iter().zip(ops).filter_map(|(assigned, op)| {
            let boot = writes_to(&assigned.job).map_or(self.boot, |at| self.boot_of(at));
            let intent = intent_of(&assigned.job, boot)?;
            Some(Change::Intent { op: op.0, intent })
        });
        journal.commit(intents.collect()).map_err(|error| error.to_string())
    }

    /// Carries out one job both of whose ends are here.
    pub(super) fn act(
        &self,
        job: &Job,
        op: OpId,
        handles: &Handles,
        control: &Control,
        still: Option<Still>,
    ) -> Result<Applied, ApplyError> {
        if control.is_cancelled() {
            return Err(ApplyError::Cancelled);
        }
        #[cfg(test)]
        let job = &super::faulty::job(self, job);
        let (Some(at), Some(other)) = (writes_to(job), other_end(job)) else {
            return Ok(Applied::default());
        };
        let (other, target) = (self.root(other)?, self.target(at, op)?);
        act(job, Given::Here(other, still), target, handles, control)
    }

    /// What is to be remembered of one job.
    fn record<K>(
        &self,
        assigned: &Assigned<K>,
        op: OpId,
        (result, kept): (&Result<Applied, ApplyError>, Option<Value>),
        durable: bool,
        agreed: &[Fact],
        changes: &mut Vec<Change>,
    ) {
        if self.journal.is_none() {
            return;
        }
        let job = &assigned.job;
        // What is not on disk may be otherwise after a power loss; the next start looks.
        if durable && intent_of(job, self.boot).is_some() {
            changes.push(Change::IntentDone { op: op.0 });
        }
        changes.extend(agreed.iter().filter_map(Change::agreement));
        let Some(replica) = writes_to(job) else { return };
        if let Some(value) = kept {
            let why = match (&job.op, result) {
                (_, Err(ApplyError::Surprise)) => "surprise",
                (_, Err(_)) => "recovered",
                (Op::Delete { .. }, Ok(_)) => "deleted",
                (_, Ok(_)) => "replaced",
            };
            let path = job.path.clone();
            let kept = Kept { path, replica, when_ms: now_ms(), value, why: why.into() };
            changes.push(Change::Kept { op: op.0, kept });
        }
        if let Ok(applied) = result {
            let mut line = log_line(job, replica, applied);
            if assigned.still {
                line.note.push_str(", from a snapshot: it changes while it is read");
            }
            changes.push(Change::Log(line));
        }
    }
}

fn old_of(job: &Job) -> Option<Value> {
    match job.op {
        Op::Put { expect, .. } => expect,
        Op::Move { expect, .. } | Op::Delete { expect, .. } => Some(expect),
        Op::Agree { .. } | Op::Read { .. } => None,
    }
}

fn log_line(job: &Job, replica: Replica, applied: &Applied) -> LogRecord {
    let old = old_of(job);
    let (act, note) = match &job.op {
        Op::Delete { .. } => ("delete", String::new()),
        Op::Move { source_path, .. } => {
            ("move", format!("from {}", source_path.as_bytes().escape_ascii()))
        }
        Op::Put { new, expect, .. } if is_metadata_only(new, expect.as_ref()) => {
            ("metadata", String::new())
        }
        Op::Put { expect: Some(_), .. } => ("update", String::new()),
        Op::Put { expect: None, .. } | Op::Agree { .. } | Op::Read { .. } => {
            ("create", String::new())
        }
    };
    let note = if note.is_empty() { job.rule.sentence().to_owned() } else { note };
    LogRecord {
        when_ms: now_ms(),
        act: act.into(),
        replica,
        path: job.path.clone(),
        old: old.and_then(|value| value.digest()),
        new: applied.to_now.and_then(|value| value.digest()),
        note,
    }
}
