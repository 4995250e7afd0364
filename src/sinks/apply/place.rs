//! Gives a name something new: a file, a symlink, a directory, or other metadata. What replaces a file is swapped in
//! (`swap`).

use std::io;

use super::check::{expected, target_digest, value_of};
use super::error::{ApplyError, End};
use super::file::gone_or_at;
use super::other::Other;
use super::swap::exchange;
use super::{Applied, Control, Handles, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content, Value};
use crate::sys::{self, Dir, File, Kind, Leased, Stat};

/// Gives `name` what is staged. `there`: what it replaces, as it was just looked at, and the value that it is.
///
/// Returns what was displaced, which then has the staged name.
pub(super) fn swap_in(
    target: Target<'_>,
    parent: &Dir,
    name: &[u8],
    there: Option<(Stat, &Value)>,
    control: &Control,
) -> Result<Option<Value>, ApplyError> {
    match there {
        None => {
            place_new(target, parent, name)?;
            Ok(None)
        }
        Some((stat, _)) if stat.kind == Kind::Dir => {
            writable(parent, || parent.remove_dir(name)).map_err(not_empty)?;
            place_new(target, parent, name)?;
            Ok(None)
        }
        Some((stat, value)) => {
            exchange(target, parent, name, &stat, value, control)?;
            Ok(Some(*value))
        }
    }
}

fn not_empty(source: io::Error) -> ApplyError {
    match source.raw_os_error() {
        Some(libc::ENOTEMPTY | libc::EEXIST) => ApplyError::NotEmpty,
        Some(libc::ENOENT | libc::ENOTDIR) => ApplyError::Stale(End::To),
        _ => ApplyError::Io { what: "remove the directory", source },
    }
}

fn place_new(target: Target<'_>, parent: &Dir, name: &[u8]) -> Result<(), ApplyError> {
    writable(parent, || target.store.dir().rename_new(&target.op.name(), parent, name))
        .map_err(|source| taken_or(parent, name, source))
}

/// Gives `name` to what was staged without one.
pub(super) fn place_unnamed(
    target: Target<'_>,
    file: &File,
    parent: &Dir,
    name: &[u8],
) -> Result<(), ApplyError> {
    writable(parent, || target.store.give_name(file, parent, name))
        .map_err(|source| taken_or(parent, name, source))
}

fn taken_or(parent: &Dir, name: &[u8], source: io::Error) -> ApplyError {
    if source.kind() != io::ErrorKind::AlreadyExists {
        return ApplyError::Io { what: "give it its name", source };
    }
    match parent.stat(name) {
        Ok(None) if parent.found(name).is_ok_and(|found| found.is_some()) => ApplyError::Clash,
        _ => ApplyError::Stale(End::To),
    }
}

/// Runs an act on the names of a directory; one that its owner may not write is made writable for the act alone.
pub(super) fn writable<T>(dir: &Dir, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mode = dir.fstat()?.mode;
            if mode & 0o300 == 0o300 || sys::set_mode(dir, mode | 0o300).is_err() {
                return Err(error);
            }
            let result = act();
            sys::set_mode(dir, mode)?;
            result
        }
        result => result,
    }
}

/// Makes the directory that is at `from`. `expect`: a file or symlink that gives way to it and is kept.
///
/// # Errors
/// As for a file.
pub fn make_dir<'a>(
    (from, handles): (impl Into<Other<'a>>, &Handles),
    target: Target<'_>,
    path: &RelPath,
    mode: u16,
    expect: Option<&Value>,
    control: &Control,
) -> Result<Applied, ApplyError> {
    let from = from.into();
    let (parent, name) = handles.target(target.root, path)?;
    let name = name.as_bytes();
    let there = expected(&parent, name, expect, target.digests, control)?;
    let kept = match there.zip(expect) {
        None => None,
        Some((stat, value)) => {
            // An empty directory too many does no harm; what gives way to one does.
            from.dir_mode(path)?.ok_or(ApplyError::Stale(End::From))?;
            super::remove::displace(target, path, &parent, &stat, value, control)?;
            Some(*value)
        }
    };
    let stat = match new_dir(&parent, name, mode) {
        Ok(stat) => stat,
        Err(error) => {
            let back = || target.store.dir().rename_new(&target.op.name(), &parent, name);
            return match kept.is_some() && writable(&parent, back).is_err() {
                true => Err(ApplyError::Surprise),
                false => Err(error),
            };
        }
    };
    // Made as it was asked for; whether it still is asked for, the origin tells now.
    let from_now = from.dir_mode(path).ok().flatten().map(|mode| Value::Dir { mode });
    Ok(Applied { from_now, to_now: Some(Value::Dir { mode: stat.mode }), kept })
}

/// Makes a directory with this mode, or nothing.
fn new_dir(parent: &Dir, name: &[u8], mode: u16) -> Result<Stat, ApplyError> {
    writable(parent, || parent.make_dir(name, mode | 0o700)).map_err(|source| {
        match source.kind() == io::ErrorKind::AlreadyExists {
            true => taken_or(parent, name, source),
            false => ApplyError::Io { what: "make the directory", source },
        }
    })?;
    let finish = || {
        let made = parent.stat(name).map_err(ApplyError::io("look at the new directory"))?;
        match made {
            Some(made) if made.kind == Kind::Dir && made.mode == mode => return Ok(made),
            Some(made) if made.kind == Kind::Dir => {}
            // Somebody was faster.
            Some(_) | None => return Err(ApplyError::Stale(End::To)),
        }
        let made = parent.open_child(name).map_err(ApplyError::io("open the new directory"))?;
        sys::set_mode(&made, mode).map_err(ApplyError::io("set the directory's mode"))?;
        made.fstat().map_err(ApplyError::io("look at the new directory"))
    };
    finish().inspect_err(|_| {
        // One that somebody has put something in by now stays.
        drop(writable(parent, || parent.remove_dir(name)));
    })
}

/// Gives `path` the symlink it has at `from`.
///
/// # Errors
/// As for a file.
pub fn put_symlink<'a>(
    (from, handles): (impl Into<Other<'a>>, &Handles),
    target: Target<'_>,
    path: &RelPath,
    new: &Value,
    expect: Option<&Value>,
    control: &Control,
) -> Result<Applied, ApplyError> {
    let text = from.into().symlink(path)?;
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let now = Value::Symlink { target: target_digest(&text), len };
    if now != *new {
        return Err(ApplyError::Stale(End::From));
    }
    let (parent, name) = handles.target(target.root, path)?;
    let there = expected(&parent, name.as_bytes(), expect, target.digests, control)?;
    let store = target.store.dir();
    store.make_symlink(&text, &target.op.name()).map_err(ApplyError::io("make the symlink"))?;
    let kept = swap_in(target, &parent, name.as_bytes(), there.zip(expect), control);
    if kept.is_err() {
        // Unless something displaced has the name by now, it is ours.
        let ours = store.readlink(&target.op.name()).is_ok_and(|now| now == text);
        if ours {
            drop(target.store.remove(target.op));
        }
    }
    Ok(Applied { from_now: Some(now), to_now: Some(now), kept: kept? })
}

/// Sets mode and mtime of what has the right content already.
///
/// # Errors
/// It is not what the job expects, or the system refused.
pub fn set_metadata(
    target: Target<'_>,
    path: &RelPath,
    new: &Value,
    expect: &Value,
    control: &Control,
) -> Result<Applied, ApplyError> {
    let (parent, name) = target
        .root
        .open_parent(path)
        .map_err(gone_or_at(End::To, "open the directory it is in"))?;
    let name = name.as_bytes();
    let there = expected(&parent, name, Some(expect), target.digests, control)?;
    match new {
        Value::File(file) => set_file_metadata(target, &parent, name, file, there, expect),
        Value::Dir { mode } => {
            parent.set_mode(name, *mode).map_err(ApplyError::io("set its mode"))?;
            let stat = parent.stat(name).map_err(ApplyError::io("look at it"))?;
            let to_now = stat.map(|stat| value_of(&stat, Content::unread(0)));
            Ok(Applied { to_now, ..Applied::default() })
        }
        Value::Symlink { .. }
        | Value::Ignored
        | Value::Skipped(_)
        | Value::Unreadable { .. }
        | Value::Remnant => Err(ApplyError::Stale(End::To)),
    }
}

/// Its digest is kept only where no write can have come between the look at it and the new time, which would hide it.
fn set_file_metadata(
    target: Target<'_>,
    parent: &Dir,
    name: &[u8],
    new: &value::File,
    seen: Option<Stat>,
    expect: &Value,
) -> Result<Applied, ApplyError> {
    let open = || parent.open_read(name).map_err(gone_or_at(End::To, "open it"));
    let file = open()?;
    let leased = sys::lease(open()?);
    let look = || sys::fstat(&file).map_err(ApplyError::io("look at it"));
    let now = look()?;
    if !seen.is_some_and(|seen| now.is_same_object(&seen) && now.is_unchanged(&seen)) {
        return Err(ApplyError::Stale(End::To));
    }
    sys::set_mtime(&file, new.mtime).map_err(ApplyError::io("set its time"))?;
    sys::set_mode(&file, new.mode).map_err(ApplyError::io("set its mode"))?;
    let stat = look()?;
    let known = match leased {
        Leased::Writing => None,
        Leased::Held(_) | Leased::Unknown => expect.digest(),
    };
    let content = known.map_or(Content::unread(stat.identity()), Content::known);
    if let Some(digest) = known {
        target.digests.record(&stat, digest, sys::now_ns());
    }
    Ok(Applied { to_now: Some(value_of(&stat, content)), ..Applied::default() })
}
