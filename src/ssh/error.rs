//! Why a host was not reached: what was tried, on which machine, why it failed, what to do.

use std::path::PathBuf;

use super::hops::NoWay;
use super::place::Place;

/// The word `status` prints for a leaf that is offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Unreachable,
    Auth,
    Hostkey,
    Agent,
    Refused,
}

impl Reason {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Auth => "auth",
            Self::Hostkey => "hostkey",
            Self::Agent => "agent",
            Self::Refused => "refused",
        }
    }
}

/// What is wrong with the key that a host shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHostKey {
    #[error("its key {shown} is not the one at {place}")]
    Changed { shown: String, place: Place },
    #[error("its key {shown} is revoked at {place}")]
    Revoked { shown: String, place: Place },
    #[error("its key {shown} is known from nowhere")]
    Unknown { shown: String },
    #[error("its key {shown} was not accepted")]
    Declined { shown: String },
    #[error("{0}")]
    Certificate(String),
    #[error("its key {shown} could not be written to {file}: {why}")]
    Unwritten { shown: String, file: PathBuf, why: String },
}

/// One try to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// `publickey`, `password`, `keyboard-interactive`.
    pub method: &'static str,
    /// A key and where it is from; empty where there is nothing to name.
    pub with: String,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// One more method is wanted.
    Partial,
    Rejected,
    /// It was not shown to the server.
    Skipped(String),
}

impl std::fmt::Display for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, with, outcome } = self;
        f.write_str(method)?;
        if !with.is_empty() {
            write!(f, " {with}")?;
        }
        match outcome {
            Outcome::Accepted => f.write_str(": accepted"),
            Outcome::Partial => f.write_str(": accepted, and something more is asked for"),
            Outcome::Rejected => f.write_str(": rejected"),
            Outcome::Skipped(why) => write!(f, ": {why}"),
        }
    }
}

/// Why a host was not reached, or what was asked of it was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SshError {
    #[error(transparent)]
    NoWay(#[from] NoWay),
    #[error("cannot reach {host} ({address}): {why}")]
    Unreachable { host: String, address: String, why: String },
    #[error("{gateway} does not lead to {host} ({address}): {why}")]
    NotForwarded { gateway: String, host: String, address: String, why: String },
    #[error("{host} speaks no SSH that yeet knows: {why}")]
    Protocol { host: String, why: String },
    #[error("{host} is not trusted: {bad}")]
    HostKey { host: String, bad: BadHostKey, files: Vec<PathBuf> },
    #[error("cannot log in to {host} as {user}: {}", said(.tried, .offered))]
    Auth { host: String, user: String, tried: Vec<Tried>, offered: Vec<String> },
    #[error("{host} does not run a command: {why}")]
    NoCommand { host: String, why: String },
    #[error("the connection to {host} is gone: {why}")]
    Lost { host: String, why: String },
}

fn said(tried: &[Tried], offered: &[String]) -> String {
    let offered = match offered {
        [] => "it offers no method that yeet knows".to_owned(),
        some => format!("it offers {}", some.join(", ")),
    };
    let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
    if tried.is_empty() { offered } else { format!("{offered}; {}", tried.join("; ")) }
}

impl SshError {
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::HostKey { .. } => Reason::Hostkey,
            Self::Auth { .. } => Reason::Auth,
            Self::NoWay(_) | Self::Protocol { .. } | Self::NoCommand { .. } => Reason::Refused,
            Self::Unreachable { .. } | Self::NotForwarded { .. } | Self::Lost { .. } => {
                Reason::Unreachable
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::HostKey { bad: BadHostKey::Changed { place, .. }, .. } => format!(
                "if the host has a new key, compare it there (`ssh-keygen -l -f /etc/ssh/ssh_host_*.pub`), \
                 then remove line {} of {}",
                place.line,
                place.file.display()
            ),
            Self::HostKey { bad: BadHostKey::Unknown { .. }, host, files } => {
                let file = files.first().map(|f| format!(", or write its key to {}", f.display()));
                format!(
                    "run `yeet doctor {host}` on a terminal and say yes{}",
                    file.unwrap_or_default()
                )
            }
            Self::HostKey { bad: BadHostKey::Revoked { .. }, .. } => {
                "whoever revoked it knows why; nothing here should be trusted until then".to_owned()
            }
            Self::Auth { user, tried, .. } if tried.is_empty() => format!(
                "give {user} a key there: add a line of ~/.ssh/id_ed25519.pub to its ~/.ssh/authorized_keys"
            ),
            Self::NotForwarded { gateway, .. } => {
                format!("is AllowTcpForwarding on in the sshd_config of {gateway}?")
            }
            Self::HostKey { .. }
            | Self::Auth { .. }
            | Self::NoWay(_)
            | Self::Unreachable { .. }
            | Self::Protocol { .. }
            | Self::NoCommand { .. }
            | Self::Lost { .. } => return None,
        })
    }
}
