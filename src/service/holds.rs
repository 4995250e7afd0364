//! What holds a sync back: the user's pause, a root that is not what it was, a mass delete.
//!
//! Holds: a lost root stops everything; a held mass delete stops deletes of that replica alone. While an end is being looked
//! at, what is to go may have been moved: for a few seconds no delete goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[cfg(test)]
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::rules::brake::{Brake, Flow};
use crate::service::actor::Actor;
use crate::sinks::journal::registry::SyncRecord;
use crate::sinks::schedule::{Gate, Kind};
use crate::sinks::transfer::now_ms;
use crate::sys;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// So long deletes wait at most for what is being looked at at either end.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Why a root cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootHold {
    Missing,
    Replaced,
}

#[derive(Default)]
struct AtReplica {
    brake: Brake,
    /// When the first delete of the burst was handed out, in Unix milliseconds.
    since_ms: u64,
    /// Since when something here is being looked at.
    looked_at: Option<Instant>,
}

impl AtReplica {
    /// Until when that keeps deletes back.
    fn looked_until(&self, now: Instant) -> Option<Instant> {
        self.looked_at.map(|since| since + LOOK_MAX).filter(|until| *until > now)
    }
}

/// All holds of a sync.
#[derive(Default)]
pub struct Holds {
    pub paused: bool,
    pub roots: BTreeMap<Replica, RootHold>,
    /// Replicas on other machines that are not reached: nothing flows with them.
    pub away: ReplicaSet,
    replicas: BTreeMap<Replica, AtReplica>,
    /// A deliberate fault: something is in conflict, which stops everything.
    #[cfg(test)]
    pub stuck: bool,
}

impl Holds {
    /// The holds of a sync as it is remembered.
    #[must_use]
    pub fn of(record: &SyncRecord) -> Self {
        let brake = |r: Replica| AtReplica {
            brake: Brake::latched(record.held.contains(r)),
            ..AtReplica::default()
        };
        let replicas = record.leaves().with(Replica::SOURCE);
        let replicas = replicas.iter().map(|r| (r, brake(r))).collect();
        let hosts: Vec<Replica> = record.hosts.iter().map(|(replica, _)| *replica).collect();
        let away = ReplicaSet::of(&hosts);
        Self { paused: record.paused, away, replicas, ..Self::default() }
    }

    /// Whether nothing at all flows.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.paused || !self.roots.is_empty()
    }

    /// How many jobs of a gate may go now.
    #[must_use]
    pub fn open(&self, gate: Gate, now: Instant) -> usize {
        let is_away = self.away.contains(gate.leaf) || self.away.contains(Replica::SOURCE);
        if self.is_stopped() || is_away {
            return 0;
        }
        #[cfg(test)]
        if self.stuck {
            return 0;
        }
        if gate.kind != Kind::Delete {
            return usize::MAX;
        }
        #[cfg(test)]
        if has(Fault::BrakeIgnored) {
            return usize::MAX;
        }
        let is_looked_at =
            |replica| self.replicas.get(replica).is_some_and(|at| at.looked_until(now).is_some());
        if [gate.leaf, Replica::SOURCE].iter().any(is_looked_at) {
            return 0;
        }
        let Some(at) = self.replicas.get(&gate.replica) else { return 0 };
        match at.brake.flow(now) {
            Flow::Free => usize::MAX,
            Flow::Budget(budget) => {
                usize::try_from(budget.saturating_sub(at.brake.under_way())).unwrap_or(usize::MAX)
            }
            Flow::Wait | Flow::Held => 0,
        }
    }

    pub fn started(&mut self, replica: Replica, deletes: usize) {
        if let Some(at) = self.replicas.get_mut(&replica) {
            if at.brake.carried() == 0 && at.brake.under_way() == 0 {
                at.since_ms = now_ms();
            }
            at.brake.started(deletes as u64);
        }
    }

    /// Since when the deletes of the present burst were carried out, in Unix milliseconds; `None` if none was.
    #[must_use]
    pub fn burst_since_ms(&self, replica: Replica) -> Option<u64> {
        let at = self.replicas.get(&replica)?;
        (at.brake.carried() > 0).then_some(at.since_ms)
    }

    pub fn ended(&mut self, replica: Replica) {
        if let Some(at) = self.replicas.get_mut(&replica) {
            at.brake.ended();
        }
    }

    pub fn carried_out(&mut self, replica: Replica, deletes: u64) {
        if let Some(at) = self.replicas.get_mut(&replica) {
            at.brake.carried_out(deletes);
        }
    }

    /// The root of `replica` was listed and is empty, though it had `files` files: what will be deleted is on the
    /// other replicas.
    pub fn emptied(&mut self, replica: Replica, files: u64) {
        let now = sys::now();
        #[cfg(test)]
        if has(Fault::EmptiedUnnoticed) {
            return;
        }
        for (other, at) in &mut self.replicas {
            if *other != replica && (replica.is_source() || other.is_source()) {
                at.brake.emptied(now, files);
            }
        }
    }

    /// Replicas whose deletes are held, with how many.
    #[must_use]
    pub fn held(&self) -> ReplicaSet {
        let held = self.replicas.iter().filter(|(_, at)| at.brake.is_held()).map(|(r, _)| *r);
        ReplicaSet::of(&held.collect::<Vec<_>>())
    }

    pub fn brake_mut(&mut self, replica: Replica) -> Option<&mut Brake> {
        self.replicas.get_mut(&replica).map(|at| &mut at.brake)
    }

    /// Something is left to be looked at, or to be taken in, at these replicas.
    pub fn looking(&mut self, busy: ReplicaSet, now: Instant) {
        for (_, at) in self.replicas.iter_mut().filter(|(replica, _)| busy.contains(**replica)) {
            at.looked_at.get_or_insert(now);
        }
    }

    /// As [`Self::looking`]; at all others nothing is. Whether deletes may have waited for that.
    pub fn looked(&mut self, busy: ReplicaSet, now: Instant) -> bool {
        self.looking(busy, now);
        let quiet = self.replicas.iter_mut().filter(|(replica, _)| !busy.contains(**replica));
        quiet.fold(false, |is, (_, at)| is | at.looked_at.take().is_some())
    }

    /// Whether deletes wait until it is clear whether they are too many, or are moves.
    #[must_use]
    pub fn is_deciding(&self, now: Instant) -> bool {
        let waits =
            |at: &AtReplica| at.brake.flow(now) == Flow::Wait || at.looked_until(now).is_some();
        !self.is_stopped() && self.replicas.values().any(waits)
    }

    #[must_use]
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let due = |at: &AtReplica| [at.brake.next_deadline(now), at.looked_until(now)];
        self.replicas.values().flat_map(due).flatten().min()
    }
}

impl Actor {
    /// After every epoch: the brakes see the deletes that are outstanding.
    pub(crate) fn watch_deletes(&mut self, now: Instant) {
        #[cfg(test)]
        if has(Fault::ConflictStopsAll) {
            self.holds.stuck = !self.conflicted(PathId::ROOT, None).is_empty();
        }
        let before = self.holds.held();
        let listed = self.scans_open.is_empty();
        let replicas: Vec<Replica> = self.record.replicas.iter().map(|r| r.replica).collect();
        for replica in replicas {
            let outstanding = self.engine.deletes(replica).outstanding;
            let came = std::mem::take(&mut self.deletes_came[usize::from(replica.slot())]);
            let files = self.engine.files(replica);
            let may_end = outstanding == 0 && before.contains(replica);
            let known = listed && (!may_end || self.all_is_known());
            if let Some(brake) = self.holds.brake_mut(replica) {
                brake.observe(now, (outstanding, came), files, known);
            }
        }
        let held = self.holds.held();
        if held != before {
            self.record.held = held;
            self.save_record();
            for replica in held.iter().filter(|r| !before.contains(*r)) {
                let deletes = self.engine.deletes(replica).outstanding;
                let note = format!("{deletes} deletes wait for `yeet allow` or `yeet deny`");
                self.log("held", &crate::dataflow::model::path::RelPath::root(), replica, note);
            }
        }
    }

    /// Whether no delete can still come of what has not been listed, or read.
    fn all_is_known(&self) -> bool {
        let mut replicas = self.record.replicas.iter();
        self.reads.is_empty() && replicas.all(|r| self.engine.unlisted(r.replica).is_none())
    }

    /// A root is gone or another directory is in its place: nothing flows and nothing missing counts.
    pub(crate) fn root_lost(&mut self, replica: Replica) {
        if self.shop.far(replica).is_some() {
            return self.far_root_lost(replica);
        }
        let Some(site) = self.shop.site(replica) else { return };
        let why = if site.root.path().exists() { RootHold::Replaced } else { RootHold::Missing };
        if self.holds.roots.insert(replica, why) != Some(why) {
            let root = crate::dataflow::model::path::RelPath::root();
            self.engine.observe(&crate::dataflow::model::fact::Fact::Unlisted {
                replica,
                dir: root.clone(),
            });
            let note = match why {
                RootHold::Missing => "the directory is missing",
                RootHold::Replaced => "another directory is in its place",
            };
            self.log("held", &root, replica, note.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletes_wait_while_an_end_is_looked_at_and_no_longer_than_a_few_seconds() {
        let (leaf, other) = (Replica::leaf(1).unwrap(), Replica::leaf(2).unwrap());
        let replicas = [Replica::SOURCE, leaf, other].map(|r| (r, AtReplica::default()));
        let mut holds = Holds { replicas: replicas.into(), ..Holds::default() };
        let gate = |leaf, kind| Gate { replica: leaf, leaf, kind };
        let now = Instant::now();
        for busy in [Replica::SOURCE, leaf] {
            assert!(!holds.looked(ReplicaSet::of(&[busy]), now));
            assert_eq!(holds.open(gate(leaf, Kind::Delete), now), 0);
            assert_eq!(holds.open(gate(leaf, Kind::Put), now), usize::MAX, "what comes goes on");
            let open = holds.open(gate(other, Kind::Delete), now) > 0;
            assert_eq!(open, busy == leaf, "the other leaf waits for the source alone");
            assert!(holds.is_deciding(now));
            assert_eq!(holds.next_deadline(now), Some(now + LOOK_MAX));
            let late = now + LOOK_MAX;
            assert_eq!(holds.open(gate(leaf, Kind::Delete), late), usize::MAX);
            assert!(!holds.is_deciding(late));
            assert!(holds.looked(ReplicaSet::EMPTY, now), "they may have waited");
            assert_eq!(holds.open(gate(leaf, Kind::Delete), now), usize::MAX);
            assert_eq!(holds.next_deadline(now), None, "at rest there is no timer");
        }
    }
}
