//! Replicas on other machines, as sinks see them: what is sent to an agent and what it sends back.
//!
//! Holds: an act at an agent is the same act, with the same checks, as one here; the two ends of a job are looked at by the
//! machines they are on; what a connection lost on its way counts as not done, and stays announced.

mod errand;
mod orders;
mod sent;
mod serve;
mod together;
pub mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::sinks::apply::ApplyError;
use crate::ssh::link::{Broken, Over, Stream};
use crate::ssh::peer::Peer;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing, talk};

pub use errand::serve_errand;
pub(super) use orders::{Fetched, Orders, flush};
pub(super) use serve::unwritable;
pub use serve::{serve_flush, serve_offers, serve_orders};
pub use together::{serve_group, serve_group_offers};
pub(super) use wire::{Announced, Flushed, Group};

/// A replica on another machine, which is there while its agent is connected.
pub struct Far {
    /// What it is called where errors name it.
    host: String,
    /// All goes over SSH.
    ssh_only: bool,
    agent: Mutex<Agent>,
}

#[derive(Default)]
struct Agent {
    /// The connection, and the number by which it knows the replica.
    peer: Option<(Arc<Peer>, u32)>,
    /// The last one known.
    boot: [u8; 16],
}

impl Far {
    /// One that is not connected.
    #[must_use]
    pub fn new(host: String, ssh_only: bool) -> Self {
        Self { host, ssh_only, agent: Mutex::default() }
    }

    fn agent(&self) -> MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its agent is there, on a machine that was booted as `boot`, and knows it by this number.
    pub fn connected(&self, peer: Arc<Peer>, number: u32, boot: [u8; 16]) {
        *self.agent() = Agent { peer: Some((peer, number)), boot };
    }

    /// Its agent is gone.
    pub fn lost(&self) {
        self.agent().peer = None;
    }

    #[must_use]
    pub fn is_there(&self) -> bool {
        self.agent().peer.is_some()
    }

    /// Its agent's connection, if there is one.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<Peer>> {
        self.agent().peer.as_ref().map(|(peer, _)| peer.clone())
    }

    /// Whether it is the replica that this connection knows by this number.
    #[must_use]
    pub fn is_known_as(&self, peer: &Weak<Peer>, number: u32) -> bool {
        let agent = self.agent();
        agent.peer.as_ref().is_some_and(|(own, known)| {
            std::ptr::eq(Arc::as_ptr(own), peer.as_ptr()) && *known == number
        })
    }

    /// The boot of its machine.
    #[must_use]
    pub fn boot(&self) -> [u8; 16] {
        self.agent().boot
    }

    fn ask(&self, request: impl Fn(u32) -> Request) -> Result<(Incoming, Outgoing), ApplyError> {
        self.ask_by(request, Peer::open)
    }

    /// As [`Self::ask`], for what carries so many bytes.
    fn ask_bulk(
        &self,
        bytes: u64,
        request: impl Fn(u32) -> Request,
    ) -> Result<(Incoming, Outgoing), ApplyError> {
        match self.ssh_only {
            true => self.ask(request),
            false => self.ask_by(request, |peer, request| peer.open_bulk(request, bytes)),
        }
    }

    fn ask_by(
        &self,
        request: impl Fn(u32) -> Request,
        open: impl Fn(&Peer, &Request) -> Result<Stream, Over>,
    ) -> Result<(Incoming, Outgoing), ApplyError> {
        let agent = self.agent().peer.clone();
        let Some((peer, number)) = agent else {
            return Err(self.away("it is not connected"));
        };
        let stream = open(&peer, &request(number)).map_err(|over| self.away(&over.to_string()))?;
        Ok(talk(stream.with_deadline()))
    }

    fn away(&self, why: &str) -> ApplyError {
        ApplyError::Away { host: self.host.clone(), why: why.to_owned() }
    }

    fn broken(&self, broken: &Broken) -> ApplyError {
        lost(&self.host, broken)
    }
}

/// What a stream that broke is to a job. What makes no sense does not get better by the host's coming back.
fn lost(host: &str, broken: &Broken) -> ApplyError {
    let (host, why) = (host.to_owned(), broken.to_string());
    match broken {
        Broken::Garbled(_) => {
            ApplyError::There { host, what: "understand what is said".to_owned(), errno: None, why }
        }
        Broken::Reset(_) | Broken::Enough | Broken::Over(_) => ApplyError::Away { host, why },
    }
}
