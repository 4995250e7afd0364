//! The agent's side: carries out what is ordered, offers what is asked for.

use super::sent::{Parts, SentFile, send_word};
use super::wire::{
    Ended, Failure, Flushed, JOBS_MAX, MESSAGE_MAX, Offer, Order, Outcome, Reply, Wanted,
};
use crate::dataflow::model::job::Job;
use crate::dataflow::model::value::Value;
use crate::sinks::act::{Given, Word, act, disown, word};
use crate::sinks::apply::{
    Applied, ApplyError, Control, Handles, KnownDigests, Said, Target, goes_on,
};
use crate::sinks::left;
use crate::sinks::stage::OpId;
use crate::sinks::transfer::{Site, intent_of};
use crate::ssh::link::Broken;
use crate::ssh::talk::{Incoming, Outgoing};
use crate::sys::Root;

/// Whoever is at the other end of an agent's connection, where errors name it.
pub(super) const THEM: &str = "the caller";
/// The rest of a file of which no more than this is left is taken in when its act has failed, in bytes. With more, the
/// batch ends there.
const LARGE_BYTES: u64 = 4 << 20;

/// Carries out all that is ordered on a stream, and says what became of it.
///
/// # Errors
/// The stream broke: what was carried out by then stays, and is found when its operations are looked for.
pub fn serve_orders(
    site: &Site,
    digests: &dyn KnownDigests,
    durable: Option<u64>,
    (incoming, outgoing): (&mut Incoming, &Outgoing),
) -> Result<(), Broken> {
    let handles = Handles::default();
    let mut acted: Vec<(OpId, Job, Result<Applied, ApplyError>)> = Vec::new();
    while let Some(Order { op, job, offer }) = incoming.hear::<Order>(MESSAGE_MAX)? {
        if acted.len() == JOBS_MAX {
            return Err(Broken::Garbled("more jobs than a batch can have".to_owned()));
        }
        let op = OpId(op);
        let stat = if let Ok(Said::File(stat)) = &offer { Some(*stat) } else { None };
        let size = stat.map(|stat| stat.size);
        let mut broken = None;
        let mut sent = SentFile::new(incoming, THEM, &mut broken);
        if stat.as_ref().is_some_and(goes_on) {
            sent = sent.after(Parts::Ordered(outgoing));
        }
        let result = carry_out(site, digests, (op, &job), offer, (&mut sent, &handles));
        let is_over = result.is_err() && size.is_some_and(|size| size > LARGE_BYTES);
        if size.is_some() && !is_over {
            sent.skip();
        }
        acted.push((op, job, result));
        if let Some(broken) = broken {
            return Err(broken);
        }
        if is_over {
            break;
        }
    }
    outcome(site, acted, durable, &handles, outgoing)
}

/// Brings acts to their end, and says what became of them.
pub(super) fn outcome(
    site: &Site,
    mut acted: Vec<(OpId, Job, Result<Applied, ApplyError>)>,
    durable: Option<u64>,
    handles: &Handles,
    outgoing: &Outgoing,
) -> Result<(), Broken> {
    let results = acted.iter_mut().map(|(_, job, result)| (&*job, result));
    disown(&site.root, results, handles);
    let ended = acted.into_iter().map(|(op, job, result)| {
        let kept = match &result {
            Ok(applied) => applied.kept,
            Err(_) => left_by(site, op, &job),
        };
        Ended { result: result.map_err(|error| Failure::of(&error)), kept }
    });
    let ended = ended.collect();
    let durable = durable.map_or(Flushed::No, |mark| site.flush(mark));
    outgoing.say(&Reply::Outcome(Outcome { ended, durable }))?;
    outgoing.end()
}

fn carry_out(
    site: &Site,
    digests: &dyn KnownDigests,
    (op, job): (OpId, &Job),
    offer: Offer,
    (sent, handles): (&mut SentFile<'_>, &Handles),
) -> Result<Applied, ApplyError> {
    let said = offer.map_err(|failure| failure.error(THEM))?;
    let store = site.store.as_ref().map_err(|errno| unwritable(*errno))?;
    let target = Target { root: &site.root, store, op, digests };
    act(job, Given::Sent(&said, sent), target, handles, &Control::default())
}

/// Why nothing can be written to a replica.
pub(in crate::sinks) fn unwritable(errno: i32) -> ApplyError {
    ApplyError::Io {
        what: "write to this replica",
        source: std::io::Error::from_raw_os_error(errno),
    }
}

/// What a job that failed displaced all the same.
fn left_by(site: &Site, op: OpId, job: &Job) -> Option<Value> {
    let intent = intent_of(job, [0; 16])?;
    let store = site.store.as_ref().ok()?;
    left::left(&site.root, store, op, &job.path, intent.old, intent.new)
}

/// Says what this end has for each job that is asked about on a stream.
///
/// # Errors
/// The stream broke.
pub fn serve_offers(
    root: &Root,
    digests: &dyn KnownDigests,
    (incoming, outgoing): (&mut Incoming, &Outgoing),
) -> Result<(), Broken> {
    let count: u32 = incoming.expect(MESSAGE_MAX)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= JOBS_MAX);
    let count =
        count.ok_or_else(|| Broken::Garbled("more jobs than a batch can have".to_owned()))?;
    // All of them first: they would have nobody to listen while they ask.
    let jobs = (0..count).map(|_| incoming.expect::<Job>(MESSAGE_MAX));
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    offer_all(&jobs, root, digests, (Some(incoming), outgoing))?;
    outgoing.end()
}

/// Says of each job what this end has for it. `incoming` says what is there of large files; without it they are sent whole.
pub(super) fn offer_all(
    jobs: &[Job],
    root: &Root,
    digests: &dyn KnownDigests,
    (mut incoming, outgoing): (Option<&mut Incoming>, &Outgoing),
) -> Result<(), Broken> {
    let (handles, control) = (Handles::default(), Control::default());
    for job in jobs {
        let offer = |said: Result<Said, Failure>| outgoing.say::<Offer>(&said);
        match word(job, root, None, &handles) {
            Ok(Word::Said(said)) => offer(Ok(said))?,
            Ok(Word::File(sending)) => {
                let stat = *sending.stat();
                offer(Ok(Said::File(stat)))?;
                let part = match incoming.as_deref_mut().filter(|_| goes_on(&stat)) {
                    Some(incoming) => {
                        outgoing.flush()?;
                        let Some(part) = incoming.expect::<Wanted>(MESSAGE_MAX)? else { continue };
                        Some(part)
                    }
                    None => None,
                };
                send_word(outgoing, *sending, part, digests, &control)?;
            }
            Err(error) => offer(Err(Failure::of(&error)))?,
        }
    }
    Ok(())
}

/// Marks a replica and flushes it to disk, and says whether it is.
///
/// # Errors
/// The stream broke.
pub fn serve_flush(site: &Site, mark: u64, outgoing: &Outgoing) -> Result<(), Broken> {
    outgoing.say(&site.flush(mark))?;
    outgoing.end()
}
