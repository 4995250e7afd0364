//! Every version users wrote, what came from what, and what the engine may do to it.
//!
//! A version is its bytes, which nobody else writes. Holds: a difference between two looks at a tree is a user's if it
//! was made in between by [`Ledger::accept`], and the engine's if [`Ledger::observe`] finds it: then S2, S3 and S4 of
//! the guarantees are asked of it. S1 and S5 are asked of everything there is ([`Ledger::check_kept`]).

use std::collections::{BTreeMap, BTreeSet};

use super::bench::{Bytes, bytes_of};
use super::ignoring::Standing;
use super::moments::Moments;
use super::questions::Sameness;
use super::renamed::Renamed;
use super::users;
use crate::sys::sim::{Disk, Ino, Kernel, Node};

type Tree = BTreeMap<String, Bytes>;

/// A file that the engine was about to make.
pub(super) struct Announced {
    pub(super) at: usize,
    pub(super) path: String,
    pub(super) mtime: i64,
}

impl Announced {
    /// A user who gave a file the very time that was announced cannot be told from the engine.
    fn is(&self, at: usize, path: &str, mtime: i64) -> bool {
        (self.at, self.path.as_str(), self.mtime) == (at, path, mtime)
    }
}

#[derive(Clone, Default)]
pub(super) struct Ledger {
    /// Versions that are owed to users, and those that a user did away with.
    written: BTreeSet<Bytes>,
    superseded: BTreeSet<Bytes>,
    /// What a version came from, all the way back.
    above: BTreeMap<Bytes, BTreeSet<Bytes>>,
    /// Versions that users put at a path, at whatever replica.
    placed: BTreeMap<String, BTreeSet<Bytes>>,
    /// Versions that a user removed from a path.
    deleted: BTreeMap<String, BTreeSet<Bytes>>,
    /// The last version that went from a path of a disk: what comes next descends from it.
    tombs: BTreeMap<(usize, String), Bytes>,
    /// Versions that give way at a path by the user's word.
    yields: BTreeMap<String, BTreeSet<Bytes>>,
    /// Versions whose writer had to wait for a lease.
    late: BTreeSet<Bytes>,
    /// What the engine had made when the power went, or what has its path and its time: it may be taken back, and is kept
    /// then (guarantees: unconfirmed).
    unconfirmed: BTreeSet<(usize, String)>,
    /// What a power loss made of users' own writes: it may stand for anything.
    torn: BTreeSet<Bytes>,
    /// What a power loss took from a name: a user who makes a directory of that name does away with it.
    lost: BTreeSet<(usize, String)>,
    /// What the engine had made when a user gave it another name: it is his.
    adopted: BTreeSet<(usize, Ino)>,
    /// What was at a path before the engine changed it in a step that is not over: it may put it back.
    before_step: BTreeMap<(usize, String), Option<Bytes>>,
    renamed: Renamed,
    /// Where deletes are held, and where they have to be.
    pub(super) braked: BTreeSet<usize>,
    pub(super) swept: BTreeSet<usize>,
    /// What went so in a step that is not over, and what that breaks: a move may be about to give it its new name.
    going: Vec<(usize, Bytes, String)>,
    trees: Vec<Tree>,
    /// Where two names are a group.
    pub(super) moments: Option<Moments>,
    pub(super) sameness: Sameness,
    pub(super) rules: Standing,
    pub(super) fault: Option<String>,
}

fn tree_of(disk: &Disk) -> Tree {
    let tree = disk.tree();
    tree.into_iter().filter_map(|(path, ino)| Some((path, bytes_of(disk, ino)?))).collect()
}

/// The bytes that lie in the store of a disk.
fn in_store(disk: &Disk) -> BTreeSet<Bytes> {
    let mut names = Vec::new();
    if let Some(store) = disk.at(".yeet/s") {
        disk.walk(store, "", &mut names);
    }
    names.into_iter().filter_map(|(_, ino)| bytes_of(disk, ino)).collect()
}

fn all_on(disk: &Disk) -> BTreeSet<Bytes> {
    in_store(disk).into_iter().chain(tree_of(disk).into_values()).collect()
}

/// The tree, `before` being the last look at it. A name whose file the engine has set aside until another takes the
/// name is missing for a moment: it counts as what it was, as long as its directory is there, and no user has made a
/// directory of that name meanwhile.
fn seen(disk: &Disk, before: &Tree) -> Tree {
    let mut tree = tree_of(disk);
    let mut aside: Vec<Bytes> =
        set_aside(disk).into_iter().filter_map(|ino| bytes_of(disk, ino)).collect();
    for (path, bytes) in before {
        let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        if !tree.contains_key(path)
            && disk.at(path).is_none()
            && (dir.is_empty() || disk.at(dir).is_some())
            && let Some(found) = aside.iter().position(|aside| aside == bytes)
        {
            aside.swap_remove(found);
            tree.insert(path.clone(), bytes.clone());
        }
    }
    tree
}

/// What is set aside while the staged file has not got the name.
fn set_aside(disk: &Disk) -> Vec<Ino> {
    let Some(store) = disk.at(".yeet/s").filter(|_| !disk.exchange) else { return Vec::new() };
    let mut names = Vec::new();
    disk.walk(store, "", &mut names);
    let is_staged = |name: &str| names.iter().any(|(other, _)| other == name);
    let aside = names.iter().filter(|(name, _)| name.strip_suffix(".old").is_some_and(is_staged));
    aside.map(|(_, ino)| *ino).collect()
}

fn changed<'a>(old: &'a Tree, new: &'a Tree) -> impl Iterator<Item = &'a String> {
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    paths.into_iter().filter(|path| old.get(*path) != new.get(*path))
}

impl Ledger {
    pub(super) fn new(disks: usize) -> Self {
        Self { trees: vec![Tree::new(); disks], ..Self::default() }
    }

    fn came_from(&self, version: &Bytes, older: &Bytes) -> bool {
        version == older || self.above.get(version).is_some_and(|above| above.contains(older))
    }

    fn descends(&mut self, version: &Bytes, from: &Bytes) {
        if version != from {
            let mut above = self.above.get(from).cloned().unwrap_or_default();
            above.insert(from.clone());
            self.above.entry(version.clone()).or_default().extend(above);
        }
    }

    fn fails(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }

    /// Whatever changed since the last look was done by the engine.
    pub(super) fn observe(&mut self, kernel: &Kernel) {
        self.rules.hear(kernel);
        for (at, disk) in kernel.replicas().iter().enumerate() {
            let new = seen(disk, &self.trees[at]);
            if new == self.trees[at] {
                continue;
            }
            let old = std::mem::take(&mut self.trees[at]);
            for path in changed(&old, &new) {
                let (tree, old, new) = (&new, old.get(path), new.get(path));
                let before = self.before_step.entry((at, path.clone()));
                let taken_back = before.or_insert_with(|| old.cloned()).as_ref() == new;
                self.rules.changes(path);
                if !taken_back {
                    if self.rules.leave_out(path) {
                        self.fails(format!("Q10: {path} on {at} is ignored, and changed"));
                    }
                    self.judge(at, path, old, new);
                    if let Some(new) = new {
                        self.check_place(at, path, new);
                    }
                    let goes = new.is_none() && disk.at(path).is_none();
                    let stays = |old: &Bytes| tree.values().any(|other| other == old);
                    // A file that gives way to a directory is gone for a moment, and is no delete.
                    let is_dir =
                        |disk: &Disk| disk.at(path).is_some_and(|ino| *disk.node(ino) == Node::Dir);
                    let goes = goes && !kernel.replicas().iter().any(is_dir);
                    if let Some(old) = old.filter(|old| goes && !stays(old)) {
                        self.goes(at, path, old);
                    }
                }
                self.bury(at, path, old, new);
            }
            self.trees[at] = new;
        }
        self.sameness.look(kernel);
    }

    /// A step is over: what the engine did in it stays.
    pub(super) fn step_ends(&mut self) {
        self.before_step.clear();
        let gone = |(at, old, _): &(usize, Bytes, String)| {
            !self.trees[*at].values().any(|there| there == old)
        };
        if let Some((.., what)) = std::mem::take(&mut self.going).into_iter().find(gone) {
            self.fails(what);
        }
        if let Some(what) = self.renamed.step_ends(&self.trees) {
            self.fails(what);
        }
        let Some(moments) = &self.moments else { return };
        if let Some(what) = self.trees.iter().find_map(|tree| moments.fault(tree)) {
            self.fails(what);
        }
    }

    fn bury(&mut self, at: usize, path: &str, old: Option<&Bytes>, new: Option<&Bytes>) {
        if let (Some(old), None) = (old, new) {
            self.tombs.insert((at, path.to_owned()), old.clone());
        }
        if new.is_some() {
            self.lost.remove(&(at, path.to_owned()));
        }
    }

    fn judge(&mut self, at: usize, path: &str, old: Option<&Bytes>, new: Option<&Bytes>) {
        if let Some(new) = new
            && self.late.contains(new)
        {
            return;
        }
        if let Some(new) = new.filter(|new| !self.written.contains(*new)) {
            self.fails(format!("S4: {path} on {at} holds what nobody wrote: {new:?}"));
        }
        let Some(old) = old else { return };
        if self.yields.get(path).is_some_and(|yields| yields.contains(old)) {
            return;
        }
        let deleted_at = |path: &str| {
            let gone = self.deleted.get(path).into_iter().flatten();
            gone.into_iter().any(|gone| self.came_from(gone, old))
        };
        let deleted = || deleted_at(path);
        match new {
            Some(new) if self.came_from(new, old) => {}
            // Removed by a user, and something else made in its place.
            Some(_) if deleted() => {}
            Some(new) if self.torn.contains(new) => {}
            Some(new) => self.fails(format!(
                "S2: {path} on {at}: {old:?} was replaced by {new:?}, which did not come from it"
            )),
            None if deleted() => {}
            None if self.renamed.from(at, path).is_some_and(deleted_at) => {
                self.renamed.goes(at, path, old);
            }
            None => self.fails(format!("S3: {path} on {at}: {old:?} was removed by no user")),
        }
    }

    /// S10: what comes to a path was put there by a user, at another replica or before.
    fn check_place(&mut self, at: usize, path: &str, new: &Bytes) {
        let is_at = |path: &str| self.placed.get(path).is_some_and(|all| all.contains(new));
        if is_at(path) || self.late.contains(new) {
            return;
        }
        if is_at(&self.renamed.made_at(at, path)) {
            // From here on it is where its directory is.
            self.placed.entry(path.to_owned()).or_default().insert(new.clone());
        } else {
            self.fails(format!("S10: {path} on {at} got {new:?}, which nobody put there"));
        }
    }

    /// A user is about to give something another name.
    pub(super) fn renames(&mut self, at: usize, from: &str, to: &str) {
        self.renamed.goes_to(at, from, to);
    }

    /// What a user gave another name.
    pub(super) fn adopts(&mut self, disk: &Disk, at: usize, path: &str) {
        let Some(ino) = disk.at(path) else { return };
        let mut all = vec![(path.to_owned(), ino)];
        if *disk.node(ino) == Node::Dir {
            disk.walk(ino, path, &mut all);
        }
        self.adopted.extend(all.into_iter().map(|(_, ino)| (at, ino)));
    }

    /// S11: a file goes at a replica.
    fn goes(&mut self, at: usize, path: &str, old: &Bytes) {
        let why = match (self.swept.contains(&at), self.braked.contains(&at)) {
            (true, _) => "for a root that was emptied",
            (false, true) => "while deletes were held",
            (false, false) => return,
        };
        self.going.push((at, old.clone(), format!("S11: {path} on {at} was deleted {why}")));
    }

    /// Whatever changed on this disk since [`Self::observe`] was done by its user.
    pub(super) fn accept(&mut self, kernel: &Kernel, at: usize) {
        let old = std::mem::take(&mut self.trees[at]);
        let new = seen(&kernel.disks[at], &old);
        // Whoever took its name did not destroy it.
        let aside = set_aside(&kernel.disks[at]).into_iter();
        let aside: Vec<Bytes> = aside.filter_map(|ino| bytes_of(&kernel.disks[at], ino)).collect();
        for path in changed(&old, &new) {
            self.rules.changes(path);
            let (before, now) = (old.get(path), new.get(path));
            if let Some(now) = now {
                self.written.insert(now.clone());
                self.placed.entry(path.clone()).or_default().insert(now.clone());
                let tomb = self.tombs.get(&(at, path.clone()));
                if let Some(before) = before.or(tomb).cloned() {
                    self.descends(now, &before);
                }
            } else if let Some(before) = before {
                self.deleted.entry(path.clone()).or_default().insert(before.clone());
            }
            self.bury(at, path, before, now);
            self.before_step.remove(&(at, path.clone()));
            let is_gone = |before: &&Bytes| !new.values().chain(&aside).any(|n| n == *before);
            if let Some(before) = before.filter(is_gone) {
                self.superseded.insert(before.clone());
            }
        }
        self.give_way_to_dirs(&kernel.disks[at], at);
        self.renamed.note(&kernel.disks[at], at, &old, &new);
        if let Some(moments) = &mut self.moments {
            moments.note(&new);
        }
        self.trees[at] = new;
        self.sameness.look(kernel);
    }

    /// What a power loss took from a name that a user has made a directory of since. That it was no user who took it
    /// nobody can know who saw it there before.
    fn give_way_to_dirs(&mut self, disk: &Disk, at: usize) {
        let is_dir = |path: &str| {
            let there = disk.at(path).filter(|ino| disk.users.contains(ino));
            there.is_some_and(|ino| *disk.node(ino) == Node::Dir)
        };
        let dirs: Vec<(usize, String)> =
            self.lost.iter().filter(|(on, path)| *on == at && is_dir(path)).cloned().collect();
        for place in dirs {
            self.lost.remove(&place);
            if let Some(was) = self.tombs.get(&place) {
                self.deleted.entry(place.1).or_default().insert(was.clone());
            }
        }
    }

    /// A user gives a file another time. What a power loss left of the engine's is known by the time that was announced;
    /// with another it is the user's, bytes and all, and in conflict with the origin.
    pub(super) fn touched(&mut self, at: usize, path: &str) {
        let Some(bytes) = self.trees[at].get(path).cloned() else { return };
        if self.unconfirmed.remove(&(at, path.to_owned())) && !self.written.contains(&bytes) {
            self.written.insert(bytes.clone());
            self.superseded.insert(bytes.clone());
            self.torn.insert(bytes);
        }
    }

    /// A user writes to what has a lease: it happens when that ends.
    pub(super) fn waits(&mut self, at: usize, path: &str, bytes: &Bytes) {
        self.late.insert(bytes.clone());
        self.written.insert(bytes.clone());
        if let Some(before) = self.trees[at].get(path).cloned() {
            self.descends(bytes, &before);
            self.superseded.insert(before);
        }
    }

    /// By the user's word these versions give way at a path to another.
    pub(super) fn resolved(&mut self, path: &str, winner: Option<Bytes>, losers: Vec<Bytes>) {
        for loser in losers {
            if let Some(winner) = &winner {
                self.descends(winner, &loser);
            }
            self.yields.entry(path.to_owned()).or_default().insert(loser);
        }
    }

    pub(super) fn version(&self, digest: [u8; 32]) -> Option<Bytes> {
        let is = |bytes: &&Bytes| {
            let (Bytes::File(text) | Bytes::Link(text)) = bytes;
            *blake3::hash(text).as_bytes() == digest
        };
        self.written.iter().find(is).cloned()
    }

    /// The power goes in `crash`. What users had not flushed may go with it.
    pub(super) fn crash(
        &mut self,
        kernel: &mut Kernel,
        announced: &[Announced],
        crash: impl FnOnce(&mut Kernel),
    ) {
        self.observe(kernel);
        let owned = |disk: &Disk, all: Vec<(u64, Node)>, in_tree: &BTreeSet<u64>| {
            let mine = |ino: &u64| disk.users.contains(ino) || in_tree.contains(ino);
            let bytes = all.into_iter().filter(|(ino, _)| mine(ino));
            bytes.filter_map(|(_, node)| Bytes::of(&node)).collect::<BTreeSet<_>>()
        };
        let mut durable = BTreeSet::new();
        for disk in kernel.replicas() {
            let named: BTreeSet<u64> = disk.durable_tree().into_iter().collect();
            durable.extend(owned(disk, disk.durable(), &named));
        }
        let before = self.trees.clone();
        crash(kernel);
        let mut there = durable.clone();
        self.unconfirmed.clear();
        self.going.clear();
        self.rules.end();
        self.renamed = Renamed::default();
        for (at, disk) in kernel.replicas().iter().enumerate() {
            let new = seen(disk, &before[at]);
            // What is set aside comes back, under the name it had.
            let aside = set_aside(disk).into_iter().map(|ino| (String::new(), ino));
            for (path, ino) in disk.tree().into_iter().chain(aside) {
                let Some(bytes) = bytes_of(disk, ino) else { continue };
                let mtime = disk.attributes(ino).mtime;
                let is_announced = announced.iter().any(|a| a.is(at, &path, mtime));
                if !disk.users.contains(&ino) || is_announced {
                    self.unconfirmed.insert((at, path.clone()));
                }
                // Several files may have become the same zeros.
                if self.written.contains(&bytes) && !self.torn.contains(&bytes) {
                    // A user's file may have its name, and older bytes than it was given it with.
                    let was = before[at].get(&path).filter(|_| disk.users.contains(&ino));
                    if let Some(was) = was.filter(|was| **was != bytes) {
                        self.descends(&bytes, was);
                    }
                    there.insert(bytes);
                } else if disk.users.contains(&ino) || self.adopted.contains(&(at, ino)) {
                    // What a user's own write became, or what he had given another name.
                    self.written.insert(bytes.clone());
                    there.insert(bytes.clone());
                    self.superseded.insert(bytes.clone());
                    if let Some(was) = before[at].get(&path) {
                        self.descends(&bytes, was);
                    }
                    self.torn.insert(bytes);
                } else if self.written.contains(&bytes) {
                    there.insert(bytes);
                }
            }
            // What a user makes of a name that the power loss took comes from what had it.
            for (path, was) in before[at].iter().filter(|(path, _)| !new.contains_key(*path)) {
                self.bury(at, path, Some(was), None);
                self.lost.insert((at, path.clone()));
            }
            for (path, bytes) in &new {
                self.placed.entry(path.clone()).or_default().insert(bytes.clone());
            }
            self.trees[at] = new;
        }
        self.late.clear();
        self.written.retain(|version| there.contains(version));
    }

    /// A daemon starts after a crash: what users have given an announced name since may have the announced time, too.
    pub(super) fn recovers(&mut self, kernel: &Kernel, announced: &[Announced]) {
        for (at, disk) in kernel.replicas().iter().enumerate() {
            for (path, ino) in disk.tree() {
                let mtime = disk.attributes(ino).mtime;
                if announced.iter().any(|a| a.is(at, &path, mtime)) {
                    self.unconfirmed.insert((at, path));
                }
            }
        }
    }

    /// The daemon is gone.
    pub(super) fn killed(&mut self, kernel: &Kernel) {
        self.observe(kernel);
        self.going.clear();
        self.rules.end();
        self.renamed = Renamed::default();
    }

    /// After a crash and the recovery from it, everything under a real name on these disks is whole again.
    pub(super) fn recovered(&mut self, kernel: &Kernel, disks: &[usize]) {
        for at in disks.iter().copied() {
            let disk = &kernel.disks[at];
            if !kernel.mounts.values().any(|mounted| *mounted == at) {
                continue;
            }
            self.settles(disk, at);
            let torn = self.trees[at].iter().find(|(_, bytes)| !self.written.contains(*bytes));
            if let Some((path, bytes)) = torn {
                let what = format!("S4: {path} on {at} holds {bytes:?} after recovery");
                self.fails(what);
            }
        }
    }

    /// What changed on a disk since the last look was done by a recovery, which need not have come to its end.
    pub(super) fn settles(&mut self, disk: &Disk, at: usize) {
        let old = std::mem::take(&mut self.trees[at]);
        let new = seen(disk, &old);
        for path in changed(&old, &new) {
            let whole = |was: &&Bytes| self.written.contains(*was) && !self.torn.contains(*was);
            let was = old.get(path).filter(whole);
            let taken_back =
                !new.contains_key(path) && self.unconfirmed.contains(&(at, path.clone()));
            let was = was.filter(|_| !taken_back);
            self.judge(at, path, was, new.get(path));
            self.bury(at, path, old.get(path), new.get(path));
        }
        self.trees[at] = new;
    }

    /// What the daemon remembers was removed: what was only kept still lies in its store, and nobody lists it.
    pub(super) fn forgets(&mut self, kernel: &Kernel) {
        for disk in kernel.replicas() {
            let kept = in_store(disk);
            let is_in_tree =
                |bytes: &Bytes| self.trees.iter().any(|t| t.values().any(|v| v == bytes));
            let kept: Vec<Bytes> = kept.into_iter().filter(|bytes| !is_in_tree(bytes)).collect();
            self.superseded.extend(kept);
        }
        self.swept.clear();
    }

    /// A disk is brought back from an older copy, which is no act of a user's on any file. What was on it alone is gone: what
    /// is staged elsewhere, or lies there and is not `listed` (disk, operation), counts for nothing.
    pub(super) fn brought_back(
        &mut self,
        kernel: &mut Kernel,
        (at, copy): (usize, Disk),
        listed: &BTreeSet<(usize, u64)>,
    ) {
        self.observe(kernel);
        let before = all_on(&kernel.disks[at]);
        kernel.writers.retain(|(disk, _), _| *disk != at);
        kernel.disks[at] = copy;
        self.trees[at] = tree_of(&kernel.disks[at]);
        // A power loss may have taken from all others what is back now.
        self.written.extend(self.trees[at].values().cloned());
        let trees = self.trees.iter().flat_map(|tree| tree.values().cloned());
        let kept = listed.iter().filter_map(|(at, op)| {
            let disk = &kernel.disks[*at];
            bytes_of(disk, disk.at(&format!(".yeet/s/{op:016x}"))?)
        });
        let after: BTreeSet<Bytes> = trees.chain(kept).collect();
        self.superseded.extend(before.difference(&after).cloned());
        self.tombs.retain(|(disk, _), _| *disk != at);
        self.lost.retain(|(disk, _)| *disk != at);
        self.adopted.retain(|(disk, _)| *disk != at);
        self.before_step.clear();
        self.swept.clear();
        self.sameness.look(kernel);
    }

    /// S4: all names are such as users give.
    pub(super) fn check_names(&mut self, kernel: &Kernel) {
        let mut names = kernel.replicas().iter().flat_map(Disk::tree).map(|(path, _)| path);
        if let Some(path) = names.find(|path| !users::is_given(path)) {
            self.fails(format!("S4: a name nobody gave: {path}"));
        }
    }

    /// S1: what nobody did away with is in a tree or kept.
    pub(super) fn check_kept(&mut self, kept: &BTreeSet<Bytes>) {
        let in_tree =
            |version: &&Bytes| self.trees.iter().any(|t| t.values().any(|v| v == *version));
        let heads = self.written.difference(&self.superseded);
        let lost = heads.filter(|v| !kept.contains(*v)).find(|v| !in_tree(v)).cloned();
        if let Some(lost) = lost {
            self.fails(format!("S1: lost {lost:?}"));
        }
    }
}
