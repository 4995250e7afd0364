//! Names and paths, and the arena that turns paths into ids. Lines are paths, one after the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::path::{Name, RelPath};
use yeet::dataflow::model::paths::{PathId, Paths};

/// A component is a byte and a '/', and some 40 bytes in the arena, whose tables double; names lie in blocks of 1 MiB.
const GROWTH: usize = 512;
const ROOM: usize = 3 << 20;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    fuzz::within(data.len() * GROWTH + ROOM, || {
        let mut paths = Paths::new();
        let mut known: Vec<(PathId, RelPath)> = Vec::new();
        for line in data.split(|byte| *byte == b'\n') {
            if let Ok(path) = RelPath::parse(line) {
                look(line, &path);
                known.push((paths.intern_path(&path), path));
            } else {
                let good = line.split(|byte| *byte == b'/').all(|name| Name::parse(name).is_ok());
                assert!(!good, "made of names alone, and refused");
            }
        }
        for (id, path) in known {
            assert_eq!(paths.path(id), path);
            assert_eq!(paths.lookup(&path), Some(id));
            assert!(paths.parent(id).is_none_or(|parent| parent < id));
        }
    });
});

fn look(line: &[u8], path: &RelPath) {
    assert_eq!(path.as_bytes(), line);
    fuzz::check_path(path);
    let mut built = RelPath::root();
    for component in path.components() {
        let above = built.clone();
        built = built.join(&Name::parse(component).expect("a path is made of names"));
        assert!(path.is_within(&built) && built.is_within(&above) && !above.is_within(&built));
        let (parent, name) = built.split().expect("it is not the root");
        assert_eq!((parent, name.as_bytes()), (above, component));
    }
    assert_eq!(&built, path);
}

fn seeds() -> Vec<Vec<u8>> {
    let long = [&b"n/"[..], &[b'x'; 255]].concat();
    let texts: [&[u8]; 5] = [
        b"a/b/c\na/b\na\n\na/b/d",
        b"../x\n./x\n/x\nx/\nx//y\nx/../y\n..",
        b"\xff\xfe/a b\t/...\n.git/refs/heads/main\n.yeet",
        b"a\0b\n\0",
        &long,
    ];
    texts.map(<[u8]>::to_vec).into()
}
