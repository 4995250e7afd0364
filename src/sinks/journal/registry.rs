//! The syncs this user has: the one store that all syncs share.
//!
//! Holds: a sync's name is unique and names nothing but a file; a leaf's slot is not given to another leaf while the
//! sync lives. What is read back is a sync as `add` makes them, or an error.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::record::{self, BadRecord};
use super::{CACHE_BYTES, JournalError};
use crate::dataflow::model::group::Groups;
use crate::dataflow::model::mode::Mode;
use crate::dataflow::model::path::NAME_BYTES_MAX;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::sys::Identity;

const SYNCS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("syncs-1");

/// A replica of a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaRecord {
    pub replica: Replica,
    pub name: String,
    /// Absolute. Any bytes: `serde` alone writes none that are not UTF-8.
    #[serde(with = "path_bytes")]
    pub path: PathBuf,
    pub identity: Identity,
}

mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(from)?).into())
    }
}

/// Whether a sync may be called so: its name is one of a directory in every root, and of a file of ours.
#[must_use]
pub fn is_sync_name(name: &str) -> bool {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(good)
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
    /// The patterns of files that go together. What was written before there were any ends before it.
    pub groups: Vec<Vec<String>>,
    /// The replicas on other machines, and what was written for these. What was written before there were any ends
    /// before it.
    pub hosts: Vec<(Replica, String)>,
    /// Nothing but SSH connects to these machines. What was written before one could say so ends before it.
    pub ssh_only: bool,
}

impl SyncRecord {
    /// The record in these bytes.
    ///
    /// # Errors
    /// They are none, or one of a sync that could not have been added.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        let sync: Self = record::decode(bytes)
            .or_else(|_| record::decode(&[bytes, &[0]].concat()))
            .or_else(|_| record::decode(&[bytes, &[0, 0]].concat()))
            .or_else(|_| record::decode(&[bytes, &[0, 0, 0]].concat()))?;
        let source_first = sync.replicas.first().is_some_and(|first| first.replica.is_source());
        let once = sync.leaves().iter().count() + 1 == sync.replicas.len();
        let absolute = sync.replicas.iter().all(|replica| replica.path.is_absolute());
        let used = sync.used.contains_all(sync.leaves());
        let good = is_sync_name(&sync.name) && source_first && once && absolute && used;
        let good = good && Groups::parse(&sync.groups).is_ok();
        let is_replica = |of: Replica| sync.replica(of).is_some();
        let hosts = sync.hosts.iter().all(|(of, host)| is_replica(*of) && !host.is_empty());
        let good = good && hosts && sync.hosts.is_sorted_by(|(a, _), (b, _)| a < b);
        if good { Ok(sync) } else { Err(BadRecord) }
    }

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
            groups: Vec::new(),
            hosts: Vec::new(),
            ssh_only: false,
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

    /// What was written for the machine that a replica is on; `None` if it is here.
    #[must_use]
    pub fn host(&self, replica: Replica) -> Option<&str> {
        self.hosts.iter().find(|(of, _)| *of == replica).map(|(_, host)| host.as_str())
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
        table.iter()?.map(|row| Ok(SyncRecord::read(row?.1.value())?)).collect()
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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::dataflow::model::mutated::mutations;

    fn sync() -> SyncRecord {
        SyncRecord::of_roots(&["/home/a".into(), "/home/b".into()])
    }

    fn read_back(sync: &SyncRecord) -> Result<SyncRecord, BadRecord> {
        SyncRecord::read(&record::encode(sync))
    }

    #[test]
    fn whatever_is_almost_a_sync_is_one_or_an_error() {
        let mut sync = sync();
        sync.ignore = vec!["*.o".into()];
        sync.groups = vec![vec!["*.db".into(), "*.db-wal".into()]];
        sync.hosts = vec![(Replica::leaf(1).unwrap(), "me@nas".into())];
        sync.ssh_only = true;
        assert_eq!(read_back(&sync).as_ref(), Ok(&sync));
        for bytes in mutations(&record::encode(&sync)) {
            let Ok(other) = SyncRecord::read(&bytes) else { continue };
            assert!(is_sync_name(&other.name) && !other.name.contains('/'));
            assert!(other.free_slot().is_none_or(|slot| other.replica(slot).is_none()));
            assert_eq!(read_back(&other).as_ref(), Ok(&other));
        }
    }

    #[test]
    fn what_was_written_before_there_were_groups_hosts_or_sockets_is_a_sync_without_any() {
        let sync = sync();
        let bytes = record::encode(&sync);
        assert_eq!(&bytes[bytes.len() - 3..], [0, 0, 0], "no groups, no hosts, any socket");
        for missing in 0..=3 {
            assert_eq!(SyncRecord::read(&bytes[..bytes.len() - missing]), Ok(sync.clone()));
        }
        assert_eq!(SyncRecord::read(&bytes[..bytes.len() - 4]), Err(BadRecord));
        assert_eq!(SyncRecord::read(&[&bytes[..], &[0]].concat()), Err(BadRecord));
    }

    #[test]
    fn a_root_that_is_not_utf_8_is_remembered() {
        let mut sync = sync();
        sync.replicas[1].path = std::ffi::OsString::from_vec(b"/home/\xff\n".to_vec()).into();
        assert_eq!(read_back(&sync), Ok(sync));
    }

    #[test]
    fn a_sync_that_could_not_have_been_added_is_an_error() {
        let spoil: [fn(&mut SyncRecord); 11] = [
            |sync| sync.hosts = vec![(Replica::leaf(7).unwrap(), "nas".into())],
            |sync| sync.hosts = vec![(Replica::SOURCE, String::new())],
            |sync| sync.groups = vec![vec!["a/b".into()]],
            |sync| sync.name = "../x".into(),
            |sync| sync.name = String::new(),
            |sync| sync.name = "a\0".into(),
            |sync| sync.name = "n".repeat(256),
            |sync| sync.replicas.clear(),
            |sync| sync.replicas[1].replica = Replica::SOURCE,
            |sync| sync.replicas[1].path = "b".into(),
            |sync| sync.used = ReplicaSet::EMPTY,
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            let mut sync = sync();
            spoil(&mut sync);
            assert_eq!(read_back(&sync), Err(BadRecord), "the spoilt sync {number}");
        }
    }
}
