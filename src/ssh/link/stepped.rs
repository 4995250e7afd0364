//! A connection that no thread carries, on a simulated machine: who waits on it has it carried, on their own thread.
//!
//! Holds: what one end says reaches the other in its order, until the cable is cut; nothing happens by itself.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// Has something more happen on a cable of this number, at whose end somebody waits on a stream; false if nothing can.
pub(crate) type Carrier = Rc<dyn Fn(usize, Side, StreamId) -> bool>;

thread_local! {
    static CARRIER: RefCell<Option<Carrier>> = const { RefCell::new(None) };
}

/// Whoever waits on this thread from now on calls this.
pub(crate) fn install(carrier: Option<Carrier>) {
    CARRIER.set(carrier);
}

pub(crate) fn is_installed() -> bool {
    CARRIER.with_borrow(Option::is_some)
}

/// An end of a cable.
pub(super) struct Plug {
    cable: usize,
    side: Side,
}

impl Plug {
    pub(super) fn wait(&self, stream: StreamId) {
        let carrier = CARRIER.with_borrow(Clone::clone);
        let is_carried = carrier.is_some_and(|carry| carry(self.cable, self.side, stream));
        assert!(is_carried, "{:?} waits on stream {stream} for ever", self.side);
    }
}

struct End {
    shared: Arc<Shared>,
    decoder: Decoder,
    unpress: Unpress,
}

impl End {
    fn new(cable: usize, side: Side) -> (Self, Link) {
        let shared = Shared { stepped: Some(Plug { cable, side }), ..Shared::new(side) };
        let shared = Arc::new(shared);
        let link = Link { shared: shared.clone(), close: Box::new(|| {}) };
        (Self { shared, decoder: Decoder::at_once(), unpress: Unpress::default() }, link)
    }

    fn is_over(&self) -> bool {
        self.shared.state().over.is_some()
    }

    fn takes(&mut self, frames: &[u8]) {
        self.decoder.feed(frames);
        if let Err(over) = self.shared.take_in(&mut self.decoder, &mut self.unpress) {
            self.shared.end(over);
        }
    }
}

/// What is between the two ends of a connection.
pub(crate) struct Cable {
    caller: End,
    agent: End,
    is_cut: bool,
}

impl Cable {
    /// One of this number, and what its two ends hold.
    pub(crate) fn new(number: usize) -> (Self, Link, Link) {
        let (caller, calls) = End::new(number, Side::Caller);
        let (agent, answers) = End::new(number, Side::Agent);
        (Self { caller, agent, is_cut: false }, calls, answers)
    }

    /// Carries up to so many pieces of what one end has to say. How many there were; that it is gone is one more.
    pub(crate) fn carry(&mut self, from: Side, most: usize) -> usize {
        if self.is_cut {
            return 0;
        }
        let (from, to) = match from {
            Side::Caller => (&self.caller, &mut self.agent),
            Side::Agent => (&self.agent, &mut self.caller),
        };
        let mut carried = 0;
        while carried < most && !to.is_over() {
            let Some((_, frames)) = from.shared.state().session.output() else { break };
            to.takes(&frames);
            carried += 1;
        }
        if carried == 0 && from.is_over() && !to.is_over() {
            to.shared.end(Over::Lost("it ended without a goodbye".to_owned()));
            carried += 1;
        }
        carried
    }

    /// Nothing gets through any more. Neither end knows that.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// An end notices that it is cut.
    pub(crate) fn notice(&self, side: Side) {
        let end = if side == Side::Caller { &self.caller } else { &self.agent };
        end.shared.end(Over::Lost("the cable was cut".to_owned()));
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(crate) fn is_over(&self, side: Side) -> bool {
        if side == Side::Caller { self.caller.is_over() } else { self.agent.is_over() }
    }
}

impl Link {
    /// What the other side asks for next, if it has.
    pub(crate) fn asked(&self) -> Option<(StreamId, Vec<u8>, Stream)> {
        let mut state = self.shared.state();
        let (id, request) = state.opened.pop_front()?;
        Some((id, request, Stream::new(&self.shared, &mut state, id, false)))
    }
}
