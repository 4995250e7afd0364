//! What another machine sends: noise, frames, hellos and messages.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::ssh::protocol::{
    Build, CHUNK_MAX, Call, Decoder, Frame, Hello, Kind, Message, PAYLOAD_MAX, Request, Session,
    Side, Unpress,
};

/// The bytes are held until a frame is whole, and the frame then.
const GROWTH: usize = 4;
/// The room of one long payload is made when its head has come: once a connection, so it needs no justification.
const ROOM: usize = PAYLOAD_MAX as usize + (64 << 10);

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((how, bytes)) = data.split_first() else { return };
    let size = usize::from(*how >> 1) + 1;
    let decoder = || if how & 1 == 0 { Decoder::at_once() } else { Decoder::after_noise() };
    let cut = fuzz::within(bytes.len() * GROWTH + ROOM, || frames(decoder(), bytes.chunks(size)));
    let whole = frames(decoder(), std::iter::once(bytes));
    assert!(cut == whole || whole.1 && cut.1, "where bytes are cut makes a difference");
    for frame in &whole.0 {
        assert!(frame.payload.len() <= PAYLOAD_MAX as usize);
        let mut written = Vec::new();
        frame.write(&mut written);
        assert_eq!(frames(Decoder::at_once(), std::iter::once(&written[..])).0, [frame.clone()]);
        if let Ok(frame) = fuzz::within(ROOM + CHUNK_MAX, || Unpress::default().frame(frame.clone())) {
            assert!(frame.payload.len() <= CHUNK_MAX.max(bytes.len()));
        }
        if let Ok(hello) = Hello::read(frame) {
            assert_eq!(Hello::read(&hello.frame()), Ok(hello));
        }
        if let Ok(message) = Message::read(frame) {
            assert_eq!(Message::read(&message.frame()), Ok(message));
        }
        if let Ok(request) = Request::read(&frame.payload) {
            assert_eq!(Request::read(&request.bytes()), Ok(request));
        }
        if let Ok(call) = Call::read(&frame.payload) {
            assert_eq!(Call::read(&call.bytes()), Ok(call));
        }
    }
    for side in [Side::Agent, Side::Caller] {
        let frames = whole.0.clone();
        fuzz::within(bytes.len() * GROWTH + 2 * ROOM, || heard(side, frames));
    }
});

/// What a session makes of the frames, whichever of them it takes.
fn heard(side: Side, frames: Vec<Frame>) {
    let mut session = Session::new(side);
    for frame in frames {
        if session.receive(frame).is_err() {
            return;
        }
        while session.output().is_some() {}
    }
}

/// The frames, and whether what followed them was none.
fn frames<'a>(mut decoder: Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, bool) {
    let mut out = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

fn seeds() -> Vec<Vec<u8>> {
    let hello = Hello { version: 1, build: Build([7; 32]), payload_max: PAYLOAD_MAX };
    let mut said = Vec::new();
    hello.frame().write(&mut said);
    Message::Ping(300).frame().write(&mut said);
    let call = Call::Control { replica: 300 }.bytes();
    Frame { kind: Kind::Open, flags: 0, stream: 2, payload: call }.write(&mut said);
    Message::Goodbye("so long".to_owned()).frame().write(&mut said);
    Frame { kind: Kind::Unknown(9), flags: 1, stream: 300, payload: vec![1; 40] }.write(&mut said);
    let after_noise = [b"\x09Welcome!\n\x00\xffyeet-agent\xff\x00".to_vec(), said.clone()].concat();
    let at_once = [vec![0x20], said].concat();
    vec![after_noise, at_once, vec![0, 0, 0, 0x10, 0, 2, 0, 0, 0]]
}
