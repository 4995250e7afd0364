//! One path, looked at because something may have happened there.
//!
//! Holds: a path is absent only where a directory that was opened beneath a root still in its place has no such name.
//! Any other failure says nothing, and is reported.

use std::io;
use std::sync::atomic::AtomicBool;

use super::hash::Hashed;
use super::ignores::IGNORE_FILE;
use super::scan::pool::Trouble;
use super::tree::{Tree, errno, file};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::{Content, Value};
#[cfg(test)]
use crate::sys;
use crate::sys::{Dir, Stat};

/// A file up to so many bytes is read at once: that takes less than asking for it later would. Simulated files are small,
/// and both ways are to be taken.
const READ_AT_ONCE_BYTES: u64 = if cfg!(test) { 16 } else { 1 << 20 };
/// How often a file that is written to meanwhile is read.
const TRIES: u32 = 3;

/// Whether a file's bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// If it is small, or probably one that was only renamed.
    IfCheap,
    /// Whatever its size.
    Always,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
pub enum Looked {
    /// What is at `path`, which is the path asked for or the nearest above it whose directory exists.
    /// `rules_unreadable` is what reading the file of rules that is there failed with; the old rules hold.
    Holds { path: RelPath, value: Option<Value>, rules_unreadable: Option<i32> },
    /// It is ours or left out by a rule above it, nobody's business; or rules above it cannot be read, so nobody knows; or
    /// it changed all the time while it was to be read: whoever writes to it is not done, and the next event tells more.
    Nothing,
    /// It is the root, and that is there.
    Root,
    /// The root is gone, or another directory is in its place.
    RootGone,
    /// It could not be looked at; what is known of `dir`, where it would be, is void.
    /// So it is where it is the file of rules of `dir`, which cannot be read and never was.
    Failed { dir: RelPath, trouble: Trouble },
}

impl Looked {
    /// The look as a fact, if it says anything.
    #[must_use]
    pub fn fact(&self, tree: &Tree) -> Option<Fact> {
        let replica = tree.replica;
        match self {
            Self::Holds { path, value, .. } => {
                Some(Fact::Holds { replica, path: path.clone(), value: *value })
            }
            Self::Failed { dir, .. } => Some(Fact::Unlisted { replica, dir: dir.clone() }),
            Self::Nothing | Self::Root | Self::RootGone => None,
        }
    }
}

/// Looks at `path`. `cancel` stops reading a large file. Whatever is found, `rules_changed` gets the directories to be
/// listed again on all replicas because rules are new or gone.
#[must_use]
pub fn look(
    tree: &Tree,
    path: &RelPath,
    reading: Reading,
    cancel: &AtomicBool,
    rules_changed: &mut Vec<RelPath>,
) -> Looked {
    let mut path = path.clone();
    loop {
        let Some((dir, name)) = path.split() else {
            return if tree.root.still_there() { Looked::Root } else { Looked::RootGone };
        };
        match tree.root.open_dir(&dir) {
            Ok(handle) => {
                return look_in(tree, &handle, (&dir, &name), reading, cancel, rules_changed);
            }
            Err(error) => match errno(&error) {
                // No directory there: then that is what there is to say.
                libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV => path = dir,
                errno => return Looked::Failed { dir, trouble: Trouble::Unlistable { errno } },
            },
        }
    }
}

/// Looks at a name in the open directory before it.
fn look_in(
    tree: &Tree,
    handle: &Dir,
    (dir, name): (&RelPath, &Name),
    reading: Reading,
    cancel: &AtomicBool,
    rules_changed: &mut Vec<RelPath>,
) -> Looked {
    let own = dir.components().next().unwrap_or(name.as_bytes());
    let is_rules = name.as_bytes() == IGNORE_FILE;
    if tree.is_own(&RelPath::root(), own)
        || tree.ignores.matched_or_above(dir, true).is_some()
        || match is_rules {
            true => dir.split().is_some_and(|(above, _)| tree.ignores.are_unread(&above)),
            false => tree.ignores.are_unread(dir),
        }
    {
        return Looked::Nothing;
    }
    let path = dir.join(name);
    let mut rules_unreadable = None;
    if is_rules {
        rules_unreadable = take_rules(tree, dir, handle, rules_changed);
    }
    let value = match handle.stat(name.as_bytes()) {
        Ok(Some(stat)) => match value(tree, handle, dir, name, &stat, reading, cancel) {
            // Asked for again at once, it would be read for ever.
            None => return Looked::Nothing,
            value => value,
        },
        Ok(None) => None,
        Err(error) => Some(Value::Unreadable { errno: errno(&error) }),
    };
    if !value.is_some_and(|value| value.is_dir()) {
        rules_changed.extend(tree.ignores.drop_within(tree.replica, &path));
    }
    // Also for what is there: a root replaced by another one says nothing about this one's paths.
    if !tree.root.still_there() {
        return Looked::RootGone;
    }
    if let Some(errno) = rules_unreadable
        && value.is_some()
        && !tree.ignores.knows(tree.replica, dir)
    {
        rules_changed.extend(tree.ignores.cannot_read(tree.replica, dir));
        return Looked::Failed { dir: dir.clone(), trouble: Trouble::NoRules { errno } };
    }
    if is_rules && tree.ignores.are_unread(dir) {
        return Looked::Nothing;
    }
    Looked::Holds { path, value, rules_unreadable }
}

/// Takes in the rules of an open directory. Returns what reading them failed with; the old ones hold then.
pub(super) fn take_rules(
    tree: &Tree,
    dir: &RelPath,
    handle: &Dir,
    rules_changed: &mut Vec<RelPath>,
) -> Option<i32> {
    match tree.take_rules(dir, handle) {
        #[cfg(test)]
        Ok(_) if sys::sim::fault::has(sys::sim::fault::Fault::RulesStay) => None,
        Ok(changed) => {
            rules_changed.extend(changed);
            None
        }
        Err(error) => Some(errno(&error)),
    }
}

/// What a child is; `None`: it has to be read, and changes all the time.
pub(super) fn value(
    tree: &Tree,
    handle: &Dir,
    dir: &RelPath,
    name: &Name,
    stat: &Stat,
    reading: Reading,
    cancel: &AtomicBool,
) -> Option<Value> {
    let rules = tree.ignores.in_dir(dir);
    let value = tree.value(handle, &rules, name.as_bytes(), stat);
    let unread = matches!(value, Value::File(file) if file.content.digest().is_none());
    if !unread || !worth_reading(tree, stat, reading) {
        return Some(value);
    }
    for _ in 0..TRIES {
        match tree.read(handle, name.as_bytes(), cancel) {
            Ok(Hashed::Whole { digest, stat, .. }) => {
                let learns = rules.is_index(name.as_bytes());
                match learns.then(|| tree.learn_index(handle, name.as_bytes(), &stat, digest)) {
                    None | Some(Ok(())) => return Some(file(&stat, Content::known(digest))),
                    Some(Err(error)) => return Some(unreadable(&error, value, reading)),
                }
            }
            Ok(Hashed::Changed) => {}
            Ok(Hashed::Cancelled) => return Some(value),
            Err(error) => return Some(unreadable(&error, value, reading)),
        }
    }
    match reading {
        // Whoever writes to it is not done; the end of that is an event.
        Reading::IfCheap => Some(value),
        // What an index means is found by reading it alone.
        Reading::Always if rules.is_index(name.as_bytes()) => None,
        Reading::Always => {
            let still = tree.read_still(handle, name.as_bytes(), cancel).ok().flatten();
            still.map(|(stat, digest)| file(&stat, Content::known(digest)))
        }
    }
}

fn worth_reading(tree: &Tree, stat: &Stat, reading: Reading) -> bool {
    match reading {
        Reading::Always => true,
        Reading::IfCheap if stat.size <= READ_AT_ONCE_BYTES => true,
        Reading::IfCheap => {
            let row = tree.cache.by_inode(stat.dev, stat.ino);
            row.is_some_and(|row| row.could_describe(stat))
        }
    }
}

fn unreadable(error: &io::Error, value: Value, reading: Reading) -> Value {
    match reading {
        Reading::Always => Value::Unreadable { errno: errno(error) },
        // It is what a listing says of it; that it cannot be read is found when it must be.
        Reading::IfCheap => value,
    }
}
