//! A group that is acted on here, by what another machine sends of its other end.

use crate::dataflow::model::job::Job;
use crate::dataflow::model::value::Digest;
use crate::sinks::act::{Given, act};
use crate::sinks::apply::{
    self, ApplyError, Bytes, Control, End, Handles, Origin, Said, StagedFile, Target,
};
use crate::sinks::far::Fetched;
use crate::sinks::stage::OpId;
use crate::sinks::unit::{Acted, Known, brings, check_target, failed, look};

/// A job of a group that is sent.
pub(in crate::sinks) type Sent<'a> = (OpId, &'a Job, &'a Control);
type Staged<'a> = Vec<(Said, Option<StagedFile<'a>>)>;

/// Carries out all of a group or nothing, as here between two roots. `known`: all its names with what is known of them at
/// the target.
pub(in crate::sinks) fn act_on_sent<'a>(
    target: &dyn Fn(OpId) -> Result<Target<'a>, ApplyError>,
    known: &[Known],
    jobs: &[Sent<'a>],
    offers: &mut Fetched,
    handles: &Handles,
) -> Acted {
    let staged = match stage(target, known, jobs, offers, handles) {
        Ok(staged) => staged,
        Err((at, error)) => return failed(jobs.len(), at, error),
    };
    let goes_on = Control::default();
    let mut acted = Acted::with_capacity(jobs.len());
    for ((op, job, _), (said, staged)) in jobs.iter().zip(staged) {
        let stopped = acted.last().is_some_and(Result::is_err);
        acted.push(match staged {
            _ if stopped => Err(ApplyError::Together),
            Some(staged) => staged.place(handles, &goes_on),
            None => target(*op).and_then(|target| {
                act(job, Given::Sent(&said, &mut NoBytes), target, handles, &goes_on)
            }),
        });
    }
    acted
}

fn stage<'a>(
    target: &dyn Fn(OpId) -> Result<Target<'a>, ApplyError>,
    known: &[Known],
    jobs: &[Sent<'a>],
    offers: &mut Fetched,
    handles: &Handles,
) -> Result<Staged<'a>, (Option<usize>, ApplyError)> {
    let mut staged = Staged::with_capacity(jobs.len());
    for (at, (op, job, control)) in jobs.iter().enumerate() {
        let mut one = || -> Result<_, ApplyError> {
            let said = offers.next()?;
            let file = match (brings(job), &said) {
                (Some((new, expect)), Said::File(stat)) => {
                    let mut bytes = offers.bytes();
                    let origin = (Origin::Sent(*stat, &mut bytes), handles);
                    Some(apply::stage_file(origin, target(*op)?, &job.path, new, expect, control)?)
                }
                (None, Said::File(_)) | (Some(_), _) => return Err(ApplyError::Stale(End::From)),
                (None, _) => None,
            };
            Ok((said, file))
        };
        staged.push(one().map_err(|error| (Some(at), error))?);
    }
    for (at, (op, job, control)) in jobs.iter().enumerate() {
        let checked = target(*op).and_then(|target| check_target(target, job, control));
        checked.map_err(|error| (Some(at), error))?;
    }
    offers.looked().map_err(|error| (None, error))?;
    if let Some((op, ..)) = jobs.first() {
        let to = target(*op).map_err(|error| (None, error))?;
        look(to.root, End::To, known).map_err(|error| (None, error))?;
    }
    match jobs.iter().position(|(_, _, control)| control.is_cancelled()) {
        Some(at) => Err((Some(at), ApplyError::Cancelled)),
        None => Ok(staged),
    }
}

/// Of a job that brings none.
struct NoBytes;

impl Bytes for NoBytes {
    fn next(&mut self) -> Result<&[u8], ApplyError> {
        Ok(&[])
    }

    fn end(&mut self) -> Result<Option<Digest>, ApplyError> {
        Err(ApplyError::Torn)
    }
}
