//! Is it still what the job expects?

use std::io::{self, Read};

use super::error::{ApplyError, End};
use super::file::gone_or_at;
use super::{Control, KnownDigests, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content, Digest, Special, Value};
use crate::sys::{self, Dir, File, Kind, Leased, Stat};

/// The digest by which a symlink's target text goes.
#[must_use]
pub fn target_digest(text: &[u8]) -> Digest {
    Digest(*blake3::hash(text).as_bytes())
}

/// Hashes an open file from its start; `None` if it changed meanwhile.
///
/// # Errors
/// Reading failed, or the act was cancelled (`Interrupted`).
pub fn digest_of(file: &mut File, control: &Control) -> io::Result<Option<Digest>> {
    let before = sys::fstat(&*file)?;
    let size = usize::try_from(before.size).unwrap_or(usize::MAX);
    let mut buffer = vec![0; size.clamp(1, 256 << 10)];
    let mut hasher = blake3::Hasher::new();
    loop {
        if control.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let same = sys::fstat(&*file)?.is_unchanged(&before);
    Ok(same.then(|| Digest(*hasher.finalize().as_bytes())))
}

/// The value of an object whose content is `content` if it is a file.
#[must_use]
pub fn value_of(stat: &Stat, content: Content) -> Value {
    match stat.kind {
        Kind::File => Value::File(value::File {
            size: stat.size,
            mtime: stat.mtime_ns,
            content,
            mode: stat.mode,
        }),
        Kind::Dir => Value::Dir { mode: stat.mode },
        Kind::Symlink => {
            let target = content.digest().unwrap_or(Digest([0; 32]));
            Value::Symlink { target, len: u16::try_from(stat.size).unwrap_or(u16::MAX) }
        }
        Kind::Fifo => Value::Skipped(Special::Fifo),
        Kind::Socket => Value::Skipped(Special::Socket),
        Kind::Device => Value::Skipped(Special::Device),
    }
}

/// Looks at `name` and makes sure that it is `expect`. Returns its stat, if there is anything.
///
/// A file's bytes are read only where its stat does not tell.
pub(super) fn expected(
    dir: &Dir,
    name: &[u8],
    expect: Option<&Value>,
    digests: &dyn KnownDigests,
    control: &Control,
) -> Result<Option<Stat>, ApplyError> {
    let stat = dir.stat(name).map_err(ApplyError::io("look at what is there"))?;
    let (stat, expect) = match (stat, expect) {
        (None, None) => return Ok(None),
        (Some(stat), Some(expect)) => (stat, expect),
        (Some(_), None) | (None, Some(_)) => return Err(ApplyError::Stale(End::To)),
    };
    if is_value(dir, name, &stat, expect, digests, control)? {
        Ok(Some(stat))
    } else {
        Err(ApplyError::Stale(End::To))
    }
}

/// Whether the object with this stat is that value.
pub(super) fn is_value(
    dir: &Dir,
    name: &[u8],
    stat: &Stat,
    expect: &Value,
    digests: &dyn KnownDigests,
    control: &Control,
) -> Result<bool, ApplyError> {
    match (stat.kind, expect) {
        (Kind::File, Value::File(file)) => {
            if (stat.size, stat.mtime_ns, stat.mode) != (file.size, file.mtime, file.mode) {
                return Ok(false);
            }
            let Some(wanted) = file.content.digest() else {
                return Ok(Content::unread(stat.identity()) == file.content);
            };
            Ok(file_digest(dir, name, stat, digests, control)? == Some(wanted))
        }
        (Kind::Dir, Value::Dir { .. }) => Ok(true),
        (Kind::Symlink, Value::Symlink { target, .. }) => {
            let text = dir.readlink(name).map_err(ApplyError::io("read the symlink"))?;
            Ok(target_digest(&text) == *target)
        }
        (Kind::File | Kind::Dir | Kind::Symlink | Kind::Fifo | Kind::Socket | Kind::Device, _) => {
            Ok(false)
        }
    }
}

/// Makes sure that the target has what a job expects there. Its bytes are read where its stat does not tell, so that a
/// later look need not.
///
/// # Errors
/// It is something else, or cannot be read.
pub fn has_expected(
    target: Target<'_>,
    path: &RelPath,
    expect: &Value,
    control: &Control,
) -> Result<(), ApplyError> {
    let opened = target.root.open_parent(path);
    let (dir, name) = opened.map_err(gone_or_at(End::To, "open the directory it is in"))?;
    expected(&dir, name.as_bytes(), Some(expect), target.digests, control).map(drop)
}

/// Makes sure that nothing is in a directory that is to give way.
///
/// # Errors
/// Something is, or it cannot be told.
pub fn is_empty(target: Target<'_>, path: &RelPath) -> Result<(), ApplyError> {
    let failed = || gone_or_at(End::To, "open the directory that gives way");
    let dir = target.root.open_dir(path).map_err(failed())?;
    match dir.entries().map_err(failed())?.is_empty() {
        true => Ok(()),
        false => Err(ApplyError::NotEmpty),
    }
}

/// Whether a look that found this can have been at that value, as far as can be told without reading. What cannot be
/// carried anyhow may be anything.
#[must_use]
pub fn is_as_known(stat: Option<&Stat>, value: Option<&Value>) -> bool {
    match (stat, value) {
        (_, Some(Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. }))
        | (None, None | Some(Value::Remnant)) => true,
        (Some(stat), Some(Value::File(file))) => {
            let is_it = (stat.size, stat.mtime_ns, stat.mode) == (file.size, file.mtime, file.mode);
            let content = file.content;
            let may_be = content.digest().is_some() || Content::unread(stat.identity()) == content;
            stat.kind == Kind::File && is_it && may_be
        }
        (Some(stat), Some(Value::Dir { .. } | Value::Remnant)) => stat.kind == Kind::Dir,
        (Some(stat), Some(Value::Symlink { .. })) => stat.kind == Kind::Symlink,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The digest of a file, from what is known or by reading it; `None` if it changes.
pub(super) fn file_digest(
    dir: &Dir,
    name: &[u8],
    stat: &Stat,
    digests: &dyn KnownDigests,
    control: &Control,
) -> Result<Option<Digest>, ApplyError> {
    if let Some(digest) = digests.digest(stat) {
        return Ok(Some(digest));
    }
    let since_ns = sys::now_ns();
    let mut file = dir.open_read(name).map_err(ApplyError::io("read what is there"))?;
    let digest = digest_of(&mut file, control).map_err(reading)?;
    let same = sys::fstat(&file).map_err(ApplyError::io("look at what is there"))?;
    match digest {
        Some(digest) if same.is_unchanged(stat) => {
            digests.record(stat, digest, since_ns);
            Ok(Some(digest))
        }
        _ => Ok(None),
    }
}

/// Holds what will be displaced, which has just been looked at: a write that begins from here on is noticed.
pub(super) fn held(dir: &Dir, name: &[u8], seen: &Stat) -> Result<Leased, ApplyError> {
    if seen.kind != Kind::File {
        return Ok(Leased::Unknown);
    }
    let Ok(file) = dir.open_read(name) else { return Ok(Leased::Unknown) };
    let leased = sys::lease(file);
    if let Leased::Held(lease) = &leased {
        // One that began and ended since the look shows in the stat.
        let now = sys::fstat(lease).map_err(ApplyError::io("look at what is there"))?;
        if !now.is_unchanged(seen) {
            return Err(ApplyError::Stale(End::To));
        }
    }
    match leased {
        Leased::Writing => Err(ApplyError::Busy),
        Leased::Held(_) | Leased::Unknown => Ok(leased),
    }
}

pub(super) fn reading(source: io::Error) -> ApplyError {
    match source.kind() == io::ErrorKind::Interrupted {
        true => ApplyError::Cancelled,
        false => ApplyError::Io { what: "read it", source },
    }
}

/// Whether anything has this path.
///
/// # Errors
/// As [`found`].
pub fn present(root: &sys::Root, path: &RelPath) -> io::Result<bool> {
    found(root, path).map(|stat| stat.is_some())
}

/// What has this path; a missing directory on the way, or something else in its place, means that nothing has.
///
/// # Errors
/// The kernel's: it cannot be told.
pub fn found(root: &sys::Root, path: &RelPath) -> io::Result<Option<Stat>> {
    match root.stat(path) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) =>
        {
            Ok(None)
        }
        result => result,
    }
}
