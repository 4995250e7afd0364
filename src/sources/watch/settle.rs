//! When a hint is passed on: pure, time is an argument.
//!
//! Holds: what is over (a close after writing, a rename, a delete, a chmod) is passed on at the next [`Settle::due`],
//! without delay. A file still being written waits until it is quiet, for 20 ms, doubled with every time it goes on,
//! at most 2 s; so a file that never rests is looked at every 2 s. One hint a path; at rest there is no deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

use super::Hint;

/// A moment, as the time since some fixed one.
pub type At = Duration;

/// A new name: mostly its close follows within this.
const NEW: Duration = Duration::from_millis(5);
const QUIET_MIN: Duration = Duration::from_millis(20);
const QUIET_MAX: Duration = Duration::from_secs(2);
/// So many quiet times must pass unchanged before the next change counts as the first again.
const REST: u32 = 10;
/// The most paths waiting or remembered; beyond, whole directories are listed.
const WAITING_MAX: usize = 4096;
/// The most hints to pass on; beyond, everything is looked at again.
const READY_MAX: usize = 65_536;

/// Something that happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is over: look now.
    Done,
    /// A name came to be, perhaps of a file being written.
    Created,
    /// Bytes were written by somebody who may go on.
    Writing,
}

struct Waiting {
    /// The first change not passed on yet; none: it was passed on and is remembered.
    since: Option<At>,
    quiet: Duration,
    due: At,
}

/// The hints of one watcher.
#[derive(Default)]
pub struct Settle {
    ready: BTreeSet<(Replica, RelPath)>,
    lists: BTreeSet<(Replica, RelPath)>,
    scans: BTreeSet<(Replica, RelPath)>,
    whole: BTreeMap<Replica, Hint>,
    waiting: HashMap<(Replica, RelPath), Waiting>,
}

impl Settle {
    /// Takes in a change of a path.
    pub fn change(&mut self, now: At, replica: Replica, path: RelPath, change: Change) {
        let key = (replica, path);
        let (quiet, writing) = match change {
            Change::Done => {
                self.waiting.remove(&key);
                self.look(key);
                return;
            }
            Change::Created => (NEW, false),
            Change::Writing => (QUIET_MIN, true),
        };
        match self.waiting.get_mut(&key) {
            Some(known) if known.since.is_some() || now < known.due => {
                let since = *known.since.get_or_insert(now);
                if writing {
                    known.quiet = known.quiet.max(QUIET_MIN);
                    known.due = (now + known.quiet).min(since + QUIET_MAX);
                } else {
                    known.due = known.due.min(now + quiet);
                }
            }
            Some(_) | None => {
                self.make_room(now);
                if self.waiting.len() >= WAITING_MAX {
                    self.list(key);
                } else {
                    self.waiting.insert(key, Waiting { since: Some(now), quiet, due: now + quiet });
                }
            }
        }
    }

    /// Takes in that a directory came from elsewhere.
    pub fn scan(&mut self, replica: Replica, dir: RelPath) {
        self.scans.insert((replica, dir));
        self.bound();
    }

    /// Takes in a hint about a whole directory or replica.
    pub fn hint(&mut self, replica: Replica, hint: Hint) {
        match hint {
            Hint::Look(path) => self.look((replica, path)),
            Hint::List(dir) => drop(self.lists.insert((replica, dir))),
            Hint::Scan(dir) => drop(self.scans.insert((replica, dir))),
            Hint::Overflow => drop(self.whole.entry(replica).or_insert(hint)),
            Hint::RootGone => drop(self.whole.insert(replica, hint)),
        }
        self.bound();
    }

    /// What is to be passed on now.
    pub fn due(&mut self, now: At) -> Vec<(Replica, Hint)> {
        self.wake(|waiting| waiting.due <= now, now);
        self.take()
    }

    /// All there is, quiet or not.
    pub fn all(&mut self, now: At) -> Vec<(Replica, Hint)> {
        self.wake(|_| true, now);
        self.take()
    }

    /// When [`Settle::due`] must be asked next, if nothing happens before; `None` at rest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<At> {
        let waiting = self.waiting.values().filter(|w| w.since.is_some());
        waiting.map(|w| w.due).min()
    }

    fn wake(&mut self, which: impl Fn(&Waiting) -> bool, now: At) {
        let mut woken = Vec::new();
        for (key, waiting) in &mut self.waiting {
            if waiting.since.is_some() && which(waiting) {
                waiting.since = None;
                waiting.quiet = (waiting.quiet * 2).clamp(QUIET_MIN, QUIET_MAX);
                waiting.due = now + waiting.quiet * REST;
                woken.push(key.clone());
            }
        }
        for key in woken {
            self.look(key);
        }
    }

    fn take(&mut self) -> Vec<(Replica, Hint)> {
        let mut hints: Vec<(Replica, Hint)> = std::mem::take(&mut self.whole).into_iter().collect();
        // What arrived is looked at anyway.
        let looks = std::mem::take(&mut self.ready).into_iter();
        let looks = looks.filter(|key| !self.scans.contains(key));
        hints.extend(looks.map(|(replica, path)| (replica, Hint::Look(path))));
        let lists = std::mem::take(&mut self.lists).into_iter();
        hints.extend(lists.map(|(replica, dir)| (replica, Hint::List(dir))));
        let scans = std::mem::take(&mut self.scans).into_iter();
        hints.extend(scans.map(|(replica, dir)| (replica, Hint::Scan(dir))));
        hints
    }

    fn look(&mut self, key: (Replica, RelPath)) {
        self.ready.insert(key);
        self.bound();
    }

    fn list(&mut self, (replica, path): (Replica, RelPath)) {
        let dir = path.split().map_or(path, |(dir, _)| dir);
        self.lists.insert((replica, dir));
        self.bound();
    }

    fn bound(&mut self) {
        if self.ready.len() + self.lists.len() + self.scans.len() > READY_MAX {
            let ready = std::mem::take(&mut self.ready).into_iter();
            let all =
                ready.chain(std::mem::take(&mut self.lists)).chain(std::mem::take(&mut self.scans));
            for (replica, _) in all {
                self.whole.entry(replica).or_insert(Hint::Overflow);
            }
        }
    }

    /// Forgets paths that have been quiet long enough.
    fn make_room(&mut self, now: At) {
        if self.waiting.len() >= WAITING_MAX / 2 {
            self.waiting.retain(|_, waiting| waiting.since.is_some() || now < waiting.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    fn ms(ms: u64) -> At {
        Duration::from_millis(ms)
    }

    fn looks(hints: &[(Replica, Hint)]) -> Vec<String> {
        hints.iter().map(|(_, hint)| format!("{hint:?}")).collect()
    }

    fn change(settle: &mut Settle, at: u64, text: &str, change: Change) {
        settle.change(ms(at), Replica::SOURCE, path(text), change);
    }

    #[test]
    fn what_is_over_goes_at_once_and_once() {
        let mut settle = Settle::default();
        change(&mut settle, 0, "f", Change::Created);
        change(&mut settle, 0, "f", Change::Writing);
        change(&mut settle, 1, "f", Change::Done);
        change(&mut settle, 1, "f", Change::Done);
        assert_eq!(looks(&settle.due(ms(1))), ["Look(f)"]);
        assert_eq!(settle.next_deadline(), None);
        assert!(settle.due(ms(10_000)).is_empty());
    }

    #[test]
    fn a_name_without_a_close_waits_five_milliseconds() {
        let mut settle = Settle::default();
        change(&mut settle, 0, "link", Change::Created);
        assert!(settle.due(ms(4)).is_empty());
        assert_eq!(settle.next_deadline(), Some(ms(5)));
        assert_eq!(looks(&settle.due(ms(5))), ["Look(link)"]);
        assert_eq!(settle.next_deadline(), None);
    }

    #[test]
    fn a_file_being_written_waits_for_quiet() {
        let mut settle = Settle::default();
        for at in (0..100).step_by(10) {
            change(&mut settle, at, "f", Change::Writing);
            assert!(settle.due(ms(at)).is_empty());
        }
        assert_eq!(settle.next_deadline(), Some(ms(110)));
        assert_eq!(looks(&settle.due(ms(110))), ["Look(f)"]);
    }

    /// When a file written to every `every` ms for a minute is looked at.
    fn looked_at(every: usize) -> Vec<u64> {
        let mut settle = Settle::default();
        let mut at = Vec::new();
        for now in 0..60_000 {
            if now % every as u64 == 0 {
                change(&mut settle, now, "log", Change::Writing);
            }
            if !settle.due(ms(now)).is_empty() {
                at.push(now);
            }
        }
        at
    }

    #[test]
    fn a_file_that_never_rests_is_looked_at_every_two_seconds() {
        let at = looked_at(1);
        assert_eq!(at[..3], [2000, 4001, 6002]);
        let at = looked_at(100);
        assert_eq!(at[0], 20);
        assert!(at.len() < 40, "delays double: {at:?}");
        assert!(at.windows(2).all(|two| two[1] - two[0] <= 2100), "{at:?}");
    }

    #[test]
    fn a_write_after_a_long_rest_is_a_first_write() {
        let at = looked_at(5000);
        assert_eq!(at.len(), 12);
        assert!(at.iter().all(|at| at % 5000 == 20));
    }

    #[test]
    fn a_directory_that_came_and_changed_its_mode_is_one_hint() {
        let mut settle = Settle::default();
        settle.scan(Replica::SOURCE, path("d"));
        change(&mut settle, 0, "d", Change::Done);
        change(&mut settle, 0, "e", Change::Done);
        assert_eq!(looks(&settle.due(ms(0))), ["Look(e)", "Scan(d)"]);
        assert!(settle.due(ms(0)).is_empty());
    }

    #[test]
    fn asked_for_all_it_waits_for_nothing() {
        let mut settle = Settle::default();
        change(&mut settle, 0, "f", Change::Writing);
        assert_eq!(looks(&settle.all(ms(0))), ["Look(f)"]);
        assert_eq!(settle.next_deadline(), None);
    }

    #[test]
    fn too_many_files_being_written_become_a_listing() {
        let mut settle = Settle::default();
        for i in 0..10_000 {
            change(&mut settle, 0, &format!("d/f{i}"), Change::Writing);
        }
        let hints = settle.due(ms(20));
        assert_eq!(hints.len(), WAITING_MAX + 1);
        assert_eq!(hints.last(), Some(&(Replica::SOURCE, Hint::List(path("d")))));
        change(&mut settle, 10_000, "later", Change::Writing);
        assert_eq!(settle.waiting.len(), 1, "the others are forgotten");
    }

    #[test]
    fn too_many_hints_become_an_overflow() {
        let mut settle = Settle::default();
        for i in 0..=READY_MAX {
            change(&mut settle, 0, &format!("f{i}"), Change::Done);
        }
        assert_eq!(settle.due(ms(0)), [(Replica::SOURCE, Hint::Overflow)]);
    }
}
