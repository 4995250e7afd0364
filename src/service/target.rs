//! What a request is about: syncs by name, paths by the replica they are in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::Daemon;
use crate::service::start::Handle;
use crate::service::wishes::os;
use crate::sinks::journal::registry::SyncRecord;
use crate::sources::control::wire::{Failure, FailureKind, Target};

/// A sync, and the part of it that is meant.
pub(crate) struct Scope {
    pub(crate) handle: Arc<Handle>,
    pub(crate) path: RelPath,
}

pub(crate) fn cannot(message: impl Into<String>, hint: Option<&str>) -> Failure {
    let hint = hint.map(str::to_owned);
    Failure { kind: FailureKind::Cannot, message: message.into(), hint }
}

pub(crate) fn usage(message: impl Into<String>, hint: Option<&str>) -> Failure {
    Failure { kind: FailureKind::Usage, ..cannot(message, hint) }
}

impl Daemon {
    /// The full name of the sync that `prefix` names.
    pub(crate) fn name_of(&self, prefix: &str) -> Result<String, Failure> {
        let syncs = self.syncs();
        if syncs.contains_key(prefix) {
            return Ok(prefix.to_owned());
        }
        let names: Vec<&String> = syncs.keys().filter(|name| name.starts_with(prefix)).collect();
        match names[..] {
            [name] => Ok(name.clone()),
            [] => Err(cannot(
                format!("there is no sync called {prefix}"),
                Some("`yeet list` names them all"),
            )),
            _ => {
                let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
                Err(usage(format!("{prefix} may be any of {}", names.join(", ")), None))
            }
        }
    }

    /// A running sync by its name or a unique prefix of it.
    pub(crate) fn running(&self, prefix: &str) -> Result<Arc<Handle>, Failure> {
        let name = self.name_of(prefix)?;
        match self.syncs().get(&name) {
            Some(entry) => match entry.running() {
                Ok(handle) => Ok(handle.clone()),
                Err(why) => {
                    let hint = "`yeet resume` starts it again";
                    Err(cannot(format!("the sync {name} does not run: {why}"), Some(hint)))
                }
            },
            None => Err(cannot(format!("there is no sync called {name}"), None)),
        }
    }

    pub(crate) fn all_running(&self) -> Vec<Arc<Handle>> {
        let syncs = self.syncs();
        syncs.values().filter_map(|entry| entry.running().ok().cloned()).collect()
    }

    /// The parts of syncs that a target means.
    pub(crate) fn scopes(&self, target: &Target) -> Result<Vec<Scope>, Failure> {
        let whole = |handle| Scope { handle, path: RelPath::root() };
        match target {
            Target::All => Ok(self.all_running().into_iter().map(whole).collect()),
            Target::Sync(prefix) => Ok(vec![whole(self.running(prefix)?)]),
            Target::In { sync, path } => {
                Ok(vec![Scope { handle: self.running(sync)?, path: path.clone() }])
            }
            Target::Inside { .. } => {
                Err(usage("that is asked from inside a replica on another machine", None))
            }
            Target::Here { dir } => {
                let dir = PathBuf::from(os(dir));
                let here = self.containing(&dir);
                let here = here.into_iter().map(|(handle, _)| whole(handle));
                let here: Vec<Scope> = here.collect();
                if here.is_empty() { self.scopes(&Target::All) } else { Ok(here) }
            }
            Target::Path { sync, path } => {
                let path = PathBuf::from(os(path));
                let only = sync.as_ref().map(|sync| self.name_of(sync)).transpose()?;
                let found = self.containing(&path).into_iter();
                let found = found
                    .filter(|(h, _)| only.as_ref().is_none_or(|only| h.record().name == *only))
                    .map(|(handle, path)| Scope { handle, path });
                let found: Vec<Scope> = found.collect();
                if found.is_empty() {
                    return Err(cannot(
                        format!("{} is in no replica of a sync", path.display()),
                        Some("`yeet list` shows every sync with its directories"),
                    ));
                }
                Ok(found)
            }
        }
    }

    /// The one path that a target means.
    pub(crate) fn place(&self, target: &Target) -> Result<Scope, Failure> {
        let mut scopes = self.scopes(target)?;
        match scopes.len() {
            0 => Err(cannot("there is no sync", Some("`yeet add SOURCE LEAF` makes one"))),
            _ => Ok(scopes.swap_remove(0)),
        }
    }

    /// The syncs that have a replica around `path`, with the path in it.
    fn containing(&self, path: &Path) -> Vec<(Arc<Handle>, RelPath)> {
        let resolved = resolved(path);
        let inside = |handle: Arc<Handle>| {
            let record = handle.record();
            let within = within(&record, path).or_else(|| within(&record, &resolved))?;
            Some((handle, within.1))
        };
        self.all_running().into_iter().filter_map(inside).collect()
    }
}

/// The path with its directory resolved; the last component is not followed.
fn resolved(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    parent.canonicalize().map_or_else(|_| path.to_owned(), |parent| parent.join(name))
}

/// The replica of a sync that a path is in, and the path in it.
pub(crate) fn within(record: &SyncRecord, path: &Path) -> Option<(Replica, RelPath)> {
    use std::os::unix::ffi::OsStrExt;
    let here = record.replicas.iter().filter(|replica| record.host(replica.replica).is_none());
    let inside = here.filter_map(|replica| {
        let rest = path.strip_prefix(&replica.path).ok()?;
        let rest = RelPath::parse(rest.as_os_str().as_bytes()).ok()?;
        Some((replica.path.as_os_str().len(), replica.replica, rest))
    });
    // The innermost root, should they be nested.
    inside.max_by_key(|(len, _, _)| *len).map(|(_, replica, rest)| (replica, rest))
}
