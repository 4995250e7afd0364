//! Messages and bytes on a stream.
//!
//! Holds: what is said is sent in pieces of some size, however small its parts are; nothing longer than its reader allows
//! is held; bytes that do not make a message break the stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::{Broken, Stream};
use super::protocol::{Chunk, WHOLE};

/// The longest piece of bytes, in bytes.
pub const PIECE_MAX: usize = 256 << 10;
const LENGTH: usize = 4;
/// With less room than this a piece begins in the next chunk, in bytes: what comes in one is taken without being put together.
const ROOM_MIN: usize = 4 << 10;

/// Both ways of a stream, which is broken off when both are dropped before its end.
#[must_use]
pub fn talk(stream: Stream) -> (Incoming, Outgoing) {
    let stream = Arc::new(stream);
    let incoming = Incoming { stream: stream.clone(), buffer: Vec::new(), at: 0, left: 0 };
    (incoming, Outgoing { stream, said: Mutex::default() })
}

/// The message that these bytes are, all of them.
///
/// # Errors
/// They are none.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(garbled("a message that cannot be read")),
    }
}

/// What comes on a stream.
pub struct Incoming {
    stream: Arc<Stream>,
    buffer: Vec<u8>,
    /// What is before was taken.
    at: usize,
    /// What is still to come of a piece of bytes.
    left: usize,
}

impl Incoming {
    /// The next message; `None` once the other side has ended.
    ///
    /// # Errors
    /// The stream broke, or what came is no such message, or one of more than `max` bytes.
    pub fn hear<T: DeserializeOwned>(&mut self, max: usize) -> Result<Option<T>, Broken> {
        let Some(piece) = self.message(max)? else { return Ok(None) };
        read(piece).map(Some)
    }

    /// The bytes of the next message; `None` once the other side has ended.
    ///
    /// # Errors
    /// The stream broke, or the message has more than `max` bytes.
    pub fn message(&mut self, max: usize) -> Result<Option<&[u8]>, Broken> {
        if self.buffer.len() == self.at && !self.more()? {
            return Ok(None);
        }
        self.piece(max).map(Some)
    }

    /// The next message, which has to come.
    ///
    /// # Errors
    /// As [`Self::hear`]; or the other side has ended.
    pub fn expect<T: DeserializeOwned>(&mut self, max: usize) -> Result<T, Broken> {
        self.hear(max)?.ok_or_else(|| garbled("it ended before its answer"))
    }

    /// The next bytes, as many as are there of a piece; none is their end.
    ///
    /// # Errors
    /// The stream broke or ended, or the piece is longer than [`PIECE_MAX`].
    pub fn bytes(&mut self) -> Result<&[u8], Broken> {
        if self.left == 0 {
            self.left = self.length(PIECE_MAX)?;
            if self.left == 0 {
                return Ok(&[]);
            }
        }
        self.need(1)?;
        let count = self.left.min(self.buffer.len() - self.at);
        self.left -= count;
        Ok(self.take(count))
    }

    /// Whether a message would not be waited for.
    #[cfg(test)]
    pub(crate) fn has_come(&self) -> bool {
        self.at < self.buffer.len() || self.stream.has_come()
    }

    fn piece(&mut self, max: usize) -> Result<&[u8], Broken> {
        if self.left > 0 {
            return Err(garbled("bytes in the place of a message"));
        }
        let length = self.length(max)?;
        self.need(length)?;
        Ok(self.take(length))
    }

    fn length(&mut self, max: usize) -> Result<usize, Broken> {
        self.need(LENGTH)?;
        let mut length = [0; LENGTH];
        length.copy_from_slice(self.take(LENGTH));
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > max {
            return Err(garbled("a message that is too long"));
        }
        Ok(length)
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let from = self.at;
        self.at += count;
        &self.buffer[from..self.at]
    }

    fn need(&mut self, bytes: usize) -> Result<(), Broken> {
        while self.buffer.len() - self.at < bytes {
            if !self.more()? {
                return Err(garbled("it ended in the middle of a message"));
            }
        }
        Ok(())
    }

    /// Takes in what comes next; false at the end.
    fn more(&mut self) -> Result<bool, Broken> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let more = self.stream.receive()?;
        let Some(more) = more else { return Ok(false) };
        match self.buffer.is_empty() {
            true => self.buffer = more,
            false => self.buffer.extend(more),
        }
        Ok(true)
    }
}

fn garbled(why: &str) -> Broken {
    Broken::Garbled(why.to_owned())
}

/// What goes out on a stream; several threads can speak.
pub struct Outgoing {
    stream: Arc<Stream>,
    said: Mutex<Said>,
}

/// What was said and has not been sent.
#[derive(Default)]
struct Said {
    chunk: Chunk,
    /// The bytes of one message.
    message: Vec<u8>,
}

impl Outgoing {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something, maybe later.
    ///
    /// # Errors
    /// The stream broke.
    pub fn say<T: Serialize>(&self, message: &T) -> Result<(), Broken> {
        let mut said = self.said();
        let mut bytes = std::mem::take(&mut said.message);
        bytes.clear();
        let bytes = postcard::to_extend(message, bytes);
        let bytes = bytes.map_err(|_| garbled("it cannot be said"))?;
        let put = self.put(&mut said, &bytes);
        if bytes.capacity() <= ROOM_MIN {
            said.message = bytes;
        }
        put
    }

    /// Says it now, and all that waits.
    ///
    /// # Errors
    /// The stream broke.
    pub fn say_now<T: Serialize>(&self, message: &T) -> Result<(), Broken> {
        self.say(message)?;
        self.flush()
    }

    /// Sends a piece of bytes, at most [`PIECE_MAX`] or what else its reader takes; an empty one is their end.
    ///
    /// # Errors
    /// The stream broke.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Broken> {
        self.put(&mut self.said(), bytes)
    }

    /// Sends a piece of up to `most` bytes that `read` puts where they are sent from, or nothing if there are none; how many
    /// they were, or what it failed at. Where there is more, each piece is a [`WHOLE`] one.
    ///
    /// # Errors
    /// The stream broke.
    pub fn bytes_of<E>(
        &self,
        most: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Broken> {
        let (mut said, most) = (self.said(), most.min(WHOLE));
        let least = if most == WHOLE { most } else { most.min(ROOM_MIN) };
        self.make_room(&mut said, least)?;
        Ok(said.chunk.fill(most, length_of, read))
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// The stream broke.
    pub fn flush(&self) -> Result<(), Broken> {
        self.stream.send_chunk(&mut self.said().chunk)
    }

    /// Nothing more will be said.
    ///
    /// # Errors
    /// The stream broke.
    pub fn end(&self) -> Result<(), Broken> {
        self.flush()?;
        self.stream.end();
        Ok(())
    }

    /// Breaks it off, and says why.
    pub fn refuse(&self, why: &str) {
        self.stream.refuse(why);
    }

    /// The order of what is said is that in which it was taken in: it is sent while it is held.
    fn put(&self, said: &mut Said, mut bytes: &[u8]) -> Result<(), Broken> {
        self.make_room(said, bytes.len().min(ROOM_MIN))?;
        said.chunk.put(&length_of(bytes.len()));
        loop {
            let taken = said.chunk.put(bytes);
            bytes = &bytes[taken..];
            if bytes.is_empty() {
                return Ok(());
            }
            self.stream.send_chunk(&mut said.chunk)?;
        }
    }

    /// Has a piece begin where at least so many bytes of it have room.
    fn make_room(&self, said: &mut Said, least: usize) -> Result<(), Broken> {
        if said.chunk.room() < LENGTH + least {
            self.stream.send_chunk(&mut said.chunk)?;
        }
        Ok(())
    }
}

fn length_of(bytes: usize) -> [u8; LENGTH] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::ssh::link::tests::end;
    use crate::ssh::protocol::Side;

    /// What one end says, as the other hears it.
    fn said<T>(say: impl FnOnce(&Outgoing) + Send, hear: impl FnOnce(&mut Incoming) -> T) -> T {
        let (a, b) = UnixStream::pair().unwrap();
        let (one, other) = (end(Side::Caller, a), end(Side::Agent, b));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut incoming, outgoing) = talk(one.open(b"").unwrap());
                say(&outgoing);
                outgoing.end().unwrap();
                assert_eq!(incoming.hear::<u8>(1), Ok(None), "all of it was heard");
            });
            let (mut incoming, outgoing) = talk(other.accept().unwrap().1);
            let heard = hear(&mut incoming);
            outgoing.end().unwrap();
            heard
        })
    }

    #[test]
    fn a_large_file_goes_in_whole_pieces_whatever_is_said_around_it() {
        const TAIL: usize = 5;
        let say = |out: &Outgoing| {
            out.say(&"before").unwrap();
            for left in [3 * WHOLE + TAIL, 2 * WHOLE + TAIL, WHOLE + TAIL, TAIL, 0] {
                let all = |room: &mut [u8]| {
                    room.fill(7);
                    Ok::<_, ()>(room.len())
                };
                assert_eq!(out.bytes_of(left, all).unwrap(), Ok(left.min(WHOLE)));
            }
            out.bytes(&[]).unwrap();
            out.say(&"after").unwrap();
        };
        let pieces = said(say, |incoming| {
            assert_eq!(incoming.expect::<String>(100).unwrap(), "before");
            let mut pieces = Vec::new();
            while let piece @ [_, ..] = incoming.bytes().unwrap() {
                assert!(piece.iter().all(|byte| *byte == 7));
                pieces.push(piece.len());
            }
            assert_eq!(incoming.expect::<String>(100).unwrap(), "after");
            assert_eq!(incoming.hear::<String>(100), Ok(None));
            pieces
        });
        assert_eq!(pieces, [WHOLE, WHOLE, WHOLE, TAIL]);
    }

    #[test]
    fn messages_and_bytes_of_any_length_come_as_they_were_said() {
        let lengths: Vec<usize> = (1..40).map(|n| n * n * n * 7 % (3 * WHOLE)).collect();
        let text = |length: &usize| "x".repeat(*length);
        let say = |out: &Outgoing| {
            for length in &lengths {
                out.say(&text(length)).unwrap();
                out.bytes(text(length).as_bytes()).unwrap();
                out.bytes(&[]).unwrap();
            }
        };
        let heard = said(say, |incoming| {
            let mut heard = Vec::new();
            while let Some(message) = incoming.hear::<String>(4 * WHOLE).unwrap() {
                let mut bytes = 0;
                loop {
                    match incoming.bytes().unwrap().len() {
                        0 => break,
                        more => bytes += more,
                    }
                }
                heard.push((message.len(), bytes));
            }
            heard
        });
        let expected: Vec<_> = lengths.iter().map(|length| (*length, *length)).collect();
        assert_eq!(heard, expected);
    }
}
