//! A control connection that comes on a stream from another machine: answered at the daemon's end, passed on at the agent's.
//!
//! Holds: whoever asks and says nothing for long is dropped; when either end has gone, the other one hears of it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::socket::{Asker, Replies, converse};
use super::wire::Request;
use crate::ssh::link::{Broken, Received, Stream};

/// How long who asks may be silent before all has been asked. A line can be slow, and carry much else.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// What is passed on at a time, in bytes.
const PIECE: usize = 64 << 10;

fn gone(broken: Broken) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, broken)
}

/// What is asked.
struct Asked {
    stream: Arc<Stream>,
    bytes: Vec<u8>,
    /// What is before was taken.
    at: usize,
}

impl Read for Asked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.bytes.len() {
            match self.stream.receive_within(REQUEST_TIME).map_err(gone)? {
                Received::Bytes(bytes) => (self.bytes, self.at) = (bytes, 0),
                Received::End => return Ok(0),
                Received::Nothing => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        let length = buffer.len().min(self.bytes.len() - self.at);
        buffer[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

impl Asker for Arc<Stream> {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        Stream::send(self, frame).map_err(gone)
    }

    fn is_gone_within(&self, time: Duration) -> bool {
        !matches!(self.receive_within(time), Ok(Received::Nothing))
    }
}

/// Answers what is asked on a stream.
pub fn answer(stream: Stream, handler: &dyn Fn(Request, &Replies)) {
    let stream = Arc::new(stream);
    let mut asked = Asked { stream: stream.clone(), bytes: Vec::new(), at: 0 };
    match converse(&mut asked, stream.clone(), handler) {
        Ok(()) => stream.end(),
        Err(error) => stream.refuse(&error.to_string()),
    }
}

/// Passes on what is said at a socket and on a stream, until the answer has ended or who asks has gone.
pub fn pass_on(socket: &UnixStream, stream: &Stream) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut bytes = vec![0; PIECE];
            while let Ok(length @ 1..) = (&mut &*socket).read(&mut bytes) {
                if stream.send(&bytes[..length]).is_err() {
                    break;
                }
            }
            stream.end();
        });
        while let Ok(Some(bytes)) = stream.receive() {
            if (&mut &*socket).write_all(&bytes).is_err() {
                break;
            }
        }
        // Whoever reads from it hears of its end, here and there.
        drop(socket.shutdown(Shutdown::Both));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::control::socket::Client;
    use crate::sources::control::wire::{Outcome, Reply};
    use crate::ssh::link::Link;
    use crate::ssh::link::tests::end;
    use crate::ssh::protocol::Side;

    /// Somebody who asks at an agent's end, and the daemon's end of it.
    fn rig(handler: impl Fn(Request, &Replies) + Send + 'static) -> (Client, Link, Link) {
        let (a, b) = UnixStream::pair().unwrap();
        let (daemon, agent) = (end(Side::Caller, a), end(Side::Agent, b));
        let streams = daemon.streams();
        std::thread::spawn(move || {
            let (call, stream) = streams.accept().unwrap();
            assert_eq!(call, b"call");
            answer(stream, &handler);
        });
        let (near, far) = UnixStream::pair().unwrap();
        let stream = agent.open(b"call").unwrap();
        std::thread::spawn(move || pass_on(&far, &stream));
        (Client::over(near, "there".into()).unwrap(), daemon, agent)
    }

    #[test]
    fn what_is_asked_there_is_answered_here_however_long_it_is() {
        let (client, _daemon, _agent) = rig(|request, replies| {
            assert_eq!(request, Request::Forget { sync: "s".repeat(3 << 20), leaf: None });
            for n in 0..40 {
                replies.send(&Reply::Bytes(vec![n; 100_000])).unwrap();
            }
            replies.send(&Reply::Done(Outcome::Well)).unwrap();
        });
        let mut heard = Vec::new();
        let asked = Request::Forget { sync: "s".repeat(3 << 20), leaf: None };
        let each = |reply| {
            heard.push(reply);
            Ok(())
        };
        client.ask(&asked, each).unwrap();
        assert_eq!(heard.len(), 41);
        assert_eq!(heard[39], Reply::Bytes(vec![39; 100_000]));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_any_more_is_broken_off() {
        let (tell, told) = std::sync::mpsc::channel();
        let (client, _daemon, _agent) = rig(move |_, replies| {
            replies.send(&Reply::Notice("at once".into())).unwrap();
            while !replies.wait_gone(Duration::from_secs(60)) {}
            while replies.send(&Reply::Notice("still".into())).is_ok() {}
            tell.send(()).unwrap();
        });
        // It is gone as soon as it has heard something.
        let each = |_| -> io::Result<()> { Err(io::ErrorKind::Interrupted.into()) };
        assert!(client.ask(&Request::List, each).is_err());
        told.recv().unwrap();
    }

    #[test]
    fn who_asks_hears_of_it_when_the_daemon_is_lost_in_the_middle() {
        let (client, daemon, _agent) =
            rig(|_, replies| while replies.send(&Reply::Notice("x".into())).is_ok() {});
        let mut daemon = Some(daemon);
        let asked = client.ask(&Request::List, |_| {
            drop(daemon.take());
            Ok(())
        });
        assert!(asked.unwrap_err().to_string().contains("in the middle of its answer"));
    }
}
