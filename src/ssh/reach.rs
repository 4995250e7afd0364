//! A host that commands are run on, one after the other, whatever its server makes of that.
//!
//! Some servers serve one channel a connection (tinysshd), or one at a time: where a connection takes no more, another
//! one is made. So every command given here can be run twice without harm.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::ask::Ask;
use super::client::{Connection, Hop, connect};
use super::error::SshError;
use super::exec::{Ended, Stream};
use super::files::Here;
use super::settings::Settings;

/// A way to a host, and the connection that goes it at the moment.
pub struct Reach {
    way: Vec<Settings>,
    here: Here,
    ask: Arc<dyn Ask>,
    now_s: u64,
    connection: Connection,
    /// Whether the connection has run a command.
    is_used: bool,
}

impl Reach {
    /// Connects; `passed` is told of each machine on the way.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn new(
        way: Vec<Settings>,
        here: Here,
        ask: Arc<dyn Ask>,
        now_s: u64,
        passed: &mut dyn FnMut(&Hop),
    ) -> Result<Self, SshError> {
        let connection = connect(&way, &here, ask.clone(), now_s, passed).await?;
        Ok(Self { way, here, ask, now_s, connection, is_used: false })
    }

    #[must_use]
    pub fn host(&self) -> &str {
        self.connection.host()
    }

    /// Where the host is, if no other machine is passed on the way there.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.connection.address
    }

    /// Runs a command, as [`Connection::run`] does.
    ///
    /// # Errors
    /// A fresh connection does not run it either.
    pub async fn run<'a, R>(
        &mut self,
        command: &str,
        input: impl Fn() -> R,
        out_max: usize,
    ) -> Result<Ended, SshError>
    where
        R: AsyncRead + Unpin + 'a,
    {
        match self.connection.run(command, input(), out_max).await {
            Err(SshError::NoCommand { .. } | SshError::Lost { .. }) if self.is_used => {
                self.renew().await?;
                let ended = self.connection.run(command, input(), out_max).await;
                self.is_used = true;
                ended
            }
            ended => {
                self.is_used = true;
                ended
            }
        }
    }

    /// Starts a command and hands out its input and output.
    pub(super) async fn open(&mut self, command: &str) -> Result<Stream, SshError> {
        match self.connection.open(command).await {
            Err(SshError::NoCommand { .. } | SshError::Lost { .. }) if self.is_used => {
                self.renew().await?;
                self.is_used = true;
                self.connection.open(command).await
            }
            opened => {
                self.is_used = true;
                opened
            }
        }
    }

    async fn renew(&mut self) -> Result<(), SshError> {
        let ask = self.ask.clone();
        let fresh = connect(&self.way, &self.here, ask, self.now_s, &mut |_| {}).await?;
        std::mem::replace(&mut self.connection, fresh).close().await;
        self.is_used = false;
        Ok(())
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
