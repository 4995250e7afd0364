//! What goes between a daemon and an agent about jobs, errands and the data socket.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use yeet::dataflow::model::job::{Job, Op};
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Content, Digest, File, Value};
use yeet::dataflow::model::verdict::Rule;
use yeet::sinks::apply::Part;
use yeet::sinks::far::wire::{
    Ended, Errand, Failure, FileEnd, Flushed, GoesOn, Group, Looked, Offer, Order, Outcome, Purged,
    ReadOut, Reply, Settled, Wanted,
};
use yeet::ssh::socket;
use yeet::ssh::talk;

/// A job of a group is a dozen bytes, and two paths and two values.
const GROWTH: usize = 64;
/// What all jobs of a batch may have.
const ROOM: usize = 8 << 20;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 13 {
        0 => again::<Order>(bytes),
        1 => again::<Group>(bytes),
        2 => again::<Reply>(bytes),
        3 => again::<Errand>(bytes),
        4 => again::<Result<Settled, Failure>>(bytes),
        5 => again::<Result<Purged, Failure>>(bytes),
        6 => again::<Result<ReadOut, Failure>>(bytes),
        7 => again::<Offer>(bytes),
        8 => again::<FileEnd>(bytes),
        9 => again::<Wanted>(bytes),
        10 => again::<Looked>(bytes),
        11 => again::<Result<socket::Offer, String>>(bytes),
        _ => {
            again::<socket::Refused>(bytes);
            again::<GoesOn>(bytes);
        }
    }
});

/// What is read says the same when it is written and read again.
fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let read = || talk::read::<T>(bytes);
    let Ok(message) = fuzz::within(bytes.len() * GROWTH + ROOM, read) else { return };
    let written = written(&message);
    let read = talk::read::<T>(&written).expect("what was written");
    assert_eq!(self::written(&read), written);
}

fn written(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages hold nothing that postcard refuses")
}

fn seeds() -> Vec<Vec<u8>> {
    let content = Content::known(Digest([7; 32]));
    let value = Value::File(File { size: 300, mtime: 7, content, mode: 0o644 });
    let job =
        |op| Job { path: fuzz::path(b"d/a"), leaf: fuzz::leaf(), rule: Rule::NewAtSource, op };
    let put = Op::Put { from: Replica::SOURCE, to: fuzz::leaf(), new: value, expect: Some(value) };
    let read = Op::Read { replicas: vec![(Replica::SOURCE, value)] };
    let other = Failure::Other { what: "open it".into(), errno: Some(5), why: "EIO".into() };
    let ended = Ended { result: Err(other.clone()), kept: Some(value) };
    let part = Part { bytes: 300, digest: Digest([7; 32]) };
    let group = Group { known: vec![(fuzz::path(b"a"), None)], jobs: vec![(9, job(read))] };
    let outcome = Outcome { ended: vec![ended], durable: Flushed::Marked(300) };
    let order = Order { op: 300, job: job(put), offer: Err(other.clone()) };
    let pin = socket::Fresh::new().expect("a certificate").pin();
    let offer = socket::Offer { port: 7, pin, token: [7; 32] };
    vec![
        with(0, &order),
        with(1, &group),
        with(2, &Reply::Outcome(outcome)),
        with(2, &Reply::Part(part)),
        with(3, &Errand::Purge(vec![1, 300])),
        with(4, &Ok::<_, Failure>(Settled { each: vec![None] })),
        with(5, &Ok::<_, Failure>(Purged { ops: vec![300] })),
        with(6, &Ok::<_, Failure>(ReadOut::File { mode: 0o644, mtime_ns: 7 })),
        with(9, &Some(part)),
        with(11, &Ok::<_, String>(offer)),
        with(12, &vec!["192.0.2.1: it shows another certificate".to_owned()]),
    ]
}

fn with(which: u8, message: &impl Serialize) -> Vec<u8> {
    [vec![which], written(message)].concat()
}
