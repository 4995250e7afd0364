//! From what is written for a host to a running agent there.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::ask::Ask;
use super::bootstrap::{NoAgent, Programs, install, random_mark};
use super::destination::{BadDestination, Destination};
use super::error::{Reason, SshError};
use super::files::Here;
use super::hops::NoWay;
use super::peer::{BadPeer, Peer};
use super::reach::Reach;

/// Why a host has no agent that answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoContact {
    #[error("{0}")]
    Here(String),
    #[error(transparent)]
    Destination(#[from] BadDestination),
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error(transparent)]
    Agent(#[from] NoAgent),
    #[error(transparent)]
    Peer(#[from] BadPeer),
}

impl From<NoWay> for NoContact {
    fn from(error: NoWay) -> Self {
        Self::Ssh(error.into())
    }
}

impl NoContact {
    /// In one word.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Ssh(error)
            | Self::Agent(NoAgent::Ssh(error))
            | Self::Peer(BadPeer::Ssh(error)) => error.reason(),
            Self::Here(_) | Self::Destination(_) => Reason::Refused,
            Self::Agent(_) | Self::Peer(_) => Reason::Agent,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) | Self::Peer(BadPeer::Ssh(error)) => error.hint(),
            Self::Agent(error) => error.hint(),
            Self::Here(_) | Self::Destination(_) | Self::Peer(_) => None,
        }
    }
}

/// A running agent, and what carries it.
pub struct Contact {
    pub peer: Peer,
    reach: Reach,
    carried: JoinHandle<()>,
}

/// Makes contact: connects, sees to it that the agent is there, starts it.
///
/// # Errors
/// Which step failed, and why.
pub async fn contact(
    host: &str,
    here: Here,
    ask: Arc<dyn Ask>,
    now_s: u64,
    programs: &Programs,
) -> Result<Contact, NoContact> {
    let way = here.way(&Destination::parse(host)?)?;
    let mut reach = Reach::new(way, here, ask, now_s, &mut |_| {}).await?;
    let agent = install(&mut reach, programs, &random_mark(), &mut |_| {}).await?;
    let (peer, carried) = Peer::start(&mut reach, &agent).await?;
    Ok(Contact { peer, reach, carried })
}

impl Contact {
    /// Carries what is said until all is said, and says goodbye. `started` gets the agent.
    pub async fn carry(self, started: impl FnOnce(Peer)) {
        let Self { peer, reach, carried } = self;
        started(peer);
        drop(carried.await);
        reach.close().await;
    }
}
