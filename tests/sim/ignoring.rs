//! Ignoring (Q10): what is ignored is not carried as long as its rules stand, and rules that come and go change no tree.
//!
//! Holds: the rules are read here by other code than yeet's, which knows the patterns that users of a simulation write.
//! Those of a directory stand from a start of the daemon, or from a rest, until its file of rules, or one above it,
//! changes at any replica; from a start, as long as all can be looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::bench::{Bytes, bytes_of};
use super::habits::{RULES, as_user};
use super::users::Dice;
use super::world::World;
use crate::sys::sim::{Disk, Kernel, with};

/// The files of rules of a replica: what that of each directory says.
#[derive(Clone, Default)]
pub(super) struct Rules(BTreeMap<String, String>);

/// The rules of each replica, as long as they stand.
#[derive(Clone, Default)]
pub(super) struct Standing {
    rules: Vec<Rules>,
    /// Directories in which they do not.
    changed: BTreeSet<String>,
    /// How many calls there had been at the start, until there is a rest.
    since: Option<u64>,
}

/// Whether a pattern is about a name at a path, as git has it.
fn is_about(pattern: &str, path: &str, is_dir: bool) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (pattern, only_dirs) = match pattern.strip_suffix('/') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    if only_dirs && !is_dir {
        return false;
    }
    if let Some(dir) = pattern.strip_suffix("/*") {
        return path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/')) == Some(name);
    }
    match pattern.strip_prefix('/') {
        Some(pattern) => path == pattern,
        None if pattern.contains('/') => path == pattern,
        None => name == pattern,
    }
}

/// What the rules of one file say of a path below it: whether it is left out.
fn says(rules: &str, path: &str, is_dir: bool) -> Option<bool> {
    let patterns = rules.lines().filter(|line| !line.starts_with('#'));
    let mut last_first = patterns.rev().map(|line| match line.strip_prefix('!') {
        Some(pattern) => (pattern, false),
        None => (line, true),
    });
    last_first.find(|(pattern, _)| is_about(pattern, path, is_dir)).map(|(_, out)| out)
}

/// The path of something below a directory as it is seen from there.
fn below<'p>(path: &'p str, dir: &str) -> Option<&'p str> {
    match dir {
        "" => Some(path),
        dir => path.strip_prefix(dir)?.strip_prefix('/'),
    }
}

impl Rules {
    fn of(disk: &Disk) -> Self {
        let tree = disk.tree().into_iter();
        let rules = tree.filter_map(|(path, ino)| {
            let dir = dir_of(&path)?;
            let Some(Bytes::File(text)) = bytes_of(disk, ino) else { return None };
            Some((dir.to_owned(), String::from_utf8_lossy(&text).into_owned()))
        });
        Self(rules.collect())
    }

    /// Those of each replica, as they are now.
    pub(super) fn of_all(kernel: &Kernel) -> Vec<Self> {
        kernel.replicas().iter().map(Self::of).collect()
    }

    /// Whether they leave out what is at a path, or a directory above it.
    pub(super) fn leave_out(&self, path: &str, is_dir: bool) -> bool {
        let ends = path.match_indices('/').map(|(end, _)| (end, true));
        ends.chain([(path.len(), is_dir)]).any(|(end, is_dir)| {
            let path = &path[..end];
            // Of those that say something, that which is deepest: further down the order is that of the paths.
            let mut deepest_first = self.0.iter().rev();
            let said = deepest_first.find_map(|(dir, text)| says(text, below(path, dir)?, is_dir));
            said == Some(true)
        })
    }
}

pub(super) fn is_rules(path: &str) -> bool {
    dir_of(path).is_some()
}

/// The directory that a file of rules is about.
fn dir_of(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        Some((dir, RULES)) => Some(dir),
        None if path == RULES => Some(""),
        Some(_) | None => None,
    }
}

impl Standing {
    /// The daemon starts.
    pub(super) fn start(&mut self, kernel: &Kernel) {
        self.rest(kernel);
        self.since = Some(kernel.calls);
    }

    /// The daemon is at rest.
    pub(super) fn rest(&mut self, kernel: &Kernel) {
        *self = Self { rules: Rules::of_all(kernel), ..Self::default() };
    }

    /// Where a directory could not be looked at since the start, nobody knows that it has rules. A file of rules that is
    /// there and cannot be read is another thing.
    pub(super) fn hear(&mut self, kernel: &Kernel) {
        let Some(((failed, _), since)) = kernel.plan.fail.zip(self.since) else { return };
        let said = format!("{failed} fails with ");
        let of_rules = |line: &&String| line.starts_with(&said) && line.ends_with(RULES);
        if (since..kernel.calls).contains(&failed) && !kernel.log.iter().rev().any(|l| of_rules(&l))
        {
            self.end();
        }
    }

    /// A root is not there, or nobody is who knows the rules.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Something changed at a replica; where it is a file of rules, what it is about is no longer judged.
    pub(super) fn changes(&mut self, path: &str) {
        self.changed.extend(dir_of(path).map(str::to_owned));
    }

    /// Whether a file at a path is left out by the rules of any replica, all of which stand there.
    pub(super) fn leave_out(&self, path: &str) -> bool {
        let is_changed = self.changed.iter().any(|dir| below(path, dir).is_some());
        !is_changed && self.rules.iter().any(|rules| rules.leave_out(path, false))
    }
}

/// All but files of rules.
fn trees() -> Vec<BTreeMap<String, (Option<Bytes>, u16)>> {
    with(|kernel| {
        let tree = |disk: &Disk| {
            let tree = disk.tree().into_iter().filter(|(path, _)| !is_rules(path));
            tree.map(|(path, ino)| (path, (bytes_of(disk, ino), disk.attributes(ino).mode)))
                .collect()
        };
        kernel.replicas().iter().map(tree).collect()
    })
}

impl World {
    /// Rules come to a sync at rest, and go again.
    pub(super) fn check_neutrality(&mut self, dice: &mut Dice) -> Result<(), String> {
        let before = trees();
        let at = dice.index(self.disks);
        as_user(self, at, |user| user.rule_out(dice));
        for has_rules in [true, false] {
            if !has_rules {
                self.remove_rules();
            }
            if !self.rest() {
                return Err("Q10: with rules that came or went it does not rest".to_owned());
            }
            let now = trees();
            if let Some(at) = (0..self.disks).find(|at| before[*at] != now[*at]) {
                let (before, now) = (&before[at], &now[at]);
                let all = before.keys().chain(now.keys());
                let changed: Vec<_> =
                    all.filter(|path| before.get(*path) != now.get(*path)).collect();
                return Err(format!("Q10: rules changed {changed:?} on {at}, there: {has_rules}"));
            }
        }
        Ok(())
    }
}

fn rules(files: &[(&str, &str)]) -> Rules {
    Rules(files.iter().map(|(dir, text)| ((*dir).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn the_patterns_are_read_as_git_does() {
    let rules = rules(&[("", "# a comment\nd/*\n/b\n!a\ne/\nc")]);
    let out = ["d/b", "d/b/a", "b", "e/x", "g/e/x", "c", "g/c"];
    let stays = ["a", "d/a", "g/b", "e", "g/d"];
    assert!(out.iter().all(|path| rules.leave_out(path, false)));
    assert!(stays.iter().all(|path| !rules.leave_out(path, false)));
    assert!(rules.leave_out("e", true));
}

#[test]
fn the_deeper_file_of_rules_says_what_counts_but_not_in_a_directory_that_is_left_out() {
    let rules = rules(&[("", "a\nb\ng/"), ("d", "!a\n/c\ne/*"), ("d/e", "!c"), ("g", "!a")]);
    let out = ["a", "d/b", "d/c", "d/e/a", "d/e/b", "g/a", "g/c"];
    let stays = ["c", "d/a", "d/e", "d/e/c", "d/g", "e/c"];
    let different = |all: &[&str], is_out| {
        let found = all.iter().find(|path| rules.leave_out(path, false) != is_out);
        found.map(|path| (*path).to_owned())
    };
    assert_eq!((different(&out, true), different(&stays, false)), (None, None));
}

#[test]
fn rules_that_changed_are_judged_no_more_in_their_directory_alone() {
    let mut standing =
        Standing { rules: vec![rules(&[("", "a"), ("d", "b")])], ..Default::default() };
    standing.changes("d/.yeetignore");
    assert!(standing.leave_out("a") && standing.leave_out("g/a"));
    assert!(!standing.leave_out("d/a") && !standing.leave_out("d/b"));
}

#[test]
fn what_the_rules_of_a_third_replica_leave_out_is_carried_at_no_start() {
    for dir in ["", "d/"] {
        let mut world = World::new(3, 0, true);
        let at = |name: &str| format!("{dir}{name}");
        as_user(&world, 0, |user| {
            user.write(&at("a"), b"left out");
            user.write(&at("b"), b"carried");
        });
        as_user(&world, 2, |user| user.write(&at(RULES), b"a\n"));
        world.start();
        // Each listing is acted on before the next is made.
        assert!(world.rest());
        assert_eq!(world.ledger.borrow().fault, None);
        assert!(with(|kernel| kernel.disks[1].at(&at("b")).is_some()));
    }
}
