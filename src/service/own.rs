//! Answers about the daemon itself and its ways to hosts.

use crate::service::Daemon;
use crate::service::answer::{Answer, gone};
use crate::sources::control::socket::Replies;
use crate::sources::control::wire::{Outcome, Reply};

impl Daemon {
    pub(super) fn daemon_status(&self, replies: &Replies) -> Answer {
        let syncs = self.syncs().len() as u64;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let pid = std::process::id();
        let reply = Reply::Daemon { pid, version, syncs, started_ms: self.started_ms };
        replies.send(&reply).map_err(gone)?;
        Ok(Outcome::Well)
    }

    pub(super) fn ways(&self, host: &str, replies: &Replies) -> Answer {
        let ways = self.shared.hosts.ways(host);
        ways.into_iter().try_for_each(|way| replies.send(&Reply::Way(way))).map_err(gone)?;
        Ok(Outcome::Well)
    }

    pub(super) fn new_ways(&self, host: &str) -> Answer {
        self.shared.hosts.read_again(host);
        Ok(Outcome::Well)
    }
}
