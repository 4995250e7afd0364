//! Ignoring (Q10): what is ignored is not carried as long as its rule stands, and rules that come and go change no tree.
//!
//! Holds: the rules are read here by other code than yeet's, which knows the patterns that users of a simulation write.
//! Rules stand from a start of the daemon, or from a rest, until any file of rules changes at any replica.

use std::collections::BTreeMap;

use super::bench::{Bytes, bytes_of};
use super::habits::{RULES, as_user};
use super::users::Dice;
use super::world::World;
use crate::sys::sim::{Disk, Kernel, with};

/// The rules of each replica's root, as long as they stand.
#[derive(Clone, Default)]
pub(super) struct Standing(Vec<String>);

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

/// Whether such rules leave out a file at a path, or a directory above it.
fn leave_out(rules: &str, path: &str) -> bool {
    let ends = path.match_indices('/').map(|(end, _)| (end, true));
    ends.chain([(path.len(), false)]).any(|(end, is_dir)| {
        let path = &path[..end];
        let patterns = rules.lines().filter(|line| !line.starts_with('#'));
        let mut found = patterns.rev().map(|line| match line.strip_prefix('!') {
            Some(pattern) => (pattern, false),
            None => (line, true),
        });
        found.find(|(pattern, _)| is_about(pattern, path, is_dir)).is_some_and(|(_, out)| out)
    })
}

pub(super) fn is_rules(path: &str) -> bool {
    path.rsplit('/').next() == Some(RULES)
}

/// The files of rules of a disk.
fn rules_of(disk: &Disk) -> BTreeMap<String, String> {
    let tree = disk.tree().into_iter().filter(|(path, _)| is_rules(path));
    let text = |ino| match bytes_of(disk, ino) {
        Some(Bytes::File(text)) => String::from_utf8_lossy(&text).into_owned(),
        Some(Bytes::Link(_)) | None => String::new(),
    };
    tree.map(|(path, ino)| (path, text(ino))).collect()
}

impl Standing {
    /// The daemon starts, or is at rest. Rules in other directories than the roots are left to other checks.
    pub(super) fn begin(&mut self, kernel: &Kernel) {
        self.end();
        let rules: Vec<_> = kernel.disks.iter().map(rules_of).collect();
        if rules.iter().flat_map(BTreeMap::keys).all(|path| path == RULES) {
            self.0 = rules.into_iter().filter_map(|mut rules| rules.remove(RULES)).collect();
        }
    }

    /// A file of rules changed, or a root is not there.
    pub(super) fn end(&mut self) {
        self.0.clear();
    }

    /// Whether a file at a path is left out by the rules of any replica.
    pub(super) fn leave_out(&self, path: &str) -> bool {
        self.0.iter().any(|rules| leave_out(rules, path))
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
        kernel.disks.iter().map(tree).collect()
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

#[test]
fn the_patterns_are_read_as_git_does() {
    let rules = "# a comment\nd/*\n/b\n!a\ne/\nc";
    let out = ["d/b", "d/b/a", "b", "e/x", "g/e/x", "c", "g/c"];
    let stays = ["a", "d/a", "g/b", "e", "g/d"];
    assert!(out.iter().all(|path| leave_out(rules, path)));
    assert!(stays.iter().all(|path| !leave_out(rules, path)));
}
