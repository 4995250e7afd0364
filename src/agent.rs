//! The agent: this program on another machine, at the other end of a connection that its owner made.
//!
//! Holds: it ends when its input does; it says nothing but frames, after its magic; it keeps nothing but its own file.

use std::io::{self, Read, Write};

use crate::ssh::protocol::{
    Build, Decoder, Hello, Kind, Message, PAYLOAD_MAX, VERSION, write_magic,
};

/// Speaks with whoever is at the other end, until they leave.
///
/// # Errors
/// The connection broke, or they speak another protocol.
pub fn serve(build: Build, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let own = Hello { version: VERSION, build, payload_max: PAYLOAD_MAX };
    let mut out = Vec::new();
    write_magic(&mut out);
    own.frame().write(&mut out);
    say(output, &out)?;
    let mut decoder = Decoder::at_once();
    let mut has_met = false;
    let mut bytes = [0; 16 << 10];
    loop {
        let length = input.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        decoder.feed(&bytes[..length]);
        let mut out = Vec::new();
        while let Some(frame) = decoder.frame().map_err(io::Error::other)? {
            if let Kind::Unknown(_) = frame.kind {
                continue;
            }
            if !has_met {
                let hello = Hello::read(&frame).map_err(io::Error::other)?;
                if (hello.version, hello.build) != (own.version, own.build) {
                    let bye = format!("this is build {}", build.short());
                    Message::Goodbye(bye).frame().write(&mut out);
                    return say(output, &out);
                }
                has_met = true;
                continue;
            }
            match Message::read(&frame).map_err(io::Error::other)? {
                Message::Ping(number) => Message::Pong(number).frame().write(&mut out),
                Message::Pong(_) => {}
                Message::Goodbye(_) => {
                    Message::Goodbye("done".to_owned()).frame().write(&mut out);
                    return say(output, &out);
                }
            }
        }
        say(output, &out)?;
    }
}

fn say(output: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::protocol::Frame;

    const BUILD: Build = Build([7; 32]);

    fn hello(build: Build) -> Frame {
        Hello { version: VERSION, build, payload_max: 1 << 20 }.frame()
    }

    fn answers(said: &[Frame]) -> io::Result<Vec<Frame>> {
        let mut input = Vec::new();
        said.iter().for_each(|frame| frame.write(&mut input));
        let mut output = Vec::new();
        serve(BUILD, &mut input.as_slice(), &mut output)?;
        let mut decoder = Decoder::after_noise();
        decoder.feed(&output);
        Ok(std::iter::from_fn(|| decoder.frame().unwrap()).collect())
    }

    #[test]
    fn it_says_who_it_is_answers_and_leaves_when_it_is_told_to_or_nobody_is_there() {
        let ping = Message::Ping(5).frame();
        let bye = Message::Goodbye("done".to_owned()).frame();
        assert_eq!(answers(&[]).unwrap(), [hello(BUILD)]);
        let got = answers(&[hello(BUILD), ping.clone(), bye.clone(), ping.clone()]).unwrap();
        assert_eq!(got, [hello(BUILD), Message::Pong(5).frame(), bye]);
        assert_eq!(answers(&[hello(BUILD), ping]).unwrap().len(), 2);
    }

    #[test]
    fn another_build_and_whoever_says_no_hello_are_not_served() {
        let got = answers(&[hello(Build([8; 32])), Message::Ping(1).frame()]).unwrap();
        assert_eq!(got[1], Message::Goodbye("this is build 0707070707070707".to_owned()).frame());
        assert_eq!(got.len(), 2);
        assert!(answers(&[Message::Ping(1).frame()]).is_err());
    }
}
