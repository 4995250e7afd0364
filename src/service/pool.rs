//! Threads for blocking work: a few workers for sinks, a few scanners that take directories in path order.
//!
//! Holds: at rest every thread is parked without a timeout (INV-8); the number of threads is fixed at the start.

use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Something to do on a worker.
pub type Work = Box<dyn FnOnce() + Send>;

/// Does work that waits for another machine most of its time on a thread of its own.
pub(crate) fn on_its_own(work: Work) {
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<Work>>| {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        work.into_iter().for_each(|work| work());
    };
    let theirs = work.clone();
    let started = std::thread::Builder::new().name("far".to_owned()).spawn(move || take(&theirs));
    // Where there is no thread left, it is done here: late is better than never.
    if started.is_err() {
        take(&work);
    }
}

/// A piece of work and its place in the queue: small first, then first come.
struct Queued {
    order: Vec<u8>,
    sequence: u64,
    work: Work,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    /// Reversed: the heap's greatest is the one to do next.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&other.order, other.sequence).cmp(&(&self.order, self.sequence))
    }
}

#[derive(Default)]
struct State {
    heap: BinaryHeap<Queued>,
    sequence: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

/// A pool of threads that take the work with the smallest order first.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads called `name`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(name.to_owned()).spawn(move || serve(&shared))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }

    /// A pool without threads: its work is done in [`Self::step`].
    #[cfg(test)]
    pub(crate) fn stepped() -> Self {
        Self { shared: Arc::default(), threads: Vec::new() }
    }

    /// Does the next piece of work on this thread; false if there is none.
    #[cfg(test)]
    pub(crate) fn step(&self) -> bool {
        let next = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).heap.pop();
        next.map(|queued| (queued.work)()).is_some()
    }

    /// Does the piece of work that came last on this thread; false if there is none. Whatever came before it takes longer.
    #[cfg(test)]
    pub(crate) fn step_last(&self) -> bool {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::mem::take(&mut state.heap).into_vec();
        let last = (0..all.len()).max_by_key(|at| all[*at].sequence);
        let last = last.map(|at| all.swap_remove(at));
        state.heap = all.into();
        drop(state);
        last.map(|queued| (queued.work)()).is_some()
    }

    /// Queues work; what has the smallest `order` is done first, among equals the first come.
    pub fn submit(&self, order: &[u8], work: Work) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return;
        }
        state.sequence += 1;
        let sequence = state.sequence;
        state.heap.push(Queued { order: order.into(), sequence, work });
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Drop for Pool {
    /// Drops what is queued and waits for what runs.
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        let queued = std::mem::take(&mut state.heap);
        drop(state);
        drop(queued);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn serve(shared: &Shared) {
    let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if state.closed {
            return;
        }
        match state.heap.pop() {
            Some(queued) => {
                drop(state);
                (queued.work)();
                state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            }
            None => state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_smallest_order_is_done_first() {
        let pool = Pool::start("test", 1).expect("a thread");
        let (gate_in, gate_out) = mpsc::channel::<()>();
        let (out, done) = mpsc::channel();
        pool.submit(b"", Box::new(move || gate_out.recv().unwrap_or_default()));
        for order in ["c", "a", "b"] {
            let out = out.clone();
            pool.submit(order.as_bytes(), Box::new(move || out.send(order).unwrap()));
        }
        gate_in.send(()).expect("the first work waits");
        let order: Vec<&str> = done.iter().take(3).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }
}
