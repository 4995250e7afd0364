//! A socket for data: whoever came over SSH connects to it, and asks there as over SSH.
//!
//! Holds: it does not outlive the stream that it was asked for on, and so not the SSH connection.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Replicas, serve_link};
use crate::ssh::link::{Broken, Link};
use crate::ssh::protocol::{Decoder, Side};
use crate::ssh::socket::{Listener, Offer, Pin, Refused};
use crate::ssh::talk::{Incoming, Outgoing};

/// The longest thing that a caller has to say about it, in bytes: nothing.
const SAID_MAX: usize = 16;

enum Stage {
    Awaited,
    Up(Arc<Link>),
    Over,
}

/// Opens it, and serves who comes until they or the SSH connection are gone.
pub(super) fn serve_socket(
    replicas: &Replicas,
    pin: [u8; 32],
    (mut incoming, outgoing): (Incoming, &Outgoing),
) -> Result<(), Broken> {
    let listener = match Listener::open(Pin(pin)) {
        Ok(listener) => listener,
        Err(why) => {
            outgoing.say(&Err::<Offer, _>(why))?;
            return outgoing.end();
        }
    };
    outgoing.say_now(&Ok::<_, String>(listener.offer()))?;
    let (stop, stage) = (listener.stop(), Mutex::new(Stage::Awaited));
    let swap = |stage: &Mutex<Stage>, now| {
        std::mem::replace(&mut *stage.lock().unwrap_or_else(PoisonError::into_inner), now)
    };
    std::thread::scope(|scope| {
        let serving = || -> Result<(), Broken> {
            let met = listener.meet();
            outgoing.say_now::<Refused>(&met.refused)?;
            let Some(secured) = met.secured else { return Ok(()) };
            let (reader, writer, close) = secured.split();
            let started = Link::start(Side::Agent, Decoder::at_once(), reader, writer, close);
            let link = Arc::new(started.map_err(|error| Broken::Reset(error.to_string()))?);
            if let Stage::Over = swap(&stage, Stage::Up(link.clone())) {
                return Ok(());
            }
            // How it ended, its caller knows.
            drop(serve_link(replicas, &link));
            Ok(())
        };
        let serving = scope.spawn(serving);
        let heard = incoming.hear::<()>(SAID_MAX);
        stop();
        if let Stage::Up(link) = swap(&stage, Stage::Over) {
            link.end("its caller has left");
        }
        let served = serving.join().unwrap_or(Ok(()));
        heard.and(served)
    })?;
    outgoing.end()
}
