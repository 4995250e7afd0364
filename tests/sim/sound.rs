//! What is asked at rest beside the trees: whether each conflict is one and holds back nothing else, and whether what counts
//! as agreed is what is there.

use std::collections::BTreeMap;

use super::bench::{replica, value_of};
use super::world::World;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::ReplicaSet;
use crate::dataflow::model::value::Value;
use crate::service::conflicts::Whole;
use crate::sys::sim::{Disk, with};

/// What is at a path and below it.
fn within(disk: &Disk, path: &str) -> Vec<(String, Value)> {
    let below = format!("{path}/");
    let tree = disk.tree().into_iter();
    let mut found: Vec<_> = tree
        .filter(|(at, _)| at == path || at.starts_with(&below))
        .map(|(at, ino)| (at, value_of(disk, ino)))
        .collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

impl World {
    /// Q2: a conflict at whose paths nothing differs.
    pub(super) fn needless_conflict(&mut self) -> Option<String> {
        let (conflicts, _) = self.outstanding();
        conflicts.into_iter().find_map(|row| {
            let actor = self.actor();
            let all = match actor.whole_in_conflict(row) {
                Some(Whole::Group(row)) => actor.engine.paths().group(row),
                Some(Whole::Repository(_)) | None => vec![row],
            };
            let path =
                |id| String::from_utf8_lossy(actor.engine.paths().path(id).as_bytes()).into_owned();
            let paths: Vec<String> = all.into_iter().map(path).collect();
            with(|kernel| {
                let held = |disk: &Disk| paths.iter().map(|p| within(disk, p)).collect::<Vec<_>>();
                let first = held(&kernel.disks[0]);
                let differs = kernel.replicas()[1..].iter().any(|disk| held(disk) != first);
                (!differs).then(|| format!("{paths:?} in conflict, and nothing differs"))
            })
        })
    }

    /// Q3: something that differs though nothing at it, above it or below it is in conflict.
    pub(super) fn held_back(&mut self) -> Option<String> {
        let (conflicts, _) = self.outstanding();
        let mut stuck = Vec::new();
        for row in conflicts {
            let actor = self.actor();
            let all = match actor.whole_in_conflict(row) {
                Some(Whole::Group(row)) => actor.engine.paths().group(row),
                Some(Whole::Repository(_)) | None => vec![row],
            };
            let paths = actor.engine.paths();
            let path = |id| String::from_utf8_lossy(paths.path(id).as_bytes()).into_owned();
            stuck.extend(all.into_iter().map(path));
        }
        let is_within = |path: &str, dir: &str| {
            path == dir || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        let waits = |path: &str| stuck.iter().any(|c| is_within(path, c) || is_within(c, path));
        with(|kernel| {
            let tree = |disk: &Disk| within_all(disk).into_iter().collect::<BTreeMap<_, _>>();
            let first = tree(&kernel.disks[0]);
            kernel.replicas()[1..].iter().find_map(|disk| {
                let other = tree(disk);
                let mut paths = first.keys().chain(other.keys());
                let idle =
                    paths.find(|path| first.get(*path) != other.get(*path) && !waits(path))?;
                Some(format!("{idle} waits, and in conflict are {stuck:?}"))
            })
        })
    }

    /// S7, where all trees are the same: each leaf has agreed on exactly what is there.
    pub(super) fn unsound_agreement(&mut self) -> Option<String> {
        let disks = self.disks;
        let journal = self.actor().shop.journal.clone()?;
        let tree = with(|kernel| within_all(&kernel.disks[0]));
        let mut dirs = vec![String::new()];
        dirs.extend(tree.iter().filter(|(_, value)| value.is_dir()).map(|(path, _)| path.clone()));
        let leaves: Vec<_> = (1..disks).map(replica).collect();
        let mut agreed = Vec::new();
        for dir in &dirs {
            let dir = RelPath::parse(dir.as_bytes()).expect("a path of a tree");
            for fact in journal.facts_in(&dir, ReplicaSet::of(&leaves)).expect("a store") {
                if let Fact::Agreed { leaf, path, value: Some(value) } = fact {
                    let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                    agreed.push((leaf, path, value));
                }
            }
        }
        for (leaf, path, value) in &agreed {
            let there = tree.iter().find(|(at, _)| at == path).map(|(_, value)| value);
            if there != Some(value) {
                return Some(format!(
                    "{leaf:?} agreed on {value:?} at {path}, and there is {there:?}"
                ));
            }
        }
        let missing = tree.iter().find(|(at, _)| {
            leaves.iter().any(|leaf| !agreed.iter().any(|(by, path, _)| by == leaf && path == at))
        });
        missing.map(|(at, value)| format!("nothing is agreed at {at}, and all have {value:?}"))
    }
}

fn within_all(disk: &Disk) -> Vec<(String, Value)> {
    disk.tree().into_iter().map(|(path, ino)| (path, value_of(disk, ino))).collect()
}
