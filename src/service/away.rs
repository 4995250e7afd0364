//! Replicas on other machines: which are there, why others are not, and how they come back.
//!
//! Holds: a replica that is away stops what flows with it and nothing else; its coming back is an event, never waited for by
//! the sync's thread; what was under way when it was lost is settled before anything new is done there.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::service::actor::{Actor, Question};
use crate::service::host::{Kept, Wake};
use crate::service::hosts::{Hosts, Linked, NoReplica};
use crate::service::keep::Keeper;
use crate::service::problems::{About, Problem};
use crate::service::start::Handle;
use crate::sinks::apply::ApplyError;
use crate::sources::control::wire::Way;
use crate::sources::far::wire::Open;
use crate::ssh::error::Reason;
use crate::ssh::route::Route;
use crate::sys;

/// Who is asked whether it is there may be silent for so long.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Why a replica is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    pub reason: Reason,
    pub why: String,
    pub hint: Option<String>,
}

impl Absence {
    pub(super) fn of(error: &NoReplica) -> Self {
        Self { reason: error.reason(), why: error.to_string(), hint: error.hint() }
    }

    pub(super) fn ended() -> Self {
        let why = "the sync has ended".to_owned();
        Self { reason: Reason::Unreachable, why, hint: None }
    }
}

enum Standing {
    There,
    /// An attempt to reach it is under way; why it was away before.
    Trying(Option<Absence>),
    Absent(Absence),
}

struct Reached {
    standing: Standing,
    /// The way on which it was reached last.
    route: Option<Route>,
    /// How often it was opened, as far as the sync has been told.
    opened: u64,
    /// To whoever keeps the connection. Dropped, that ends.
    wake: Sender<Wake>,
    _kept: Kept,
}

/// All replicas of a sync that are on other machines.
pub struct Away {
    hosts: Arc<Hosts>,
    /// Where the daemon keeps its state: what it is known by on other machines.
    state: PathBuf,
    reached: BTreeMap<Replica, Reached>,
    /// Those that wait until what was under way there has ended.
    waiting: Vec<(Replica, Linked)>,
    /// Those that are left for a better way, and who waits for that.
    leaving: Vec<(Replica, Sender<()>)>,
    /// What is to be done when one is back.
    when_back: Vec<Question>,
    /// True once the sync has ended; held while something is settled.
    has_ended: Arc<Mutex<bool>>,
}

impl Away {
    #[must_use]
    pub fn of(hosts: &Arc<Hosts>, state: PathBuf) -> Self {
        let (waiting, leaving, when_back) = (Vec::new(), Vec::new(), Vec::new());
        let (reached, has_ended) = (BTreeMap::new(), Arc::default());
        Self { hosts: hosts.clone(), state, reached, waiting, leaving, when_back, has_ended }
    }

    /// Has nothing more begun; what is being settled is waited for.
    pub(crate) fn end(&mut self) {
        self.reached.clear();
        *self.has_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether it will soon be known of one whether it is there.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        let is_trying = |reached: &Reached| matches!(reached.standing, Standing::Trying(_));
        self.reached.values().any(is_trying) || !self.waiting.is_empty()
    }

    /// Why a replica is not there; `None` if it is, or is about to be.
    #[must_use]
    pub fn absence(&self, replica: Replica) -> Option<&Absence> {
        match &self.reached.get(&replica)?.standing {
            Standing::There => None,
            Standing::Trying(before) => before.as_ref(),
            Standing::Absent(absence) => Some(absence),
        }
    }

    /// What no other daemon has, and no other replica of this one.
    fn errand(&self, sync: &str, replica: Replica) -> [u8; 16] {
        let mut errand = blake3::Hasher::new();
        let (machine, host) = (sys::machine_id(), sys::hostname());
        let parts = [
            &machine[..],
            host.as_bytes(),
            self.state.as_os_str().as_bytes(),
            sync.as_bytes(),
            &[replica.slot()],
        ];
        for part in parts {
            errand.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let mut short = [0; 16];
        errand.finalize_xof().fill(&mut short);
        short
    }

    /// What is known of the ways to a host.
    pub(crate) fn ways(&self, host: &str) -> Vec<Way> {
        self.hosts.ways(host)
    }

    /// Those that are not there.
    #[must_use]
    pub fn absent(&self) -> ReplicaSet {
        let absent = self.reached.keys().filter(|replica| self.absence(**replica).is_some());
        ReplicaSet::of(&absent.copied().collect::<Vec<_>>())
    }

    /// Has something done when one of them is back.
    pub(crate) fn when_one_is_back(&mut self, then: Question) {
        self.when_back.push(then);
    }

    /// One that was lost is not tried again for the moment.
    pub(super) fn waits_to_try(&mut self, replica: Replica) {
        let Some(reached) = self.reached.get_mut(&replica) else { return };
        if let Standing::Trying(Some(absence)) = &reached.standing {
            reached.standing = Standing::Absent(absence.clone());
        }
    }

    /// Tries those again that are not there.
    pub(crate) fn try_again(&mut self) {
        for reached in self.reached.values_mut() {
            if let Standing::Absent(absence) = &reached.standing {
                reached.standing = Standing::Trying(Some(absence.clone()));
                // Whoever keeps it has ended with the sync.
                reached.wake.send(Wake::Try(reached.opened)).unwrap_or_default();
            }
        }
    }
}

/// Makes sure that the hosts of a sync are there, for somebody who wants to know how it stands: at rest nobody is told that
/// one is gone. One that does not answer is away from then on.
pub(crate) fn check_hosts(handle: &Handle) {
    let peers = |actor: &mut Actor| {
        let fars = actor.shop.far.iter().flatten();
        fars.filter_map(|far| far.peer()).collect::<Vec<_>>()
    };
    let mut peers = handle.ask(peers).unwrap_or_default();
    // Several replicas can be on one host.
    peers.dedup_by(|a, b| Arc::ptr_eq(a, b));
    for peer in peers {
        // Who reads from it hears of its end.
        peer.check(SILENCE_MAX).unwrap_or_default();
    }
}

impl Actor {
    /// Begins to reach all replicas on other machines; a one-shot copy has them already.
    pub(crate) fn reach_hosts(&mut self) {
        for (replica, host) in self.record.hosts.clone() {
            if self.away.reached.contains_key(&replica) {
                continue;
            }
            let (wake, woken) = unbounded();
            let kept = self.away.hosts.keep(&host, wake.clone());
            let Some(open) = self.open_of(replica, false) else { continue };
            let keeper = Keeper {
                hosts: self.away.hosts.clone(),
                replica,
                host,
                open,
                saved: self.saved.clone(),
                shop: Arc::downgrade(&self.shop),
                has_ended: self.away.has_ended.clone(),
                post: self.post.clone(),
                wake: woken,
                opened: 0,
            };
            let standing = match keeper.start() {
                Ok(()) => Standing::Trying(None),
                Err(error) => Standing::Absent(Absence {
                    reason: Reason::Unreachable,
                    why: format!("cannot start a thread: {error}"),
                    hint: None,
                }),
            };
            let reached = Reached { standing, route: None, opened: 0, wake, _kept: kept };
            self.away.reached.insert(replica, reached);
        }
    }

    /// What an agent is to be asked to open a replica.
    pub(crate) fn open_of(&self, replica: Replica, make: bool) -> Option<Open> {
        let record = self.record.replica(replica)?;
        Some(Open {
            path: record.path.as_os_str().as_bytes().to_vec(),
            make,
            store: self.record.name.clone(),
            lasting: self.shop.journal.is_some(),
            replica,
            identity: record.identity,
            ignore: self.record.ignore.clone(),
            ignore_vcs: self.record.ignore_vcs,
            owner: format!("{}, pid {}", sys::hostname(), std::process::id()),
            errand: self.away.errand(&self.record.name, replica),
            take_over: false,
            trust_times: !self.shop.digests.are_wanted(),
        })
    }

    /// A replica has been opened.
    pub(crate) fn take_linked(&mut self, replica: Replica, linked: Linked) {
        if let Some(reached) = self.away.reached.get_mut(&replica) {
            reached.opened += 1;
            if let Standing::Absent(absence) = &reached.standing {
                reached.standing = Standing::Trying(Some(absence.clone()));
            }
        }
        self.away.waiting.push((replica, linked));
        self.link_what_waits();
    }

    /// Takes in the replicas that have been opened, once nothing is under way that was begun with them before.
    pub(crate) fn link_what_waits(&mut self) {
        for (replica, tell) in std::mem::take(&mut self.away.leaving) {
            match self.is_busy(replica) {
                true => self.away.leaving.push((replica, tell)),
                // Whoever asked may have become tired of waiting.
                false => tell.send(()).unwrap_or_default(),
            }
        }
        for (replica, linked) in std::mem::take(&mut self.away.waiting) {
            if self.is_busy(replica) {
                self.away.waiting.push((replica, linked));
                continue;
            }
            self.link(replica, linked);
        }
    }

    /// Whether something is under way with a replica.
    fn is_busy(&self, replica: Replica) -> bool {
        self.running.keys().any(|key| replica.is_source() || key.leaf == replica)
    }

    /// A replica is left for a better way to it: nothing new is begun with it, and what is under way may end.
    pub(super) fn leave(&mut self, replica: Replica, tell: Sender<()>) {
        self.sources.release(replica);
        let dir = RelPath::root();
        self.engine.observe(&Fact::Unlisted { replica, dir });
        self.set_away(replica);
        if let Some(reached) = self.away.reached.get_mut(&replica) {
            reached.standing = Standing::Trying(None);
        }
        self.away.leaving.push((replica, tell));
        self.link_what_waits();
    }

    fn link(&mut self, replica: Replica, linked: Linked) {
        let Some(far) = self.shop.far(replica) else { return };
        let Linked { peer, number, opened, why, stream } = linked;
        let route = peer.route().clone();
        far.connected(peer, number, opened.boot);
        let known = self.files_had(replica) > 0;
        if let Err(error) = self.sources.attach_far(replica, known, stream) {
            let why = format!("cannot start a thread: {error}");
            return self.lose(replica, Absence { reason: Reason::Refused, why, hint: None });
        }
        // A one-shot copy answers nobody.
        if self.shop.journal.is_some() {
            self.sources.let_in(replica);
        }
        let record = self.record.replicas.iter_mut().find(|record| record.replica == replica);
        if let Some(record) = record.filter(|record| record.identity != opened.identity) {
            record.identity = opened.identity;
            self.save_record();
        }
        if let Some(reached) = self.away.reached.get_mut(&replica) {
            let before = reached.route.replace(route.clone());
            let was = std::mem::replace(&mut reached.standing, Standing::There);
            if let Standing::Trying(Some(_)) | Standing::Absent(_) = was {
                self.log("online", &RelPath::root(), replica, "it is reached again".to_owned());
            }
            if !why.is_empty() && before.as_ref() != Some(&route) {
                self.log("route", &RelPath::root(), replica, format!("by {route}: {why}"));
            }
        }
        self.holds.away =
            ReplicaSet::from_bits(self.holds.away.bits() & !ReplicaSet::of(&[replica]).bits());
        if self.holds.roots.is_empty() {
            self.scan_all(replica);
        }
        for then in std::mem::take(&mut self.away.when_back) {
            then(self);
        }
    }

    /// The root of a replica on another machine is gone, or another directory is in its place.
    pub(crate) fn far_root_lost(&mut self, replica: Replica) {
        self.sources.release(replica);
        let dir = RelPath::root();
        self.engine.observe(&Fact::Unlisted { replica, dir });
        let why = "its directory is missing, or another one is in its place".to_owned();
        self.lose(replica, Absence { reason: Reason::Refused, why, hint: None });
        self.away.try_again();
    }

    /// The agent of a replica is gone; it is tried again at once.
    pub(crate) fn take_away(&mut self, replica: Replica, scans: &[u64], why: String) {
        self.scans_open.retain(|scan| !scans.contains(scan));
        if !self.sources.is_lost(replica) {
            // It has another one by now.
            return;
        }
        self.take_fact(&Fact::Unlisted { replica, dir: RelPath::root() });
        let host = self.record.host(replica).unwrap_or("its host");
        let why = format!("{host} is gone: {why}");
        self.lose(replica, Absence { reason: Reason::Unreachable, why, hint: None });
        self.away.try_again();
    }

    /// A replica is not there.
    pub(super) fn lose(&mut self, replica: Replica, absence: Absence) {
        self.set_away(replica);
        let root = RelPath::root();
        let is_back = self.away.waiting.iter().any(|(waiting, _)| *waiting == replica);
        match self.away.reached.get_mut(&replica) {
            Some(reached) => {
                let was = match &reached.standing {
                    Standing::There => None,
                    Standing::Trying(before) => before.as_ref(),
                    Standing::Absent(before) => Some(before),
                };
                let is_new = was.is_none_or(|before| before.reason != absence.reason);
                let note = absence.why.clone();
                reached.standing = match is_back {
                    true => Standing::Trying(Some(absence)),
                    false => Standing::Absent(absence),
                };
                if is_new {
                    self.log("offline", &root, replica, note);
                }
            }
            // Nobody brings it back.
            None => self.note_problem(&root, replica, About::Acting, Problem::new(absence.why)),
        }
    }

    /// Something failed because a host is gone. A one-shot copy may end before its connection has said so.
    pub(crate) fn note_loss(&mut self, leaf: Replica, error: &ApplyError) {
        if self.shop.journal.is_none() {
            let problem = Problem::new(error.to_string());
            self.note_problem(&RelPath::root(), leaf, About::Acting, problem);
        }
    }

    /// Nothing is begun with a replica until it is reached.
    fn set_away(&mut self, replica: Replica) {
        if let Some(far) = self.shop.far(replica) {
            far.lost();
        }
        self.prints.forget(replica);
        self.holds.away = self.holds.away.with(replica);
        // They are not about to be carried out.
        self.passing.retain(|key| !replica.is_source() && key.leaf != replica);
    }
}
