//! What the user wishes: restore, allow, deny, bump, pause.
//!
//! Holds: a wish is durable before it is acted on, binds to what the daemon holds at that moment, and destroys no
//! bytes.

use std::io::{self, Read};
use std::sync::Arc;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::service::actor::Actor;
use crate::service::dispatch::JobKey;
use crate::service::holds::RootHold;
use crate::sinks::desk::{Found, Of, Placed};
use crate::sinks::journal::Change;
use crate::sinks::journal::record::{Kept, LogRecord};
use crate::sinks::journal::registry::ReplicaRecord;
use crate::sinks::stage::OpId;
use crate::sinks::transfer::now_ms;
use crate::sys::Root;

impl Actor {
    /// Makes a user's file of `bytes` at a replica; what it replaces is kept.
    pub(super) fn place(
        &mut self,
        replica: Replica,
        path: &RelPath,
        bytes: &mut dyn Read,
        (mode, mtime_ns): (u16, Option<i64>),
        replaces: Option<Value>,
    ) -> io::Result<()> {
        let shop = self.shop.clone();
        let desk = shop.desk(replica).ok_or(io::ErrorKind::NotFound)?;
        let op = shop.ops.take();
        let path = path.clone();
        let what = Placed { op: op.0, path, mode, mtime_ns, replaces, parents: true };
        let placed = desk.place(&what, bytes);
        if let (Ok(()), Some(value)) = (&placed, replaces) {
            self.keep(op, replica, &what.path, value, "replaced");
        }
        self.sources.look(replica, &what.path);
        placed
    }

    fn keep(&self, op: OpId, replica: Replica, path: &RelPath, value: Value, why: &str) {
        let Some(journal) = &self.shop.journal else { return };
        let (path, why) = (path.clone(), why.to_owned());
        let kept = Kept { path, replica, when_ms: now_ms(), value, why };
        journal.submit(vec![Change::Kept { op: op.0, kept }], None);
    }

    /// Brings a displaced version back in place, as a new edit.
    pub(crate) fn restore(&mut self, op: u64, kept: &Kept) -> Result<String, String> {
        let failed = |error: io::Error| format!("cannot restore it: {error}");
        let shop = self.shop.clone();
        let desk = shop.desk(kept.replica).ok_or("its replica is not there")?;
        let mut bytes = match desk.read(&Of::Kept(op)).map_err(failed)? {
            Found::File { bytes, .. } => bytes,
            Found::Symlink(text) => return self.restore_symlink(&text, kept),
        };
        let mode = if let Value::File(file) = kept.value { file.mode } else { 0o644 };
        let (replica, there) = self.restore_place(kept)?;
        self.place(replica, &kept.path, &mut bytes, (mode, None), there).map_err(failed)?;
        self.log("restore", &kept.path, replica, String::new());
        Ok(self.record.replica_name(replica).to_owned())
    }

    fn restore_symlink(&mut self, text: &[u8], kept: &Kept) -> Result<String, String> {
        let failed = |error: io::Error| format!("cannot restore it: {error}");
        let (replica, there) = self.restore_place(kept)?;
        if there.is_some() {
            return Err("something has its name; restore it with --to".to_owned());
        }
        let shop = self.shop.clone();
        let desk = shop.desk(replica).ok_or("the replica is not there")?;
        desk.place_symlink(&kept.path, text).map_err(failed)?;
        self.sources.look(replica, &kept.path);
        Ok(self.record.replica_name(replica).to_owned())
    }

    /// Where a version goes back to, and what has its name there: the source where changes flow from it, else the
    /// replica that kept it.
    fn restore_place(&mut self, kept: &Kept) -> Result<(Replica, Option<Value>), String> {
        let replica = if self.record.mode.is_two_way() { kept.replica } else { Replica::SOURCE };
        match self.id_of(&kept.path).and_then(|id| self.engine.held(id, replica)) {
            Some(Value::Dir { .. }) => {
                Err("a directory has its name; restore it with --to".to_owned())
            }
            there => Ok((replica, there)),
        }
    }

    /// Lets held deletes through. Returns the replicas and how many deletes; empty if nothing is held.
    pub(crate) fn allow(&mut self, dry_run: bool) -> Vec<(Replica, u64)> {
        let mut allowed = Vec::new();
        for replica in self.holds.held().iter() {
            let outstanding = self.engine.deletes(replica).outstanding;
            let Some(brake) = self.holds.brake_mut(replica) else { continue };
            let deletes = if dry_run { outstanding } else { brake.allow() };
            allowed.push((replica, deletes));
        }
        if !dry_run && !allowed.is_empty() {
            self.record.held = self.holds.held();
            self.save_record();
            for (replica, deletes) in &allowed {
                self.log("allow", &RelPath::root(), *replica, format!("{deletes} deletes"));
            }
        }
        allowed
    }

    /// Takes held deletes back: what would have gone counts as new and returns to the other side.
    pub(crate) fn deny(&mut self) -> Result<Vec<(Replica, u64)>, String> {
        let held = self.holds.held();
        let mut doomed: Vec<(PathId, Verdict)> = Vec::new();
        self.engine.outstanding(PathId::ROOT, &mut |path, verdict, _| {
            if matches!(verdict.act, Act::Delete { at } if held.contains(at)) {
                doomed.push((path, *verdict));
            }
            true
        });
        let leaves: Vec<Replica> = self.record.leaves().iter().collect();
        let mut facts = Vec::new();
        for (path, verdict) in &doomed {
            let path = self.engine.paths().path(*path);
            // A delete at the source takes a leaf's word: all leaves' agreements about it are void.
            let at_source = matches!(verdict.act, Act::Delete { at } if at.is_source());
            let of = if at_source { leaves.clone() } else { vec![verdict.leaf] };
            for leaf in of {
                facts.push(Fact::Agreed { leaf, path: path.clone(), value: None });
            }
        }
        if let Some(journal) = &self.shop.journal {
            let changes = facts.iter().filter_map(Change::agreement);
            journal.commit(changes.collect()).map_err(|error| error.to_string())?;
        }
        let mut denied = Vec::new();
        for replica in held.iter() {
            let returned = self.bring_back(replica)?;
            denied.push((replica, self.engine.deletes(replica).outstanding + returned));
            if let Some(brake) = self.holds.brake_mut(replica) {
                brake.deny();
            }
            self.log("deny", &RelPath::root(), replica, String::new());
        }
        for fact in &facts {
            self.engine.observe(fact);
        }
        self.record.held = self.holds.held();
        self.save_record();
        Ok(denied)
    }

    /// Brings back what the burst had deleted before it was held; how many files that are.
    fn bring_back(&mut self, replica: Replica) -> Result<u64, String> {
        let Some(since_ms) = self.holds.burst_since_ms(replica) else { return Ok(0) };
        let Some(journal) = self.shop.journal.clone() else { return Ok(0) };
        journal.barrier().map_err(|error| error.to_string())?;
        let kept = journal.kept(&RelPath::root()).map_err(|error| error.to_string())?;
        let mut returned = 0;
        for (op, row) in kept {
            let of_burst =
                row.replica == replica && row.why == "deleted" && row.when_ms >= since_ms;
            let taken = self.id_of(&row.path).and_then(|id| self.engine.held(id, replica));
            if of_burst && taken.is_none() {
                self.restore(op, &row)?;
                returned += 1;
            }
        }
        Ok(returned)
    }

    /// Puts everything that waits at or below a path to the head of the queue; how many jobs that are.
    pub(crate) fn bump(&mut self, path: &RelPath) -> u64 {
        let Some(id) = self.id_of(path) else { return 0 };
        let mut keys = Vec::new();
        self.engine.outstanding(id, &mut |path, verdict, _| {
            keys.push(JobKey { path, leaf: verdict.leaf });
            true
        });
        keys.into_iter().map(|key| u64::from(self.schedule.bump(key))).sum()
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.holds.paused = paused;
        self.record.paused = paused;
        self.save_record();
        if !paused {
            self.schedule.retry_all();
        }
    }

    /// Roots that cannot be used, with the reason.
    pub(crate) fn lost_roots(&self) -> Vec<(Replica, RootHold)> {
        self.holds.roots.iter().map(|(replica, why)| (*replica, *why)).collect()
    }

    /// Whether a replica could not be written when the sync came up.
    pub(crate) fn is_unwritable(&self) -> bool {
        let sites = self.record.replicas.iter().filter_map(|r| self.shop.site(r.replica));
        sites.into_iter().any(|site| site.store.is_err())
    }

    /// The roots in use.
    pub(crate) fn roots(&self) -> Vec<(Replica, Arc<Root>)> {
        let of = |record: &ReplicaRecord| {
            let site = self.shop.site(record.replica)?;
            Some((record.replica, site.root.clone()))
        };
        self.record.replicas.iter().filter_map(of).collect()
    }

    pub(crate) fn log(&self, act: &str, path: &RelPath, replica: Replica, note: String) {
        let Some(journal) = &self.shop.journal else { return };
        let (act, path) = (act.to_owned(), path.clone());
        let line = LogRecord { when_ms: now_ms(), act, replica, path, old: None, new: None, note };
        journal.submit(vec![Change::Log(line)], None);
    }
}

/// Bytes as the system's string.
pub(crate) fn os(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}
