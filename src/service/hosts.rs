//! Other machines: the agents that run there, and the replicas that they have opened.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::dataflow::model::replica::Replica;
use crate::places::Places;
use crate::service::asked::Askers;
use crate::sources::far::wire::{ASK_MAX, Open, Opened, Refusal, Told};
use crate::ssh::ask::Ask;
use crate::ssh::bootstrap::Programs;
use crate::ssh::contact::{NoContact, contact};
use crate::ssh::error::Reason;
use crate::ssh::files::Here;
use crate::ssh::link::Broken;
use crate::ssh::peer::Peer;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing, talk};
use crate::sys::{self, Identity};

/// The programs that can be copied to hosts.
///
/// # Errors
/// This program's own file, or the user's places, are not known.
pub fn programs() -> Result<Programs, String> {
    // What runs, also where its file has been replaced by a newer one since it was started.
    let running = PathBuf::from("/proc/self/exe");
    let own = match running.exists() {
        true => running,
        false => std::env::current_exe()
            .map_err(|e| format!("this program's own file is not known: {e}"))?,
    };
    let places = Places::from_env()?;
    Ok(Programs { own, others: places.data.join("agents") })
}

/// Why a replica on another machine is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReplica {
    #[error(transparent)]
    Contact(#[from] Box<NoContact>),
    #[error("{host}:{path}: {refusal}")]
    Refused { host: String, path: String, refusal: Refusal },
    #[error("the agent on {host} left: {broken}")]
    Broken { host: String, broken: Broken },
}

impl NoReplica {
    /// In one word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Contact(error) => error.reason(),
            Self::Refused { .. } => Reason::Refused,
            Self::Broken { .. } => Reason::Unreachable,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Contact(error) => error.hint(),
            Self::Refused { .. } | Self::Broken { .. } => None,
        }
    }
}

/// A replica that an agent has opened, and the stream on which it looks at it.
pub struct Linked {
    pub peer: Arc<Peer>,
    pub number: u32,
    pub opened: Opened,
    /// How long its agent took to answer.
    pub rtt: Duration,
    pub stream: (Incoming, Outgoing),
}

/// The hosts that agents run on, one connection each for all that is done there.
pub struct Hosts {
    ask: Arc<dyn Ask>,
    peers: Mutex<HashMap<String, Arc<Mutex<Weak<Peer>>>>>,
    /// What answers who asks in replicas there.
    pub(crate) askers: Askers,
}

impl Hosts {
    /// `ask` is asked what only a person can say.
    #[must_use]
    pub fn new(ask: Arc<dyn Ask>) -> Self {
        Self { ask, peers: Mutex::default(), askers: Askers::default() }
    }

    /// The agent on a host; blocks until it answers.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn peer(&self, host: &str) -> Result<Arc<Peer>, NoContact> {
        let known = {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            peers.entry(host.to_owned()).or_default().clone()
        };
        // Whoever wants the same host meanwhile waits for this attempt, and has its connection.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = known.upgrade().filter(|peer| peer.is_up()) {
            return Ok(peer);
        }
        let peer = dial(host.to_owned(), self.ask.clone())?;
        self.askers.attend(&peer).map_err(NoContact::Here)?;
        *known = Arc::downgrade(&peer);
        Ok(peer)
    }

    /// Has a replica opened; blocks until it is.
    ///
    /// # Errors
    /// Its host is not reached, or its agent does not open it.
    pub fn link(&self, host: &str, open: &Open) -> Result<Linked, NoReplica> {
        let peer = self.peer(host).map_err(Box::new)?;
        let number = peer.number();
        let broken = |broken| NoReplica::Broken { host: host.to_owned(), broken };
        let asked = peer.open(&Request::Replica { replica: number });
        let stream = asked.map_err(|over| broken(over.into()))?;
        let (mut incoming, outgoing) = talk(stream);
        outgoing.say_now(open).map_err(broken)?;
        match incoming.expect::<Result<Opened, Refusal>>(ASK_MAX).map_err(broken)? {
            Ok(opened) => {
                let asked = sys::now();
                peer.ping().map_err(NoContact::from).map_err(Box::new)?;
                let rtt = sys::now().saturating_duration_since(asked);
                Ok(Linked { peer, number, opened, rtt, stream: (incoming, outgoing) })
            }
            Err(refusal) => {
                let path = open.path.escape_ascii().to_string();
                Err(NoReplica::Refused { host: host.to_owned(), path, refusal })
            }
        }
    }

    /// Where a directory on a host is, as written from the root; it is made there if need be and wanted.
    ///
    /// # Errors
    /// The host is not reached, or the directory cannot be used.
    pub fn find(&self, host: &str, path: &[u8], make: bool) -> Result<Vec<u8>, NoReplica> {
        let open = Open {
            path: path.to_vec(),
            make,
            store: "found".to_owned(),
            lasting: false,
            replica: Replica::SOURCE,
            identity: Identity::default(),
            ignore: Vec::new(),
            ignore_vcs: false,
            owner: String::new(),
            trust_times: true,
        };
        let linked = self.link(host, &open)?;
        // With the last hold of the agent goes the connection.
        let Linked { peer: _peer, opened, stream: (mut incoming, outgoing), .. } = linked;
        let broken = |broken| NoReplica::Broken { host: host.to_owned(), broken };
        // It is put away again, and only then left.
        outgoing.end().map_err(broken)?;
        while incoming.hear::<Told>(ASK_MAX).map_err(broken)?.is_some() {}
        Ok(opened.path)
    }
}

/// Makes contact on a thread of its own, which then carries what is said.
fn dial(host: String, ask: Arc<dyn Ask>) -> Result<Arc<Peer>, NoContact> {
    let (tell, told) = bounded(1);
    let thread = move || {
        let here = |why: String| NoContact::Here(why);
        let prepared = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| here(error.to_string()))?;
            Ok((runtime, Here::from_env().map_err(here)?, programs().map_err(here)?))
        };
        let (runtime, own, programs) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => return drop(tell.send(Err(error))),
        };
        let now_s = u64::try_from(sys::now_ns() / 1_000_000_000).unwrap_or_default();
        runtime.block_on(async {
            match contact(&host, own, ask, now_s, &programs).await {
                Ok(contact) => {
                    contact.carry(move |peer| drop(tell.send(Ok(Arc::new(peer))))).await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        });
    };
    let started = std::thread::Builder::new().name("host".to_owned()).spawn(thread);
    drop(started.map_err(|error| NoContact::Here(format!("cannot start a thread: {error}")))?);
    told.recv().unwrap_or_else(|_| Err(NoContact::Here("the connection's thread ended".to_owned())))
}
