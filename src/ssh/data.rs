//! The data socket of an agent, as this side uses it: made when there is enough to carry, over SSH otherwise.
//!
//! Holds: nobody waits for it who has little to carry; a failed attempt is not repeated for 30 s, nor by anybody but who has
//! something to carry, so that at rest nothing is sent (INV-8); it does not outlive the SSH connection that it was made
//! through.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ask::printable;
use super::link::{Broken, Link, Over, Stream, Streams};
use super::protocol::{Decoder, Request, Side};
use super::socket::{Fresh, Offer, Refused, connect};
use super::talk::{Incoming, Outgoing, talk};

/// From so many bytes on, carried over SSH since it was tried last, it is worth its making.
const WORTH_BYTES: u64 = 1 << 20;
/// Who has so many bytes to carry waits for it.
const WAIT_BYTES: u64 = 16 << 20;
/// An attempt takes this long at most, that of another thread included.
const WAIT_MAX: Duration = Duration::from_secs(4);
const RETRY: Duration = Duration::from_secs(30);
const SAID_MAX: usize = 16 << 10;

/// The socket to one agent, or why there is none.
pub(super) struct Data {
    /// Where the agent's host is; `None`: it cannot be reached but through other machines.
    address: Option<IpAddr>,
    ssh: Streams,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    up: Option<Up>,
    is_trying: bool,
    /// When it was tried last.
    tried: Option<Instant>,
    /// How many attempts were made.
    round: u64,
    /// What SSH has carried since then, in bytes.
    carried: u64,
    /// Why there is none.
    why: Option<String>,
    refused: Refused,
}

struct Up {
    link: Link,
    /// The agent keeps its end as long as this stream is open.
    hold: Outgoing,
}

impl Data {
    pub(super) fn new(address: Option<IpAddr>, ssh: Streams) -> Self {
        Self { address, ssh, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it broke since this was asked last, or since something was asked over it.
    pub(super) fn has_broken(&self) -> bool {
        self.state().drop_broken()
    }

    /// Asks over the data socket for what will carry so many bytes; `None`: SSH is to be asked.
    pub(super) fn open(self: &Arc<Self>, request: &Request, bytes: u64) -> Option<Stream> {
        self.address?;
        let mut state = self.state();
        state.drop_broken();
        state.carried = state.carried.saturating_add(bytes);
        if state.is_due() {
            state = self.begin(state);
        }
        let until = Instant::now() + WAIT_MAX;
        while state.is_trying && bytes >= WAIT_BYTES {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let up = state.up.as_ref()?;
        // Waiting for one of its streams must hold nobody else up.
        let streams = up.link.streams();
        drop(state);
        streams.open(&request.bytes()).ok()
    }

    /// Makes it now, and says how long that took, and whom the agent turned away meanwhile.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn try_now(self: &Arc<Self>) -> Result<(Duration, Refused), String> {
        if self.address.is_none() {
            return Err("other machines are passed on the way there".to_owned());
        }
        let from = Instant::now();
        let mut state = self.begin(self.state());
        while state.is_trying {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match (&state.up, &state.why) {
            (Some(_), _) => Ok((from.elapsed(), state.refused.clone())),
            (None, why) => Err(why.clone().unwrap_or_default()),
        }
    }

    /// What carries data, in words; `None` where it was not tried.
    pub(super) fn words(&self) -> Option<String> {
        let state = self.state();
        let is_up = state.up.as_ref().is_some_and(|up| up.link.is_up());
        let mut words = match (is_up, &state.why) {
            (true, _) => "a socket of its own".to_owned(),
            (false, Some(why)) => format!("SSH: {why}"),
            (false, None) => return None,
        };
        for stranger in &state.refused {
            words.push_str(&format!("; turned away at the socket: {stranger}"));
        }
        Some(words)
    }

    fn begin<'a>(self: &'a Arc<Self>, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.is_trying = true;
        state.tried = Some(Instant::now());
        state.carried = 0;
        state.round += 1;
        let (data, round) = (self.clone(), state.round);
        let thread = std::thread::Builder::new().name("data".to_owned());
        if let Err(error) = thread.spawn(move || data.run(round)) {
            state.is_trying = false;
            state.why = Some(format!("cannot start a thread: {error}"));
        }
        state
    }

    /// Makes it, and waits for its end: that of the SSH connection, or of the agent's interest.
    fn run(&self, round: u64) {
        let made = self.make();
        let mut state = self.state();
        state.is_trying = false;
        self.changed.notify_all();
        let mut incoming = match made {
            Ok((up, incoming)) => {
                (state.up, state.why) = (Some(up), None);
                incoming
            }
            Err(why) => {
                state.why = Some(why);
                return;
            }
        };
        drop(state);
        while let Ok(Some(_)) = incoming.hear::<Refused>(SAID_MAX) {}
        let mut state = self.state();
        if state.round == round {
            state.up = None;
        }
    }

    fn make(&self) -> Result<(Up, Incoming), String> {
        let Some(address) = self.address else { return Err(String::new()) };
        let own = Fresh::new()?;
        let broken = |broken: Broken| format!("the agent opens no socket: {broken}");
        let over = |over: Over| broken(over.into());
        let stream = self.ssh.open(&Request::Socket { pin: own.pin().0 }.bytes()).map_err(over)?;
        let (mut incoming, hold) = talk(stream);
        let offer = incoming.expect::<Result<Offer, String>>(SAID_MAX).map_err(broken)?;
        let offer = offer.map_err(|why| format!("the agent: {}", printable(&why)))?;
        let connected = connect(address, &offer, own);
        if connected.is_err() {
            // The agent need not wait any longer.
            hold.end().map_err(broken)?;
        }
        let refused: Refused = incoming.expect(SAID_MAX).map_err(broken)?;
        self.state().refused = refused.iter().map(|who| printable(who)).collect();
        let (reader, writer, close) = connected?.split();
        let link = Link::start(Side::Caller, Decoder::at_once(), reader, writer, close);
        let link = link.map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok((Up { link, hold }, incoming))
    }
}

impl State {
    fn drop_broken(&mut self) -> bool {
        let Some(up) = self.up.take_if(|up| !up.link.is_up()) else { return false };
        self.why = Some("the data socket broke".to_owned());
        // The agent hears that it is not wanted any more, or is gone.
        up.hold.end().unwrap_or_default();
        true
    }

    fn is_due(&self) -> bool {
        let is_early = self.tried.is_some_and(|tried| tried.elapsed() < RETRY);
        self.up.is_none() && !self.is_trying && !is_early && self.carried >= WORTH_BYTES
    }
}
