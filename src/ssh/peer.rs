//! An agent that runs on a host, as this side sees it.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::auth::printable;
use super::bootstrap::Installed;
use super::error::SshError;
use super::exec::Stream;
use super::protocol::{Decoder, Frame, Hello, Message, PAYLOAD_MAX, VERSION};
use super::reach::Reach;

/// How long an agent may take for an answer that needs no work.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why an agent cannot be talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeer {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("the agent on {host} does not answer: {why}")]
    Silent { host: String, why: String },
    #[error("the agent on {host} says what makes no sense: {why}")]
    Garbled { host: String, why: String },
    #[error("the agent on {host} left: {why}")]
    Left { host: String, why: String },
}

/// A running agent that has said who it is.
pub struct Peer {
    host: String,
    stream: Stream,
    decoder: Decoder,
    /// The next ping's number.
    next: u64,
}

impl Peer {
    /// Starts the agent and exchanges hellos with it.
    ///
    /// # Errors
    /// It does not start, or is not the one that was copied there.
    pub async fn start(reach: &mut Reach, agent: &Installed) -> Result<Self, BadPeer> {
        let path = &agent.path;
        let command = format!("exec /bin/sh -c 'exec \"{path}\" agent --at \"{path}\"'");
        let stream = reach.open(&command).await?;
        let host = reach.host().to_owned();
        let mut peer = Self { host, stream, decoder: Decoder::after_noise(), next: 0 };
        let own = Hello { version: VERSION, build: agent.build, payload_max: PAYLOAD_MAX };
        peer.send(&own.frame()).await?;
        let frame = peer.next().await?;
        let hello = Hello::read(&frame).map_err(|bad| peer.garbled(bad.to_string()))?;
        if (hello.version, hello.build) != (own.version, own.build) {
            return Err(peer.garbled(format!("it is build {}", hello.build.short())));
        }
        Ok(peer)
    }

    /// Asks whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub async fn ping(&mut self) -> Result<(), BadPeer> {
        self.next += 1;
        let number = self.next;
        self.send(&Message::Ping(number).frame()).await?;
        loop {
            match self.hear().await? {
                Message::Pong(back) if back == number => return Ok(()),
                Message::Pong(_) => {}
                Message::Ping(asked) => self.send(&Message::Pong(asked).frame()).await?,
                Message::Goodbye(why) => {
                    return Err(BadPeer::Left { host: self.host.clone(), why: printable(&why) });
                }
            }
        }
    }

    /// Ends it, and waits until it has ended.
    pub async fn goodbye(mut self) {
        let bye = Message::Goodbye("done".to_owned()).frame();
        if self.send(&bye).await.is_err() || self.stream.shutdown().await.is_err() {
            return;
        }
        let mut bytes = [0; 4096];
        while let Ok(Ok(1..)) = timeout(PATIENCE, self.stream.read(&mut bytes)).await {}
    }

    async fn hear(&mut self) -> Result<Message, BadPeer> {
        let frame = self.next().await?;
        Message::read(&frame).map_err(|bad| self.garbled(bad.to_string()))
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), BadPeer> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        let sent = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        match timeout(PATIENCE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.silent(error.to_string())),
            Err(_) => Err(self.silent(format!("it takes nothing for {} s", PATIENCE.as_secs()))),
        }
    }

    /// The next frame; what a later version says is passed over.
    async fn next(&mut self) -> Result<Frame, BadPeer> {
        let mut bytes = [0; 16 << 10];
        loop {
            match self.decoder.frame() {
                Ok(Some(Frame { kind: super::protocol::Kind::Unknown(_), .. })) => continue,
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(bad) => return Err(self.garbled(bad.to_string())),
            }
            let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await;
            match read {
                Ok(Ok(0)) => return Err(self.silent(self.last_words())),
                Ok(Ok(length)) => self.decoder.feed(&bytes[..length]),
                Ok(Err(error)) => return Err(self.silent(error.to_string())),
                Err(_) => return Err(self.silent(format!("no word for {} s", PATIENCE.as_secs()))),
            }
        }
    }

    fn last_words(&self) -> String {
        let rest = String::from_utf8_lossy(self.decoder.rest());
        let rest = printable(rest.trim());
        if rest.is_empty() {
            "it ended without a word".to_owned()
        } else {
            format!("it ended after `{rest}`")
        }
    }

    fn silent(&self, why: String) -> BadPeer {
        BadPeer::Silent { host: self.host.clone(), why }
    }

    fn garbled(&self, why: String) -> BadPeer {
        BadPeer::Garbled { host: self.host.clone(), why }
    }
}
