//! A directory that stays for what is not synced (R10), and goes when that is gone.
//!
//! Holds: looked at are only remnants of which, or of something below which, anything was said since the last epoch; without
//! remnants an epoch costs nothing here.

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Value;
use crate::dataflow::query::Remains;
use crate::service::actor::Actor;
use crate::sinks::journal::Change;

impl Actor {
    /// There may be less in a directory, or in those above it, than there was.
    pub(crate) fn note_eased(&mut self, path: PathId) {
        if self.engine.has_remnants() {
            self.eased.insert(path);
        }
    }

    /// What stayed for unsynced content that is gone is agreed as the deleted directory it is. Whether anything was.
    pub(crate) fn end_remnants(&mut self) -> bool {
        if self.eased.is_empty() {
            return false;
        }
        let eased: Vec<PathId> = std::mem::take(&mut self.eased).into_iter().collect();
        let ended = self.engine.ended_remnants(&eased);
        for (path, leaf, value) in &ended {
            self.agree_directory(*path, *leaf, *value);
        }
        !ended.is_empty()
    }

    /// Agrees that a directory stays at one side for what is not synced, if nothing else is in it.
    pub(crate) fn leave_remnant(&mut self, path: PathId, leaf: Replica, at: Replica) -> bool {
        let stays = self.engine.remains(path, at) == Remains::Unsynced;
        if stays {
            self.agree_directory(path, leaf, Value::Remnant);
        }
        stays
    }

    fn agree_directory(&mut self, path: PathId, leaf: Replica, value: Value) {
        let path = self.engine.paths().path(path);
        let value = Some(value);
        if let Some(journal) = &self.shop.journal {
            journal.submit(vec![Change::Agreed { leaf, path: path.clone(), value }], None);
        }
        self.engine.observe(&Fact::Agreed { leaf, path, value });
    }
}
