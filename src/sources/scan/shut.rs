//! What permissions keep from being seen: no timer tries it again, the change of a mode is an event.
//!
//! Holds: whatever is noted here is looked at again as soon as it, or a directory above it, is looked at.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use super::Listing;
use super::pool::{Ground, Shared, Trouble};
use super::queue::{Passes, Task};
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::Value;
use crate::sources::ignores::{IGNORE_FILE, ignore_file_in};

/// The most paths noted for one tree. Directories beyond are tried again with pauses, as after any other failure.
const SHUT_MAX: usize = 4096;

/// Directories that may not be opened or searched, and files of rules that cannot be read.
#[derive(Default)]
pub(super) struct Shut(BTreeSet<RelPath>);

impl Shut {
    /// Returns whether it is noted: there may be no room.
    fn note(&mut self, path: RelPath) -> bool {
        self.0.contains(&path) || (self.0.len() < SHUT_MAX && self.0.insert(path))
    }

    fn take_within(&mut self, path: &RelPath) -> Vec<RelPath> {
        let taken: Vec<RelPath> = self.0.iter().filter(|at| at.is_within(path)).cloned().collect();
        self.0.retain(|at| !at.is_within(path));
        taken
    }
}

pub(super) fn forbidden(errno: i32) -> bool {
    matches!(errno, libc::EACCES | libc::EPERM)
}

fn is_forbidden(value: Value) -> bool {
    matches!(value, Value::Unreadable { errno } if forbidden(errno))
}

/// All of it is called with the flights locked: a change of a mode that is looked at meanwhile is then either seen by
/// who notes, or sees what was noted.
impl Ground {
    fn with_shut<T>(&self, with: impl FnOnce(&mut Shut) -> T) -> T {
        with(&mut self.shut.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes why `dir` is not listed. Returns whether an event will tell when to try again.
    pub(super) fn shut_out(&self, dir: &RelPath, trouble: Trouble) -> bool {
        let (errno, shut_out) = match trouble {
            Trouble::Unlistable { errno } => (errno, dir.clone()),
            Trouble::NoRules { errno } => (errno, ignore_file_in(dir)),
            Trouble::Restless | Trouble::Rules { .. } | Trouble::Unwatched(_) => return false,
        };
        forbidden(errno) && self.with_shut(|shut| shut.note(shut_out))
    }

    /// Notes what a look at `path` found; returns what is now worth trying again.
    pub(super) fn seen_again(
        &self,
        path: &RelPath,
        value: Option<Value>,
        rules_unreadable: Option<i32>,
    ) -> Vec<RelPath> {
        self.with_shut(|shut| {
            let mut taken = shut.take_within(path);
            if rules_unreadable.is_some() {
                taken.clear();
                shut.note(path.clone());
            }
            if value.is_some_and(is_forbidden)
                && let Some((dir, _)) = path.split()
            {
                shut.note(dir);
            }
            taken
        })
    }

    /// Notes what of a directory just listed could not be seen.
    pub(super) fn listed(&self, dir: &RelPath, listing: &Listing, children: &[(Name, Value)]) {
        self.with_shut(|shut| {
            shut.0.remove(dir);
            if children.iter().any(|(_, value)| is_forbidden(*value)) {
                shut.note(dir.clone());
            }
            let rules = ignore_file_in(dir);
            if listing.rules_unreadable.is_some() {
                shut.note(rules);
            } else {
                shut.0.remove(&rules);
            }
        });
    }
}

impl Shared {
    /// Tries again what was noted.
    pub(super) fn open_again(&self, ground: &Ground, paths: &[RelPath]) {
        for path in paths {
            match path.split() {
                Some((dir, name)) if name.as_bytes() == IGNORE_FILE => {
                    self.put(ground, Task::Scan, &dir, &Passes::new());
                }
                Some(_) | None => self.put(ground, Task::Scan, path, &Passes::new()),
            }
        }
    }
}
