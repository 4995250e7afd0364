//! A file on its way to its name: made, filled, finished, placed; gone again if it was not placed.

use std::cell::Cell;
use std::io;
use std::sync::atomic::Ordering;

use super::check::{digest_of, reading, value_of};
use super::error::ApplyError;
use super::part::{self, PartName};
use super::{Bytes, Control, Handles, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Digest, Value};
use crate::sys::{self, File, Kind, Stat};

/// Files from this size on are worth the attempt to share blocks.
const REFLINK_BYTES_MIN: u64 = 16 << 10;
/// Files from this size on are worth more calls: the network does not carry what a server can copy, and holes stay.
const RANGE_BYTES_MIN: u64 = 1 << 20;
const BUFFER_BYTES: usize = 256 << 10;
/// What a write takes from a file's mode, and what the kernel never gives to a new one.
const SPECIAL_BITS: u16 = 0o7000;

/// A file under its operation's name, or without any. Dropped before it is placed, it is removed again.
pub(super) struct Staged<'a> {
    target: Target<'a>,
    /// Open until it is dropped.
    open: Option<File>,
    has_name: bool,
    /// The name of what is only a part of it so far.
    part: Cell<Option<PartName>>,
    /// It was there before, maybe with another mode.
    is_old: bool,
    placed: Cell<bool>,
}

impl<'a> Staged<'a> {
    /// Makes it with this mode, less what [`Self::finish`] adds.
    pub(super) fn create(target: Target<'a>, mode: u16, is_new: bool) -> Result<Self, ApplyError> {
        let mode = mode & !SPECIAL_BITS;
        let unnamed = if is_new { target.store.create_unnamed(mode) } else { None };
        let has_name = unnamed.is_none();
        let file = match unnamed {
            Some(file) => file,
            None => target
                .store
                .dir()
                .create_with(&target.op.name(), mode)
                .map_err(ApplyError::io("make a file in .yeet"))?,
        };
        let (part, placed) = (Cell::new(None), Cell::new(false));
        Ok(Self { target, open: Some(file), has_name, part, is_old: false, placed })
    }

    /// As [`Self::create`], for a file that is sent: what is there of it is gone on with.
    pub(super) fn create_to_go_on(
        target: Target<'a>,
        mode: u16,
        is_new: bool,
        path: &RelPath,
    ) -> Result<Self, ApplyError> {
        let name = part::name_of(path);
        match part::open(target, &name, mode & !SPECIAL_BITS) {
            Ok(Some(file)) => {
                let (part, placed) = (Cell::new(Some(name)), Cell::new(false));
                Ok(Self { target, open: Some(file), has_name: true, part, is_old: true, placed })
            }
            Ok(None) => Self::create(target, mode, is_new),
            Err(error) => Err(ApplyError::io("make a file in .yeet")(error)),
        }
    }

    fn file(&self) -> &File {
        self.open.as_ref().expect("it is open until it is dropped")
    }

    /// The file, if it has no name.
    pub(super) fn unnamed(&self) -> Option<&File> {
        (!self.has_name).then_some(self.file())
    }

    /// Brings the bytes over and returns their digest, if it is wanted.
    pub(super) fn fill(
        &self,
        from: &mut File,
        stat: &Stat,
        wants_digest: bool,
        handles: &Handles,
        control: &Control,
    ) -> Result<Option<Digest>, ApplyError> {
        let to = self.file();
        let no_reflink = &self.target.store.no_reflink;
        if stat.size >= REFLINK_BYTES_MIN && !no_reflink.load(Ordering::Relaxed) {
            if sys::reflink(from, to) {
                if !wants_digest {
                    return Ok(None);
                }
                let digest = digest_of(from, control).map_err(reading)?;
                return digest.ok_or(ApplyError::Torn).map(Some);
            }
            no_reflink.store(true, Ordering::Relaxed);
        }
        let mut buffer = handles.buffer.borrow_mut();
        let size = usize::try_from(stat.size).unwrap_or(usize::MAX).clamp(1, BUFFER_BYTES);
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let mut hasher = wants_digest.then(blake3::Hasher::new);
        let copied = self.copy(from, stat, &mut buffer[..size], hasher.as_mut(), control);
        copied.map_err(|source| {
            if source.kind() == io::ErrorKind::Interrupted {
                ApplyError::Cancelled
            } else if source.kind() == io::ErrorKind::UnexpectedEof {
                ApplyError::Torn
            } else {
                ApplyError::Io { what: "copy its bytes", source }
            }
        })?;
        Ok(hasher.map(|hasher| Digest(*hasher.finalize().as_bytes())))
    }

    /// Takes the bytes that another machine sends and returns their digest.
    pub(super) fn receive(
        &self,
        from: &mut dyn Bytes,
        stat: &Stat,
        handles: &Handles,
        control: &Control,
    ) -> Result<Option<Digest>, ApplyError> {
        let received = self.receive_all(from, stat, handles, control);
        let Some(part) = self.part.get() else { return received };
        let dir = self.target.store.dir();
        match &received {
            Ok(_) => {
                let named = dir.rename_new(&part, dir, &self.target.op.name());
                named.map_err(ApplyError::io("give it its name in .yeet"))?;
                self.part.set(None);
            }
            // It is gone on with.
            Err(ApplyError::Away { .. } | ApplyError::Cancelled) => self.placed.set(true),
            Err(_) => {}
        }
        received
    }

    fn receive_all(
        &self,
        from: &mut dyn Bytes,
        stat: &Stat,
        handles: &Handles,
        control: &Control,
    ) -> Result<Option<Digest>, ApplyError> {
        let (mut hasher, mut moved) = match self.part.get() {
            Some(_) => {
                let mut buffer = handles.buffer.borrow_mut();
                if buffer.len() < BUFFER_BYTES {
                    buffer.resize(BUFFER_BYTES, 0);
                }
                part::go_on(self.file(), stat.size, from, &mut buffer, control)?
            }
            None => (blake3::Hasher::new(), 0),
        };
        loop {
            let bytes = from.next()?;
            if bytes.is_empty() {
                break;
            }
            moved += bytes.len() as u64;
            if moved > stat.size {
                return Err(from.belied("more of them came than were announced"));
            }
            hasher.update(bytes);
            let written = io::Write::write_all(&mut self.file(), bytes);
            written.map_err(ApplyError::io("copy its bytes"))?;
            control.set_moved(moved);
            if control.is_cancelled() {
                return Err(ApplyError::Cancelled);
            }
        }
        let (there, here) = (from.end()?, Digest(*hasher.finalize().as_bytes()));
        match moved == stat.size && there.is_none_or(|there| there == here) {
            true => Ok(Some(here)),
            false => Err(from.belied("what came is not what was announced")),
        }
    }

    /// Copies, and hashes in the same pass: by the kernel where it is worth it and can be done, else through the buffer.
    fn copy(
        &self,
        from: &mut File,
        stat: &Stat,
        buffer: &mut [u8],
        mut hasher: Option<&mut blake3::Hasher>,
        control: &Control,
    ) -> io::Result<()> {
        let go_on = |moved| {
            control.set_moved(moved);
            !control.is_cancelled()
        };
        let no_range = &self.target.store.no_range;
        if stat.size >= RANGE_BYTES_MIN && !no_range.load(Ordering::Relaxed) {
            // Where it turns out that it cannot be done, nothing has been hashed yet.
            let see = hasher.as_deref_mut().map(|hasher| {
                move |bytes: &[u8]| {
                    hasher.update(bytes);
                }
            });
            if sys::copy_range(from, self.file(), buffer, stat.size, see, go_on)? {
                return Ok(());
            }
            no_range.store(true, Ordering::Relaxed);
        }
        let see = |bytes: &[u8]| {
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
        };
        sys::copy_bytes(from, &mut self.file(), buffer, stat.size, see, go_on)?;
        Ok(())
    }

    /// Gives it its mode and mtime, and has it on disk if `flush`.
    pub(super) fn finish(&self, new: &value::File, flush: bool) -> Result<(), ApplyError> {
        if self.is_old || new.mode & (SPECIAL_BITS | sys::umask()) != 0 {
            sys::set_mode(self.file(), new.mode).map_err(ApplyError::io("set its mode"))?;
        }
        sys::set_mtime(self.file(), new.mtime).map_err(ApplyError::io("set its time"))?;
        if flush {
            self.file().sync_data().map_err(ApplyError::io("flush it to disk"))?;
        }
        Ok(())
    }

    /// What was placed. A default ACL can have taken bits from its mode: they are given back.
    pub(super) fn placed(&self, new: &value::File) -> Result<Value, ApplyError> {
        self.placed.set(true);
        let look = || sys::fstat(self.file()).map_err(ApplyError::io("look at it in its place"));
        let mut stat = look()?;
        if stat.mode != new.mode {
            sys::set_mode(self.file(), new.mode).map_err(ApplyError::io("set its mode"))?;
            stat = look()?;
        }
        Ok(as_placed(self.target, &stat, new))
    }
}

/// The value that was given a name, of which `stat` was seen after. Its digest is remembered unless somebody has
/// written to it in between: a stat that is not ours must never be given our digest.
pub(super) fn as_placed(target: Target<'_>, stat: &Stat, new: &value::File) -> Value {
    let grain = target.root.caps().mtime_grain_ns;
    let is_ours = stat.kind == Kind::File
        && stat.size == new.size
        && stat.mtime_ns.abs_diff(new.mtime) < grain.unsigned_abs();
    if !is_ours {
        return Value::File(*new);
    }
    if let Some(digest) = new.content.digest() {
        target.digests.record(stat, digest, sys::now_ns());
    }
    value_of(stat, new.content)
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.placed.get() || !self.has_name {
            return;
        }
        if let Some(part) = self.part.get() {
            // Nothing was displaced by it. What stays goes once it is old.
            return self.target.store.dir().unlink(&part).unwrap_or_default();
        }
        // What has the name now may be something that was displaced: only our own file goes. It may have had a real name
        // for a moment, and a program may have opened it there and be about to write.
        let own = sys::fstat(self.file()).ok();
        self.open = None;
        let there = self.target.store.dir().stat(&self.target.op.name()).ok().flatten();
        if let (Some(own), Some(there)) = (own, there)
            && (own.dev, own.ino) == (there.dev, there.ino)
        {
            drop(self.target.store.remove_unless_written(self.target.op));
        }
    }
}
