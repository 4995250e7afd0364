//! Which contents are the same, and whether somebody has to read to find out.
//!
//! Holds: files are read only where it matters: every way the open questions can be answered is tried, and if all lead to
//! the same act it is done unread. A verdict that asks for reading names at least one unread replica.
//! Does not decide anything itself.

use super::history;
use super::pair::{Pair, Ruling, is_unread, writes_source};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;

/// The answers a ruling may rest on. A content that is not there is the same as nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers {
    pub(super) source_leaf: bool,
    pub(super) source_agreed: bool,
    pub(super) leaf_agreed: bool,
    /// Nothing is agreed, and the leaf holds what the source once held.
    pub(super) stale: bool,
    pub(super) source_yields: bool,
    pub(super) leaf_yields: bool,
}

/// What is known: `None` where only reading can tell.
#[derive(Clone, Copy)]
struct Questions([Option<bool>; 6]);

/// A ruling, or what has to be read for one.
pub(super) enum Settled {
    Sure(Option<Ruling>),
    Open {
        read: ReplicaSet,
        /// Reading may show a change that is to go to the source.
        to_source: bool,
    },
}

/// Rules with what is known, or asks to read where the answers would change what is done.
pub(super) fn settle(pair: &Pair<'_>, rule: impl Fn(Answers) -> Option<Ruling>) -> Settled {
    let questions = Questions::of(pair);
    let open = questions.open();
    if open == 0 {
        return unless_recorded_unread(pair, rule(questions.answers(0)));
    }
    let ways = (0..1_u8 << 6).filter(|way| way & !open == 0);
    let rulings = ways.map(|way| rule(questions.answers(way)));
    let mut first = None;
    let mut differ = false;
    let mut to_source = false;
    for ruling in rulings {
        to_source |= ruling.is_some_and(|ruling| writes_source(ruling.act));
        let first = first.get_or_insert(ruling);
        differ |= match (&*first, &ruling) {
            (Some(a), Some(b)) => !a.does_the_same(b),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
    }
    if differ {
        let read = questions.unread(pair);
        return Settled::Open { read, to_source };
    }
    unless_recorded_unread(pair, first.flatten())
}

/// Whether a replica's value has the content of a recorded one; reading the record is not possible.
pub(super) fn same_as_recorded(held: &Value, recorded: &Value) -> Option<bool> {
    match held.same_content(recorded) {
        None if is_unread(recorded) => Some(false),
        answer => answer,
    }
}

/// Only contents somebody has read are recorded as agreed.
fn unless_recorded_unread(pair: &Pair<'_>, ruling: Option<Ruling>) -> Settled {
    let unread = ruling.is_some_and(|ruling| {
        ruling.act == Act::Agree && ruling.new.is_some_and(|new| is_unread(&new))
    });
    if unread {
        Settled::Open {
            read: unread_of(pair, true, true),
            to_source: false,
        }
    } else {
        Settled::Sure(ruling)
    }
}

fn unread_of(pair: &Pair<'_>, source: bool, leaf: bool) -> ReplicaSet {
    let mut set = ReplicaSet::EMPTY;
    if source && pair.source.is_some_and(|value| is_unread(&value)) {
        set = set.with(Replica::SOURCE);
    }
    if leaf && pair.leaf.is_some_and(|value| is_unread(&value)) {
        set = set.with(pair.slot);
    }
    set
}

impl Questions {
    fn of(pair: &Pair<'_>) -> Self {
        let recorded = |held: Option<Value>, record: Option<Value>| match (held, record) {
            (Some(held), Some(record)) => same_as_recorded(&held, &record),
            _ => Some(false),
        };
        Self([
            source_leaf(pair),
            recorded(pair.source, pair.agreed),
            recorded(pair.leaf, pair.agreed),
            history::is_stale(pair),
            recorded(pair.source, pair.source_yields),
            recorded(pair.leaf, pair.leaf_yields),
        ])
    }

    /// One bit for every question nobody can answer yet.
    fn open(&self) -> u8 {
        let open =
            |bits, (at, answer): (usize, &Option<bool>)| bits | u8::from(answer.is_none()) << at;
        self.0.iter().enumerate().fold(0, open)
    }

    /// The answers, the open ones taken from `way`.
    fn answers(&self, way: u8) -> Answers {
        let answer = |at: usize| self.0[at].unwrap_or(way & 1 << at != 0);
        Answers {
            source_leaf: answer(0),
            source_agreed: answer(1),
            leaf_agreed: answer(2),
            stale: answer(3),
            source_yields: answer(4),
            leaf_yields: answer(5),
        }
    }

    /// The unread replicas that open questions are about.
    fn unread(&self, pair: &Pair<'_>) -> ReplicaSet {
        let [
            source_leaf,
            source_agreed,
            leaf_agreed,
            stale,
            source_yields,
            leaf_yields,
        ] = self.0.map(|answer| answer.is_none());
        let source = source_leaf || source_agreed || source_yields;
        let leaf = source_leaf || leaf_agreed || stale || leaf_yields;
        unread_of(pair, source, leaf)
    }
}

fn source_leaf(pair: &Pair<'_>) -> Option<bool> {
    let (Some(source), Some(leaf)) = (&pair.source, &pair.leaf) else {
        return Some(false);
    };
    let answer = source.same_content(leaf);
    match (answer, source, leaf) {
        (None, Value::File(a), Value::File(b)) if pair.policy.trust_times => {
            // Where the source wins anyway, other times are enough to copy: reading both sides costs more.
            let wins = matches!(pair.policy.mode, Mode::OneWaySource | Mode::Mirror);
            (a.mtime == b.mtime)
                .then_some(true)
                .or(wins.then_some(false))
        }
        _ => answer,
    }
}
