//! Why a connection or a stream goes no further.

use std::time::Duration;

/// Why nothing more is said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// The other side meant to go; its last word.
    #[error("it said goodbye: {0}")]
    Goodbye(String),
    #[error("the connection broke: {0}")]
    Lost(String),
    #[error("what came makes no sense: {0}")]
    Garbled(String),
    #[error("it did not answer in {} s", .0.as_secs())]
    Silent(Duration),
}

/// Why a stream goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The other side broke it off.
    #[error("{0}")]
    Reset(String),
    /// The other side has said all it had to say before it heard all.
    #[error("it needs no more")]
    Enough,
    /// What came on it makes no sense, or it ended too early.
    #[error("{0}")]
    Garbled(String),
    #[error(transparent)]
    Over(#[from] Over),
}
