//! The threads that look at trees, and what they report.
//!
//! Holds: every listed directory is reported at once; a report never overtakes a later one about the same path; at
//! rest all threads sleep, with no deadline unless something could not be watched or listed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
#[cfg(test)]
use std::time::Instant;
use std::{io, thread};

use serde::{Deserialize, Serialize};

use super::flight::Flights;
use super::queue::{End, Pass, Passes, PutOff, Queue, Task, Work};
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Digest;
use crate::sources::tree::Tree;
use crate::sources::watch::{Hint, WatchError};
use crate::sys;

/// What comes out of looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// To be told to the engine, in this order.
    Facts(Vec<Fact>),
    /// A directory was listed by an agent: what is in it has this [`print`](crate::sources::far::page::print).
    Same { replica: Replica, dir: RelPath, print: Digest },
    /// Something is wrong at a path. Over when the directory is listed, or something is said to be held there.
    Trouble { replica: Replica, path: RelPath, trouble: Trouble },
    /// A directory of which [`Trouble::Unwatched`] was said is watched now.
    Watched { replica: Replica, dir: RelPath },
    /// The root is gone or replaced: nothing that is found there counts.
    RootGone { replica: Replica },
    /// The scan of this number is through: all it found was reported before.
    Done { replica: Replica, scan: u64 },
    /// Nothing is left to look at for now.
    Quiet { replica: Replica },
    /// Hints about all that happened before a flush of this number are taken in.
    Flushed { number: u64 },
    /// The agent of a replica is gone: nothing counts that is missing there, and these scans will not be done.
    Away { replica: Replica, scans: Vec<u64>, why: String },
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Trouble {
    #[error("cannot be listed: {}; what is missing in it counts as unknown", io::Error::from_raw_os_error(*errno))]
    Unlistable { errno: i32 },
    #[error(
        "changes all the time while it is listed; what is missing in it counts as unknown until it rests"
    )]
    Restless,
    #[error("its .yeetignore cannot be read: {}; the old rules hold", io::Error::from_raw_os_error(*errno))]
    Rules { errno: i32 },
    #[error("its .yeetignore cannot be read: {}; nothing in it is carried until it can", io::Error::from_raw_os_error(*errno))]
    NoRules { errno: i32 },
    #[error(transparent)]
    Unwatched(WatchError),
}

/// Where reports go. Called on the threads of the scanner; while it blocks, scanning waits. It must not call back
/// into the scanner.
pub type Sink = Arc<dyn Fn(Seen) + Send + Sync>;

/// What is known of one tree while it is looked at.
pub(super) struct Ground {
    pub(super) tree: Tree,
    pub(super) id: u32,
    pub(super) sync: u32,
    pub(super) sink: Sink,
    pub(super) flights: Mutex<Flights>,
    /// Tasks put in and not finished.
    outstanding: AtomicUsize,
    pub(super) cancelled: AtomicBool,
    pub(super) unwatched: Mutex<super::unwatched::Unwatched>,
    /// How often in a row a directory could not be listed.
    pub(super) failures: Mutex<HashMap<RelPath, u32>>,
    pub(super) shut: Mutex<super::shut::Shut>,
    pub(super) fills: Mutex<super::fill::Fills>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    ready: Condvar,
    passes: AtomicU64,
    threads: usize,
}

#[derive(Default)]
struct State {
    queue: Queue,
    grounds: HashMap<u32, Arc<Ground>>,
    count: u32,
    /// Threads reading files asked for: one fewer than there are, so that no large file is in anybody's way.
    reading: usize,
    /// Whether a thread sleeps until the queue's deadline.
    timed: bool,
    stop: bool,
}

/// A pool of threads for any number of trees.
pub struct Scanner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Scanner {
    /// Starts `threads` threads, at least two.
    ///
    /// # Errors
    /// What starting a thread failed with.
    pub fn start(threads: usize) -> io::Result<Self> {
        let threads = threads.max(2);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ready: Condvar::new(),
            passes: AtomicU64::new(0),
            threads,
        });
        let spawn = |number| {
            let shared = shared.clone();
            thread::Builder::new().name(format!("scan-{number}")).spawn(move || shared.run())
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// A scanner without threads: its work is done in [`Self::step`].
    #[cfg(test)]
    pub(crate) fn stepped() -> Self {
        let shared = Shared {
            state: Mutex::default(),
            ready: Condvar::new(),
            passes: AtomicU64::new(0),
            threads: 2,
        };
        Self { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// Does the next task on this thread; false if none is due.
    #[cfg(test)]
    pub(crate) fn step(&self) -> bool {
        let mut state = self.shared.state();
        self.shared.take_due(&mut state);
        let Some(work) = state.queue.take(true) else { return false };
        let Some(ground) = state.grounds.get(&work.tree).cloned() else { return true };
        state.reading += usize::from(work.task.reads());
        drop(state);
        self.shared.work(&ground, &work);
        self.shared.finish(&ground, &work);
        true
    }

    /// When something that was put off is due.
    #[cfg(test)]
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.shared.state().queue.next_deadline()
    }

    /// A number that no scan of this scanner has or will have.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.shared.passes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Rules of another machine's replica changed: what any tree of the sync said by the old ones is taken back.
    pub fn unlist(&self, sync: u32, dirs: &[RelPath]) {
        self.shared.unlist_on_all(sync, dirs, None);
    }

    /// After [`Self::unlist`]: what the rules are about is listed again.
    pub fn scan_again(&self, sync: u32, dirs: &[RelPath]) {
        self.shared.scan_on_all(sync, dirs, None);
    }

    /// Takes in a tree of the sync `sync`; nothing is looked at until it is asked for.
    #[must_use]
    pub fn attach(&self, sync: u32, tree: Tree, sink: Sink) -> Handle {
        let mut state = self.shared.state();
        state.count += 1;
        let ground = Arc::new(Ground {
            tree,
            id: state.count,
            sync,
            sink,
            flights: Mutex::default(),
            outstanding: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            unwatched: Mutex::default(),
            failures: Mutex::default(),
            shut: Mutex::default(),
            fills: Mutex::default(),
        });
        state.grounds.insert(ground.id, ground.clone());
        Handle { shared: self.shared.clone(), ground }
    }
}

impl Drop for Scanner {
    /// Stops the threads and waits for them: whoever takes their reports must still take them, or be gone.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stop = true;
        state.grounds.values().for_each(|ground| ground.cancelled.store(true, Ordering::Relaxed));
        drop(state);
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// A tree in the pool.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    ground: Arc<Ground>,
}

impl Handle {
    /// Scans `dir` and all below it. Returns the number that [`Seen::Done`] will tell.
    pub fn scan(&self, dir: &RelPath) -> u64 {
        let pass = self.shared.pass(End::Tell);
        let id = pass.id;
        self.shared.put(&self.ground, Task::Scan, dir, &vec![pass]);
        id
    }

    /// As [`Self::scan`]; [`Seen::Done`] will tell this number, which is one of whoever asks.
    pub fn scan_as(&self, dir: &RelPath, number: u64) {
        let pass = Pass { id: number, ..self.shared.new_pass(End::Tell) };
        self.shared.put(&self.ground, Task::Scan, dir, &vec![Arc::new(pass)]);
    }

    /// Reads the file at `path`, whatever its size, and reports what is there.
    pub fn read(&self, path: &RelPath) {
        self.shared.put(&self.ground, Task::Read, path, &Passes::new());
    }

    /// Lists the directory `dir`, having read all small files in it that nobody has read but these, and reports it.
    pub fn fill(&self, dir: &RelPath, except: Vec<Name>) {
        self.ground.fills().ask(dir, except.into_iter().collect());
        self.shared.put(&self.ground, Task::Fill, dir, &Passes::new());
    }

    /// Follows a hint.
    pub fn hint(&self, hint: Hint) {
        let (task, path) = match hint {
            Hint::Look(path) => (Task::Look, path),
            Hint::Scan(dir) => (Task::Arrive, dir),
            Hint::List(dir) => (Task::List, dir),
            Hint::RootGone => (Task::Look, RelPath::root()),
            Hint::Overflow => return self.overflow(),
        };
        self.shared.put(&self.ground, task, &path, &Passes::new());
    }

    /// How many tasks are not finished; 0 at rest. A directory that changed all the time while it was listed counts.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.ground.outstanding.load(Ordering::Acquire)
    }

    /// Looks at this tree no more. What is under way is still reported.
    pub fn detach(&self) {
        self.ground.cancelled.store(true, Ordering::Relaxed);
        let mut state = self.shared.state();
        state.queue.forget(self.ground.id);
        state.grounds.remove(&self.ground.id);
    }

    fn overflow(&self) {
        let ground = &self.ground;
        let round = ground.tree.watch.begin_round();
        let mut flights = ground.flights();
        flights.overtake_all();
        let (replica, dir) = (ground.tree.replica, RelPath::root());
        (ground.sink)(Seen::Facts(vec![Fact::Unlisted { replica, dir }]));
        drop(flights);
        let pass = self.shared.pass(End::Round(round));
        self.shared.put(ground, Task::Scan, &RelPath::root(), &vec![pass]);
    }
}

impl Ground {
    pub(super) fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trouble(&self, path: &RelPath, trouble: Trouble) {
        let (replica, path) = (self.tree.replica, path.clone());
        (self.sink)(Seen::Trouble { replica, path, trouble });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pass(&self, end: End) -> Arc<Pass> {
        Arc::new(self.new_pass(end))
    }

    fn new_pass(&self, end: End) -> Pass {
        let id = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        Pass { id, left: AtomicUsize::new(0), started: sys::now(), end }
    }

    pub(super) fn put(&self, ground: &Ground, task: Task, path: &RelPath, passes: &Passes) {
        let mut state = self.state();
        // A tree that was detached is looked at by nobody.
        if state.grounds.contains_key(&ground.id)
            && state.queue.put(ground.sync, ground.id, task, path, passes)
        {
            ground.outstanding.fetch_add(1, Ordering::AcqRel);
            drop(state);
            self.ready.notify_one();
        }
    }

    /// `counts`: there is no rest before it is done.
    pub(super) fn put_later(
        &self,
        ground: &Ground,
        delay: Duration,
        task: Task,
        path: &RelPath,
        counts: bool,
    ) {
        let mut state = self.state();
        if state.grounds.contains_key(&ground.id) {
            let what = PutOff { tree: ground.id, task, path: path.clone(), counts };
            if state.queue.put_later(sys::now() + delay, what) && counts {
                ground.outstanding.fetch_add(1, Ordering::AcqRel);
            }
            drop(state);
            // Whoever sleeps until a later deadline, or without one, must know.
            self.ready.notify_all();
        }
    }

    /// All trees of a sync.
    pub(super) fn trees_of(&self, sync: u32) -> Vec<Arc<Ground>> {
        self.state().grounds.values().filter(|ground| ground.sync == sync).cloned().collect()
    }

    fn run(&self) {
        while let Some((ground, work)) = self.next() {
            if !ground.cancelled.load(Ordering::Relaxed) {
                self.work(&ground, &work);
            }
            self.finish(&ground, &work);
        }
    }

    fn next(&self) -> Option<(Arc<Ground>, Work)> {
        let mut state = self.state();
        loop {
            if state.stop {
                return None;
            }
            self.take_due(&mut state);
            let reads = state.reading + 1 < self.threads;
            if let Some(work) = state.queue.take(reads)
                && let Some(ground) = state.grounds.get(&work.tree).cloned()
            {
                state.reading += usize::from(work.task.reads());
                let untimed = !state.timed && state.queue.next_deadline().is_some();
                drop(state);
                if untimed {
                    self.ready.notify_one();
                }
                return Some((ground, work));
            }
            let deadline = state.queue.next_deadline().filter(|_| !state.timed);
            state = match deadline {
                None => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    state.timed = true;
                    let left = deadline.saturating_duration_since(sys::now());
                    let waited = self.ready.wait_timeout(state, left);
                    let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.timed = false;
                    state
                }
            };
        }
    }

    /// Puts in what was put off until now.
    fn take_due(&self, state: &mut State) {
        let due = state.queue.take_due(sys::now());
        if due.len() > 1 {
            self.ready.notify_all();
        }
        for PutOff { tree, task, path, counts } in due {
            let Some(ground) = state.grounds.get(&tree).cloned() else {
                continue;
            };
            let pass = self.pass(End::Again { task, dir: path.clone() });
            if state.queue.put(ground.sync, tree, task, &path, &vec![pass]) {
                ground.outstanding.fetch_add(1, Ordering::AcqRel);
            }
            // The task just put in counts in its place.
            ground.outstanding.fetch_sub(usize::from(counts), Ordering::AcqRel);
        }
    }

    fn finish(&self, ground: &Ground, work: &Work) {
        if work.task.reads() {
            self.state().reading -= 1;
            self.ready.notify_one();
        }
        for pass in &work.passes {
            if pass.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.pass_through(ground, pass);
            }
        }
        let count = work.paths.len();
        if ground.outstanding.fetch_sub(count, Ordering::AcqRel) == count {
            (ground.sink)(Seen::Quiet { replica: ground.tree.replica });
        }
    }

    fn pass_through(&self, ground: &Ground, pass: &Pass) {
        let replica = ground.tree.replica;
        match &pass.end {
            End::Tell => (ground.sink)(Seen::Done { replica, scan: pass.id }),
            End::Round(round) => ground.tree.watch.end_round(replica, *round),
            End::Again { task, dir } => {
                self.again(ground, *task, dir, sys::now().saturating_duration_since(pass.started))
            }
        }
    }
}
