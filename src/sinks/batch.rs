//! The acts of a batch, wherever their ends are.
//!
//! Holds: a job is acted on by the machine its target is on; ends on other machines are asked for a whole batch at once.

use std::collections::BTreeMap;

use crate::dataflow::model::job::Job;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::sinks::act::{Given, act, disown, word};
use crate::sinks::apply::{Applied, ApplyError, Control, Handles, Said, Still};
use crate::sinks::far::{Far, Fetched, Flushed, Orders, flush};
use crate::sinks::left;
use crate::sinks::stage::OpId;
use crate::sinks::transfer::{Acted, Assigned, Marks, Shop, intent_of, other_end, writes_to};
use crate::sys;

type Stills = Vec<Result<Option<Still>, ApplyError>>;
type Acts = Vec<Result<Applied, ApplyError>>;

/// Acts on all jobs of a batch, which have one target.
pub(super) fn act_all<K>(
    shop: &Shop,
    batch: &[Assigned<K>],
    ops: &[OpId],
    stills: Stills,
) -> Acted {
    let target = batch.iter().find_map(|assigned| writes_to(&assigned.job));
    if let Some(far) = target.and_then(|target| shop.far(target)) {
        return order_all(shop, far, batch, ops, stills);
    }
    let handles = Handles::default();
    let mut fetching = Fetching::of(shop, batch);
    let acts = batch.iter().zip(ops).zip(stills);
    let results = acts.map(|((assigned, op), still)| {
        let Assigned { job, control, .. } = assigned;
        let far = other_end(job).filter(|other| shop.far(*other).is_some());
        match far {
            Some(other) => fetching.act(other, (*op, job), &handles, control),
            None => shop.act(job, *op, &handles, control, still?),
        }
    });
    let results = results.collect();
    end_here(shop, batch, ops, results, &handles)
}

/// What acts on this machine came to, once it is on disk.
pub(super) fn end_here<K>(
    shop: &Shop,
    batch: &[Assigned<K>],
    ops: &[OpId],
    mut results: Acts,
    handles: &Handles,
) -> Acted {
    let target = batch.iter().find_map(|assigned| writes_to(&assigned.job));
    if let Some(site) = target.and_then(|target| shop.site(target)) {
        let acted = batch.iter().map(|assigned| &assigned.job).zip(&mut results);
        disown(&site.root, acted, handles);
    }
    // Before the flush: what failed is brought to an end by that, which has to be on disk before it is noted.
    let ended = batch.iter().zip(ops).zip(&results);
    let kept = ended.map(|((a, op), result)| kept(shop, &a.job, *op, result)).collect();
    let durable = make_durable(shop, batch, &results, None);
    Acted { results, kept, durable }
}

/// Has an agent act on all jobs of a batch.
fn order_all<K>(
    shop: &Shop,
    far: &Far,
    batch: &[Assigned<K>],
    ops: &[OpId],
    stills: Stills,
) -> Acted {
    let bytes = Job::bytes_of(batch.iter().map(|assigned| &assigned.job));
    let durable = shop.journal.is_some().then(|| shop.ops.take().0);
    let mut orders = match Orders::open(far, durable, (batch.len(), bytes)) {
        Ok(orders) => orders,
        Err(error) => return none_done(batch.len(), error),
    };
    let handles = Handles::default();
    let mut fetching = Fetching::of(shop, batch);
    for ((assigned, op), still) in batch.iter().zip(ops).zip(stills) {
        let Assigned { job, control, .. } = assigned;
        match other_end(job).filter(|other| shop.far(*other).is_some()) {
            Some(other) => match fetching.stream(other) {
                Ok(from) => orders.forward(Some((*op, job)), from, control),
                Err(error) => orders.order(Some((*op, job)), Err(error), &*shop.digests, control),
            },
            None => {
                let word = still.and_then(|still| {
                    let other = other_end(job).unwrap_or(Replica::SOURCE);
                    match control.is_cancelled() {
                        true => Err(ApplyError::Cancelled),
                        false => word(job, shop.root(other)?, still, &handles),
                    }
                });
                orders.order(Some((*op, job)), word, &*shop.digests, control);
            }
        }
    }
    let (ordered, durable) = orders.outcome();
    let (results, kept): (Acts, Vec<Option<Value>>) = ordered.into_iter().unzip();
    let target = batch.iter().find_map(|assigned| writes_to(&assigned.job));
    let flushed = target.map(|target| (target, durable));
    let durable = make_durable(shop, batch, &results, flushed);
    Acted { results, kept, durable }
}

/// That a host is away is said by all jobs, anything else by the first.
pub(super) fn none_done(jobs: usize, error: ApplyError) -> Acted {
    let again = || {
        let ApplyError::Away { host, why } = &error else { return ApplyError::Cancelled };
        away(host, why)
    };
    let mut results: Acts = (0..jobs).map(|_| Err(again())).collect();
    if let Some(first) = results.first_mut() {
        *first = Err(error);
    }
    Acted { results, kept: vec![None; jobs], durable: None }
}

fn away(host: &str, why: &str) -> ApplyError {
    ApplyError::Away { host: host.to_owned(), why: why.to_owned() }
}

/// What a batch gets from other machines.
struct Fetching<'a> {
    shop: &'a Shop,
    streams: BTreeMap<Replica, Result<Fetched, ApplyError>>,
}

impl<'a> Fetching<'a> {
    /// Asks each of them for all that it is to give.
    fn of<K>(shop: &'a Shop, batch: &[Assigned<K>]) -> Self {
        let mut streams = BTreeMap::new();
        let others: Vec<Option<Replica>> = batch.iter().map(|a| other_end(&a.job)).collect();
        for other in others.iter().flatten() {
            let Some(far) = shop.far(*other) else { continue };
            streams.entry(*other).or_insert_with(|| {
                let jobs = batch.iter().zip(&others).filter(|(_, at)| **at == Some(*other));
                let jobs: Vec<_> = jobs.map(|(assigned, _)| &assigned.job).collect();
                Fetched::open(far, &jobs)
            });
        }
        Self { shop, streams }
    }

    fn stream(&mut self, other: Replica) -> Result<&mut Fetched, ApplyError> {
        match self.streams.get_mut(&other) {
            Some(Ok(stream)) => Ok(stream),
            Some(Err(ApplyError::Away { host, why })) => Err(away(host, why)),
            Some(Err(_)) | None => Err(ApplyError::Cancelled),
        }
    }

    /// Acts here on what another machine gives.
    fn act(
        &mut self,
        other: Replica,
        (op, job): (OpId, &Job),
        handles: &Handles,
        control: &Control,
    ) -> Result<Applied, ApplyError> {
        let shop = self.shop;
        let stream = self.stream(other)?;
        let said = stream.next()?;
        let stat = if let Said::File(stat) = &said { Some(*stat) } else { None };
        let mut bytes = match &stat {
            Some(stat) => stream.bytes_of(stat),
            None => stream.bytes(),
        };
        let result = match (control.is_cancelled(), writes_to(job)) {
            (true, _) | (_, None) => Err(ApplyError::Cancelled),
            (false, Some(at)) => shop.target(at, op).and_then(|target| {
                act(job, Given::Sent(&said, &mut bytes), target, handles, control)
            }),
        };
        if stat.is_some() {
            bytes.skip();
        }
        result
    }
}

/// Marks and flushes both ends of every job that was carried out, one call a file system, but for the end that has been
/// (`flushed`). The marks they have now; `None` if not all is on disk. A job that failed may have put back what
/// it had moved: before that is on disk, its announcement must not go.
pub(super) fn make_durable<K>(
    shop: &Shop,
    batch: &[Assigned<K>],
    results: &Acts,
    flushed: Option<(Replica, Flushed)>,
) -> Option<Marks> {
    let mut marked = Marks::new();
    if shop.journal.is_none() {
        return Some(marked);
    }
    let done = batch.iter().zip(results).filter(|(assigned, result)| {
        result.is_ok() || intent_of(&assigned.job, shop.boot).is_some()
    });
    let leaves: Vec<Replica> = done.map(|(assigned, _)| assigned.job.leaf).collect();
    let ends = ReplicaSet::of(&leaves);
    if let Some((_, Flushed::No)) = flushed {
        return None;
    }
    if ends.is_empty() {
        return Some(marked);
    }
    let ends = ends.with(Replica::SOURCE);
    // Taken after the acts: a copy of a replica that has it has what they did, whatever ended meanwhile.
    let mark = shop.ops.take().0;
    let mut here = Vec::new();
    for end in ends.iter() {
        let there = match (flushed.filter(|(at, _)| *at == end), shop.far(end)) {
            (Some((_, flushed)), _) => flushed,
            (None, Some(far)) => flush(far, mark),
            (None, None) => {
                here.push((end, shop.site(end)?));
                continue;
            }
        };
        match there {
            Flushed::No => return None,
            Flushed::Unmarked => {}
            Flushed::Marked(reached) => marked.push((end, reached)),
        }
    }
    let mut devices = Vec::new();
    // All marks first: one call may be for several of them.
    for (end, site) in &here {
        marked.extend(site.mark(mark).map(|reached| (*end, reached)));
    }
    for (_, site) in here {
        let dev = site.root.identity().dev;
        if devices.contains(&dev) {
            continue;
        }
        sys::sync_fs(&site.root).ok()?;
        devices.push(dev);
    }
    Some(marked)
}

/// What a job displaced here, also one that failed.
fn kept(shop: &Shop, job: &Job, op: OpId, result: &Result<Applied, ApplyError>) -> Option<Value> {
    shop.journal.as_ref()?;
    if let Ok(applied) = result {
        return applied.kept;
    }
    let intent = intent_of(job, shop.boot)?;
    let site = shop.site(writes_to(job)?)?;
    let store = site.store.as_ref().ok()?;
    left::left(&site.root, store, op, &job.path, intent.old, intent.new)
}
