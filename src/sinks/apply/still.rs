//! A file that never rests, held still: what is carried is what it had at one moment.

use super::Control;
use super::check::{digest_of, reading, value_of};
use super::error::ApplyError;
use super::file::gone_or;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{Content, Value};
use crate::sys::{self, Root, Snapshot};

/// What a file had at one moment.
pub struct Still {
    pub(super) snapshot: Snapshot,
    pub(super) since_ns: i64,
}

/// Takes a snapshot of the file at `path`, and reads it.
///
/// # Errors
/// It is gone, its file system has no snapshots ([`ApplyError::Restless`]), or the system refused.
pub fn hold_still(
    from: &Root,
    path: &RelPath,
    control: &Control,
) -> Result<(Still, Value), ApplyError> {
    let opened = from.open_parent(path).map_err(gone_or("open the directory it is in"));
    let (dir, name) = opened?;
    let file = dir.open_read(name.as_bytes()).map_err(gone_or("open it"))?;
    let since_ns = sys::now_ns();
    let snapshot = from.snapshot(&file).map_err(ApplyError::io("take a snapshot of it"))?;
    let Some(mut snapshot) = snapshot else { return Err(ApplyError::Restless) };
    let digest = digest_of(&mut snapshot.file, control).map_err(reading)?;
    snapshot.rewind().map_err(ApplyError::io("read its snapshot again"))?;
    let content = Content::known(digest.ok_or(ApplyError::Torn)?);
    let value = value_of(&snapshot.stat, content);
    Ok((Still { snapshot, since_ns }, value))
}
