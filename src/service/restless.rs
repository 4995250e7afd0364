//! Files that change while they are carried, again and again.
//!
//! Holds: such a file delays nothing but itself. For its first seconds it is tried at once, like any other; then when it has
//! rested for a while; and when it has not for [`PATIENCE`], it is carried from a snapshot. Where there are none, it is a
//! problem that ends when the file rests. What is remembered of a file that is not outstanding is bounded. Decided in 0010.

use std::time::{Duration, Instant};

use foldhash::HashMap;

use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::Act;
use crate::service::actor::Actor;
use crate::service::dispatch::{JobKey, Running};
use crate::service::problems::About;
use crate::sinks::apply::{ApplyError, End};
use crate::sinks::schedule::Item;
use crate::sys;

/// What changes no longer than this is an ordinary edit in several steps.
const YOUNG: Duration = Duration::from_secs(2);
/// So long nothing has changed when a file counts as resting: what never rests is looked at every 2 s.
const REST: Duration = Duration::from_secs(3);
/// Saves, builds and most downloads end within this; a log or a database lags no further behind.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The next snapshot waits so many times as long as carrying the last one took: a large database does not keep the disks
/// busy.
const EASE: u32 = 4;
/// The most files known to be restless; what is beyond goes on being tried like any other.
const KNOWN_MAX: usize = 4096;

struct Unrest {
    since: Instant,
    /// How long after `since` it is carried from a snapshot.
    patience: Duration,
    tries: u32,
    /// How often it was carried from a snapshot.
    carried: u32,
    has_no_snapshots: bool,
    /// Since when nothing is to be carried.
    gone: Option<Instant>,
}

impl Unrest {
    fn is_over(&self, now: Instant) -> bool {
        self.gone.is_some_and(|gone| now.saturating_duration_since(gone) > self.patience)
    }

    fn snapshot_at(&self) -> Instant {
        self.since + self.patience
    }
}

/// The files of a sync that do not rest, by job.
#[derive(Default)]
pub struct Restless {
    files: HashMap<JobKey, Unrest>,
}

impl Restless {
    /// An attempt found that the file had changed meanwhile.
    fn note(&mut self, key: JobKey, now: Instant) {
        if self.files.len() >= KNOWN_MAX {
            self.files.retain(|_, file| file.gone.is_none());
        }
        if self.files.len() < KNOWN_MAX || self.files.contains_key(&key) {
            let new = Unrest {
                since: now,
                patience: PATIENCE,
                tries: 0,
                carried: 0,
                has_no_snapshots: false,
                gone: None,
            };
            let file = self.files.entry(key).or_insert(new);
            file.tries = file.tries.saturating_add(1);
        }
    }

    /// When a file that has just changed may be tried; `None`: now.
    fn due(&self, key: JobKey, now: Instant) -> Option<Instant> {
        let file = self.files.get(&key)?;
        if file.carried == 0 && now < file.since + YOUNG {
            return None;
        }
        let rested = now + REST;
        Some(if file.has_no_snapshots { rested } else { rested.min(file.snapshot_at()).max(now) })
    }

    /// Whether it is time to carry it from a snapshot.
    fn is_due(&self, key: JobKey, now: Instant) -> bool {
        let file = self.files.get(&key);
        file.is_some_and(|file| !file.has_no_snapshots && now >= file.snapshot_at())
    }

    /// It was carried from a snapshot, which took so long.
    fn carried(&mut self, key: JobKey, took: Duration, gone: Option<Instant>, now: Instant) {
        if let Some(file) = self.files.get_mut(&key) {
            file.since = now;
            file.patience = PATIENCE + took.saturating_mul(EASE);
            file.carried = file.carried.saturating_add(1);
            (file.tries, file.gone) = (0, gone);
        }
    }

    /// The paths that are known here.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathId> {
        self.files.keys().map(|key| key.path)
    }

    /// Whether it is known that it can only rest.
    #[must_use]
    pub fn is_problem(&self, key: JobKey) -> bool {
        self.files.get(&key).is_some_and(|file| file.has_no_snapshots)
    }

    /// Whether there is a file that is only ever in sync with what it was: it was carried from a snapshot and still changes.
    #[must_use]
    pub fn never_rests(&self) -> bool {
        self.files.values().any(|file| file.carried > 0)
    }

    /// That a file, which is in sync, was carried from snapshots.
    #[must_use]
    pub fn past_words(&self, key: JobKey) -> Option<String> {
        let file = self.files.get(&key).filter(|file| file.carried > 0 && file.gone.is_some())?;
        let times = if file.carried == 1 { "once" } else { "several times" };
        Some(format!("it was carried {times} from a snapshot: it changes while it is read"))
    }

    /// How it stands with a file that does not rest, and how it will be carried.
    #[must_use]
    pub fn words(&self, key: JobKey, now: Instant) -> Option<String> {
        let file = self.files.get(&key)?;
        let mut words = "it changes while it is read".to_owned();
        if file.carried > 0 {
            words.push_str(&format!(", was carried {} times from a snapshot", file.carried));
        }
        if file.tries > 0 {
            words.push_str(&format!(", was tried {} times", file.tries));
        }
        let rest = REST.as_secs();
        if file.has_no_snapshots {
            words.push_str(&format!(
                "; its file system has no snapshots, so it is carried when it has rested for {rest} s"
            ));
        } else {
            let left = file.snapshot_at().saturating_duration_since(now).as_secs();
            words.push_str(&format!(
                "; it is carried when it has rested for {rest} s, or in {left} s from a snapshot"
            ));
        }
        Some(words)
    }
}

/// Whether it may carry the bytes of a file.
fn carries_file(row: &JobChange) -> bool {
    matches!(row.verdict.act, Act::Put { .. }) && row.moved_from.is_none()
}

impl Actor {
    /// Whether a job is to carry a snapshot.
    pub(crate) fn goes_from_snapshot(&self, key: JobKey, row: &JobChange, now: Instant) -> bool {
        carries_file(row) && self.restless.is_due(key, now)
    }

    /// Puts the job of a file that does not rest off; false if it may go now.
    pub(crate) fn put_off(&mut self, key: JobKey, item: Item) -> bool {
        if self.restless.files.is_empty() {
            return false;
        }
        let now = sys::now();
        if self.restless.files.get(&key).is_some_and(|file| file.is_over(now)) {
            self.restless.files.remove(&key);
        }
        if let Some(file) = self.restless.files.get_mut(&key) {
            file.gone = None;
        }
        let Some(until) = self.restless.due(key, now) else { return false };
        self.schedule.add_later(key, item, until);
        match self.restless.is_problem(key) {
            true => self.passing.remove(&key),
            false => self.passing.insert(key),
        };
        true
    }

    /// Takes in that a job failed or was called off; whether the file changed under it.
    pub(crate) fn take_unrest(
        &mut self,
        running: &Running,
        key: JobKey,
        error: &ApplyError,
        now: Instant,
    ) -> bool {
        let changed = match error {
            ApplyError::Torn | ApplyError::Stale(End::From) | ApplyError::Restless => true,
            ApplyError::Cancelled => running.unwanted && self.rows.contains_key(&key),
            ApplyError::Stale(End::To)
            | ApplyError::Busy
            | ApplyError::Together
            | ApplyError::NotEmpty
            | ApplyError::Clash
            | ApplyError::Surprise
            | ApplyError::Io { .. }
            | ApplyError::There { .. }
            | ApplyError::Away { .. }
            | ApplyError::Journal(_) => false,
        };
        // What one file of a repository or a group says rests on others: a snapshot of one alone would say it too early.
        if !changed || !carries_file(&running.change) || self.engine.paths().is_bound(key.path) {
            return false;
        }
        self.restless.note(key, now);
        if let Some(file) = self.restless.files.get_mut(&key) {
            file.has_no_snapshots |= matches!(error, ApplyError::Restless);
        }
        true
    }

    /// A job was carried out: a file that was read from its first to its last byte rests.
    pub(crate) fn take_rest(&mut self, running: &Running, key: JobKey, now: Instant) {
        if running.still {
            let took = now.saturating_duration_since(running.since);
            let gone = (!self.rows.contains_key(&key)).then_some(now);
            self.restless.carried(key, took, gone, now);
        } else {
            self.restless.files.remove(&key);
        }
    }

    /// What rows went without another one of their key: the file is carried, is gone, or waits for the user.
    pub(crate) fn leave_restless<'a>(&mut self, gone: impl Iterator<Item = &'a JobChange>) {
        if self.restless.files.is_empty() {
            return;
        }
        let now = sys::now();
        for change in gone {
            let key = JobKey { path: change.path, leaf: change.verdict.leaf };
            if self.rows.contains_key(&key) || self.running.contains_key(&key) {
                continue;
            }
            let Some(file) = self.restless.files.get_mut(&key) else { continue };
            file.gone = Some(now);
            let is_known = file.carried > 0;
            if file.has_no_snapshots
                && let Act::Put { to, .. } = change.verdict.act
            {
                let path = self.engine.paths().path(key.path);
                self.problems.clear(&path, to, About::Acting);
            }
            if !is_known {
                self.restless.files.remove(&key);
            }
        }
        self.call_off_stills();
    }

    /// A snapshot is carried to its end although the file goes on changing, but for a file that is not to go there any
    /// more.
    fn call_off_stills(&mut self) {
        for (key, running) in self.running.iter().filter(|(_, running)| running.still) {
            let goes_on = self.rows.get(key).is_some_and(|row| {
                row.verdict.act == running.change.verdict.act && carries_file(row)
            });
            if running.unwanted && !goes_on {
                running.control.cancel();
            }
        }
    }
}
