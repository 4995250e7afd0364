//! Replaces what has a name.
//!
//! Holds: what comes out is looked at after it came out, and goes back if it is not what the job expects; so is what that
//! brings out. A name that somebody gives to something else meanwhile is never taken from that.

use std::io;

use super::aside::aside_name;
use super::check::{held, is_value};
use super::error::{ApplyError, End};
use super::file::gone_or_at;
use super::place::writable;
use super::{Control, KnownDigests, Target};
use crate::dataflow::model::value::{Digest, Value};
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};
use crate::sys::{Dir, Kind, Leased, Stat};

/// What was looked at and is to be replaced: its stat, and the value that it is.
struct Seen<'a> {
    stat: &'a Stat,
    value: &'a Value,
    /// A writer that opens it has to wait until it is back or known to be what was looked at.
    leased: Leased,
}

/// Gives `name` what is staged; what had it gets the staged name.
pub(super) fn exchange(
    target: Target<'_>,
    parent: &Dir,
    name: &[u8],
    stat: &Stat,
    value: &Value,
    control: &Control,
) -> Result<(), ApplyError> {
    let seen = Seen { stat, value, leased: held(parent, name, stat)? };
    let store = target.store.dir();
    let staged = target.op.name();
    let ours = store.stat(&staged).map_err(ApplyError::io("look at what is staged"))?;
    if !writable(parent, || store.exchange(&staged, parent, name))
        .map_err(gone_or_at(End::To, "swap it with what it replaces"))?
    {
        return replace_by_turns(target, parent, name, &seen, control);
    }
    let Err(why) = seen.came_out(target, &staged, control) else { return Ok(()) };
    // Back to how it was.
    let Ok(true) = store.exchange(&staged, parent, name) else { return Err(ApplyError::Surprise) };
    let out = store.stat(&staged).ok().flatten();
    match out.zip(ours).is_some_and(|(out, ours)| out.is_same_object(&ours)) {
        true => Err(why),
        // Somebody wrote to it while it had the name, or gave that to something else: his is the name.
        false => {
            drop(store.exchange(&staged, parent, name));
            Err(ApplyError::Surprise)
        }
    }
}

/// Where two names cannot be swapped: the old file is moved out, and the new one gets the name if that is still free.
///
/// For that moment nothing has the name. A crash in it leaves the old file in the store; recovery puts it back.
fn replace_by_turns(
    target: Target<'_>,
    parent: &Dir,
    name: &[u8],
    seen: &Seen<'_>,
    control: &Control,
) -> Result<(), ApplyError> {
    let store = target.store.dir();
    let (staged, aside) = (target.op.name(), aside_name(target.op));
    writable(parent, || parent.rename_to_own(name, store, &aside))
        .map_err(gone_or_at(End::To, "move what it replaces out of the tree"))?;
    let placed = seen.came_out(target, &aside, control).and_then(|()| {
        writable(parent, || store.rename_new(&staged, parent, name)).map_err(|source| {
            ApplyError::Io { what: "give it the name of what it replaces", source }
        })
    });
    let kept = || store.rename_over(&aside, store, &staged);
    let Err(why) = placed else {
        return kept().map_err(ApplyError::io("keep what it replaces"));
    };
    match writable(parent, || store.rename_new(&aside, parent, name)) {
        Ok(()) => Err(why),
        // The name is somebody's by now: what had it is kept.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            kept().map_err(ApplyError::io("keep what it replaces")).and(Err(ApplyError::Surprise))
        }
        // It is tried once more when the operation ends.
        Err(source) => Err(ApplyError::Io { what: "put it back", source }),
    }
}

impl Seen<'_> {
    /// Whether what is in the store under `name` now, moved there from its place, is what was looked at.
    fn came_out(
        &self,
        target: Target<'_>,
        name: &[u8],
        control: &Control,
    ) -> Result<(), ApplyError> {
        let out = target.store.dir().stat(name);
        let out = out.map_err(ApplyError::io("look at what it replaces"))?;
        let is_same = match out {
            Some(out) => self.is(target, name, &out, control)?,
            None => false,
        };
        match is_same && !self.leased.is_broken() {
            true => Ok(()),
            // Somebody was faster.
            false => Err(ApplyError::Stale(End::To)),
        }
    }

    /// Whether this is the same object, its bytes read where time cannot tell.
    fn is(
        &self,
        target: Target<'_>,
        name: &[u8],
        out: &Stat,
        control: &Control,
    ) -> Result<bool, ApplyError> {
        #[cfg(test)]
        if has(Fault::UncheckedAfter) {
            return Ok(true);
        }
        if !out.is_same_object(self.stat) {
            return Ok(false);
        }
        let grain = target.root.caps().ctime_grain_ns;
        let settled = grain == 0 || out.ctime_ns.saturating_sub(out.mtime_ns) > 2 * grain;
        // Unless it was written within a tick of the clock of now: then only its bytes can tell.
        if settled || out.kind != Kind::File || self.value.digest().is_none() {
            return Ok(true);
        }
        is_value(target.store.dir(), name, out, self.value, &Nothing, control)
    }
}

/// Knows no file: every answer comes from its bytes.
struct Nothing;

impl KnownDigests for Nothing {
    fn digest(&self, _: &Stat) -> Option<Digest> {
        None
    }
    fn record(&self, _: &Stat, _: Digest, _: i64) {}
}
