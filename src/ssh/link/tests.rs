//! Two ends of a connection, and peers that break it.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::*;
use crate::ssh::protocol::Chunk;

const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a connection over a socket.
pub(crate) fn end(side: Side, socket: UnixStream) -> Link {
    let (read, close) = (socket.try_clone().unwrap(), socket.try_clone().unwrap());
    let close = move || drop(close.shutdown(Shutdown::Both));
    Link::start(side, Decoder::at_once(), read, socket, close).unwrap()
}

/// An end that asks, and one that answers each request with all that comes on its stream, as it comes.
fn pair() -> (Link, JoinHandle<Over>) {
    let (a, b) = UnixStream::pair().unwrap();
    let agent = end(Side::Agent, b);
    let serving = std::thread::spawn(move || {
        std::thread::scope(|scope| {
            loop {
                match agent.accept() {
                    Ok((request, stream)) if request == b"no" => stream.refuse("not that"),
                    Ok((request, stream)) => drop(scope.spawn(move || {
                        // Whoever asked may be gone already.
                        if stream.send(&request).is_err() {
                            return;
                        }
                        while let Ok(Some(bytes)) = stream.receive() {
                            if stream.send(&bytes).is_err() {
                                return;
                            }
                        }
                        stream.end();
                    })),
                    Err(over) => return over,
                }
            }
        })
    });
    (end(Side::Caller, a), serving)
}

/// Comes back as soon as all streams are over on both sides.
fn no_stream_is_left(link: &Link) {
    let mut state = link.shared.state();
    while state.session.streams() > 0 {
        assert_eq!(state.over, None);
        state = link.shared.changed.wait(state);
    }
}

#[test]
fn many_streams_go_on_side_by_side_and_each_gets_its_own_answer() {
    let (link, serving) = pair();
    std::thread::scope(|scope| {
        for n in 0..20u8 {
            let link = &link;
            scope.spawn(move || {
                let stream = link.open(&[n]).unwrap();
                let said = vec![n; 300_000 * usize::from(n % 5)];
                // Less than what is granted and what may wait: nobody has to read meanwhile.
                for piece in said.chunks(200_000) {
                    stream.send(piece).unwrap();
                }
                stream.end();
                let heard = stream.receive_all(10 << 20).unwrap();
                assert!(heard.len() == said.len() + 1 && heard.iter().all(|byte| *byte == n));
            });
        }
    });
    link.ping(PATIENCE).unwrap();
    link.goodbye("done", PATIENCE);
    assert_eq!(serving.join().unwrap(), Over::Goodbye("done".to_owned()));
}

#[test]
fn who_does_not_listen_is_sent_no_more_than_they_granted_and_holds_up_nobody_else() {
    let (link, serving) = pair();
    let deaf = link.open(b"x").unwrap();
    std::thread::scope(|scope| {
        // It is echoed, and not read here: the other side stands still on this stream.
        let feeding = scope.spawn(move || {
            let fed = deaf.send(&vec![0; 64 << 20]);
            (fed, deaf)
        });
        for _ in 0..50 {
            let stream = link.open(b"y").unwrap();
            stream.end();
            assert_eq!(stream.receive_all(10).unwrap(), b"y");
        }
        link.ping(PATIENCE).unwrap();
        drop(link);
        let (fed, _) = feeding.join().unwrap();
        assert!(matches!(fed, Err(Broken::Over(_))), "{fed:?}");
    });
    assert!(matches!(serving.join().unwrap(), Over::Lost(_)));
}

#[test]
fn a_request_that_is_refused_says_why_and_one_that_is_dropped_is_let_go_of() {
    let (link, serving) = pair();
    for _ in 0..1000 {
        let refused = link.open(b"no").unwrap();
        assert_eq!(refused.receive(), Err(Broken::Reset("not that".to_owned())));
        drop(link.open(b"dropped").unwrap());
    }
    no_stream_is_left(&link);
    drop(link);
    serving.join().unwrap();
}

#[test]
fn an_answer_that_has_ended_arrives_whole_although_whoever_gave_it_is_gone() {
    let (a, b) = UnixStream::pair().unwrap();
    let (link, agent) = (end(Side::Caller, a), end(Side::Agent, b));
    for size in [0, 1, 200_000] {
        let asked = link.open(b"x").unwrap();
        let (_, answer) = agent.accept().unwrap();
        answer.send(&vec![7; size]).unwrap();
        answer.end();
        drop(answer);
        // More than is granted: it is taken in all the same, until it is known that nobody needs it.
        let sent = asked.send(&vec![1; 3 << 20]);
        assert!(matches!(sent, Ok(()) | Err(Broken::Enough)), "{sent:?}");
        asked.end();
        assert_eq!(asked.receive_all(1 << 20).unwrap(), vec![7; size]);
    }
    no_stream_is_left(&link);
}

#[test]
fn one_that_is_silent_when_it_is_asked_for_has_ended_and_one_that_answers_has_not() {
    let (a, b) = UnixStream::pair().unwrap();
    let (link, _agent) = (end(Side::Caller, a), end(Side::Agent, b));
    link.ping(PATIENCE).unwrap();
    let (a, _nobody) = UnixStream::pair().unwrap();
    let link = end(Side::Caller, a);
    let stream = link.open(b"x").unwrap();
    let patience = Duration::from_millis(1);
    assert_eq!(link.ping(patience), Err(Over::Silent(patience)));
    assert!(matches!(stream.receive(), Err(Broken::Over(Over::Silent(_)))));
    assert!(!link.is_up());
}

#[test]
fn whoever_sends_what_makes_no_sense_is_spoken_to_no_more() {
    let (a, mut b) = UnixStream::pair().unwrap();
    let link = end(Side::Caller, a);
    let stream = link.open(b"x").unwrap();
    b.write_all(&[0xff; 64]).unwrap();
    assert!(matches!(stream.receive(), Err(Broken::Over(Over::Garbled(_)))));
    assert!(matches!(link.open(b"y"), Err(Over::Garbled(_))));
    assert!(matches!(link.ping(PATIENCE), Err(Over::Garbled(_))));
}

#[test]
fn both_ends_ask_and_answer_at_the_same_time() {
    let (a, b) = UnixStream::pair().unwrap();
    let (caller, agent) = (end(Side::Caller, a), end(Side::Agent, b));
    let answer_all = |streams: Streams| {
        std::thread::spawn(move || {
            while let Ok((request, stream)) = streams.accept() {
                stream.send(&request.repeat(100_000)).unwrap();
                stream.end();
            }
        })
    };
    let answering = [answer_all(caller.streams()), answer_all(agent.streams())];
    std::thread::scope(|scope| {
        for link in [&caller, &agent] {
            for n in 0..10u8 {
                scope.spawn(move || {
                    let stream = link.open(&[n]).unwrap();
                    stream.end();
                    assert_eq!(stream.receive_all(1 << 20).unwrap(), vec![n; 100_000]);
                });
            }
        }
    });
    // Who only takes streams keeps no connection up, and hears of its end.
    drop(caller);
    answering.into_iter().for_each(|answering| answering.join().unwrap());
}

#[test]
fn who_waits_for_a_while_is_told_that_nothing_came_and_hears_what_comes_later() {
    let (a, b) = UnixStream::pair().unwrap();
    let (link, agent) = (end(Side::Caller, a), end(Side::Agent, b));
    let asked = link.open(b"x").unwrap();
    let (_, stream) = agent.accept().unwrap();
    assert_eq!(stream.receive_within(Duration::ZERO), Ok(Received::Nothing));
    asked.send(b"it").unwrap();
    assert_eq!(stream.receive_within(PATIENCE), Ok(Received::Bytes(b"it".to_vec())));
    asked.end();
    assert_eq!(stream.receive_within(PATIENCE), Ok(Received::End));
    drop(link);
    assert!(agent.streams().accept().is_err());
}

#[test]
fn a_connection_on_which_nothing_moves_is_asked_and_then_given_up() {
    let (link, serving) = pair();
    let mut state = link.shared.state();
    let then = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(!state.doubt(then(1)), "it may take a moment");
    assert!(state.doubt(then(3)) && state.over.is_none(), "it is asked");
    assert!(!state.doubt(then(4)), "and not all the time");
    assert!(state.doubt(then(6)), "again after a while");
    state.moved = then(6);
    assert!(!state.doubt(then(7)) && state.over.is_none(), "something came");
    assert!(state.doubt(then(22)));
    assert_eq!(state.over, Some(Over::Silent(LOST)));
    drop(state);
    drop(link);
    drop(serving.join());
}

/// A way on which a byte takes as long as on one of 4 MB/s, by a clock of its own.
struct Slow {
    clock: std::rc::Rc<std::cell::Cell<Instant>>,
    written: Vec<u8>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.clock.set(self.clock.get() + Duration::from_micros(bytes.len() as u64 / 4));
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn over_a_slow_way_data_arrives_as_it_was_and_takes_fewer_bytes() {
    let text: Vec<u8> = (0..40_000).flat_map(|n: u32| format!("line {n}\n").into_bytes()).collect();
    let mut session = Session::new(Side::Caller);
    let id = session.open(b"text".to_vec()).unwrap();
    let clock = std::rc::Rc::new(std::cell::Cell::new(Instant::now()));
    let mut way = Slow { clock: clock.clone(), written: Vec::new() };
    let mut narrow = Narrow::new(move || clock.get());
    for piece in text.chunks(60_000) {
        let mut chunk = Chunk::default();
        chunk.put(piece);
        assert_eq!(session.send(id, &mut chunk), Some(true));
        while let Some((_, out)) = session.output() {
            narrow.send(&out, &mut way).unwrap();
        }
    }
    session.end(id);
    while let Some((_, out)) = session.output() {
        narrow.send(&out, &mut way).unwrap();
    }
    assert!(way.written.len() < text.len() / 2, "{} of {}", way.written.len(), text.len());
    let (mut a, b) = UnixStream::pair().unwrap();
    let agent = end(Side::Agent, b);
    std::thread::scope(|scope| {
        scope.spawn(|| a.write_all(&way.written).unwrap());
        let (_, stream) = agent.accept().unwrap();
        assert!(stream.receive_all(1 << 20).unwrap() == text);
    });
}
