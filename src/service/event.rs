//! What can happen to a sync: the closed list of events its thread takes.

use std::sync::Arc;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::service::actor::Actor;
use crate::service::freshness::Ticket;
use crate::sinks::transfer::Done;
use crate::sources::scan::Listing;

/// One event. Facts of scanners come through a bounded channel of their own, everything else through an unbounded
/// one, so that no thread that the sync waits for ever waits for the sync.
pub enum Event {
    /// A scanner listed a directory, or could not.
    Listed { replica: Replica, dir: RelPath, ticket: Ticket, listing: Box<Listing> },
    /// One path was looked at.
    Looked { replica: Replica, ticket: Ticket, facts: Vec<Fact> },
    /// These directories have to be listed again, with everything below them if `deep`.
    Relist { replica: Replica, dir: RelPath, deep: bool },
    /// Events were lost, or the root is not what it was.
    Lost { replica: Replica, why: Lost },
    /// A worker finished a batch.
    Done(Vec<Done>),
    /// Agreements are durable.
    Agreed(Vec<Fact>),
    /// A question or a wish: runs on the sync's thread after the facts before it are settled.
    Ask(Box<dyn FnOnce(&mut Actor) + Send>),
    /// Stop; the sender of the reply waits for it.
    Stop,
}

/// Why a replica is not known any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    Overflow,
    Root,
    /// A directory that cannot be watched; the error number.
    Unwatched { dir: RelPath, errno: i32 },
}

/// How threads reach a sync.
#[derive(Clone)]
pub struct Post {
    pub events: crossbeam_channel::Sender<Event>,
    pub listings: crossbeam_channel::Sender<Event>,
    pub tickets: Arc<crate::service::freshness::Tickets>,
}
