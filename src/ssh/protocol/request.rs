//! What is asked of an agent and what an agent asks, each on a stream of its own, and the answers.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::BadMessage;

/// The first thing on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What its machine lets one user have; the answer is a [`Limits`].
    Limits,
    /// A replica there, from now until the stream ends: what is looked at, and what is seen. Its number is the agent's name
    /// for it in the other requests.
    Replica { replica: u32 },
    /// Jobs to be carried out at that replica, and the mark with which they are to be flushed to disk, if they are.
    Act { replica: u32, durable: Option<u64> },
    /// Jobs whose other end that replica is: what it has for them.
    Offer { replica: u32 },
    /// As `Act`, of a group: all or nothing.
    ActGroup { replica: u32, durable: Option<u64> },
    /// As `Offer`, of a group: all of one moment.
    OfferGroup { replica: u32 },
    /// Something else of that replica: a version, a place, what became of what was under way.
    Errand { replica: u32 },
    /// That replica is to be marked and flushed to disk.
    Flush { replica: u32, mark: u64 },
    /// A socket for data, for whoever has the certificate with this digest; it is there as long as the stream is.
    Socket { pin: [u8; 32] },
}

/// What an agent asks of who called it, each on a stream that it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Somebody on its machine asks about an open replica: what follows on the stream, both ways, is what goes over a control
    /// socket.
    Control { replica: u32 },
}

/// What a machine lets one user have; `None` where it does not say, or there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Directories that can be watched.
    pub watches: Option<u64>,
    /// Files that can be open at a time.
    pub files: Option<u64>,
}

impl Request {
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is no request of this build's.
    pub fn read(bytes: &[u8]) -> Result<Self, BadMessage> {
        whole(bytes).ok_or(BadMessage::Unreadable("request"))
    }
}

impl Call {
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is no call of this build's.
    pub fn read(bytes: &[u8]) -> Result<Self, BadMessage> {
        whole(bytes).ok_or(BadMessage::Unreadable("call"))
    }
}

/// What these bytes are, to the last one.
fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (read, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    #[test]
    fn almost_a_request_is_an_error_or_another_one() {
        let replica = 300;
        for request in [
            Request::Limits,
            Request::Replica { replica },
            Request::Act { replica, durable: Some(u64::MAX) },
            Request::Offer { replica },
            Request::ActGroup { replica, durable: None },
            Request::OfferGroup { replica },
            Request::Errand { replica },
            Request::Flush { replica, mark: u64::from(replica) << 40 },
            Request::Socket { pin: [7; 32] },
        ] {
            assert_eq!(Request::read(&request.bytes()), Ok(request.clone()));
            for bytes in mutations(&request.bytes()) {
                if let Ok(other) = Request::read(&bytes) {
                    assert_eq!(Request::read(&other.bytes()), Ok(other));
                }
            }
        }
    }

    #[test]
    fn almost_a_call_is_an_error_or_another_one() {
        let call = Call::Control { replica: 300 };
        assert_eq!(Call::read(&call.bytes()), Ok(call.clone()));
        for bytes in mutations(&call.bytes()) {
            if let Ok(other) = Call::read(&bytes) {
                assert_eq!(Call::read(&other.bytes()), Ok(other));
            }
        }
    }
}
