//! Two sessions that talk to each other, whatever is sent in whatever order; and peers that break rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// What may happen at one end.
#[derive(Clone, Debug)]
enum Act {
    Open,
    /// So many bytes on one of the streams.
    Send(usize, usize),
    End(usize),
    Reset(usize),
    /// So many pieces of output go on their way.
    Put(usize),
    /// So many bytes arrive.
    Take(usize),
    /// What came on a stream is done with.
    Consume(usize),
}

fn act() -> impl Strategy<Value = (bool, Act)> {
    let act = prop_oneof![
        1 => Just(Act::Open),
        4 => (0..4usize, 1..300_000usize).prop_map(|(s, n)| Act::Send(s, n)),
        1 => (0..4usize).prop_map(Act::End),
        1 => (0..4usize).prop_map(Act::Reset),
        4 => (1..8usize).prop_map(Act::Put),
        4 => (1..400_000usize).prop_map(Act::Take),
        3 => (0..4usize).prop_map(Act::Consume),
    ];
    (any::<bool>(), act)
}

/// One end of a connection, and what the books say of it.
struct End {
    session: Session,
    decoder: Decoder,
    /// On its way to here.
    wire: VecDeque<u8>,
    /// How many bytes were sent and heard on each stream, and how many were consumed.
    sent: BTreeMap<StreamId, u64>,
    heard: BTreeMap<StreamId, u64>,
    owed: BTreeMap<StreamId, usize>,
    /// Streams that this end knows of.
    known: Vec<StreamId>,
    ended: BTreeSet<StreamId>,
    they_ended: BTreeSet<StreamId>,
    broken: BTreeSet<StreamId>,
}

/// The byte at a place of a stream: that something is missing or doubled shows.
fn byte(id: StreamId, at: u64) -> u8 {
    u8::try_from((at * 7 + u64::from(id)) % 251).unwrap()
}

fn chunk(bytes: &[u8]) -> Chunk {
    let mut chunk = Chunk::default();
    assert_eq!(chunk.put(bytes), bytes.len());
    chunk
}

impl End {
    fn new(side: Side) -> Self {
        Self {
            session: Session::new(side),
            decoder: Decoder::at_once(),
            wire: VecDeque::new(),
            sent: BTreeMap::new(),
            heard: BTreeMap::new(),
            owed: BTreeMap::new(),
            known: Vec::new(),
            ended: BTreeSet::new(),
            they_ended: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    fn pick(&self, n: usize) -> Option<StreamId> {
        (!self.known.is_empty()).then(|| self.known[n % self.known.len()])
    }

    fn act(&mut self, act: &Act, other: &mut VecDeque<u8>) {
        match act {
            Act::Open => {
                let request = vec![u8::try_from(self.known.len()).unwrap_or(255)];
                self.known.extend(self.session.open(request));
            }
            Act::Send(n, length) => {
                let Some(id) = self.pick(*n) else { return };
                let at = self.sent.entry(id).or_default();
                let bytes: Vec<u8> = (*at..*at + *length as u64).map(|at| byte(id, at)).collect();
                let is_open = !self.ended.contains(&id) && !self.broken.contains(&id);
                for piece in bytes.chunks(CHUNK_MAX) {
                    let mut chunk = chunk(piece);
                    let taken = self.session.send(id, &mut chunk);
                    assert_eq!(taken.is_some(), is_open, "stream {id}");
                    assert_eq!(chunk.is_empty(), taken == Some(true));
                    if taken != Some(true) {
                        break;
                    }
                    *at += piece.len() as u64;
                }
            }
            Act::End(n) => {
                let Some(id) = self.pick(*n) else { return };
                self.session.end(id);
                self.ended.insert(id);
            }
            Act::Reset(n) => {
                let Some(id) = self.pick(*n) else { return };
                self.session.reset(id, "enough");
                self.broken.insert(id);
            }
            Act::Put(pieces) => {
                let out = (0..*pieces).map_while(|_| self.session.output());
                out.for_each(|(_, out)| other.extend(out));
            }
            Act::Take(length) => {
                let length = self.wire.len().min(*length);
                let bytes: Vec<u8> = self.wire.drain(..length).collect();
                self.decoder.feed(&bytes);
                while let Some(frame) = self.decoder.frame().unwrap() {
                    if let Some(event) = self.session.receive(frame).unwrap() {
                        self.hear(event);
                    }
                }
            }
            Act::Consume(n) => {
                let Some(id) = self.pick(*n) else { return };
                if let Some(owed) = self.owed.insert(id, 0) {
                    self.session.consumed(id, owed);
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Opened { stream, request } => {
                assert_eq!(request.len(), 1);
                assert!(!self.known.contains(&stream));
                self.known.push(stream);
            }
            Event::Data { stream, bytes } => {
                assert!(!self.they_ended.contains(&stream) && !self.broken.contains(&stream));
                let at = self.heard.entry(stream).or_default();
                for got in &bytes {
                    assert_eq!(*got, byte(stream, *at), "stream {stream} at {at}");
                    *at += 1;
                }
                let owed = self.owed.entry(stream).or_default();
                *owed += bytes.len();
                assert!(*owed <= CREDIT as usize, "more than was granted is held");
            }
            Event::Ended { stream } => assert!(self.they_ended.insert(stream)),
            Event::Reset { stream, why } => {
                assert!(why == "enough" || why.is_empty());
                self.broken.insert(stream);
            }
            Event::Granted { .. } | Event::Pong(_) | Event::Goodbye(_) => {}
        }
    }
}

/// Everything that is on its way arrives and is consumed, again and again, until nothing happens any more.
fn settle(a: &mut End, b: &mut End) {
    loop {
        let mut moved = false;
        for (from, to) in [(true, false), (false, true)] {
            let (one, two) = if from && !to { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            while one.session.has_output() {
                let (_, out) = one.session.output().expect("it says that there is something");
                moved = true;
                two.wire.extend(out);
            }
            assert_eq!(one.session.output(), None, "and that there is nothing");
            moved |= !two.wire.is_empty();
            two.act(&Act::Take(usize::MAX), &mut VecDeque::new());
            for n in 0..two.known.len() {
                two.act(&Act::Consume(n), &mut VecDeque::new());
            }
        }
        if !moved {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_arrives_once_and_in_order_and_nobody_holds_more_than_they_granted(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let (mut a, mut b) = (End::new(Side::Caller), End::new(Side::Agent));
        for (is_a, act) in &acts {
            let (one, two) = if *is_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
            one.act(act, &mut two.wire);
        }
        settle(&mut a, &mut b);
        let broken: BTreeSet<StreamId> = a.broken.union(&b.broken).copied().collect();
        for (one, two) in [(&a, &b), (&b, &a)] {
            for id in one.known.iter().filter(|id| !broken.contains(id)) {
                prop_assert_eq!(one.sent.get(id).copied().unwrap_or(0), two.heard.get(id).copied().unwrap_or(0));
                prop_assert_eq!(one.ended.contains(id), two.they_ended.contains(id));
            }
        }
        // What both have ended or one has broken off is not held any longer.
        let open = a.known.iter().filter(|id| {
            !(broken.contains(id) || a.ended.contains(id) && b.ended.contains(id))
        });
        let open = open.count();
        prop_assert_eq!((a.session.streams(), b.session.streams()), (open, open));
    }
}

#[test]
fn a_small_stream_waits_for_one_chunk_of_a_large_one_and_control_for_none() {
    let mut session = Session::new(Side::Caller);
    let (large, small) = (session.open(Vec::new()).unwrap(), session.open(Vec::new()).unwrap());
    session.output();
    while session.send(large, &mut chunk(&[0; CHUNK_MAX])) == Some(true) {}
    session.send(small, &mut chunk(b"now"));
    session.say(&Message::Ping(1));
    let mut decoder = Decoder::at_once();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        decoder.feed(&session.output().unwrap().1);
        let frame = decoder.frame().unwrap().unwrap();
        kinds.push((frame.kind, frame.stream));
    }
    assert_eq!(kinds, [(Kind::Message, 0), (Kind::Data, large), (Kind::Data, small)]);
}

#[test]
fn a_peer_that_breaks_a_rule_is_told_from_one_that_does_not() {
    let frame =
        |kind, stream, payload: &[u8]| Frame { kind, flags: 0, stream, payload: payload.to_vec() };
    let met = || {
        let mut session = Session::new(Side::Agent);
        session.receive(frame(Kind::Open, 1, b"x")).unwrap();
        session
    };
    let breaks = |frames: &[Frame]| {
        let mut session = met();
        frames.iter().cloned().map(|frame| session.receive(frame)).find_map(Result::err)
    };
    let chunk = vec![0; CREDIT as usize / 2];
    for (frames, violation) in [
        (vec![frame(Kind::Open, 1, b"")], Violation::NotItsOwn(1)),
        (vec![frame(Kind::Open, 2, b"")], Violation::NotItsOwn(2)),
        (vec![frame(Kind::Open, 0, b"")], Violation::NotItsOwn(0)),
        (vec![frame(Kind::Open, 3, &vec![0; REQUEST_MAX + 1])], Violation::Request(3)),
        (vec![frame(Kind::Data, 3, b"x")], Violation::NoStream(3)),
        (vec![frame(Kind::End, 3, b"")], Violation::NoStream(3)),
        (vec![frame(Kind::End, 1, b""), frame(Kind::Data, 1, b"x")], Violation::AfterEnd(1)),
        (vec![frame(Kind::End, 1, b""), frame(Kind::End, 1, b"")], Violation::AfterEnd(1)),
        (vec![frame(Kind::Credit, 1, &[1, 0, 0, 0])], Violation::Credit(1)),
        (vec![frame(Kind::Credit, 1, &[1])], Violation::Credit(1)),
        (vec![frame(Kind::Hello, 0, b"")], BadMessage::Misplaced.into()),
        (vec![frame(Kind::Message, 0, &[9])], BadMessage::Unreadable("message").into()),
        (vec![frame(Kind::Data, 1, &chunk); 3], Violation::Overrun(1)),
    ] {
        assert_eq!(breaks(&frames), Some(violation), "{frames:?}");
    }
    let mut session = met();
    let many = (0..=STREAMS_MAX).map(|n| u16::try_from(2 * n + 3).unwrap());
    let refused = many.map(|id| session.receive(frame(Kind::Open, id, b""))).find_map(Result::err);
    assert_eq!(refused, Some(Violation::TooMany));
    let mut session = met();
    let flood =
        (0..1_000_000).map(|n| session.receive(Message::Ping(n).frame())).find_map(Result::err);
    assert_eq!(flood, Some(Violation::Flood));
}
