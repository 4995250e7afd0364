//! The tables of a sync's store, and how one change is written.

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::record::{self, Intent, Kept, LogRecord};
use super::{Change, JournalError};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

/// Replica slot, directory, name.
type InReplica = (u8, &'static [u8], &'static [u8]);

/// (leaf, directory, name) → value: a directory's children are one range.
pub(super) const AGREED: TableDefinition<'_, InReplica, &[u8]> = TableDefinition::new("agreed");
/// (directory, name) → up to 16 digests, oldest first.
pub(super) const PAST: TableDefinition<'_, (&[u8], &[u8]), &[u8]> = TableDefinition::new("past");
/// (replica, directory, name) → the value that gives way.
pub(super) const YIELDS: TableDefinition<'_, InReplica, &[u8]> = TableDefinition::new("yields");
pub(super) const INTENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("intents");
/// (path, operation) → a displaced version.
pub(super) const KEPT: TableDefinition<'_, (&[u8], u64), &[u8]> = TableDefinition::new("kept");
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// How many contents of a path's past are remembered.
pub(super) const PAST_MAX: usize = 16;
/// How many lines the log holds, and how many go at once when it is full.
const LOG_MAX: u64 = 1_000_000;
const LOG_PURGE: u64 = 1_000;

fn halves(path: &RelPath) -> (RelPath, Vec<u8>) {
    match path.split() {
        Some((dir, name)) => (dir, name.as_bytes().to_vec()),
        None => (RelPath::root(), Vec::new()),
    }
}

/// Makes the tables, so that readers never meet a missing one.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), JournalError> {
    txn.open_table(AGREED)?;
    txn.open_table(PAST)?;
    txn.open_table(YIELDS)?;
    txn.open_table(INTENTS)?;
    txn.open_table(KEPT)?;
    txn.open_table(LOG)?;
    txn.open_table(META)?;
    Ok(())
}

/// Writes changes into a transaction; each table is opened once.
pub(super) fn write(txn: &WriteTransaction, changes: &[Change]) -> Result<(), JournalError> {
    let mut agreed = txn.open_table(AGREED)?;
    let mut past = txn.open_table(PAST)?;
    let mut yields = txn.open_table(YIELDS)?;
    let mut intents = txn.open_table(INTENTS)?;
    let mut kept = txn.open_table(KEPT)?;
    let mut log = txn.open_table(LOG)?;
    let mut meta = txn.open_table(META)?;
    for change in changes {
        match change {
            Change::Agreed { leaf, path, value } => {
                let (dir, name) = halves(path);
                let key = (leaf.slot(), dir.as_bytes(), &name[..]);
                match value.as_ref().and_then(record::encode_value) {
                    Some(bytes) => drop(agreed.insert(key, &bytes[..])?),
                    None => drop(agreed.remove(key)?),
                }
            }
            Change::Past { path, digest } => {
                let (dir, name) = halves(path);
                let key = (dir.as_bytes(), &name[..]);
                let mut digests = past.get(key)?.map_or_else(Vec::new, |v| v.value().to_vec());
                if !digests.chunks(32).any(|d| d == digest.0) {
                    digests.extend_from_slice(&digest.0);
                }
                let surplus = digests.len().saturating_sub(PAST_MAX * 32);
                past.insert(key, &digests[surplus..])?;
            }
            Change::NoPast { path } => {
                let (dir, name) = halves(path);
                past.remove((dir.as_bytes(), &name[..]))?;
            }
            Change::Yields { replica, path, value } => {
                let (dir, name) = halves(path);
                let key = (replica.slot(), dir.as_bytes(), &name[..]);
                match value.as_ref().and_then(record::encode_value) {
                    Some(bytes) => drop(yields.insert(key, &bytes[..])?),
                    None => drop(yields.remove(key)?),
                }
            }
            Change::Intent { op, intent } => {
                intents.insert(op, &record::encode(intent)[..])?;
            }
            Change::IntentDone { op } => drop(intents.remove(op)?),
            Change::Kept { op, kept: row } => {
                kept.insert((row.path.as_bytes(), *op), &record::encode(row)[..])?;
            }
            Change::Purged { op, path } => drop(kept.remove((path.as_bytes(), *op))?),
            Change::Log(line) => append(&mut log, line)?,
            Change::Meta { key, value } => drop(meta.insert(*key, &value[..])?),
            Change::Disagree(replica) | Change::DropReplica(replica) => {
                let slot = replica.slot();
                let range = (slot, &[][..], &[][..])..(slot + 1, &[][..], &[][..]);
                agreed.retain_in(range.clone(), |_, _| false)?;
                yields.retain_in(range, |_, _| false)?;
                if let Change::DropReplica(_) = change {
                    meta.remove(&*reached_key(*replica))?;
                    estrange(&mut intents, *replica)?;
                }
            }
            Change::DropPast => past.retain(|_, _| false)?,
            Change::Reached { replica, mark } => {
                let key = reached_key(*replica);
                let last = meta.get(&*key)?.and_then(|last| last.value().try_into().ok());
                if last.is_none_or(|last| u64::from_le_bytes(last) < *mark) {
                    meta.insert(&*key, &mark.to_le_bytes()[..])?;
                }
            }
        }
    }
    Ok(())
}

/// What was announced for a leaf that is gone is settled as after a power loss: nothing is agreed by it with whoever gets
/// its slot.
fn estrange(
    intents: &mut Table<'_, u64, &'static [u8]>,
    leaf: Replica,
) -> Result<(), JournalError> {
    let mut strange = Vec::new();
    for row in intents.iter()? {
        let (op, bytes) = row?;
        let intent = intent(bytes.value())?;
        if intent.leaf == leaf {
            strange.push((op.value(), Intent { boot: [0; 16], ..intent }));
        }
    }
    for (op, intent) in strange {
        intents.insert(op, &record::encode(&intent)[..])?;
    }
    Ok(())
}

/// Where in [`META`] it is how far a replica has come.
pub(super) fn reached_key(replica: Replica) -> String {
    format!("reached-{}", replica.slot())
}

fn append(log: &mut Table<'_, u64, &[u8]>, line: &LogRecord) -> Result<(), JournalError> {
    let first = log.first()?.map_or(0, |(seq, _)| seq.value());
    let next = log.last()?.map_or(0, |(seq, _)| seq.value() + 1);
    log.insert(next, &record::encode(line)[..])?;
    if next - first >= LOG_MAX + LOG_PURGE {
        log.retain_in(first..first + LOG_PURGE, |_, _| false)?;
    }
    Ok(())
}

/// A stored intent or kept row, decoded.
pub(super) fn intent(bytes: &[u8]) -> Result<Intent, JournalError> {
    Ok(record::decode(bytes)?)
}

pub(super) fn kept(bytes: &[u8]) -> Result<Kept, JournalError> {
    Ok(record::decode(bytes)?)
}
