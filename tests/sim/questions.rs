//! What yeet says when it is asked at any moment (S12, Q8): an answer that all is in sync was true at a moment between the
//! question and the answer, and an answer that it is not says why.
//!
//! Holds: what is asked goes through the flush of the watchers, as with a real daemon; asking changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::bench::{Bytes, bytes_of};
use super::ignoring::Rules;
use super::users::{self, Deed, Dice};
use super::world::World;
use crate::dataflow::model::path::RelPath;
use crate::service::actor::{Event, Question};
use crate::sources::control::wire::State;
use crate::sys::sim::{Disk, Kernel, Node, with};

/// When all trees were last the same, counted in looks at them.
#[derive(Clone, Default)]
pub(super) struct Sameness {
    looks: u64,
    last: u64,
    /// Whether anybody wants to know.
    pub(super) is_wanted: bool,
}

/// What is at each path.
fn shape(disk: &Disk) -> BTreeMap<String, (&Node, u16, i64)> {
    let tree = disk.tree().into_iter();
    tree.map(|(path, ino)| {
        let (node, attributes) = (disk.node(ino), disk.attributes(ino));
        let (mode, mtime) = match node {
            Node::File(_) => (attributes.mode, attributes.mtime),
            Node::Dir => (attributes.mode, 0),
            Node::Link(_) => (0, 0),
        };
        (path, (node, mode, mtime))
    })
    .collect()
}

/// Whether all trees are the same, but for what the rules of any replica, as they are now, leave out; and for a directory
/// that is gone at one and stays at another for such things (R10).
fn are_same(kernel: &Kernel) -> bool {
    let shapes: Vec<_> = kernel.replicas().iter().map(shape).collect();
    if shapes.iter().all(|other| *other == shapes[0]) {
        return true;
    }
    let rules = Rules::of_all(kernel);
    let mut out = BTreeSet::new();
    for (path, (node, ..)) in shapes.iter().flatten() {
        if rules.iter().any(|rules| rules.leave_out(path, **node == Node::Dir)) {
            out.insert(path.as_str());
        }
    }
    let all = shapes.iter().flat_map(BTreeMap::keys).map(String::as_str);
    all.filter(|path| !out.contains(path)).all(|path| {
        let there: Vec<_> = shapes.iter().map(|shape| shape.get(path)).collect();
        let is_dir = there.iter().flatten().all(|(node, ..)| **node == Node::Dir);
        let mut below = out.iter().filter_map(|out| out.strip_prefix(path));
        let stays_for_them = is_dir && below.any(|rest| rest.starts_with('/'));
        there.iter().all(|other| *other == there[0]) || (there.contains(&None) && stays_for_them)
    })
}

impl Sameness {
    pub(super) fn look(&mut self, kernel: &Kernel) {
        if !self.is_wanted {
            return;
        }
        self.looks += 1;
        if are_same(kernel) {
            self.last = self.looks;
        }
    }
}

/// A question that is still to be answered.
pub(super) struct Asked {
    since: u64,
    said: Receiver<State>,
    /// Which command asks.
    by: &'static str,
}

/// What a disk has at a path, as `explain` has to tell it.
fn words(disk: &Disk, path: &str) -> (String, Option<String>) {
    let Some(ino) = disk.at(path) else { return ("nothing".to_owned(), None) };
    let mode = disk.attributes(ino).mode;
    let digest = |bytes: &[u8]| Some(blake3::hash(bytes).to_hex().to_string());
    match bytes_of(disk, ino) {
        None => (format!("directory {mode:o}"), None),
        Some(Bytes::Link(text)) => {
            (format!("symlink, target of {} bytes", text.len()), digest(&text))
        }
        Some(Bytes::File(bytes)) => {
            (format!("file {mode:o}, {} bytes", bytes.len()), digest(&bytes))
        }
    }
}

impl World {
    /// Somebody asks how it stands, or waits for a rest. `meanwhile`: the scanner goes on until the answer is given.
    pub(super) fn ask(&mut self, dice: &mut Dice, meanwhile: bool) {
        match dice.one_in(2) {
            true => self.ask_wait(),
            false => self.ask_status(meanwhile),
        }
    }

    pub(super) fn ask_wait(&mut self) {
        self.ask_by("wait", |tell| {
            let root = RelPath::root();
            Box::new(move |actor| actor.state_at_next_rest(root, None, false, tell))
        });
    }

    pub(super) fn ask_status(&mut self, meanwhile: bool) {
        let scanning = (meanwhile && self.is_up()).then(|| self.scanning());
        self.ask_by("status", |tell| {
            let status: Question = Box::new(move |actor| {
                if let Some(scanning) = scanning {
                    scanning();
                }
                let status = actor.sync_status(&RelPath::root(), None);
                tell.send(status.state).unwrap_or_default();
            });
            Box::new(move |actor| actor.flushed(status))
        });
    }

    fn ask_by(&mut self, by: &'static str, question: impl FnOnce(Sender<State>) -> Question) {
        if !self.is_up() {
            return;
        }
        let since = with(|kernel| {
            let mut ledger = self.ledger.borrow_mut();
            ledger.sameness.is_wanted = true;
            ledger.observe(kernel);
            ledger.sameness.looks
        });
        let (tell, said) = crossbeam_channel::bounded(1);
        drop(self.actor().post.send(Event::Ask(question(tell))));
        self.asked.push(Asked { since, said, by });
    }

    /// S12: whoever was told that all is in sync was told the truth.
    pub(super) fn hear(&mut self) {
        let mut ledger = self.ledger.borrow_mut();
        let mut lied = None;
        self.asked.retain(|asked| match asked.said.try_recv() {
            Ok(State::InSync) if ledger.sameness.last < asked.since => {
                lied.get_or_insert(asked.by);
                false
            }
            Ok(_) | Err(TryRecvError::Disconnected) => false,
            Err(TryRecvError::Empty) => true,
        });
        ledger.sameness.is_wanted = !self.asked.is_empty();
        if let Some(by) = lied {
            let what = format!("S12: `{by}` said in-sync, and since it was asked nothing was");
            ledger.fault.get_or_insert(what);
        }
    }

    /// S12 and Q8, at rest and without rules of ignoring: what `status` and `explain` say is what there is.
    pub(super) fn dishonest(&mut self) -> Option<String> {
        let paths: BTreeSet<String> = with(|kernel| {
            let trees = kernel.replicas().iter().flat_map(Disk::tree);
            trees.map(|(path, _)| path).collect()
        });
        let actor = self.actor();
        let root = RelPath::root();
        let (state, rows) = (actor.sync_status(&root, None).state, actor.file_rows(&root, None));
        let is_same = with(|kernel| are_same(kernel));
        if (state == State::InSync) != (is_same && rows.is_empty()) {
            return Some(format!("Q8: `status` says {state:?} with {rows:?}; the same: {is_same}"));
        }
        paths.iter().find_map(|path| self.misexplained(path))
    }

    fn misexplained(&mut self, path: &str) -> Option<String> {
        let Some(said) = self.actor().explain(&RelPath::parse(path.as_bytes()).unwrap()) else {
            return Some(format!("S12: `explain` knows nothing of {path}"));
        };
        let there: Vec<_> =
            with(|kernel| kernel.replicas().iter().map(|d| words(d, path)).collect());
        for (holding, (what, digest)) in said.holdings.iter().zip(&there) {
            let held = &holding.holds;
            // What only its bytes could tell need not have been read.
            let is_known = held.ends_with("digest unread");
            if !held.starts_with(what)
                || !digest.as_ref().is_none_or(|digest| is_known || held.ends_with(digest))
            {
                let at = &holding.replica;
                return Some(format!("S12: {path} on {at}: {held:?}, and it is {what} {digest:?}"));
            }
        }
        let differs = there.iter().any(|other| *other != there[0]);
        let is_settled = said.holdings[1..].iter().all(|leaf| leaf.rule.is_none());
        let complete = said.holdings.len() == there.len();
        (!complete || (differs && is_settled))
            .then(|| format!("S12: {path} is not explained: {said:?}, and there is {there:?}"))
    }
}

fn does(world: &World, at: usize, deed: Deed) {
    let mut ledger = world.ledger.borrow_mut();
    let did = with(|kernel| {
        // Always the same bytes would be no new version.
        let mut dice = Dice::new(kernel.calls + 1);
        users::does(kernel, &mut ledger, &mut dice, at, deed)
    });
    assert!(did);
}

/// A sync of two replicas that have a file, at rest.
fn in_sync() -> World {
    let mut world = World::new(2, 0, true);
    does(&world, 0, Deed::Write("a"));
    world.start();
    assert!(world.rest());
    world
}

fn fault(world: &World) -> Option<String> {
    world.ledger.borrow().fault.clone()
}

/// The answer is given before anything else is seen, or after it; and it is true.
fn assert_answered_truly(world: &mut World) {
    for round in 0..20 {
        world.epoch();
        world.look();
        if round > 9 {
            world.see();
            world.work();
        }
    }
    assert!(world.asked.is_empty());
    assert_eq!(fault(world), None);
}

#[test]
fn a_status_does_not_say_in_sync_while_what_was_looked_at_is_not_taken_in() {
    let mut world = in_sync();
    does(&world, 0, Deed::Write("b"));
    world.ask_status(true);
    // The flush is asked for, and all is told; it is looked at just before the answer.
    world.epoch();
    world.tell();
    for _ in 0..3 {
        world.epoch();
        world.look();
    }
    assert!(world.asked.is_empty());
    assert_eq!(fault(&world), None);
}

#[test]
fn a_wait_that_came_to_rest_beside_a_later_change_does_not_say_in_sync() {
    let mut world = in_sync();
    does(&world, 0, Deed::Write("b"));
    world.ask_wait();
    // The flush is told, and the file is on its way.
    for _ in 0..3 {
        world.epoch();
        world.see();
    }
    world.epoch();
    does(&world, 1, Deed::Directory("d"));
    world.work();
    assert_answered_truly(&mut world);
}

#[test]
fn nor_does_a_status_whose_flush_is_told_together_with_what_a_worker_did() {
    let mut world = in_sync();
    does(&world, 0, Deed::Write("b"));
    for _ in 0..3 {
        world.see();
        world.epoch();
    }
    world.ask_status(false);
    world.epoch();
    world.tell();
    does(&world, 1, Deed::Directory("d"));
    world.work();
    assert_answered_truly(&mut world);
}

#[test]
fn nothing_is_said_to_be_in_sync_of_a_rename_of_which_half_was_seen() {
    let asks = [World::ask_wait, |world: &mut World| world.ask_status(false)];
    for (ask, made) in asks
        .into_iter()
        .flat_map(|ask| [Deed::Write("b"), Deed::Directory("b")].map(|made| (ask, made)))
    {
        let mut world = in_sync();
        does(&world, 1, made);
        ask(&mut world);
        // The flush is told, and then the old name is looked at.
        world.epoch();
        world.tell();
        does(&world, 1, Deed::Rename("b", "c"));
        world.scanning()();
        assert_answered_truly(&mut world);
    }
}

#[test]
fn a_directory_that_a_resolve_makes_is_listed_before_a_wait_is_answered() {
    let mut world = in_sync();
    does(&world, 0, Deed::Write("d/c"));
    assert!(world.rest());
    // No single content can give way here: it is carried out at once.
    does(&world, 0, Deed::Write("d/c"));
    does(&world, 1, Deed::Remove("d"));
    does(&world, 1, Deed::Write("d"));
    assert!(world.rest());
    world.ask_wait();
    world.epoch();
    world.see();
    let row = world.outstanding().0[0];
    world.resolve_for(row, 0);
    // In a debug build it is asked before the answer whether all is listed.
    for round in 0..20 {
        world.epoch();
        world.work();
        world.look();
        if round > 9 {
            world.see();
        }
    }
    assert!(world.asked.is_empty());
    assert_eq!(fault(&world), None);
}
