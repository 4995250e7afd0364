//! What two yeets say to each other over one ordered stream of bytes.
//!
//! Holds: no io and no clock here; whatever a peer sends is a value or a named error, never a panic, and nothing is
//! allocated for a length that has not been checked.

mod chunk;
mod frame;
mod message;
mod press;
mod request;
mod session;
#[cfg(test)]
mod session_tests;

pub use chunk::{CHUNK_MAX, Chunk, WHOLE};
pub(crate) use frame::write_magic;
pub use frame::{BadFrame, Decoder, Frame, Kind, PAYLOAD_MAX};
pub use message::{BadMessage, Build, Hello, Message, VERSION};
pub use press::{Press, Unpress};
pub use request::{Call, Limits, Request};
pub use session::{
    CREDIT, Event, PENDING_MAX, REQUEST_MAX, STREAMS_MAX, Session, Side, StreamId, Violation,
};
