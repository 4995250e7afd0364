//! Messages and bytes on a stream.
//!
//! Holds: what is said is sent in pieces of some size, however small its parts are; nothing longer than its reader allows
//! is held; bytes that do not make a message break the stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::link::{Broken, Stream};

/// So much is put together before it is sent, in bytes.
const GATHER_BYTES: usize = 64 << 10;
/// The longest piece of bytes, in bytes.
pub const PIECE_MAX: usize = 256 << 10;
const LENGTH: usize = 4;

/// Both ways of a stream, which is broken off when both are dropped before its end.
#[must_use]
pub fn talk(stream: Stream) -> (Incoming, Outgoing) {
    let stream = Arc::new(stream);
    let incoming = Incoming { stream: stream.clone(), buffer: Vec::new(), at: 0 };
    (incoming, Outgoing { stream, buffer: Mutex::default() })
}

/// What comes on a stream.
pub struct Incoming {
    stream: Arc<Stream>,
    buffer: Vec<u8>,
    /// What is before was taken.
    at: usize,
}

impl Incoming {
    /// The next message; `None` once the other side has ended.
    ///
    /// # Errors
    /// The stream broke, or what came is no such message, or one of more than `max` bytes.
    pub fn hear<T: DeserializeOwned>(&mut self, max: usize) -> Result<Option<T>, Broken> {
        let Some(piece) = self.message(max)? else { return Ok(None) };
        let read = postcard::take_from_bytes(piece);
        match read {
            Ok((message, [])) => Ok(Some(message)),
            Ok(_) | Err(_) => Err(garbled("a message that cannot be read")),
        }
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

    /// The next piece of bytes; an empty one is their end.
    ///
    /// # Errors
    /// The stream broke or ended, or the piece is longer than [`PIECE_MAX`].
    pub fn bytes(&mut self) -> Result<&[u8], Broken> {
        self.piece(PIECE_MAX)
    }

    fn piece(&mut self, max: usize) -> Result<&[u8], Broken> {
        self.need(LENGTH)?;
        let mut length = [0; LENGTH];
        length.copy_from_slice(&self.buffer[self.at..self.at + LENGTH]);
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > max {
            return Err(garbled("a message that is too long"));
        }
        self.at += LENGTH;
        self.need(length)?;
        let from = self.at;
        self.at += length;
        Ok(&self.buffer[from..self.at])
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
    buffer: Mutex<Vec<u8>>,
}

impl Outgoing {
    fn buffer(&self) -> MutexGuard<'_, Vec<u8>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something, maybe later.
    ///
    /// # Errors
    /// The stream broke.
    pub fn say<T: Serialize>(&self, message: &T) -> Result<(), Broken> {
        let mut buffer = self.buffer();
        let from = buffer.len();
        buffer.extend([0; LENGTH]);
        let written = postcard::to_extend(message, std::mem::take(&mut *buffer));
        *buffer = written.map_err(|_| garbled("it cannot be said"))?;
        let length = u32::try_from(buffer.len() - from - LENGTH).unwrap_or(u32::MAX);
        buffer[from..from + LENGTH].copy_from_slice(&length.to_le_bytes());
        self.send_if(&mut buffer, GATHER_BYTES)
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
        let mut buffer = self.buffer();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        buffer.extend(length.to_le_bytes());
        buffer.extend(bytes);
        self.send_if(&mut buffer, GATHER_BYTES)
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// The stream broke.
    pub fn flush(&self) -> Result<(), Broken> {
        self.send_if(&mut self.buffer(), 1)
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

    /// The order of what is said is that in which it was taken in: it is sent while the buffer is held.
    fn send_if(&self, buffer: &mut Vec<u8>, least: usize) -> Result<(), Broken> {
        if buffer.len() < least {
            return Ok(());
        }
        let sent = self.stream.send(buffer);
        buffer.clear();
        if buffer.capacity() > 4 * GATHER_BYTES {
            buffer.shrink_to(GATHER_BYTES);
        }
        sent
    }
}
