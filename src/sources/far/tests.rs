//! What this side makes of an agent's words, which the test says.

use std::os::unix::net::UnixStream;

use super::*;
use crate::sources::Sources;
use crate::sources::stat_cache::StatCache;
use crate::ssh::link::Link;
use crate::ssh::link::tests::end;
use crate::ssh::protocol::Side;
use crate::ssh::talk::talk;

/// Sources of which one replica is on the other end of a socket.
struct Line {
    sources: Sources,
    seen: Receiver<Seen>,
    to_master: Outgoing,
    agent: Link,
    _master: Link,
    last: Last,
}

fn leaf() -> Replica {
    Replica::leaf(1).unwrap()
}

impl Line {
    fn new() -> Self {
        let (a, b) = UnixStream::pair().unwrap();
        let (master, agent) = (end(Side::Caller, a), end(Side::Agent, b));
        let stream = talk(master.open(b"").unwrap());
        let (_, to_master) = talk(agent.accept().unwrap().1);
        let (post, seen) = crossbeam_channel::unbounded();
        let sink = Arc::new(move |seen| drop(post.send(seen)));
        let scanner = Arc::new(Scanner::start(1).unwrap());
        let ignores = Arc::new(Ignores::new(&[], false).unwrap());
        let cache = Arc::new(StatCache::in_memory());
        let sources = Sources::unwatched(scanner, 1, ignores, cache, sink);
        sources.attach_far(leaf(), false, stream).unwrap();
        Self { sources, seen, to_master, agent, _master: master, last: Last::default() }
    }

    fn tells(&mut self, told: &Told) -> Seen {
        self.to_master.bytes(&told.clone().bytes(&mut self.last)).unwrap();
        self.to_master.flush().unwrap();
        self.seen.recv().unwrap()
    }
}

#[test]
fn an_agent_that_says_that_something_is_not_listed_is_busy_until_it_says_that_it_is_not() {
    let mut line = Line::new();
    assert!(line.sources.is_quiet(), "nothing was asked");
    let unlisted = Fact::Unlisted { replica: leaf(), dir: RelPath::root() };
    line.tells(&Told::Facts(vec![unlisted]));
    assert!(!line.sources.is_quiet(), "that is not its last word");
    assert_eq!(line.tells(&Told::Quiet { asked: 0 }), Seen::Quiet { replica: leaf() });
    assert!(line.sources.is_quiet(), "it said so");
    line.sources.scan(leaf(), &RelPath::root());
    line.tells(&Told::Quiet { asked: 0 });
    assert!(!line.sources.is_quiet(), "it had not heard yet what it was asked");
}

#[test]
fn that_an_agent_is_gone_and_that_nothing_counts_there_is_said_in_one_word() {
    let line = Line::new();
    line.agent.end("cut");
    // What came before it would be a moment at which a replica that is there is not listed.
    assert!(matches!(line.seen.recv(), Ok(Seen::Away { replica, .. }) if replica == leaf()));
}
