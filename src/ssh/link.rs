//! The io of a connection between two yeets: one thread reads, one writes, everybody else waits for what they asked.
//!
//! Holds: at rest both threads sleep in the kernel without a deadline (INV-8); nobody who reads ever waits for somebody who
//! writes, so two ends that both have much to say do not stand still; who waits on a stream that has a deadline waits no
//! longer for a connection on which nothing moves.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod bell;
mod broken;
mod narrow;
#[cfg(test)]
pub(crate) mod stepped;
mod stream;

use bell::Bell;
pub use broken::{Broken, Over};

use super::ask::printable;
use super::protocol::{Decoder, Event, Message, Session, Side, StreamId, Unpress};
use narrow::Narrow;
pub use stream::{Received, Stream};

/// On a stream with a deadline: so long nothing moves before the other side is asked whether it is there.
const STALLED: Duration = Duration::from_secs(2);
/// And so long before the connection is given up.
const LOST: Duration = Duration::from_secs(15);
/// A write of so many bytes shows that somebody takes them; questions whether they are there are shorter.
const MOVES_BYTES: usize = 1024;
/// The number of a ping whose answer nobody waits for.
const NOBODYS: u64 = u64::MAX;

#[derive(Default)]
struct Inbox {
    chunks: VecDeque<Vec<u8>>,
    has_ended: bool,
    reset: Option<String>,
    /// Something came on the stream, or there is room for more to be sent.
    changed: Arc<Bell>,
}

struct State {
    session: Session,
    inboxes: HashMap<StreamId, Inbox>,
    opened: VecDeque<(StreamId, Vec<u8>)>,
    pongs: HashSet<u64>,
    pings: u64,
    over: Option<Over>,
    /// When something came last.
    heard: Instant,
    /// When bytes moved last, in either direction.
    moved: Instant,
    /// When the other side was last asked whether it is there because nothing moved.
    doubted: Instant,
    /// Nothing more will be given to the writer.
    closing: bool,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    to_write: Bell,
    /// The other side has asked for something.
    to_answer: Bell,
    /// Something has changed that is of no one stream.
    changed: Bell,
    #[cfg(test)]
    stepped: Option<stepped::Plug>,
}

impl Shared {
    fn new(side: Side) -> Self {
        let now = Instant::now();
        let state = State {
            session: Session::new(side),
            inboxes: HashMap::new(),
            opened: VecDeque::new(),
            pongs: HashSet::new(),
            pings: 0,
            over: None,
            heard: now,
            moved: now,
            doubted: now,
            closing: false,
        };
        let [to_write, to_answer, changed] = [(); 3].map(|()| Bell::default());
        Self {
            state: Mutex::new(state),
            to_write,
            to_answer,
            changed,
            #[cfg(test)]
            stepped: None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something that the other side is about to say or to take.
    fn wait_for_work<'a>(
        &self,
        changed: &Bell,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let (mut state, is_over) = changed.wait_for(state, STALLED);
        if is_over && state.doubt(Instant::now()) {
            self.wake_all(&state);
        }
        state
    }
}

impl State {
    /// Nothing may have moved for some time: asks whether anybody is there, and at last gives the connection up. Whether
    /// there is something to tell to others.
    fn doubt(&mut self, now: Instant) -> bool {
        if self.over.is_some() || now.duration_since(self.moved) < STALLED {
            return false;
        }
        if now.duration_since(self.moved) >= LOST {
            self.over = Some(Over::Silent(LOST));
            return true;
        }
        let is_due = now.duration_since(self.doubted) >= STALLED;
        if is_due {
            self.doubted = now;
            self.session.say(&Message::Ping(NOBODYS));
        }
        is_due
    }
}

/// Opens and takes streams of a connection, as long as there is one; it keeps none up.
#[derive(Clone)]
pub struct Streams(Arc<Shared>);

impl Streams {
    /// As [`Link::open`].
    ///
    /// # Errors
    /// The connection is over.
    pub fn open(&self, request: &[u8]) -> Result<Stream, Over> {
        let mut state = self.0.state();
        loop {
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            if let Some(id) = state.session.open(request.to_vec()) {
                state.inboxes.insert(id, Inbox::default());
                let stream = Stream::new(&self.0, &mut state, id, true);
                self.0.to_write.ring();
                return Ok(stream);
            }
            state = self.0.changed.wait(state);
        }
    }

    /// As [`Link::accept`].
    ///
    /// # Errors
    /// The connection is over.
    pub fn accept(&self) -> Result<(Vec<u8>, Stream), Over> {
        let mut state = self.0.state();
        loop {
            if let Some((id, request)) = state.opened.pop_front() {
                return Ok((request, Stream::new(&self.0, &mut state, id, false)));
            }
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            state = self.0.to_answer.wait(state);
        }
    }
}

/// A connection on which both have said hello.
pub struct Link {
    shared: Arc<Shared>,
    close: Box<dyn Fn() + Send + Sync>,
}

impl Link {
    /// `decoder` may have taken in what came after the hello; `close` makes a read that waits come to its end.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        side: Side,
        decoder: Decoder,
        read: impl Read + Send + 'static,
        write: impl Write + Send + 'static,
        close: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(side));
        let (reads, writes) = (shared.clone(), shared.clone());
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        // They end with the connection.
        drop(thread("link-read").spawn(move || reads.read(decoder, read))?);
        drop(thread("link-write").spawn(move || writes.write(write))?);
        Ok(Self { shared, close: Box::new(close) })
    }

    /// Whether it is not known to be over.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.shared.state().over.is_none()
    }

    /// Asks for something on a stream of its own; waits while there are too many.
    ///
    /// # Errors
    /// The connection is over.
    pub fn open(&self, request: &[u8]) -> Result<Stream, Over> {
        self.streams().open(request)
    }

    /// What the other side asks for next, and the stream to answer on.
    ///
    /// # Errors
    /// The connection is over.
    pub fn accept(&self) -> Result<(Vec<u8>, Stream), Over> {
        self.streams().accept()
    }

    /// Ends it here and now.
    pub fn end(&self, why: &str) {
        self.shared.end(Over::Lost(why.to_owned()));
        (self.close)();
    }

    /// Its streams, for who is not to keep the connection up.
    #[must_use]
    pub fn streams(&self) -> Streams {
        Streams(self.shared.clone())
    }

    /// Makes sure that the other side is there: that it says so, or goes on saying something else, and is never silent for so
    /// long. One that is has ended.
    ///
    /// # Errors
    /// The connection is over.
    pub fn ping(&self, patience: Duration) -> Result<(), Over> {
        let mut state = self.shared.state();
        state.heard = Instant::now();
        state.pings += 1;
        let number = state.pings;
        state.session.say(&Message::Ping(number));
        self.shared.to_write.ring();
        loop {
            if state.pongs.remove(&number) {
                return Ok(());
            }
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            let left = patience.saturating_sub(state.heard.elapsed());
            if left.is_zero() {
                let over = Over::Silent(patience);
                state.over = Some(over.clone());
                self.shared.wake_all(&state);
                drop(state);
                (self.close)();
                return Err(over);
            }
            state = self.shared.changed.wait_for(state, left).0;
        }
    }

    /// Says goodbye, and waits until the other side has gone or has had its time.
    pub fn goodbye(self, why: &str, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.shared.state();
        state.session.say(&Message::Goodbye(why.to_owned()));
        state.closing = true;
        self.shared.to_write.ring();
        while state.over.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.changed.wait_for(state, left).0;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        drop(state);
        self.end("it was closed here");
    }
}

impl Shared {
    fn read(&self, mut decoder: Decoder, mut from: impl Read) {
        let mut unpress = Unpress::default();
        let over = loop {
            if let Err(over) = self.take_in(&mut decoder, &mut unpress) {
                break over;
            }
            match decoder.read_from(&mut from) {
                Ok(0) => break Over::Lost("it ended without a goodbye".to_owned()),
                Ok(_) => {
                    let now = Instant::now();
                    let mut state = self.state();
                    (state.heard, state.moved) = (now, now);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Over::Lost(error.to_string()),
            }
        };
        self.end(over);
    }

    /// Takes in all whole frames that have come.
    fn take_in(&self, decoder: &mut Decoder, unpress: &mut Unpress) -> Result<(), Over> {
        let garbled = |why: String| Over::Garbled(why);
        while let Some(frame) = decoder.frame().map_err(|bad| garbled(bad.to_string()))? {
            let frame = unpress.frame(frame).map_err(|bad| garbled(bad.to_string()))?;
            let mut state = self.state();
            let event = state.session.receive(frame).map_err(|bad| garbled(bad.to_string()))?;
            match event {
                Some(Event::Opened { stream, request }) => {
                    state.inboxes.insert(stream, Inbox::default());
                    state.opened.push_back((stream, request));
                    self.to_answer.ring();
                }
                Some(Event::Data { stream, bytes }) => {
                    match state.inboxes.get_mut(&stream) {
                        Some(inbox) => {
                            inbox.chunks.push_back(bytes);
                            inbox.changed.ring();
                        }
                        // Whoever answered has ended, and did not want the rest of the question.
                        None => state.session.consumed(stream, bytes.len()),
                    }
                }
                Some(Event::Ended { stream }) => {
                    if let Some(inbox) = state.inboxes.get_mut(&stream) {
                        inbox.has_ended = true;
                        inbox.changed.ring();
                    }
                    self.changed.ring();
                }
                Some(Event::Reset { stream, why }) => {
                    if let Some(inbox) = state.inboxes.get_mut(&stream) {
                        inbox.reset = Some(printable(&why));
                        inbox.changed.ring();
                    }
                    self.changed.ring();
                }
                Some(Event::Pong(number)) => {
                    // One that nobody waits for is not kept.
                    let is_ours = number <= state.pings;
                    is_ours.then(|| state.pongs.insert(number));
                    self.changed.ring();
                }
                Some(Event::Goodbye(why)) => return Err(Over::Goodbye(printable(&why))),
                Some(Event::Granted { .. }) => {}
                // A stream may be over that both know to be.
                None => self.changed.ring(),
            }
            if state.session.has_output() {
                self.to_write.ring();
            }
        }
        Ok(())
    }

    fn write(&self, mut to: impl Write) {
        let mut press = Narrow::new(Instant::now);
        loop {
            let mut state = self.state();
            let out = loop {
                if let Some((of, out)) = state.session.output() {
                    // Room has been made for who waits to send, and a stream may be over.
                    match of.and_then(|of| state.inboxes.get(&of)) {
                        Some(inbox) => inbox.changed.ring(),
                        None => self.changed.ring(),
                    }
                    break out;
                }
                if state.closing || state.over.is_some() {
                    return;
                }
                state = self.to_write.wait(state);
            };
            drop(state);
            match press.send(&out, &mut to) {
                Ok(count) if count >= MOVES_BYTES => self.state().moved = Instant::now(),
                Ok(_) => {}
                Err(error) => return self.end(Over::Lost(error.to_string())),
            }
        }
    }

    fn end(&self, over: Over) {
        let mut state = self.state();
        state.over.get_or_insert(over);
        self.wake_all(&state);
    }

    fn wake_all(&self, state: &State) {
        self.to_write.ring();
        self.to_answer.ring();
        self.changed.ring();
        state.inboxes.values().for_each(|inbox| inbox.changed.ring());
    }
}

#[cfg(test)]
pub(crate) mod tests;
