//! Conflicts as the user sees them.
//!
//! Holds: one row a path, however many leaves differ there; what is in a git repository is one row for all of it, at the
//! repository's directory, and is decided as a whole: half of its state from here and half from there is worth nothing.

use crate::dataflow::model::git;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;
use crate::service::actor::Actor;
use crate::service::explain::kind_word;
use crate::sources::control::wire::{Conflict, ConflictSide};

/// What a conflict of a repository is called, where others have `edit/edit` and its like.
const REPOSITORY: &str = "repository";

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

    /// The rows of what is in conflict at and below a path: a repository for what is in it.
    pub(crate) fn conflicted(&mut self, within: PathId, leaf: Option<Replica>) -> Vec<PathId> {
        let paths = self.conflicted_paths(within, leaf).into_iter();
        let mut rows: Vec<_> = paths.map(|id| self.repository_of(id).unwrap_or(id)).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// The repository in conflict that a path is, or is in.
    pub(crate) fn repository_in_conflict(&mut self, id: PathId) -> Option<PathId> {
        if !self.engine.paths().is_in_git(id) {
            return None;
        }
        let repository = self.repository_of(id).unwrap_or(id);
        let inside = self.conflicted_paths(repository, None);
        inside.iter().any(|path| *path != repository).then_some(repository)
    }

    /// What `explain` says of a path in a repository in conflict.
    pub(crate) fn repository_note(&mut self, repository: PathId) -> String {
        let count = self.conflicted_paths(repository, None).len();
        let paths = self.engine.paths();
        let path = paths.path(repository).as_bytes().escape_ascii().to_string();
        let files = if count == 1 { "1 file" } else { &format!("{count} files") };
        format!(
            "the git repository {path} changed on both sides, in {files}: until that is resolved, as a whole, only its \
             objects are carried"
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
        if conflicted.is_empty() {
            self.repository_in_conflict(id).filter(|repository| *repository == id)?;
            conflicted = self.leaves_in_conflict(id);
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

    fn leaves_in_conflict(&mut self, repository: PathId) -> Vec<(Replica, String)> {
        let leaves: Vec<Replica> = self.record.leaves().iter().collect();
        let has = |leaf: &Replica| !self.conflicted_paths(repository, Some(*leaf)).is_empty();
        leaves.into_iter().filter(has).map(|leaf| (leaf, REPOSITORY.to_owned())).collect()
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
