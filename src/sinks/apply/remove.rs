//! Takes names away: a delete is a rename into the store, a move a rename through it.

use std::io;

use super::check::{expected, held};
use super::error::{ApplyError, End};
use super::file::gone_or_at;
use super::other::Other;
use super::place::writable;
use super::staged::as_placed;
use super::{Applied, Control, Handles, Target, is_at};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content, Value};
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};
use crate::sys::{self, Dir, Kind, Stat};

/// Displaces what `path` holds, because `because` lacks it.
///
/// # Errors
/// The other replica has it again or is not there, what would go is not what the job expects, a directory is not
/// empty, or the system refused.
pub fn delete<'a>(
    because: impl Into<Other<'a>>,
    target: Target<'_>,
    path: &RelPath,
    expect: &Value,
    control: &Control,
) -> Result<Applied, ApplyError> {
    because.into().lacks(path)?;
    let (parent, name) = target
        .root
        .open_parent(path)
        .map_err(gone_or_at(End::To, "open the directory it is in"))?;
    let name = name.as_bytes();
    let Some(stat) = expected(&parent, name, Some(expect), target.digests, control)? else {
        return Err(ApplyError::Stale(End::To));
    };
    if stat.kind == Kind::Dir {
        writable(&parent, || parent.remove_dir(name)).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::ENOTEMPTY | libc::EEXIST) => ApplyError::NotEmpty,
                Some(libc::ENOENT | libc::ENOTDIR) => ApplyError::Stale(End::To),
                _ => ApplyError::Io { what: "remove the directory", source },
            }
        })?;
        return Ok(Applied::default());
    }
    displace(target, path, &parent, &stat, expect, control)?;
    Ok(Applied { kept: Some(*expect), ..Applied::default() })
}

/// Moves what is at `path`, in `parent`, and was just looked at into the store; anything else that comes out is put back,
/// and so is what a user moved elsewhere meanwhile, with its directory.
pub(super) fn displace(
    target: Target<'_>,
    path: &RelPath,
    parent: &Dir,
    stat: &Stat,
    value: &Value,
    control: &Control,
) -> Result<(), ApplyError> {
    if control.is_cancelled() {
        return Err(ApplyError::Cancelled);
    }
    let Some((dir, name)) = path.split() else { return Err(ApplyError::Stale(End::To)) };
    let name = name.as_bytes();
    let leased = held(parent, name, stat)?;
    let store = target.store.dir();
    let kept = target.op.name();
    writable(parent, || parent.rename_to_own(name, store, &kept))
        .map_err(gone_or_at(End::To, "move it out of the tree"))?;
    let out = store.stat(&kept).ok().flatten();
    #[cfg(test)]
    if has(Fault::UncheckedAfter) {
        return Ok(());
    }
    if out.is_some_and(|out| out.is_same_object(stat))
        && (target.root.caps().ctime_grain_ns == 0
            || still(target, value, control).unwrap_or(false))
        && !leased.is_broken()
        && is_at(target.root, &dir, parent).unwrap_or(false)
    {
        return Ok(());
    }
    match writable(parent, || store.rename_new(&kept, parent, name)) {
        Ok(()) => Err(ApplyError::Stale(End::To)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(ApplyError::Surprise),
        Err(source) => Err(ApplyError::Io { what: "put it back", source }),
    }
}

/// Where the clock is too coarse to show a write in that moment, the bytes are read once more.
fn still(target: Target<'_>, value: &Value, control: &Control) -> Result<bool, ApplyError> {
    let Value::File(file) = value else { return Ok(true) };
    let Some(digest) = file.content.digest() else { return Ok(true) };
    let mut open =
        target.store.dir().open_read(&target.op.name()).map_err(ApplyError::io("read it"))?;
    let now = super::digest_of(&mut open, control).map_err(super::check::reading)?;
    Ok(now == Some(digest))
}

/// Renames `source_path`, which is `expect`, to `path`, which is free, and makes it `new`.
///
/// # Errors
/// As for a delete and a new file; whatever happens, the file has one of the two names or is kept.
pub fn move_within<'a>(
    (because, handles): (impl Into<Other<'a>>, &Handles),
    target: Target<'_>,
    source_path: &RelPath,
    path: &RelPath,
    expect: &Value,
    new: &Value,
    control: &Control,
) -> Result<Applied, ApplyError> {
    because.into().lacks(source_path)?;
    let opened = target.root.open_parent(source_path);
    let failed = gone_or_at(End::To, "open the directory it is in");
    let (old_parent, old_name) = opened.map_err(failed)?;
    let (parent, name) = handles.target(target.root, path)?;
    let (old_name, name) = (old_name.as_bytes(), name.as_bytes());
    expected(&parent, name, None, target.digests, control)?;
    let Some(stat) = expected(&old_parent, old_name, Some(expect), target.digests, control)? else {
        return Err(ApplyError::Stale(End::To));
    };
    displace(target, source_path, &old_parent, &stat, expect, control)?;
    let store = target.store.dir();
    let staged = target.op.name();
    let placed = set_as(store, &staged, new)
        .and_then(|()| writable(&parent, || store.rename_new(&staged, &parent, name)));
    if let Err(source) = placed {
        return match writable(&old_parent, || store.rename_new(&staged, &old_parent, old_name)) {
            Ok(()) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(ApplyError::Stale(End::To))
            }
            Ok(()) => Err(ApplyError::Io { what: "give it its new name", source }),
            Err(_) => Err(ApplyError::Surprise),
        };
    }
    let there = parent.stat(name).map_err(ApplyError::io("look at it in its place"))?;
    let to_now = match (new, there) {
        (Value::File(new), Some(there)) => {
            let content = expect.digest().map_or(Content::unread(0), Content::known);
            let placed = value::File { content, ..*new };
            let is_moved = (there.dev, there.ino) == (stat.dev, stat.ino);
            Some(if is_moved { as_placed(target, &there, &placed) } else { Value::File(placed) })
        }
        (_, Some(_)) => Some(*expect),
        (_, None) => None,
    };
    Ok(Applied { to_now, ..Applied::default() })
}

fn set_as(dir: &Dir, name: &[u8], new: &Value) -> io::Result<()> {
    let Value::File(file) = new else { return Ok(()) };
    let open = dir.open_read(name)?;
    sys::set_mode(&open, file.mode)?;
    sys::set_mtime(&open, file.mtime)
}
