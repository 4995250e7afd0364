//! One sync with its real actor, schedule, transfers and recovery, over simulated disks, a watcher that loses events,
//! and a clock that is turned by hand.
//!
//! Holds: one step at a time is made, chosen from outside; nothing runs by itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::amnesia::Copied;
use super::announced::announced;
use super::bench::{Bytes, bytes_of, replica};
use super::hosts::Machines;
use super::ledger::Ledger;
use super::questions::Asked;
use super::strangers::Stranger;
use super::telling::Telling;
use super::users::{self, Dice};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::Waits;
use crate::service::actor::Actor;
use crate::service::hosts::Hosts;
use crate::service::pool::Pool;
use crate::service::start::{Locks, Options, Ready, Shared, prepare};
use crate::sinks::journal::memory;
use crate::sinks::journal::memory::Stores;
use crate::sinks::journal::registry::SyncRecord;
use crate::sinks::stage::OpId;
use crate::sources::scan::pool::{Scanner, Seen};
use crate::sources::stat_cache::StatCache;
use crate::sources::watch::simulated::{Watched, install};
use crate::ssh::ask::Nobody;
use crate::sys::sim::fault::{Fault, has};
use crate::sys::sim::{Bytes as Torn, Disk, Kernel, Loss, Machine, with};

pub(super) const ROOTS: [&str; 3] = ["/sim/r0", "/sim/r1", "/sim/r2"];
pub(super) const STORES: &str = "/sim";
/// With few names, what is gone is forgotten every other moment.
const NAMES: usize = 2;

/// What runs while the daemon is up.
struct Up {
    ready: Ready,
    scanner: Arc<Scanner>,
    pool: Arc<Pool>,
    watched: Arc<Watched>,
    budget: usize,
    /// What the scanner saw, on its way to the actor.
    relay: (Sender<Seen>, Receiver<Seen>),
}

/// What a process left, for one that comes after it.
pub(super) struct Remains {
    disks: Vec<Disk>,
    clock_ns: i64,
    stores: Stores,
    ledger: Ledger,
    record: SyncRecord,
}

pub(super) struct World {
    up: Option<Up>,
    pub(super) record: SyncRecord,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    told: Telling,
    pub(super) asked: Vec<Asked>,
    /// Whether bytes of a crash may be in question.
    pub(super) crashed: bool,
    /// Calls and lines of the log at the last look.
    looked: Option<(u64, usize)>,
    pub(super) disks: usize,
    pub(super) copy: Option<Copied>,
    pub(super) strangers: Vec<Stranger>,
    /// So many names have to be new before those that are gone are forgotten.
    pub(super) names: usize,
    /// The disks of the daemon's machine, and the others.
    pub(super) here: Vec<usize>,
    pub(super) machines: Machines,
    _machine: Machine,
}

thread_local! {
    static LAST: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the last world of this thread did.
pub(super) fn last_trace() -> Vec<String> {
    LAST.with_borrow(Clone::clone)
}

impl Drop for World {
    fn drop(&mut self) {
        LAST.set(with(|kernel| kernel.log.clone()));
        with(|kernel| kernel.dead = true);
        self.up = None;
        install(None);
        self.machines.end();
    }
}

/// What a yeet with a deliberate fault makes of what was seen.
fn faulty(seen: Seen) -> Seen {
    let empty =
        |replica, dir| Seen::Facts(vec![Fact::Listed { replica, dir, children: Vec::new() }]);
    match seen {
        Seen::RootGone { replica } if has(Fault::LostRootIsEmpty) => {
            empty(replica, RelPath::root())
        }
        Seen::Facts(facts) if has(Fault::ErrorIsAbsence) => Seen::Facts(
            facts
                .into_iter()
                .map(|fact| match fact {
                    Fact::Unlisted { replica, dir } => {
                        Fact::Listed { replica, dir, children: Vec::new() }
                    }
                    other => other,
                })
                .collect(),
        ),
        other => other,
    }
}

impl World {
    pub(super) fn new(disks: usize, grain: i64, exchange: bool) -> Self {
        let machine = Machine::start(&ROOTS[..disks]);
        memory::wipe();
        with(|kernel| {
            for disk in &mut kernel.disks {
                (disk.grain, disk.exchange) = (grain, exchange);
            }
        });
        Self {
            up: None,
            record: SyncRecord::of_roots(
                &ROOTS[..disks].iter().map(PathBuf::from).collect::<Vec<_>>(),
            ),
            ledger: Rc::new(RefCell::new(Ledger::new(disks))),
            told: Telling::default(),
            asked: Vec::new(),
            crashed: false,
            looked: None,
            disks,
            copy: None,
            strangers: Vec::new(),
            names: NAMES,
            here: (0..disks).collect(),
            machines: Machines::default(),
            _machine: machine,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Starts the daemon on what there is. Where that fails it stays down.
    pub(super) fn start(&mut self) {
        if self.crashed {
            let announced = announced(&self.record.name);
            with(|kernel| self.ledger.borrow_mut().recovers(kernel, &announced));
        }
        let watched = Arc::new(Watched::default());
        install(Some(watched.clone()));
        let (scanner, pool) = (Arc::new(Scanner::stepped()), Arc::new(Pool::stepped()));
        let shared = Shared {
            scanner: scanner.clone(),
            pool: pool.clone(),
            cache: Arc::new(StatCache::in_memory()),
            registry: None,
            locks: Locks::default(),
            stores: PathBuf::from(STORES),
            hosts: Arc::new(Hosts::new(Arc::new(Nobody), None)),
        };
        let policy = Policy { mode: self.record.mode, trust_times: false };
        let options = Options { policy, lasting: true };
        let mut ready = match prepare(&shared, self.record.clone(), &options, 0) {
            Ok(ready) => ready,
            Err(error) => {
                with(|kernel| kernel.log.push(format!("the daemon does not start: {error}")));
                return;
            }
        };
        self.record = ready.actor.record.clone();
        ready.actor.pace.names = self.names;
        self.machines.begin();
        ready.actor.begin();
        self.told.clear();
        let all_there = self.all_there();
        with(|kernel| {
            kernel.log.push("daemon started".to_owned());
            kernel.disks.iter_mut().for_each(|disk| disk.events.clear());
            let ledger = &mut self.ledger.borrow_mut();
            if self.crashed {
                ledger.recovered(kernel, &self.here);
                self.crashed = !all_there;
            } else {
                ledger.killed(kernel);
            }
            if all_there {
                ledger.rules.start(kernel);
            }
        });
        let relay = crossbeam_channel::unbounded();
        self.up = Some(Up { ready, scanner, pool, watched, budget: 256, relay });
    }

    fn keep_record(&mut self) {
        self.ledger.borrow_mut().braked.clear();
        self.asked.clear();
        if let Some(up) = self.up.take() {
            self.record = up.ready.actor.record.clone();
        }
    }

    pub(super) fn kill(&mut self) {
        // What destructors still try has no effect: the process is gone.
        with(|kernel| {
            kernel.log.push("daemon killed".to_owned());
            kernel.dead = true;
        });
        self.keep_record();
        self.machines.leave();
        with(Kernel::kill);
        memory::end_process(false);
        with(|kernel| self.ledger.borrow_mut().killed(kernel));
    }

    /// The daemon is gone, and nothing is asked about that.
    pub(super) fn drop_daemon(&mut self) {
        with(|kernel| kernel.dead = true);
        self.up = None;
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let bytes = [Torn::All, Torn::Old, Torn::Zeros, Torn::Half][dice.index(4)];
        let dice = RefCell::new(dice);
        self.lose_power(&|disk| Loss {
            changes: dice.borrow_mut().index(disk.unflushed() + 1),
            bytes,
        });
    }

    pub(super) fn lose_power(&mut self, loss: &dyn Fn(&Disk) -> Loss) {
        with(|kernel| kernel.dead = true);
        self.keep_record();
        self.machines.leave();
        memory::end_process(true);
        let announced = announced(&self.record.name);
        with(|kernel| {
            kernel.log.push("crash".to_owned());
            self.ledger.borrow_mut().crash(kernel, &announced, |kernel| {
                kernel.lose_power(&self.here, 0, loss);
                kernel.boot += 1;
            });
        });
        self.crashed = true;
    }

    /// The process is gone: what there is now, for [`Self::restore`].
    pub(super) fn remains(&mut self) -> Remains {
        with(|kernel| kernel.dead = true);
        self.keep_record();
        Remains {
            disks: with(|kernel| kernel.disks.clone()),
            clock_ns: with(|kernel| kernel.clock_ns),
            stores: memory::snapshot(),
            ledger: self.ledger.borrow().clone(),
            record: self.record.clone(),
        }
    }

    /// All is as it was when the process went; it is still gone.
    pub(super) fn restore(&mut self, remains: &Remains) {
        with(|kernel| kernel.dead = true);
        self.up = None;
        self.asked.clear();
        with(|kernel| {
            kernel.disks.clone_from(&remains.disks);
            kernel.clock_ns = remains.clock_ns;
        });
        memory::restore(&remains.stores);
        self.ledger.borrow_mut().clone_from(&remains.ledger);
        self.record = remains.record.clone();
        self.told.clear();
        self.crashed = false;
        self.looked = None;
    }

    fn notice(&mut self) {
        if let Some(up) = &self.up {
            self.told.notice(&up.watched, &self.here);
        }
    }

    /// Events are lost, which is told; doubled; or told in another order.
    pub(super) fn disturb_events(&mut self, dice: &mut Dice) {
        self.notice();
        self.told.disturb(&self.here, dice);
    }

    fn deliver(&mut self) -> bool {
        self.notice();
        let Some(up) = &self.up else { return false };
        let sources = &up.ready.actor.sources;
        let hint = self.told.next_hint();
        if let Some((at, hint)) = &hint {
            sources.hint(replica(*at), hint.clone());
        }
        // They are no step of their own: who is asked does what it does without.
        self.told.ended_flushes().for_each(|number| sources.flushed(number));
        hint.is_some()
    }

    /// The scanner at work while the actor is: what it sees reaches the actor in its next epoch.
    pub(super) fn scanning(&self) -> impl FnOnce() + Send + use<> {
        let up = self.up.as_ref().expect("the daemon is up");
        let (scanner, seen, relay) =
            (up.scanner.clone(), up.ready.seen.clone(), up.relay.0.clone());
        move || {
            while scanner.step() {}
            seen.try_iter().for_each(|seen| relay.send(faulty(seen)).unwrap());
        }
    }

    /// A user acts before a call that is still to come.
    fn arm(&self, dice: &mut Dice) {
        let (ledger, mut users) = (self.ledger.clone(), Dice::new(dice.roll()));
        with(|kernel| {
            let at = kernel.calls + dice.below(40);
            kernel.plan.hook = Some(Box::new(move |kernel, call| {
                if call == at {
                    users::act(kernel, &mut ledger.borrow_mut(), &mut users);
                }
            }));
        });
    }

    /// One step of one part, chosen by dice; false if that part has nothing to do.
    pub(super) fn step(&mut self, dice: &mut Dice) -> bool {
        let part = dice.below(5);
        let armed = matches!(part, 1 | 2) && dice.one_in(3);
        if armed {
            self.arm(dice);
        }
        let stepped = self.step_of(part, dice);
        with(|kernel| kernel.plan.hook = None);
        self.look();
        stepped
    }

    fn step_of(&mut self, part: u64, dice: &mut Dice) -> bool {
        if !self.machines.is_empty() && dice.one_in(2) {
            return self.step_machines(dice);
        }
        match part {
            0 => self.deliver(),
            1 => self.up.as_ref().is_some_and(|up| up.scanner.step()),
            2 => self.up.as_ref().is_some_and(|up| up.pool.step()),
            3 => self.epoch(),
            _ => {
                with(|kernel| kernel.pass(Duration::from_millis([1, 20, 300][dice.index(3)])));
                true
            }
        }
    }

    /// One step of one part, chosen by dice, while no user acts.
    pub(super) fn undisturbed(&mut self, dice: &mut Dice) {
        let part = dice.below(5);
        self.step_of(part, dice);
        self.look();
    }

    /// All that happened is told, in an order of the dice, and looked at, before anything is done about it.
    pub(super) fn see_in_any_order(&mut self, dice: &mut Dice) {
        self.notice();
        self.told.shuffle(dice);
        self.see();
    }

    /// One round of every part, with a user who does this before each call of a worker; then time passes. What he did is
    /// seen before the actor hears of the worker, or in the next round.
    pub(super) fn round(
        &mut self,
        user: impl FnMut(&mut Kernel, u64) + 'static,
        is_seen_first: bool,
        time: Duration,
    ) {
        if !is_seen_first {
            self.see();
        }
        let Some(up) = &self.up else { return };
        with(|kernel| kernel.plan.hook = Some(Box::new(user)));
        while up.pool.step() {}
        with(|kernel| kernel.plan.hook = None);
        if is_seen_first {
            self.see();
        }
        self.epoch();
        with(|kernel| kernel.pass(time));
    }

    /// A worker does the piece of work that came last: those before it take longer.
    pub(super) fn work_last(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.pool.step_last())
    }

    /// A worker does the piece of work that came first.
    pub(super) fn work_first(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.pool.step())
    }

    /// All that happened is told.
    pub(super) fn tell(&mut self) {
        while self.deliver() {}
    }

    pub(super) fn see(&mut self) {
        self.tell();
        if let Some(up) = &self.up {
            while up.scanner.step() {}
        }
    }

    pub(super) fn work(&self) {
        while self.up.as_ref().is_some_and(|up| up.pool.step()) {}
    }

    pub(super) fn actor(&mut self) -> &mut Actor {
        &mut self.up.as_mut().expect("the daemon is up").ready.actor
    }

    pub(super) fn epoch(&mut self) -> bool {
        let Some(up) = &mut self.up else { return false };
        for seen in up.ready.seen.try_iter() {
            up.relay.0.send(faulty(seen)).unwrap();
        }
        let waits = !up.ready.events.is_empty() || !up.relay.1.is_empty();
        up.ready.actor.epoch(&up.ready.events, &up.relay.1, &mut up.budget);
        waits
    }

    /// Looks at the trees after a step, and at what is kept while somebody can tell.
    pub(super) fn look(&mut self) {
        // Where nothing was called and no user acted, all is as it was.
        let now = with(|kernel| (kernel.calls, kernel.log.len()));
        let braked = self.braked();
        self.hear();
        if self.looked.replace(now) == Some(now) {
            self.ledger.borrow_mut().braked = braked;
            return;
        }
        let kept = self.kept();
        let mut ledger = self.ledger.borrow_mut();
        with(|kernel| {
            ledger.observe(kernel);
            // A step that the daemon died in has no end.
            if !kernel.dead {
                ledger.step_ends();
            }
            ledger.braked = braked;
            ledger.check_names(kernel);
        });
        match kept {
            Some(Ok(kept)) => ledger.check_kept(&kept),
            Some(Err(fault)) => drop(ledger.fault.get_or_insert(fault)),
            None => {}
        }
    }

    /// What is kept, or announced and settled at the next start; S5: every row has its file.
    fn kept(&self) -> Option<Result<BTreeSet<Bytes>, String>> {
        let journal = self.up.as_ref()?.ready.actor.shop.journal.clone()?;
        let (Ok(kept), Ok(open)) = (journal.kept(&RelPath::root()), journal.intents()) else {
            return None;
        };
        let mut found = BTreeSet::new();
        with(|kernel| {
            // What is still announced is settled when its disk is there again.
            let is_open = |op: u64| open.iter().any(|(announced, _)| *announced == op);
            let rows = kept.iter().map(|(op, kept)| (*op, kept.replica, !is_open(*op)));
            let rows = rows.chain(open.iter().map(|(op, intent)| (*op, intent.replica, false)));
            for (op, at, must) in rows {
                let disk = &kernel.disks[usize::from(at.slot())];
                let name = String::from_utf8_lossy(&OpId(op).name()).into_owned();
                match disk.at(&format!(".yeet/s/{name}")) {
                    Some(ino) => found.extend(bytes_of(disk, ino)),
                    None if must => return Err(format!("S5: {name} is kept and not there")),
                    None => {}
                }
            }
            Ok(())
        })
        .map_or_else(|fault| Some(Err(fault)), |()| Some(Ok(found)))
    }

    /// What is outstanding beside conflicts, for the print of a failure.
    pub(super) fn left(&mut self) -> Vec<String> {
        let Some(up) = &mut self.up else { return Vec::new() };
        let actor = &mut up.ready.actor;
        let mut left = Vec::new();
        actor.engine.outstanding(PathId::ROOT, &mut |path, verdict, waits| {
            if !matches!(verdict.act, Act::Conflict(_)) {
                left.push((path, *verdict, waits));
            }
            true
        });
        let paths = actor.engine.paths();
        let line = |(path, verdict, waits): (PathId, Verdict, Waits)| {
            format!("{:?}: {:?} at {:?}, {waits:?}", paths.path(path), verdict.act, verdict.leaf)
        };
        left.into_iter().map(line).collect()
    }

    /// What the engine decided for a path.
    pub(super) fn verdicts(&mut self, path: &str) -> Vec<(Verdict, Waits)> {
        let Some(up) = &mut self.up else { return Vec::new() };
        let actor = &mut up.ready.actor;
        let id = actor.id_of(&RelPath::parse(path.as_bytes()).unwrap());
        id.map_or_else(Vec::new, |id| actor.engine.verdicts(id))
    }

    /// Runs everything until nothing is left to do but what waits for a user. Returns whether that came to be.
    pub(super) fn rest(&mut self) -> bool {
        for _ in 0..4000 {
            if with(|kernel| kernel.dead) {
                return false;
            }
            let mut busy = self.deliver();
            let Some(up) = &self.up else { return false };
            busy |= up.scanner.step();
            busy |= up.pool.step();
            busy |= self.epoch();
            busy |= self.step_all_machines();
            self.look();
            if self.ledger.borrow().fault.is_some() {
                return false;
            }
            let Some(up) = &mut self.up else { return false };
            if busy || !self.told.is_empty() || self.machines.are_busy() {
                continue;
            }
            let actor = &mut up.ready.actor;
            let there = self.machines.next_deadline();
            let deadlines = [actor.next_deadline(), up.scanner.next_deadline(), there];
            match deadlines.into_iter().flatten().min() {
                Some(deadline) => with(|kernel| {
                    let wait = deadline.saturating_duration_since(kernel.now());
                    kernel.pass(wait + Duration::from_millis(1));
                }),
                None if actor.is_quiet() => {
                    if actor.holds.roots.is_empty() {
                        with(|kernel| self.ledger.borrow_mut().rules.rest(kernel));
                    }
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// Everybody looks at everything once more.
    pub(super) fn scan_all(&mut self) {
        if let Some(up) = &mut self.up {
            (0..self.disks).for_each(|disk| up.ready.actor.scan_all(replica(disk)));
        }
    }

    /// Whether a root counts as lost.
    pub(super) fn is_held(&self) -> bool {
        self.up.as_ref().is_some_and(|up| !up.ready.actor.holds.roots.is_empty())
    }

    /// Whether something may not be looked at, or could not for once: a refusal ends with an event, which no user made.
    pub(super) fn is_refused(&self) -> bool {
        let failed = format!("fails with {}:", libc::EACCES);
        self.problems().iter().any(|problem| problem.contains("Permission denied"))
            || with(|kernel| kernel.log.iter().any(|line| line.contains(&failed)))
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let Some(up) = &self.up else { return Vec::new() };
        let root = RelPath::root();
        let all = up.ready.actor.problems.within(&root);
        all.map(|(path, at, problem)| format!("{path:?} {at:?} {}", problem.what)).collect()
    }
}
