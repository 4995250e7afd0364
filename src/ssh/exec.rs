//! Commands on a host: input, output, complaints and the exit status, each by itself.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::time::Duration;

use russh::ChannelMsg;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use super::client::Connection;
use super::error::SshError;

/// How often a session is asked for that is refused, and how much longer each pause between is than the one before.
const SESSION_TRIES: u32 = 8;
const SESSION_PAUSE: Duration = Duration::from_millis(5);
/// How long a server may take to start a command or to refuse it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// `None` where the server says nothing, as some do.
    pub status: Option<u32>,
    /// The name of the signal that ended it.
    pub signal: Option<String>,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    /// There was more output than was wanted.
    pub is_cut: bool,
}

impl Ended {
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.status == Some(0)
    }

    /// For messages: what it complained about, or how it ended.
    #[must_use]
    pub fn why(&self) -> String {
        let said = String::from_utf8_lossy(&self.err);
        let said = super::ask::printable(said.trim());
        match (said.is_empty(), self.status, &self.signal) {
            (false, ..) => said,
            (true, Some(status), _) => format!("it exited with {status}"),
            (true, None, Some(signal)) => format!("it was ended by SIG{signal}"),
            (true, None, None) => "it ended without a word".to_owned(),
        }
    }
}

/// What a started command is at.
enum Started {
    Running(Box<russh::Channel<russh::client::Msg>>),
    /// The channel closed before the command began.
    Closed,
}

/// The input and output of a command that runs.
pub(super) type Stream = russh::ChannelStream<russh::client::Msg>;

impl Connection {
    /// As it was asked for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Starts a command and hands out its input and output.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(super) async fn open(&self, command: &str) -> Result<Stream, SshError> {
        Ok(self.begin(command).await?.into_stream())
    }

    /// Runs a command with this as its input; at most `out_max` bytes of each of its outputs are kept.
    ///
    /// # Errors
    /// The server runs no commands, or the connection is gone.
    pub async fn run<R>(&self, command: &str, input: R, out_max: usize) -> Result<Ended, SshError>
    where
        R: AsyncRead + Unpin,
    {
        let channel = self.begin(command).await?;
        let (mut read, write) = channel.split();
        let feed = async {
            // A command need not read what it is given.
            drop(write.data(input).await);
            drop(write.eof().await);
        };
        let listen = async {
            let mut ended = Ended::default();
            while let Some(message) = read.wait().await {
                take(&mut ended, message, out_max);
            }
            ended
        };
        // What is fed may wait for ever for a command that has ended.
        let mut listen = std::pin::pin!(listen);
        let ended = tokio::select! {
            biased;
            ended = &mut listen => ended,
            () = feed => listen.await,
        };
        drop(write.close().await);
        let says_nothing = ended.status.is_none() && ended.signal.is_none();
        if says_nothing && self.handles.last().is_none_or(russh::client::Handle::is_closed) {
            return Err(SshError::Lost { host: self.host.clone(), why: "it hung up".to_owned() });
        }
        Ok(ended)
    }

    async fn begin(&self, command: &str) -> Result<russh::Channel<russh::client::Msg>, SshError> {
        // A channel opened right after another one went may be closed before the command is read (dropbear).
        for _ in 0..2 {
            if let Started::Running(channel) = self.start(command).await? {
                return Ok(*channel);
            }
        }
        Err(self.no_command("it closes the channel at once"))
    }

    async fn start(&self, command: &str) -> Result<Started, SshError> {
        let lost = |error: russh::Error| SshError::Lost {
            host: self.host.clone(),
            why: error.to_string(),
        };
        let Some(handle) = self.handles.last() else {
            return Err(self.no_command("it is not connected"));
        };
        let mut left = SESSION_TRIES;
        let mut channel = loop {
            match handle.channel_open_session().await {
                Ok(channel) => break channel,
                // A server of one session at a time counts the last one until it has looked round once more.
                Err(russh::Error::ChannelOpenFailure(_)) if left > 0 => {
                    left -= 1;
                    handle.send_ping().await.map_err(lost)?;
                    tokio::time::sleep(SESSION_PAUSE * (SESSION_TRIES - left)).await;
                }
                Err(russh::Error::ChannelOpenFailure(why)) => {
                    return Err(self.no_command(&format!("it opens no session ({why:?})")));
                }
                Err(error) => return Err(lost(error)),
            }
        };
        channel.exec(true, command).await.map_err(lost)?;
        // A stream made before the answer would wait for ever for the output of a command that was refused.
        loop {
            match timeout(PATIENCE, channel.wait()).await {
                Err(_) => return Err(self.no_command("it neither starts it nor refuses")),
                Ok(Some(ChannelMsg::Success)) => return Ok(Started::Running(Box::new(channel))),
                Ok(Some(ChannelMsg::Failure)) => return Err(self.no_command("it refuses")),
                Ok(Some(ChannelMsg::Close | ChannelMsg::Eof) | None) => return Ok(Started::Closed),
                Ok(Some(_)) => {}
            }
        }
    }

    fn no_command(&self, why: &str) -> SshError {
        SshError::NoCommand { host: self.host.clone(), why: why.to_owned() }
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "what says nothing of a command's end is not kept"
)]
fn take(ended: &mut Ended, message: ChannelMsg, out_max: usize) {
    match message {
        ChannelMsg::Data { data } => ended.is_cut |= keep(&mut ended.out, &data, out_max),
        ChannelMsg::ExtendedData { data, ext: 1 } => {
            ended.is_cut |= keep(&mut ended.err, &data, out_max);
        }
        ChannelMsg::ExitStatus { exit_status } => ended.status = Some(exit_status),
        ChannelMsg::ExitSignal { signal_name, .. } => {
            ended.signal = Some(format!("{signal_name:?}"));
        }
        _ => {}
    }
}

/// Whether something was left out.
fn keep(kept: &mut Vec<u8>, more: &[u8], max: usize) -> bool {
    let room = max.saturating_sub(kept.len()).min(more.len());
    kept.extend_from_slice(&more[..room]);
    room < more.len()
}
