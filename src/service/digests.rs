//! What is known of files on this machine without reading them, as sinks ask for it.

use std::sync::Arc;

use crate::dataflow::model::value::Digest;
use crate::sinks::apply::KnownDigests;
use crate::sources::stat_cache::StatCache;
use crate::sys::Stat;

/// The stat cache as sinks use it.
pub(super) struct Cached {
    pub(super) cache: Arc<StatCache>,
    /// Device and ctime grain of each root.
    pub(super) grains: Vec<(u64, i64)>,
    /// A one-shot copy has no use later for what it reads.
    pub(super) remembers: bool,
    pub(super) are_wanted: bool,
}

impl KnownDigests for Cached {
    fn digest(&self, stat: &Stat) -> Option<Digest> {
        self.cache.lookup(stat)
    }

    fn record(&self, stat: &Stat, digest: Digest, since_ns: i64) {
        if !self.remembers {
            return;
        }
        let grain = self.grains.iter().filter(|(dev, _)| *dev == stat.dev).map(|(_, g)| *g).max();
        self.cache.record(stat, digest, since_ns, grain.unwrap_or(2_000_000_000));
    }

    fn are_wanted(&self) -> bool {
        self.are_wanted
    }
}
