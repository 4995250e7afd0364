//! A git index, as it lies in a repository that somebody else made.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::sources::index_meaning;

/// One path at a time is kept.
const GROWTH: usize = 4;
const ROOM: usize = 16 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |index: &[u8]| {
    let meaning = || fuzz::within(index.len() * GROWTH + ROOM, || index_meaning(index));
    let Some(said) = meaning() else { return };
    assert_eq!(meaning(), Some(said));
    let mut other = index.to_vec();
    // The end is a checksum, whatever the format.
    *other.last_mut().expect("an index is not empty") ^= 1;
    assert_eq!(index_meaning(&other), Some(said), "the checksum means something");
    other[3] ^= 1;
    assert_eq!(index_meaning(&other), None, "it is no index");
});

struct Entry<'a> {
    path: &'a [u8],
    flags: u16,
}

/// An index of these entries.
fn index(version: u8, hash: usize, entries: &[Entry<'_>], more: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = vec![b'D', b'I', b'R', b'C', 0, 0, 0, version];
    bytes.extend(u32::try_from(entries.len()).expect("few").to_be_bytes());
    let mut before: &[u8] = b"";
    for entry in entries {
        let from = bytes.len();
        bytes.extend([5; 24]);
        bytes.extend([0, 0, 0x81, 0xa4]);
        bytes.extend([6; 12]);
        bytes.extend(vec![7; hash]);
        let length = u16::try_from(entry.path.len()).expect("short");
        bytes.extend((entry.flags | length).to_be_bytes());
        if entry.flags & 0x4000 != 0 {
            bytes.extend([0x20, 0]);
        }
        if version == 4 {
            let same = before.iter().zip(entry.path).take_while(|(a, b)| a == b).count();
            bytes.push(u8::try_from(before.len() - same).expect("short"));
            bytes.extend(&entry.path[same..]);
            bytes.push(0);
        } else {
            bytes.extend(entry.path);
            bytes.push(0);
            while !(bytes.len() - from).is_multiple_of(8) {
                bytes.push(0);
            }
        }
        before = entry.path;
    }
    for (name, content) in more {
        bytes.extend(*name);
        bytes.extend(u32::try_from(content.len()).expect("short").to_be_bytes());
        bytes.extend(*content);
    }
    bytes.extend(vec![9; hash]);
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let plain = [
        Entry { path: b"a", flags: 0 },
        Entry { path: b"dir/file", flags: 0x1000 },
        Entry { path: b"dir/fold/er.txt", flags: 0x8000 },
    ];
    let extended = [Entry { path: b"a", flags: 0x4000 }, Entry { path: b"ab", flags: 0 }];
    vec![
        index(2, 20, &plain, &[(b"TREE", b"cached")]),
        index(3, 20, &extended, &[(b"link", b"base")]),
        index(4, 20, &plain, &[]),
        index(4, 32, &extended, &[(b"sdir", b"")]),
        index(2, 32, &plain, &[]),
        index(2, 20, &[], &[]),
    ]
}
