//! What is to be looked at, in which order: pure, time is an argument.
//!
//! Holds: looks before listings before reads before scans; within these, paths in the order of a walk, the same on all
//! replicas of a sync; what arrives takes turns with scans, syncs take turns. A thing asked for twice before it is begun
//! is done once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use crate::dataflow::model::path::RelPath;

/// What is to be done with a path, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Task {
    /// Look at it.
    Look,
    /// Look at it; if it is a directory, all below is new.
    Arrive,
    /// List it, and what below it is not watched.
    List,
    /// Look at it and read it whatever its size.
    Read,
    /// List it, with what is in its small files.
    Fill,
    /// List it and all below it.
    Scan,
}

impl Task {
    /// Whether it may take as long as reading files does.
    pub(super) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Fill)
    }
}

/// The most looks waiting for one tree; beyond, directories are listed instead.
pub(super) const LOOKS_MAX: usize = 16_384;
/// The most tasks put off; beyond, a whole tree is scanned instead.
const LATER_MAX: usize = 4096;
/// The most siblings looked at through one handle.
const BATCH: usize = 64;

/// A request, done when nothing of it is left.
pub(super) struct Pass {
    pub(super) id: u64,
    pub(super) left: AtomicUsize,
    pub(super) started: Instant,
    pub(super) end: End,
}

/// What the end of a pass brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked for: say so.
    Tell,
    /// It makes up for lost events: watches it did not come by go.
    Round(u32),
    /// It stands in for a watch: again, later.
    Again { task: Task, dir: RelPath },
}

pub(super) type Passes = Vec<Arc<Pass>>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    task: Task,
    order: WalkOrder,
    tree: u32,
}

impl Key {
    /// Before all of a kind.
    fn first(task: Task) -> Self {
        Self { task, order: WalkOrder::of(&RelPath::root()), tree: 0 }
    }
}

/// A path that sorts as a walk comes by it: a directory's content right after the directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WalkOrder(Box<[u8]>);

impl WalkOrder {
    fn of(path: &RelPath) -> Self {
        // No name has a NUL byte, so nothing sorts between a directory and what is in it.
        Self(path.as_bytes().iter().map(|b| if *b == b'/' { 0 } else { *b }).collect())
    }

    fn path(&self) -> RelPath {
        let bytes: Vec<u8> = self.0.iter().map(|b| if *b == 0 { b'/' } else { *b }).collect();
        RelPath::parse(&bytes).expect("made from a path")
    }

    fn parent(&self) -> Option<&[u8]> {
        self.0.iter().rposition(|b| *b == 0).map(|at| &self.0[..at])
    }
}

/// Something to do now.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) tree: u32,
    pub(super) task: Task,
    /// One path; several only of siblings to be looked at.
    pub(super) paths: Vec<RelPath>,
    pub(super) passes: Passes,
}

/// A task for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PutOff {
    pub(super) tree: u32,
    pub(super) task: Task,
    pub(super) path: RelPath,
    /// There is no rest before it is done.
    pub(super) counts: bool,
}

#[derive(Default)]
pub(super) struct Queue {
    syncs: BTreeMap<u32, BTreeMap<Key, Passes>>,
    last: u32,
    /// Syncs of which something that arrived was taken since a scan: a scan of a source must not wait until all is
    /// looked at that it has already made arrive on the leaves, or there is nothing to put in there.
    arrived: HashSet<u32>,
    looks: HashMap<u32, usize>,
    later: BTreeMap<(Instant, u64), PutOff>,
    put_off: HashSet<(u32, Task, RelPath)>,
    count: u64,
}

impl Queue {
    /// Puts a task in. Returns whether it was not there before.
    pub(super) fn put(
        &mut self,
        sync: u32,
        tree: u32,
        task: Task,
        path: &RelPath,
        passes: &Passes,
    ) -> bool {
        let many = self.looks.get(&tree).copied().unwrap_or(0) >= LOOKS_MAX;
        let (task, path) = match (task, path.split()) {
            (Task::Look, Some((dir, _))) if many => (Task::List, dir),
            _ => (task, path.clone()),
        };
        let key = Key { task, order: WalkOrder::of(&path), tree };
        let mut new = false;
        let entry = self.syncs.entry(sync).or_default().entry(key).or_insert_with(|| {
            new = true;
            Passes::new()
        });
        for pass in passes {
            if !entry.iter().any(|other| Arc::ptr_eq(other, pass)) {
                pass.left.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                entry.push(pass.clone());
            }
        }
        if new && task == Task::Look {
            *self.looks.entry(tree).or_default() += 1;
        }
        new
    }

    /// Puts a task in at `when`. Returns whether it was not put off already.
    pub(super) fn put_later(&mut self, when: Instant, mut what: PutOff) -> bool {
        if self.later.len() >= LATER_MAX {
            (what.task, what.path) = (Task::Scan, RelPath::root());
        }
        let new = self.put_off.insert((what.tree, what.task, what.path.clone()));
        if new {
            self.count += 1;
            self.later.insert((when, self.count), what);
        }
        new
    }

    /// What was put off until now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<PutOff> {
        let mut due = Vec::new();
        while let Some(first) = self.later.first_entry()
            && first.key().0 <= now
        {
            let what = first.remove();
            self.put_off.remove(&(what.tree, what.task, what.path.clone()));
            due.push(what);
        }
        due
    }

    /// When [`Queue::take_due`] has something, if ever.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((when, _), _)| *when)
    }

    /// The next thing to do; reads only if `reads`.
    pub(super) fn take(&mut self, reads: bool) -> Option<Work> {
        let syncs: Vec<u32> = self.syncs.keys().copied().collect();
        let next = syncs.partition_point(|sync| *sync <= self.last);
        for sync in syncs[next..].iter().chain(&syncs[..next]) {
            if let Some(work) = self.take_from(*sync, reads) {
                self.last = *sync;
                return Some(work);
            }
        }
        None
    }

    fn take_from(&mut self, sync: u32, reads: bool) -> Option<Work> {
        let tasks = self.syncs.get_mut(&sync)?;
        let mut first = tasks.keys().find(|key| reads || !key.task.reads())?;
        if first.task == Task::Arrive
            && !self.arrived.insert(sync)
            && let Some((scan, _)) = tasks.range(Key::first(Task::Scan)..).next()
        {
            first = scan;
        }
        if first.task == Task::Scan {
            self.arrived.remove(&sync);
        }
        let first = first.clone();
        let passes = tasks.remove(&first).expect("just found");
        let mut work =
            Work { tree: first.tree, task: first.task, paths: vec![first.order.path()], passes };
        if first.task == Task::Look {
            while work.paths.len() < BATCH
                && let Some(entry) = tasks.first_entry()
                && entry.key().task == Task::Look
                && entry.key().tree == first.tree
                && entry.key().order.parent() == first.order.parent()
                && entry.get().is_empty()
            {
                work.paths.push(entry.key().order.path());
                entry.remove();
            }
            let looks = self.looks.entry(first.tree).or_default();
            *looks = looks.saturating_sub(work.paths.len());
        }
        if tasks.is_empty() {
            self.syncs.remove(&sync);
        }
        Some(work)
    }

    /// Drops all that is to be done for a tree.
    pub(super) fn forget(&mut self, tree: u32) {
        for tasks in self.syncs.values_mut() {
            tasks.retain(|key, _| key.tree != tree);
        }
        self.syncs.retain(|_, tasks| !tasks.is_empty());
        self.later.retain(|_, what| what.tree != tree);
        self.put_off.retain(|(t, _, _)| *t != tree);
        self.looks.remove(&tree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    fn order(queue: &mut Queue) -> Vec<String> {
        let works = std::iter::from_fn(|| queue.take(true));
        works.map(|work| format!("{} {:?} {:?}", work.tree, work.task, work.paths)).collect()
    }

    #[test]
    fn replicas_are_walked_in_step_and_in_order() {
        let mut queue = Queue::default();
        for dir in ["b", "a/b", "a-b", "", "a"] {
            queue.put(0, 1, Task::Scan, &path(dir), &vec![]);
            queue.put(0, 2, Task::Scan, &path(dir), &vec![]);
        }
        let order = order(&mut queue);
        assert_eq!(order[..2], ["1 Scan []", "2 Scan []"]);
        assert_eq!(order[2..6], ["1 Scan [a]", "2 Scan [a]", "1 Scan [a/b]", "2 Scan [a/b]"]);
        assert_eq!(order[6..], ["1 Scan [a-b]", "2 Scan [a-b]", "1 Scan [b]", "2 Scan [b]"]);
    }

    #[test]
    fn a_live_change_goes_before_the_scan() {
        let mut queue = Queue::default();
        queue.put(0, 1, Task::Scan, &path("a"), &vec![]);
        queue.put(0, 1, Task::Read, &path("z"), &vec![]);
        queue.put(0, 1, Task::Look, &path("z/x"), &vec![]);
        queue.put(0, 1, Task::Look, &path("z/y"), &vec![]);
        queue.put(0, 1, Task::Look, &path("y"), &vec![]);
        let order = order(&mut queue);
        assert_eq!(order, ["1 Look [y]", "1 Look [z/x, z/y]", "1 Read [z]", "1 Scan [a]"]);
    }

    #[test]
    fn what_arrives_takes_turns_with_scans() {
        let mut queue = Queue::default();
        for dir in ["a", "b", "c"] {
            queue.put(0, 2, Task::Arrive, &path(dir), &vec![]);
        }
        for dir in ["a", "b"] {
            queue.put(0, 1, Task::Scan, &path(dir), &vec![]);
        }
        queue.put(0, 2, Task::Look, &path("z"), &vec![]);
        queue.put(7, 9, Task::Scan, &path("other sync"), &vec![]);
        let mut order = order(&mut queue);
        order.retain(|work| !work.contains("other sync"));
        assert_eq!(order[..4], ["2 Look [z]", "2 Arrive [a]", "1 Scan [a]", "2 Arrive [b]"]);
        assert_eq!(order[4..], ["1 Scan [b]", "2 Arrive [c]"]);
    }

    #[test]
    fn syncs_take_turns() {
        let mut queue = Queue::default();
        for dir in ["a", "b"] {
            queue.put(7, 1, Task::Scan, &path(dir), &vec![]);
            queue.put(9, 2, Task::Scan, &path(dir), &vec![]);
        }
        assert_eq!(order(&mut queue), ["1 Scan [a]", "2 Scan [a]", "1 Scan [b]", "2 Scan [b]"]);
    }

    #[test]
    fn what_is_asked_for_twice_is_done_once_for_both() {
        let mut queue = Queue::default();
        let pass = |id| {
            let (left, started) = (AtomicUsize::new(0), Instant::now());
            Arc::new(Pass { id, left, started, end: End::Tell })
        };
        assert!(queue.put(0, 1, Task::Scan, &path("a"), &vec![pass(1)]));
        assert!(!queue.put(0, 1, Task::Scan, &path("a"), &vec![pass(2)]));
        let work = queue.take(true).expect("one");
        assert_eq!(work.passes.iter().map(|pass| pass.id).collect::<Vec<_>>(), [1, 2]);
        assert!(queue.take(true).is_none());
    }

    #[test]
    fn too_many_looks_become_listings() {
        let mut queue = Queue::default();
        for i in 0..LOOKS_MAX + 5 {
            queue.put(0, 1, Task::Look, &path(&format!("d/{i}")), &vec![]);
        }
        let works: Vec<Work> = std::iter::from_fn(|| queue.take(true)).collect();
        let looks: usize =
            works.iter().filter(|w| w.task == Task::Look).map(|w| w.paths.len()).sum();
        assert_eq!(looks, LOOKS_MAX);
        let lists: Vec<&Work> = works.iter().filter(|w| w.task == Task::List).collect();
        assert_eq!(lists.len(), 1);
        assert_eq!(lists[0].paths, [path("d")]);
    }

    #[test]
    fn reads_wait_where_none_is_wanted() {
        let mut queue = Queue::default();
        queue.put(0, 1, Task::Read, &path("big"), &vec![]);
        assert!(queue.take(false).is_none());
        queue.put(0, 1, Task::Scan, &path("a"), &vec![]);
        assert_eq!(queue.take(false).expect("the scan").task, Task::Scan);
        assert_eq!(queue.take(true).expect("the read").task, Task::Read);
    }

    #[test]
    fn what_is_put_off_comes_at_its_time_and_once() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let soon = now + Duration::from_secs(1);
        let what = PutOff { tree: 1, task: Task::List, path: path("a"), counts: false };
        assert!(queue.put_later(soon, what.clone()));
        assert!(!queue.put_later(soon + Duration::from_secs(1), what.clone()));
        assert_eq!(queue.next_deadline(), Some(soon));
        assert!(queue.take_due(now).is_empty());
        assert_eq!(queue.take_due(soon), [what]);
        assert_eq!(queue.next_deadline(), None);
    }
}
