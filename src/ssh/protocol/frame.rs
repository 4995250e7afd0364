//! Frames: `u32 length | u8 kind | u8 flags | u16 stream | payload`, little-endian; the length is the payload's.
//!
//! Before the first one an agent says [`MAGIC`], and whatever a login shell printed before that is passed over.

use std::io::{self, Read};

/// The longest payload, in bytes.
pub const PAYLOAD_MAX: u32 = 1 << 20;
pub(super) const HEAD: usize = 8;
/// The data is compressed.
pub(super) const PRESSED: u8 = 1;
/// A payload from this size on is taken in on its own, in bytes.
const LONG_BYTES: usize = 16 << 10;
/// What is read at a time where no long payload is under way, in bytes.
const READ_BYTES: usize = 16 << 10;
/// Neither text nor anything that a terminal is sent.
const MAGIC: &[u8] = b"\x00\xffyeet-agent\xff\x00";
/// The most that may come before it.
const NOISE_MAX: usize = 64 << 10;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who speaks; readable by every version there will ever be.
    Hello,
    /// A [`super::Message`], about the connection.
    Message,
    /// A stream begins; what is asked on it.
    Open,
    /// Bytes of a stream.
    Data,
    /// So many bytes more may be sent on a stream, a `u32`.
    Credit,
    /// The sender has no more for a stream.
    End,
    /// A stream is broken off; why. It is answered with the same.
    Reset,
    /// Something that a later version says; it is passed over.
    Unknown(u8),
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Hello,
            2 => Self::Message,
            3 => Self::Open,
            4 => Self::Data,
            5 => Self::Credit,
            6 => Self::End,
            7 => Self::Reset,
            other => Self::Unknown(other),
        }
    }

    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Message => 2,
            Self::Open => 3,
            Self::Data => 4,
            Self::Credit => 5,
            Self::End => 6,
            Self::Reset => 7,
            Self::Unknown(other) => other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// Of data: [`PRESSED`]. No other has a meaning yet; they are sent as zero and not looked at.
    pub flags: u8,
    /// 0 is for what concerns the connection.
    pub stream: u16,
    pub payload: Vec<u8>,
}

/// Why what came is no frame; nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("a frame of {0} bytes, and the longest there can be has {PAYLOAD_MAX}")]
    Length(u32),
    #[error("compressed data that cannot be read")]
    Pressed,
    #[error("no agent spoke within the first {NOISE_MAX} bytes")]
    NoAgent,
}

impl Frame {
    /// A frame of the connection itself.
    #[must_use]
    pub fn new(kind: Kind, payload: Vec<u8>) -> Self {
        Self { kind, flags: 0, stream: 0, payload }
    }

    /// Appends the frame's bytes.
    ///
    /// # Panics
    /// The payload is longer than [`PAYLOAD_MAX`], which its maker has to see to.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        assert!(length <= PAYLOAD_MAX, "a payload is cut before it is framed");
        out.extend(head(length, self.kind, self.flags, self.stream));
        out.extend(&self.payload);
    }
}

pub(super) fn head(length: u32, kind: Kind, flags: u8, stream: u16) -> [u8; HEAD] {
    let [a, b, c, d] = length.to_le_bytes();
    let [low, high] = stream.to_le_bytes();
    [a, b, c, d, kind.byte(), flags, low, high]
}

/// Appends what an agent says first.
pub(crate) fn write_magic(out: &mut Vec<u8>) {
    out.extend(MAGIC);
}

/// Frames out of bytes, however they are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// How much of `bytes` has been taken.
    at: usize,
    /// A frame with a long payload, and how much of that has come; nothing is in `bytes` then.
    long: Option<(Frame, usize)>,
    /// Whether the agent has spoken; where none is awaited, from the beginning.
    has_begun: bool,
    passed_over: usize,
}

impl Decoder {
    /// For the side that an agent speaks to: everything before its magic is noise.
    #[must_use]
    pub fn after_noise() -> Self {
        Self::default()
    }

    /// For the agent, whose input has no noise.
    #[must_use]
    pub fn at_once() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        if let Some((frame, come)) = &mut self.long {
            let (now, rest) = bytes.split_at(bytes.len().min(frame.payload.len() - *come));
            frame.payload[*come..*come + now.len()].copy_from_slice(now);
            *come += now.len();
            bytes = rest;
        }
        self.forget_taken();
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes in what can be read now; how many bytes that are, 0 at the end. A long payload is read to where it stays.
    ///
    /// # Errors
    /// The reader's.
    pub fn read_from(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if let Some((frame, come)) = &mut self.long
            && *come < frame.payload.len()
        {
            let read = from.read(&mut frame.payload[*come..])?;
            *come += read;
            return Ok(read);
        }
        self.forget_taken();
        let end = self.bytes.len();
        self.bytes.resize(end + READ_BYTES, 0);
        let read = from.read(&mut self.bytes[end..]);
        self.bytes.truncate(end + *read.as_ref().unwrap_or(&0));
        read
    }

    fn forget_taken(&mut self) {
        self.bytes.drain(..self.at);
        self.at = 0;
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// What came can be no frame.
    pub fn frame(&mut self) -> Result<Option<Frame>, BadFrame> {
        if !self.has_begun && !self.begin()? {
            return Ok(None);
        }
        if let Some((frame, come)) = self.long.take() {
            if come < frame.payload.len() {
                self.long = Some((frame, come));
                return Ok(None);
            }
            return Ok(Some(frame));
        }
        let rest = &self.bytes[self.at..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, kind, flags, low, high] = *head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > PAYLOAD_MAX {
            return Err(BadFrame::Length(length));
        }
        let size = length as usize;
        let (kind, stream) = (Kind::of(kind), u16::from_le_bytes([low, high]));
        let Some(payload) = rest.get(..size) else {
            if size >= LONG_BYTES {
                let (mut payload, come) = (vec![0; size], rest.len());
                payload[..come].copy_from_slice(rest);
                self.at = self.bytes.len();
                self.long = Some((Frame { kind, flags, stream, payload }, come));
            }
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.at += HEAD + size;
        Ok(Some(Frame { kind, flags, stream, payload }))
    }

    /// Whether the magic has come; what is before it is passed over.
    fn begin(&mut self) -> Result<bool, BadFrame> {
        let bytes = &self.bytes[self.at..];
        if let Some(at) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) {
            self.at += at + MAGIC.len();
            self.has_begun = true;
            return Ok(true);
        }
        // The last bytes may be its beginning.
        let noise = bytes.len().saturating_sub(MAGIC.len() - 1);
        self.at += noise;
        self.passed_over += noise;
        if self.passed_over > NOISE_MAX { Err(BadFrame::NoAgent) } else { Ok(false) }
    }

    /// What came and is no frame yet: for messages, when an agent was awaited and did not speak.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::new(Kind::Hello, b"who".to_vec()),
            Frame { kind: Kind::Unknown(9), flags: 3, stream: 0x0102, payload: Vec::new() },
            Frame::new(Kind::Message, vec![7; 1000]),
        ]
    }

    /// Reads at most so many bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    fn decoded(decoder: &mut Decoder, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut out = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            while let Some(frame) = decoder.frame().unwrap() {
                out.push(frame);
            }
        }
        out
    }

    #[test]
    fn frames_come_out_as_they_went_in_wherever_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        frames().iter().for_each(|frame| frame.write(&mut bytes));
        for at in 0..bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(decoded(&mut Decoder::at_once(), &[a, b]), frames(), "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decoded(&mut Decoder::at_once(), &single), frames());
    }

    #[test]
    fn frames_that_are_read_are_those_that_were_written_however_much_comes_at_a_time() {
        let mut all = frames();
        for length in [LONG_BYTES - 1, 1, 3 * READ_BYTES, READ_BYTES - HEAD, LONG_BYTES, 100_000] {
            let payload = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            all.push(Frame { kind: Kind::Data, flags: 0, stream: 7, payload });
        }
        let mut bytes = Vec::new();
        all.iter().for_each(|frame| frame.write(&mut bytes));
        for most in [1, 7, HEAD, 1000, READ_BYTES, READ_BYTES + 1, usize::MAX] {
            let (mut from, mut decoder) = (Slow(&bytes, most), Decoder::at_once());
            let mut out = Vec::new();
            while decoder.read_from(&mut from).unwrap() > 0 {
                while let Some(frame) = decoder.frame().unwrap() {
                    out.push(frame);
                }
            }
            assert_eq!(out, all, "{most} at a time");
        }
    }

    #[test]
    fn what_a_login_shell_prints_before_the_agent_speaks_is_passed_over() {
        let mut bytes = b"Welcome!\n\x00\xffyeet".to_vec();
        write_magic(&mut bytes);
        frames().iter().for_each(|frame| frame.write(&mut bytes));
        for at in 0..bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(decoded(&mut Decoder::after_noise(), &[a, b]), frames(), "cut at {at}");
        }
    }

    #[test]
    fn noise_without_end_and_a_length_beyond_the_longest_are_refused_before_anything_is_held() {
        let mut decoder = Decoder::after_noise();
        let mut fed = 0;
        let error = loop {
            decoder.feed(&[b'x'; 4096]);
            fed += 4096;
            match decoder.frame() {
                Ok(None) => {
                    assert!(decoder.rest().len() < 4096 + MAGIC.len(), "noise is let go of")
                }
                Ok(Some(frame)) => panic!("{frame:?} of noise"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, BadFrame::NoAgent);
        assert!(fed <= NOISE_MAX + 2 * 4096);
        let mut decoder = Decoder::at_once();
        decoder.feed(&[0, 0, 0x10, 0, 2, 0, 0, 0]);
        assert_eq!(decoder.frame(), Ok(None), "the longest is awaited");
        let mut decoder = Decoder::at_once();
        decoder.feed(&[1, 0, 0x10, 0]);
        decoder.feed(&[2, 0, 0, 0]);
        assert_eq!(decoder.frame(), Err(BadFrame::Length(PAYLOAD_MAX + 1)));
    }
}
