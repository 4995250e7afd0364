//! One connection's streams: whose they are, who may send how much, and when all is over.
//!
//! Holds: no side takes in more than it has granted; what concerns the connection goes before data, and among streams with
//! data each has its turn of one chunk, so that a small answer never waits for a large file; a peer that breaks a rule is
//! told which, and is spoken to no more.

use std::collections::{BTreeMap, VecDeque};

use super::{BadMessage, CHUNK_MAX, Chunk, Frame, Kind, Message, PAYLOAD_MAX};

/// What each side may send on a new stream before the other one grants more, in bytes.
pub const CREDIT: u32 = 1 << 20;
/// What may wait to be sent on one stream, in bytes.
pub const PENDING_MAX: usize = 4 * CHUNK_MAX;
/// The most streams of a connection at a time, of those that one side opens.
pub const STREAMS_MAX: usize = 64;
/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 64 << 10;
/// What may wait to be sent about the connection, in bytes. More is a peer that asks and does not listen.
const CONTROL_MAX: usize = 256 << 10;
/// The longest reason of a reset, in bytes.
const WHY_MAX: usize = 1024;

/// A stream's number: odd if the caller opened it, even and not 0 if the agent did.
pub type StreamId = u16;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Caller,
    Agent,
}

/// What the other side did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Opened {
        stream: StreamId,
        request: Vec<u8>,
    },
    /// Room for it is granted anew by [`Session::consumed`].
    Data {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    /// It sends no more on the stream.
    Ended {
        stream: StreamId,
    },
    /// The stream is over, whatever was under way on it.
    Reset {
        stream: StreamId,
        why: String,
    },
    /// More may be sent on the stream than before.
    Granted {
        stream: StreamId,
    },
    Pong(u64),
    Goodbye(String),
}

/// Which rule a peer broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error(transparent)]
    Message(#[from] BadMessage),
    #[error("it speaks on stream {0}, which there is not")]
    NoStream(StreamId),
    #[error("it opened stream {0}, which is not its own or is open")]
    NotItsOwn(StreamId),
    #[error("it opened more than {STREAMS_MAX} streams")]
    TooMany,
    #[error("it asks on stream {0} with more than {REQUEST_MAX} bytes")]
    Request(StreamId),
    #[error("it sent more on stream {0} than it was granted")]
    Overrun(StreamId),
    #[error("it sent on stream {0} after its end")]
    AfterEnd(StreamId),
    #[error("it grants more on stream {0} than there can be")]
    Credit(StreamId),
    #[error("it asks faster than it listens")]
    Flood,
}

#[derive(Debug, Default)]
struct Stream {
    /// What the other side takes at the moment, in bytes.
    may_send: u32,
    /// What it may still send.
    granted: u32,
    /// What was taken in and consumed, and not granted anew.
    owed: u32,
    pending: VecDeque<Chunk>,
    pending_bytes: usize,
    ends: bool,
    has_ended: bool,
    they_ended: bool,
    /// We broke it off: what is still on its way to us is dropped, until they say that they know.
    is_reset: bool,
}

/// The state of one connection, without its io: frames in, events out, bytes to be sent.
#[derive(Debug)]
pub struct Session {
    side: Side,
    next: StreamId,
    streams: BTreeMap<StreamId, Stream>,
    control: Vec<u8>,
    /// Streams that have something to send and may, in the order of their turns.
    turns: VecDeque<StreamId>,
}

impl Session {
    #[must_use]
    pub fn new(side: Side) -> Self {
        let next = if side == Side::Caller { 1 } else { 2 };
        let streams = BTreeMap::new();
        Self { side, next, streams, control: Vec::new(), turns: VecDeque::new() }
    }

    /// Opens a stream; `None` while there are as many as there can be.
    ///
    /// # Panics
    /// The request is longer than [`REQUEST_MAX`], which its maker has to see to.
    pub fn open(&mut self, request: Vec<u8>) -> Option<StreamId> {
        assert!(request.len() <= REQUEST_MAX, "a request is no transfer");
        if self.opened_by(self.side) >= STREAMS_MAX {
            return None;
        }
        while self.streams.contains_key(&self.next) {
            self.next = self.after_next();
        }
        let id = self.next;
        self.next = self.after_next();
        self.streams.insert(id, Stream::new());
        self.tell(&Frame { kind: Kind::Open, flags: 0, stream: id, payload: request });
        Some(id)
    }

    fn after_next(&self) -> StreamId {
        let first = if self.side == Side::Caller { 1 } else { 2 };
        self.next.checked_add(2).unwrap_or(first)
    }

    /// Takes data to be sent and leaves `chunk` empty, or does not yet: there is room when [`Self::output`] has made some.
    /// `None`: the stream is over.
    pub fn send(&mut self, id: StreamId, chunk: &mut Chunk) -> Option<bool> {
        let stream = self.streams.get_mut(&id).filter(|s| !s.is_reset && !s.ends)?;
        if stream.pending_bytes + chunk.len() > PENDING_MAX {
            return Some(false);
        }
        stream.pending_bytes += chunk.len();
        // Many small ones wait as one.
        match stream.pending.back_mut().filter(|last| last.room() >= chunk.len()) {
            Some(last) => {
                last.put(chunk.data());
                *chunk = Chunk::default();
            }
            None if chunk.is_empty() => {}
            None => stream.pending.push_back(std::mem::take(chunk)),
        }
        self.take_turn(id);
        Some(true)
    }

    /// Nothing more will be sent on a stream.
    pub fn end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ends = true;
            self.take_turn(id);
        }
    }

    /// Breaks a stream off, and says why.
    pub fn reset(&mut self, id: StreamId, why: &str) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_reset) else { return };
        stream.is_reset = true;
        stream.forget_pending();
        self.turns.retain(|other| *other != id);
        self.tell_reset(id, why);
    }

    /// What was taken in on a stream is done with; the other side may send as much again.
    pub fn consumed(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.owed = stream.owed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        // A grant for every chunk would be as many frames back as there come.
        if stream.owed >= CREDIT / 4 && !stream.they_ended && !stream.is_reset {
            let grant = std::mem::take(&mut stream.owed);
            stream.granted += grant;
            let payload = grant.to_le_bytes().to_vec();
            self.tell(&Frame { kind: Kind::Credit, flags: 0, stream: id, payload });
        }
    }

    pub fn say(&mut self, message: &Message) {
        self.tell(&message.frame());
    }

    /// Whether there is something to be sent now.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.control.is_empty() || !self.turns.is_empty()
    }

    /// The next bytes to be sent, if there are any: what concerns the connection, else one chunk of the stream whose turn it is;
    /// that stream, as long as it is not over.
    pub fn output(&mut self) -> Option<(Option<StreamId>, Vec<u8>)> {
        if !self.control.is_empty() {
            return Some((None, std::mem::take(&mut self.control)));
        }
        let id = self.turns.pop_front()?;
        let stream = self.streams.get_mut(&id)?;
        let mut out = stream.next_chunk().map(|chunk| chunk.framed(id)).unwrap_or_default();
        if stream.pending.is_empty() && stream.ends && !stream.has_ended {
            stream.has_ended = true;
            Frame { kind: Kind::End, flags: 0, stream: id, payload: Vec::new() }.write(&mut out);
        }
        self.take_turn(id);
        self.forget_if_over(id);
        Some((self.streams.contains_key(&id).then_some(id), out))
    }

    /// Takes in a frame; what it means, if it means something.
    ///
    /// # Errors
    /// The peer broke a rule: nothing it says counts any more.
    pub fn receive(&mut self, frame: Frame) -> Result<Option<Event>, Violation> {
        let Frame { kind, stream: id, payload, .. } = frame;
        if self.control.len() > CONTROL_MAX {
            return Err(Violation::Flood);
        }
        match kind {
            Kind::Unknown(_) => Ok(None),
            Kind::Hello => Err(BadMessage::Misplaced.into()),
            Kind::Message => {
                let frame = Frame { kind, flags: 0, stream: id, payload };
                self.hear(Message::read(&frame)?)
            }
            Kind::Open => self.opened(id, payload).map(Some),
            Kind::Data => self.data(id, payload),
            Kind::Credit => self.granted(id, &payload),
            Kind::End => self.ended(id),
            Kind::Reset => self.broken_off(id, &payload),
        }
    }

    fn hear(&mut self, message: Message) -> Result<Option<Event>, Violation> {
        match message {
            Message::Ping(number) => {
                self.say(&Message::Pong(number));
                Ok(None)
            }
            Message::Pong(number) => Ok(Some(Event::Pong(number))),
            Message::Goodbye(why) => Ok(Some(Event::Goodbye(why))),
        }
    }

    fn opened(&mut self, id: StreamId, request: Vec<u8>) -> Result<Event, Violation> {
        let them = if self.side == Side::Caller { Side::Agent } else { Side::Caller };
        if id == 0 || opener(id) != them || self.streams.contains_key(&id) {
            return Err(Violation::NotItsOwn(id));
        }
        if request.len() > REQUEST_MAX {
            return Err(Violation::Request(id));
        }
        if self.opened_by(them) >= STREAMS_MAX {
            return Err(Violation::TooMany);
        }
        self.streams.insert(id, Stream::new());
        Ok(Event::Opened { stream: id, request })
    }

    fn data(&mut self, id: StreamId, bytes: Vec<u8>) -> Result<Option<Event>, Violation> {
        let stream = self.streams.get_mut(&id).ok_or(Violation::NoStream(id))?;
        if stream.they_ended {
            return Err(Violation::AfterEnd(id));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        stream.granted = stream.granted.checked_sub(length).ok_or(Violation::Overrun(id))?;
        Ok((!stream.is_reset).then_some(Event::Data { stream: id, bytes }))
    }

    fn granted(&mut self, id: StreamId, payload: &[u8]) -> Result<Option<Event>, Violation> {
        let grant: [u8; 4] = payload.try_into().map_err(|_| Violation::Credit(id))?;
        // Its last grants may cross our end.
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
        let sum = stream.may_send.checked_add(u32::from_le_bytes(grant));
        stream.may_send = sum.filter(|sum| *sum <= CREDIT).ok_or(Violation::Credit(id))?;
        self.take_turn(id);
        Ok(Some(Event::Granted { stream: id }))
    }

    fn ended(&mut self, id: StreamId) -> Result<Option<Event>, Violation> {
        let stream = self.streams.get_mut(&id).ok_or(Violation::NoStream(id))?;
        if std::mem::replace(&mut stream.they_ended, true) {
            return Err(Violation::AfterEnd(id));
        }
        let is_reset = stream.is_reset;
        self.forget_if_over(id);
        Ok((!is_reset).then_some(Event::Ended { stream: id }))
    }

    fn broken_off(&mut self, id: StreamId, why: &[u8]) -> Result<Option<Event>, Violation> {
        let Some(stream) = self.streams.remove(&id) else {
            // It crossed the end of a stream that is over for us; they wait for the answer.
            self.tell_reset(id, "");
            return Ok(None);
        };
        self.turns.retain(|other| *other != id);
        if stream.is_reset {
            return Ok(None);
        }
        self.tell_reset(id, "");
        let why = String::from_utf8_lossy(&why[..why.len().min(WHY_MAX)]).into_owned();
        Ok(Some(Event::Reset { stream: id, why }))
    }

    fn tell_reset(&mut self, id: StreamId, why: &str) {
        let payload = why.as_bytes()[..why.len().min(WHY_MAX)].to_vec();
        self.tell(&Frame { kind: Kind::Reset, flags: 0, stream: id, payload });
    }

    fn tell(&mut self, frame: &Frame) {
        debug_assert!(frame.payload.len() <= PAYLOAD_MAX as usize, "cut by its maker");
        frame.write(&mut self.control);
    }

    /// A stream that has something to send and may gets a turn, if it has none.
    fn take_turn(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else { return };
        let has_data = !stream.pending.is_empty() && stream.may_send > 0;
        let ends = stream.pending.is_empty() && stream.ends && !stream.has_ended;
        if (has_data || ends) && !stream.is_reset && !self.turns.contains(&id) {
            self.turns.push_back(id);
        }
    }

    fn forget_if_over(&mut self, id: StreamId) {
        let is_over = |s: &Stream| s.has_ended && s.they_ended && !s.is_reset;
        if self.streams.get(&id).is_some_and(is_over) {
            self.streams.remove(&id);
        }
    }

    fn opened_by(&self, side: Side) -> usize {
        self.streams.keys().filter(|id| opener(**id) == side).count()
    }

    /// How many streams there are, those included that one side has left.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}

fn opener(id: StreamId) -> Side {
    if id % 2 == 1 { Side::Caller } else { Side::Agent }
}

impl Stream {
    fn new() -> Self {
        Self { may_send: CREDIT, granted: CREDIT, ..Self::default() }
    }

    /// What is sent next of what waits, and may be sent.
    fn next_chunk(&mut self) -> Option<Chunk> {
        let most = self.may_send as usize;
        let chunk = match self.pending.front_mut()? {
            _ if most == 0 => return None,
            first if first.len() > most => first.split(most),
            _ => self.pending.pop_front()?,
        };
        self.may_send -= u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.pending_bytes -= chunk.len();
        Some(chunk)
    }

    fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
    }
}
