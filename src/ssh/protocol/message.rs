//! What frames say.

use serde::{Deserialize, Serialize};

use super::{Frame, Kind};

/// What this build speaks. Both ends are the same build, so that it only has to tell them apart.
pub const VERSION: u16 = 1;
/// The longest text of a message, in bytes.
const TEXT_MAX: usize = 1024;

/// The digest of an executable file: which build it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build(pub [u8; 32]);

impl Build {
    /// The name of its file on a host.
    #[must_use]
    pub fn short(&self) -> String {
        self.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The first frame of each side. Later versions add to its end; what is here stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    pub build: Build,
    /// The longest payload that the side takes.
    pub payload_max: u32,
}

/// Everything else about the connection itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Is answered at once, with the same number.
    Ping(u64),
    Pong(u64),
    /// The last word of a side that means to go; a connection that ends without is lost.
    Goodbye(String),
}

/// Why a payload says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("a {0} that cannot be read")]
    Unreadable(&'static str),
    #[error("a frame of a kind that does not belong there")]
    Misplaced,
}

impl Hello {
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame::new(Kind::Hello, postcard::to_stdvec(self).unwrap_or_default())
    }

    /// # Errors
    /// It is no hello; what follows one is for later versions.
    pub fn read(frame: &Frame) -> Result<Self, BadMessage> {
        if frame.kind != Kind::Hello {
            return Err(BadMessage::Misplaced);
        }
        let read = postcard::take_from_bytes(&frame.payload);
        read.map(|(hello, _)| hello).map_err(|_| BadMessage::Unreadable("hello"))
    }
}

impl Message {
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame::new(Kind::Message, postcard::to_stdvec(self).unwrap_or_default())
    }

    /// # Errors
    /// It is no message, or something follows it.
    pub fn read(frame: &Frame) -> Result<Self, BadMessage> {
        if frame.kind != Kind::Message {
            return Err(BadMessage::Misplaced);
        }
        let Ok((message, [])) = postcard::take_from_bytes(&frame.payload) else {
            return Err(BadMessage::Unreadable("message"));
        };
        match &message {
            Self::Goodbye(text) if text.len() > TEXT_MAX => Err(BadMessage::Unreadable("goodbye")),
            Self::Goodbye(_) | Self::Ping(_) | Self::Pong(_) => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    const HELLO: Hello = Hello { version: 1, build: Build([7; 32]), payload_max: 1 << 20 };

    #[test]
    fn what_is_said_is_heard() {
        assert_eq!(Hello::read(&HELLO.frame()), Ok(HELLO));
        for message in
            [Message::Ping(3), Message::Pong(u64::MAX), Message::Goodbye("so long".to_owned())]
        {
            assert_eq!(Message::read(&message.frame()), Ok(message));
        }
        assert_eq!(Message::read(&HELLO.frame()), Err(BadMessage::Misplaced));
        assert_eq!(Hello::read(&Message::Ping(1).frame()), Err(BadMessage::Misplaced));
    }

    #[test]
    fn a_later_hello_may_say_more() {
        let mut frame = HELLO.frame();
        frame.payload.extend(b"something new");
        assert_eq!(Hello::read(&frame), Ok(HELLO));
    }

    #[test]
    fn almost_a_message_is_an_error_or_another_message() {
        for message in [Message::Ping(300), Message::Goodbye("so long".to_owned())] {
            for bytes in mutations(&message.frame().payload) {
                let frame = Frame::new(Kind::Message, bytes);
                if let Ok(other) = Message::read(&frame) {
                    assert_eq!(Message::read(&other.frame()), Ok(other));
                }
            }
        }
        for bytes in mutations(&HELLO.frame().payload) {
            if let Ok(other) = Hello::read(&Frame::new(Kind::Hello, bytes)) {
                assert_eq!(Hello::read(&other.frame()), Ok(other));
            }
        }
        let long = Message::Goodbye("x".repeat(TEXT_MAX + 1)).frame();
        assert_eq!(Message::read(&long), Err(BadMessage::Unreadable("goodbye")));
    }
}
