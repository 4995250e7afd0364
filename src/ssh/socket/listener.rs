//! The agent's end of a data socket, until somebody is there.

use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream,
};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, sockopt};
use rustls::ServerConfig;

use super::tls::{Fresh, Pin, Secured, served};
use super::{Offer, Refused, TAKEN, Token, plain};

/// How long anybody is waited for.
const LISTEN_MAX: Duration = Duration::from_secs(10);
/// How long whoever connected may take to show who they are.
const PROVE_MAX: Duration = Duration::from_secs(5);
/// How many may be about to show it.
const HALF_OPEN_MAX: usize = 8;
/// How many of those turned away are named.
const NAMED_MAX: usize = 8;

/// A port that is open for one caller.
pub struct Listener {
    listener: Arc<TcpListener>,
    tls: Arc<ServerConfig>,
    offer: Offer,
}

/// Who came.
pub struct Met {
    /// `None`: nobody who was awaited.
    pub secured: Option<Secured>,
    pub refused: Refused,
}

/// What those share who are about to show who they are.
#[derive(Default)]
struct Gate(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    half_open: Vec<SocketAddr>,
    /// Somebody has been let in: the token is worth nothing any more.
    is_taken: bool,
    refused: Refused,
}

impl Listener {
    /// For whoever has the certificate with this digest.
    ///
    /// # Errors
    /// No port can be had.
    pub fn open(caller: Pin) -> Result<Self, String> {
        let own = Fresh::new()?;
        let cannot = |error: io::Error| format!("cannot listen: {}", plain(&error));
        let listener = listen().map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        let mut token = Token::default();
        getrandom(&mut token).map_err(cannot)?;
        let offer = Offer { port, pin: own.pin(), token };
        let tls = served(own, caller).map_err(|error| error.to_string())?;
        Ok(Self { listener: Arc::new(listener), tls, offer })
    }

    #[must_use]
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// Ends [`Self::meet`], also one that has not begun.
    pub fn stop(&self) -> impl Fn() + Send + Sync + use<> {
        let listener = self.listener.clone();
        move || rustix::net::shutdown(&*listener, Shutdown::Both).unwrap_or_default()
    }

    /// Waits for the caller, and closes the port.
    #[must_use]
    pub fn meet(self) -> Met {
        let until = Instant::now() + LISTEN_MAX;
        let gate = Arc::<Gate>::default();
        let (send, came) = channel();
        while let Some((stream, from)) = self.next(until) {
            if !gate.enter(from) {
                continue;
            }
            let (gate, send, stop) = (gate.clone(), send.clone(), self.stop());
            let (tls, token) = (self.tls.clone(), self.offer.token);
            let prove = move || {
                let until = Instant::now() + PROVE_MAX;
                let proven = Secured::answer(stream, tls, until, |line| {
                    let mut shown = Token::default();
                    line.read_exact(&mut shown)?;
                    if !gate.take(from, &shown, &token) {
                        return Err(io::Error::other("it shows another token"));
                    }
                    line.write_all(&[TAKEN])?;
                    line.flush()
                });
                match proven {
                    Ok(secured) => {
                        // Whoever waits for it may have given up.
                        drop(send.send(secured));
                        stop();
                    }
                    Err(error) => gate.refuse(from, &plain(&error)),
                }
            };
            // Where there is no thread, there is no connection.
            drop(std::thread::Builder::new().name("prove".to_owned()).spawn(prove));
        }
        drop(send);
        let secured = came.try_recv().ok();
        Met { secured, refused: gate.close() }
    }

    /// The next who comes; `None` when nobody is waited for any more.
    fn next(&self, until: Instant) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok().filter(|_| !left.is_zero())?;
            let mut fds = [PollFd::new(&*self.listener, PollFlags::IN)];
            match poll(&mut fds, Some(&left)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return None,
            }
            match self.listener.accept() {
                Ok((stream, from)) if stream.set_nonblocking(false).is_ok() => {
                    crate::ssh::client::set_up(&stream);
                    return Some((stream, SocketAddr::new(from.ip().to_canonical(), from.port())));
                }
                Ok(_) => {}
                Err(error) if passes(&error) => {}
                Err(_) => return None,
            }
        }
    }
}

/// What befell one who came, and not the port.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

impl Gate {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more may show who they are.
    fn enter(&self, from: SocketAddr) -> bool {
        let mut inside = self.inside();
        let has_room = inside.half_open.len() < HALF_OPEN_MAX;
        match has_room {
            true => inside.half_open.push(from),
            false => inside.name(from, "too many come at once"),
        }
        has_room
    }

    /// Whether this is the one who is awaited; nobody is a second time.
    fn take(&self, from: SocketAddr, shown: &Token, token: &Token) -> bool {
        let mut inside = self.inside();
        // By their digests: how long it takes tells nothing of the token.
        let is_it = blake3::hash(shown) == blake3::hash(token);
        if !is_it || std::mem::replace(&mut inside.is_taken, true) {
            return false;
        }
        inside.half_open.retain(|other| *other != from);
        true
    }

    fn refuse(&self, from: SocketAddr, why: &str) {
        let mut inside = self.inside();
        inside.half_open.retain(|other| *other != from);
        inside.name(from, why);
    }

    /// Nobody is let in any more; who was not.
    fn close(&self) -> Refused {
        let mut inside = self.inside();
        inside.is_taken = true;
        for from in std::mem::take(&mut inside.half_open) {
            inside.name(from, "it has not shown who it is");
        }
        std::mem::take(&mut inside.refused)
    }
}

impl Inside {
    fn name(&mut self, from: SocketAddr, why: &str) {
        if self.refused.len() < NAMED_MAX {
            self.refused.push(format!("{from}: {why}"));
        }
    }
}

/// A port that nobody chose, on all addresses of this machine.
fn listen() -> io::Result<TcpListener> {
    let open = |family, address: SocketAddr| -> io::Result<TcpListener> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if family == AddressFamily::INET6 {
            sockopt::set_ipv6_v6only(&socket, false)?;
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 8)?;
        Ok(socket.into())
    };
    let six = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0).into();
    let four = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into();
    open(AddressFamily::INET6, six).or_else(|_| open(AddressFamily::INET, four))
}

fn getrandom(bytes: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        at += rustix::rand::getrandom(&mut bytes[at..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}
