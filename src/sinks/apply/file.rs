//! Puts a file: staged, verified, then swapped in.

use std::io;

use super::check::expected;
use super::error::{ApplyError, End};
use super::part::Part;
use super::place::{place_unnamed, swap_in};
use super::staged::Staged;
use super::still::Still;
use super::{Applied, Bytes, Control, Handles, KnownDigests, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content, Digest, Value};
use crate::sys::{self, File, Kind, Root, Stat};

/// What is read at a time, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// What the bytes of a file come from.
pub enum Origin<'a> {
    /// The user's own file, which may be written to.
    Live(&'a Root),
    /// What [`super::hold_still`] took; the job speaks of that.
    Still(Still),
    /// What another machine sends, and the stat of the file that it has.
    Sent(Stat, &'a mut dyn Bytes),
}

/// An [`Origin`] of this machine, opened.
struct Opened {
    file: File,
    /// What the origin has, or had when it was held still.
    stat: Stat,
    /// When it was looked at, if all that time it had that stat.
    since_ns: Option<i64>,
    is_live: bool,
}

enum Source<'a> {
    Here(Opened),
    Sent(Stat, &'a mut dyn Bytes),
}

impl<'a> Origin<'a> {
    fn open(self, handles: &Handles, path: &RelPath, size: u64) -> Result<Source<'a>, ApplyError> {
        let from = match self {
            Self::Live(from) => from,
            Self::Sent(stat, bytes) => {
                let is_it = stat.size == size && stat.kind == Kind::File;
                return match is_it {
                    true => Ok(Source::Sent(stat, bytes)),
                    false => Err(ApplyError::Stale(End::From)),
                };
            }
            Self::Still(Still { snapshot, since_ns }) => {
                let since_ns = snapshot.is_exact.then_some(since_ns);
                let (file, stat) = (snapshot.file, snapshot.stat);
                return Ok(Source::Here(Opened { file, stat, since_ns, is_live: false }));
            }
        };
        let opened = handles.origin(from, path);
        let (origin, name) = opened.map_err(gone_or("open the directory it is in"))?;
        let since_ns = Some(sys::now_ns());
        let (file, stat) = origin.open_with_stat(name.as_bytes()).map_err(gone_or("open it"))?;
        if stat.size != size {
            return Err(ApplyError::Stale(End::From));
        }
        Ok(Source::Here(Opened { file, stat, since_ns, is_live: true }))
    }
}

impl Source<'_> {
    fn stat(&self) -> Stat {
        match self {
            Self::Here(opened) => opened.stat,
            Self::Sent(stat, _) => *stat,
        }
    }

    /// When it was looked at, if it is of this machine and had its stat all that time.
    fn since_ns(&self) -> Option<i64> {
        match self {
            Self::Here(opened) => opened.since_ns,
            Self::Sent(..) => None,
        }
    }
}

impl Opened {
    /// That nobody wrote to it while it was read.
    fn has_rested(&self) -> Result<(), ApplyError> {
        if self.is_live {
            let after = sys::fstat(&self.file).map_err(ApplyError::io("look at it"))?;
            if !after.is_unchanged(&self.stat) {
                return Err(ApplyError::Torn);
            }
        }
        Ok(())
    }
}

/// Gives `path` at the target the bytes it has at `from`, and `new`'s mode and mtime; `expect` is what it replaces.
///
/// The bytes are on disk before a replacement takes the name; a new name may come first. Both roots must be those that
/// `handles` was used with before.
///
/// # Errors
/// Nothing was changed: either end is not what the job was made from, the file changed while it was read, a program
/// writes to what would be replaced, or the system refused.
pub fn put_file(
    (from, handles): (Origin<'_>, &Handles),
    target: Target<'_>,
    path: &RelPath,
    new: &value::File,
    expect: Option<&Value>,
    control: &Control,
) -> Result<Applied, ApplyError> {
    stage_file((from, handles), target, path, new, expect, control)?.place(handles, control)
}

/// A file whose bytes are in the store, and which has not got its name.
pub struct StagedFile<'a> {
    staged: Staged<'a>,
    target: Target<'a>,
    path: &'a RelPath,
    /// With its digest, where that is known by now.
    new: value::File,
    expect: Option<&'a Value>,
    /// What the origin had while it was read.
    from: Stat,
}

/// The first half of [`put_file`].
///
/// # Errors
/// As there; nothing was changed but in the store, and that is removed when it is dropped.
pub fn stage_file<'a>(
    (from, handles): (Origin<'_>, &Handles),
    target: Target<'a>,
    path: &'a RelPath,
    new: &value::File,
    expect: Option<&'a Value>,
    control: &Control,
) -> Result<StagedFile<'a>, ApplyError> {
    let mut from = from.open(handles, path, new.size)?;
    let (before, since_ns) = (from.stat(), from.since_ns());
    let is_new = expect.is_none();
    let staged = match &from {
        Source::Sent(_, bytes) if bytes.can_go_on() => {
            Staged::create_to_go_on(target, new.mode, is_new, path)?
        }
        Source::Sent(..) | Source::Here(_) => Staged::create(target, new.mode, is_new)?,
    };
    let announced = new.content.digest();
    let wants_digest = announced.is_some() || target.digests.are_wanted();
    let digest = match &mut from {
        Source::Here(opened) => {
            let digest = staged.fill(&mut opened.file, &before, wants_digest, handles, control)?;
            opened.has_rested()?;
            digest
        }
        Source::Sent(_, bytes) => staged.receive(*bytes, &before, handles, control)?,
    };
    let as_announced = match announced {
        Some(_) => announced == digest,
        None => Content::unread(before.identity()) == new.content,
    };
    // Also where it is another one: what is written through a memory map changes bytes and no stat.
    if let (Some(digest), Some(since_ns)) = (digest, since_ns) {
        target.digests.record(&before, digest, since_ns);
    }
    if !as_announced {
        return Err(ApplyError::Stale(End::From));
    }
    staged.finish(new, expect.is_some())?;
    let content = digest.map_or(new.content, Content::known);
    let new = value::File { content, ..*new };
    Ok(StagedFile { staged, target, path, new, expect, from: before })
}

impl StagedFile<'_> {
    /// The second half of [`put_file`].
    ///
    /// # Errors
    /// As there.
    pub fn place(self, handles: &Handles, control: &Control) -> Result<Applied, ApplyError> {
        let Self { staged, target, path, new, expect, from } = self;
        let (parent, name) = handles.target(target.root, path)?;
        // A name that is to be new is given with a call that refuses one that is taken.
        let there = match expect {
            None => None,
            Some(_) => expected(&parent, name.as_bytes(), expect, target.digests, control)?,
        };
        if control.is_cancelled() {
            return Err(ApplyError::Cancelled);
        }
        let name = name.as_bytes();
        let kept = match staged.unnamed() {
            Some(file) => place_unnamed(target, file, &parent, name).map(|()| None)?,
            None => swap_in(target, &parent, name, there.zip(expect), control)?,
        };
        let placed = staged.placed(&new)?;
        let from_now = Some(super::value_of(&from, new.content));
        Ok(Applied { from_now, to_now: Some(placed), kept })
    }
}

/// A file that is on its way to another machine.
pub struct Sending {
    opened: Opened,
    new: value::File,
    hasher: blake3::Hasher,
    left: u64,
}

/// Opens the file at `path`, which has to be `new`, to be sent to another machine.
///
/// # Errors
/// It is something else, or the system refused.
pub fn send_file(
    (from, handles): (Origin<'_>, &Handles),
    path: &RelPath,
    new: &value::File,
) -> Result<Sending, ApplyError> {
    let Source::Here(opened) = from.open(handles, path, new.size)? else {
        return Err(ApplyError::Stale(End::From));
    };
    let is_it =
        new.content.digest().is_some() || Content::unread(opened.stat.identity()) == new.content;
    match is_it {
        true => {
            Ok(Sending { left: opened.stat.size, opened, new: *new, hasher: blake3::Hasher::new() })
        }
        false => Err(ApplyError::Stale(End::From)),
    }
}

impl Sending {
    /// What it is.
    #[must_use]
    pub fn stat(&self) -> &Stat {
        &self.opened.stat
    }

    /// How many bytes there are still to be read.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; 0 once it was read as far as it went when it was opened.
    ///
    /// # Errors
    /// It is shorter by now, or cannot be read.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ApplyError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        loop {
            match io::Read::read(&mut self.opened.file, &mut buffer[..most]) {
                Ok(0) if self.left > 0 => return Err(ApplyError::Torn),
                Ok(read) => {
                    self.hasher.update(&buffer[..read]);
                    self.left -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ApplyError::io("read it")(error)),
            }
        }
    }

    /// Goes on after what is there already, if that is how the file begins; else at its beginning. From which byte on.
    ///
    /// # Errors
    /// As [`Self::read`], or it was cancelled.
    pub fn go_on(&mut self, part: Part, control: &Control) -> Result<u64, ApplyError> {
        let size = self.opened.stat.size;
        let mut buffer = vec![0; BUFFER_BYTES];
        while part.bytes <= size && size - self.left < part.bytes {
            if control.is_cancelled() {
                return Err(ApplyError::Cancelled);
            }
            let left = usize::try_from(part.bytes - (size - self.left)).unwrap_or(usize::MAX);
            self.read(&mut buffer[..left.min(BUFFER_BYTES)])?;
        }
        let counts = size - self.left;
        if counts == part.bytes && *self.hasher.finalize().as_bytes() == part.digest.0 {
            return Ok(counts);
        }
        sys::seek_to(&self.opened.file, 0).map_err(ApplyError::io("read it"))?;
        self.hasher.reset();
        self.left = size;
        Ok(0)
    }

    /// The digest of all that was read, once nothing is left.
    ///
    /// # Errors
    /// Somebody wrote to it meanwhile, or it is not what it was said to be.
    pub fn end(self, digests: &dyn KnownDigests) -> Result<Digest, ApplyError> {
        self.opened.has_rested()?;
        let digest = Digest(*self.hasher.finalize().as_bytes());
        if let Some(since_ns) = self.opened.since_ns {
            digests.record(&self.opened.stat, digest, since_ns);
        }
        match self.new.content.digest() {
            Some(announced) if announced != digest => Err(ApplyError::Stale(End::From)),
            Some(_) | None => Ok(digest),
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
