//! Directories of which an agent says their print.

use super::*;
use crate::sources::far::page::print;

fn file(content: Content) -> Value {
    Value::File(File { size: 3, mtime: 7, content, mode: 0o644 })
}

fn known() -> Content {
    Content::known(Digest([9; 32]))
}

impl Pair {
    fn prints(&mut self, replica: Replica, rel: &str, children: &[(&str, Value)]) {
        let name = |name: &str| Name::parse(name.as_bytes()).unwrap();
        let children: Vec<_> = children.iter().map(|(n, value)| (name(n), *value)).collect();
        let (dir, print) = (path(rel), print(&children));
        self.ready.actor.take_seen(Seen::Same { replica, dir, print });
    }

    fn unlisted(&mut self, replica: Replica, rel: &str) {
        let fact = Fact::Unlisted { replica, dir: path(rel) };
        self.ready.actor.take_seen(Seen::Facts(vec![fact]));
        self.turn();
    }

    fn is_listed(&mut self, replica: Replica) -> bool {
        self.turn();
        self.ready.actor.engine.unlisted(replica).is_none()
    }

    /// Both have `f`, which nobody has read, and the leaf's agent has said what it reads there.
    fn waiting() -> Self {
        let mut pair = Self::new(|_| {});
        pair.listed(Replica::SOURCE, "", &[("f", file(Content::unread(1)))]);
        pair.listed(leaf(), "", &[("f", file(Content::unread(2)))]);
        pair.turn();
        pair.prints(leaf(), "", &[("f", file(known()))]);
        pair.turn();
        assert_eq!(pair.held(leaf(), "f"), Some(file(Content::unread(2))));
        assert!(!pair.ready.actor.prints.is_empty());
        pair
    }
}

#[test]
fn a_print_is_a_listing_only_of_what_is_held() {
    let mut pair = Pair::new(|_| {});
    let held = [("d", Value::Dir { mode: 0o755 }), ("f", file(known()))];
    for replica in [Replica::SOURCE, leaf()] {
        pair.listed(replica, "", &held);
        pair.listed(replica, "d", &[]);
    }
    assert!(pair.is_listed(leaf()));
    pair.unlisted(leaf(), "");
    pair.prints(leaf(), "d", &[]);
    pair.prints(leaf(), "", &held[1..]);
    assert!(!pair.is_listed(leaf()), "something is missing there");
    pair.prints(leaf(), "", &[held[0], ("f", file(Content::unread(1)))]);
    assert!(!pair.is_listed(leaf()), "nobody has read it since");
    pair.prints(leaf(), "", &held);
    assert!(pair.is_listed(leaf()));
    assert_eq!(pair.held(leaf(), "f"), Some(file(known())));
}

#[test]
fn what_an_agent_has_read_is_known_once_the_other_end_has_been_read() {
    let mut pair = Pair::waiting();
    pair.holds(Replica::SOURCE, "f", Some(file(known())));
    pair.turn();
    assert_eq!(pair.held(leaf(), "f"), Some(file(known())));
    assert!(pair.ready.actor.prints.is_empty());
}

#[test]
fn what_an_agent_has_read_is_not_guessed_where_the_other_end_differs() {
    let mut pair = Pair::waiting();
    pair.holds(Replica::SOURCE, "f", Some(file(Content::known(Digest([8; 32])))));
    pair.turn();
    assert_eq!(pair.held(leaf(), "f"), Some(file(Content::unread(2))));
    assert!(pair.ready.actor.prints.is_empty(), "it has been asked for");
}

#[test]
fn a_print_that_waits_ends_with_anything_newer_of_its_directory() {
    let unread = file(Content::unread(3));
    let newer: [&dyn Fn(&mut Pair); 3] = [
        &|pair| pair.holds(leaf(), "f", Some(file(Content::unread(3)))),
        &|pair| pair.listed(leaf(), "", &[("f", file(Content::unread(3)))]),
        &|pair| {
            pair.unlisted(leaf(), "");
            pair.holds(leaf(), "f", Some(file(Content::unread(3))));
        },
    ];
    for newer in newer {
        let mut pair = Pair::waiting();
        newer(&mut pair);
        assert!(pair.ready.actor.prints.is_empty());
        pair.holds(Replica::SOURCE, "f", Some(file(known())));
        pair.turn();
        assert_eq!(pair.held(leaf(), "f"), Some(unread), "its content may be another one now");
    }
}
