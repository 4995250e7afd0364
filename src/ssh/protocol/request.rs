//! What is asked of an agent, each on a stream of its own, and the answers.

use serde::{Deserialize, Serialize};

use super::BadMessage;

/// The first thing on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What its machine lets one user have; the answer is a [`Limits`].
    Limits,
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
        whole(bytes, "request")
    }
}

impl Limits {
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// # Errors
    /// It is no such answer.
    pub fn read(bytes: &[u8]) -> Result<Self, BadMessage> {
        whole(bytes, "answer about limits")
    }
}

fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &'static str) -> Result<T, BadMessage> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(BadMessage::Unreadable(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    #[test]
    fn almost_a_request_or_an_answer_is_an_error_or_another_one() {
        assert_eq!(Request::read(&Request::Limits.bytes()), Ok(Request::Limits));
        let limits = Limits { watches: Some(300), files: None };
        assert_eq!(Limits::read(&limits.bytes()), Ok(limits));
        for bytes in mutations(&Request::Limits.bytes()) {
            assert!(Request::read(&bytes).is_err(), "{bytes:?}");
        }
        for bytes in mutations(&limits.bytes()) {
            if let Ok(other) = Limits::read(&bytes) {
                assert_eq!(Limits::read(&other.bytes()), Ok(other));
            }
        }
    }
}
