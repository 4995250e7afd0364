//! The agent: this program on another machine, at the other end of a connection that its owner made.
//!
//! Holds: it ends when its input does; it says nothing but frames, after its magic; it keeps nothing but its own file, and the
//! sign of a replica.

#![allow(clippy::disallowed_methods, reason = "io shell")]

mod chores;
mod door;
mod replica;
mod socket;
#[cfg(test)]
pub(crate) mod stepped;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sinks::far::{
    serve_errand, serve_flush, serve_group, serve_group_offers, serve_offers, serve_orders,
};
use crate::sources::far::wire::{ASK_MAX, Open, Opened, Refusal};
use crate::ssh::link::{Broken, Link, Over, Stream, Streams};
use crate::ssh::protocol::{
    Build, Decoder, Frame, Hello, Kind, Limits, Message, PAYLOAD_MAX, Request, Side, VERSION,
    write_magic,
};
use crate::ssh::talk::{Incoming, Outgoing, talk};
use crate::sys;
use door::Way;
use replica::Served;
use socket::serve_socket;

/// Serves whoever is at the other end, until they leave; `program` is this program's own file.
///
/// # Errors
/// The connection broke, or they speak another protocol.
pub fn serve(
    build: Build,
    program: PathBuf,
    mut input: impl Read + Send + 'static,
    mut output: impl Write + Send + 'static,
) -> io::Result<()> {
    let own = Hello { version: VERSION, build, payload_max: PAYLOAD_MAX };
    let mut out = Vec::new();
    write_magic(&mut out);
    own.frame().write(&mut out);
    say(&mut output, &out)?;
    let mut decoder = Decoder::at_once();
    let Some(first) = first_frame(&mut decoder, &mut input)? else { return Ok(()) };
    let hello = Hello::read(&first).map_err(io::Error::other)?;
    if (hello.version, hello.build) != (own.version, own.build) {
        let mut out = Vec::new();
        Message::Goodbye(format!("this is build {}", build.short())).frame().write(&mut out);
        return say(&mut output, &out);
    }
    // Whoever calls this ends the process, and a read that waits with it.
    let link = Link::start(Side::Agent, decoder, input, output, || {})?;
    let replicas = Replicas { open: Mutex::default(), streams: link.streams(), program };
    match serve_link(&replicas, &link) {
        Over::Goodbye(_) => Ok(()),
        over @ (Over::Lost(_) | Over::Garbled(_) | Over::Silent(_)) => Err(io::Error::other(over)),
    }
}

/// Answers all that is asked on a connection, until it is over.
fn serve_link(replicas: &Replicas, link: &Link) -> Over {
    std::thread::scope(|scope| {
        loop {
            match link.accept() {
                Ok((request, stream)) => {
                    drop(scope.spawn(move || answer(replicas, &request, stream)));
                }
                Err(over) => return over,
            }
        }
    })
}

/// The first frame that means something; `None` if they leave before it.
fn first_frame(decoder: &mut Decoder, input: &mut dyn Read) -> io::Result<Option<Frame>> {
    let mut bytes = [0; 4096];
    loop {
        match decoder.frame().map_err(io::Error::other)? {
            Some(Frame { kind: Kind::Unknown(_), .. }) => {}
            Some(frame) => return Ok(Some(frame)),
            None => match input.read(&mut bytes)? {
                0 => return Ok(None),
                length => decoder.feed(&bytes[..length]),
            },
        }
    }
}

/// The replicas that are open.
struct Replicas {
    /// By the number that the caller gave them.
    open: Mutex<HashMap<u32, Arc<Served>>>,
    streams: Streams,
    /// This program's own file.
    program: PathBuf,
}

impl Replicas {
    fn all(&self) -> MutexGuard<'_, HashMap<u32, Arc<Served>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, number: u32) -> Result<Arc<Served>, Broken> {
        let served = self.all().get(&number).cloned();
        served.ok_or_else(|| Broken::Garbled(format!("replica {number} is not open")))
    }
}

fn answer(replicas: &Replicas, request: &[u8], stream: Stream) {
    let request = match Request::read(request) {
        Ok(request) => request,
        Err(bad) => return stream.refuse(&bad.to_string()),
    };
    let (mut incoming, outgoing) = talk(stream);
    let outgoing = Arc::new(outgoing);
    let answered = match request {
        Request::Limits => tell_limits(&outgoing),
        Request::Replica { replica } => open(replicas, replica, incoming, &outgoing),
        Request::Act { replica, durable } => replicas.get(replica).and_then(|served| {
            let talk = (&mut incoming, &*outgoing);
            serve_orders(&served.site, &served.digests, durable, talk)
        }),
        Request::Offer { replica } => replicas.get(replica).and_then(|served| {
            serve_offers(&served.site.root, &served.digests, (&mut incoming, &outgoing))
        }),
        Request::ActGroup { replica, durable } => replicas.get(replica).and_then(|served| {
            serve_group(&served.site, &served.digests, durable, (incoming, &outgoing))
        }),
        Request::OfferGroup { replica } => replicas.get(replica).and_then(|served| {
            serve_group_offers(&served.site.root, &served.digests, (incoming, &outgoing))
        }),
        Request::Errand { replica } => replicas
            .get(replica)
            .and_then(|served| serve_errand(&served.site, sys::boot_id(), incoming, &outgoing)),
        Request::Flush { replica, mark } => {
            replicas.get(replica).and_then(|served| serve_flush(&served.site, mark, &outgoing))
        }
        Request::Socket { pin } => serve_socket(replicas, pin, (incoming, &outgoing)),
    };
    if let Err(broken) = answered {
        outgoing.refuse(&broken.to_string());
    }
}

fn tell_limits(outgoing: &Outgoing) -> Result<(), Broken> {
    outgoing.say(&Limits { watches: sys::watches_max(), files: sys::files_max() })?;
    outgoing.end()
}

/// Opens a replica, and looks at it until its stream ends.
fn open(
    replicas: &Replicas,
    number: u32,
    mut incoming: Incoming,
    outgoing: &Arc<Outgoing>,
) -> Result<(), Broken> {
    let asked: Open = incoming.expect(ASK_MAX)?;
    let opened = match Served::open(&asked) {
        Ok((served, opened)) => Ok((Arc::new(served), opened)),
        Err(refusal) => Err(refusal),
    };
    let (served, opened) = match opened {
        Ok(opened) => opened,
        Err(refusal) => {
            outgoing.say(&Err::<Opened, Refusal>(refusal))?;
            return outgoing.end();
        }
    };
    drop(replicas.all().insert(number, served.clone()));
    outgoing.say_now(&Ok::<Opened, Refusal>(opened))?;
    let (streams, program) = (replicas.streams.clone(), replicas.program.clone());
    let way = Way { streams, replica: number, program };
    let ended = served.run(&asked, (incoming, outgoing.clone()), way);
    drop(replicas.all().remove(&number));
    ended?;
    outgoing.end()
}

fn say(output: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(bytes)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    const BUILD: Build = Build([7; 32]);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn hello(build: Build) -> Frame {
        Hello { version: VERSION, build, payload_max: PAYLOAD_MAX }.frame()
    }

    /// An agent, and the socket to it after its hello was heard.
    fn agent() -> (UnixStream, std::thread::JoinHandle<io::Result<()>>) {
        let (mut a, b) = UnixStream::pair().unwrap();
        let input = b.try_clone().unwrap();
        let serving = std::thread::spawn(move || serve(BUILD, "/yeet".into(), input, b));
        let mut decoder = Decoder::after_noise();
        assert_eq!(first_frame(&mut decoder, &mut a).unwrap(), Some(hello(BUILD)));
        assert!(decoder.rest().is_empty());
        (a, serving)
    }

    fn send(socket: &mut UnixStream, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        socket.write_all(&bytes).unwrap();
    }

    #[test]
    fn it_says_who_it_is_answers_and_leaves_when_it_is_told_to() {
        let (mut socket, serving) = agent();
        send(&mut socket, &hello(BUILD));
        let (read, close) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
        let close = move || drop(close.shutdown(std::net::Shutdown::Both));
        let link = Link::start(Side::Caller, Decoder::at_once(), read, socket, close).unwrap();
        link.ping(PATIENCE).unwrap();
        let (mut incoming, outgoing) = talk(link.open(&Request::Limits.bytes()).unwrap());
        outgoing.end().unwrap();
        assert_eq!(incoming.expect::<Limits>(100).unwrap().files, sys::files_max());
        let stream = link.open(b"what?").unwrap();
        assert!(stream.receive().unwrap_err().to_string().contains("cannot be read"));
        drop(stream);
        link.goodbye("done", PATIENCE);
        assert!(serving.join().unwrap().is_ok());
    }

    #[test]
    fn it_ends_when_nobody_is_there_any_more() {
        let (mut socket, serving) = agent();
        send(&mut socket, &hello(BUILD));
        drop(socket);
        assert!(serving.join().unwrap().is_err(), "without a goodbye it was lost");
        let (socket, serving) = agent();
        drop(socket);
        assert!(serving.join().unwrap().is_ok());
    }

    #[test]
    fn another_build_and_whoever_says_no_hello_are_not_served() {
        let (mut socket, serving) = agent();
        send(&mut socket, &hello(Build([8; 32])));
        let mut decoder = Decoder::at_once();
        let said = first_frame(&mut decoder, &mut socket).unwrap().unwrap();
        assert_eq!(
            Message::read(&said),
            Ok(Message::Goodbye("this is build 0707070707070707".to_owned()))
        );
        assert!(serving.join().unwrap().is_ok());
        let (mut socket, serving) = agent();
        send(&mut socket, &Message::Ping(1).frame());
        assert!(serving.join().unwrap().is_err());
    }
}
