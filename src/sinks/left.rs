//! What an act that failed left in the store.
//!
//! Holds: whatever of a user's lies under the name of a failed operation becomes a kept version, and an operation ends
//! with its act. One that stayed announced would be settled at some later start, by what is in the tree then.

use std::io;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{Content, Digest, Value};
use crate::sinks::apply::{Control, digest_of, finish_aside, target_digest, value_of};
use crate::sinks::stage::{OpId, Store};
use crate::sys::{Kind, Root};

/// What lies under an operation's name, unless it is what was to be put there: that is removed. `old` is what the
/// operation may have displaced; where the store cannot be looked at, it counts as displaced.
pub(super) fn left(
    root: &Root,
    store: &Store,
    op: OpId,
    path: &RelPath,
    old: Option<Value>,
    new: Option<Value>,
) -> Option<Value> {
    let look = || finish_aside(root, store, op, path).and_then(|_| found(store, op));
    // The error may have been the one that the act failed by.
    let value = match look().or_else(|_| look()) {
        Ok(found) => found?,
        Err(_) => return old,
    };
    let is = |other: Option<Value>| other.is_some_and(|o| o.same_content(&value) == Some(true));
    if is(new) && !is(old) && store.remove_unless_written(op).is_ok_and(|gone| gone) {
        return None;
    }
    Some(if is(old) { old.unwrap_or(value) } else { value })
}

fn found(store: &Store, op: OpId) -> io::Result<Option<Value>> {
    let (dir, name) = (store.dir(), op.name());
    let Some(stat) = dir.stat(&name)? else { return Ok(None) };
    let digest: Option<Digest> = match stat.kind {
        Kind::Symlink => Some(target_digest(&dir.readlink(&name)?)),
        Kind::File | Kind::Dir | Kind::Fifo | Kind::Socket | Kind::Device => {
            digest_of(&mut dir.open_read(&name)?, &Control::default())?
        }
    };
    let content = digest.map_or(Content::unread(stat.identity()), Content::known);
    Ok(Some(value_of(&stat, content)))
}
