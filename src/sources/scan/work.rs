//! What a thread of the scanner does with one task.
//!
//! Holds: what could not be looked at is reported as unlisted, never as absent, and tried again: with growing pauses,
//! or when its permissions change. Being unlisted holds for all below, so trying again is a scan. Rules that changed
//! are followed whatever else becomes of the task that came by them: what any replica said by the old ones is taken back
//! before anything is said by the new ones.

use std::sync::PoisonError;
use std::time::Duration;

use super::fill::Fill;
use super::flight::{Landing, Sight, enter};
use super::pool::{Ground, Seen, Shared, Trouble};
use super::queue::{Passes, Task, Work};
use super::shut::forbidden;
use super::{ListError, Listing, list};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::Value;
use crate::sources::ignores::IGNORE_FILE;
use crate::sources::look::{Looked, Reading, look, take_rules};

/// After the first failure; doubled with each, up to five minutes.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// A directory that is found restless so often in a row is not waited for.
const RESTLESS_MAX: u32 = 5;
/// The most directories whose failures are counted.
const FAILURES_MAX: usize = 4096;

impl Shared {
    pub(super) fn work(&self, ground: &Ground, work: &Work) {
        for path in &work.paths {
            match work.task {
                Task::Look | Task::Arrive => self.look(ground, path, Reading::IfCheap, work),
                Task::Read => self.look(ground, path, Reading::Always, work),
                Task::List | Task::Fill | Task::Scan => self.list(ground, path, work),
            }
        }
    }

    fn look(&self, ground: &Ground, path: &RelPath, reading: Reading, work: &Work) {
        let tree = &ground.tree;
        let mut rules_changed = Vec::new();
        let (looked, again, waits) = loop {
            let flight = ground.flights().begin(Sight::Path(path.clone()));
            let looked = look(tree, path, reading, &ground.cancelled, &mut rules_changed);
            self.unlist_on_all(ground.sync, &rules_changed, Some((ground.id, flight)));
            let mut flights = ground.flights();
            if let Landing::Overtaken = flights.end(flight) {
                continue;
            }
            let (mut again, mut waits) = (Vec::new(), false);
            match &looked {
                Looked::Holds { path, value, rules_unreadable } => {
                    flights.seen(path, *value);
                    again = ground.seen_again(path, *value, *rules_unreadable);
                }
                Looked::Root => {
                    flights.overtake_all();
                    again = ground.seen_again(path, None, None);
                }
                Looked::Failed { dir, trouble } => waits = ground.shut_out(dir, *trouble),
                Looked::Nothing | Looked::RootGone => {}
            }
            let mut facts = tree.meanings();
            facts.extend(looked.fact(tree));
            if !facts.is_empty() {
                (ground.sink)(Seen::Facts(facts));
            }
            // Before anybody else reports: what he may say of it is newer.
            match &looked {
                Looked::Failed { dir, trouble } => ground.trouble(dir, *trouble),
                Looked::Holds { path, rules_unreadable: Some(errno), .. } => {
                    if let Some((dir, _)) = path.split() {
                        ground.trouble(&dir, Trouble::Rules { errno: *errno });
                    }
                }
                Looked::Holds { .. } | Looked::Nothing | Looked::Root | Looked::RootGone => {}
            }
            break (looked, again, waits);
        };
        self.scan_on_all(ground.sync, &rules_changed, None);
        self.open_again(ground, &again);
        match looked {
            Looked::Nothing | Looked::Root => {}
            Looked::RootGone => (ground.sink)(Seen::RootGone { replica: tree.replica }),
            Looked::Failed { dir, .. } => self.failed(ground, &dir, waits),
            Looked::Holds { path: found, value, rules_unreadable } => {
                if !value.is_some_and(|value| value.is_dir()) {
                    let rules_failed = rules_unreadable.is_some_and(|errno| !forbidden(errno));
                    if rules_failed || value.is_some_and(may_pass) {
                        self.look_later(ground, work.task, &found);
                    } else {
                        ground.forget_failures(&found);
                    }
                    return;
                }
                // What could not be looked at is not listed any more, whatever was known of it.
                let failed_before = ground.forget_failures(&found);
                let known = tree.watch.knows(tree.replica, &found) && !failed_before;
                if work.task == Task::Arrive {
                    // At once: what we made there ourselves is empty, and waits to be filled.
                    let work = Work { task: Task::Scan, paths: Vec::new(), ..work.clone() };
                    self.list(ground, &found, &work);
                } else if !known {
                    self.put(ground, Task::Scan, &found, &work.passes);
                } else if found != *path {
                    // It came back while it was asked for what is in it.
                    self.put(ground, Task::List, &found, &work.passes);
                }
            }
        }
    }

    fn list(&self, ground: &Ground, dir: &RelPath, work: &Work) {
        let flight = ground.flights().begin(Sight::Dir(dir.clone()));
        let (replica, ignores) = (ground.tree.replica, &ground.tree.ignores);
        let mut rules_changed = Vec::new();
        let is_out = || {
            ignores.matched_or_above(dir, true).is_some() || ignores.are_others_unread(replica, dir)
        };
        let is_out = is_out() || {
            self.take_rules_of_others(ground, dir, &mut rules_changed);
            !rules_changed.is_empty() && is_out()
        };
        if is_out {
            self.leave_out(ground, dir, work, flight, &rules_changed);
            return;
        }
        let except = (work.task == Task::Fill).then(|| ground.fills().begin(dir)).flatten();
        let fill = except.as_ref().map(|except| Fill { except, cancel: &ground.cancelled });
        let listed = list(&ground.tree, dir, fill.as_ref(), &mut rules_changed);
        if matches!(listed, Ok(_) | Err(ListError::Restless(_))) && ignores.are_unread(dir) {
            self.leave_out(ground, dir, work, flight, &rules_changed);
            return;
        }
        self.unlist_on_all(ground.sync, &rules_changed, Some((ground.id, flight)));
        if !self.landed(ground, dir, work, flight, listed) {
            if let Some(except) = except {
                ground.fills().ask(dir, except);
            }
            self.put(ground, work.task, dir, &work.passes);
        }
        // A scan goes on, or is put in again, by itself.
        let scanned = (work.task == Task::Scan).then_some((ground.id, dir));
        self.scan_on_all(ground.sync, &rules_changed, scanned);
    }

    /// It was put in before the rules were known. The listing above it, or that after they are, will say so.
    fn leave_out(
        &self,
        ground: &Ground,
        dir: &RelPath,
        work: &Work,
        flight: u64,
        rules_changed: &[RelPath],
    ) {
        self.unlist_on_all(ground.sync, rules_changed, Some((ground.id, flight)));
        let landing = ground.flights().end(flight);
        if let Landing::Overtaken = landing {
            self.put(ground, work.task, dir, &work.passes);
        }
        self.scan_on_all(ground.sync, rules_changed, None);
    }

    /// Of several replicas two are listed before the others are: what those leave out of `dir` must be known by then, as
    /// far as they can be looked at.
    fn take_rules_of_others(
        &self,
        ground: &Ground,
        dir: &RelPath,
        rules_changed: &mut Vec<RelPath>,
    ) {
        if !ground.tree.ignores.are_of_many() {
            // What is carried has been listed at both.
            return;
        }
        let is_rules = |name: &Vec<u8>| name == IGNORE_FILE;
        for other in self.trees_of(ground.sync) {
            let tree = &other.tree;
            let is_listed = || tree.watch.knows(tree.replica, dir);
            if other.id == ground.id || is_listed() {
                continue;
            }
            let Ok(handle) = tree.root.open_dir(dir) else { continue };
            if take_rules(tree, dir, &handle, rules_changed).is_some()
                && handle.entries().is_ok_and(|names| names.iter().any(is_rules))
            {
                rules_changed.extend(tree.ignores.cannot_read(tree.replica, dir));
            }
            if is_listed() {
                // It was listed meanwhile, and what was read here may be older.
                self.put(&other, Task::List, dir, &Passes::new());
            }
        }
    }

    /// Returns whether it was not overtaken: else it is to be done again.
    fn landed(
        &self,
        ground: &Ground,
        dir: &RelPath,
        work: &Work,
        flight: u64,
        listed: Result<Listing, ListError>,
    ) -> bool {
        let mut flights = ground.flights();
        let later = match flights.end(flight) {
            Landing::Stands(later) => later,
            Landing::Overtaken => return false,
        };
        let replica = ground.tree.replica;
        match listed {
            Ok(mut listing) => {
                let mut children = std::mem::take(&mut listing.children);
                enter(&mut children, later);
                flights.listed(dir, &children);
                ground.listed(dir, &listing, &children);
                let below = directories(dir, &children);
                let failed: Vec<Name> =
                    children.iter().filter(|(_, v)| may_pass(*v)).map(|(n, _)| n.clone()).collect();
                let mut facts = ground.tree.meanings();
                facts.push(Fact::Listed { replica, dir: dir.clone(), children });
                (ground.sink)(Seen::Facts(facts));
                ground.rules_trouble(dir, &listing);
                drop(flights);
                match listing.rules_unreadable {
                    Some(errno) if !forbidden(errno) => self.look_later(ground, Task::List, dir),
                    Some(_) | None => {
                        ground.forget_failures(dir);
                    }
                }
                self.after_listing(ground, dir, &listing, &below, work);
                for name in failed {
                    self.look_later(ground, Task::Look, &dir.join(&name));
                }
            }
            Err(ListError::Restless(mut listing)) => {
                let mut children = std::mem::take(&mut listing.children);
                enter(&mut children, later);
                ground.listed(dir, &listing, &children);
                let below = directories(dir, &children);
                let mut facts = ground.tree.meanings();
                facts.push(Fact::Unlisted { replica, dir: dir.clone() });
                facts.extend(children.into_iter().map(|(name, value)| {
                    let (path, value) = (dir.join(&name), Some(value));
                    Fact::Holds { replica, path, value }
                }));
                (ground.sink)(Seen::Facts(facts));
                ground.rules_trouble(dir, &listing);
                ground.trouble(dir, Trouble::Restless);
                drop(flights);
                self.try_again(ground, Task::Scan, dir, true);
                self.after_listing(ground, dir, &listing, &below, work);
            }
            Err(ListError::Gone) => {
                drop(flights);
                self.look(ground, dir, Reading::IfCheap, work);
            }
            Err(ListError::RootGone) => {
                (ground.sink)(Seen::RootGone { replica: ground.tree.replica });
            }
            Err(ListError::Failed { trouble }) => {
                (ground.sink)(Seen::Facts(vec![Fact::Unlisted { replica, dir: dir.clone() }]));
                let waits = ground.shut_out(dir, trouble);
                ground.trouble(dir, trouble);
                drop(flights);
                self.failed(ground, dir, waits);
            }
        }
        true
    }

    fn after_listing(
        &self,
        ground: &Ground,
        dir: &RelPath,
        listing: &Listing,
        below: &[RelPath],
        work: &Work,
    ) {
        let tree = &ground.tree;
        self.note_watched(ground, dir, listing.unwatched);
        for dir in below {
            if work.task == Task::Scan || !tree.watch.knows(tree.replica, dir) {
                self.put(ground, Task::Scan, dir, &work.passes);
            }
        }
    }

    /// Rules changed: what they are about is known no more, at any replica, until it has been listed by them. Else what one
    /// side no longer has, and leaves out, would look deleted to a side that has not heard of the rules.
    ///
    /// `own`: the tree and its observation that came by them.
    pub(super) fn unlist_on_all(&self, sync: u32, dirs: &[RelPath], own: Option<(u32, u64)>) {
        if dirs.is_empty() {
            return;
        }
        for other in self.trees_of(sync) {
            let own = own.filter(|(tree, _)| *tree == other.id).map(|(_, flight)| flight);
            let mut flights = other.flights();
            let facts = dirs.iter().map(|dir| {
                flights.overtake_within(dir, own);
                Fact::Unlisted { replica: other.tree.replica, dir: dir.clone() }
            });
            let facts = facts.collect();
            (other.sink)(Seen::Facts(facts));
        }
    }

    /// Rules changed: what they are about is listed again on all replicas, but for what is being scanned anyway.
    pub(super) fn scan_on_all(
        &self,
        sync: u32,
        dirs: &[RelPath],
        scanned: Option<(u32, &RelPath)>,
    ) {
        if dirs.is_empty() {
            return;
        }
        for other in self.trees_of(sync) {
            for dir in dirs {
                if scanned != Some((other.id, dir)) {
                    self.put(&other, Task::Scan, dir, &Passes::new());
                }
            }
        }
    }

    /// What could not be looked at or read, for a reason that may pass, is tried again: where more of them wait than are
    /// counted, by a scan of all.
    fn look_later(&self, ground: &Ground, task: Task, path: &RelPath) {
        let failures = ground.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_counted = failures.len() < FAILURES_MAX || failures.contains_key(path);
        drop(failures);
        if is_counted {
            self.try_again(ground, task, path, false);
        } else {
            self.put_later(ground, RETRY_MAX, Task::Scan, &RelPath::root(), false);
        }
    }

    /// `waits`: an event will tell when to try again. Most failures may end without one.
    fn failed(&self, ground: &Ground, dir: &RelPath, waits: bool) {
        if !waits {
            self.try_again(ground, Task::Scan, dir, false);
        }
    }

    /// `restless`: it most likely can be listed the next time, and is waited for.
    fn try_again(&self, ground: &Ground, task: Task, path: &RelPath, restless: bool) {
        let mut failures = ground.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILURES_MAX {
            failures.clear();
        }
        let count = failures.entry(path.clone()).or_default();
        let delay = RETRY_MIN.saturating_mul(1 << (*count).min(16)).min(RETRY_MAX);
        *count += 1;
        let counts = restless && *count <= RESTLESS_MAX;
        drop(failures);
        self.put_later(ground, delay, task, path, counts);
    }
}

impl Ground {
    /// Returns whether there were any.
    fn forget_failures(&self, path: &RelPath) -> bool {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(path).is_some()
    }

    fn rules_trouble(&self, dir: &RelPath, listing: &Listing) {
        if let Some(errno) = listing.rules_unreadable {
            self.trouble(dir, Trouble::Rules { errno });
        }
    }
}

/// Whether a child could not be looked at or read, and no event will tell when it can.
fn may_pass(value: Value) -> bool {
    matches!(value, Value::Unreadable { errno } if !forbidden(errno))
}

fn directories(dir: &RelPath, children: &[(Name, Value)]) -> Vec<RelPath> {
    let dirs = children.iter().filter(|(_, value)| value.is_dir());
    dirs.map(|(name, _)| dir.join(name)).collect()
}
