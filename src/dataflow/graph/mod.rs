//! The dataflow graph: state rows in, ready rows out.
//!
//! Holds: one stage a file, every operator named; only this folder and the engine know differential dataflow. Every
//! trace that is kept for questions is advanced every epoch by [`Graph::settle`], the one place that owns them.

pub(in crate::dataflow) mod directories;
mod gates;
pub(in crate::dataflow) mod meanings;
pub(in crate::dataflow) mod moves;
pub(in crate::dataflow) mod rows;
mod tally;
pub(in crate::dataflow) mod views;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use differential_dataflow::difference::Semigroup;
use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::cursor::{BatchCursor, CursorList, cursor_list};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::trace::{Cursor, ExertionLogic, TraceReader};
use differential_dataflow::{ExchangeData, VecCollection};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::dataflow::ProbeHandle;
use timely::progress::Antichain;
use timely::worker::Worker;

use self::directories::Evidence;
use self::meanings::Meanings;
use self::rows::{Bits, Outcome, Output, Row, Wish};
use crate::dataflow::model::mode::Policy;
use crate::dataflow::model::paths::{PathId, Paths};
use crate::dataflow::model::replica::ReplicaSet;
use crate::dataflow::query::Tally;

/// A collection of the graph; times are epochs.
type Rows<'s, D> = VecCollection<'s, u64, D, isize>;
/// An arrangement by path, as it is kept for questions.
type Trace<V, R = isize> = TraceAgent<ValSpine<PathId, V, u64, R>>;
type SharedPaths = Rc<RefCell<Paths>>;
type SharedOutputs = Rc<RefCell<Vec<(Output, isize)>>>;

/// Arranging by path under a name.
trait ByPath<'s, V, R> {
    fn by_path(self, name: &str) -> Arranged<'s, Trace<V, R>>
    where
        V: ExchangeData,
        R: ExchangeData + Semigroup;
}

impl<'s, V, R> ByPath<'s, V, R> for VecCollection<'s, u64, (PathId, V), R> {
    fn by_path(self, name: &str) -> Arranged<'s, Trace<V, R>>
    where
        V: ExchangeData,
        R: ExchangeData + Semigroup,
    {
        self.arrange_by_key_named(name)
    }
}

/// What the graph is built from.
pub(in crate::dataflow) struct Plan {
    pub(in crate::dataflow) policy: Policy,
    pub(in crate::dataflow) leaves: ReplicaSet,
    pub(in crate::dataflow) paths: SharedPaths,
    pub(in crate::dataflow) meanings: Meanings,
}

/// The arrangements that answer questions, as of the last settled epoch.
pub(in crate::dataflow) struct Traces {
    pub(in crate::dataflow) state: Kept<Row, Bits>,
    /// The state stage's rows by path.
    pub(in crate::dataflow) outcomes: Kept<Outcome>,
    /// Wishes by the directory they are in.
    pub(in crate::dataflow) wishes: Kept<(PathId, Wish)>,
    /// What is outstanding below a directory, and what is wished about it.
    pub(in crate::dataflow) evidence: Kept<Evidence, Tally>,
}

/// A running graph.
pub(in crate::dataflow) struct Graph {
    input: InputSession<u64, (PathId, Row), Bits>,
    pub(in crate::dataflow) traces: Traces,
    probe: ProbeHandle<u64>,
    outputs: SharedOutputs,
    /// A path at which one side was found with two values: a fault of ours.
    fault: Rc<Cell<Option<PathId>>>,
    epoch: u64,
    merging: Merging,
    worker: Worker,
}

impl Graph {
    pub(in crate::dataflow) fn new(plan: &Plan) -> Self {
        let allocator = Allocator::Thread(timely::communication::allocator::Thread::default());
        let mut config = WorkerConfig::default().idle_spin(Duration::ZERO);
        let merging = Merging::default();
        merging.install(&mut config);
        // timely wants a clock for its own timers; none is ever set, and without one it would not park.
        #[allow(clippy::disallowed_methods, reason = "timely's own timer, never read by rules")]
        let now = Instant::now();
        let mut worker = Worker::new(config, allocator, Some(now));
        let outputs = SharedOutputs::default();
        let fault = Rc::new(Cell::new(None));
        let probe = ProbeHandle::new();
        let (input, traces) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, state) = scope.new_collection::<(PathId, Row), Bits>();
            let state = state.by_path("State");
            let state_trace = state.trace.clone();
            let outcomes = views::outcomes(state, plan, Rc::clone(&fault));
            let wishes = gates::by_parent(outcomes.clone(), &plan.paths);
            let dirs = gates::directories(outcomes.clone());
            let gated = gates::gated(wishes.clone(), dirs);
            let evidence = directories::evidence(gated.clone(), outcomes.clone(), plan);

            let ruled = directories::ruled(evidence.clone());
            let moves = moves::paired(gated.clone(), &plan.paths);
            let plain = gates::plain(gated);
            let sink = Rc::clone(&outputs);
            plain
                .concatenate([ruled, moves])
                .inspect_batch(move |_, rows| {
                    let rows = rows.iter().map(|(row, _, diff)| (*row, *diff));
                    sink.borrow_mut().extend(rows);
                })
                .probe_with(&probe);
            let traces = Traces {
                state: Kept::new(state_trace),
                outcomes: Kept::new(outcomes.trace),
                wishes: Kept::new(wishes.trace),
                evidence: Kept::new(evidence.trace),
            };
            (input, traces)
        });
        Self { input, traces, probe, outputs, fault, epoch: 0, merging, worker }
    }

    /// Closes an epoch with these differences and runs until everything follows from them; the changes of
    /// what it hands out are appended, not consolidated.
    pub(in crate::dataflow) fn settle(
        &mut self,
        rows: impl Iterator<Item = ((PathId, Row), Bits)>,
        out: &mut Vec<(Output, isize)>,
    ) {
        self.traces.close();
        for (row, bits) in rows {
            self.input.update(row, bits);
        }
        self.epoch += 1;
        self.input.advance_to(self.epoch);
        self.input.flush();
        while self.probe.less_than(&self.epoch) {
            self.worker.step();
        }
        self.traces.advance(self.epoch);
        out.append(&mut self.outputs.borrow_mut());
    }

    /// Merges every trace into one batch, so that what cancelled is not kept any more. Takes about as long as loading.
    pub(in crate::dataflow) fn compact(&mut self, out: &mut Vec<(Output, isize)>) {
        // Everybody's frontier has to be here first; else merges keep what only differs in time.
        self.settle(std::iter::empty(), out);
        self.merging.wanted.store(true, Ordering::Relaxed);
        self.settle(std::iter::empty(), out);
        while self.merging.asked.swap(false, Ordering::Relaxed) {
            self.worker.step();
        }
        self.merging.wanted.store(false, Ordering::Relaxed);
    }

    /// The path of a fault found since the last call.
    pub(in crate::dataflow) fn take_fault(&self) -> Option<PathId> {
        self.fault.take()
    }
}

/// Merging without new rows, which traces only do on demand: it would show in the latency of everything else.
#[derive(Clone, Default)]
struct Merging {
    wanted: Arc<AtomicBool>,
    /// A trace had more to merge.
    asked: Arc<AtomicBool>,
}

/// How many rows a trace merges in one go when asked to.
const MERGED_ROWS: usize = 1 << 16;

impl Merging {
    fn install(&self, config: &mut WorkerConfig) {
        let Self { wanted, asked } = self.clone();
        let logic: ExertionLogic = Arc::new(move |layers| {
            if !wanted.load(Ordering::Relaxed) {
                return None;
            }
            let merges = layers.iter().any(|(_, batches, _)| *batches > 1);
            let filled = layers.iter().filter(|(_, _, rows)| *rows > 0).count();
            (merges || filled > 1).then(|| {
                asked.store(true, Ordering::Relaxed);
                MERGED_ROWS
            })
        });
        config.set("differential/default_exert_logic".to_owned(), logic);
    }
}

impl Traces {
    fn close(&mut self) {
        let Self { state, outcomes, wishes, evidence } = self;
        state.close();
        outcomes.close();
        wishes.close();
        evidence.close();
    }

    fn advance(&mut self, epoch: u64) {
        let Self { state, outcomes, wishes, evidence } = self;
        state.advance(epoch);
        outcomes.advance(epoch);
        wishes.advance(epoch);
        evidence.advance(epoch);
    }
}

/// A trace held for questions.
pub(in crate::dataflow) struct Kept<V, R = isize>
where
    V: ExchangeData,
    R: ExchangeData + Semigroup,
{
    trace: Trace<V, R>,
    /// Of the settled epoch, from the first question on.
    reader: Option<Reader<V, R>>,
}

impl<V, R> Kept<V, R>
where
    V: ExchangeData + Copy,
    R: ExchangeData + Semigroup + Default + Copy,
{
    fn new(trace: Trace<V, R>) -> Self {
        Self { trace, reader: None }
    }

    /// Ends the questions about this epoch.
    fn close(&mut self) {
        self.reader = None;
    }

    fn advance(&mut self, epoch: u64) {
        let frontier = Antichain::from_elem(epoch);
        self.trace.set_logical_compaction(frontier.borrow());
        self.trace.set_physical_compaction(frontier.borrow());
    }

    /// A cursor over everything settled. It must be dropped before the next epoch.
    pub(in crate::dataflow) fn open(&mut self) -> Reader<V, R> {
        let batches = self
            .trace
            .batches_through(Antichain::new().borrow())
            .expect("the whole trace is always a clean cut");
        let (cursor, batches) = cursor_list(batches);
        Reader { cursor, batches }
    }

    /// The cursor of this epoch's questions.
    pub(in crate::dataflow) fn reader(&mut self) -> &mut Reader<V, R> {
        if self.reader.is_none() {
            self.reader = Some(self.open());
        }
        self.reader.as_mut().expect("it was just opened")
    }

    /// The rows of one path.
    pub(in crate::dataflow) fn at(&mut self, path: PathId) -> Vec<(V, R)> {
        let mut rows = Vec::new();
        self.reader().at(path, |row, diff| rows.push((row, diff)));
        rows
    }
}

/// A cursor over a trace.
pub(in crate::dataflow) struct Reader<V, R>
where
    V: ExchangeData,
    R: ExchangeData + Semigroup,
{
    cursor: CursorList<BatchCursor<Trace<V, R>>>,
    batches: Vec<<Trace<V, R> as TraceReader>::Batch>,
}

impl<V, R> Reader<V, R>
where
    V: ExchangeData + Copy,
    R: ExchangeData + Semigroup + Default + Copy,
{
    /// Visits the rows of one path.
    pub(in crate::dataflow) fn at(&mut self, path: PathId, visit: impl FnMut(V, R)) {
        if self.cursor.get_key(&self.batches).is_none_or(|at| *at > path) {
            self.cursor.rewind_keys(&self.batches);
        }
        self.cursor.seek_key(&self.batches, &path);
        if self.cursor.get_key(&self.batches) == Some(&path) {
            self.cursor.rewind_vals(&self.batches);
            self.here(visit);
        }
    }

    /// Visits all paths that have rows, in the order of their ids, until `visit` says false.
    pub(in crate::dataflow) fn each(&mut self, mut visit: impl FnMut(PathId, &[(V, R)]) -> bool) {
        let mut rows = Vec::new();
        self.cursor.rewind_keys(&self.batches);
        while let Some(path) = self.cursor.get_key(&self.batches).copied() {
            rows.clear();
            self.here(|row, diff| rows.push((row, diff)));
            if !rows.is_empty() && !visit(path, &rows) {
                return;
            }
            self.cursor.step_key(&self.batches);
        }
    }

    fn here(&mut self, mut visit: impl FnMut(V, R)) {
        while let Some(row) = self.cursor.get_val(&self.batches).copied() {
            let mut sum = R::default();
            self.cursor.map_times(&self.batches, |_, diff| sum.plus_equals(diff));
            if !sum.is_zero() {
                visit(row, sum);
            }
            self.cursor.step_val(&self.batches);
        }
    }
}
