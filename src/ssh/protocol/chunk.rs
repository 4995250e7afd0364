//! The data of one frame, on its way out.
//!
//! Holds: bytes are written into it once, and from there to the system, with the frame's head in front of them.

use super::frame::{HEAD, Kind, head};
use super::session::StreamId;

/// The most data in one frame, in bytes: [`WHOLE`] and what is said before it.
pub const CHUNK_MAX: usize = WHOLE + 64;
/// A large file is sent in pieces of so many bytes: a hash is slower over pieces that are no multiple of its blocks.
pub const WHOLE: usize = 64 << 10;

/// At most [`CHUNK_MAX`] bytes of a stream.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Empty, or the room for the head and what is sent.
    bytes: Vec<u8>,
}

impl Chunk {
    /// How many bytes are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(HEAD)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more can be put in.
    #[must_use]
    pub fn room(&self) -> usize {
        CHUNK_MAX - self.len()
    }

    /// Puts in what there is room for; how many bytes that are.
    pub fn put(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.begin(taken);
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// Puts in up to `most` bytes that `read` writes, behind as many as `before` has, which are written when it is known how
    /// many they are. Nothing is put in if there are none.
    ///
    /// # Errors
    /// What `read` failed at; nothing was put in.
    pub fn fill<const N: usize, E>(
        &mut self,
        most: usize,
        before: impl FnOnce(usize) -> [u8; N],
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let most = most.min(self.room().saturating_sub(N));
        self.begin(most + N);
        let from = self.bytes.len();
        self.bytes.resize(from + N + most, 0);
        let filled = read(&mut self.bytes[from + N..]);
        let count = *filled.as_ref().unwrap_or(&0);
        let end = if count == 0 { from } else { from + N + count };
        self.bytes.truncate(end);
        if count > 0 {
            self.bytes[from..from + N].copy_from_slice(&before(count));
        }
        filled
    }

    /// Makes room for the head and so many bytes.
    fn begin(&mut self, bytes: usize) {
        if self.bytes.is_empty() {
            // Much of it is likely to be followed by more.
            let bytes = if bytes > CHUNK_MAX / 8 { CHUNK_MAX } else { bytes };
            self.bytes.reserve_exact(HEAD + bytes);
            self.bytes.resize(HEAD, 0);
        }
    }

    /// What is in it.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(HEAD..).unwrap_or_default()
    }

    /// Its first bytes, which are taken out of it.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let mut first = Self::default();
        let taken = first.put(&self.data()[..bytes.min(self.len())]);
        drop(self.bytes.drain(HEAD..HEAD + taken));
        first
    }

    /// The frame that carries it.
    pub(super) fn framed(mut self, stream: StreamId) -> Vec<u8> {
        self.begin(0);
        let length = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.bytes[..HEAD].copy_from_slice(&head(length, Kind::Data, 0, stream));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Frame};
    use super::*;

    fn chunk(bytes: &[u8]) -> Chunk {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.put(bytes), bytes.len());
        chunk
    }

    #[test]
    fn what_was_put_in_is_the_payload_of_its_frame() {
        for bytes in [&b""[..], b"x", &vec![7; CHUNK_MAX]] {
            let mut decoder = Decoder::at_once();
            decoder.feed(&chunk(bytes).framed(5));
            let frame = Frame { kind: Kind::Data, flags: 0, stream: 5, payload: bytes.to_vec() };
            assert_eq!(decoder.frame(), Ok(Some(frame)));
        }
    }

    #[test]
    fn it_takes_what_there_is_room_for_and_gives_its_first_bytes_away() {
        let mut full = chunk(&vec![1; CHUNK_MAX - 2]);
        assert_eq!((full.put(b"abc"), full.room(), full.put(b"d")), (2, 0, 0));
        let first = full.split(CHUNK_MAX - 1);
        assert_eq!((first.len(), full.data()), (CHUNK_MAX - 1, &b"b"[..]));
    }

    #[test]
    fn what_is_read_into_it_comes_behind_its_length_and_nothing_comes_of_nothing() {
        let mut chunk = chunk(b"a");
        let length = |read: usize| [u8::try_from(read).unwrap()];
        let read = chunk.fill(10, length, |room: &mut [u8]| {
            assert_eq!(room.len(), 10);
            room[..3].copy_from_slice(b"xyz");
            Ok::<_, ()>(3)
        });
        assert_eq!((read, chunk.data()), (Ok(3), &b"a\x03xyz"[..]));
        assert_eq!(chunk.fill(10, length, |_| Ok::<_, ()>(0)), Ok(0));
        assert_eq!(chunk.fill(10, length, |_| Err(())), Err(()));
        assert_eq!(chunk.data(), b"a\x03xyz");
        chunk.fill(usize::MAX, |_| [0; 4], |all| Ok::<_, ()>(all.len())).unwrap();
        assert_eq!((chunk.room(), chunk.len()), (0, CHUNK_MAX));
    }
}
