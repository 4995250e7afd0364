//! From a ready row to the job a sink can carry out.

use super::Engine;
use super::state::{Side, State};
use crate::dataflow::graph::moves::place;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Decision, Verdict, Views};
use crate::dataflow::query::Waits;

impl Engine {
    /// The job of a ready row, with the values it speaks of. `None` if it is not ready, or not so, any more.
    pub fn job(
        &mut self,
        path: PathId,
        verdict: &Verdict,
        moved_from: Option<PathId>,
    ) -> Option<Job> {
        self.read();
        let rows = self.state.rows(path);
        let (wish, decision, views) = self.judge.wish(path, &rows, verdict.leaf)?;
        let views = views.clone();
        if self.standing(path, &wish) != Some((*verdict, Waits::Nothing)) {
            return None;
        }
        let pair = place(&wish).and_then(|at| self.moves.of(path, at));
        if pair.map(|pair| pair.from) != moved_from {
            return None;
        }
        let op = self.op(path, verdict, &views, decision.as_ref(), moved_from)?;
        Some(Job {
            path: self.paths.borrow().path(path),
            leaf: verdict.leaf,
            rule: verdict.rule,
            op,
        })
    }

    fn op(
        &mut self,
        path: PathId,
        verdict: &Verdict,
        views: &Views,
        decision: Option<&Decision>,
        moved_from: Option<PathId>,
    ) -> Option<Op> {
        let other = |at: Replica| {
            if at.is_source() { verdict.leaf } else { Replica::SOURCE }
        };
        match verdict.act {
            Act::Put { from, to } => {
                let (new, expect) = match decision.filter(|d| d.verdict.act == verdict.act) {
                    Some(decision) => (decision.new?, decision.expect),
                    None => (held(views, from)?, held(views, to)),
                };
                let moved = moved_from.and_then(|old| self.moved(old, to, &new));
                Some(moved.unwrap_or(Op::Put { from, to, new, expect }))
            }
            Act::Delete { at } => {
                Some(Op::Delete { at, because: other(at), expect: decision?.expect? })
            }
            Act::Agree => Some(Op::Agree {
                value: match decision.filter(|d| d.verdict.act == verdict.act) {
                    Some(decision) => decision.new,
                    // A directory that becomes the leaf's own: nothing is agreed about it any more.
                    None => None,
                },
            }),
            Act::Read(replicas) => {
                let replicas = replicas.iter();
                let read = replicas.filter_map(|r| Some((r, self.state.held(path, r)?)));
                Some(Op::Read { replicas: read.collect() })
            }
            Act::Await | Act::Conflict(_) | Act::Blocked(_) => None,
        }
    }

    /// A move instead of a put, if the old name still holds exactly these bytes.
    fn moved(&mut self, old: PathId, at: Replica, new: &Value) -> Option<Op> {
        let expect = self.state.held(old, at)?;
        (expect.digest().is_some() && expect.digest() == new.digest()).then(|| Op::Move {
            at,
            source_path: self.paths.borrow().path(old),
            expect,
            new: *new,
        })
    }

    pub(in crate::dataflow) fn read(&mut self) {
        if self.state.lacks_reader() {
            self.state.read_from(&mut self.graph.traces.state);
        }
    }
}

impl State {
    pub(in crate::dataflow) fn held(&mut self, path: PathId, replica: Replica) -> Option<Value> {
        self.value(path, Side::Holds(replica))
    }
}

fn held(views: &Views, replica: Replica) -> Option<Value> {
    if replica.is_source() {
        return views.source;
    }
    views.leaves.iter().find(|l| l.leaf == replica)?.value
}
