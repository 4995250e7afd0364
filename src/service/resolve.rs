//! A conflict is resolved: what loses gives way, and is kept.
//!
//! Holds: a decision is durable before it is acted on, binds to what the daemon holds at that moment, and destroys no
//! bytes. A file against a directory with edits in it is decided by acting at once (docs/design/0008).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Value};
use crate::dataflow::model::verdict::{Act, ConflictKind, Rule, Views};
use crate::service::actor::Actor;
use crate::service::explain::words;
use crate::service::wishes::os;
use crate::sinks::apply::Control;
use crate::sinks::desk::{Found, Of};
use crate::sinks::journal::Change;
use crate::sinks::transfer::{self, Assigned};
use crate::sources::control::wire::Winner;
use crate::sys;

/// What became of one conflict.
pub(crate) enum Resolved {
    Decided(String),
    Stands(String),
}

/// Digests are named by at least this many digits.
const DIGEST_DIGITS_MIN: usize = 8;

fn held_by(views: &Views, replica: Replica) -> Option<Value> {
    if replica.is_source() {
        return views.source;
    }
    views.leaves.iter().find(|l| l.leaf == replica).and_then(|l| l.value)
}

impl Actor {
    /// Decides the conflict of one path.
    pub(crate) fn resolve_path(&mut self, id: PathId, winner: &Winner, dry_run: bool) -> Resolved {
        let parties = self.parties(id);
        if parties.is_empty() {
            return Resolved::Stands("it is in no conflict".to_owned());
        }
        let views = self.engine.views(id);
        let path = self.engine.paths().path(id);
        let keeper = match self.keeper(&views, &parties, winner) {
            Ok(keeper) => keeper,
            Err(why) => return Resolved::Stands(why),
        };
        let in_the_way = self.in_the_way(id, keeper);
        if !in_the_way.is_empty() && matches!(winner, Winner::Both(_)) {
            return Resolved::Stands("a directory gets no second name: rename one side".to_owned());
        }
        let outcome = format!(
            "{} keeps {}",
            self.record.replica_name(keeper),
            words(held_by(&views, keeper).as_ref())
        );
        if dry_run {
            return Resolved::Decided(outcome);
        }
        let acted = match winner {
            Winner::Keep(_) | Winner::Newest => Ok(()),
            Winner::Both(suffix) => self.keep_seconds(&path, &views, &parties, keeper, suffix),
            Winner::With(file) => self.replace_with_file(&path, &views, Path::new(&os(file))),
            Winner::Content(bytes) => self.replace_with(&path, &views, &mut &bytes[..]),
        };
        if let Err(why) = acted {
            return Resolved::Stands(why);
        }
        let mut yielding: Vec<Replica> = match winner {
            // The new content comes as an edit of the source, which every other content gives way to.
            Winner::With(_) | Winner::Content(_) => {
                parties.iter().copied().filter(|r| !r.is_source()).collect()
            }
            Winner::Keep(_) | Winner::Newest | Winner::Both(_) => {
                parties.iter().copied().filter(|r| *r != keeper).collect()
            }
        };
        let made_way = in_the_way.iter().try_for_each(|leaf| {
            let loser = if keeper.is_source() { *leaf } else { Replica::SOURCE };
            yielding.retain(|replica| *replica != loser);
            self.make_way(id, &views, *leaf, (keeper, loser))
        });
        match made_way.and_then(|()| self.give_way(&path, &views, &yielding)) {
            Ok(()) => {
                self.log("resolve", &path, keeper, outcome.clone());
                Resolved::Decided(outcome)
            }
            Err(why) => Resolved::Stands(why),
        }
    }

    /// The replicas that are in conflict about a path; the source first.
    fn parties(&mut self, id: PathId) -> Vec<Replica> {
        let verdicts = self.engine.verdicts(id);
        let conflicts = verdicts.iter().filter(|(v, _)| matches!(v.act, Act::Conflict(_)));
        let mut parties: Vec<Replica> = conflicts.map(|(v, _)| v.leaf).collect();
        if !parties.is_empty() {
            parties.insert(0, Replica::SOURCE);
        }
        parties
    }

    fn keeper(
        &self,
        views: &Views,
        parties: &[Replica],
        winner: &Winner,
    ) -> Result<Replica, String> {
        match winner {
            Winner::Both(_) | Winner::With(_) | Winner::Content(_) => Ok(Replica::SOURCE),
            Winner::Newest => {
                let mtime = |r: &Replica| match held_by(views, *r) {
                    Some(Value::File(file)) => Some(file.mtime),
                    _ => None,
                };
                let newest = parties.iter().filter_map(|r| Some((mtime(r)?, *r))).max();
                newest.map(|(_, r)| r).ok_or_else(|| "no side has a time".to_owned())
            }
            Winner::Keep(name) => {
                if let Some(replica) = self.record.by_name(name) {
                    return self.party(views, parties, replica.replica);
                }
                let is_digest =
                    name.len() >= DIGEST_DIGITS_MIN && name.bytes().all(|b| b.is_ascii_hexdigit());
                let named = |r: &&Replica| {
                    let digest = held_by(views, **r).and_then(|value| value.digest());
                    is_digest
                        && digest.is_some_and(|d| d.to_string().starts_with(&name.to_lowercase()))
                };
                let found = parties.iter().find(named);
                found.copied().ok_or_else(|| format!("no replica and no content is called {name}"))
            }
        }
    }

    /// A replica that was named, or the one of the conflict that holds the same. What it holds that is in no conflict is
    /// about to be replaced, and would not stand against the next edit of one that gives way.
    fn party(&self, views: &Views, parties: &[Replica], named: Replica) -> Result<Replica, String> {
        if parties.contains(&named) {
            return Ok(named);
        }
        let content = held_by(views, named);
        let holds_it = |party: &&Replica| match (held_by(views, **party), content) {
            (Some(party), Some(named)) => party.same_content(&named) == Some(true),
            (party, named) => party.is_none() && named.is_none(),
        };
        parties.iter().find(holds_it).copied().ok_or_else(|| {
            let names = parties.iter().map(|party| self.record.replica_name(*party));
            let (name, names) = (self.record.replica_name(named), names.collect::<Vec<_>>());
            format!("{name} is not in this conflict: keep one of {}", names.join(", "))
        })
    }

    /// Makes it durable that what these replicas hold at `path` gives way, and tells the engine.
    fn give_way(
        &mut self,
        path: &RelPath,
        views: &Views,
        yielding: &[Replica],
    ) -> Result<(), String> {
        let mut changes = Vec::new();
        let mut facts = Vec::new();
        for replica in yielding {
            let Some(value) = held_by(views, *replica) else { continue };
            let value = self.read_now(*replica, path, value)?;
            let (replica, path) = (*replica, path.clone());
            changes.push(Change::Yields { replica, path: path.clone(), value: Some(value) });
            facts.push(Fact::Yields { replica, path, value: Some(value) });
        }
        if let Some(journal) = &self.shop.journal {
            journal.commit(changes).map_err(|error| error.to_string())?;
        }
        for fact in &facts {
            self.engine.observe(fact);
        }
        Ok(())
    }

    /// A value with its content read: what gives way is named by digest.
    pub(crate) fn read_now(
        &mut self,
        replica: Replica,
        path: &RelPath,
        value: Value,
    ) -> Result<Value, String> {
        let Value::File(file) = value else { return Ok(value) };
        if file.content.digest().is_some() {
            return Ok(value);
        }
        let desk = self.shop.desk(replica).ok_or("the replica is not there")?;
        let digest = desk.digest(path, file.content).map_err(|error| error.to_string())?;
        let digest = digest.ok_or("it changed while it was read")?;
        let read = Value::File(crate::dataflow::model::value::File {
            content: Content::known(digest),
            ..file
        });
        self.engine.observe(&Fact::Holds { replica, path: path.clone(), value: Some(read) });
        Ok(read)
    }

    /// Gives every content but the keeper's a second name beside it, at the replica that has it.
    fn keep_seconds(
        &mut self,
        path: &RelPath,
        views: &Views,
        parties: &[Replica],
        keeper: Replica,
        suffix: &str,
    ) -> Result<(), String> {
        let (dir, name) = path.split().ok_or("the root has no second name")?;
        let mut seconds = Vec::new();
        for replica in parties.iter().filter(|r| **r != keeper) {
            let Some(value @ Value::File(_)) = held_by(views, *replica) else { continue };
            if seconds.contains(&value) {
                continue;
            }
            let number =
                if seconds.is_empty() { String::new() } else { format!("-{}", seconds.len() + 1) };
            let second = [name.as_bytes(), suffix.as_bytes(), number.as_bytes()].concat();
            let second = Name::parse(&second).map_err(|error| error.to_string())?;
            self.copy_in(*replica, path, &dir.join(&second)).map_err(|error| {
                format!("cannot make {}: {error}", second.as_bytes().escape_ascii())
            })?;
            seconds.push(value);
        }
        Ok(())
    }

    /// Copies a file within a replica to a name that is free.
    fn copy_in(&mut self, replica: Replica, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let shop = self.shop.clone();
        let desk = shop.desk(replica).ok_or(io::ErrorKind::NotFound)?;
        match desk.read(&Of::Path(from.clone()))? {
            Found::File { mut bytes, mode, mtime_ns } => {
                self.place(replica, to, &mut bytes, (mode, Some(mtime_ns)), None)
            }
            Found::Symlink(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The leaves of a conflict between something at this path and a directory with live content, if `keeper` is to win
    /// it: no single content can give way there.
    fn in_the_way(&mut self, id: PathId, keeper: Replica) -> Vec<Replica> {
        let verdicts = self.engine.verdicts(id).into_iter();
        let below = verdicts.filter(|(verdict, _)| {
            verdict.act == Act::Conflict(ConflictKind::TypeBelow)
                && (keeper.is_source() || keeper == verdict.leaf)
        });
        below.map(|(verdict, _)| verdict.leaf).collect()
    }

    /// Has the loser of such a conflict give way: a directory's content is displaced, a file gives way to a directory.
    pub(super) fn make_way(
        &mut self,
        id: PathId,
        views: &Views,
        leaf: Replica,
        (keeper, loser): (Replica, Replica),
    ) -> Result<(), String> {
        let (kept, lost) = (held_by(views, keeper), held_by(views, loser));
        let mut jobs = Vec::new();
        if lost.is_some_and(|value| value.is_dir()) {
            for below in self.engine.carried_below(id, loser) {
                let Some(expect) = self.engine.held(below, loser) else { continue };
                let path = self.engine.paths().path(below);
                let expect = self.read_now(loser, &path, expect)?;
                let op = Op::Delete { at: loser, because: keeper, expect };
                jobs.push(Job { path, leaf, rule: Rule::Resolved, op });
            }
        } else if let (Some(new @ Value::Dir { .. }), Some(_)) = (kept, lost) {
            let op = Op::Put { from: keeper, to: loser, new, expect: lost };
            let path = self.engine.paths().path(id);
            jobs.push(Job { path, leaf, rule: Rule::Resolved, op });
        }
        self.carry_out_now(jobs, loser)
    }

    /// Carries jobs out before anything else, in this order, and takes over what they did.
    fn carry_out_now(&mut self, jobs: Vec<Job>, at: Replica) -> Result<(), String> {
        let assigned = jobs.into_iter().map(|job| {
            let control = Arc::new(Control::default());
            Assigned { key: (), job, control, still: false }
        });
        let mut failed = None;
        for done in transfer::carry_out(&self.shop, assigned.collect()) {
            match done.result {
                Ok(applied) => {
                    self.displaced += u64::from(applied.kept.is_some());
                    let (replica, path) = (at, done.job.path);
                    let value = applied.to_now;
                    if value.is_some_and(|value| value.is_dir()) {
                        self.made_dir(replica, &path);
                    }
                    self.waiters.moved();
                    self.engine.observe(&Fact::Holds { replica, path, value });
                    done.agreed.iter().for_each(|fact| self.engine.observe(fact));
                }
                Err(error) => {
                    self.sources.look(at, &done.job.path);
                    let path = done.job.path.as_bytes().escape_ascii();
                    failed.get_or_insert(format!("cannot {error}: {path}"));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn replace_with_file(
        &mut self,
        path: &RelPath,
        views: &Views,
        file: &Path,
    ) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot use {}: {error}", file.display());
        let mut open = sys::opened(File::open(file).map_err(failed)?);
        self.replace_with(path, views, &mut open)
            .map_err(|why| format!("{}: {why}", file.display()))
    }

    fn replace_with(
        &mut self,
        path: &RelPath,
        views: &Views,
        bytes: &mut dyn Read,
    ) -> Result<(), String> {
        let mode = match views.source {
            Some(Value::File(file)) => file.mode,
            Some(Value::Dir { .. }) => return Err("the source has a directory there".to_owned()),
            Some(_) | None => 0o644,
        };
        let placed = self.place(Replica::SOURCE, path, bytes, (mode, None), views.source);
        placed.map_err(|error| format!("cannot put it in place: {error}"))
    }
}
