//! The journal of a sync: what was agreed, announced, kept and done, on disk.
//!
//! One `redb` file a sync, written by one thread that commits all that is queued at once. Holds: a change counts only
//! after its commit; a store that cannot be read is set aside, never deleted, and costs time and perhaps conflicts,
//! never bytes (INV-5). Why `redb`: `docs/design/0003-redb.md`.

#![allow(clippy::disallowed_methods, reason = "io shell")]

#[cfg(test)]
pub(crate) mod memory;
pub mod purge;
pub mod record;
pub mod registry;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Digest, Value};
use record::{BadRecord, Intent, Kept, LogRecord};

/// Changes that may wait for the journal thread, in batches.
const QUEUE_BATCHES: usize = 1024;
/// Memory redb may use for pages of one store, in bytes.
const CACHE_BYTES: usize = 8 << 20;
/// The format this build writes.
const FORMAT: u32 = 1;

/// One durable change.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Agreed {
        leaf: Replica,
        path: RelPath,
        value: Option<Value>,
    },
    Past {
        path: RelPath,
        digest: Digest,
    },
    /// Nobody has it any more, and what the source once had there is forgotten.
    NoPast {
        path: RelPath,
    },
    Yields {
        replica: Replica,
        path: RelPath,
        value: Option<Value>,
    },
    Intent {
        op: u64,
        intent: Intent,
    },
    IntentDone {
        op: u64,
    },
    Kept {
        op: u64,
        kept: Kept,
    },
    Purged {
        op: u64,
        path: RelPath,
    },
    Log(LogRecord),
    Meta {
        key: &'static str,
        value: Vec<u8>,
    },
    /// A replica has this mark on disk, and all that is agreed by then.
    Reached {
        replica: Replica,
        mark: u64,
    },
    /// A replica left the sync: nothing is agreed with it, and it has no mark.
    DropReplica(Replica),
    /// Nothing is agreed with a replica any more; its mark stays until it is greater.
    Disagree(Replica),
    /// What the source once had is forgotten.
    DropPast,
}

impl Change {
    /// An agreement, to be remembered; `None` for any other fact.
    #[must_use]
    pub fn agreement(fact: &Fact) -> Option<Self> {
        let Fact::Agreed { leaf, path, value } = fact else { return None };
        Some(Self::Agreed { leaf: *leaf, path: path.clone(), value: *value })
    }
}

/// Why the journal cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the state store {path}: {source}")]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error(
        "the state store {path} has format {found}, written by a newer yeet; this one knows {FORMAT}"
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("the state store cannot be read or written: {0}")]
    Store(Box<redb::Error>),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("the journal's thread has ended")]
    Closed,
    /// A commit failed for all that waited for it.
    #[error("{0}")]
    Commit(Arc<Self>),
}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

/// Called on the journal's thread once the commit is durable, or has failed.
pub type Ack = Box<dyn FnOnce(Result<(), Arc<JournalError>>) + Send>;

struct Batch {
    changes: Vec<Change>,
    ack: Option<Ack>,
}

/// An open journal. Dropping it writes what is queued and ends its thread.
pub struct Journal {
    database: Arc<Shelf>,
    queue: Option<Sender<Batch>>,
    thread: Option<JoinHandle<()>>,
}

/// A log line with its number.
pub type Numbered = (u64, LogRecord);

impl Journal {
    /// Opens or makes the store at `path`.
    ///
    /// # Errors
    /// It is locked by another process, of a newer format, or not readable as a store.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let wrap = |source: redb::Error| JournalError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let mut database = create(path).map_err(wrap)?;
        // A file that was closed cleanly is believed by redb: damage since then shows here or never. What it can mend,
        // as after a kill, it mends by going back to the last whole commit.
        let _mended: bool = database.check_integrity().map_err(|error| wrap(error.into()))?;
        let txn = database.begin_write().map_err(|error| wrap(error.into()))?;
        tables::create(&txn)?;
        {
            let mut meta = txn.open_table(tables::META)?;
            let found = meta.get("format")?.map(|v| v.value().to_vec());
            match found.as_deref().map(|v| u32::from_le_bytes(v.try_into().unwrap_or([255; 4]))) {
                Some(FORMAT) => {}
                Some(found) => {
                    return Err(JournalError::Newer { path: path.to_owned(), found });
                }
                None => drop(meta.insert("format", &FORMAT.to_le_bytes()[..])?),
            }
        }
        txn.commit()?;
        let shelf = Shelf { path: path.to_owned(), open: RwLock::new(Some(Arc::new(database))) };
        let database = Arc::new(shelf);
        #[cfg(test)]
        if memory::is_simulated(path) {
            return Ok(Self { database, queue: None, thread: None });
        }
        let (queue, batches) = crossbeam_channel::bounded(QUEUE_BATCHES);
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn({
                let database = Arc::clone(&database);
                move || commit_all(&database, &batches)
            })
            .map_err(|error| wrap(redb::Error::Io(error)))?;
        Ok(Self { database, queue: Some(queue), thread: Some(thread) })
    }

    /// Opens the store; one that cannot be read is renamed to `<name>.corrupt-<n>` and a fresh one made.
    ///
    /// Returns the journal and, if a store was set aside, a sentence for the user.
    ///
    /// # Errors
    /// The store is locked or newer, or no fresh one can be made.
    pub fn open_or_set_aside(path: &Path) -> Result<(Self, Option<String>), JournalError> {
        let empty = path.metadata().is_ok_and(|meta| meta.len() == 0);
        let opened = std::panic::catch_unwind(|| {
            if empty { Err(BadRecord.into()) } else { Self::open(path).and_then(Self::checked) }
        });
        let error = match opened {
            Ok(Ok(journal)) => return Ok((journal, None)),
            Ok(Err(error)) => error,
            Err(_) => JournalError::Record(BadRecord),
        };
        let busy = match &error {
            JournalError::Newer { .. } => true,
            JournalError::Open { source, .. } => {
                matches!(**source, redb::Error::DatabaseAlreadyOpen)
                    || matches!(&**source, redb::Error::Io(e) if e.kind() != std::io::ErrorKind::InvalidData && e.kind() != std::io::ErrorKind::UnexpectedEof)
            }
            JournalError::Store(_)
            | JournalError::Record(_)
            | JournalError::Commit(_)
            | JournalError::Closed => false,
        };
        if busy {
            return Err(error);
        }
        let aside = (0..)
            .map(|n| path.with_extension(format!("redb.corrupt-{n}")))
            .find(|aside| !aside.exists())
            .expect("there are more numbers than files");
        set_aside(path, &aside).map_err(|error| JournalError::Open {
            path: path.to_owned(),
            source: Box::new(redb::Error::Io(error)),
        })?;
        let notice = format!(
            "the state store {} was damaged ({error}); it was set aside as {} and a fresh one was \
             started: files that differ may show up as conflicts, no file is lost",
            path.display(),
            aside.display()
        );
        Ok((Self::open(path)?, Some(notice)))
    }

    /// Reads a little of everything, so that damage shows before the store is trusted.
    fn checked(self) -> Result<Self, JournalError> {
        self.intents()?;
        self.log(&LogFilter::default(), 1)?;
        let txn = self.database.begin_read()?;
        for row in txn.open_table(tables::AGREED)?.iter()?.take(64) {
            record::decode_value(row?.1.value())?;
        }
        Ok(self)
    }

    /// Queues changes; `ack` runs once they are durable.
    pub fn submit(&self, changes: Vec<Change>, ack: Option<Ack>) {
        let Some(queue) = &self.queue else {
            // One that has no thread, as on a simulated machine.
            #[cfg(test)]
            let changes = super::faulty::changes(changes);
            return commit_batches(&self.database, vec![Batch { changes, ack }]);
        };
        if let Err(refused) = queue.send(Batch { changes, ack })
            && let Some(ack) = refused.0.ack
        {
            ack(Err(Arc::new(JournalError::Closed)));
        }
    }

    /// Writes changes and waits until they are durable.
    ///
    /// # Errors
    /// They are not.
    pub fn commit(&self, changes: Vec<Change>) -> Result<(), Arc<JournalError>> {
        if changes.is_empty() {
            return Ok(());
        }
        let (tell, told) = crossbeam_channel::bounded(1);
        self.submit(changes, Some(Box::new(move |result| drop(tell.send(result)))));
        told.recv().unwrap_or_else(|_| Err(Arc::new(JournalError::Closed)))
    }

    /// Waits until everything submitted before is durable.
    ///
    /// # Errors
    /// It is not.
    pub fn barrier(&self) -> Result<(), Arc<JournalError>> {
        let (tell, told) = crossbeam_channel::bounded(1);
        self.submit(Vec::new(), Some(Box::new(move |result| drop(tell.send(result)))));
        told.recv().unwrap_or_else(|_| Err(Arc::new(JournalError::Closed)))
    }

    /// Everything that is remembered about the children of `dir`, as facts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn facts_in(&self, dir: &RelPath, replicas: ReplicaSet) -> Result<Vec<Fact>, JournalError> {
        let txn = self.database.begin_read()?;
        let mut facts = Vec::new();
        let dir_bytes = dir.as_bytes();
        // No name is longer than 255 bytes: 256 bytes of 0xff are past all of them.
        let last = [0xff; 256];
        let agreed = txn.open_table(tables::AGREED)?;
        let yields = txn.open_table(tables::YIELDS)?;
        for replica in replicas.iter() {
            let range =
                (replica.slot(), dir_bytes, &[][..])..(replica.slot(), dir_bytes, &last[..]);
            if !replica.is_source() {
                for row in agreed.range(range.clone())? {
                    let (key, value) = row?;
                    let path = dir.join(&name(key.value().2)?);
                    let value = Some(record::decode_value(value.value())?);
                    facts.push(Fact::Agreed { leaf: replica, path, value });
                }
            }
            for row in yields.range(range)? {
                let (key, value) = row?;
                let path = dir.join(&name(key.value().2)?);
                let value = Some(record::decode_value(value.value())?);
                facts.push(Fact::Yields { replica, path, value });
            }
        }
        for row in
            txn.open_table(tables::PAST)?.range((dir_bytes, &[][..])..(dir_bytes, &last[..]))?
        {
            let (key, value) = row?;
            let path = dir.join(&name(key.value().1)?);
            for digest in record::decode_digests(value.value())? {
                facts.push(Fact::Past { path: path.clone(), digest: Digest(*digest) });
            }
        }
        Ok(facts)
    }

    /// How many files are agreed with a leaf, counted no further than `most`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn agreed_files(&self, leaf: Replica, most: u64) -> Result<u64, JournalError> {
        let agreed = self.database.begin_read()?.open_table(tables::AGREED)?;
        let mut files = 0;
        for row in agreed.range((leaf.slot(), &[][..], &[][..])..)? {
            let (key, value) = row?;
            if key.value().0 != leaf.slot() || files >= most {
                break;
            }
            files += u64::from(matches!(record::decode_value(value.value())?, Value::File(_)));
        }
        Ok(files)
    }

    /// Operations that were announced and never finished.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn intents(&self) -> Result<Vec<(u64, Intent)>, JournalError> {
        let txn = self.database.begin_read()?;
        let table = txn.open_table(tables::INTENTS)?;
        table
            .iter()?
            .map(|row| {
                let (op, bytes) = row?;
                Ok((op.value(), tables::intent(bytes.value())?))
            })
            .collect()
    }

    /// Displaced versions of `path`, or of everything below it too, oldest first for each path.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn kept(&self, path: &RelPath) -> Result<Vec<(u64, Kept)>, JournalError> {
        let txn = self.database.begin_read()?;
        let mut rows = Vec::new();
        for row in txn.open_table(tables::KEPT)?.range((path.as_bytes(), 0)..)? {
            let (key, bytes) = row?;
            let (at, op) = key.value();
            if !at.starts_with(path.as_bytes()) {
                break;
            }
            let kept = tables::kept(bytes.value())?;
            if kept.path.is_within(path) {
                rows.push((op, kept));
            }
        }
        Ok(rows)
    }

    /// Lines of the log, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn log(&self, filter: &LogFilter, limit: usize) -> Result<Vec<Numbered>, JournalError> {
        let txn = self.database.begin_read()?;
        let mut lines = Vec::new();
        for row in txn.open_table(tables::LOG)?.range(filter.after..)?.rev() {
            let (seq, bytes) = row?;
            let line: LogRecord = record::decode(bytes.value())?;
            if line.when_ms < filter.since_ms {
                break;
            }
            if filter.takes(&line) {
                lines.push((seq.value(), line));
                if lines.len() >= limit {
                    break;
                }
            }
        }
        Ok(lines)
    }

    /// A value stored under `key`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let txn = self.database.begin_read()?;
        Ok(txn.open_table(tables::META)?.get(key)?.map(|v| v.value().to_vec()))
    }

    /// The greatest mark that a replica had on disk; 0: none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn reached(&self, replica: Replica) -> Result<u64, JournalError> {
        let mark = self.meta(&tables::reached_key(replica))?;
        Ok(mark.and_then(|mark| mark.try_into().ok()).map_or(0, u64::from_le_bytes))
    }

    /// The paths on which something is agreed with a leaf.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn agreed_paths(&self, leaf: Replica) -> Result<Vec<RelPath>, JournalError> {
        let agreed = self.database.begin_read()?.open_table(tables::AGREED)?;
        let (slot, mut paths) = (leaf.slot(), Vec::new());
        for row in agreed.range((slot, &[][..], &[][..])..(slot + 1, &[][..], &[][..]))? {
            let (key, _) = row?;
            let (_, dir, of) = key.value();
            let dir = RelPath::parse(dir).map_err(|_| BadRecord)?;
            paths.push(if of.is_empty() { dir } else { dir.join(&name(of)?) });
        }
        Ok(paths)
    }

    /// How many agreements there are, over all leaves.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn agreed_count(&self) -> Result<u64, JournalError> {
        Ok(self.database.begin_read()?.open_table(tables::AGREED)?.len()?)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Which lines of the log.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// At or below this path.
    pub within: RelPath,
    /// At this path alone.
    pub exactly: bool,
    pub act: Option<String>,
    pub since_ms: u64,
    /// Lines with this number or a later one.
    pub after: u64,
}

impl LogFilter {
    fn takes(&self, line: &LogRecord) -> bool {
        let at =
            if self.exactly { line.path == self.within } else { line.path.is_within(&self.within) };
        at && self.act.as_ref().is_none_or(|act| *act == line.act)
    }
}

/// The open store. After an error of the disk `redb` refuses to go on until it is opened anew.
struct Shelf {
    path: PathBuf,
    open: RwLock<Option<Arc<Database>>>,
}

impl Shelf {
    fn get(&self) -> Result<Arc<Database>, JournalError> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or(JournalError::Closed)
    }

    fn begin_read(&self) -> Result<redb::ReadTransaction, JournalError> {
        Ok(self.get()?.begin_read()?)
    }

    /// Closes the store and opens it again, if nobody reads in it right now.
    fn reopen(&self) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = open.take() else { return };
        match Arc::try_unwrap(database) {
            Ok(database) => {
                drop(database);
                *open = create(&self.path).ok().map(Arc::new);
            }
            Err(busy) => *open = Some(busy),
        }
    }
}

fn create(path: &Path) -> Result<Database, redb::Error> {
    #[cfg(test)]
    if memory::is_simulated(path) {
        return memory::create(path, CACHE_BYTES);
    }
    Ok(Database::builder().set_cache_size(CACHE_BYTES).create(path)?)
}

fn set_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    #[cfg(test)]
    if memory::is_simulated(path) {
        memory::set_aside(path, aside);
        return Ok(());
    }
    std::fs::rename(path, aside)
}

fn name(bytes: &[u8]) -> Result<Name, JournalError> {
    Name::parse(bytes).map_err(|_| BadRecord.into())
}

/// The journal's thread: whatever is queued goes into one transaction.
fn commit_all(database: &Shelf, batches: &Receiver<Batch>) {
    while let Ok(first) = batches.recv() {
        commit_batches(database, std::iter::once(first).chain(batches.try_iter()).collect());
    }
}

fn commit_batches(database: &Shelf, group: Vec<Batch>) {
    let mut result = database.get().and_then(|open| commit_group(&open, &group));
    if result.is_err() {
        database.reopen();
        result = database.get().and_then(|open| commit_group(&open, &group));
    }
    let result = result.map_err(Arc::new);
    for ack in group.into_iter().filter_map(|batch| batch.ack) {
        ack(result.clone());
    }
}

fn commit_group(database: &Database, group: &[Batch]) -> Result<(), JournalError> {
    if group.iter().all(|batch| batch.changes.is_empty()) {
        return Ok(());
    }
    let txn = database.begin_write()?;
    for batch in group {
        tables::write(&txn, &batch.changes)?;
    }
    txn.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
