//! An agent on a simulated machine: it does what it is asked, and looks, a step at a time, on the thread of who drives it.
//!
//! Holds: what acts and what looks is the agent's own; who has asked for something is answered when they wait for it, or
//! later, and then nobody hears it.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::chores::Chores;
use super::door::Way;
use super::replica::{Looking, Served};
use super::{Replicas, answer};
use crate::sources::far::wire::{ASK_MAX, Open, Opened, Refusal};
use crate::sources::scan::pool::Scanner;
use crate::sources::watch::Hint;
use crate::ssh::link::{Broken, Link, Stream};
use crate::ssh::protocol::{Request, StreamId};
use crate::ssh::talk::{Incoming, Outgoing, talk};

/// A replica that is open, and the stream on which it is looked at.
struct Seat {
    number: u32,
    looking: Looking,
    incoming: Incoming,
    outgoing: Arc<Outgoing>,
    to_send: Receiver<()>,
    _to_remember: Receiver<()>,
}

pub(crate) struct Stepped {
    replicas: Replicas,
    link: Link,
    asked: Vec<(StreamId, Vec<u8>, Stream)>,
    seats: Vec<Seat>,
}

impl Stepped {
    pub(crate) fn new(link: Link) -> Self {
        let (open, streams, program) = (Default::default(), link.streams(), "/yeet".into());
        let replicas = Replicas { open, streams, program };
        Self { replicas, link, asked: Vec::new(), seats: Vec::new() }
    }

    fn take_in(&mut self) {
        self.asked.extend(std::iter::from_fn(|| self.link.asked()));
    }

    /// Does what was asked for on a stream; false if nothing was.
    pub(crate) fn serve(&mut self, stream: StreamId) -> bool {
        self.take_in();
        let at = self.asked.iter().position(|(id, ..)| *id == stream);
        at.map(|at| self.asked.remove(at)).map(|asked| self.answer(asked)).is_some()
    }

    /// Does what was asked for first.
    pub(crate) fn serve_next(&mut self) -> bool {
        self.take_in();
        let has = !self.asked.is_empty();
        has.then(|| self.asked.remove(0)).map(|asked| self.answer(asked)).is_some()
    }

    fn answer(&mut self, (_, request, stream): (StreamId, Vec<u8>, Stream)) {
        match Request::read(&request) {
            Ok(Request::Replica { replica }) => {
                let (incoming, outgoing) = talk(stream);
                let outgoing = Arc::new(outgoing);
                if let Err(broken) = self.open(replica, incoming, &outgoing) {
                    outgoing.refuse(&broken.to_string());
                }
            }
            Ok(_) | Err(_) => answer(&self.replicas, &request, stream),
        }
    }

    /// As the agent's own `open`, up to where that begins to look.
    fn open(
        &mut self,
        number: u32,
        mut incoming: Incoming,
        outgoing: &Arc<Outgoing>,
    ) -> Result<(), Broken> {
        let asked: Open = incoming.expect(ASK_MAX)?;
        // Each has a lock of its own, which the one before has until it has ended.
        let opened = match self.seats.is_empty() {
            true => Served::open(&asked),
            false => Err(Refusal::Owned("itself".to_owned())),
        };
        let (served, opened) = match opened {
            Ok((served, opened)) => (Arc::new(served), opened),
            Err(refusal) => {
                outgoing.say(&Err::<Opened, Refusal>(refusal))?;
                return outgoing.end();
            }
        };
        drop(self.replicas.all().insert(number, served.clone()));
        outgoing.say_now(&Ok::<Opened, Refusal>(opened))?;
        let (streams, program) = (self.replicas.streams.clone(), self.replicas.program.clone());
        let way = Way { streams, replica: number, program };
        let (chores, to_send, _to_remember) = Chores::stepped();
        let (scanner, outgoing) = (Arc::new(Scanner::stepped()), outgoing.clone());
        let looking = Looking::begin(served, &asked, scanner, (outgoing.clone(), chores), way)?;
        self.seats.push(Seat { number, looking, incoming, outgoing, to_send, _to_remember });
        Ok(())
    }

    /// Each takes in one question, or is put away when there will be no more.
    pub(crate) fn hear(&mut self) -> bool {
        let mut has_heard = false;
        for mut seat in std::mem::take(&mut self.seats) {
            if !seat.incoming.has_come() {
                self.seats.push(seat);
                continue;
            }
            has_heard = true;
            let heard = match seat.incoming.message(ASK_MAX) {
                Ok(Some(bytes)) => seat.looking.hear(bytes).map(|()| true),
                Ok(None) => Ok(false),
                Err(broken) => Err(broken),
            };
            match heard {
                Ok(true) => self.seats.push(seat),
                Ok(false) => {
                    drop(self.replicas.all().remove(&seat.number));
                    seat.looking.end();
                    drop(seat.outgoing.end());
                }
                Err(broken) => {
                    drop(self.replicas.all().remove(&seat.number));
                    seat.outgoing.refuse(&broken.to_string());
                }
            }
        }
        has_heard
    }

    /// Looks at one thing in each replica.
    pub(crate) fn look(&self) -> bool {
        self.seats.iter().filter(|seat| seat.looking.scanner().step()).count() > 0
    }

    /// What was gathered is sent.
    pub(crate) fn send(&self) -> bool {
        let send = |seat: &Seat| {
            let is_due = seat.to_send.try_recv().is_ok();
            if is_due {
                drop(seat.outgoing.flush());
            }
            is_due
        };
        self.seats.iter().filter(|seat| send(seat)).count() > 0
    }

    pub(crate) fn hint(&self, replica: crate::dataflow::model::replica::Replica, hint: &Hint) {
        self.seats.iter().for_each(|seat| seat.looking.sources().hint(replica, hint.clone()));
    }

    pub(crate) fn flushed(&self, number: u64) {
        self.seats.iter().for_each(|seat| seat.looking.sources().flushed(number));
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.seats.iter().filter_map(|seat| seat.looking.scanner().next_deadline()).min()
    }
}
