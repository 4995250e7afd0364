//! From what is written for a host, and a route to it, to a running agent there.

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
use super::route::Route;

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
    /// None of several routes works.
    #[error("{}", by_each(.0))]
    Routes(Vec<(Route, Self)>),
}

fn by_each(tried: &[(Route, NoContact)]) -> String {
    let tried: Vec<String> =
        tried.iter().map(|(route, why)| format!("by {route}: {why}")).collect();
    tried.join("; ")
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
            Self::Routes(tried) => telling(tried).map_or(Reason::Unreachable, Self::reason),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ssh(error) | Self::Peer(BadPeer::Ssh(error)) => error.hint(),
            Self::Agent(error) => error.hint(),
            Self::Here(_) | Self::Destination(_) | Self::Peer(_) => None,
            Self::Routes(tried) => telling(tried).and_then(Self::hint),
        }
    }
}

/// That which says most: a host that is not reached on one way can be on another, one that lets nobody in cannot.
fn telling(tried: &[(Route, NoContact)]) -> Option<&NoContact> {
    let all = || tried.iter().map(|(_, why)| why);
    all().find(|why| why.reason() != Reason::Unreachable).or_else(|| all().next())
}

/// A host that is logged in to by one of its routes.
pub struct Reached {
    reach: Reach,
    route: Route,
}

/// Connects to a host, and logs in there.
///
/// # Errors
/// Why that does not work.
pub async fn reach(
    host: &Destination,
    route: Route,
    here: Here,
    ask: Arc<dyn Ask>,
    now_s: u64,
) -> Result<Reached, NoContact> {
    let way = here.way_by(host, &route)?;
    let reach = Reach::new(way, here, ask, now_s, &mut |_| {}).await?;
    Ok(Reached { reach, route })
}

impl Reached {
    /// Sees to it that the agent is there, and starts it.
    ///
    /// # Errors
    /// Which step failed, and why.
    pub async fn start(mut self, programs: &Programs) -> Result<Contact, NoContact> {
        let agent = install(&mut self.reach, programs, &random_mark(), &mut |_| {}).await?;
        let (peer, carried) = Peer::start(&mut self.reach, self.route, &agent).await?;
        Ok(Contact { peer, reach: self.reach, carried })
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.reach.close().await;
    }
}

/// A running agent, and what carries it.
pub struct Contact {
    pub peer: Peer,
    reach: Reach,
    carried: JoinHandle<()>,
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
