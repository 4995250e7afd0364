//! The control socket, from both ends.
//!
//! Holds: the socket is its owner's alone (0600 in a 0700 directory, the peer's uid checked at both ends); one daemon
//! has it at a time; a client that says nothing or nonsense is dropped; at rest nothing wakes.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use tokio::signal::unix::{SignalKind, signal};

use super::wire::{self, Hello, Reply, Request};

const SOCKET: &str = "control.sock";
const LOCK: &str = "daemon.lock";
/// Requests answered at once.
const CONNECTIONS_MAX: usize = 128;
/// How long a client may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long a daemon that goes down is waited for.
const ENDING_TIME: Duration = Duration::from_secs(10);

/// Why the socket cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("another daemon runs already ({owner})")]
    Running { owner: String },
    #[error("{path} belongs to another user or is open to others")]
    Foreign { path: PathBuf },
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Why the daemon cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("no daemon runs")]
    NoDaemon,
    #[error("the socket {path} belongs to another user")]
    Foreign { path: PathBuf },
    #[error("cannot reach the daemon at {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The socket of a daemon, and the lock that makes it the only one.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    lock: Arc<File>,
}

impl Listener {
    /// What makes it the only daemon: to be held until all that a next one would open is closed.
    #[must_use]
    pub fn lock(&self) -> Arc<File> {
        self.lock.clone()
    }
}

/// Whether a daemon runs, be it on its way up or down.
#[must_use]
pub fn is_owned(dir: &Path) -> bool {
    let lock = File::open(dir.join(LOCK));
    lock.is_ok_and(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Takes the socket in `dir`, which is made if need be.
///
/// # Errors
/// Another daemon has it, or the directory is not this user's alone.
pub fn bind(dir: &Path) -> Result<Listener, BindError> {
    let failed = |source| BindError::Io { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let meta = dir.symlink_metadata().map_err(failed)?;
    if !meta.is_dir() || meta.uid() != own_uid() {
        return Err(BindError::Foreign { path: dir.to_owned() });
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?;
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(dir.join(LOCK))
        .map_err(failed)?;
    let path = dir.join(SOCKET);
    let end = Instant::now() + ENDING_TIME;
    while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Without a socket it is on its way down.
        if !path.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let mut owner = String::new();
        drop((&mut lock).take(100).read_to_string(&mut owner));
        return Err(BindError::Running { owner: owner.trim().to_owned() });
    }
    lock.set_len(0).map_err(failed)?;
    writeln!(lock, "pid {}", std::process::id()).map_err(failed)?;
    // With the lock in hand, a socket that is there is a dead daemon's.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener { listener, path, lock: Arc::new(lock) })
}

/// Ends [`serve`].
#[derive(Clone, Default)]
pub struct Stop(Arc<tokio::sync::Notify>);

impl Stop {
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Where the answers to one request go.
pub struct Replies {
    stream: UnixStream,
}

impl Replies {
    /// Sends one reply.
    ///
    /// # Errors
    /// The client is gone.
    pub fn send(&self, reply: &Reply) -> io::Result<()> {
        wire::write_frame(&mut &self.stream, reply)
    }

    /// Waits until the client is gone, or for as long as given; true if it is gone.
    #[must_use]
    pub fn wait_gone(&self, time: Duration) -> bool {
        // A client says nothing after its request: anything readable is its end.
        drop(self.stream.set_read_timeout(Some(time)));
        let read = (&self.stream).read(&mut [0]);
        !matches!(&read, Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// What answers requests, each on a thread of its own.
pub type Handler = Arc<dyn Fn(Request, &Replies) + Send + Sync>;

/// Serves until `stop`, SIGTERM or SIGINT. Answers under way are broken off when the process ends.
///
/// # Errors
/// The runtime cannot be made.
pub fn serve(listener: Listener, handler: Handler, stop: &Stop) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    listener.listener.set_nonblocking(true)?;
    runtime.block_on(async {
        let accepting = tokio::net::UnixListener::from_std(listener.listener.try_clone()?)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let busy = Arc::new(AtomicUsize::new(0));
        loop {
            tokio::select! {
                accepted = accepting.accept() => match accepted {
                    Ok((stream, _)) => accept(stream, &handler, &busy),
                    // Out of descriptors, most likely: in a moment there may be some.
                    Err(_) => std::thread::sleep(Duration::from_millis(50)),
                },
                () = stop.0.notified() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    })
}

fn accept(stream: tokio::net::UnixStream, handler: &Handler, busy: &Arc<AtomicUsize>) {
    let foreign = stream.peer_cred().map_or(true, |peer| peer.uid() != own_uid());
    let Ok(stream) = stream.into_std() else { return };
    if foreign || stream.set_nonblocking(false).is_err() {
        return;
    }
    if busy.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        busy.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (handler, done) = (handler.clone(), busy.clone());
    let answering = std::thread::Builder::new().name("answer".into()).spawn(move || {
        // A client that breaks off or talks nonsense needs no answer.
        drop(answer(stream, &handler));
        done.fetch_sub(1, Ordering::Relaxed);
    });
    if answering.is_err() {
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: UnixStream, handler: &Handler) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    let mut from = &stream;
    let Some(hello) = wire::read_frame::<Hello>(&mut from)? else { return Ok(()) };
    wire::write_frame(&mut &stream, &Hello { version: wire::VERSION })?;
    if hello.version != wire::VERSION {
        return Ok(());
    }
    let Some(request) = wire::read_frame::<Request>(&mut from)? else { return Ok(()) };
    handler(request, &Replies { stream });
    Ok(())
}

/// A connection to the daemon.
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
}

impl Client {
    /// Connects to the daemon whose socket is in `dir`.
    ///
    /// # Errors
    /// None runs, or the socket is another user's.
    pub fn connect(dir: &Path) -> Result<Self, ConnectError> {
        let path = dir.join(SOCKET);
        let failed = |source: io::Error| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ECONNREFUSED) => ConnectError::NoDaemon,
            _ => ConnectError::Io { path: path.clone(), source },
        };
        let meta = path.symlink_metadata().map_err(failed)?;
        if meta.uid() != own_uid() {
            return Err(ConnectError::Foreign { path });
        }
        let stream = UnixStream::connect(&path).map_err(failed)?;
        let mut client = Self { stream, path };
        client.greet()?;
        Ok(client)
    }

    fn greet(&mut self) -> Result<(), ConnectError> {
        let path = self.path.clone();
        let failed = |source| ConnectError::Io { path: path.clone(), source };
        let hello = Hello { version: wire::VERSION };
        wire::write_frame(&mut self.stream, &hello).map_err(failed)?;
        match wire::read_frame::<Hello>(&mut self.stream).map_err(failed)? {
            Some(hello) if hello.version == wire::VERSION => Ok(()),
            Some(_) => {
                let what = "the daemon is of another version; `yeet daemon stop` and start again";
                Err(failed(io::Error::other(what)))
            }
            None => Err(ConnectError::NoDaemon),
        }
    }

    /// Asks, and gives every reply to `each` until the last one.
    ///
    /// # Errors
    /// The connection broke, or `each` failed.
    pub fn ask(
        mut self,
        request: &Request,
        mut each: impl FnMut(Reply) -> io::Result<()>,
    ) -> io::Result<()> {
        wire::write_frame(&mut self.stream, request)?;
        loop {
            match wire::read_frame::<Reply>(&mut self.stream)? {
                Some(last @ (Reply::Done(_) | Reply::Failed(_))) => return each(last),
                Some(reply) => each(reply)?,
                None => {
                    return Err(io::Error::other("the daemon ended in the middle of its answer"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::control::wire::Outcome;

    #[test]
    fn a_request_is_answered_a_second_daemon_refused_and_nonsense_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("run");
        assert!(matches!(Client::connect(&dir), Err(ConnectError::NoDaemon)));
        let listener = bind(&dir).unwrap();
        assert!(matches!(bind(&dir), Err(BindError::Running { .. })));
        let stop = Stop::default();
        let stopper = stop.clone();
        let handler: Handler = Arc::new(move |request, replies: &Replies| {
            if request == Request::DaemonStop {
                stopper.stop();
            }
            replies.send(&Reply::Name("here".into())).unwrap();
            replies.send(&Reply::Done(Outcome::Well)).unwrap();
        });
        let serving = std::thread::spawn(move || serve(listener, handler, &stop));
        let mut nonsense = UnixStream::connect(dir.join(SOCKET)).unwrap();
        nonsense.write_all(&[0xff; 64]).unwrap();
        let mut replies = Vec::new();
        let ask = |request: &Request, replies: &mut Vec<Reply>| {
            Client::connect(&dir).unwrap().ask(request, |reply| {
                replies.push(reply);
                Ok(())
            })
        };
        ask(&Request::List, &mut replies).unwrap();
        assert_eq!(replies, [Reply::Name("here".into()), Reply::Done(Outcome::Well)]);
        ask(&Request::DaemonStop, &mut replies).unwrap();
        serving.join().unwrap().unwrap();
        assert!(matches!(Client::connect(&dir), Err(ConnectError::NoDaemon)));
    }
}
