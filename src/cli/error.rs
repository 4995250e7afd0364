//! Why a command failed: the kind picks the exit code, the hint says what to do.

use std::io;

use crate::sources::control::socket::ConnectError;
use crate::sources::control::wire::{Failure, FailureKind};

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    code: u8,
    message: String,
    hint: Option<String>,
    quiet: bool,
    unreachable: bool,
}

impl CommandError {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code: 2, message, hint: None, quiet: false, unreachable: false }
    }

    pub(crate) fn cannot(message: impl Into<String>) -> Self {
        Self { code: 3, ..Self::usage(message) }
    }

    /// The daemon could not be asked at all.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self { unreachable: true, ..Self::cannot(message) }
    }

    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn hinted(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether the daemon could not be asked at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.unreachable
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether nothing is printed: the reader of our output is gone.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        let hint = match &error {
            ConnectError::NoDaemon => {
                Some("`yeet daemon start` starts it; `yeet add` does so by itself")
            }
            ConnectError::Foreign { .. } => Some("set XDG_RUNTIME_DIR to a directory of your own"),
            ConnectError::OtherVersion => Some("`yeet daemon stop`, and start it again"),
            ConnectError::Io { .. } | ConnectError::Silent => None,
        };
        let hint = hint.map(str::to_owned);
        Self { hint, unreachable: true, ..Self::cannot(error.to_string()) }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            FailureKind::Unknown => 1,
            FailureKind::Usage => 2,
            FailureKind::Cannot => 3,
        };
        Self { code, hint: failure.hint, ..Self::usage(failure.message) }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::cannot(error.to_string()) }
    }
}
