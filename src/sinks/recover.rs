//! After any end: what was announced and not finished is brought to one side or the other.
//!
//! Holds: of what lies in a store only what yeet itself announced, or bytes that its source still has, is removed; all
//! else becomes a kept version. A removal of our own is never taken for a user's (guarantees, D30).

mod far;

use std::io::{self, Read};

use crate::dataflow::model::replica::{LEAVES_MAX, Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, Digest, File, Value};
use crate::sinks::apply::{Aside, Control, digest_of, finish_aside, present, target_digest};
use crate::sinks::far::Flushed;
use crate::sinks::journal::record::{Intent, IntentKind, Kept, LogRecord};
use crate::sinks::journal::{Change, JournalError};
use crate::sinks::stage::{OpId, Store};
use crate::sinks::transfer::{Shop, Site, now_ms};
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};
use crate::sys::{self, Dir, Kind, Root, Stat};

use far::Unflushed;
pub use far::{AllUnflushed, recover_far};

/// Settles every open intent of a sync. What a replica that is an older copy (`older`) has or lacks says nothing of what had been
/// done there: nothing is agreed with it.
///
/// # Errors
/// The journal cannot be read or written; the intents stay open.
pub fn recover(shop: &Shop, older: ReplicaSet) -> Result<(), JournalError> {
    let Some(journal) = &shop.journal else { return Ok(()) };
    let mut all = Vec::new();
    let ended = Ended::of(shop);
    for (op, intent) in journal.intents()? {
        let op = OpId(op);
        let Some(site) = shop.site(intent.replica) else { continue };
        let Ok(store) = &site.store else { continue };
        let root = |replica| Some(&*shop.site(replica)?.root);
        let spare = || shop.ops.take();
        let around = Around { root: &root, spare: &spare, boot: shop.boot, ended: &ended };
        // What cannot be looked at now stays announced.
        let mut changes = Vec::new();
        if settle(&around, (site, store), op, &intent, &mut changes).is_ok() {
            changes.retain(|change| is_known(change, older));
            changes.push(Change::IntentDone { op: op.0 });
            let ends = ends(&intent, &changes);
            all.push(Settled {
                at: intent.replica,
                other: other_end(&intent),
                ends,
                found: changes,
            });
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    let ends = all.iter().flat_map(|settled| settled.ends.iter()).collect::<Vec<_>>();
    let ends = ReplicaSet::of(&ends).iter();
    let new = shop.ops.take().0;
    // One that is an older copy is known as that until all of this is over.
    let mark = |replica| if older.contains(replica) { 0 } else { new };
    let ends = ends.map(|replica| (replica, on_disk(shop, replica, mark(replica))));
    let (there, lost): (Vec<_>, Vec<_>) = ends.partition(|(_, is)| *is != Flushed::No);
    let mut changes = Vec::new();
    for Settled { at, other, ends, found } in all {
        match lost.iter().find(|(replica, _)| ends.contains(*replica)) {
            None => changes.extend(found),
            Some((lost, _)) if *lost == other && shop.far(other).is_some() => {
                shop.unflushed.add(Unflushed { at, other, found });
            }
            Some(_) => {}
        }
    }
    changes.extend(there.into_iter().filter_map(reached));
    journal.commit(changes).map_err(JournalError::Commit)
}

/// An operation that was brought to one side or the other.
struct Settled {
    at: Replica,
    other: Replica,
    /// What has to be on disk before its announcement goes.
    ends: ReplicaSet,
    found: Vec<Change>,
}

/// The end of an operation at which it did nothing.
fn other_end(intent: &Intent) -> Replica {
    if intent.replica.is_source() { intent.leaf } else { Replica::SOURCE }
}

/// What is to be remembered of a replica's mark.
fn reached((replica, flushed): (Replica, Flushed)) -> Option<Change> {
    match flushed {
        Flushed::Marked(mark) => Some(Change::Reached { replica, mark }),
        Flushed::No | Flushed::Unmarked => None,
    }
}

/// Whether it can be known, where these are older copies.
fn is_known(change: &Change, older: ReplicaSet) -> bool {
    let Change::Agreed { leaf, value: Some(_), .. } = change else { return true };
    !older.contains(*leaf) && !older.contains(Replica::SOURCE)
}

/// What has to be on disk before an announcement goes. What was moved: after a power loss in between it would be under
/// its old name again, and nobody would know whose it is. And both ends of what is agreed: one that lost it would
/// have deleted it.
fn ends(intent: &Intent, changes: &[Change]) -> ReplicaSet {
    let agrees = |change: &Change| matches!(change, Change::Agreed { value: Some(_), .. });
    let ends = ReplicaSet::of(&[intent.replica]);
    match changes.iter().any(agrees) {
        true => ends.with(intent.leaf).with(Replica::SOURCE),
        false => ends,
    }
}

/// Marks a replica and flushes its file system.
fn on_disk(shop: &Shop, replica: Replica, mark: u64) -> Flushed {
    #[cfg(test)]
    if has(Fault::RecoveryNotFlushed) {
        return Flushed::Unmarked;
    }
    shop.site(replica).map_or(Flushed::No, |site| site.flush(mark))
}

/// What an operation is settled by, beside what it is and its store.
pub(super) struct Around<'a> {
    /// The roots that are on this machine.
    pub(super) root: &'a dyn Fn(Replica) -> Option<&'a Root>,
    /// A name for what has to be moved out of the tree.
    pub(super) spare: &'a dyn Fn() -> OpId,
    pub(super) boot: [u8; 16],
    pub(super) ended: &'a Ended,
}

/// Brings one operation to one side or the other; what is to be remembered of that.
pub(super) fn settle(
    around: &Around<'_>,
    (site, store): (&Site, &Store),
    op: OpId,
    intent: &Intent,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    #[cfg(test)]
    if has(Fault::RecoveryRemovesAll) {
        store.remove(op)?;
    }
    let aside = finish_aside(&site.root, store, op, &intent.path)?;
    let staged = content(store, op)?;
    let old = intent.old.and_then(|value| value.digest());
    let new = intent.new.and_then(|value| value.digest());
    let is_ours = match staged {
        Some(found) => {
            Some(found) != old && (Some(found) == new || is_partial(around, store, op, intent)?)
        }
        None => false,
    };
    // Whoever writes to ours since it had the name for a moment goes on in what is kept.
    let is_gone = is_ours && store.remove_unless_written(op)?;
    if let Some(found) = staged.filter(|_| !is_gone) {
        let value = match intent.old {
            Some(old) if old.digest() == Some(found) => old,
            _ => as_found(store, op, found)?,
        };
        let why = if intent.kind == IntentKind::Delete { "deleted" } else { "recovered" };
        keep(op, intent, value, why, changes);
    }
    if store.dir().stat(&op.name())?.is_none() {
        // What was displaced may have been noted as kept, and then not have been on disk when the power went.
        changes.push(Change::Purged { op: op.0, path: intent.path.clone() });
    }
    if intent.kind == IntentKind::Delete && staged.is_some() && !present(&site.root, &intent.path)?
    {
        changes.push(Change::Agreed { leaf: intent.leaf, path: intent.path.clone(), value: None });
    }
    if intent.kind == IntentKind::Put {
        if intent.boot == around.boot {
            let swapped = staged.is_some() && staged == old && old != new;
            let swapped = swapped && aside != Aside::Taken;
            let swapped = swapped && !is_untouched(site, intent)?;
            acknowledge(around, site, intent, swapped, changes)?;
        } else {
            #[cfg(test)]
            if has(Fault::TornAccepted) {
                return Ok(());
            }
            if aside == Aside::Replaced && !present(&site.root, &intent.path)? {
                forget(intent, changes);
            }
            retract(around, site, store, intent, changes)?;
        }
    }
    Ok(())
}

/// A put that had reached its place before the process died: the source held what was announced when it was read, and
/// the leaf holds it now, so it is agreed. Without this an edit made since would meet our own copy as a conflict.
///
/// A file that was announced unread is told by size, mode and mtime, to the nanosecond, and by the bytes it was copied from
/// where they are still there: whoever wrote as many bytes since, and put the mtime back, is found by them. Where they
/// are not there, what was changed after the daemon had ended is nobody's copy.
/// `swapped`: what was to be replaced lies where the new content was staged, so that had the name, whatever has it now.
fn acknowledge(
    around: &Around<'_>,
    site: &Site,
    intent: &Intent,
    swapped: bool,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let Some(new) = intent.new else { return Ok(()) };
    let Ok((dir, name)) = site.root.open_parent(&intent.path) else { return Ok(()) };
    let placed = placed(&dir, name.as_bytes(), new)?;
    if let Some(found) = placed.and_then(|value| value.digest())
        && new.digest().is_none()
    {
        let is_copy = match as_announced(around, intent)? {
            Some(source) => source == found,
            None => !around.ended.is_before(site, intent, &dir, name.as_bytes())?,
        };
        if !is_copy {
            return Ok(());
        }
    }
    let gone = (swapped && new.digest().is_some()).then_some(new);
    let Some(value) = placed.or(gone) else { return Ok(()) };
    let (leaf, path) = (intent.leaf, intent.path.clone());
    changes.push(Change::Agreed { leaf, path, value: Some(value) });
    Ok(())
}

/// When the daemon last changed each store, by slot: what has a name from there had it by then.
/// Tells nothing after a power loss: that puts the times of directories back, and a torn file would pass for changed since.
pub(super) struct Ended(Vec<Option<i64>>);

impl Ended {
    /// To be asked before anything in a store is settled.
    fn of(shop: &Shop) -> Self {
        let changed = |site: &Option<Site>| changed_at(site.as_ref()?);
        Self(shop.sites.iter().map(changed).collect())
    }

    /// The same, of one replica's store alone.
    pub(super) fn of_one(replica: Replica, site: &Site) -> Self {
        let mut all = vec![None; usize::from(replica.slot()) + 1];
        all[usize::from(replica.slot())] = changed_at(site);
        Self(all)
    }

    /// Whether a file was changed after it can have been placed: the rename that did it stamped the store, the directory
    /// and the file.
    fn is_before(&self, site: &Site, intent: &Intent, dir: &Dir, name: &[u8]) -> io::Result<bool> {
        let Some(&Some(store)) = self.0.get(usize::from(intent.replica.slot())) else {
            return Ok(false);
        };
        let placed = dir.fstat()?.mtime_ns.min(store);
        let changed = dir.stat(name)?.map_or(placed, |stat| stat.ctime_ns);
        Ok(changed.saturating_sub(placed) > site.root.caps().rename_grain_ns)
    }
}

/// When a store was last changed.
fn changed_at(site: &Site) -> Option<i64> {
    Some(site.store.as_ref().ok()?.dir().fstat().ok()?.mtime_ns)
}

/// Whether what was to be replaced still has its name, times and bytes: then what was staged is no more than a copy that
/// has the same.
fn is_untouched(site: &Site, intent: &Intent) -> io::Result<bool> {
    let Some(old) = intent.old else { return Ok(false) };
    let Ok((dir, name)) = site.root.open_parent(&intent.path) else { return Ok(false) };
    Ok(placed(&dir, name.as_bytes(), old)?.is_some())
}

/// What has this name, if it is what was announced.
fn placed(dir: &Dir, name: &[u8], new: Value) -> io::Result<Option<Value>> {
    let Some(stat) = dir.stat(name)? else { return Ok(None) };
    match (stat.kind, new) {
        (Kind::File, Value::File(file)) => {
            if (stat.size, stat.mtime_ns, stat.mode) != (file.size, file.mtime, file.mode) {
                return Ok(None);
            }
            let found = digest_of(&mut dir.open_read(name)?, &Control::default())?;
            let found = found.filter(|f| file.content.digest().is_none_or(|known| known == *f));
            Ok(found.map(|found| Value::File(File { content: Content::known(found), ..file })))
        }
        (Kind::Symlink, Value::Symlink { target, .. }) => {
            Ok((target_digest(&dir.readlink(name)?) == target).then_some(new))
        }
        _ => Ok(None),
    }
}

fn keep(op: OpId, intent: &Intent, value: Value, why: &str, changes: &mut Vec<Change>) {
    let (path, replica, when_ms) = (intent.path.clone(), intent.replica, now_ms());
    let kept = Kept { path: path.clone(), replica, when_ms, value, why: why.to_owned() };
    changes.push(Change::Kept { op: op.0, kept });
    let line = LogRecord {
        when_ms,
        act: "recover".to_owned(),
        replica,
        path,
        old: value.digest(),
        new: None,
        note: "found after the daemon ended in the middle of a change".to_owned(),
    };
    changes.push(Change::Log(line));
}

/// The digest of what lies under an operation's name.
fn content(store: &Store, op: OpId) -> io::Result<Option<Digest>> {
    match store.dir().stat(&op.name())?.map(|stat| stat.kind) {
        None => Ok(None),
        Some(Kind::Symlink) => Ok(Some(target_digest(&store.dir().readlink(&op.name())?))),
        Some(_) => digest_of(&mut store.dir().open_read(&op.name())?, &Control::default()),
    }
}

fn as_found(store: &Store, op: OpId, digest: Digest) -> io::Result<Value> {
    let stat = store.dir().stat(&op.name())?.ok_or(io::ErrorKind::NotFound)?;
    Ok(crate::sinks::apply::value_of(&stat, Content::known(digest)))
}

/// Whether a staged file is no more than the beginning of what its source still has.
fn is_partial(around: &Around<'_>, store: &Store, op: OpId, intent: &Intent) -> io::Result<bool> {
    if intent.kind != IntentKind::Put {
        return Ok(false);
    }
    let Some(mut source) = open_source(around, intent) else { return Ok(false) };
    is_prefix(&mut store.dir().open_read(&op.name())?, &mut source)
}

fn is_prefix(part: &mut sys::File, whole: &mut sys::File) -> io::Result<bool> {
    let mut left = sys::fstat(&*part)?.size;
    if left > sys::fstat(&*whole)?.size {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    while left > 0 {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(a.len());
        part.read_exact(&mut a[..take])?;
        whole.read_exact(&mut b[..take])?;
        if a[..take] != b[..take] {
            return Ok(false);
        }
        left -= take as u64;
    }
    Ok(true)
}

/// Whether this is what was there before, of which nobody knew the content.
fn is_unread(old: Option<Value>, stat: &Stat) -> bool {
    let Some(Value::File(old)) = old else { return false };
    old.content.digest().is_none() && (old.size, old.mtime) == (stat.size, stat.mtime_ns)
}

/// The content of the file that a put was copied from, if it has not changed since it was announced.
fn as_announced(around: &Around<'_>, intent: &Intent) -> io::Result<Option<Digest>> {
    let (Some(mut source), Some(Value::File(new))) = (open_source(around, intent), intent.new)
    else {
        return Ok(None);
    };
    let stat = sys::fstat(&source)?;
    if (stat.size, stat.mtime_ns) != (new.size, new.mtime) {
        return Ok(None);
    }
    digest_of(&mut source, &Control::default())
}

/// The content of the file that a put was copied from, as it is now.
fn of_source(around: &Around<'_>, intent: &Intent) -> io::Result<Option<Digest>> {
    match open_source(around, intent) {
        Some(mut source) => digest_of(&mut source, &Control::default()),
        None => Ok(None),
    }
}

fn open_source(around: &Around<'_>, intent: &Intent) -> Option<sys::File> {
    let (dir, name) = (around.root)(other_end(intent))?.open_parent(&intent.path).ok()?;
    dir.open_read(name.as_bytes()).ok()
}

/// After a power loss a new name may have appeared without its bytes: what is neither the old nor the announced
/// content is moved out of the tree and kept, so that it is never read as an edit.
fn retract(
    around: &Around<'_>,
    site: &Site,
    store: &Store,
    intent: &Intent,
    changes: &mut Vec<Change>,
) -> io::Result<()> {
    let (dir, name) = match site.root.open_parent(&intent.path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(stat) = dir.stat(name.as_bytes())? else { return Ok(()) };
    if stat.kind != Kind::File {
        return Ok(());
    }
    // Names become durable after the times given before them: what has another time was written since, by somebody else.
    let announced =
        intent.new.and_then(|new| if let Value::File(new) = new { Some(new.mtime) } else { None });
    let grain = site.root.caps().mtime_grain_ns.unsigned_abs();
    if announced.is_some_and(|mtime| stat.mtime_ns.abs_diff(mtime) >= grain) {
        return Ok(());
    }
    let found = digest_of(&mut dir.open_read(name.as_bytes())?, &Control::default())?;
    let Some(found) = found else { return Ok(()) };
    let known = [intent.old, intent.new].into_iter().flatten().filter_map(|v| v.digest());
    let Some(Value::File(new)) = intent.new else { return Ok(()) };
    let is_known = known.into_iter().any(|digest| digest == found);
    if is_known || is_unread(intent.old, &stat) {
        return Ok(());
    }
    // What was announced unread is told by what it was copied from. If that is gone by now, it is copied anew, or kept.
    if new.content.digest().is_none() && of_source(around, intent)? == Some(found) {
        return Ok(());
    }
    let op = (around.spare)();
    dir.rename_to_own(name.as_bytes(), store.dir(), &op.name())?;
    let value = as_found(store, op, found)?;
    keep(op, intent, value, "unconfirmed", changes);
    forget(intent, changes);
    Ok(())
}

/// What we took away ourselves is no user's delete, whatever was agreed before.
fn forget(intent: &Intent, changes: &mut Vec<Change>) {
    let at_source = intent.replica.is_source();
    let leaves = (1..=LEAVES_MAX).filter_map(Replica::leaf);
    let agreed = leaves.filter(|leaf| at_source || *leaf == intent.leaf);
    let path = &intent.path;
    changes.extend(agreed.map(|leaf| Change::Agreed { leaf, path: path.clone(), value: None }));
}
