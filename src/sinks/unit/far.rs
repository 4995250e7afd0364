//! A group one of whose ends, or both, are on other machines.

use crate::sinks::act::word;
use crate::sinks::apply::{ApplyError, End, Handles};
use crate::sinks::batch::{make_durable, none_done};
use crate::sinks::far::{Far, Fetched, Group, Orders};
use crate::sinks::stage::OpId;
use crate::sinks::transfer::{self, Assigned};
use crate::sinks::unit::{Acted, Known, Whole, act_on_sent, failed, have_rested, look};

impl Whole<'_> {
    /// Acts here on what the origin's agent sends.
    pub(super) fn act_on_offers<K>(
        &self,
        far: &Far,
        jobs: &[Assigned<K>],
        ops: &[OpId],
        handles: &Handles,
    ) -> Acted {
        let mut offers = match Fetched::open_group(far, &group(self.at_origin(), jobs, ops)) {
            Ok(offers) => offers,
            Err(error) => return failed(jobs.len(), None, error),
        };
        let target = |op| self.shop.target(self.target, op);
        let sent = jobs.iter().zip(ops).map(|(a, op)| (*op, &a.job, &*a.control));
        let sent: Vec<_> = sent.collect();
        act_on_sent(&target, &self.at_target(), &sent, &mut offers, handles)
    }

    /// Has the target's agent act.
    pub(super) fn order<K>(
        &self,
        far: &Far,
        jobs: &[Assigned<K>],
        ops: &[OpId],
        handles: &Handles,
    ) -> transfer::Acted {
        let durable = self.shop.journal.is_some().then(|| self.shop.ops.take().0);
        let ordered = group(self.at_target(), jobs, ops);
        let opened = Orders::open_group(far, durable, &ordered);
        let mut orders = match opened {
            Ok(orders) => orders,
            Err(error) => return none_done(jobs.len(), error),
        };
        let looked = match self.shop.far(self.origin) {
            Some(origin) => forward(&mut orders, origin, &group(self.at_origin(), jobs, ops), jobs),
            None => self.offer(&mut orders, jobs, handles),
        };
        if let Err(error) = looked {
            orders.go(Err(error));
        }
        let (ordered, durable) = orders.outcome();
        let (results, kept): (Acted, Vec<_>) = ordered.into_iter().unzip();
        let flushed = Some((self.target, durable));
        let durable = make_durable(self.shop, jobs, &results, flushed);
        transfer::Acted { results, kept, durable }
    }

    /// Sends what this end has, looked at before and after.
    fn offer<K>(
        &self,
        orders: &mut Orders<'_>,
        jobs: &[Assigned<K>],
        handles: &Handles,
    ) -> Result<(), ApplyError> {
        let from = self.shop.root(self.origin)?;
        let known = self.at_origin();
        let before = look(from, End::From, &known);
        for Assigned { job, control, .. } in jobs {
            let word = match (&before, control.is_cancelled()) {
                (Ok(_), false) => word(job, from, None, handles),
                (Ok(_), true) => Err(ApplyError::Cancelled),
                (Err(_), _) => Err(ApplyError::Stale(End::From)),
            };
            orders.order(None, word, &*self.shop.digests, control);
        }
        orders.go(have_rested(from, &known, &before?));
        Ok(())
    }
}

/// Has what another agent offers pass through here.
fn forward<K>(
    orders: &mut Orders<'_>,
    origin: &Far,
    asked: &Group,
    jobs: &[Assigned<K>],
) -> Result<(), ApplyError> {
    let mut from = Fetched::open_group(origin, asked)?;
    for assigned in jobs {
        orders.forward(None, &mut from, &assigned.control);
    }
    orders.go(from.looked());
    Ok(())
}

fn group<K>(known: Vec<Known>, jobs: &[Assigned<K>], ops: &[OpId]) -> Group {
    let jobs = jobs.iter().zip(ops).map(|(assigned, op)| (op.0, assigned.job.clone()));
    Group { known, jobs: jobs.collect() }
}
