//! A git repository or a group of files in conflict is decided as a whole.
//!
//! Holds: the decision is one record, so a crash leaves all of it or nothing. What it decides is what each replica that
//! gives way holds: that counts as agreed from then on, and what the winner holds as an edit of it, which is carried in
//! git's order, or together, like any other. New refs of a side that gives way stay, as nothing rests on their absence.

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::git::{self, Part};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::Act;
use crate::service::actor::Actor;
use crate::service::conflicts::Whole;
use crate::service::resolve::Resolved;
use crate::sinks::journal::Change;
use crate::sources::control::wire::Winner;

impl Actor {
    /// Decides a row of `conflicts`.
    pub(crate) fn resolve(&mut self, row: PathId, winner: &Winner, dry_run: bool) -> Resolved {
        let Some(whole) = self.whole_in_conflict(row).filter(|whole| whole.row() == row) else {
            return self.resolve_path(row, winner, dry_run);
        };
        let keeper = match winner {
            Winner::Keep(name) => self.record.by_name(name).map(|replica| replica.replica),
            Winner::Newest => self.newest(whole),
            Winner::Both(_) | Winner::With(_) | Winner::Content(_) => None,
        };
        let Some(keeper) = keeper else {
            let what = whole.word();
            let why = format!("a {what} is decided as a whole: --keep a replica, or --newest");
            return Resolved::Stands(why);
        };
        match self.keep_whole(whole, keeper, dry_run) {
            Ok(outcome) => Resolved::Decided(outcome),
            Err(why) => Resolved::Stands(why),
        }
    }

    /// The replica that has the newest of the files in conflict.
    fn newest(&mut self, whole: Whole) -> Option<Replica> {
        let paths = match whole {
            Whole::Repository(row) => self.conflicted_paths(row, None),
            Whole::Group(row) => self.members(row),
        };
        let mut newest = None;
        for path in paths {
            let views = self.engine.views(path);
            let leaves = views.leaves.iter().map(|leaf| (leaf.leaf, leaf.value));
            for (replica, value) in std::iter::once((Replica::SOURCE, views.source)).chain(leaves) {
                if let Some(Value::File(file)) = value {
                    newest = newest.max(Some((file.mtime, replica)));
                }
            }
        }
        newest.map(|(_, replica)| replica)
    }

    fn keep_whole(
        &mut self,
        whole: Whole,
        keeper: Replica,
        dry_run: bool,
    ) -> Result<String, String> {
        let paths = self.differing(whole);
        let leaves: Vec<Replica> = self.record.leaves().iter().collect();
        let mut facts = Vec::new();
        let loser_with = |leaf: Replica| if leaf == keeper { Replica::SOURCE } else { leaf };
        for (id, ..) in paths.iter().filter(|_| !dry_run) {
            for leaf in &leaves {
                self.empty_for(*id, *leaf, (keeper, loser_with(*leaf)))?;
            }
        }
        for (id, path, new_stays) in &paths {
            for leaf in &leaves {
                let loser = loser_with(*leaf);
                facts.extend(self.gives_way(*id, path, *new_stays, (*leaf, loser, keeper))?);
            }
        }
        let name = self.record.replica_name(keeper).to_owned();
        let files = if paths.len() == 1 { "1 file" } else { &format!("{} files", paths.len()) };
        let outcome = format!("{name} keeps the {}, in {files}", whole.word());
        if dry_run {
            return Ok(outcome);
        }
        if let Some(journal) = &self.shop.journal {
            let changes = facts.iter().filter_map(Change::agreement).collect();
            journal.commit(changes).map_err(|error| error.to_string())?;
        }
        facts.iter().for_each(|fact| self.engine.observe(fact));
        let path = self.engine.paths().path(whole.row());
        self.log("resolve", &path, keeper, outcome.clone());
        Ok(outcome)
    }

    /// All that differs in a whole, and whether it stays where it is new at a side that gives way.
    pub(super) fn differing(&mut self, whole: Whole) -> Vec<(PathId, RelPath, bool)> {
        match whole {
            Whole::Repository(row) => self.differing_state(row),
            Whole::Group(row) => {
                let verdicts = self.verdicts_of_group(row).into_iter();
                let differ = verdicts.filter(|(_, v, _)| !matches!(v.act, Act::Agree));
                let mut members: Vec<PathId> = differ.map(|(id, ..)| id).collect();
                members.dedup();
                members.into_iter().map(|id| (id, self.engine.paths().path(id), false)).collect()
            }
        }
    }

    /// All that differs in a repository, but its objects and what is like them.
    fn differing_state(&mut self, repository: PathId) -> Vec<(PathId, RelPath, bool)> {
        let mut ids = Vec::new();
        self.engine.outstanding(repository, &mut |id, verdict, _| {
            if !matches!(verdict.act, Act::Agree) {
                ids.push(id);
            }
            true
        });
        ids.sort_unstable();
        ids.dedup();
        let conflicted = self.conflicted_paths(repository, None);
        let paths = self.engine.paths();
        let state = ids.into_iter().filter_map(|id| {
            let path = paths.path(id);
            let (_, part) = git::part_of(&path)?;
            let is_state = !matches!(part, Part::Objects | Part::PackIndexes);
            let new_stays = matches!(part, Part::Refs | Part::Logs);
            (is_state || conflicted.binary_search(&id).is_ok()).then_some((id, path, new_stays))
        });
        state.collect()
    }

    /// A directory of the loser's gives way to a file with all that is in it, which is displaced.
    fn empty_for(
        &mut self,
        id: PathId,
        leaf: Replica,
        (keeper, loser): (Replica, Replica),
    ) -> Result<(), String> {
        let (kept, lost) = (self.engine.held(id, keeper), self.engine.held(id, loser));
        if kept.is_some_and(|value| !value.is_dir()) && lost.is_some_and(|value| value.is_dir()) {
            let views = self.engine.views(id);
            self.make_way(id, &views, leaf, (keeper, loser))?;
        }
        Ok(())
    }

    /// That what `loser` holds counts as agreed with `leaf`, so that what `keeper` holds is an edit of it.
    fn gives_way(
        &mut self,
        id: PathId,
        path: &RelPath,
        new_stays: bool,
        (leaf, loser, keeper): (Replica, Replica, Replica),
    ) -> Result<Option<Fact>, String> {
        let (lost, kept) = (self.engine.held(id, loser), self.engine.held(id, keeper));
        let views = self.engine.views(id);
        let agreed = views.leaves.iter().find(|view| view.leaf == leaf).and_then(|v| v.agreed);
        let is_new = kept.is_none() && agreed.is_none();
        if lost == kept || (is_new && new_stays) {
            return Ok(None);
        }
        let value = match lost {
            Some(value @ Value::File(_)) => Some(self.read_now(loser, path, value)?),
            Some(value @ (Value::Dir { .. } | Value::Symlink { .. })) => Some(value),
            None | Some(Value::Remnant) => None,
            Some(Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. }) => {
                return Err(format!("{} cannot be read", path.as_bytes().escape_ascii()));
            }
        };
        Ok(Some(Fact::Agreed { leaf, path: path.clone(), value }))
    }
}
