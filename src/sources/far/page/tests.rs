//! Pages and messages there and back, and bytes that are almost some.

use proptest::prelude::*;

use super::*;
use crate::dataflow::model::mutated::mutations;
use crate::sources::far::wire::{Ask, Told};

const OWN: Replica = Replica::SOURCE;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a good path")
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a good name")
}

fn file(mtime: i64, content: Content) -> Value {
    Value::File(File { size: 300, mtime, content, mode: 0o644 })
}

fn listed(dir: &str, children: Vec<(Name, Value)>) -> Fact {
    Fact::Listed { replica: OWN, dir: path(dir), children }
}

/// One of every kind.
fn facts() -> Vec<Fact> {
    let known = Content::known(Digest([7; 32]));
    let second = 1_700_000_000 * SECOND_NS;
    let children = vec![
        (name("a.txt"), file(second + 5, Content::unread(u64::MAX))),
        (name("ab.txt"), file(second, known)),
        (name("b"), Value::Dir { mode: 0o755 }),
        (name("c"), Value::Symlink { target: Digest([1; 32]), len: 900 }),
        (name("d"), Value::Ignored),
        (name("e"), Value::Skipped(Special::Socket)),
        (name("f"), Value::Unreadable { errno: -13 }),
        (name("g"), Value::Dir { mode: 0o755 }),
    ];
    vec![
        Fact::Means { digest: Digest([2; 32]), meaning: Digest([3; 32]) },
        listed("", children),
        listed("b", Vec::new()),
        Fact::Holds { replica: OWN, path: path("b/x"), value: Some(file(-1, known)) },
        Fact::Holds { replica: OWN, path: path("b/y"), value: None },
        Fact::Unlisted { replica: OWN, dir: path("b") },
    ]
}

fn written(facts: &[Fact], last: &mut Last) -> Vec<u8> {
    let mut out = Vec::new();
    write(facts, last, &mut out);
    out
}

fn value() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        any::<u64>().prop_map(Content::unread),
        any::<[u8; 32]>().prop_map(|bytes| Content::known(Digest(bytes))),
    ];
    let mtime = prop_oneof![
        any::<i64>(),
        (0..9_000_000_000_i64).prop_map(|seconds| seconds * SECOND_NS),
        (-9_000_000_000..0_i64).prop_map(|seconds| seconds * SECOND_NS),
        Just(i64::MIN),
        Just(i64::MAX),
    ];
    let files = (any::<u64>(), mtime, content, 0..=0o777_u16)
        .prop_map(|(size, mtime, content, mode)| File { size, mtime, content, mode });
    let specials = [Special::Fifo, Special::Socket, Special::Device, Special::Mount];
    prop_oneof![
        4 => files.prop_map(Value::File),
        1 => (0..=0o777_u16).prop_map(|mode| Value::Dir { mode }),
        1 => (any::<[u8; 32]>(), any::<u16>())
            .prop_map(|(target, len)| Value::Symlink { target: Digest(target), len }),
        1 => Just(Value::Ignored),
        1 => prop::sample::select(specials.to_vec()).prop_map(Value::Skipped),
        1 => any::<i32>().prop_map(|errno| Value::Unreadable { errno }),
    ]
}

fn names() -> impl Strategy<Value = Name> {
    "[a-c]{1,3}|x{14,18}[yz]|[^/\0]{1,60}"
        .prop_filter_map("a name", |text| Name::parse(text.as_bytes()).ok())
}

fn paths() -> impl Strategy<Value = RelPath> {
    let join = |names: Vec<Name>| names.iter().fold(RelPath::root(), |dir, name| dir.join(name));
    prop::collection::vec(names(), 0..5).prop_map(join)
}

fn fact() -> impl Strategy<Value = Fact> {
    let children = prop::collection::btree_map(names(), value(), 0..12);
    prop_oneof![
        (paths(), children).prop_map(|(dir, children)| Fact::Listed {
            replica: OWN,
            dir,
            children: children.into_iter().collect()
        }),
        (paths(), prop::option::of(value())).prop_map(|(path, value)| Fact::Holds {
            replica: OWN,
            path,
            value
        }),
        paths().prop_map(|dir| Fact::Unlisted { replica: OWN, dir }),
    ]
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written_page_after_page(
        pages in prop::collection::vec(prop::collection::vec(fact(), 0..6), 1..4)
    ) {
        let (mut said, mut heard) = (Last::default(), Last::default());
        for facts in pages {
            let bytes = written(&facts, &mut said);
            prop_assert_eq!(read(&bytes, OWN, &mut heard), Ok(facts));
            prop_assert_eq!(&said, &heard);
        }
    }

    #[test]
    fn a_print_tells_listings_apart_whatever_was_said_before(
        a in prop::collection::btree_map(names(), value(), 0..6),
        b in prop::collection::btree_map(names(), value(), 0..6),
    ) {
        let (a, b): (Vec<_>, Vec<_>) = (a.into_iter().collect(), b.into_iter().collect());
        prop_assert_eq!(print(&a) == print(&b), a == b);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&bytes, OWN, &mut Last::default()));
        drop(Told::read(&bytes, OWN, &mut Last::default()));
        drop(Ask::read(&bytes, &mut Last::default()));
    }
}

#[test]
fn whatever_is_almost_a_page_is_one_or_is_refused() {
    let valid = written(&facts(), &mut Last::default());
    for bytes in mutations(&valid) {
        let Ok(facts) = read(&bytes, OWN, &mut Last::default()) else { continue };
        for fact in &facts {
            if let Fact::Listed { children, .. } = fact {
                assert!(children.is_sorted_by(|(a, _), (b, _)| a < b));
            }
        }
        let again = written(&facts, &mut Last::default());
        assert_eq!(read(&again, OWN, &mut Last::default()), Ok(facts));
    }
}

#[test]
fn a_page_that_claims_more_than_it_has_is_refused() {
    // A listing of the root with 2^40 children.
    let many = [LISTED, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, b'a', IGNORED];
    assert_eq!(read(&many, OWN, &mut Last::default()), Err(BadPage::Long));
    // Paths of 60,000 bytes, each of which is the one before.
    let long = path(&vec!["x".repeat(249); 240].join("/"));
    let holds = Fact::Holds { replica: OWN, path: long, value: None };
    let bytes = written(&vec![holds.clone(); 1000], &mut Last::default());
    assert_eq!(read(&bytes, OWN, &mut Last::default()), Err(BadPage::Long));
    let facts = vec![holds; 1000];
    let pages: Vec<&[Fact]> = cut(&facts).collect();
    assert!(pages.len() > 1 && pages.concat() == facts);
    for page in pages {
        let bytes = written(page, &mut Last::default());
        assert_eq!(read(&bytes, OWN, &mut Last::default()).as_deref(), Ok(page));
    }
}

#[test]
fn what_no_agent_can_know_is_not_written() {
    let leaf = Replica::leaf(1).expect("slot 1");
    let facts = [
        Fact::Agreed { leaf, path: path("a"), value: None },
        Fact::Past { path: path("a"), digest: Digest([1; 32]) },
        Fact::Yields { replica: leaf, path: path("a"), value: None },
    ];
    assert!(written(&facts, &mut Last::default()).is_empty());
    let remnant = listed("", vec![(name("a"), Value::Remnant)]);
    let bytes = written(&[remnant], &mut Last::default());
    assert_eq!(read(&bytes, OWN, &mut Last::default()), Err(BadPage::Odd));
}

#[test]
fn a_file_takes_its_digest_and_little_more() {
    let digest = |n: u64| Content::known(Digest(*blake3::hash(&n.to_le_bytes()).as_bytes()));
    let children = (0..20).map(|n| {
        let child = format!("chapter-{n:02}.html");
        (name(&child), file(1_700_000_000 * SECOND_NS + n * 1_000_003, digest(n.cast_unsigned())))
    });
    let bytes = written(&[listed("doc/book", children.collect())], &mut Last::default());
    assert!(bytes.len() < 20 * 48, "{} bytes", bytes.len());
}

#[test]
fn messages_about_paths_are_heard_as_they_were_said() {
    let except = vec![name("a"), name("b"), name("a.txt")];
    let asks = [
        Ask::Read(path("d/e/f")),
        Ask::List(path("d/e")),
        Ask::Fill { dir: path("d/e"), except },
        Ask::Fill { dir: path("d"), except: Vec::new() },
        Ask::Scan { dir: path("d"), number: 7, known: true },
        Ask::Look(path("d/e/f")),
    ];
    let told = [
        Told::Facts(facts()),
        Told::Same { dir: path("d/e"), print: print(&[]) },
        Told::Watched(path("d")),
        Told::Quiet { asked: 3 },
    ];
    let (mut said, mut heard) = (Last::default(), Last::default());
    for ask in &asks {
        assert_eq!(Ask::read(&ask.bytes(&mut said), &mut heard).as_ref(), Ok(ask));
    }
    let (mut said, mut heard) = (Last::default(), Last::default());
    for told in &told {
        assert_eq!(Told::read(&told.bytes(&mut said), OWN, &mut heard).as_ref(), Ok(told));
    }
    for ask in &asks {
        for bytes in mutations(&ask.bytes(&mut Last::default())) {
            drop(Ask::read(&bytes, &mut Last::default()));
        }
    }
    for told in &told[1..] {
        for bytes in mutations(&told.bytes(&mut Last::default())) {
            drop(Told::read(&bytes, OWN, &mut Last::default()));
        }
    }
}
