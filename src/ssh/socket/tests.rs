//! Both ends on this machine: who is let in, who is not, and what goes over it.
//!
//! Holds: a stranger is one who connects, never one whom the listener is told of.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::thread::{JoinHandle, spawn};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A listener for whoever has `own`, and who came.
fn awaited(own: &Fresh) -> (Offer, JoinHandle<Met>) {
    let listener = Listener::open(own.pin()).unwrap();
    (listener.offer(), spawn(move || listener.meet()))
}

fn fresh() -> Fresh {
    Fresh::new().unwrap()
}

fn error(connected: Result<Secured, String>) -> String {
    match connected {
        Ok(_) => panic!("it was let in"),
        Err(why) => why,
    }
}

/// That the caller is still let in, and what came of all who came before.
fn let_in((offer, own): (Offer, Fresh), meeting: JoinHandle<Met>) -> Refused {
    let connected = connect(HERE, &offer, own).unwrap();
    let met = meeting.join().unwrap();
    let (mut near, mut far) = (connected.split(), met.secured.unwrap().split());
    near.1.write_all(b"to it").unwrap();
    let mut word = [0; 5];
    far.0.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"to it");
    met.refused
}

#[test]
fn much_goes_both_ways_at_once_and_comes_as_it_was_sent() {
    let own = fresh();
    let (offer, meeting) = awaited(&own);
    let near = connect(HERE, &offer, own).unwrap();
    let met = meeting.join().unwrap();
    assert_eq!(met.refused, Vec::<String>::new());
    let sent: Vec<u8> = (0..3_u32 << 20).map(|n| (n / 7 % 251) as u8).collect();
    let ends = [near, met.secured.unwrap()].map(|end| {
        let (mut reader, mut writer, close) = end.split();
        let bytes = sent.clone();
        let writing =
            spawn(move || bytes.chunks(70_001).try_for_each(|some| writer.write_all(some)));
        let mut came = vec![0; sent.len()];
        let reading = spawn(move || reader.read_exact(&mut came).map(|()| (came, reader)));
        (writing, reading, close)
    });
    let [(a, near, close), (b, far, _keep)] = ends;
    assert!(a.join().unwrap().is_ok() && b.join().unwrap().is_ok());
    let (came, mut reader) = near.join().unwrap().unwrap();
    assert!(came == sent && far.join().unwrap().unwrap().0 == sent);
    close();
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn a_stranger_who_comes_first_is_turned_away_and_named_and_the_caller_let_in() {
    let own = fresh();
    let (offer, meeting) = awaited(&own);
    let mut talks = TcpStream::connect((HERE, offer.port)).unwrap();
    talks.write_all(&[b'x'; 100]).unwrap();
    // An alert, and the end.
    drop(talks.read_to_end(&mut Vec::new()));
    let silent = TcpStream::connect((HERE, offer.port)).unwrap();
    let refused = let_in((offer, own), meeting);
    let named = |who: &TcpStream, why: &str| {
        let who = who.local_addr().unwrap().to_string();
        refused.iter().any(|line| line.starts_with(&who) && line.contains(why))
    };
    assert!(named(&talks, ": ") && named(&silent, "has not shown who it is"), "{refused:?}");
}

#[test]
fn another_certificate_than_the_one_told_of_is_refused_by_either_side() {
    let own = fresh();
    let (offer, meeting) = awaited(&own);
    error(connect(HERE, &offer, fresh()));
    let forged = Offer { pin: fresh().pin(), ..offer };
    let why = error(connect(HERE, &forged, fresh()));
    assert!(why.contains("invalid peer certificate"), "{why}");
    let refused = let_in((offer, own), meeting);
    assert!(refused.iter().any(|line| line.contains("certificate")), "{refused:?}");
}

#[test]
fn another_token_is_refused_and_the_right_one_counts_once() {
    let own = fresh();
    let twin = own.twin();
    let (offer, meeting) = awaited(&own);
    let why = error(connect(HERE, &Offer { token: [0; 32], ..offer }, twin));
    assert!(why.contains(&offer.port.to_string()), "{why}");
    let twin = own.twin();
    let refused = let_in((offer, own), meeting);
    assert!(refused.iter().any(|line| line.contains("another token")), "{refused:?}");
    let why = error(connect(HERE, &offer, twin));
    assert!(why.contains("refused"), "the port is closed: {why}");
}

#[test]
fn nine_at_once_are_one_too_many() {
    let own = fresh();
    let (offer, meeting) = awaited(&own);
    let crowd: Vec<_> = (0..9).map(|_| TcpStream::connect((HERE, offer.port)).unwrap()).collect();
    // The last is hung up on, which makes room for nobody.
    assert_eq!((&crowd[8]).read(&mut [0]).unwrap_or(0), 0);
    drop(crowd);
    loop {
        // Those that have left make room as soon as that is noticed.
        if let Ok(connected) = connect(HERE, &offer, own.twin()) {
            drop(connected);
            break;
        }
    }
    let met = meeting.join().unwrap();
    assert!(met.refused.iter().any(|line| line.contains("too many")), "{:?}", met.refused);
}

#[test]
fn a_listener_that_is_stopped_waits_for_nobody_and_its_port_is_closed() {
    let own = fresh();
    let listener = Listener::open(own.pin()).unwrap();
    let (offer, stop) = (listener.offer(), listener.stop());
    let meeting = spawn(move || listener.meet());
    stop();
    assert!(meeting.join().unwrap().secured.is_none());
    drop(stop);
    assert!(error(connect(HERE, &offer, own)).contains("refused"));
}

#[test]
fn whoever_never_shows_who_they_are_is_waited_for_until_the_deadline_only() {
    let silent = std::net::TcpListener::bind((HERE, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let offer = Offer { port, pin: fresh().pin(), token: [1; 32] };
    let from = Instant::now();
    let why = error(connect(HERE, &offer, fresh()));
    assert!(why.contains("no answer") && from.elapsed() < 3 * CONNECT_MAX, "{why}");
}
