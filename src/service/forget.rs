//! `forget`: a sync, or a leaf of one, is nobody's any more.
//!
//! Holds: no file of a replica is touched; what says on a host that a replica is this daemon's goes with the last sync that has
//! it there.

use std::path::PathBuf;
use std::time::Duration;

use crate::dataflow::model::replica::Replica;
use crate::service::target::{cannot, usage};
use crate::service::{Daemon, Entry};
use crate::sinks::journal::Change;
use crate::sinks::journal::registry::SyncRecord;
use crate::sources::control::wire::Failure;

/// How long an agent may take to put a replica away.
const PUT_AWAY_MAX: Duration = Duration::from_secs(5);

impl Daemon {
    /// Returns what stays on hosts that are not reached.
    pub(crate) fn forget(&self, sync: &str, leaf: Option<&str>) -> Result<Vec<String>, Failure> {
        let name = self.name_of(sync)?;
        let Some(leaf) = leaf else {
            let left = self.put_away(&name, None);
            self.take_down(&name);
            self.registry.remove(&name).map_err(|error| cannot(error.to_string(), None))?;
            let store = self.shared.stores.join(format!("{name}.redb"));
            return match std::fs::remove_file(&store) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(cannot(format!("cannot remove {}: {error}", store.display()), None))
                }
                _ => Ok(left),
            };
        };
        let handle = self.running(&name)?;
        let mut record = handle.record();
        let replica = record.by_name(leaf).map(|r| r.replica);
        let Some(replica) = replica.filter(|r| !r.is_source()) else {
            return Err(cannot(format!("the sync {name} has no leaf called {leaf}"), None));
        };
        if record.leaves().iter().count() == 1 {
            return Err(usage(
                format!("{leaf} is the last leaf of {name}"),
                Some("`yeet forget NAME` forgets the whole sync"),
            ));
        }
        record.replicas.retain(|r| r.replica != replica);
        record.hosts.retain(|(of, _)| *of != replica);
        let forgotten = handle.ask(move |actor| match &actor.shop.journal {
            Some(journal) => journal.commit(vec![Change::DropReplica(replica)]),
            None => Ok(()),
        });
        drop(handle);
        if let Some(Err(error)) = forgotten {
            return Err(cannot(error.to_string(), None));
        }
        let left = self.put_away(&name, Some(replica));
        self.restart(&name, record).map(|()| left)
    }

    /// Has agents take down what says that replicas are this daemon's, but where another sync has them too; of one replica,
    /// or of all. Returns what stays, in words.
    fn put_away(&self, name: &str, only: Option<Replica>) -> Vec<String> {
        let Ok(handle) = self.running(name) else { return Vec::new() };
        let record = handle.record();
        let records: Vec<SyncRecord> = self.syncs().values().map(Entry::record).collect();
        let others = records.iter().filter(|other| other.name != name);
        let taken: Vec<_> =
            others.flat_map(|other| other.hosts.iter().map(|host| place(other, host))).collect();
        let mut left = Vec::new();
        for far in record.hosts.iter().filter(|(replica, _)| only.is_none_or(|it| it == *replica)) {
            let (host, path) = place(&record, far);
            if taken.contains(&(host.clone(), path.clone())) {
                continue;
            }
            let replica = far.0;
            let put_away = handle.ask(move |actor| actor.sources.put_away(replica)).flatten();
            if !put_away.is_some_and(|put_away| put_away(PUT_AWAY_MAX)) {
                let path = path.display();
                left.push(format!("{host} is not reached: {path}/.yeet/daemon stays there"));
            }
        }
        left
    }
}

/// Where a replica is that a record says is on a host.
fn place(record: &SyncRecord, (replica, host): &(Replica, String)) -> (String, PathBuf) {
    let path = record.replica(*replica).map(|replica| replica.path.clone());
    (host.clone(), path.unwrap_or_default())
}
