//! What is in a git repository is carried in the order in which git itself would have made it.
//!
//! Holds: a row of a later step is handed out only when nothing of an earlier step is left with its leaf, and only for
//! a state of the repository in which all that was done before it was noticed: the watchers were flushed since the
//! repository was last said to have changed. While anything in it but its objects is in conflict, only its objects go.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;

use crate::dataflow::model::git::{self, Part, Step};
use crate::dataflow::model::job::JobChange;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::verdict::Act;
use crate::dataflow::query::Tally;
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::service::settling::Settling;

/// Parts that are directories, by the last part that is in them: what is outstanding below is counted by the engine,
/// also what is not ready yet.
const COUNTED: [(Part, &[u8]); 3] =
    [(OF_OBJECTS, b"objects"), (Part::Refs, b"refs"), (Part::Logs, b"logs")];
const OF_OBJECTS: Part = Part::PackIndexes;

/// One repository and one leaf.
#[derive(Default)]
struct Repository {
    /// The ready rows by step, those that have a job included.
    rows: BTreeMap<Step, usize>,
    waiting: BTreeSet<(Step, JobKey)>,
    state: Settling,
}

/// Whether what is of a step may go.
pub(super) type Answer = ((PathId, Replica, Step), bool);

/// All repositories with something to carry over.
#[derive(Default)]
pub struct Repositories {
    by_leaf: HashMap<(PathId, Replica), Repository>,
    /// Of the ready rows: which repository, and which step.
    steps: HashMap<JobKey, (PathId, Step)>,
}

impl Repositories {
    /// The watchers have told all that happened before this number was given out.
    pub fn flushed(&mut self, number: u64) {
        for repository in self.by_leaf.values_mut() {
            repository.state.flushed(number);
        }
    }

    /// The paths that are known here.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathId> {
        let rows = self.steps.iter().flat_map(|(key, (repository, _))| [key.path, *repository]);
        let repositories = self.by_leaf.iter().flat_map(|((repository, _), known)| {
            let waiting = known.waiting.iter().map(|(_, key)| key.path);
            waiting.chain([*repository])
        });
        rows.chain(repositories)
    }

    /// Whether a row waits here.
    #[must_use]
    pub fn has(&self, key: JobKey) -> bool {
        self.steps.get(&key).is_some_and(|(repository, step)| {
            let known = self.by_leaf.get(&(*repository, key.leaf));
            known.is_some_and(|known| known.waiting.contains(&(*step, key)))
        })
    }

    /// Whether something may be handed out soon, with nothing else happening.
    #[must_use]
    pub fn are_moving(&self) -> bool {
        let mut waiting = self.by_leaf.values().filter(|r| !r.waiting.is_empty());
        waiting.any(|repository| !repository.state.is_settled())
    }
}

impl Actor {
    /// The repository a row belongs to, and its step.
    fn step_of(&mut self, row: &JobChange) -> Option<(PathId, Step)> {
        if self.shop.journal.is_none() || !self.engine.paths().is_in_git(row.path) {
            return None;
        }
        let path = self.engine.paths().path(row.path);
        let (depth, part) = git::part_of(&path)?;
        let repository = self.ancestor(row.path, path.components().count() - depth)?;
        let step = match row.verdict.act {
            Act::Put { .. } if self.makes_a_directory(row) => Step::FIRST,
            Act::Put { .. } => Step::coming(part),
            Act::Delete { at } if self.is_in_the_way(row, at, repository) => Step::coming(part),
            Act::Delete { .. } => Step::going(part),
            Act::Agree | Act::Read(_) | Act::Await | Act::Conflict(_) | Act::Blocked(_) => {
                Step::FIRST
            }
        };
        Some((repository, step))
    }

    fn ancestor(&self, path: PathId, up: usize) -> Option<PathId> {
        let paths = self.engine.paths();
        up.checked_sub(1).and_then(|up| paths.ancestors(path).nth(up))
    }

    /// Whether a name above what is to go is to become a file: then nothing else can come before it.
    fn is_in_the_way(&mut self, row: &JobChange, at: Replica, repository: PathId) -> bool {
        let other = if at.is_source() { row.verdict.leaf } else { Replica::SOURCE };
        let above: Vec<PathId> =
            self.engine.paths().ancestors(row.path).take_while(|dir| *dir != repository).collect();
        above.into_iter().any(|dir| self.engine.held(dir, other).is_some_and(|v| !v.is_dir()))
    }

    /// A ready row came.
    pub(crate) fn enter_repository(&mut self, key: JobKey, row: &JobChange) {
        let Some((repository, step)) = self.step_of(row) else { return };
        self.repositories.steps.insert(key, (repository, step));
        let known = self.repositories.by_leaf.entry((repository, key.leaf)).or_default();
        *known.rows.entry(step).or_default() += 1;
    }

    /// A ready row went.
    pub(crate) fn leave_repository(&mut self, key: JobKey) {
        let Some((repository, step)) = self.repositories.steps.remove(&key) else { return };
        let Some(known) = self.repositories.by_leaf.get_mut(&(repository, key.leaf)) else {
            return;
        };
        known.waiting.remove(&(step, key));
        if let Some(count) = known.rows.get_mut(&step) {
            *count -= 1;
            if *count == 0 {
                known.rows.remove(&step);
            }
        }
        if known.rows.is_empty() {
            self.repositories.by_leaf.remove(&(repository, key.leaf));
        }
    }

    /// Whether a row has to wait for the rest of its repository; then it is noted, and handed out in its turn. `last`
    /// is the answer to the last question, as long as nothing happened since.
    pub(crate) fn waits_in_repository(&mut self, key: JobKey, last: &mut Option<Answer>) -> bool {
        let Some((repository, step)) = self.repositories.steps.get(&key).copied() else {
            return false;
        };
        if step == Step::FIRST {
            return false;
        }
        let of = (repository, key.leaf, step);
        let known = last.filter(|(asked, _)| *asked == of).map(|(_, may_go)| may_go);
        let may_go = known.unwrap_or_else(|| {
            self.is_settled(repository, key.leaf) && self.is_turn(repository, key.leaf, step)
        });
        *last = Some((of, may_go));
        if may_go {
            return false;
        }
        let known = self.repositories.by_leaf.entry((repository, key.leaf)).or_default();
        known.waiting.insert((step, key));
        true
    }

    /// An empty directory where nothing is does no harm, however early it comes.
    fn makes_a_directory(&mut self, row: &JobChange) -> bool {
        let Act::Put { from, to } = row.verdict.act else { return false };
        self.engine.held(row.path, from).is_some_and(|value| value.is_dir())
            && self.engine.held(row.path, to).is_none()
    }

    fn is_settled(&self, repository: PathId, leaf: Replica) -> bool {
        let known = self.repositories.by_leaf.get(&(repository, leaf));
        known.is_some_and(|known| known.state.is_settled())
    }

    /// Whether nothing of an earlier step is left.
    fn is_turn(&mut self, repository: PathId, leaf: Replica, step: Step) -> bool {
        let known = self.repositories.by_leaf.get(&(repository, leaf));
        if known.is_some_and(|known| known.rows.range(..step).next().is_some()) {
            return false;
        }
        let whole = self.outstanding_below(repository, leaf);
        if step.is_going() && comes(&whole) {
            return false;
        }
        let mut in_objects = 0;
        for (part, name) in COUNTED {
            let dir = self.engine.paths().child(repository, name);
            let Some(dir) = dir else { continue };
            let below = self.outstanding_below(dir, leaf);
            if step.is_after(part) && comes(&below) {
                return false;
            }
            if part == OF_OBJECTS {
                in_objects = below.conflicts;
            }
        }
        whole.conflicts == in_objects
    }

    fn outstanding_below(&mut self, dir: PathId, leaf: Replica) -> Tally {
        let tallies = self.engine.tallies_below(dir);
        tallies.into_iter().find(|(of, _)| *of == leaf).map(|(_, tally)| tally).unwrap_or_default()
    }

    /// Something was seen at a path: what was known of its repository may be out of date.
    pub(crate) fn touch_repository(&mut self, id: PathId) {
        if self.repositories.by_leaf.is_empty() {
            return;
        }
        let paths = self.engine.paths();
        if !paths.is_in_git(id) {
            return;
        }
        let above: Vec<PathId> = std::iter::once(id).chain(paths.ancestors(id)).collect();
        drop(paths);
        for ((repository, _), known) in &mut self.repositories.by_leaf {
            if above.contains(repository) {
                known.state = Settling::Touched;
            }
        }
    }

    /// With nothing left to be looked at: asks the watchers about what was touched, hands out what is settled and whose
    /// turn it is. Returns whether anything was.
    pub(crate) fn go_on_in_repositories(&mut self) -> bool {
        if self.repositories.by_leaf.is_empty() {
            return false;
        }
        let keys: Vec<(PathId, Replica)> = self.repositories.by_leaf.keys().copied().collect();
        let mut any = false;
        for (repository, leaf) in keys {
            let Some(known) = self.repositories.by_leaf.get(&(repository, leaf)) else { continue };
            let Some((step, _)) = known.waiting.first().copied() else { continue };
            match known.state {
                Settling::Touched => {
                    let state = self.settling();
                    if let Some(known) = self.repositories.by_leaf.get_mut(&(repository, leaf)) {
                        known.state = state;
                    }
                    any |= state.is_settled();
                }
                Settling::Flushing(_) => {}
                Settling::Settled => {
                    if self.is_turn(repository, leaf, step) {
                        any |= self.hand_out(repository, leaf, step);
                    }
                }
            }
        }
        any
    }

    fn hand_out(&mut self, repository: PathId, leaf: Replica, step: Step) -> bool {
        let Some(known) = self.repositories.by_leaf.get_mut(&(repository, leaf)) else {
            return false;
        };
        let turn: Vec<JobKey> =
            known.waiting.iter().take_while(|(s, _)| *s == step).map(|(_, key)| *key).collect();
        known.waiting.retain(|(s, _)| *s != step);
        for key in &turn {
            self.queue_now(*key);
        }
        !turn.is_empty()
    }
}

fn comes(tally: &Tally) -> bool {
    tally.up + tally.down > 0
}
