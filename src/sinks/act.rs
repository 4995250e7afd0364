//! One job, carried out at its target by what its other end has or says.

use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::Value;
use crate::sinks::apply::{
    self, Applied, ApplyError, Bytes, Control, End, Handles, Origin, Other, Said, Sending, Still,
    Target,
};
use crate::sinks::transfer::{is_metadata_only, writes_to};
use crate::sys::Root;

/// What a job's other end gives.
pub(super) enum Given<'a> {
    Here(&'a Root, Option<Still>),
    /// What another machine says; its bytes, if that is a file.
    Sent(&'a Said, &'a mut dyn Bytes),
}

/// Carries out one job.
///
/// # Errors
/// As those of [`apply`].
pub(super) fn act(
    job: &Job,
    given: Given<'_>,
    target: Target<'_>,
    handles: &Handles,
    control: &Control,
) -> Result<Applied, ApplyError> {
    let path = &job.path;
    let (other, origin) = match given {
        Given::Here(root, still) => {
            (Other::Here(root), Some(still.map_or(Origin::Live(root), Origin::Still)))
        }
        Given::Sent(said, bytes) => {
            let is_file = if let Said::File(stat) = said { Some(*stat) } else { None };
            (Other::Said(said), is_file.map(|stat| Origin::Sent(stat, bytes)))
        }
    };
    match &job.op {
        Op::Put { new, expect, .. } => {
            let expect = expect.as_ref();
            if let Some(expect) = expect.filter(|e| is_metadata_only(new, Some(e))) {
                return apply::set_metadata(target, path, new, expect, control);
            }
            match new {
                Value::File(new) => {
                    let from = origin.ok_or(ApplyError::Stale(End::From))?;
                    apply::put_file((from, handles), target, path, new, expect, control)
                }
                Value::Dir { mode } => {
                    apply::make_dir((other, handles), target, path, *mode, expect, control)
                }
                Value::Symlink { .. } => {
                    apply::put_symlink((other, handles), target, path, new, expect, control)
                }
                Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. } | Value::Remnant => {
                    Err(ApplyError::Stale(End::From))
                }
            }
        }
        Op::Move { source_path, expect, new, .. } => {
            let other = (other, handles);
            apply::move_within(other, target, source_path, path, expect, new, control)
        }
        Op::Delete { expect, .. } => apply::delete(other, target, path, expect, control),
        Op::Agree { .. } | Op::Read { .. } => Ok(Applied::default()),
    }
}

/// What a root has to say to another machine about a job.
pub(super) enum Word {
    Said(Said),
    File(Box<Sending>),
}

/// Asks the other end of a job, which is here, for what it gives.
///
/// # Errors
/// It is not what the job was made from, or the system refused.
pub(super) fn word(
    job: &Job,
    root: &Root,
    still: Option<Still>,
    handles: &Handles,
) -> Result<Word, ApplyError> {
    let said = match &job.op {
        Op::Put { new, expect, .. } if is_metadata_only(new, expect.as_ref()) => Said::Nothing,
        Op::Put { new: Value::File(new), .. } => {
            let origin = still.map_or(Origin::Live(root), Origin::Still);
            let sending = apply::send_file((origin, handles), &job.path, new)?;
            return Ok(Word::File(Box::new(sending)));
        }
        Op::Put { new, .. } => apply::say_entry(root, &job.path, new)?,
        Op::Move { source_path, .. } => apply::say_lacks(root, source_path)?,
        Op::Delete { .. } => apply::say_lacks(root, &job.path)?,
        Op::Agree { .. } | Op::Read { .. } => Said::Nothing,
    };
    Ok(Word::Said(said))
}

/// What was put into a directory that by then a user had given another name is not at its path, and nothing is agreed on
/// there: it would count as the user's delete.
pub(super) fn disown<'a>(
    root: &Root,
    acted: impl Iterator<Item = (&'a Job, &'a mut Result<Applied, ApplyError>)>,
    handles: &Handles,
) {
    let left = handles.left(root);
    if left.is_empty() {
        return;
    }
    let is_left = |path: &RelPath| path.split().is_some_and(|(dir, _)| left.contains(&dir));
    for (job, result) in acted {
        let places = matches!(job.op, Op::Put { .. } | Op::Move { .. });
        if places && writes_to(job).is_some() && result.is_ok() && is_left(&job.path) {
            *result = Err(ApplyError::Stale(End::To));
        }
    }
}
