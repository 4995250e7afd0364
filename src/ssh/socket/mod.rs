//! The data socket: a connection of its own to an agent, TLS 1.3 over TCP, made through SSH.
//!
//! Holds: each side has a certificate that was made for this one connection, and takes none but the one whose digest it
//! was told over SSH; whoever does not show it, or not the token, gets no further and is named; the listener is there for
//! one connection, and for seconds.

#![allow(clippy::disallowed_methods, reason = "io shell")]

mod listener;
mod tls;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use listener::{Listener, Met};
pub use tls::{Fresh, Pin, Secured};

/// What making the connection may take this side, from the first packet to the agent's word that it is taken.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The agent's word that it is.
const TAKEN: u8 = 1;

/// Known to both sides alone, for one connection.
pub type Token = [u8; 32];

/// Where an agent listens, and for whom: what it says over SSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub port: u16,
    /// Of its certificate.
    pub pin: Pin,
    pub token: Token,
}

/// Whom an agent turned away at its socket: an address and why, of the first few.
pub type Refused = Vec<String>;

/// Connects to an agent that listens there.
///
/// # Errors
/// What it failed at.
pub fn connect(address: IpAddr, offer: &Offer, own: Fresh) -> Result<Secured, String> {
    let until = Instant::now() + CONNECT_MAX;
    let at = SocketAddr::new(address, offer.port);
    let stream = TcpStream::connect_timeout(&at, CONNECT_MAX)
        .map_err(|error| format!("{at} is not reached: {}", plain(&error)))?;
    super::client::set_up(&stream);
    let failed = |error: std::io::Error| format!("{at}: {}", plain(&error));
    let secured = Secured::call(stream, own, offer.pin, until, |line| {
        line.write_all(&offer.token)?;
        line.flush()?;
        let mut word = [0];
        line.read_exact(&mut word)?;
        match word {
            [TAKEN] => Ok(()),
            _ => Err(std::io::Error::other("it says what makes no sense")),
        }
    });
    secured.map_err(failed)
}

fn plain(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    match matches!(error.kind(), TimedOut | WouldBlock) {
        true => "no answer".to_owned(),
        false => super::client::plain(error),
    }
}

#[cfg(test)]
mod tests;
