//! Data is sent compressed where the way is slower than the compressor.
//!
//! Pure: who writes says how long it took. Holds: what both ends remember of what was sent compressed is bounded, and is the
//! same at each frame, as frames come in the order in which they went; what comes is as long as it says, which a frame of
//! data can be, or refused before there is room for it. Credit counts the bytes as they were before.

use std::time::Duration;

use zstd::stream::raw::{CParameter, DParameter, Decoder, Encoder, InBuffer, Operation, OutBuffer};

use super::chunk::CHUNK_MAX;
use super::frame::{BadFrame, Frame, HEAD, Kind, PRESSED, head};

const LEVEL: i32 = 3;
/// Both ends remember so much of what went before, as a power of two of bytes.
const WINDOW_LOG: u32 = 20;
/// Before compressed data stands how long it was.
const LENGTH: usize = 4;
/// What a flush may add to what cannot be made smaller, in bytes.
const FLUSH_MAX: usize = 64;
/// Less is not worth a frame of its own, in bytes.
const LEAST: usize = 512;
/// A write that is faster than this was taken by a buffer, or by a way that nothing makes faster, in bytes a second.
const FAST: u64 = 400 << 20;
/// What counts is about the last so many bytes.
const RECENT: u64 = 1 << 20;
/// Where it is not worth it, finding out whether it still is not takes at most one part in so many of the time.
const TRIES_PART: u32 = 100;

/// Bytes and the time they took, the older the less.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    /// Of what was worked on, by which it ages; what counts of that may be none.
    all: u64,
    bytes: u64,
    time: Duration,
}

impl Pace {
    fn note(&mut self, all: usize, bytes: usize, took: Duration) {
        self.all += all as u64;
        self.bytes += bytes as u64;
        self.time += took;
        while self.all > RECENT {
            self.all /= 2;
            self.bytes /= 2;
            self.time /= 2;
        }
    }

    /// Bytes a second; `None` as long as nothing is known.
    fn rate(&self) -> Option<u64> {
        let micros = u64::try_from(self.time.as_micros()).ok().filter(|micros| *micros > 0)?;
        Some(self.bytes.saturating_mul(1_000_000) / micros)
    }
}

/// What is sent, and whether it is worth to make it smaller.
#[derive(Default)]
pub struct Press {
    encoder: Option<Encoder<'static>>,
    /// It failed once: what it has taken in is not what the other side has.
    is_broken: bool,
    out: Vec<u8>,
    /// What the way takes.
    way: Pace,
    /// What is saved while it is made smaller.
    saved: Pace,
    /// How long the last frame took to press, and what was written since to be written.
    last_took: Duration,
    since: Duration,
}

impl Press {
    /// Whether what is about to be sent, which begins with a frame, should go through [`Self::press`].
    #[must_use]
    pub fn is_worth(&self, frames: &[u8]) -> bool {
        if self.is_broken || payload_of(frames).is_none() {
            return false;
        }
        let Some(way) = self.way.rate() else { return false };
        let is_known = self.saved.rate().is_some_and(|saved| saved <= way);
        !is_known || self.since >= self.last_took.saturating_mul(TRIES_PART)
    }

    /// The same with the data of the first frame compressed. It has to be sent.
    pub fn press<'a>(&'a mut self, frames: &'a [u8]) -> &'a [u8] {
        let Some((payload, stream)) = payload_of(frames) else { return frames };
        let Some(length) = self.encode(payload) else {
            self.is_broken = true;
            return frames;
        };
        self.out.truncate(HEAD + LENGTH + length);
        let [said, was] =
            [LENGTH + length, payload.len()].map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        self.out[..HEAD].copy_from_slice(&head(said, Kind::Data, PRESSED, stream));
        self.out[HEAD..HEAD + LENGTH].copy_from_slice(&was.to_le_bytes());
        self.out.extend_from_slice(&frames[HEAD + payload.len()..]);
        &self.out
    }

    /// Puts it behind the room for a head and a length; how many bytes it is now.
    fn encode(&mut self, payload: &[u8]) -> Option<usize> {
        if self.encoder.is_none() {
            let mut encoder = Encoder::new(LEVEL).ok()?;
            encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG)).ok()?;
            self.encoder = Some(encoder);
        }
        let encoder = self.encoder.as_mut()?;
        let room = zstd::zstd_safe::compress_bound(payload.len()) + FLUSH_MAX;
        self.out.clear();
        self.out.resize(HEAD + LENGTH + room, 0);
        let mut input = InBuffer::around(payload);
        let mut output = OutBuffer::around(&mut self.out[HEAD + LENGTH..]);
        while input.pos() < payload.len() {
            let before = (input.pos(), output.pos());
            encoder.run(&mut input, &mut output).ok()?;
            if before == (input.pos(), output.pos()) {
                return None;
            }
        }
        let rest = encoder.flush(&mut output).ok()?;
        (rest == 0).then_some(output.pos())
    }

    /// It took so long to make `before` bytes `after`.
    pub fn note_pressed(&mut self, before: usize, after: usize, took: Duration) {
        self.saved.note(before, before.saturating_sub(after), took);
        (self.last_took, self.since) = (took, Duration::ZERO);
    }

    /// It took so long to write so many bytes.
    pub fn note_written(&mut self, bytes: usize, took: Duration) {
        self.since = self.since.saturating_add(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if bytes as u64 * 1_000_000 < FAST.saturating_mul(micros) {
            self.way.note(bytes, bytes, took);
        }
    }
}

/// What the first frame carries, if that is data and enough of it, and its stream.
fn payload_of(frames: &[u8]) -> Option<(&[u8], u16)> {
    let (head, rest) = frames.split_first_chunk::<HEAD>()?;
    let [a, b, c, d, kind, flags, low, high] = *head;
    let payload = rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)?;
    let is_data = kind == Kind::Data.byte() && flags == 0 && payload.len() >= LEAST;
    is_data.then_some((payload, u16::from_le_bytes([low, high])))
}

/// What comes, as it was before it was compressed.
#[derive(Default)]
pub struct Unpress(Option<Decoder<'static>>);

impl Unpress {
    /// The frame as it was.
    ///
    /// # Errors
    /// It is not what [`Press`] makes.
    pub fn frame(&mut self, frame: Frame) -> Result<Frame, BadFrame> {
        if frame.flags & PRESSED == 0 || frame.kind != Kind::Data {
            return Ok(frame);
        }
        let payload = self.decode(&frame.payload).ok_or(BadFrame::Pressed)?;
        Ok(Frame { flags: 0, payload, ..frame })
    }

    fn decode(&mut self, pressed: &[u8]) -> Option<Vec<u8>> {
        let (length, pressed) = pressed.split_first_chunk::<LENGTH>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > CHUNK_MAX {
            return None;
        }
        if self.0.is_none() {
            let mut decoder = Decoder::new().ok()?;
            decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
            self.0 = Some(decoder);
        }
        let decoder = self.0.as_mut()?;
        // One more than it says: so it shows when it is longer.
        let mut out = vec![0; length + 1];
        let (mut input, mut output) = (InBuffer::around(pressed), OutBuffer::around(&mut out[..]));
        loop {
            let before = (input.pos(), output.pos());
            decoder.run(&mut input, &mut output).ok()?;
            if before == (input.pos(), output.pos()) {
                break;
            }
        }
        if input.pos() < pressed.len() || output.pos() != length {
            return None;
        }
        out.truncate(length);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Decoder;
    use super::*;

    const MIB: usize = 1 << 20;

    fn framed(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Frame { kind, flags: 0, stream: 5, payload: payload.to_vec() }.write(&mut out);
        Frame { kind: Kind::End, flags: 0, stream: 5, payload: Vec::new() }.write(&mut out);
        out
    }

    fn frames(bytes: &[u8]) -> Vec<Frame> {
        let mut decoder = Decoder::at_once();
        decoder.feed(bytes);
        std::iter::from_fn(|| decoder.frame().unwrap()).collect()
    }

    fn text(length: usize) -> Vec<u8> {
        b"fn main() { println!(\"hello\"); }\n".iter().copied().cycle().take(length).collect()
    }

    #[test]
    fn data_comes_as_it_was_and_what_follows_it_too() {
        let sent = framed(Kind::Data, &text(CHUNK_MAX));
        let mut press = Press::default();
        let pressed = press.press(&sent).to_vec();
        assert!(pressed.len() < sent.len() / 10, "{} of {}", pressed.len(), sent.len());
        let mut unpress = Unpress::default();
        let come: Vec<_> =
            frames(&pressed).into_iter().map(|frame| unpress.frame(frame).unwrap()).collect();
        assert_eq!(come, frames(&sent));
    }

    fn noise(seed: u64) -> Vec<u8> {
        let mut noise = vec![0; CHUNK_MAX];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
        noise
    }

    #[test]
    fn what_is_no_data_or_too_little_goes_as_it_is() {
        for sent in [framed(Kind::Open, &text(2000)), framed(Kind::Data, &text(LEAST - 1))] {
            assert_eq!(Press::default().press(&sent).to_vec(), sent);
        }
    }

    #[test]
    fn what_was_sent_before_makes_what_follows_smaller_whatever_went_as_it_is_in_between() {
        let (mut press, mut unpress) = (Press::default(), Unpress::default());
        let mut sizes = Vec::new();
        for seed in [1, 2, 1] {
            let sent = framed(Kind::Data, &noise(seed));
            let pressed = press.press(&sent).to_vec();
            sizes.push(pressed.len());
            for (frame, was) in frames(&pressed).into_iter().zip(frames(&sent)) {
                assert_eq!(unpress.frame(frame), Ok(was));
            }
            let as_it_is = Frame { kind: Kind::Data, flags: 0, stream: 7, payload: noise(9) };
            assert_eq!(unpress.frame(as_it_is.clone()), Ok(as_it_is));
        }
        assert!(sizes[0] <= CHUNK_MAX + 200 && sizes[2] < CHUNK_MAX / 10, "{sizes:?}");
    }

    #[test]
    fn it_is_worth_it_where_the_way_is_slower_than_what_is_saved() {
        let sent = framed(Kind::Data, &text(CHUNK_MAX));
        let mut press = Press::default();
        assert!(!press.is_worth(&sent), "nothing is known of the way");
        press.note_written(MIB, Duration::from_micros(500));
        assert!(!press.is_worth(&sent), "a buffer took it");
        press.note_written(MIB, Duration::from_millis(100));
        assert!(press.is_worth(&sent), "10 MB a second");
        press.note_pressed(MIB, MIB / 2, Duration::from_millis(5));
        assert!(press.is_worth(&sent), "100 MB a second are saved");
        press.note_pressed(MIB, MIB, Duration::from_millis(300));
        assert!(!press.is_worth(&sent), "nothing is saved any more");
        // So fast that it says nothing of the way.
        press.note_written(MIB << 20, Duration::from_secs(29));
        assert!(!press.is_worth(&sent), "a try took 300 ms");
        press.note_written(MIB << 20, Duration::from_secs(1));
        assert!(press.is_worth(&sent), "but now and then it is tried");
    }

    #[test]
    fn what_came_long_before_does_not_decide() {
        let sent = framed(Kind::Data, &text(CHUNK_MAX));
        let mut press = Press::default();
        press.note_written(MIB, Duration::from_millis(100));
        for _ in 0..10_000 {
            press.note_pressed(MIB, MIB, Duration::from_millis(5));
        }
        assert!(!press.is_worth(&sent), "a film");
        for _ in 0..4 {
            press.note_pressed(MIB, MIB / 2, Duration::from_millis(5));
        }
        assert!(press.is_worth(&sent), "and then a text");
    }

    fn pressed_payload(payload: &[u8]) -> Vec<u8> {
        frames(Press::default().press(&framed(Kind::Data, payload))).remove(0).payload
    }

    fn unpressed(payload: Vec<u8>) -> Result<Frame, BadFrame> {
        Unpress::default().frame(Frame { kind: Kind::Data, flags: PRESSED, stream: 5, payload })
    }

    #[test]
    fn a_frame_that_is_longer_than_it_says_or_than_there_can_be_is_refused() {
        let good = pressed_payload(&text(4000));
        assert!(unpressed(good.clone()).is_ok());
        for length in [0, 3999, 4001, CHUNK_MAX + 1, usize::MAX] {
            let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
            let payload = [&length[..], &good[LENGTH..]].concat();
            assert_eq!(unpressed(payload), Err(BadFrame::Pressed));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_almost_pressed_is_data_or_refused(at in 0usize..200, byte: u8, cut: bool) {
            let mut payload = pressed_payload(&text(4000));
            let at = at % payload.len();
            if cut { payload.truncate(at) } else { payload[at] = byte }
            if let Ok(frame) = unpressed(payload) {
                prop_assert!(frame.payload.len() <= CHUNK_MAX && frame.flags == 0);
            }
        }
    }
}
