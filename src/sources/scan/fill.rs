//! Directories whose small files are read together.
//!
//! Holds: what anybody asked to have read is not left out because somebody else did not; a directory is listed as it was at
//! one moment, with what was in its files since.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{MutexGuard, PoisonError};

use super::pool::Ground;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::Value;
use crate::sources::far::wire::FILL_BYTES_MAX;
use crate::sources::look::{Reading, value};
use crate::sources::tree::Tree;
use crate::sys::{Dir, Stat};

/// What is left out, by directory, until it is begun.
#[derive(Default)]
pub(in crate::sources) struct Fills(HashMap<RelPath, HashSet<Name>>);

impl Fills {
    pub(super) fn ask(&mut self, dir: &RelPath, except: HashSet<Name>) {
        match self.0.get_mut(dir) {
            Some(known) => known.retain(|name| except.contains(name)),
            None => drop(self.0.insert(dir.clone(), except)),
        }
    }

    /// `None`: somebody was faster, and has all that was asked for.
    pub(super) fn begin(&mut self, dir: &RelPath) -> Option<HashSet<Name>> {
        self.0.remove(dir)
    }
}

impl Ground {
    pub(super) fn fills(&self) -> MutexGuard<'_, Fills> {
        self.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is read while a directory is listed.
pub struct Fill<'a> {
    pub(super) except: &'a HashSet<Name>,
    pub(super) cancel: &'a AtomicBool,
}

impl Fill<'_> {
    /// What a child is once it has been read, if it is to be.
    pub(super) fn value(
        &self,
        tree: &Tree,
        (dir, handle): (&RelPath, &Dir),
        (name, stat): (&Name, &Stat),
        unread: Value,
    ) -> Value {
        let Value::File(file) = unread else { return unread };
        let is_read = file.content.digest().is_some() || file.size > FILL_BYTES_MAX;
        if is_read || self.except.contains(name) {
            return unread;
        }
        let read = value(tree, handle, dir, name, stat, Reading::Always, self.cancel);
        // One that changes all the time: its next event tells more.
        read.unwrap_or(unread)
    }
}
