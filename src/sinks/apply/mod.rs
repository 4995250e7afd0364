//! The only code that touches a user's file.
//!
//! Holds: nothing is replaced or removed unless it still is what the job expects, looked at just before and again
//! just after, when it is ours to look at; what is displaced is kept by rename (INV-1); under a real name there is one
//! whole version at every instant (INV-4), where names can be swapped: else none for a moment. Never decides: a surprise
//! is put back and reported.

mod aside;
mod check;
mod error;
mod file;
mod other;
mod part;
mod place;
mod remove;
mod staged;
mod still;
mod swap;

use std::cell::{Ref, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::HashSet;
use serde::{Deserialize, Serialize};

use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::{Digest, Value};
use crate::sinks::stage::{OpId, Store};
use crate::sys::{Dir, Identity, Root, Stat};

pub use aside::{Aside, finish_aside};
pub use check::{
    digest_of, found, has_expected, is_as_known, is_empty, present, target_digest, value_of,
};
pub use error::{ApplyError, End};
use file::gone_or_at;
pub use file::{Origin, Sending, StagedFile, put_file, send_file, stage_file};
pub use other::{Bytes, Other, Said, say_entry, say_lacks};
pub(in crate::sinks) use part::forget_old;
pub use part::{Part, goes_on};
pub use place::{make_dir, put_symlink, set_metadata};
pub use remove::{delete, move_within};
pub use still::{Still, hold_still};

/// What is known about files without reading them.
pub trait KnownDigests: Send + Sync {
    /// The digest of the file that has this stat.
    fn digest(&self, stat: &Stat) -> Option<Digest>;
    /// A file that had this stat before and after it was read, which began at `since_ns`, has this digest.
    fn record(&self, stat: &Stat, digest: Digest, since_ns: i64);
    /// Whether the digest of a file that is put is of use to anybody. Where it is not, blocks can be shared without
    /// reading them.
    fn are_wanted(&self) -> bool {
        true
    }
}

/// A running act as others see it.
#[derive(Debug, Default)]
pub struct Control {
    cancelled: AtomicBool,
    moved: AtomicU64,
}

impl Control {
    /// The act shall end as soon as it can; what it did is undone.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Bytes moved so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(in crate::sinks) fn set_moved(&self, bytes: u64) {
        self.moved.store(bytes, Ordering::Relaxed);
    }
}

/// What the jobs of a batch use one after the other: the directories, mostly the same ones, and a buffer.
///
/// A directory that a user gave another name meanwhile is still written to; afterwards it is known which were.
#[derive(Default)]
pub struct Handles {
    buffer: RefCell<Vec<u8>>,
    from: RefCell<Option<Held>>,
    to: RefCell<Option<Held>>,
    /// Where a directory was that was used as a target, and is no more.
    left: RefCell<HashSet<RelPath>>,
}

/// A directory of a replica; the jobs of a batch may have several origins, with directories of the same names.
struct Held {
    root: Identity,
    dir: RelPath,
    handle: Rc<Dir>,
}

impl Held {
    fn is(&self, root: &Root, dir: &RelPath) -> bool {
        self.root == root.identity() && self.dir == *dir
    }
}

impl Handles {
    fn open(
        last: &RefCell<Option<Held>>,
        root: &Root,
        path: &RelPath,
    ) -> io::Result<(Rc<Dir>, Name)> {
        let (dir, name) = path.split().ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(held) = last.borrow().as_ref().filter(|held| held.is(root, &dir)) {
            return Ok((held.handle.clone(), name));
        }
        let handle = Rc::new(root.open_dir(&dir)?);
        *last.borrow_mut() = Some(Held { root: root.identity(), dir, handle: handle.clone() });
        Ok((handle, name))
    }

    /// The directory a path is in at the origin, and its name there.
    fn origin(&self, root: &Root, path: &RelPath) -> io::Result<(Rc<Dir>, Name)> {
        Self::open(&self.from, root, path)
    }

    /// The directory a path is in at the target, and its name there.
    fn target(&self, root: &Root, path: &RelPath) -> Result<(Rc<Dir>, Name), ApplyError> {
        let goes_on = |held: &Held| path.split().is_some_and(|(dir, _)| held.is(root, &dir));
        if !self.to.borrow().as_ref().is_some_and(goes_on) {
            self.leave(root);
        }
        let failed = gone_or_at(End::To, "open the directory it goes to");
        Self::open(&self.to, root, path).map_err(failed)
    }

    fn leave(&self, root: &Root) {
        if let Some(held) = self.to.take() {
            debug_assert_eq!(held.root, root.identity(), "a batch has one target");
            if !is_at(root, &held.dir, &held.handle).unwrap_or(false) {
                self.left.borrow_mut().insert(held.dir);
            }
        }
    }

    /// Where the directories were that targets were put in, as far as they are not there any more: what was put there is
    /// wherever the user moved them.
    pub fn left(&self, root: &Root) -> Ref<'_, HashSet<RelPath>> {
        self.leave(root);
        self.left.borrow()
    }
}

/// Whether a directory still is where it was opened.
fn is_at(root: &Root, dir: &RelPath, handle: &Dir) -> io::Result<bool> {
    let (now, then) = (root.open_dir(dir)?.fstat()?, handle.fstat()?);
    Ok((now.dev, now.ino) == (then.dev, then.ino))
}

/// Where something is put or removed.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    pub root: &'a Root,
    pub store: &'a Store,
    pub op: OpId,
    pub digests: &'a dyn KnownDigests,
}

/// What an act did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What the origin holds, its digest now known; `None` where nothing was read.
    pub from_now: Option<Value>,
    /// What the target holds now.
    pub to_now: Option<Value>,
    /// What was displaced; it is in the store under the operation's name.
    pub kept: Option<Value>,
}

#[cfg(test)]
mod part_tests;
#[cfg(test)]
mod refused_tests;
#[cfg(test)]
mod tests;
