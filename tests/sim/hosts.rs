//! Machines with agents, and the cables to them: cut after any frame, in any direction; their power goes, their agent is
//! killed, and the daemon reaches them again.
//!
//! Holds: agents and both ends of the protocol are yeet's own (`agent`, `ssh/link`, `sources/far`, `sinks/far`); what is
//! simulated is who carries frames and when. What an agent was asked before its cable was cut it may still do afterwards.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::announced::{announced, of_intents};
use super::bench::replica;
use super::telling::Telling;
use super::users::Dice;
use super::world::World;
use crate::agent::stepped::Stepped;
use crate::service::stepped as keepers;
use crate::sources::far::stepped as talks;
use crate::sources::watch::simulated::{self, Watched};
use crate::ssh::contact::NoContact;
use crate::ssh::destination::Destination;
use crate::ssh::link::stepped::{self as link, Cable};
use crate::ssh::peer::Peer;
use crate::ssh::protocol::{Side, StreamId};
use crate::ssh::route::Route;
use crate::sys::sim::{Bytes as Torn, Loss, with};

/// Boots of different machines have nothing in common.
const BOOTS: u8 = 60;

/// A machine with one disk, and the cable to it.
struct Host {
    name: String,
    disk: usize,
    process: usize,
    boot: Cell<u8>,
    watched: RefCell<Arc<Watched>>,
    told: RefCell<Telling>,
    agent: RefCell<Option<Stepped>>,
    cable: RefCell<Option<Cable>>,
    peer: RefCell<Weak<Peer>>,
    /// It cannot be reached at the moment.
    is_down: Cell<bool>,
    /// So many frames until its cable is cut.
    frames: Cell<usize>,
    /// So many changes until its agent dies.
    changes: Cell<Option<u64>>,
    /// What a power loss left there has not been settled.
    crashed: Cell<bool>,
}

impl Host {
    fn new(number: usize, disk: usize) -> Self {
        Self {
            name: format!("h{number}"),
            disk,
            process: number + 1,
            boot: Cell::new(BOOTS * (u8::try_from(number).unwrap() + 1)),
            watched: RefCell::default(),
            told: RefCell::default(),
            agent: RefCell::default(),
            cable: RefCell::default(),
            peer: RefCell::default(),
            is_down: Cell::default(),
            frames: Cell::new(usize::MAX),
            changes: Cell::default(),
            crashed: Cell::default(),
        }
    }

    fn log(&self, what: &str) {
        with(|kernel| kernel.log.push(format!("{} {what}", self.name)));
    }

    /// Carries all that can be, in both directions; whether anything was.
    fn carry(&self) -> bool {
        let mut cable = self.cable.borrow_mut();
        let Some(cable) = cable.as_mut() else { return false };
        let mut has_carried = false;
        loop {
            let mut carried = 0;
            for from in [Side::Caller, Side::Agent] {
                let most = self.frames.get();
                let count = cable.carry(from, most);
                carried += count;
                if most != usize::MAX {
                    self.frames.set(most.saturating_sub(count));
                }
                if self.frames.get() == 0 && !cable.is_cut() {
                    self.log("is cut off");
                    cable.cut();
                }
            }
            if carried == 0 {
                return has_carried;
            }
            has_carried = true;
        }
    }

    fn notice(&self, side: Side) {
        if let Some(cable) = &*self.cable.borrow() {
            cable.notice(side);
        }
    }

    fn is_cut(&self) -> bool {
        self.cable.borrow().as_ref().is_some_and(Cable::is_cut)
    }

    fn is_over(&self, side: Side) -> bool {
        self.cable.borrow().as_ref().is_none_or(|cable| cable.is_over(side))
    }

    /// Has the agent do something on its machine; `None` if there is none, or if it does something already.
    fn run<T>(&self, act: impl FnOnce(&mut Stepped) -> T) -> Option<T> {
        let mut agent = self.agent.take()?;
        let here = simulated::here();
        simulated::install(Some(self.watched.borrow().clone()));
        let before = with(|kernel| {
            let before = (kernel.boot, kernel.process);
            (kernel.boot, kernel.process) = (self.boot.get(), self.process);
            let dies = self.changes.get().map(|left| kernel.changes + left);
            kernel.plan.die = kernel.plan.die.or(dies);
            (before, kernel.changes, dies)
        });
        let (before, changes, dies) = before;
        let done = act(&mut agent);
        if with(|kernel| kernel.dead) {
            self.log("has lost its agent");
            drop(agent);
            self.changes.set(None);
            with(crate::sys::sim::Kernel::kill);
            if let Some(cable) = &mut *self.cable.borrow_mut() {
                cable.cut();
            }
        } else {
            with(|kernel| {
                let did = kernel.changes - changes;
                self.changes.set(self.changes.get().map(|left| left.saturating_sub(did)));
                kernel.plan.die = kernel.plan.die.filter(|_| kernel.plan.die != dies);
            });
            self.agent.replace(Some(agent));
        }
        with(|kernel| (kernel.boot, kernel.process) = before);
        simulated::install(here);
        Some(done)
    }

    /// Its agent is gone, and nothing that it still tries has an effect.
    fn kill_agent(&self) {
        self.run(|_| with(|kernel| kernel.dead = true));
    }

    /// The agent looks, hears and says one thing of each kind.
    fn step_agent(&self) -> bool {
        let told = || {
            let mut told = self.told.borrow_mut();
            told.notice(&self.watched.borrow(), &[self.disk]);
            told.next_hint()
        };
        let mut busy = self.carry();
        busy |= self.run(Stepped::hear) == Some(true);
        let hint = told();
        let ended: Vec<u64> = self.told.borrow_mut().ended_flushes().collect();
        busy |= hint.is_some() || !ended.is_empty();
        let looked = self.run(|agent| {
            if let Some((at, hint)) = &hint {
                agent.hint(replica(*at), hint);
            }
            ended.iter().for_each(|number| agent.flushed(*number));
            let looked = agent.look();
            agent.send() || looked
        });
        busy |= looked == Some(true);
        busy | self.carry()
    }

    /// What an agent does whose daemon is gone: what it was asked for, and then it ends.
    fn linger(&self) -> bool {
        if self.agent.borrow().is_none() || !self.is_over(Side::Agent) {
            return false;
        }
        if self.run(Stepped::serve_next) != Some(true) && self.run(Stepped::hear) != Some(true) {
            self.log("has no agent any more");
            drop(self.agent.take());
        }
        true
    }

    /// A connection to a new agent, which ends the one before.
    fn connect(&self, number: usize) -> Arc<Peer> {
        self.kill_agent();
        let (cable, caller, agent) = Cable::new(number);
        with(|kernel| kernel.disks[self.disk].events.clear());
        self.told.borrow_mut().clear();
        self.watched.replace(Arc::default());
        self.frames.set(usize::MAX);
        self.cable.replace(Some(cable));
        self.agent.replace(Some(Stepped::new(agent)));
        self.log("has a new agent");
        let route = Route::plain(Destination::parse(&self.name).unwrap());
        let peer = Arc::new(Peer::stepped(&self.name, route, caller));
        self.peer.replace(Arc::downgrade(&peer));
        peer
    }

    fn dial(&self, number: usize) -> Result<Arc<Peer>, NoContact> {
        if let Some(peer) = self.peer.borrow().upgrade().filter(|peer| peer.is_up()) {
            return Ok(peer);
        }
        if self.is_down.get() || with(|kernel| kernel.dead) {
            return Err(NoContact::Here(format!("{} is down", self.name)));
        }
        Ok(self.connect(number))
    }

    /// Somebody waits at an end of the cable: whether that can be for anything.
    fn wait(&self, side: Side, stream: StreamId) -> bool {
        let is_dead = side == Side::Caller && with(|kernel| kernel.dead);
        if is_dead || (self.is_cut() && !self.is_over(side)) {
            self.notice(side);
            return true;
        }
        if self.carry() {
            return true;
        }
        if side == Side::Agent {
            return false;
        }
        let served = self.run(|agent| agent.serve(stream));
        self.carry() || served == Some(true) || self.is_cut()
    }
}

/// All machines with agents.
#[derive(Clone, Default)]
pub(super) struct Machines(Rc<Vec<Host>>);

impl Machines {
    /// One for each of these disks.
    pub(super) fn of(disks: &[usize]) -> Self {
        let hosts = disks.iter().enumerate().map(|(number, disk)| Host::new(number, *disk));
        Self(Rc::new(hosts.collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A daemon starts: from now on it can reach them.
    pub(super) fn begin(&self) {
        if self.is_empty() {
            return;
        }
        let hosts = self.0.clone();
        link::install(Some(Rc::new(move |cable, side, stream| hosts[cable].wait(side, stream))));
        let hosts = self.0.clone();
        keepers::install(Some(Rc::new(move |name| {
            let at = hosts.iter().position(|host| host.name == name).expect("a host");
            hosts[at].dial(at)
        })));
    }

    /// The daemon is gone, and all that it had to do with them.
    pub(super) fn leave(&self) {
        talks::wipe();
        keepers::wipe();
    }

    pub(super) fn end(&self) {
        self.leave();
        for host in self.0.iter() {
            drop(host.agent.take());
            drop(host.cable.take());
        }
        link::install(None);
        keepers::install(None);
    }

    pub(super) fn are_busy(&self) -> bool {
        self.0.iter().any(|host| !host.told.borrow().is_empty())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.0.iter().map(|host| host.agent.borrow().as_ref()?.next_deadline());
        deadlines.flatten().min()
    }

    /// Whether something is still to be settled on one of them.
    pub(super) fn are_in_question(&self) -> bool {
        self.0.iter().any(|host| host.crashed.get())
    }

    /// None can be reached.
    pub(super) fn lose_all(&self) {
        for host in self.0.iter() {
            host.is_down.set(true);
        }
    }

    /// All can be reached again.
    pub(super) fn heal(&self) {
        for host in self.0.iter() {
            host.is_down.set(false);
            host.frames.set(usize::MAX);
            host.changes.set(None);
            if host.is_cut() {
                host.notice(Side::Caller);
                host.notice(Side::Agent);
            }
        }
    }
}

impl World {
    /// Puts these disks on machines of their own.
    pub(super) fn move_away(&mut self, disks: &[usize]) {
        self.machines = Machines::of(disks);
        self.here.retain(|disk| !disks.contains(disk));
        let hosts = self.machines.0.iter();
        self.record.hosts = hosts.map(|host| (replica(host.disk), host.name.clone())).collect();
        self.record.ssh_only = true;
    }

    /// One step of one part of what is between the machines, chosen by dice.
    pub(super) fn step_machines(&mut self, dice: &mut Dice) -> bool {
        if with(|kernel| kernel.dead) {
            return false;
        }
        let hosts = self.machines.0.clone();
        let host = &hosts[dice.index(hosts.len())];
        match dice.below(8) {
            0 => talks::say(),
            1 => talks::hear(),
            2 => self.reach(),
            3 if host.is_cut() => {
                let side = if dice.one_in(2) { Side::Caller } else { Side::Agent };
                host.notice(side);
                true
            }
            4 => host.linger(),
            _ => host.step_agent(),
        }
    }

    /// One of all.
    pub(super) fn step_all_machines(&mut self) -> bool {
        if self.machines.is_empty() || with(|kernel| kernel.dead) {
            return false;
        }
        let mut busy = talks::say() | talks::hear() | self.reach();
        for host in self.machines.0.clone().iter() {
            if host.is_cut() && !host.is_over(Side::Caller) {
                host.notice(Side::Caller);
                busy = true;
            }
            if host.is_cut() && !host.is_over(Side::Agent) {
                host.notice(Side::Agent);
                busy = true;
            }
            busy |= host.linger() | host.step_agent();
        }
        busy
    }

    /// The daemon tries to reach who is not there, and settles what was under way.
    fn reach(&mut self) -> bool {
        if !self.is_up() {
            return false;
        }
        let journal = self.actor().shop.journal.clone();
        let open = || journal.as_ref().and_then(|j| j.intents().ok()).unwrap_or_default();
        if self.machines.are_in_question() {
            with(|kernel| self.ledger.borrow_mut().recovers(kernel, &of_intents(open())));
        }
        let reached = keepers::reach();
        let left = open();
        for host in self.machines.0.iter().filter(|host| host.crashed.get()) {
            let at = replica(host.disk);
            let is_linked = host.peer.borrow().upgrade().is_some_and(|peer| peer.is_up());
            with(|kernel| self.ledger.borrow_mut().settles(&kernel.disks[host.disk], host.disk));
            if reached && is_linked && !left.iter().any(|(_, intent)| intent.replica == at) {
                host.crashed.set(false);
                with(|kernel| self.ledger.borrow_mut().recovered(kernel, &[host.disk]));
            }
        }
        reached
    }

    /// What happens to the machines and the cables.
    pub(super) fn trouble(&mut self, dice: &mut Dice) {
        if self.machines.is_empty() || with(|kernel| kernel.dead) {
            return;
        }
        let hosts = self.machines.0.clone();
        let host = &hosts[dice.index(hosts.len())];
        match dice.below(16) {
            0 | 1 => host.frames.set(dice.index(30)),
            2 => host.is_down.set(true),
            3..=5 => host.is_down.set(false),
            6 => {
                // In the middle of whatever comes next there.
                host.changes.set(Some(dice.below(12)));
            }
            7 => self.lose_power_of(host, dice),
            8 => host.kill_agent(),
            _ => {}
        }
    }

    fn lose_power_of(&mut self, host: &Host, dice: &mut Dice) {
        host.kill_agent();
        let open = match self.is_up() {
            true => {
                let journal = self.actor().shop.journal.clone();
                of_intents(journal.and_then(|j| j.intents().ok()).unwrap_or_default())
            }
            false => announced(&self.record.name),
        };
        let bytes = [Torn::All, Torn::Old, Torn::Zeros, Torn::Half][dice.index(4)];
        let dice = RefCell::new(dice);
        with(|kernel| {
            kernel.log.push(format!("{} loses its power", host.name));
            let plan = std::mem::take(&mut kernel.plan);
            self.ledger.borrow_mut().crash(kernel, &open, |kernel| {
                kernel.lose_power(&[host.disk], host.process, |disk| Loss {
                    changes: dice.borrow_mut().index(disk.unflushed() + 1),
                    bytes,
                });
            });
            kernel.plan = plan;
        });
        host.boot.set(host.boot.get() + 1);
        host.crashed.set(true);
    }
}
