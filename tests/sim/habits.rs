//! What the users of some histories do beside what all users do: they write rules of ignoring, unpack many files and sweep
//! a replica empty, or put symlinks in the place of directories.
//!
//! Which histories have which users is told by the seed and not by the dice: what older seeds found stays what they do.

use std::collections::BTreeSet;

use super::bench::replica;
use super::ledger::Ledger;
use super::users::{Dice, User};
use super::world::World;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::rules::brake::EMPTIED_FILES;
use crate::sys::sim::{Kernel, Node, with};

/// The file with rules of ignoring.
pub(super) const RULES: &str = ".yeetignore";
const RULED: [&str; 3] = ["", "", "d/"];
const PATTERNS: [&str; 9] = ["a", "/b", "d", "e/", "!a", "c", "d/e", "g/", "d/*"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    Plain,
    /// Rules of ignoring come, change and go; at the end of a history they are gone.
    Ignoring,
    /// Many files come, and all files of a replica go.
    Sweeping,
    /// A directory gets another name, and a symlink to it takes the old one.
    Linking,
    /// What the daemon remembers is removed, a root comes back from an older copy, and the clock is set.
    Losing,
}

impl Habit {
    pub(super) fn of(seed: u64) -> Self {
        match seed % 16 {
            10 => Self::Ignoring,
            12 => Self::Sweeping,
            13 => Self::Linking,
            _ if matches!(seed % 32, 19 | 24) => Self::Losing,
            _ => Self::Plain,
        }
    }

    /// Now and then one of these.
    pub(super) fn act(self, world: &mut World, dice: &mut Dice) {
        if self == Self::Plain || !dice.one_in(4) {
            return;
        }
        let at = dice.index(world.disks);
        if !with(|kernel| kernel.mounts.values().any(|disk| *disk == at)) {
            return;
        }
        match self {
            Self::Plain => {}
            // At a rest rules stand.
            Self::Ignoring if dice.one_in(3) => drop(world.rest()),
            Self::Ignoring => as_user(world, at, |user| user.rule(dice)),
            Self::Linking => as_user(world, at, |user| user.lead(dice)),
            Self::Losing => world.lose(at, dice),
            Self::Sweeping => match dice.below(6) {
                0..=2 => as_user(world, at, |user| user.unpack(dice)),
                3 => as_user(world, at, |user| user.sweep()),
                4 => world.sweep_unseen(at, dice),
                _ => drop(world.answer_brake(dice)),
            },
        }
    }
}

pub(super) fn as_user(world: &World, at: usize, act: impl FnOnce(&mut User<'_>)) {
    with(|kernel: &mut Kernel| {
        let ledger: &mut Ledger = &mut world.ledger.borrow_mut();
        ledger.observe(kernel);
        let mut user = User { kernel, ledger, at };
        act(&mut user);
        user.done();
    });
}

/// Rules of ignoring. No two texts are the same, as with all that users write.
fn rules(dice: &mut Dice) -> String {
    let mut text = format!("# {:012x}\n", dice.roll());
    for _ in 0..=dice.index(2) {
        text.push_str(PATTERNS[dice.index(PATTERNS.len())]);
        text.push('\n');
    }
    text
}

impl User<'_> {
    /// Writes rules of ignoring, or removes them.
    fn rule(&mut self, dice: &mut Dice) {
        let path = format!("{}{RULES}", RULED[dice.index(RULED.len())]);
        self.kernel.log.push(format!("user of {}: rules in {path}", self.at));
        if dice.one_in(3) {
            self.kernel.user_remove(self.at, &path);
            return;
        }
        let text = rules(dice);
        self.write(&path, text.as_bytes());
    }

    /// Writes rules at the root.
    pub(super) fn rule_out(&mut self, dice: &mut Dice) {
        self.kernel.log.push(format!("user of {}: rules", self.at));
        let text = rules(dice);
        self.write(RULES, text.as_bytes());
    }

    fn lead(&mut self, dice: &mut Dice) {
        let (from, to) = [("d", "g"), ("g", "d"), ("d/e", "e")][dice.index(3)];
        self.kernel.log.push(format!("user of {}: {from} leads to {to}", self.at));
        if dice.one_in(3) {
            self.kernel.user_remove(self.at, to);
            self.done();
        }
        self.rename(from, to);
        self.kernel.user_remove(self.at, from);
        // A power loss may leave it at that.
        self.done();
        // No two texts are the same, as with all that users write.
        let slashes = "/".repeat(dice.index(2000));
        self.kernel.user_make(self.at, from, Node::Link(format!("{to}{slashes}").into_bytes()));
    }

    fn unpack(&mut self, dice: &mut Dice) {
        self.kernel.log.push(format!("user of {} unpacks", self.at));
        for dir in ["", "d/", "g/"] {
            for name in ["a", "b", "c", "e"] {
                let text = format!("{:012x}", dice.roll());
                self.write(&format!("{dir}{name}"), text.as_bytes());
            }
        }
    }

    fn sweep(&mut self) {
        self.kernel.log.push(format!("user of {} sweeps", self.at));
        let tree = self.kernel.disks[self.at].tree().into_iter();
        for (path, _) in tree.filter(|(path, _)| !path.contains('/')).collect::<Vec<_>>() {
            self.kernel.user_remove(self.at, &path);
        }
    }
}

impl World {
    fn rules(&self) -> Vec<(usize, String)> {
        let at =
            |at: usize| with(|kernel| kernel.disks[at].tree()).into_iter().map(move |r| (at, r.0));
        (0..self.disks).flat_map(at).filter(|(_, path)| path.ends_with(RULES)).collect()
    }

    pub(super) fn has_rules(&self) -> bool {
        !self.rules().is_empty()
    }

    /// All rules of ignoring go.
    pub(super) fn remove_rules(&self) {
        for (at, path) in self.rules() {
            as_user(self, at, |user| {
                user.kernel.user_remove(at, &path);
            });
        }
    }

    /// A replica is swept while no daemon runs. S11: as long as nobody acts after that, nothing is deleted for it.
    fn sweep_unseen(&mut self, at: usize, dice: &mut Dice) {
        as_user(self, at, |user| user.unpack(dice));
        if !self.is_up() {
            self.start();
        }
        self.rest();
        if self.is_up() {
            self.kill();
        }
        as_user(self, at, |user| user.sweep());
        self.start();
        // What one of several leaves had deleted before may go at the source before this leaf is seen to be empty.
        if !self.is_up() || (at > 0 && self.disks > 2) || self.agreed_files(at) < EMPTIED_FILES {
            return;
        }
        let others = if at == 0 { (1..self.disks).collect() } else { BTreeSet::from([0]) };
        self.ledger.borrow_mut().swept = others;
        self.rest();
        self.ledger.borrow_mut().swept.clear();
    }

    /// As many as count, of what a replica agreed on.
    fn agreed_files(&mut self, at: usize) -> u64 {
        let leaves: Vec<Replica> = (1..self.disks).map(replica).collect();
        let of = leaves.into_iter().filter(|leaf| at == 0 || *leaf == replica(at));
        let journal = self.actor().shop.journal.clone().expect("a daemon has a journal");
        of.filter_map(|leaf| journal.agreed_files(leaf, EMPTIED_FILES).ok()).max().unwrap_or(0)
    }

    /// The user allows what is held, or denies it. Whether anything was.
    pub(super) fn answer_brake(&mut self, dice: &mut Dice) -> bool {
        if !self.is_up() || self.actor().holds.held().is_empty() {
            return false;
        }
        self.ledger.borrow_mut().braked.clear();
        let allows = dice.one_in(2);
        with(|kernel| kernel.log.push(format!("held deletes: allowed: {allows}")));
        if allows {
            drop(self.actor().allow(false));
        } else if let Err(why) = self.actor().deny() {
            with(|kernel| kernel.log.push(format!("not denied: {why}")));
        }
        self.epoch();
        self.look();
        true
    }

    /// Where deletes are held, and none was handed out before.
    pub(super) fn braked(&mut self) -> BTreeSet<usize> {
        let before = self.ledger.borrow().braked.clone();
        if !self.is_up() {
            return BTreeSet::new();
        }
        let holds = &mut self.actor().holds;
        let held = holds.held();
        let mut is_idle =
            |at: Replica| holds.brake_mut(at).is_some_and(|brake| brake.under_way() == 0);
        let mut all: Vec<Replica> = held.iter().collect();
        all.retain(|at| before.contains(&usize::from(at.slot())) || is_idle(*at));
        all.into_iter().map(|at| usize::from(at.slot())).collect()
    }
}

#[test]
fn an_emptied_root_is_held_also_where_all_of_it_has_to_be_read_first() {
    let mut world = World::new(2, 0, true);
    as_user(&world, 0, |user| {
        for name in ["a", "b", "c", "d", "e"] {
            user.write(&format!("g/{name}"), name.as_bytes());
            user.write(&format!("g/{name}~"), name.repeat(2).as_bytes());
        }
    });
    world.start();
    assert!(world.rest());
    // The next daemon knows no digest.
    world.kill();
    as_user(&world, 0, |user| user.sweep());
    world.start();
    assert!(world.rest());
    assert!(world.actor().holds.held().contains(replica(1)));
    assert_eq!(with(|kernel| kernel.disks[1].tree().len()), 11);
}
