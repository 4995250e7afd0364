//! Conflicts as the user sees them.
//!
//! Holds: one row a path, however many leaves differ there; what is in a git repository is one row for all of it, at the
//! repository's directory, and so is a group of files, at its main file. They are decided as a whole: half of their state
//! from here and half from there is worth nothing.

use crate::dataflow::model::git;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;
use crate::service::actor::Actor;
use crate::service::explain::kind_word;
use crate::service::groups::crossed;
use crate::sources::control::wire::{Conflict, ConflictSide};

/// What is in conflict as a whole, by the path of its row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    Repository(PathId),
    Group(PathId),
}

impl Whole {
    pub(crate) fn row(self) -> PathId {
        match self {
            Self::Repository(row) | Self::Group(row) => row,
        }
    }

    /// What it is called, where the conflicts of single paths have `edit/edit` and its like.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Repository(_) => "repository",
            Self::Group(_) => "group",
        }
    }
}

impl Actor {
    /// The repository that something is in, other than its own directory.
    fn repository_of(&self, id: PathId) -> Option<PathId> {
        let paths = self.engine.paths();
        if !paths.is_in_git(id) {
            return None;
        }
        let path = paths.path(id);
        let (depth, _) = git::part_of(&path)?;
        paths.ancestors(id).nth(path.components().count() - depth - 1)
    }

    /// What is in conflict at and below a path, itself.
    pub(crate) fn conflicted_paths(
        &mut self,
        within: PathId,
        leaf: Option<Replica>,
    ) -> Vec<PathId> {
        let mut paths = Vec::new();
        self.engine.stuck(within, &mut |path, verdict| {
            let asked = leaf.is_none_or(|leaf| leaf == verdict.leaf);
            if matches!(verdict.act, Act::Conflict(_)) && asked {
                paths.push(path);
            }
            true
        });
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The rows of what is in conflict at and below a path: that of the whole for what is in one.
    pub(crate) fn conflicted(&mut self, within: PathId, leaf: Option<Replica>) -> Vec<PathId> {
        let mut paths = self.conflicted_paths(within, leaf);
        let is_within = |actor: &Self, id: PathId| {
            id == within || actor.engine.paths().ancestors(id).any(|dir| dir == within)
        };
        // A group can be in conflict though none of its files is.
        let mut groups = self.groups.waiting();
        groups.push(within);
        for id in groups {
            let members = self.members(id);
            let inside = members.iter().any(|id| is_within(self, *id));
            let asked = if inside { self.group_conflict(id) } else { ReplicaSet::EMPTY };
            if leaf.map_or(!asked.is_empty(), |leaf| asked.contains(leaf)) {
                paths.push(id);
            }
        }
        let mut rows = Vec::with_capacity(paths.len());
        for id in paths {
            rows.push(self.whole_of(id).map_or(id, Whole::row));
        }
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// The whole that something in conflict is part of.
    fn whole_of(&mut self, id: PathId) -> Option<Whole> {
        match self.repository_of(id) {
            Some(repository) => Some(Whole::Repository(repository)),
            None => self.group_in_conflict(id).map(Whole::Group),
        }
    }

    /// The whole in conflict that a path is, or is in.
    pub(crate) fn whole_in_conflict(&mut self, id: PathId) -> Option<Whole> {
        match self.repository_in_conflict(id) {
            Some(repository) => Some(Whole::Repository(repository)),
            None => self.group_in_conflict(id).map(Whole::Group),
        }
    }

    /// The leaves with which the group of a path is in conflict; none for a file that is alone in its group, which is a
    /// file like others.
    fn group_conflict(&mut self, id: PathId) -> ReplicaSet {
        let verdicts = self.verdicts_of_group(id);
        let mut leaves = crossed(&verdicts);
        let there = self.files_of_group(id).len();
        for (_, verdict, _) in verdicts {
            if let Act::Conflict(_) = verdict.act {
                leaves = leaves.with(verdict.leaf);
            }
        }
        if there > 1 { leaves } else { ReplicaSet::EMPTY }
    }

    /// The main file of the group in conflict that a path is one of: of its files that are anywhere, the first.
    fn group_in_conflict(&mut self, id: PathId) -> Option<PathId> {
        if !self.engine.paths().is_in_group(id) || self.group_conflict(id).is_empty() {
            return None;
        }
        self.files_of_group(id).first().copied()
    }

    /// The paths of a group at which some replica has a file.
    fn files_of_group(&mut self, id: PathId) -> Vec<PathId> {
        let replicas: Vec<Replica> = self.record.leaves().with(Replica::SOURCE).iter().collect();
        let mut files = self.members(id);
        files.retain(|id| {
            let mut held = replicas.iter().filter_map(|at| self.engine.held(*id, *at));
            held.any(|value| !value.is_dir())
        });
        files
    }

    /// The repository in conflict that a path is, or is in.
    fn repository_in_conflict(&mut self, id: PathId) -> Option<PathId> {
        if !self.engine.paths().is_in_git(id) {
            return None;
        }
        let repository = self.repository_of(id).unwrap_or(id);
        let inside = self.conflicted_paths(repository, None);
        inside.iter().any(|path| *path != repository).then_some(repository)
    }

    /// What `explain` says of a path in a whole that is in conflict.
    pub(crate) fn whole_note(&mut self, whole: Whole) -> String {
        let count = match whole {
            Whole::Repository(row) => self.conflicted_paths(row, None).len(),
            Whole::Group(row) => self.differing(Whole::Group(row)).len(),
        };
        let path = self.engine.paths().path(whole.row()).as_bytes().escape_ascii().to_string();
        let files = if count == 1 { "1 file" } else { &format!("{count} files") };
        let (what, carried) = match whole {
            Whole::Repository(_) => ("git repository", "only its objects are carried"),
            Whole::Group(_) => ("group of", "nothing of it is carried"),
        };
        format!(
            "the {what} {path} changed on both sides, in {files}: until that is resolved, as a whole, {carried}"
        )
    }

    /// A row of `conflicts`; `None` if there is no conflict any more.
    pub(crate) fn conflict(&mut self, id: PathId) -> Option<Conflict> {
        let verdicts = self.engine.verdicts(id).into_iter();
        let own = verdicts.filter_map(|(verdict, _)| match verdict.act {
            Act::Conflict(kind) => Some((verdict.leaf, kind.to_string())),
            Act::Put { .. }
            | Act::Delete { .. }
            | Act::Agree
            | Act::Read(_)
            | Act::Await
            | Act::Blocked(_) => None,
        });
        let mut conflicted: Vec<(Replica, String)> = own.collect();
        let whole = self.whole_in_conflict(id).filter(|whole| whole.row() == id);
        if let Some(whole) = whole.filter(|w| conflicted.is_empty() || matches!(w, Whole::Group(_)))
        {
            conflicted = self.leaves_in_conflict(whole);
        }
        let kind = conflicted.first()?.1.clone();
        let views = self.engine.views(id);
        let mut sides = vec![self.side(Replica::SOURCE, views.source.as_ref())];
        for leaf in &views.leaves {
            if conflicted.iter().any(|(of, _)| *of == leaf.leaf) {
                sides.push(self.side(leaf.leaf, leaf.value.as_ref()));
            }
        }
        let path = self.engine.paths().path(id);
        Some(Conflict { name: self.record.name.clone(), kind, path, sides })
    }

    fn leaves_in_conflict(&mut self, whole: Whole) -> Vec<(Replica, String)> {
        let leaves: Vec<Replica> = self.record.leaves().iter().collect();
        let has = |leaf: &Replica| match whole {
            Whole::Repository(row) => !self.conflicted_paths(row, Some(*leaf)).is_empty(),
            Whole::Group(row) => self.group_conflict(row).contains(*leaf),
        };
        leaves.into_iter().filter(has).map(|leaf| (leaf, whole.word().to_owned())).collect()
    }

    fn side(&self, replica: Replica, value: Option<&Value>) -> ConflictSide {
        let mtime = match value {
            Some(Value::File(file)) => Some(file.mtime.div_euclid(1_000_000_000)),
            _ => None,
        };
        ConflictSide {
            replica: self.record.replica_name(replica).to_owned(),
            mtime,
            size: value.map_or(0, Value::bytes),
            digest: value.and_then(Value::digest),
            kind: kind_word(value).to_owned(),
        }
    }
}
