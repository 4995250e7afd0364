//! Carries out the jobs of a group of files as one: all of them from one moment, or none.
//!
//! Holds: all content is staged first; nothing is placed unless every file of the group, those without a job included,
//! still is at both ends what was known, and at the origin was so from before the first byte was read until after the
//! last; then all is placed, one right after another, by the swaps of single files. What was placed when one of them
//! fails stays, and nothing more is.

use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{self, Value};
use crate::sinks::apply::{
    self, Applied, ApplyError, Control, End, Handles, Origin, StagedFile, Target, is_as_known,
};
use crate::sinks::batch::end_here;
use crate::sinks::stage::OpId;
use crate::sinks::transfer::{Assigned, Done, Shop, carry, is_metadata_only};
use crate::sys::{Kind, Root, Stat};

/// A file of a group, with a job or without, as it is known at both ends.
pub struct Member {
    pub path: RelPath,
    pub at_origin: Option<Value>,
    pub at_target: Option<Value>,
}

/// The jobs of a group, which all go from one replica to another.
pub struct Unit<K> {
    /// In the order in which they are placed.
    pub jobs: Vec<Assigned<K>>,
    pub origin: Replica,
    pub target: Replica,
    /// All names that the group can have.
    pub members: Vec<Member>,
}

pub(super) type Acted = Vec<Result<Applied, ApplyError>>;

/// Carries out a unit; every job of it is answered.
pub fn carry_out<K>(shop: &Shop, unit: Unit<K>) -> Vec<Done<K>> {
    let Unit { jobs, origin, target, members } = unit;
    let whole = Whole { shop, members, origin, target };
    carry(shop, jobs, |jobs, ops| {
        let handles = Handles::default();
        if let Some(far) = shop.far(target) {
            return whole.order(far, jobs, ops, &handles);
        }
        let results = match shop.far(origin) {
            Some(far) => whole.act_on_offers(far, jobs, ops, &handles),
            None => whole.act(jobs, ops, &handles),
        };
        end_here(shop, jobs, ops, results, &handles)
    })
}

/// A name of a group, and what is known of it at one end.
pub(super) type Known = (RelPath, Option<Value>);

/// Looks at all files of a group at one end, which have to be what is known of them.
pub(super) fn look(
    root: &Root,
    end: End,
    known: &[Known],
) -> Result<Vec<Option<Stat>>, ApplyError> {
    let look = |(path, known): &Known| {
        let stat = apply::found(root, path).map_err(ApplyError::io("look at it"))?;
        let is_it = is_as_known(stat.as_ref(), known.as_ref());
        is_it.then_some(stat).ok_or(ApplyError::Stale(end))
    };
    known.iter().map(look).collect()
}

/// Looks once more; nothing may have changed since.
pub(super) fn have_rested(
    root: &Root,
    known: &[Known],
    before: &[Option<Stat>],
) -> Result<(), ApplyError> {
    let after = look(root, End::From, known)?;
    let unchanged = |(before, after): (&Option<Stat>, &Option<Stat>)| match (before, after) {
        // What comes and goes in a directory is not of the group.
        (Some(before), Some(after)) if before.kind == Kind::Dir => after.kind == Kind::Dir,
        (Some(before), Some(after)) => after.is_unchanged(before),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    before.iter().zip(&after).all(unchanged).then_some(()).ok_or(ApplyError::Torn)
}

/// What takes long, or may fail for good, is done before the first file is placed.
pub(super) fn check_target(
    target: Target<'_>,
    job: &Job,
    control: &Control,
) -> Result<(), ApplyError> {
    let (Op::Put { expect: Some(expect), .. } | Op::Delete { expect, .. }) = &job.op else {
        return Ok(());
    };
    if expect.is_dir() {
        apply::is_empty(target, &job.path)?;
    }
    apply::has_expected(target, &job.path, expect, control)
}

/// The file that a job of a group brings, if its bytes are to be staged; the rest is done in one call when its turn comes.
pub(super) fn brings(job: &Job) -> Option<(&value::File, Option<&Value>)> {
    let Op::Put { new: Value::File(new), expect, .. } = &job.op else { return None };
    let expect = expect.as_ref();
    (!is_metadata_only(&Value::File(*new), expect)).then_some((new, expect))
}

struct Whole<'a> {
    shop: &'a Shop,
    members: Vec<Member>,
    origin: Replica,
    target: Replica,
}

impl Whole<'_> {
    fn act<K>(&self, jobs: &[Assigned<K>], ops: &[OpId], handles: &Handles) -> Acted {
        let staged = match self.stage(jobs, ops, handles) {
            Ok(staged) => staged,
            Err((at, error)) => return failed(jobs.len(), at, error),
        };
        // From here on it is carried to its end: a half is worth less than all of what is no longer asked for.
        let goes_on = Control::default();
        let mut acted: Acted = Vec::with_capacity(jobs.len());
        for ((assigned, op), staged) in jobs.iter().zip(ops).zip(staged) {
            let stopped = acted.last().is_some_and(Result::is_err);
            acted.push(match staged {
                _ if stopped => Err(ApplyError::Together),
                Some(staged) => staged.place(handles, &goes_on),
                None => self.shop.act(&assigned.job, *op, handles, &goes_on, None),
            });
        }
        acted
    }

    /// Brings all content over and makes sure that it is of one moment. The place of the job that could not be, if it was
    /// one, and why.
    fn stage<'a, K>(
        &'a self,
        jobs: &'a [Assigned<K>],
        ops: &[OpId],
        handles: &Handles,
    ) -> Result<Vec<Option<StagedFile<'a>>>, (Option<usize>, ApplyError)> {
        let at_all = |error| (None, error);
        let from = self.shop.root(self.origin).map_err(at_all)?;
        let to = self.shop.root(self.target).map_err(at_all)?;
        let known = self.at_origin();
        let before = look(from, End::From, &known).map_err(at_all)?;
        let mut staged = Vec::with_capacity(jobs.len());
        for (at, (assigned, op)) in jobs.iter().zip(ops).enumerate() {
            let one = self.stage_one(from, assigned, *op, handles);
            staged.push(one.map_err(|error| (Some(at), error))?);
        }
        for (at, (assigned, op)) in jobs.iter().zip(ops).enumerate() {
            let target = self.shop.target(self.target, *op);
            let checked = target.and_then(|t| check_target(t, &assigned.job, &assigned.control));
            checked.map_err(|error| (Some(at), error))?;
        }
        have_rested(from, &known, &before).map_err(at_all)?;
        look(to, End::To, &self.at_target()).map_err(at_all)?;
        let cancelled = jobs.iter().position(|assigned| assigned.control.is_cancelled());
        match cancelled {
            Some(at) => Err((Some(at), ApplyError::Cancelled)),
            None => Ok(staged),
        }
    }

    /// Stages what has bytes; the rest is done in one call when its turn comes.
    fn stage_one<'a, K>(
        &'a self,
        from: &Root,
        assigned: &'a Assigned<K>,
        op: OpId,
        handles: &Handles,
    ) -> Result<Option<StagedFile<'a>>, ApplyError> {
        let Assigned { job, control, .. } = assigned;
        if control.is_cancelled() {
            return Err(ApplyError::Cancelled);
        }
        let Some((new, expect)) = brings(job) else { return Ok(None) };
        let (target, origin) = (self.shop.target(self.target, op)?, (Origin::Live(from), handles));
        apply::stage_file(origin, target, &job.path, new, expect, control).map(Some)
    }

    fn at_origin(&self) -> Vec<Known> {
        self.members.iter().map(|member| (member.path.clone(), member.at_origin)).collect()
    }

    fn at_target(&self) -> Vec<Known> {
        self.members.iter().map(|member| (member.path.clone(), member.at_target)).collect()
    }
}

/// Nothing was placed: for one job's own reason, or for one of all.
pub(super) fn failed(jobs: usize, at: Option<usize>, error: ApplyError) -> Acted {
    let other = || match (at, &error) {
        (None, ApplyError::Stale(end)) => ApplyError::Stale(*end),
        (None, ApplyError::Torn) => ApplyError::Torn,
        _ => ApplyError::Together,
    };
    let mut acted: Acted = (0..jobs).map(|_| Err(other())).collect();
    if let Some(own) = acted.get_mut(at.unwrap_or(0)) {
        *own = Err(error);
    }
    acted
}

mod far;
mod sent;
#[cfg(test)]
mod tests;

pub(super) use sent::act_on_sent;
