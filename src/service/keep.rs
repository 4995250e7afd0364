//! Keeps one replica on another machine reached: dials, has it opened and what was under way settled, waits until it is lost.
//!
//! Holds: what was under way when a replica was lost is settled before anything new is done there; an attempt that failed is
//! repeated after a pause that grows with the time that the replica has been away.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::actor::{Actor, Event, Question};
use crate::service::away::Absence;
use crate::service::host::Wake;
use crate::service::hosts::{Hosts, Linked};
use crate::sinks::far::Far;
use crate::sinks::journal::JournalError;
use crate::sinks::journal::registry::SyncRecord;
use crate::sinks::older;
use crate::sinks::recover::recover_far;
use crate::sinks::stage::PEER_MARK_MAX;
use crate::sinks::transfer::Shop;
use crate::sources::far::wire::Open;
use crate::ssh::error::Reason;
use crate::ssh::peer::Peer;
use crate::sys;

/// The pause after an attempt that failed is a part of the time that the replica has been away: whoever waits for it waits
/// little longer than for its host.
const RETRY_PART: u32 = 60;
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// A replica that is lost before it was there for so long, twice in a row, is waited for like one that is not reached: what
/// is wrong with it is there again at once.
const STEADY: Duration = Duration::from_secs(5);
/// How long what is under way may take when there is a better way.
const MOVE_MAX: Duration = Duration::from_secs(2);

/// A replica that was opened, or why it is not there after all; and what is to be known of it either way.
struct Settled {
    linked: Result<Linked, Absence>,
    facts: Vec<Fact>,
}

impl From<Absence> for Settled {
    fn from(absence: Absence) -> Self {
        Self { linked: Err(absence), facts: Vec::new() }
    }
}

/// What keeps a replica reached until nobody wants it any more.
pub(super) struct Keeper {
    pub(super) hosts: Arc<Hosts>,
    pub(super) replica: Replica,
    pub(super) host: String,
    /// What is asked for; its identity is known once it was opened.
    pub(super) open: Open,
    /// The sync as last saved.
    pub(super) saved: Option<Arc<Mutex<SyncRecord>>>,
    /// Weak: what a sync has open is closed when it ends, whatever is tried at that moment.
    pub(super) shop: Weak<Shop>,
    /// True once the sync has ended; held while something is settled.
    pub(super) has_ended: Arc<Mutex<bool>>,
    pub(super) post: Sender<Event>,
    pub(super) wake: Receiver<Wake>,
    /// How often it was opened.
    pub(super) opened: u64,
}

impl Keeper {
    /// Has it kept by a thread.
    pub(super) fn start(self) -> std::io::Result<()> {
        #[cfg(test)]
        if super::stepped::is_here() {
            super::stepped::take(self);
            return Ok(());
        }
        let name = format!("far-{}", self.replica.slot());
        std::thread::Builder::new().name(name).spawn(move || self.keep()).map(drop)
    }

    fn open(&self) -> Open {
        let record = self.saved.as_ref().and_then(|saved| saved.lock().ok());
        let known = record.and_then(|r| r.replica(self.replica).map(|r| r.identity));
        Open { identity: known.unwrap_or(self.open.identity), ..self.open.clone() }
    }

    /// Tries it once. The connection, if it is there, and how the sync is told.
    pub(super) fn reach(&mut self) -> (Option<Weak<Peer>>, Question) {
        let linked = self.hosts.link(&self.host, &self.open());
        let linked = linked.map_err(|error| Absence::of(&error));
        let settled = linked.map_or_else(Settled::from, |linked| self.settled(linked));
        let Settled { linked, facts } = settled;
        let used = linked.as_ref().map(|linked| Arc::downgrade(&linked.peer)).ok();
        self.opened += u64::from(used.is_some());
        let replica = self.replica;
        let tell = move |actor: &mut Actor| {
            facts.iter().for_each(|fact| actor.engine.observe(fact));
            match linked {
                Ok(linked) => actor.take_linked(replica, linked),
                Err(absence) => actor.lose(replica, absence),
            }
        };
        (used, Box::new(tell))
    }

    fn settled(&self, linked: Linked) -> Settled {
        let has_ended = self.has_ended.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shop.upgrade().filter(|_| !*has_ended) {
            Some(shop) => settled(&shop, self.replica, &self.host, linked),
            None => Absence::ended().into(),
        }
    }

    /// Whether what is to be tried again is what was opened last. What was heard of an earlier one is no word against that.
    pub(super) fn has_lost(&self, opened: u64) -> bool {
        opened == self.opened
    }

    fn keep(mut self) {
        let (mut away_since, mut was_short) = (sys::now(), false);
        loop {
            let (used, tell) = self.reach();
            if self.post.send(Event::Ask(tell)).is_err() {
                return;
            }
            let Some(used) = used else {
                match wait_away(sys::now().saturating_duration_since(away_since), &self.wake) {
                    Some(()) => continue,
                    None => return,
                }
            };
            let since = sys::now();
            let end = self.wait_linked(&used);
            let is_short = sys::now().saturating_duration_since(since) < STEADY;
            match end {
                None => return,
                Some(End::Lost) if is_short && was_short => {
                    let replica = self.replica;
                    let pause = move |actor: &mut Actor| actor.away.waits_to_try(replica);
                    let away = sys::now().saturating_duration_since(away_since);
                    if self.post.send(Event::Ask(Box::new(pause))).is_err()
                        || wait_away(away, &self.wake).is_none()
                    {
                        return;
                    }
                }
                Some(End::Lost) if is_short => was_short = true,
                Some(End::Lost | End::Left) => (away_since, was_short) = (sys::now(), false),
            }
        }
    }

    /// Until the replica is to be linked anew; `None` once nobody wants it.
    fn wait_linked(&self, used: &Weak<Peer>) -> Option<End> {
        loop {
            match self.wake.recv().ok()? {
                Wake::Try(opened) if self.has_lost(opened) => return Some(End::Lost),
                Wake::Try(_) => {}
                Wake::Move if self.hosts.is_used(&self.host, used) => {}
                Wake::Move => {
                    let ((tell, told), replica) = (bounded(1), self.replica);
                    let leave = move |actor: &mut Actor| actor.leave(replica, tell);
                    self.post.send(Event::Ask(Box::new(leave))).ok()?;
                    // What takes longer is broken off, and goes on where it was on the other way.
                    told.recv_timeout(MOVE_MAX).unwrap_or_default();
                    return Some(End::Left);
                }
                // Whether it is there is asked by whoever knows that the network is another one.
                Wake::Network => {}
            }
        }
    }
}

/// Why a replica is to be linked anew.
enum End {
    Lost,
    /// There is a better way, and nothing is done on this one any more.
    Left,
}

/// Until the next attempt; `None` once nobody wants it.
fn wait_away(away: Duration, wake: &Receiver<Wake>) -> Option<()> {
    let pause = (away / RETRY_PART).clamp(RETRY_MIN, RETRY_MAX);
    match wake.recv_timeout(pause) {
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) | Ok(Wake::Try(_) | Wake::Network | Wake::Move) => Some(()),
    }
}

/// Has what was under way when a replica was lost brought to one side or the other there, before anything new is begun.
/// Nothing of it can still be under way: the agent that had it has given the root back.
fn settled(shop: &Shop, replica: Replica, host: &str, linked: Linked) -> Settled {
    let far = Far::new(host.to_owned(), true);
    far.connected(linked.peer.clone(), linked.number, linked.opened.boot);
    let absence = |why: String| {
        let why = format!("{host}: what was under way cannot be settled: {why}");
        Absence { reason: Reason::Refused, why, hint: None }
    };
    // Before anything is marked or agreed anew. It is forgotten for good: whatever comes next, that has to be known.
    let older = match disagreed(shop, replica, linked.opened.reached) {
        Ok(older) => older,
        Err(why) => return absence(why).into(),
    };
    let recovered = recover_far(shop, (replica, older.is_some()), &far);
    let mut facts = older.unwrap_or_default();
    let linked = match recovered {
        Ok(agreed) => {
            facts.extend(agreed);
            Ok(linked)
        }
        Err(why) => Err(absence(why)),
    };
    Settled { linked, facts }
}

/// What is agreed no more with a replica, if it is an older copy of itself.
fn disagreed(
    shop: &Shop,
    replica: Replica,
    reached: Option<u64>,
) -> Result<Option<Vec<Fact>>, String> {
    // What no clock gives is nothing to go by: the numbers of all replicas would come after it.
    let reached = reached.filter(|reached| *reached <= PEER_MARK_MAX);
    let Some((journal, reached)) = shop.journal.as_ref().zip(reached) else {
        return Ok(None);
    };
    let told = |error: JournalError| error.to_string();
    shop.ops.pass(reached);
    if !older::is_older(journal, replica, reached).map_err(told)? {
        return Ok(None);
    }
    // What is known of a source is more than what is agreed; only a start forgets all of it.
    if replica.is_source() && shop.far(replica).is_some_and(|far| far.boot() != [0; 16]) {
        return Err(
            "it is an older copy of itself; `yeet daemon stop` and `yeet daemon start` take it up"
                .to_owned(),
        );
    }
    let slots = (1..).zip(&shop.sites[1..]).zip(&shop.far[1..]);
    let leaves = slots.filter(|((_, here), there)| here.is_some() || there.is_some());
    let leaves: Vec<Replica> = leaves.filter_map(|((slot, _), _)| Replica::leaf(slot)).collect();
    older::disagree(journal, replica, ReplicaSet::of(&leaves)).map(Some).map_err(told)
}
