//! What an agent tells of a replica, and what it is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::fact::Fact;
use yeet::dataflow::model::path::Name;
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Content, Digest, File, Value};
use yeet::sources::far::page::{self, Last};
use yeet::sources::far::wire::{Ask, Told};

/// A child of three bytes is a name and a value; a path of two bytes is as long as the one before it.
const GROWTH: usize = 128;
/// What all paths of a page may have.
const ROOM: usize = 48 << 20;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((how, bytes)) = data.split_first() else { return };
    let most = bytes.len() * GROWTH + ROOM;
    if how & 1 == 0 {
        let read = || Told::read(bytes, Replica::SOURCE, &mut Last::default());
        let Ok(told) = fuzz::within(most, read) else { return };
        if let Told::Facts(facts) = &told {
            facts.iter().for_each(check);
        }
        let again = told.bytes(&mut Last::default());
        assert_eq!(Told::read(&again, Replica::SOURCE, &mut Last::default()), Ok(told));
    } else {
        let Ok(ask) = fuzz::within(most, || Ask::read(bytes, &mut Last::default())) else { return };
        if let Ask::Read(path) | Ask::List(path) | Ask::Look(path) = &ask {
            fuzz::check_path(path);
        }
        let again = ask.bytes(&mut Last::default());
        assert_eq!(Ask::read(&again, &mut Last::default()), Ok(ask));
    }
});

fn check(fact: &Fact) {
    match fact {
        Fact::Listed { replica, dir, children } => {
            assert_eq!(*replica, Replica::SOURCE);
            fuzz::check_path(dir);
            assert!(children.is_sorted_by(|(a, _), (b, _)| a < b));
            children.iter().for_each(|(name, _)| fuzz::check_path(&dir.join(name)));
            assert_eq!(page::print(children), page::print(&children.clone()));
        }
        Fact::Holds { replica, path, .. } | Fact::Unlisted { replica, dir: path } => {
            assert_eq!(*replica, Replica::SOURCE);
            fuzz::check_path(path);
        }
        Fact::Means { .. } => {}
        _ => panic!("no agent knows {fact:?}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let name = |text: &[u8]| Name::parse(text).expect("a good name");
    let known = Content::known(Digest([7; 32]));
    let file = |mtime, content| Value::File(File { size: 300, mtime, content, mode: 0o644 });
    let children = vec![
        (name(b"a.txt"), file(1_700_000_000_000_000_005, Content::unread(9))),
        (name(b"ab.txt"), file(1_700_000_000_000_000_000, known)),
        (name(b"b"), Value::Dir { mode: 0o755 }),
        (name(b"c"), Value::Symlink { target: Digest([1; 32]), len: 9 }),
        (name(b"d"), Value::Unreadable { errno: 13 }),
    ];
    let (replica, dir) = (Replica::SOURCE, fuzz::path(b"d/e"));
    let facts = vec![
        Fact::Listed { replica, dir: dir.clone(), children: children.clone() },
        Fact::Holds { replica, path: fuzz::path(b"d/e/ab.txt"), value: None },
        Fact::Unlisted { replica, dir: dir.clone() },
    ];
    let told = [
        Told::Facts(facts),
        Told::Same { dir: dir.clone(), print: page::print(&children) },
        Told::Quiet { asked: 3 },
        Told::Rules { dir: dir.clone(), text: Some(b"*.o\n".to_vec()) },
    ];
    let asks = [
        Ask::Scan { dir: dir.clone(), number: 3, known: true },
        Ask::Fill { dir: dir.clone(), except: vec![name(b"a"), name(b"ab")] },
        Ask::Read(fuzz::path(b"d/e/f")),
        Ask::List(dir),
    ];
    let said = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let told = told.iter().map(|told| said(0, told.bytes(&mut Last::default())));
    told.chain(asks.iter().map(|ask| said(1, ask.bytes(&mut Last::default())))).collect()
}
