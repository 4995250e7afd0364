//! Which job is next: small before large, a live edit before backlog, and a share for the large ones.
//!
//! Pure: time is an argument. Holds: a parked job (its gate is closed) keeps its place and costs nothing; the slots are never
//! all taken by large jobs, and a second large one never takes the last that is free, so a small job waits for a small batch
//! at most; with anything else running, a waiting large job always gets a slot, and now and then what has waited longest
//! goes first, so nothing starves; what is cancelled is never handed out.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

use crate::dataflow::model::replica::Replica;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// What kind of work a job is: jobs of one gate can go in one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Agree,
    Delete,
    Put,
    Read,
}

/// What can hold a job back: the replica it writes to (or reads), the leaf it is about, and its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gate {
    pub replica: Replica,
    pub leaf: Replica,
    pub kind: Kind,
}

/// A job to be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub gate: Gate,
    /// Bytes that remain to be moved.
    pub bytes: u64,
    /// It comes from a change just seen, not from a first scan.
    pub live: bool,
}

/// Largest remaining bytes of each lane but the last; the first is for what the user bumped.
const LANE_BYTES_MAX: [u64; 5] = [0, 64 << 10, 1 << 20, 16 << 20, 256 << 20];
const LANES: usize = LANE_BYTES_MAX.len() + 1;
const BUMPED: usize = 0;
/// From this lane on a job goes alone and is *large*.
const LARGE: usize = 3;
/// Of so many small batches one goes to what has waited longest, whatever its lane: nothing starves.
const AGED_EVERY: u32 = 8;
/// The first batch after a rest has so many jobs, each one after it so many more: what becomes possible by the first
/// (a file, once its directory is there) does not wait for a long one.
const BATCH_GROWTH: usize = 8;
/// A batch ends when it has this many bytes.
const BATCH_BYTES_MAX: u64 = 4 << 20;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);

fn lane_of(bytes: u64) -> usize {
    #[cfg(test)]
    if has(Fault::SizeIgnored) {
        return 1;
    }
    (1..LANE_BYTES_MAX.len()).find(|lane| bytes <= LANE_BYTES_MAX[*lane]).unwrap_or(LANES - 1)
}

/// The order within a lane, before age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Live,
    /// Backlog that has bytes to move.
    Content,
    /// The rest: after the content, so that the first file does not wait for all directories.
    Bare,
}

impl Rank {
    const ALL: [Self; 3] = [Self::Live, Self::Content, Self::Bare];

    fn of(item: &Item) -> Self {
        match (item.live, item.bytes) {
            (true, _) => Self::Live,
            (false, 0) => Self::Bare,
            (false, _) => Self::Content,
        }
    }
}

/// A place in a lane: by rank, then by age.
type Place = (Rank, u64);
const FIRST: Place = (Rank::Live, 0);

struct Queued {
    item: Item,
    lane: usize,
    place: Place,
    attempts: u32,
}

struct Delayed {
    item: Item,
    until: Instant,
    attempts: u32,
}

/// Jobs that go to a worker together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<K> {
    pub gate: Gate,
    pub keys: Vec<K>,
    pub large: bool,
}

/// The queue of a sync. `slots` batches run at once at most.
pub struct Schedule<K> {
    slots: usize,
    running: usize,
    running_large: usize,
    sequence: u64,
    /// Small batches since one went to what had waited longest.
    since_aged: u32,
    /// Jobs in the last small batch since the last rest, at most.
    batch_jobs: usize,
    queued: HashMap<K, Queued>,
    lanes: BTreeMap<Gate, [BTreeMap<Place, K>; LANES]>,
    delayed: HashMap<K, Delayed>,
    due: BTreeMap<(Instant, u64), K>,
    /// How often a job failed that is not queued now because it runs.
    attempts: HashMap<K, u32>,
}

impl<K: Copy + Eq + Hash> Schedule<K> {
    /// # Panics
    /// With fewer than two slots: one is for small jobs alone.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        assert!(slots >= 2, "one slot is for small jobs alone");
        Self {
            slots,
            running: 0,
            running_large: 0,
            sequence: 0,
            since_aged: 0,
            batch_jobs: 0,
            queued: HashMap::new(),
            lanes: BTreeMap::new(),
            delayed: HashMap::new(),
            due: BTreeMap::new(),
            attempts: HashMap::new(),
        }
    }

    /// Queues a job; a job of this key that is queued or delayed is replaced.
    pub fn add(&mut self, key: K, item: Item) {
        self.cancel(key);
        self.enqueue(key, item, 0, lane_of(item.bytes));
    }

    /// As [`Self::add`], but the job is not due before `until`.
    pub fn add_later(&mut self, key: K, item: Item, until: Instant) {
        self.cancel(key);
        self.delay(key, Delayed { item, until, attempts: 0 });
    }

    fn delay(&mut self, key: K, delayed: Delayed) {
        self.sequence += 1;
        self.due.insert((delayed.until, self.sequence), key);
        self.delayed.insert(key, delayed);
    }

    fn enqueue(&mut self, key: K, item: Item, attempts: u32, lane: usize) {
        self.sequence += 1;
        let place = (Rank::of(&item), self.sequence);
        self.lanes.entry(item.gate).or_default()[lane].insert(place, key);
        self.queued.insert(key, Queued { item, lane, place, attempts });
    }

    /// Drops a job that is queued or delayed.
    pub fn cancel(&mut self, key: K) -> bool {
        self.attempts.remove(&key);
        if let Some(delayed) = self.delayed.remove(&key) {
            self.due.retain(|(until, _), k| *until != delayed.until || *k != key);
            return true;
        }
        let Some(queued) = self.queued.remove(&key) else {
            return false;
        };
        if let Some(lanes) = self.lanes.get_mut(&queued.item.gate) {
            lanes[queued.lane].remove(&queued.place);
        }
        true
    }

    /// Puts a job at the head of the queue; false if it is not waiting.
    pub fn bump(&mut self, key: K) -> bool {
        let item = self.queued.get(&key).map(|q| q.item);
        let Some(item) = item.or_else(|| self.delayed.get(&key).map(|d| d.item)) else {
            return false;
        };
        self.cancel(key);
        self.enqueue(key, item, 0, BUMPED);
        true
    }

    /// Makes delayed jobs due, and hands out the next batch of at most `max` jobs.
    ///
    /// `open` says how many jobs of a gate may go now, of small ones or of large ones. Each batch must be answered with [`Self::batch_done`].
    pub fn next(
        &mut self,
        now: Instant,
        max: usize,
        open: impl Fn(Gate, bool) -> usize,
    ) -> Option<Batch<K>> {
        self.make_due(now);
        let (open, open_large) = (|gate| open(gate, false), |gate| open(gate, true));
        if self.running >= self.slots {
            return None;
        }
        let small = self.best(open, 0..LARGE);
        let large = self.best(open_large, LARGE..LANES);
        let small_running = self.running - self.running_large;
        let is_first = self.running_large == 0;
        let large_may = is_first || self.running + 1 < self.slots;
        let large_must = large.is_some() && is_first && small_running > 0;
        #[cfg(test)]
        let (large_must, large_may) =
            (large_must && !has(Fault::NothingAges), large_may || has(Fault::LargeTakesLast));
        match (small, large) {
            (_, Some((gate, lane))) if large_must => Some(self.take_large(gate, lane)),
            (Some(head), _) => {
                let (gate, lane, from) = self.aged(open, head);
                Some(self.take_small(gate, lane, from, max.min(open(gate))))
            }
            (None, Some((gate, lane))) if large_may => Some(self.take_large(gate, lane)),
            (None, _) => None,
        }
    }

    /// Of the open gates, the head that comes first: by lane, then rank, then age.
    fn best(
        &self,
        open: impl Fn(Gate) -> usize,
        within: std::ops::Range<usize>,
    ) -> Option<(Gate, usize)> {
        let heads =
            self.lanes.iter().filter(|(gate, _)| open(**gate) > 0).filter_map(|(gate, lanes)| {
                let lane = within.clone().find(|lane| !lanes[*lane].is_empty())?;
                let place = lanes[lane].keys().next()?;
                Some((lane, *place, *gate))
            });
        heads.min().map(|(lane, _, gate)| (gate, lane))
    }

    /// Where the next small batch starts: at this head, or now and then at what has waited longest.
    fn aged(
        &mut self,
        open: impl Fn(Gate) -> usize,
        (gate, lane): (Gate, usize),
    ) -> (Gate, usize, Place) {
        self.since_aged += 1;
        #[cfg(test)]
        if has(Fault::NothingAges) {
            return (gate, lane, FIRST);
        }
        if lane == BUMPED || self.since_aged < AGED_EVERY {
            return (gate, lane, FIRST);
        }
        self.since_aged = 0;
        let open = self.lanes.iter().filter(|(gate, _)| open(**gate) > 0);
        let heads = open.flat_map(|(gate, lanes)| {
            let places = (1..LARGE).flat_map(move |lane| {
                let head = move |rank| lanes[lane].range((rank, 0)..).next();
                Rank::ALL.into_iter().filter_map(head).map(move |(place, _)| (lane, *place))
            });
            places.map(move |(lane, place)| (place.1, *gate, lane, place))
        });
        heads.min().map_or((gate, lane, FIRST), |(_, gate, lane, place)| (gate, lane, place))
    }

    fn take_small(&mut self, gate: Gate, lane: usize, from: Place, max: usize) -> Batch<K> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        self.batch_jobs = self.batch_jobs.saturating_add(BATCH_GROWTH);
        let max = max.min(self.batch_jobs);
        while keys.len() < max.max(1) && bytes < BATCH_BYTES_MAX {
            let Some((key, item)) = self.pop(gate, lane, from) else {
                break;
            };
            bytes += item.bytes;
            keys.push(key);
        }
        self.running += 1;
        Batch { gate, keys, large: false }
    }

    fn take_large(&mut self, gate: Gate, lane: usize) -> Batch<K> {
        let (key, _) = self.pop(gate, lane, FIRST).expect("the lane has a head");
        self.running += 1;
        self.running_large += 1;
        Batch { gate, keys: vec![key], large: true }
    }

    fn pop(&mut self, gate: Gate, lane: usize, from: Place) -> Option<(K, Item)> {
        let lane = &mut self.lanes.get_mut(&gate)?[lane];
        let place = *lane.range(from..).next()?.0;
        let key = lane.remove(&place)?;
        let queued = self.queued.remove(&key).expect("lanes and queued hold the same jobs");
        if queued.attempts > 0 {
            self.attempts.insert(key, queued.attempts);
        }
        Some((key, queued.item))
    }

    /// A batch came back.
    pub fn batch_done(&mut self, large: bool) {
        self.running -= 1;
        self.running_large -= usize::from(large);
        if self.running == 0 && self.queued.is_empty() {
            self.batch_jobs = 0;
        }
    }

    /// A job succeeded or is no longer wanted.
    pub fn forget(&mut self, key: K) {
        self.attempts.remove(&key);
    }

    /// A job failed: it is due again after a pause that doubles with every failure.
    pub fn failed(&mut self, key: K, item: Item, now: Instant) {
        let attempts = self.attempts.remove(&key).unwrap_or(0) + 1;
        let pause = RETRY_FIRST.saturating_mul(1 << (attempts - 1).min(16)).min(RETRY_MAX);
        self.delay(key, Delayed { item, until: now + pause, attempts });
    }

    /// As [`Self::failed`], for a failure whose reason is gone: the first time it is due at once.
    pub fn interrupted(&mut self, key: K, item: Item, now: Instant) {
        match self.attempts.contains_key(&key) {
            true => self.failed(key, item, now),
            false => self.enqueue(key, item, 1, lane_of(item.bytes)),
        }
    }

    /// Forgets all pauses: what failed is tried again now.
    pub fn retry_all(&mut self) {
        self.due.clear();
        for (key, delayed) in std::mem::take(&mut self.delayed) {
            self.enqueue(key, delayed.item, delayed.attempts, lane_of(delayed.item.bytes));
        }
    }

    fn make_due(&mut self, now: Instant) {
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            if let Some(delayed) = self.delayed.remove(&key) {
                self.enqueue(key, delayed.item, delayed.attempts, lane_of(delayed.item.bytes));
            }
        }
    }

    /// When a delayed job is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.keys().next().map(|(until, _)| *until)
    }

    /// Whether a queued job could go if a slot were free.
    pub fn has_runnable(&self, open: impl Fn(Gate) -> usize) -> bool {
        self.best(open, 0..LANES).is_some()
    }

    /// Gives back what a long queue needed.
    pub fn shrink(&mut self) {
        self.queued.shrink_to_fit();
        self.delayed.shrink_to_fit();
        self.attempts.shrink_to_fit();
    }

    /// All jobs that are known here, some more than once.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.queued
            .keys()
            .chain(self.delayed.keys())
            .chain(self.due.values())
            .chain(self.attempts.keys())
    }

    /// How many jobs wait, the delayed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len() + self.delayed.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many jobs go before this one; `None` if it is not queued.
    #[must_use]
    pub fn position(&self, key: K) -> Option<usize> {
        let queued = self.queued.get(&key)?;
        let ahead = |lanes: &[BTreeMap<Place, K>; LANES]| -> usize {
            let smaller: usize = lanes[..queued.lane].iter().map(BTreeMap::len).sum();
            smaller + lanes[queued.lane].range(..queued.place).count()
        };
        Some(self.lanes.values().map(ahead).sum())
    }

    /// When a delayed job is tried again, and how often it failed.
    #[must_use]
    pub fn delayed(&self, key: K) -> Option<(Instant, u32)> {
        self.delayed.get(&key).map(|delayed| (delayed.until, delayed.attempts))
    }
}

#[cfg(test)]
mod tests;
