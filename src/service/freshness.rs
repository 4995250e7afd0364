//! Which of two observations of a path is the newer one.
//!
//! Scanners, lookers and sinks read the disk on threads of their own, so what they saw can arrive out of order. Each
//! takes a [`Ticket`] *before* it reads; an observation that arrives after one with a later ticket is out of date.
//! Holds: a stale observation never replaces a newer one (it is looked at again instead); memory is given back
//! whenever nothing is in flight.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;

/// When an observation began, relative to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The counter tickets come from.
#[derive(Default)]
pub struct Tickets(AtomicU64);

impl Tickets {
    /// To be called before the disk is read.
    pub fn take(&self) -> Ticket {
        Ticket(self.0.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

#[derive(Default)]
struct InDirectory {
    listed: Ticket,
    looked: Vec<(PathId, Ticket)>,
}

/// The newest observations that arrived since the last moment of rest.
#[derive(Default)]
pub struct Freshness {
    directories: HashMap<(Replica, PathId), InDirectory>,
}

impl Freshness {
    /// Takes note of a look at `path` in `dir`; false if a newer observation arrived before.
    pub fn admit_look(
        &mut self,
        replica: Replica,
        dir: PathId,
        path: PathId,
        ticket: Ticket,
    ) -> bool {
        let known = self.directories.entry((replica, dir)).or_default();
        if known.listed > ticket {
            return false;
        }
        if let Some((_, last)) = known.looked.iter_mut().find(|(p, _)| *p == path) {
            let newer = ticket >= *last;
            *last = ticket.max(*last);
            return newer;
        }
        known.looked.push((path, ticket));
        true
    }

    /// Takes note of a listing of `dir`; false if a newer listing arrived before.
    ///
    /// `newer` receives the paths in it that were looked at after the listing began: for them it is out of date.
    pub fn admit_listing(
        &mut self,
        replica: Replica,
        dir: PathId,
        ticket: Ticket,
        newer: &mut Vec<PathId>,
    ) -> bool {
        let known = self.directories.entry((replica, dir)).or_default();
        if known.listed > ticket {
            return false;
        }
        known.listed = ticket;
        known.looked.retain(|(_, looked)| *looked > ticket);
        newer.extend(known.looked.iter().map(|(path, _)| *path));
        true
    }

    /// Nothing is in flight: whatever is observed from now on is newer.
    pub fn rest(&mut self) {
        self.directories = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Replica = Replica::SOURCE;
    const DIR: PathId = PathId(1);
    const A: PathId = PathId(2);
    const B: PathId = PathId(3);

    #[test]
    fn a_look_that_began_before_a_listing_and_arrives_after_it_is_stale() {
        let (tickets, mut fresh) = (Tickets::default(), Freshness::default());
        let (look, listing) = (tickets.take(), tickets.take());
        assert!(fresh.admit_listing(R, DIR, listing, &mut Vec::new()));
        assert!(!fresh.admit_look(R, DIR, A, look));
        assert!(fresh.admit_look(R, DIR, A, tickets.take()));
    }

    #[test]
    fn a_listing_is_out_of_date_for_the_paths_looked_at_since_it_began() {
        let (tickets, mut fresh) = (Tickets::default(), Freshness::default());
        let early = tickets.take();
        let listing = tickets.take();
        assert!(fresh.admit_look(R, DIR, A, early));
        assert!(fresh.admit_look(R, DIR, B, tickets.take()));
        let mut newer = Vec::new();
        assert!(fresh.admit_listing(R, DIR, listing, &mut newer));
        assert_eq!(newer, [B]);
    }

    #[test]
    fn of_two_looks_the_later_begun_one_stays() {
        let (tickets, mut fresh) = (Tickets::default(), Freshness::default());
        let (first, second) = (tickets.take(), tickets.take());
        assert!(fresh.admit_look(R, DIR, A, second));
        assert!(!fresh.admit_look(R, DIR, A, first));
        let other = Replica::leaf(1).expect("slot 1 is a leaf");
        assert!(fresh.admit_look(other, DIR, A, first), "replicas are apart");
    }
}
