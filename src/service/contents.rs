//! Contents on their way to who asks for them: what a replica holds, a displaced version, the two sides of a path.
//!
//! Holds: who asks from inside a replica on another machine is given nothing but what the sync carries, and would carry there;
//! what is read is read on the thread that answers, never on the sync's.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::service::Daemon;
use crate::service::actor::Actor;
use crate::service::answer::{Answer, ended, gone};
use crate::service::target::cannot;
use crate::service::wishes::os;
use crate::sinks::desk::{Found, Of};
use crate::sinks::journal::record::Kept;
use crate::sinks::journal::registry::{ReplicaRecord, SyncRecord};
use crate::sources::control::socket::Replies;
use crate::sources::control::wire::{Failure, Outcome, Reply, Target};

/// What is sent at a time, in bytes.
const PIECE: usize = 256 << 10;

/// Whether what one replica holds would be carried to another one.
pub(super) fn reaches(record: &SyncRecord, holder: Replica, other: Replica) -> bool {
    holder.is_source() || holder == other || record.mode.is_two_way()
}

fn may_see(record: &SyncRecord, of: Replica, from: Option<Replica>) -> Result<(), Failure> {
    match from.is_none_or(|from| reaches(record, of, from)) {
        true => Ok(()),
        false => Err(cannot(
            format!("what {} has is not carried here in this mode", record.replica_name(of)),
            Some("ask on the machine that has the sync"),
        )),
    }
}

impl Daemon {
    /// The bytes of a path at a replica.
    pub(super) fn cat(
        &self,
        target: &Target,
        replica: &str,
        from: Option<Replica>,
        replies: &Replies,
    ) -> Answer {
        let scope = self.place(target)?;
        let record = scope.handle.record();
        let Some(at) = record.by_name(replica) else {
            return Err(cannot(
                format!("the sync {} has no replica called {replica}", record.name),
                Some("`yeet list` names them"),
            ));
        };
        let failed = |error: io::Error| {
            let path = scope.path.as_bytes().escape_ascii();
            cannot(format!("cannot read {path} at {replica}: {error}"), None)
        };
        let of = at.replica;
        may_see(&record, of, from)?;
        if from.is_some() {
            // What the sync does not carry is nobody's there: files that are left out, and yeet's own.
            let path = scope.path.clone();
            let held = scope.handle.ask_flushed(move |actor| actor.carries(&path, of));
            if !held.ok_or_else(ended)? {
                return Err(failed(io::ErrorKind::NotFound.into()));
            }
        }
        let shop = scope.handle.ask(|actor: &mut Actor| actor.shop.clone()).ok_or_else(ended)?;
        let desk = shop.desk(of).ok_or(io::ErrorKind::NotFound).map_err(|e| failed(e.into()))?;
        match desk.read(&Of::Path(scope.path.clone())).map_err(failed)? {
            Found::Symlink(text) => replies.send(&Reply::Bytes(text)).map_err(gone)?,
            Found::File { mut bytes, .. } => send_all(&mut bytes, replies, &failed)?,
        }
        Ok(Outcome::Well)
    }

    /// A displaced version, the newest unless one is named.
    pub(super) fn displaced(
        &self,
        target: &Target,
        version: Option<&str>,
        from: Option<Replica>,
        replies: &Replies,
    ) -> Answer {
        let scope = self.place(target)?;
        let record = scope.handle.record();
        let (path, version) = (scope.path.clone(), version.map(str::to_owned));
        let asked = scope.handle.ask_flushed(move |actor| {
            let (op, kept) = actor.version_of(&path, version.as_deref())?;
            Ok((op, kept, actor.shop.clone()))
        });
        let (op, kept, shop): (u64, Kept, _) =
            asked.ok_or_else(ended)?.map_err(|why: String| cannot(why, None))?;
        may_see(&record, kept.replica, from)?;
        let failed = |error: io::Error| cannot(format!("cannot restore it: {error}"), None);
        let desk =
            shop.desk(kept.replica).ok_or_else(|| cannot("its replica is not there", None))?;
        let found = desk.read(&Of::Kept(op)).map_err(failed)?;
        let mode = if let Value::File(file) = kept.value { file.mode } else { 0o644 };
        let is_symlink = matches!(found, Found::Symlink(_));
        let content = Reply::Content { version: format!("{op:016x}"), mode, is_symlink };
        replies.send(&content).map_err(gone)?;
        match found {
            Found::Symlink(text) => replies.send(&Reply::Bytes(text)).map_err(gone)?,
            Found::File { mut bytes, .. } => send_all(&mut bytes, replies, &failed)?,
        }
        Ok(Outcome::Well)
    }

    /// Where the two sides of a path are: the source's, and that of the leaf in which it is asked, or the first that differs.
    pub(super) fn sides(
        &self,
        target: &Target,
        from: Option<Replica>,
        replies: &Replies,
    ) -> Answer {
        let scope = self.place(target)?;
        let record = scope.handle.record();
        let path = scope.path.clone();
        let own = from.filter(|from| !from.is_source());
        let of = scope.handle.ask_flushed(move |actor| {
            let id = actor.id_of(&path)?;
            let views = actor.engine.views(id);
            let differs = views.leaves.iter().find(|leaf| match own {
                Some(own) => leaf.leaf == own,
                None => leaf.value != views.source,
            });
            let leaf = differs.or(views.leaves.first())?;
            Some((leaf.leaf, [views.source.is_some(), leaf.value.is_some()]))
        });
        let first = || record.leaves().iter().next().map(|leaf| (leaf, [true; 2]));
        let Some((leaf, holds)) = of.ok_or_else(ended)?.or_else(first) else {
            return Ok(Outcome::Well);
        };
        for (replica, holds) in [Replica::SOURCE, leaf].into_iter().zip(holds) {
            let Some(at) = record.replica(replica) else { continue };
            replies.send(&side(&record, at, &scope.path, (from, holds))).map_err(gone)?;
        }
        Ok(Outcome::Well)
    }
}

/// Where a side is for who asks: a file on their machine, nothing, or to be asked for.
fn side(
    record: &SyncRecord,
    at: &ReplicaRecord,
    path: &RelPath,
    (from, holds): (Option<Replica>, bool),
) -> Reply {
    let file = at.path.join(os(path.as_bytes()));
    let bytes = || file.as_os_str().as_bytes().to_vec();
    let (file, is_here) = match from {
        Some(from) if from == at.replica => (holds.then(bytes), true),
        None if record.host(at.replica).is_none() => {
            (file.symlink_metadata().is_ok().then(bytes), true)
        }
        Some(_) | None => (None, !holds),
    };
    Reply::Side { replica: at.name.clone(), file, is_here }
}

fn send_all(
    bytes: &mut dyn Read,
    replies: &Replies,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<(), Failure> {
    let mut buffer = vec![0; PIECE];
    loop {
        match bytes.read(&mut buffer).map_err(failed)? {
            0 => return Ok(()),
            read => replies.send(&Reply::Bytes(buffer[..read].to_vec())).map_err(gone)?,
        }
    }
}

impl Actor {
    /// Whether a replica holds a file or a symlink at a path that is carried.
    fn carries(&mut self, path: &RelPath, replica: Replica) -> bool {
        let held = self.id_of(path).and_then(|id| self.engine.held(id, replica));
        matches!(held, Some(Value::File(_) | Value::Symlink { .. }))
    }
}
