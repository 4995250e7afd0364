//! The agent's side of groups: all of a moment, or none.

use super::orders::Fetched;
use super::serve::{THEM, offer_all, outcome, unwritable};
use super::wire::{ANSWER_MAX, Failure, Group, Looked};
use crate::dataflow::model::job::Job;
use crate::sinks::apply::{Control, End, Handles, KnownDigests, Target};
use crate::sinks::stage::OpId;
use crate::sinks::transfer::Site;
use crate::sinks::unit::{act_on_sent, have_rested, look};
use crate::ssh::link::Broken;
use crate::ssh::talk::{Incoming, Outgoing};
use crate::sys::Root;

/// Carries out the group that is ordered on a stream, and says what became of it.
///
/// # Errors
/// The stream broke.
pub fn serve_group(
    site: &Site,
    digests: &dyn KnownDigests,
    durable: Option<u64>,
    (mut incoming, outgoing): (Incoming, &Outgoing),
) -> Result<(), Broken> {
    let Group { known, jobs } = incoming.expect(ANSWER_MAX)?;
    let (handles, control) = (Handles::default(), Control::default());
    let mut offers = Fetched::of(THEM, incoming);
    let target = |op| {
        let store = site.store.as_ref().map_err(|errno| unwritable(*errno))?;
        Ok(Target { root: &site.root, store, op, digests })
    };
    let sent: Vec<_> = jobs.iter().map(|(op, job)| (OpId(*op), job, &control)).collect();
    let results = act_on_sent(&target, &known, &sent, &mut offers, &handles);
    if let Some(broken) = offers.broken() {
        return Err(broken);
    }
    let acted = jobs.into_iter().zip(results).map(|((op, job), result)| (OpId(op), job, result));
    outcome(site, acted.collect(), durable, &handles, outgoing)
}

/// Says what this end has for the jobs of a group, looked at before the first and after the last.
///
/// # Errors
/// The stream broke.
pub fn serve_group_offers(
    root: &Root,
    digests: &dyn KnownDigests,
    (mut incoming, outgoing): (Incoming, &Outgoing),
) -> Result<(), Broken> {
    let Group { known, jobs } = incoming.expect(ANSWER_MAX)?;
    let say = |looked: Looked| outgoing.say(&looked);
    let before = match look(root, End::From, &known) {
        Ok(before) => before,
        Err(error) => {
            say(Err(Failure::of(&error)))?;
            return outgoing.end();
        }
    };
    say(Ok(()))?;
    let jobs: Vec<Job> = jobs.into_iter().map(|(_, job)| job).collect();
    offer_all(&jobs, root, digests, (None, outgoing))?;
    say(have_rested(root, &known, &before).map_err(|error| Failure::of(&error)))?;
    outgoing.end()
}
