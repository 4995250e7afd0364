//! A simulated kernel for tests: disks, open handles, a clock, and everything that can go wrong with a call.
//!
//! Holds: it belongs to one thread and does the same every time; every call moves the clock, is counted, and can be
//! the one that fails, that the process does not survive, or before which a user acts. It has what [`super::os`]
//! calls and no more: `copy_file_range` and reflinks are refused, as by a plain file system.

pub mod calls;
pub mod disk;
pub mod fault;
pub mod heap;
mod kernel;
mod open;
pub mod user;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use disk::{Bytes, Disk, Event, Ino, Loss, Node};
use open::Opened;

/// Runs before a call of ours takes effect, with the number of that call.
pub type Hook = Box<dyn FnMut(&mut Kernel, u64)>;

/// What is to go wrong.
#[derive(Default)]
pub struct Plan {
    /// The call of this number fails so.
    pub fail: Option<(u64, i32)>,
    /// The process is gone just before the change of this number.
    pub die: Option<u64>,
    pub hook: Option<Hook>,
}

/// A simulated machine.
pub struct Kernel {
    pub clock_ns: i64,
    /// How long it takes to write a byte.
    pub ns_per_byte: i64,
    began: (i64, Instant),
    pub disks: Vec<Disk>,
    /// So many of these, the last ones, are no replica's.
    pub strangers: usize,
    /// Which disk is mounted where.
    pub mounts: BTreeMap<PathBuf, usize>,
    opens: BTreeMap<u64, Opened>,
    opened: u64,
    /// Files that users have open for writing.
    pub writers: BTreeMap<(usize, Ino), u32>,
    /// Writes that wait until a lease ends.
    waiting: Vec<user::Write>,
    pub plan: Plan,
    /// Calls so far.
    pub calls: u64,
    /// Calls that changed something, or made it durable.
    pub changes: u64,
    /// Of these, flushes of a journal.
    pub commits: u64,
    /// The process is gone: nothing it still tries has an effect.
    pub dead: bool,
    pub boot: u8,
    /// Which process runs: 0 is the daemon, any other one is on a machine of its own.
    pub process: usize,
    /// Random ids given out.
    ids: u8,
    /// What was done, for the print of a failure.
    pub log: Vec<String>,
}

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// The simulated machine of a test; gone when dropped.
pub struct Machine(());

impl Machine {
    /// A machine with a disk at each of these paths.
    #[must_use]
    pub fn start(paths: &[&str]) -> Self {
        let clock_ns = 1_700_000_000_000_000_000;
        let disk = |n: usize| Disk::new(100 + n as u64, clock_ns);
        let kernel = Kernel {
            clock_ns,
            ns_per_byte: 0,
            began: (clock_ns, Instant::now()),
            disks: (0..paths.len()).map(disk).collect(),
            strangers: 0,
            mounts: paths.iter().enumerate().map(|(n, path)| (PathBuf::from(path), n)).collect(),
            opens: BTreeMap::new(),
            opened: 0,
            writers: BTreeMap::new(),
            waiting: Vec::new(),
            plan: Plan::default(),
            calls: 0,
            changes: 0,
            commits: 0,
            dead: false,
            boot: 1,
            process: 0,
            ids: 0,
            log: Vec::new(),
        };
        KERNEL.set(Some(kernel));
        Self(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        KERNEL.set(None);
    }
}

/// Runs something on the machine of this thread, which there must be.
pub fn with<T>(act: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(|kernel| act(kernel.as_mut().expect("a machine was started")))
}

/// Runs something on the machine of this thread, if there is one.
pub fn maybe<T>(act: impl FnOnce(&mut Kernel) -> T) -> Option<T> {
    KERNEL.with_borrow_mut(|kernel| kernel.as_mut().map(act))
}

/// Runs something while this thread has no machine.
pub fn aside<T>(act: impl FnOnce() -> T) -> T {
    let machine = KERNEL.take();
    let done = act();
    KERNEL.set(machine);
    done
}

impl Kernel {
    /// The disks of the replicas.
    #[must_use]
    pub fn replicas(&self) -> &[Disk] {
        &self.disks[..self.disks.len() - self.strangers]
    }

    /// The clock that waits go by.
    #[must_use]
    pub fn now(&self) -> Instant {
        let passed = u64::try_from(self.clock_ns - self.began.0).unwrap_or(0);
        self.began.1 + Duration::from_nanos(passed)
    }

    /// Sets the clock by so much; nobody waits longer or shorter for that.
    pub fn set_clock(&mut self, by_ns: i64) {
        self.clock_ns += by_ns;
        self.began.0 += by_ns;
    }

    pub fn pass(&mut self, time: Duration) {
        self.clock_ns += i64::try_from(time.as_nanos()).unwrap_or(0);
    }

    /// `kill -9` of the process that runs: what was done stays, what it had open is closed.
    pub fn kill(&mut self) {
        self.plan = Plan::default();
        self.dead = false;
        let process = self.process;
        self.opens.retain(|_, open| open.process != process);
        self.end_waiting();
    }

    /// The power of the machine with these disks goes, on which this process runs, and comes back. `loss` says what a disk
    /// still had. What boot it is then is said by whoever knows which machine it is.
    pub fn lose_power(&mut self, disks: &[usize], process: usize, loss: impl Fn(&Disk) -> Loss) {
        self.plan = Plan::default();
        self.dead = false;
        self.opens.retain(|_, open| open.process != process);
        // Who waited for a lease has written nothing.
        self.waiting.retain(|write| !disks.contains(&write.disk));
        self.writers.retain(|(disk, _), _| !disks.contains(disk));
        for at in disks {
            let disk = &mut self.disks[*at];
            let loss = loss(disk);
            disk.crash(loss);
        }
        self.pass(Duration::from_secs(30));
    }

    /// The power of the only machine goes, and comes back.
    pub fn crash(&mut self, loss: impl Fn(&Disk) -> Loss) {
        let disks: Vec<usize> = (0..self.disks.len()).collect();
        self.lose_power(&disks, self.process, loss);
        self.boot += 1;
    }
}
