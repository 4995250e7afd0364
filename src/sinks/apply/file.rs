//! Puts a file: staged, verified, then swapped in.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use super::check::{digest_of, expected, reading};
use super::error::{ApplyError, End};
use super::place::swap_in;
use super::{Applied, Control, Handles, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content, Digest, Value};
use crate::sys::{self, Root, Stat};

/// Files from this size on are worth the attempt to share blocks.
const REFLINK_BYTES_MIN: u64 = 16 << 10;
const BUFFER_BYTES: usize = 256 << 10;

/// Gives `path` at the target the bytes it has at `from`, and `new`'s mode and mtime; `expect` is what it replaces.
///
/// `flush`: the bytes are on disk before a replacement takes the name (a new name may come first).
///
/// Both roots must be those that `handles` was used with before.
///
/// # Errors
/// Nothing was changed: either end is not what the job was made from, the file changed while it was read, a program
/// writes to what would be replaced, or the system refused.
pub fn put_file(
    (from, handles): (&Root, &Handles),
    target: Target<'_>,
    path: &RelPath,
    new: &value::File,
    expect: Option<&Value>,
    flush: bool,
    control: &Control,
) -> Result<Applied, ApplyError> {
    let opened = handles.origin(from, path);
    let (origin, name) = opened.map_err(gone_or("open the directory it is in"))?;
    let (mut file, before) = origin.open_with_stat(name.as_bytes()).map_err(gone_or("open it"))?;
    if before.size != new.size {
        return Err(ApplyError::Stale(End::From));
    }
    let staged = Staged::create(target)?;
    let digest = staged.fill(target, &mut file, &before, control)?;
    let after = sys::fstat(&file).map_err(ApplyError::io("look at it"))?;
    if !after.is_unchanged(&before) {
        return Err(ApplyError::Torn);
    }
    let announced = match new.content.digest() {
        Some(announced) => announced == digest,
        None => Content::unread(before.identity()) == new.content,
    };
    if !announced {
        return Err(ApplyError::Stale(End::From));
    }
    target.digests.record(&before, digest);
    staged.finish(new, flush && expect.is_some())?;
    let opened = handles.target(target.root, path);
    let (parent, name) = opened.map_err(gone_or_at(End::To, "open the directory it goes to"))?;
    // A name that is to be new is given with a call that refuses one that is taken.
    let there = match expect {
        None => None,
        Some(_) => expected(&parent, name.as_bytes(), expect, target.digests, control)?,
    };
    if control.is_cancelled() {
        return Err(ApplyError::Cancelled);
    }
    let kept = swap_in(target, &parent, name.as_bytes(), there.zip(expect), control)?;
    let placed = staged.placed()?;
    target.digests.record(&placed, digest);
    let content = Content::known(digest);
    Ok(Applied {
        from_now: Some(super::value_of(&before, content)),
        to_now: Some(super::value_of(&placed, content)),
        kept,
    })
}

/// A file under its operation's name. Dropped before it is placed, it is removed again.
struct Staged<'a> {
    target: Target<'a>,
    file: File,
    placed: std::cell::Cell<bool>,
}

impl<'a> Staged<'a> {
    fn create(target: Target<'a>) -> Result<Self, ApplyError> {
        let file = target
            .store
            .dir()
            .create_new(&target.op.name())
            .map_err(ApplyError::io("make a file in .yeet"))?;
        Ok(Self { target, file, placed: std::cell::Cell::new(false) })
    }

    /// Brings the bytes over and returns their digest.
    fn fill(
        &self,
        target: Target<'_>,
        from: &mut File,
        stat: &Stat,
        control: &Control,
    ) -> Result<Digest, ApplyError> {
        let mut to = &self.file;
        if stat.size >= REFLINK_BYTES_MIN && !target.store.no_reflink.load(Ordering::Relaxed) {
            if sys::reflink(from, to) {
                return digest_of(from, control).map_err(reading)?.ok_or(ApplyError::Torn);
            }
            target.store.no_reflink.store(true, Ordering::Relaxed);
        }
        let mut hasher = blake3::Hasher::new();
        let size = usize::try_from(stat.size).unwrap_or(usize::MAX);
        let mut buffer = vec![0; size.clamp(1, BUFFER_BYTES)];
        let go_on = |moved| {
            control.set_moved(moved);
            !control.is_cancelled()
        };
        let see = |bytes: &[u8]| {
            hasher.update(bytes);
        };
        sys::copy_bytes(from, &mut to, &mut buffer, stat.size, see, go_on).map_err(|source| {
            match source.kind() == io::ErrorKind::Interrupted {
                true => ApplyError::Cancelled,
                false => ApplyError::Io { what: "copy its bytes", source },
            }
        })?;
        Ok(Digest(*hasher.finalize().as_bytes()))
    }

    fn finish(&self, new: &value::File, flush: bool) -> Result<(), ApplyError> {
        sys::set_mode(&self.file, new.mode).map_err(ApplyError::io("set its mode"))?;
        sys::set_mtime(&self.file, new.mtime).map_err(ApplyError::io("set its time"))?;
        if flush {
            self.file.sync_data().map_err(ApplyError::io("flush it to disk"))?;
        }
        Ok(())
    }

    /// The stat of the file in its place.
    fn placed(&self) -> Result<Stat, ApplyError> {
        self.placed.set(true);
        sys::fstat(&self.file).map_err(ApplyError::io("look at it in its place"))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.placed.get() {
            return;
        }
        // What has the name now may be something that was displaced: only our own file goes.
        let own = sys::fstat(&self.file).ok();
        let there = self.target.store.dir().stat(&self.target.op.name()).ok().flatten();
        if let (Some(own), Some(there)) = (own, there)
            && (own.dev, own.ino) == (there.dev, there.ino)
        {
            drop(self.target.store.remove(self.target.op));
        }
    }
}

pub(super) fn gone_or(what: &'static str) -> impl Fn(io::Error) -> ApplyError {
    gone_or_at(End::From, what)
}

/// That something on the way is gone or of another kind means that the job is out of date.
pub(super) fn gone_or_at(end: End, what: &'static str) -> impl Fn(io::Error) -> ApplyError {
    move |source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EISDIR) => ApplyError::Stale(end),
        _ if source.kind() == io::ErrorKind::InvalidInput => ApplyError::Stale(end),
        _ => ApplyError::Io { what, source },
    }
}
