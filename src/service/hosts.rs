//! Other machines: the agents that run there, and the replicas that they have opened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crossbeam_channel::Sender;

use crate::dataflow::model::replica::Replica;
use crate::service::asked::Askers;
use crate::service::host::{Host, Kept, Wake};
use crate::sources::control::wire::Way;
use crate::sources::far::wire::{ASK_MAX, Open, Opened, Refusal, Told};
use crate::ssh::ask::Ask;
use crate::ssh::contact::NoContact;
use crate::ssh::destination::Destination;
use crate::ssh::error::Reason;
use crate::ssh::link::Broken;
use crate::ssh::peer::Peer;
use crate::ssh::protocol::Request;
use crate::ssh::talk::{Incoming, Outgoing, talk};
use crate::sys::{self, Identity};

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

    /// The other daemon that has it, if that is why.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Refused { refusal: Refusal::Owned(owner), .. } => Some(owner),
            Self::Refused { .. } | Self::Contact(_) | Self::Broken { .. } => None,
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
    /// Why its agent is reached the way it is; empty where there is no choice.
    pub why: String,
    pub stream: (Incoming, Outgoing),
}

/// The hosts that agents run on, one connection each for all that is done there.
pub struct Hosts {
    ask: Arc<dyn Ask>,
    /// The folder of the config file.
    config: Option<PathBuf>,
    all: Mutex<BTreeMap<String, Arc<Host>>>,
    /// What answers who asks in replicas there.
    pub(crate) askers: Askers,
    /// Directories on hosts that are to be taken from other daemons.
    to_take: Mutex<BTreeSet<(String, Vec<u8>)>>,
}

impl Hosts {
    /// `ask` is asked what only a person can say; the ways to hosts are read from the config file in `config`.
    #[must_use]
    pub fn new(ask: Arc<dyn Ask>, config: Option<PathBuf>) -> Self {
        Self {
            ask,
            config,
            all: Mutex::default(),
            askers: Askers::default(),
            to_take: Mutex::default(),
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Host>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self, written: &str) -> Arc<Host> {
        let new = || Arc::new(Host::new(written, self.ask.clone(), self.config.clone()));
        self.all().entry(written.to_owned()).or_insert_with(new).clone()
    }

    /// The agent on a host; blocks until it answers.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn peer(&self, host: &str) -> Result<Arc<Peer>, NoContact> {
        #[cfg(test)]
        if let Some(peer) = super::stepped::dial(host) {
            return peer;
        }
        let peer = self.host(host).peer()?;
        if peer.is_first_use() {
            self.askers.attend(&peer).map_err(NoContact::Here)?;
        }
        Ok(peer)
    }

    /// Whether this is the agent that is in use there.
    pub(crate) fn is_used(&self, host: &str, peer: &Weak<Peer>) -> bool {
        let used = self.host(host).used();
        used.is_none_or(|used| std::ptr::eq(peer.as_ptr(), Arc::as_ptr(&used)))
    }

    /// A replica on a host is kept reached while what comes back lives; `wake` is told when something about the ways
    /// there has changed.
    pub(crate) fn keep(&self, host: &str, wake: Sender<Wake>) -> Kept {
        self.host(host).keep(wake)
    }

    /// Has a directory on a host taken from another daemon, whenever it is opened there the next time.
    pub(crate) fn take_over(&self, host: &str, path: &[u8]) {
        self.to_take().insert((host.to_owned(), path.to_vec()));
    }

    fn to_take(&self) -> MutexGuard<'_, BTreeSet<(String, Vec<u8>)>> {
        self.to_take.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network is another one, or the machine was asleep.
    pub(crate) fn network_changed(&self) {
        let all: Vec<Arc<Host>> = self.all().values().cloned().collect();
        all.iter().for_each(Host::network_changed);
    }

    /// What is known of the ways to a host of this name, whoever the user is there; none if it was never wanted.
    pub(crate) fn ways(&self, host: &str) -> Vec<Way> {
        self.called(host).first().map(|host| host.ways()).unwrap_or_default()
    }

    /// The config file says something else of the ways to a host of this name.
    pub(crate) fn read_again(&self, host: &str) {
        self.called(host).iter().for_each(Host::read_again);
    }

    fn called(&self, host: &str) -> Vec<Arc<Host>> {
        let is_it = |written: &str| {
            written == host || Destination::parse(written).is_ok_and(|of| of.host == host)
        };
        let all = self.all();
        all.iter().filter(|(written, _)| is_it(written)).map(|(_, host)| host.clone()).collect()
    }

    /// Has a replica opened; blocks until it is.
    ///
    /// # Errors
    /// Its host is not reached, or its agent does not open it.
    pub fn link(&self, host: &str, open: &Open) -> Result<Linked, NoReplica> {
        let place = (host.to_owned(), open.path.clone());
        let take_over = open.take_over || self.to_take().contains(&place);
        let open = &Open { take_over, ..open.clone() };
        let peer = self.peer(host).map_err(Box::new)?;
        let number = peer.number();
        let broken = |broken| NoReplica::Broken { host: host.to_owned(), broken };
        let asked = peer.open(&Request::Replica { replica: number });
        let stream = asked.map_err(|over| broken(over.into()))?;
        let (mut incoming, outgoing) = talk(stream);
        outgoing.say_now(open).map_err(broken)?;
        match incoming.expect::<Result<Opened, Refusal>>(ASK_MAX).map_err(broken)? {
            Ok(opened) if !opened.path.starts_with(b"/") || opened.path.contains(&0) => {
                let path = opened.path.escape_ascii();
                Err(broken(Broken::Garbled(format!("it has opened {path}, which is no path"))))
            }
            Ok(opened) => {
                self.to_take().remove(&place);
                let why = self.host(host).why();
                Ok(Linked { peer, number, opened, why, stream: (incoming, outgoing) })
            }
            Err(refusal) => {
                let path = open.path.escape_ascii().to_string();
                Err(NoReplica::Refused { host: host.to_owned(), path, refusal })
            }
        }
    }

    /// Where a directory on a host is, as written from the root; it is made there if need be and wanted, and taken from
    /// another daemon if that is wanted.
    ///
    /// # Errors
    /// The host is not reached, or the directory cannot be used.
    pub fn find(
        &self,
        host: &str,
        path: &[u8],
        (make, take_over): (bool, bool),
    ) -> Result<Vec<u8>, NoReplica> {
        let open = Open {
            path: path.to_vec(),
            make,
            store: "found".to_owned(),
            lasting: false,
            replica: Replica::SOURCE,
            identity: Identity::default(),
            ignore: Vec::new(),
            ignore_vcs: false,
            owner: format!("{}, which adds it", sys::hostname()),
            errand: [0; 16],
            take_over,
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
