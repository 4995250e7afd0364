//! What stands between an agent and yeet on a host: it passes on what the real agent says, but for what it was told to lie about.
//!
//! Holds: it is this test program, started by the test's own server in the agent's place; what it is to do is read from a file,
//! so that a lie begins and ends while both run. Where it does nothing, nothing is changed.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use yeet::dataflow::model::fact::Fact;
use yeet::dataflow::model::path::{Name, RelPath};
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Content, File, Value};
use yeet::sources::far::page::Last;
use yeet::sources::far::wire::{Opened, Refusal, Told};
use yeet::ssh::protocol::{Call, Decoder, Frame, Kind, Request};
use yeet::ssh::socket::{Fresh, Offer, Pin, connect};

use super::server::{Home, Server};

/// In its environment: the file that says what it is to do.
const ORDERS: &str = "YEET_TEST_BETWEEN";
/// What an agent says first.
const MAGIC: &[u8] = b"\x00\xffyeet-agent\xff\x00";
/// In files whose bytes are changed on their way.
pub(crate) const MARK: &[u8] = b"as it was written";

/// A server on which it stands between, and how its config starts it.
pub(crate) fn server(home: &Home) -> Server {
    let own = std::env::current_exe().unwrap();
    let orders = home.path("etc/orders");
    let script = format!(
        "#!/bin/sh\ncase $SSH_ORIGINAL_COMMAND in\n\
         *' agent --at '*) {ORDERS}={} exec {} --exact between::stands_between --nocapture --test-threads=1 ;;\n\
         *) exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\" ;;\nesac\n",
        orders.display(),
        own.display()
    );
    home.write("etc/forced", &script);
    let forced = home.path("etc/forced");
    fs::set_permissions(&forced, fs::Permissions::from_mode(0o755)).unwrap();
    Server::openssh_after(home, &format!("MaxSessions 1\nForceCommand {}", forced.display()), "")
}

/// Started by a server, it does not return.
#[test]
fn stands_between() {
    let Some(orders) = std::env::var_os(ORDERS) else { return };
    // What the test program has printed so far goes out before the first word of the agent.
    println!();
    let asked = std::env::var("SSH_ORIGINAL_COMMAND").unwrap();
    let mut agent = Command::new("/bin/sh")
        .args(["-c", &asked])
        .env_remove(ORDERS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (to, from) = (agent.stdin.take().unwrap(), agent.stdout.take().unwrap());
    let requests = Arc::<Mutex<HashMap<u16, Request>>>::default();
    let known = requests.clone();
    drop(std::thread::spawn(move || pass_up(to, &known)));
    pass_down(from, &mut Between { orders: orders.into(), requests, told: HashMap::new() });
    drop(agent.wait());
    std::process::exit(0);
}

fn pass_up(mut to: impl Write, requests: &Mutex<HashMap<u16, Request>>) {
    let (mut decoder, mut buffer) = (Decoder::at_once(), vec![0; 64 << 10]);
    let mut from = std::io::stdin().lock();
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        decoder.feed(&buffer[..read]);
        while let Ok(Some(frame)) = decoder.frame() {
            if frame.kind == Kind::Open
                && let Ok(request) = Request::read(&frame.payload)
            {
                requests.lock().unwrap().insert(frame.stream, request);
            }
        }
        if to.write_all(&buffer[..read]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn pass_down(mut from: impl Read, between: &mut Between) {
    let (mut decoder, mut buffer) = (Decoder::after_noise(), vec![0; 64 << 10]);
    let mut to = std::io::stdout().lock();
    let mut has_begun = false;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        decoder.feed(&buffer[..read]);
        let mut out = Vec::new();
        while let Ok(Some(frame)) = decoder.frame() {
            if !std::mem::replace(&mut has_begun, true) {
                out.extend(MAGIC);
            }
            between.take(frame, &mut out);
        }
        if to.write_all(&out).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// What an agent tells of a replica, one message after the other.
#[derive(Default)]
struct Telling {
    bytes: Vec<u8>,
    /// As the agent has said, and as it is passed on.
    last: [Last; 2],
    has_opened: bool,
}

struct Between {
    orders: PathBuf,
    requests: Arc<Mutex<HashMap<u16, Request>>>,
    told: HashMap<u16, Telling>,
}

/// A message on a stream.
fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes(), bytes].concat()
}

fn said(message_of: &impl Serialize) -> Vec<u8> {
    message(&postcard::to_stdvec(message_of).unwrap())
}

fn data(stream: u16, payload: Vec<u8>) -> Frame {
    Frame { kind: Kind::Data, flags: 0, stream, payload }
}

/// A directory's page, written by hand: a listing of `dir` with one child, both of which may be what nothing is called.
fn page(dir: &[u8], child: &[u8]) -> Vec<u8> {
    let text = |text: &[u8]| {
        let short = u8::try_from(text.len().min(15)).unwrap();
        let mut out = vec![short];
        let mut more = text.len().checked_sub(15);
        while let Some(rest) = more {
            let part = u8::try_from(rest & 0x7f).unwrap();
            more = (rest >= 0x80).then_some(rest >> 7);
            out.push(if more.is_some() { part | 0x80 } else { part });
        }
        out.extend(text);
        out
    };
    // What is told is facts; a listing; of one child, which is a fifo.
    [&[1, 0][..], &text(dir), &[1], &text(child), &[5, 0]].concat()
}

impl Between {
    /// What it is to lie about, in words; nothing: it passes all on.
    fn orders(&self) -> Vec<String> {
        let orders = fs::read_to_string(&self.orders).unwrap_or_default();
        orders.split_whitespace().map(str::to_owned).collect()
    }

    fn take(&mut self, frame: Frame, out: &mut Vec<u8>) {
        let orders = self.orders();
        let words: Vec<&str> = orders.iter().map(String::as_str).collect();
        let request = self.requests.lock().unwrap().get(&frame.stream).cloned();
        let is_data = frame.kind == Kind::Data;
        match (words.as_slice(), request) {
            (["garbage"], Some(_)) if is_data => out.extend(b"no agent says this, ".repeat(4000)),
            (["frame"], Some(_)) if is_data => out.extend([255, 255, 255, 127, 4, 0, 0, 0]),
            (["stream"], Some(_)) if is_data => data(999, vec![1, 2, 3]).write(out),
            (["call"], Some(Request::Replica { .. })) if is_data => {
                for (stream, payload) in
                    [(900, b"what?".to_vec()), (902, Call::Control { replica: 77 }.bytes())]
                {
                    Frame { kind: Kind::Open, flags: 0, stream, payload }.write(out);
                }
                self.tell(frame, &[], out);
            }
            (_, Some(Request::Replica { .. })) if is_data => self.tell(frame, &words, out),
            (["flip"], Some(Request::Offer { .. })) if is_data => {
                data(frame.stream, replaced(&frame.payload, |mark| mark.to_ascii_uppercase()))
                    .write(out);
            }
            (["more"], Some(Request::Offer { .. })) if is_data => {
                data(frame.stream, longer(&frame.payload)).write(out);
            }
            (["early"], Some(Request::Offer { .. })) if is_data => {}
            (["length"], Some(Request::Offer { .. } | Request::Act { .. })) if is_data => {
                data(frame.stream, vec![255; 4]).write(out);
            }
            (["jobs"], Some(Request::Act { .. })) if is_data => {
                // Three jobs whose files were torn, and all is on disk.
                let outcome = [1, 3, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1];
                data(frame.stream, message(&outcome)).write(out);
            }
            (["part"], Some(Request::Act { .. })) if is_data => {
                data(frame.stream, message(&[0; 34])).write(out);
            }
            (["socket", lie], Some(Request::Socket { .. })) if is_data => {
                let told = lie_about_socket(lie, &frame.payload);
                data(frame.stream, told).write(out);
            }
            _ => frame.write(out),
        }
    }

    /// Passes on what is told of a replica, with something between.
    fn tell(&mut self, frame: Frame, words: &[&str], out: &mut Vec<u8>) {
        let telling = self.told.entry(frame.stream).or_default();
        telling.bytes.extend(&frame.payload);
        let mut payload = Vec::new();
        while let Some(one) = telling.next() {
            if !std::mem::replace(&mut telling.has_opened, true) {
                payload.extend(match words {
                    ["opened", path] => opened_at(path, &one),
                    _ => message(&one),
                });
                continue;
            }
            let [heard, passed] = &mut telling.last;
            let told = Told::read(&one, Replica::SOURCE, heard).unwrap();
            match words {
                ["name", name] => payload.extend(message(&page(b"", &unescaped(name)))),
                ["dir", dir] => payload.extend(message(&page(&unescaped(dir), b"child"))),
                ["unasked", dir] => payload.extend(message(&unasked(dir).bytes(passed))),
                ["message"] => payload.extend([255; 4]),
                _ => {}
            }
            payload.extend(message(&told.bytes(passed)));
        }
        // Not more than a frame can have: what is told in a test is short.
        data(frame.stream, payload).write(out);
    }
}

impl Telling {
    fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let one = rest.get(..length)?.to_vec();
        drop(self.bytes.drain(..4 + length));
        Some(one)
    }
}

/// `x*300` is 300 times that; `%` stands for a NUL, `-` for nothing.
fn unescaped(word: &str) -> Vec<u8> {
    match word.split_once('*') {
        Some((what, times)) => what.repeat(times.parse().unwrap()).into_bytes(),
        None => word.replace('%', "\0").replace('-', "").into_bytes(),
    }
}

fn opened_at(path: &str, real: &[u8]) -> Vec<u8> {
    let real: Result<Opened, Refusal> = postcard::from_bytes(real).unwrap();
    said(&real.map(|real| Opened { path: path.as_bytes().to_vec(), ..real }))
}

/// A directory that nobody has asked about and that is not there.
fn unasked(dir: &str) -> Told {
    let file = Value::File(File { size: 7, mtime: 0, content: Content::unread(7), mode: 0o644 });
    let children = vec![(Name::parse(b"made-up").unwrap(), file)];
    let dir = RelPath::parse(dir.as_bytes()).unwrap();
    Told::Facts(vec![Fact::Listed { replica: Replica::SOURCE, dir, children }])
}

/// The bytes with what a change makes of each mark in them.
fn replaced(bytes: &[u8], change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(MARK.len()).position(|window| window == MARK) {
        out.extend(&rest[..at]);
        out.extend(change(MARK));
        rest = &rest[at + MARK.len()..];
    }
    out.extend(rest);
    out
}

/// The bytes with a second piece after each that is the mark.
fn longer(bytes: &[u8]) -> Vec<u8> {
    let piece = message(MARK);
    replaced(bytes, |mark| [mark, &piece].concat())
}

/// What is said of the data socket, and whom it brings.
fn lie_about_socket(lie: &str, real: &[u8]) -> Vec<u8> {
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let Ok(Ok::<Offer, String>(offer)) = postcard::from_bytes(&real[4..]) else {
        return real.to_vec();
    };
    let told = match lie {
        "pin" => Offer { pin: Pin([7; 32]), ..offer },
        "token" => Offer { token: [7; 32], ..offer },
        "port" => {
            let listener = TcpListener::bind((here, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                drop(stream.write_all(&[b'x'; 1000]));
                drop(stream.read_to_end(&mut Vec::new()));
            }));
            Offer { port, ..offer }
        }
        // The offer is right, and others have come before.
        _ => {
            let mut noise = TcpStream::connect((here, offer.port)).unwrap();
            noise.write_all(&[b'x'; 100]).unwrap();
            drop(noise.read_to_end(&mut Vec::new()));
            assert!(connect(here, &offer, Fresh::new().unwrap()).is_err());
            offer
        }
    };
    said(&Ok::<_, String>(told))
}
