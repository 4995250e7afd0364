//! A large file of which another machine has sent a part: kept when the connection breaks, and gone on with.
//!
//! Holds: what is there counts only as far as its sender has the very same bytes; it has no operation's name before it is
//! whole, so nobody takes half a file for one.

use std::io::{self, Read};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ApplyError;
use super::{Bytes, Control, Target};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::Digest;
use crate::sys::{self, Dir, File, Stat};

/// Smaller files are sent again, in bytes.
const PART_BYTES_MIN: u64 = 16 << 20;
const PREFIX: &[u8] = b"part-";
const NAME_BYTES: usize = PREFIX.len() + 16;
/// What nobody has gone on with for so long goes when a store is opened.
const AGE_MAX_NS: i64 = 24 * 3600 * 1_000_000_000;

/// How long who is at a part is given to leave it, and how often that is looked at.
const LEAVES_MAX: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How much of a file is there, from its beginning, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub bytes: u64,
    pub digest: Digest,
}

/// Whether a file is worth it.
#[must_use]
pub fn goes_on(stat: &Stat) -> bool {
    stat.size >= PART_BYTES_MIN
}

/// The name in the store of what there is of the file at a path.
pub(super) type PartName = [u8; NAME_BYTES];

pub(super) fn name_of(path: &RelPath) -> PartName {
    let hash = blake3::hash(path.as_bytes()).to_hex();
    let mut name = [0; NAME_BYTES];
    name[..PREFIX.len()].copy_from_slice(PREFIX);
    name[PREFIX.len()..].copy_from_slice(&hash.as_bytes()[..NAME_BYTES - PREFIX.len()]);
    name
}

/// Opens what there is of a file, or makes it; `None` where somebody else is at it, and stays there: an act whose connection
/// broke ends as soon as it notices.
pub(super) fn open(target: Target<'_>, name: &PartName, mode: u16) -> io::Result<Option<File>> {
    let dir = target.store.dir();
    let until = sys::now() + LEAVES_MAX;
    loop {
        let file = match dir.create_with(name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => dir.open_write(name),
            created => created,
        };
        match file {
            // Whoever was at it has taken it away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && sys::now() < until => {}
            Err(error) => return Err(error),
            Ok(file) if sys::claim(&file) => {
                let (own, there) = (sys::fstat(&file)?, dir.stat(name)?);
                if there.is_some_and(|there| (there.dev, there.ino) == (own.dev, own.ino)) {
                    return Ok(Some(file));
                }
            }
            Ok(_) if sys::now() < until => sys::pause(LOOK_AGAIN),
            Ok(_) => return Ok(None),
        }
    }
}

/// Has the sender go on after what is there, as far as that is the same. The hasher of what counts, and its length.
pub(super) fn go_on(
    mut file: &File,
    size: u64,
    from: &mut dyn Bytes,
    buffer: &mut [u8],
    control: &Control,
) -> Result<(blake3::Hasher, u64), ApplyError> {
    let failed = |error| ApplyError::Io { what: "look at what is there of it", source: error };
    let there = sys::fstat(file).map_err(failed)?.size;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    sys::seek_to(file, 0).map_err(failed)?;
    // More than the whole is of another file.
    while there <= size && bytes < there {
        if control.is_cancelled() {
            return Err(ApplyError::Cancelled);
        }
        let read = file.read(buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    let digest = Digest(*hasher.finalize().as_bytes());
    let counts = from.go_on(Part { bytes, digest })?;
    if counts == bytes && bytes == there {
        return Ok((hasher, bytes));
    }
    if counts != 0 {
        return Err(from.belied("they go on where nothing is"));
    }
    file.set_len(0).and_then(|()| sys::seek_to(file, 0)).map_err(failed)?;
    Ok((blake3::Hasher::new(), 0))
}

/// Removes what nobody has gone on with for long.
pub(in crate::sinks) fn forget_old(dir: &Dir, names: &[Vec<u8>]) {
    let now_ns = sys::now_ns();
    for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
        let stat = dir.stat(name).ok().flatten();
        if stat.is_some_and(|stat| now_ns.saturating_sub(stat.mtime_ns) > AGE_MAX_NS) {
            // It goes the next time.
            dir.unlink(name).unwrap_or_default();
        }
    }
}
