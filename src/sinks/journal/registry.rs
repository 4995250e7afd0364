//! The syncs this user has: the one store that all syncs share.
//!
//! Holds: a sync's name is unique; a leaf's slot is not given to another leaf while the sync lives.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::record;
use super::{CACHE_BYTES, JournalError};
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::sys::Identity;

const SYNCS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("syncs-1");

/// A replica of a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    pub replica: Replica,
    pub name: String,
    pub path: PathBuf,
    pub identity: Identity,
}

/// A sync as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    pub name: String,
    pub mode: Mode,
    pub ignore: Vec<String>,
    pub ignore_vcs: bool,
    /// Displaced versions younger than this are kept, in seconds.
    pub keep_age_s: u64,
    /// Displaced versions are purged, oldest first, above this many bytes a replica.
    pub keep_size: u64,
    pub paused: bool,
    /// The source first, then the leaves by slot.
    pub replicas: Vec<ReplicaRecord>,
    /// Slots that were in use once.
    pub used: ReplicaSet,
    /// Replicas whose mass delete is held: the latch of the brake.
    pub held: ReplicaSet,
}

impl SyncRecord {
    /// A two-way sync of these directories, the source first, under their last names.
    #[cfg(test)]
    #[must_use]
    pub fn of_roots(roots: &[PathBuf]) -> Self {
        let replica = |(slot, path): (usize, &PathBuf)| ReplicaRecord {
            replica: u8::try_from(slot).ok().and_then(Replica::leaf).unwrap_or(Replica::SOURCE),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.clone(),
            identity: Identity::default(),
        };
        let mut record = Self {
            name: "s".to_owned(),
            mode: Mode::TwoWay,
            ignore: Vec::new(),
            ignore_vcs: false,
            keep_age_s: u64::MAX,
            keep_size: u64::MAX,
            paused: false,
            replicas: roots.iter().enumerate().map(replica).collect(),
            used: ReplicaSet::EMPTY,
            held: ReplicaSet::EMPTY,
        };
        record.used = record.leaves();
        record
    }

    #[must_use]
    pub fn leaves(&self) -> ReplicaSet {
        let leaves: Vec<Replica> =
            self.replicas.iter().map(|r| r.replica).filter(|r| !r.is_source()).collect();
        ReplicaSet::of(&leaves)
    }

    #[must_use]
    pub fn replica(&self, replica: Replica) -> Option<&ReplicaRecord> {
        self.replicas.iter().find(|r| r.replica == replica)
    }

    /// The name a replica goes by; `-` for one that has left.
    #[must_use]
    pub fn replica_name(&self, replica: Replica) -> &str {
        self.replica(replica).map_or("-", |r| &r.name)
    }

    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&ReplicaRecord> {
        self.replicas.iter().find(|r| r.name == name)
    }

    /// A slot no leaf has or had.
    #[must_use]
    pub fn free_slot(&self) -> Option<Replica> {
        (1..=31).filter_map(Replica::leaf).find(|leaf| !self.used.contains(*leaf))
    }
}

/// The store of all syncs.
pub struct Registry {
    database: Database,
}

impl Registry {
    /// Opens or makes the registry at `path`.
    ///
    /// # Errors
    /// It is locked by another daemon or cannot be read.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let wrap = |source: redb::Error| JournalError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(|error| wrap(error.into()))?;
        let txn = database.begin_write()?;
        txn.open_table(SYNCS)?;
        txn.commit()?;
        Ok(Self { database })
    }

    /// All syncs by name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn all(&self) -> Result<Vec<SyncRecord>, JournalError> {
        let txn = self.database.begin_read()?;
        let table = txn.open_table(SYNCS)?;
        table.iter()?.map(|row| Ok(record::decode(row?.1.value())?)).collect()
    }

    /// Remembers a sync, durably.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put(&self, sync: &SyncRecord) -> Result<(), JournalError> {
        let txn = self.database.begin_write()?;
        txn.open_table(SYNCS)?.insert(&sync.name[..], &record::encode(sync)[..])?;
        Ok(txn.commit()?)
    }

    /// Forgets a sync.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), JournalError> {
        let txn = self.database.begin_write()?;
        txn.open_table(SYNCS)?.remove(name)?;
        Ok(txn.commit()?)
    }
}
