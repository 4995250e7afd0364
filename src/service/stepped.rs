//! Reaching hosts on a simulated machine: by whoever drives it, an attempt at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::TryRecvError;

use super::actor::Event;
use super::host::Wake;
use super::keep::Keeper;
use crate::ssh::contact::NoContact;
use crate::ssh::peer::Peer;

/// The agent on a host, or why there is none.
pub(crate) type Dial = Rc<dyn Fn(&str) -> Result<Arc<Peer>, NoContact>>;

/// One that is to try, or waits until it was lost.
struct Kept {
    keeper: Keeper,
    is_due: bool,
}

thread_local! {
    static DIAL: RefCell<Option<Dial>> = const { RefCell::new(None) };
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Whoever wants a host on this thread from now on gets it from this.
pub(crate) fn install(dial: Option<Dial>) {
    DIAL.set(dial);
}

pub(super) fn is_here() -> bool {
    DIAL.with_borrow(Option::is_some)
}

/// The process is gone, and all who kept a host reached with it.
pub(crate) fn wipe() {
    KEPT.take();
}

pub(super) fn dial(host: &str) -> Option<Result<Arc<Peer>, NoContact>> {
    let dial = DIAL.with_borrow(Clone::clone)?;
    Some(dial(host))
}

pub(super) fn take(keeper: Keeper) {
    KEPT.with_borrow_mut(|all| all.push(Kept { keeper, is_due: true }));
}

/// Whoever is not there is tried once; whether anybody was reached.
pub(crate) fn reach() -> bool {
    let mut kept = KEPT.take();
    let mut has_reached = false;
    kept.retain_mut(|Kept { keeper, is_due }| {
        loop {
            match keeper.wake.try_recv() {
                Ok(Wake::Try(opened)) => *is_due |= keeper.has_lost(opened),
                Ok(Wake::Move | Wake::Network) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        if std::mem::take(is_due) {
            let (used, tell) = keeper.reach();
            *is_due = used.is_none();
            has_reached |= used.is_some();
            drop(keeper.post.send(Event::Ask(tell)));
        }
        true
    });
    KEPT.with_borrow_mut(|all| {
        kept.append(all);
        *all = kept;
    });
    has_reached
}
