//! Another directory is in the place of a root: an empty one, the tree of somebody else, or a copy of the root with all that
//! tells whose it is (D1).
//!
//! Holds: nothing is done there, nothing of it goes anywhere, and that the sync is held is seen at the next look.

use std::path::Path;
use std::rc::Rc;

use super::bench::replica;
use super::world::{ROOTS, World};
use crate::sys::sim::{Disk, Ino, Kernel, Node, with};

/// File systems of strangers have these numbers.
const DEVS: u64 = 900;
/// Their tops have another inode: no simulated object has a time of birth, which tells them apart elsewhere.
const TOP: Ino = 7;

/// What took the place of a root.
pub(super) struct Stranger {
    /// Whose place.
    at: usize,
    /// Where it is among all disks.
    disk: usize,
    was: Disk,
}

/// All below a directory of one disk, in a directory of another.
fn copy(kernel: &mut Kernel, (from, dir): (usize, Ino), to: usize, at: &str) {
    let names = kernel.disks[from].now.names[&dir].clone();
    for (name, ino) in names {
        let path = format!("{at}{}", String::from_utf8_lossy(&name));
        let node = kernel.disks[from].node(ino).clone();
        let is_dir = node == Node::Dir;
        kernel.user_make(to, &path, node);
        if is_dir {
            copy(kernel, (from, ino), to, &format!("{path}/"));
        }
    }
}

impl World {
    /// Whether every root is where it was.
    pub(super) fn all_there(&self) -> bool {
        let is_there = |kernel: &Kernel, at: &usize| kernel.mounts.values().any(|disk| disk == at);
        with(|kernel| (0..self.disks).all(|at| is_there(kernel, &at)))
    }

    /// Puts something else in the place of a root that is gone, once the root is known for what it is.
    pub(super) fn put_stranger(&mut self, at: usize) {
        let known = self.record.replicas.get(at).is_some_and(|r| r.identity.id.is_some());
        let is_free = with(|kernel| !kernel.mounts.contains_key(Path::new(ROOTS[at])));
        if !known || !is_free {
            return;
        }
        let was = with(|kernel| {
            let disk = kernel.disks.len();
            let mut strange = Disk::rooted(DEVS + disk as u64, TOP, kernel.clock_ns);
            strange.exchange = kernel.disks[at].exchange;
            kernel.disks.push(strange);
            kernel.strangers += 1;
            let kind = kernel.calls % 3;
            kernel.log.push(format!("a stranger of kind {kind} is in the place of {at}"));
            match kind {
                0 => {}
                1 => {
                    kernel.user_make(disk, "d", Node::Dir);
                    for path in ["a", "c", "d/a"] {
                        kernel.user_make(disk, path, Node::File(Rc::new(path.as_bytes().to_vec())));
                    }
                }
                _ => {
                    let root = kernel.disks[at].root;
                    copy(kernel, (at, root), disk, "");
                }
            }
            kernel.mounts.insert(ROOTS[at].into(), disk);
            kernel.disks[disk].clone()
        });
        self.strangers.push(Stranger { at, disk: with(|kernel| kernel.disks.len() - 1), was });
    }

    /// What is wrong with what became of strangers, before the roots are put back.
    pub(super) fn misused_stranger(&mut self) -> Option<String> {
        let in_place = |stranger: &&Stranger| {
            with(|kernel| kernel.mounts.values().any(|disk| *disk == stranger.disk))
        };
        let replaced: Vec<usize> = self.strangers.iter().filter(in_place).map(|s| s.at).collect();
        if !replaced.is_empty() && self.is_up() {
            self.scan_all();
            let rests = self.rest();
            let unseen = replaced.iter().find(|at| !self.is_held_for(**at));
            if let Some(at) = unseen.filter(|_| rests && self.is_up()) {
                return Some(format!("D1: another directory is in the place of {at}, unnoticed"));
            }
        }
        self.strangers.iter().find_map(|Stranger { at, disk, was }| {
            let is_as_it_was = with(|kernel| {
                let now = &kernel.disks[*disk].now;
                now.names == was.now.names && now.nodes == was.now.nodes
            });
            (!is_as_it_was).then(|| format!("D1: what was in the place of {at} was changed"))
        })
    }

    /// Whether nothing is done with a replica, as its root is not there.
    fn is_held_for(&mut self, at: usize) -> bool {
        self.is_held() || self.actor().away.absence(replica(at)).is_some()
    }
}
