//! The control socket, from both ends.
//!
//! Holds: a socket is its owner's alone (0600 in a 0700 directory, the peer's uid checked at both ends); one daemon
//! has its own at a time; a client that says nothing or nonsense is dropped; at rest nothing wakes.

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
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::wire::{self, Hello, Reply, Request};

const SOCKET: &str = "control.sock";
const LOCK: &str = "daemon.lock";
/// Requests answered at once.
const CONNECTIONS_MAX: usize = 128;
/// How long a client may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long a daemon may take to say hello.
const HELLO_TIME: Duration = Duration::from_secs(15);

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
    #[error("the daemon is of another version")]
    OtherVersion,
    #[error("the daemon does not answer")]
    Silent,
}

/// A control socket, which is gone when this is.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// What makes a daemon the only one.
    lock: Option<Arc<File>>,
}

impl Listener {
    /// What makes it the only daemon: to be held until all that a next one would open is closed.
    #[must_use]
    pub fn lock(&self) -> Option<Arc<File>> {
        self.lock.clone()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

pub(super) fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Makes a directory for sockets, for this user alone.
fn make_private(dir: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let meta = dir.symlink_metadata().map_err(failed)?;
    if !meta.is_dir() || meta.uid() != own_uid() {
        return Err(BindError::Foreign { path: dir.to_owned() });
    }
    std::fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)
}

/// Makes the socket, in the place of a dead one's.
fn listen(path: PathBuf, lock: Option<Arc<File>>) -> Result<Listener, BindError> {
    let failed = |source| BindError::Io { path: path.clone(), source };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener { listener, path, lock })
}

/// Makes a socket of that name in `dir`, which is made if need be. Whoever calls this is the only one of that name.
///
/// # Errors
/// The directory is not this user's alone, or holds no sockets, or its path is too long for one.
pub fn bind_as(dir: &Path, name: &str) -> Result<Listener, BindError> {
    make_private(dir)?;
    listen(dir.join(name), None)
}

/// Takes the daemon's socket in `dir`, which is made if need be.
///
/// # Errors
/// Another daemon has it, or the directory is not this user's alone.
pub fn bind(dir: &Path) -> Result<Listener, BindError> {
    let failed = |source| BindError::Io { path: dir.to_owned(), source };
    make_private(dir)?;
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
    listen(path, Some(Arc::new(lock)))
}

/// Ends [`serve`].
#[derive(Clone, Default)]
pub struct Stop(Arc<tokio::sync::Notify>);

impl Stop {
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Who has asked something, and waits for replies.
pub trait Asker: Send + Sync {
    /// Sends a frame.
    ///
    /// # Errors
    /// They are gone.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// Waits until they are gone, or for as long as given; true if they are. They say nothing after their request: anything
    /// that comes is their end.
    fn is_gone_within(&self, time: Duration) -> bool;
}

impl Asker for UnixStream {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        (&mut &*self).write_all(frame)
    }

    fn is_gone_within(&self, time: Duration) -> bool {
        drop(self.set_read_timeout(Some(time)));
        let read = (&mut &*self).read(&mut [0]);
        !matches!(&read, Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// Where the answers to one request go.
pub struct Replies(Box<dyn Asker>);

impl Replies {
    /// Sends one reply.
    ///
    /// # Errors
    /// The client is gone.
    pub fn send(&self, reply: &Reply) -> io::Result<()> {
        self.0.send(&frame(reply)?)
    }

    /// Waits until the client is gone, or for as long as given; true if it is gone.
    #[must_use]
    pub fn wait_gone(&self, time: Duration) -> bool {
        self.0.is_gone_within(time)
    }
}

fn frame<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    wire::write_frame(&mut bytes, message)?;
    Ok(bytes)
}

/// What answers requests, each on a thread of its own.
pub type Handler = Arc<dyn Fn(Request, &Replies) + Send + Sync>;
/// What is done with a connection, on a thread of its own.
pub type Take = Arc<dyn Fn(UnixStream) + Send + Sync>;

/// Serves until `stop`, SIGTERM or SIGINT. Answers under way are broken off when the process ends.
///
/// # Errors
/// The runtime cannot be made.
pub fn serve(listener: Listener, handler: Handler, stop: &Stop) -> io::Result<()> {
    // A client that breaks off or talks nonsense needs no answer.
    let take: Take = Arc::new(move |stream| drop(answer(stream, &*handler)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let over = async {
            tokio::select! {
                () = stop.0.notified() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        accept_until(listener, (&take, CONNECTIONS_MAX), over).await
    })
}

/// Takes connections, so many at a time, until `stop`.
///
/// # Errors
/// The runtime cannot be made.
pub fn take_all(listener: Listener, take: &Take, most: usize, stop: &Stop) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(accept_until(listener, (take, most), stop.0.notified()))
}

async fn accept_until(
    listener: Listener,
    (take, most): (&Take, usize),
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.listener.set_nonblocking(true)?;
    let accepting = tokio::net::UnixListener::from_std(listener.listener.try_clone()?)?;
    let busy = Arc::new(AtomicUsize::new(0));
    tokio::pin!(over);
    loop {
        tokio::select! {
            accepted = accepting.accept() => match accepted {
                Ok((stream, _)) => accept(stream, (take, most), &busy),
                // Out of descriptors, most likely: in a moment there may be some.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            },
            () = &mut over => return Ok(()),
        }
    }
}

fn accept(stream: tokio::net::UnixStream, (take, most): (&Take, usize), busy: &Arc<AtomicUsize>) {
    let foreign = stream.peer_cred().map_or(true, |peer| peer.uid() != own_uid());
    let Ok(stream) = stream.into_std() else { return };
    if foreign || stream.set_nonblocking(false).is_err() {
        return;
    }
    if busy.fetch_add(1, Ordering::Relaxed) >= most {
        busy.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let (take, done) = (take.clone(), busy.clone());
    let answering = std::thread::Builder::new().name("answer".into()).spawn(move || {
        take(stream);
        done.fetch_sub(1, Ordering::Relaxed);
    });
    if answering.is_err() {
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: UnixStream, handler: &dyn Fn(Request, &Replies)) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIME))?;
    converse(&mut stream.try_clone()?, stream, handler)
}

/// Hears one request and has it answered.
///
/// # Errors
/// Who asks is gone, or talks nonsense.
pub(super) fn converse(
    from: &mut impl Read,
    to: impl Asker + 'static,
    handler: &dyn Fn(Request, &Replies),
) -> io::Result<()> {
    let Some(hello) = wire::read_frame::<Hello>(from)? else { return Ok(()) };
    to.send(&frame(&Hello { version: wire::VERSION })?)?;
    if hello.version != wire::VERSION {
        return Ok(());
    }
    let Some(request) = wire::read_frame::<Request>(from)? else { return Ok(()) };
    handler(request, &Replies(Box::new(to)));
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
        Self::connect_at(&dir.join(SOCKET))
    }

    /// Connects to the daemon that is asked at this socket.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_at(path: &Path) -> Result<Self, ConnectError> {
        let path = path.to_owned();
        let failed = |source: io::Error| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ECONNREFUSED) => ConnectError::NoDaemon,
            _ => ConnectError::Io { path: path.clone(), source },
        };
        let meta = path.symlink_metadata().map_err(failed)?;
        if meta.uid() != own_uid() {
            return Err(ConnectError::Foreign { path });
        }
        let stream = UnixStream::connect(&path).map_err(failed)?;
        Self::over(stream, path)
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// Who is at its other end says no hello, or another one.
    pub(super) fn over(stream: UnixStream, path: PathBuf) -> Result<Self, ConnectError> {
        let mut client = Self { stream, path };
        client.greet()?;
        Ok(client)
    }

    fn greet(&mut self) -> Result<(), ConnectError> {
        let path = self.path.clone();
        let failed = |source: io::Error| {
            use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
            let kind = source.kind();
            if matches!(kind, WouldBlock | TimedOut) {
                return ConnectError::Silent;
            }
            // Whoever was there has gone at this moment.
            match matches!(kind, BrokenPipe | ConnectionReset | UnexpectedEof) {
                true => ConnectError::NoDaemon,
                false => ConnectError::Io { path: path.clone(), source },
            }
        };
        let hello = Hello { version: wire::VERSION };
        // A daemon answers at once, one on another machine as soon as its line lets it.
        self.stream.set_read_timeout(Some(HELLO_TIME)).map_err(failed)?;
        wire::write_frame(&mut self.stream, &hello).map_err(failed)?;
        let hello = wire::read_frame::<Hello>(&mut self.stream).map_err(failed)?;
        self.stream.set_read_timeout(None).map_err(failed)?;
        match hello {
            Some(hello) if hello.version == wire::VERSION => Ok(()),
            Some(_) => Err(ConnectError::OtherVersion),
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
