//! One directory, listed.
//!
//! Holds: a listing names every child or is an error. It counts only if the directory, and the root it is in, were the
//! same before and after, and what is left out of it is known; nothing but a listing says that a child is absent (INV-3).

use std::time::Duration;

mod fill;
mod flight;
pub mod pool;
mod queue;
mod shut;
mod unwatched;
mod work;

use super::ignores::IGNORE_FILE;
use super::look::take_rules;
use super::tree::{Tree, errno};
use super::watch::{Added, WatchError};
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::Value;
use crate::sys::{self, Dir, Stat, now_ns};
use fill::Fill;
use pool::Trouble;

/// How often a directory that changes meanwhile is listed in one go.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// What a listing found.
#[derive(Debug)]
pub struct Listing {
    /// All children, by name.
    pub children: Vec<(Name, Value)>,
    /// Why changes here will not be noticed, if they will not.
    pub unwatched: Option<WatchError>,
    /// The number of the error that the file of rules here could not be read with; the old rules hold.
    pub rules_unreadable: Option<i32>,
}

/// Why a directory was not listed. None of them says anything about what is in it.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is no directory (any more), or in another file system: to be looked at as a path.
    #[error("the directory is gone")]
    Gone,
    /// The root is gone, or another directory is in its place.
    #[error("the root is gone")]
    RootGone,
    /// It changed every time; what was seen the last time, some of it, perhaps, twice or not at all.
    #[error("the directory changed every time it was listed")]
    Restless(Listing),
    /// Opening or reading it failed; or its file of rules cannot be read and never was, so what it leaves out is not known.
    #[error("the directory: {trouble}")]
    Failed { trouble: Trouble },
}

impl ListError {
    fn of(error: &std::io::Error, dir: &RelPath) -> Self {
        match errno(error) {
            libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV if dir.is_root() => {
                Self::RootGone
            }
            libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV => Self::Gone,
            errno => Self::Failed { trouble: Trouble::Unlistable { errno } },
        }
    }
}

/// Watches and lists one directory; `fill` says what is read there. Whatever becomes of that, `rules_changed` gets the directories to be listed again
/// on all replicas because rules in or below this one are new or gone.
///
/// # Errors
/// Why it is not listed.
pub fn list(
    tree: &Tree,
    dir: &RelPath,
    fill: Option<&Fill<'_>>,
    rules_changed: &mut Vec<RelPath>,
) -> Result<Listing, ListError> {
    let mut tries = 0;
    let listing = loop {
        tries += 1;
        let (listing, same) = list_once(tree, dir, fill, rules_changed)
            .map_err(|error| ListError::of(&error, dir))?;
        if same {
            break Ok(listing);
        }
        if tries == TRIES {
            break Err(listing);
        }
        sys::pause(PAUSE * (1 << tries));
    };
    if !tree.root.still_there() {
        return Err(ListError::RootGone);
    }
    let (Ok(found) | Err(found)) = &listing;
    // Where names can be read but nothing else, it is seen that there is no such file.
    let has_rules = || found.children.iter().any(|(name, _)| name.as_bytes() == IGNORE_FILE);
    if let Some(errno) = found.rules_unreadable
        && !tree.ignores.knows(tree.replica, dir)
    {
        if has_rules() {
            rules_changed.extend(tree.ignores.cannot_read(tree.replica, dir));
            return Err(ListError::Failed { trouble: Trouble::NoRules { errno } });
        }
        rules_changed.extend(tree.ignores.set(tree.replica, dir, None));
    }
    listing.map_err(ListError::Restless)
}

/// One try, and whether the directory stayed the same meanwhile.
fn list_once(
    tree: &Tree,
    dir: &RelPath,
    fill: Option<&Fill<'_>>,
    rules_changed: &mut Vec<RelPath>,
) -> std::io::Result<(Listing, bool)> {
    let handle = tree.root.open_dir(dir)?;
    // The watch first: what changes after the listing is an event.
    let unwatched = watch(tree, dir, &handle)?;
    let began_ns = now_ns();
    let before = handle.fstat()?;
    let rules_unreadable = take_rules(tree, dir, &handle, rules_changed);
    let rules = tree.ignores.in_dir(dir);
    let names = handle.entries()?;
    let mut children = Vec::with_capacity(names.len());
    let mut same = true;
    for bytes in names {
        if tree.is_own(dir, &bytes) {
            continue;
        }
        let name = Name::parse(&bytes).map_err(|_| std::io::Error::from_raw_os_error(libc::EIO))?;
        let value = match handle.found(&bytes) {
            Ok(Some(stat)) => {
                let value = tree.value(&handle, &rules, &bytes, &stat);
                let filled =
                    |fill: &Fill<'_>| fill.value(tree, (dir, &handle), (&name, &stat), value);
                fill.map_or(value, filled)
            }
            Ok(None) => {
                same = false;
                continue;
            }
            Err(error) => Value::Unreadable { errno: errno(&error) },
        };
        children.push((name, value));
    }
    children.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    same &= stands(&before, &handle.fstat()?) && children.is_sorted_by(|(a, _), (b, _)| a < b);
    if unwatched.is_some() {
        // No event will tell what a clock tick hides, or that a directory above was renamed.
        let grain_ns = tree.root.grain_ns();
        same &= grain_ns == 0 || before.ctime_ns.saturating_add(grain_ns) < began_ns;
        let now = tree.root.open_dir(dir)?.fstat()?;
        same &= (now.dev, now.ino) == (before.dev, before.ino);
    }
    let is_dir = |name: &[u8]| {
        let found = children.binary_search_by(|(other, _)| other.as_bytes().cmp(name));
        found.is_ok_and(|at| children[at].1.is_dir())
    };
    rules_changed.extend(tree.ignores.keep_only(tree.replica, dir, is_dir));
    Ok((Listing { children, unwatched, rules_unreadable }, same))
}

fn watch(tree: &Tree, dir: &RelPath, handle: &Dir) -> std::io::Result<Option<WatchError>> {
    let own = handle.fstat()?;
    let still_here = || {
        let now = tree.root.open_dir(dir).and_then(|now| now.fstat());
        now.is_ok_and(|now| (now.dev, now.ino) == (own.dev, own.ino))
    };
    match tree.watch.add(tree.replica, dir, std::os::fd::AsFd::as_fd(handle), &still_here) {
        Ok(Added::New | Added::Known) => Ok(None),
        Ok(Added::Elsewhere) => Err(std::io::Error::from_raw_os_error(libc::ENOENT)),
        Err(error) => Ok(Some(error)),
    }
}

fn stands(before: &Stat, after: &Stat) -> bool {
    let key = |stat: &Stat| (stat.dev, stat.ino, stat.mtime_ns, stat.ctime_ns);
    key(before) == key(after)
}
