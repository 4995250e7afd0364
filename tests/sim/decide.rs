//! The user decides conflicts.

use super::bench::{Bytes, bytes_of};
use super::users::Dice;
use super::world::World;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::verdict::Act;
use crate::service::conflicts::Whole;
use crate::service::resolve::Resolved;
use crate::sources::control::wire::Winner;
use crate::sys::sim::with;

/// What a path that gives way or stays has at the winner, and at the others; and what is below it at the others.
struct Stakes {
    path: String,
    keeps: Option<Bytes>,
    losers: Vec<Bytes>,
    below: Vec<(String, Bytes)>,
}

impl World {
    /// The rows in conflict, and how much else is outstanding.
    pub(super) fn outstanding(&mut self) -> (Vec<PathId>, usize) {
        if !self.is_up() {
            return (Vec::new(), 0);
        }
        let (actor, mut others) = (self.actor(), 0);
        actor.engine.outstanding(PathId::ROOT, &mut |_, verdict, _| {
            others += usize::from(!matches!(verdict.act, Act::Conflict(_)));
            true
        });
        (actor.conflicted(PathId::ROOT, None), others)
    }

    /// The user decides a conflict, of a group of files as a whole.
    pub(super) fn resolve(&mut self, dice: &mut Dice) {
        let (conflicts, _) = self.outstanding();
        if !self.is_up() {
            return;
        }
        let Some(row) = conflicts.get(dice.index(conflicts.len().max(1))).copied() else { return };
        let winner = dice.index(self.disks);
        self.resolve_for(row, winner);
    }

    /// The user decides this conflict for a replica.
    pub(super) fn resolve_for(&mut self, row: PathId, winner: usize) {
        let actor = self.actor();
        let all = match actor.whole_in_conflict(row) {
            Some(Whole::Group(row)) => actor.engine.paths().group(row),
            Some(Whole::Repository(_)) | None => vec![row],
        };
        let path = String::from_utf8_lossy(actor.engine.paths().path(row).as_bytes()).into_owned();
        // What gives way may do so at once, by the user's word.
        self.ledger.borrow_mut().braked.clear();
        with(|kernel| {
            kernel.log.push(format!("resolve {path} for {winner}"));
            self.ledger.borrow_mut().observe(kernel);
        });
        let stakes: Vec<_> = all.into_iter().map(|id| self.stakes(id, winner)).collect();
        let winner = Winner::Keep(format!("r{winner}"));
        let mut decided = self.actor().resolve(row, &winner, true);
        if let Resolved::Decided(_) = decided {
            // What is carried out at once may be carried out in part.
            for Stakes { path, keeps, losers, below } in stakes {
                let mut ledger = self.ledger.borrow_mut();
                ledger.resolved(&path, keeps, losers);
                for (at, bytes) in below {
                    ledger.resolved(&at, None, vec![bytes]);
                }
            }
            decided = self.actor().resolve(row, &winner, false);
        }
        if let Resolved::Stands(why) = decided {
            with(|kernel| kernel.log.push(format!("not resolved: {why}")));
        }
        self.epoch();
        self.look();
    }

    fn stakes(&mut self, id: PathId, winner: usize) -> Stakes {
        let actor = self.actor();
        let path = String::from_utf8_lossy(actor.engine.paths().path(id).as_bytes()).into_owned();
        let views = actor.engine.views(id);
        let (mut keeps, mut losers) = (None, Vec::new());
        let leaves = views.leaves.iter().map(|leaf| (usize::from(leaf.leaf.slot()), leaf.value));
        for (at, value) in std::iter::once((0, views.source)).chain(leaves) {
            // By the engine's word; what it has not read is what is there, as it is read now.
            let digest = value.and_then(|value| value.digest());
            let known = digest.and_then(|digest| self.ledger.borrow().version(digest.0));
            let there = with(|kernel| {
                let disk = &kernel.disks[at];
                disk.at(&path).and_then(|ino| bytes_of(disk, ino))
            });
            let version = known.or(there);
            if at == winner { keeps = version } else { losers.extend(version) }
        }
        // A directory in the way gives way with all that is in it.
        let below = with(|kernel| {
            let all = kernel.replicas().iter().enumerate().filter(|(at, _)| *at != winner);
            let rows = all.flat_map(|(_, disk)| {
                let tree = disk.tree();
                tree.into_iter().filter_map(|(at, ino)| Some((at, bytes_of(disk, ino)?)))
            });
            rows.filter(|(at, _)| at.starts_with(&format!("{path}/"))).collect::<Vec<_>>()
        });
        Stakes { path, keeps, losers, below }
    }
}
