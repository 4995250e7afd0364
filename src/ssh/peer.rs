//! An agent that runs on a host, as this side sees it.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::ask::printable;
use super::bootstrap::Installed;
use super::data::Data;
use super::error::SshError;
use super::exec::Stream;
use super::link::{self, Broken, Link, Over};
use super::protocol::{
    Decoder, Frame, Hello, Kind, Limits, Message, PAYLOAD_MAX, Request, Side, VERSION,
};
use super::reach::Reach;
use super::route::Route;
use super::routes::Rtt;
use super::socket::Refused;
use super::talk::talk;

/// How long an agent may take for an answer that needs no work.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long it may be silent where there is reason to doubt that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How often it is asked to have the time it takes measured.
const SAMPLES: usize = 10;
const ANSWER_MAX: usize = 64 << 10;
/// What is passed between the two at a time, in bytes: each piece is one message of SSH, or a few.
const PIECE: usize = 64 << 10;

/// Why an agent cannot be talked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPeer {
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("the agent on {host} does not answer: {why}")]
    Silent { host: String, why: String },
    #[error("the agent on {host} says what makes no sense: {why}")]
    Garbled { host: String, why: String },
    #[error("the agent on {host}: {why}")]
    Broken { host: String, why: Broken },
}

/// A running agent that has said who it is. Its methods block; the runtime that started it carries what is said.
pub struct Peer {
    host: String,
    /// The way on which it was reached.
    route: Route,
    /// The agent's own file there.
    program: String,
    link: Link,
    data: Arc<Data>,
    replicas: AtomicU32,
    rtt: Mutex<Option<Rtt>>,
    /// Told whenever something is asked for.
    asked: OnceLock<Box<dyn Fn() + Send + Sync>>,
    is_used: AtomicBool,
}

impl Peer {
    /// Starts the agent, exchanges hellos with it, and has this runtime carry what is said from then on, in the task that is
    /// handed out.
    ///
    /// # Errors
    /// It does not start, or is not the one that was copied there.
    pub async fn start(
        reach: &mut Reach,
        route: Route,
        agent: &Installed,
    ) -> Result<(Self, JoinHandle<()>), BadPeer> {
        let path = &agent.path;
        let command = format!("exec /bin/sh -c 'exec \"{path}\" agent --at \"{path}\"'");
        let mut stream = reach.open(&command).await?;
        let host = reach.host().to_owned();
        let own = Hello { version: VERSION, build: agent.build, payload_max: PAYLOAD_MAX };
        let mut decoder = Decoder::after_noise();
        let silent = |why: String| BadPeer::Silent { host: host.clone(), why };
        let met = timeout(PATIENCE, meet(&mut stream, &own, &mut decoder)).await;
        let first = match met {
            Ok(first) => first.map_err(silent)?,
            Err(_) => return Err(silent(format!("no word in {} s", PATIENCE.as_secs()))),
        };
        let garbled = |why: String| BadPeer::Garbled { host: host.clone(), why };
        match Hello::read(&first) {
            Ok(hello) if (hello.version, hello.build) == (own.version, own.build) => {}
            Ok(hello) => return Err(garbled(format!("it is build {}", hello.build.short()))),
            Err(bad) => return Err(garbled(bad.to_string())),
        }
        let (link, carried) = carry(stream, decoder).map_err(|error| silent(error.to_string()))?;
        let replicas = AtomicU32::new(0);
        let (rtt, asked) = (Mutex::default(), OnceLock::new());
        let (program, is_used) = (agent.path.clone(), AtomicBool::new(false));
        let data = Arc::new(Data::new(reach.address(), link.streams()));
        Ok((Self { host, route, program, link, data, replicas, rtt, asked, is_used }, carried))
    }

    /// One whose connection somebody carries by hand.
    #[cfg(test)]
    pub(crate) fn stepped(host: &str, route: Route, link: Link) -> Self {
        let data = Arc::new(Data::new(None, link.streams()));
        let (host, program) = (host.to_owned(), "/yeet".to_owned());
        let (replicas, rtt, asked) = (AtomicU32::new(0), Mutex::default(), OnceLock::new());
        Self { host, route, program, link, data, replicas, rtt, asked, is_used: false.into() }
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The way on which it was reached.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Whether nobody has asked this before.
    #[must_use]
    pub fn is_first_use(&self) -> bool {
        !self.is_used.swap(true, Ordering::Relaxed)
    }

    /// How long it takes to answer, if it was ever asked.
    #[must_use]
    pub fn rtt(&self) -> Option<Rtt> {
        *self.rtt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it said whenever something is asked for; the first who wants to know is told.
    pub fn when_asked(&self, tell: impl Fn() + Send + Sync + 'static) {
        drop(self.asked.set(Box::new(tell)));
    }

    /// Its own file on the host: what a person runs there.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// What it asks in its turn, as long as it is connected.
    #[must_use]
    pub fn streams(&self) -> link::Streams {
        self.link.streams()
    }

    /// Asks it for something on a stream of its own.
    ///
    /// # Errors
    /// The connection is over.
    pub fn open(&self, request: &Request) -> Result<link::Stream, Over> {
        if let Some(tell) = self.asked.get() {
            tell();
        }
        self.link.open(&request.bytes())
    }

    /// As [`Self::open`], for what will carry so many bytes: over the data socket where there is one, or can be.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_bulk(&self, request: &Request, bytes: u64) -> Result<link::Stream, Over> {
        if self.data.has_broken() {
            // What broke it may have taken the way: else who works would find that out a second time, by waiting.
            self.check(SILENCE_MAX)?;
        }
        if self.link.is_up()
            && let Some(stream) = self.data.open(request, bytes)
        {
            if let Some(tell) = self.asked.get() {
                tell();
            }
            return Ok(stream);
        }
        self.open(request)
    }

    /// Makes a data socket now: how long that took, and whom the agent turned away meanwhile.
    ///
    /// # Errors
    /// Why there can be none.
    pub fn try_data(&self) -> Result<(Duration, Refused), String> {
        self.data.try_now()
    }

    /// What carries data, in words, once it was seen.
    #[must_use]
    pub fn data(&self) -> Option<String> {
        self.data.words()
    }

    /// Makes sure that it is there, as [`Link::ping`] does.
    ///
    /// # Errors
    /// It is not, and the connection is over.
    pub fn check(&self, patience: Duration) -> Result<(), Over> {
        let asked = Instant::now();
        self.link.ping(patience)?;
        let took = asked.elapsed();
        let mut rtt = self.rtt.lock().unwrap_or_else(PoisonError::into_inner);
        *rtt = Some(rtt.map_or(Rtt::of(took), |rtt| rtt.with(took)));
        Ok(())
    }

    /// Measures how long it takes to answer, apart from what else it had to do in some of the cases.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn measure(&self, patience: Duration) -> Result<Rtt, Over> {
        let mut took = [Duration::MAX; SAMPLES];
        for took in &mut took {
            let asked = Instant::now();
            self.link.ping(patience)?;
            *took = asked.elapsed();
        }
        took.sort();
        let quick = &took[1..SAMPLES / 2];
        let rtt = quick.iter().fold(Rtt::of(took[0]), |rtt, took| rtt.with(*took));
        *self.rtt.lock().unwrap_or_else(PoisonError::into_inner) = Some(rtt);
        Ok(rtt)
    }

    /// Whether the connection is not known to be over.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// A number for a replica that it is to open.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.replicas.fetch_add(1, Ordering::Relaxed)
    }

    /// Has it say that it is there.
    ///
    /// # Errors
    /// It does not.
    pub fn ping(&self) -> Result<(), BadPeer> {
        self.check(PATIENCE).map_err(|over| self.broken(over.into()))
    }

    /// What its machine lets one user have.
    ///
    /// # Errors
    /// It does not say.
    pub fn limits(&self) -> Result<Limits, BadPeer> {
        let answer = || -> Result<Limits, Broken> {
            let stream = self.open(&Request::Limits).map_err(Broken::from)?;
            let (mut incoming, outgoing) = talk(stream);
            outgoing.end()?;
            incoming.expect(ANSWER_MAX)
        };
        answer().map_err(|why| self.broken(why))
    }

    /// Ends it, and waits until it has ended.
    pub fn goodbye(self) {
        self.link.goodbye("done", PATIENCE);
    }

    fn broken(&self, why: Broken) -> BadPeer {
        BadPeer::Broken { host: self.host.clone(), why }
    }
}

/// Says hello and waits for the first frame of the other side.
async fn meet(stream: &mut Stream, own: &Hello, decoder: &mut Decoder) -> Result<Frame, String> {
    let mut bytes = Vec::new();
    own.frame().write(&mut bytes);
    stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut bytes = [0; 16 << 10];
    loop {
        match decoder.frame().map_err(|bad| bad.to_string())? {
            Some(Frame { kind: Kind::Unknown(_), .. }) => {}
            Some(frame) => {
                return match Message::read(&frame) {
                    Ok(Message::Goodbye(why)) => Err(format!("it left: {}", printable(&why))),
                    _ => Ok(frame),
                };
            }
            None => match stream.read(&mut bytes).await {
                Ok(0) => return Err(last_words(decoder)),
                Ok(length) => decoder.feed(&bytes[..length]),
                Err(error) => return Err(error.to_string()),
            },
        }
    }
}

fn last_words(decoder: &Decoder) -> String {
    let rest = printable(String::from_utf8_lossy(decoder.rest()).trim());
    if rest.is_empty() {
        "it ended without a word".to_owned()
    } else {
        format!("it ended after `{rest}`")
    }
}

/// A link over an SSH channel: what blocks is at one end of a pair of sockets, the runtime at the other.
fn carry(mut stream: Stream, decoder: Decoder) -> std::io::Result<(Link, JoinHandle<()>)> {
    let (near, far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    let mut far = tokio::net::UnixStream::from_std(far)?;
    let carried = tokio::spawn(async move {
        // How it ended, whoever listens at the other end is told.
        drop(copy_bidirectional_with_sizes(&mut stream, &mut far, PIECE, PIECE).await);
    });
    let (read, close) = (near.try_clone()?, near.try_clone()?);
    let close = move || drop(close.shutdown(Shutdown::Both));
    Ok((Link::start(Side::Caller, decoder, read, near, close)?, carried))
}
