//! A `.yeetignore`: up to the first byte 0xff its text, after that a path that is asked about.

#![no_main]

use libfuzzer_sys::fuzz_target;
use yeet::dataflow::model::path::RelPath;
use yeet::dataflow::model::replica::Replica;
use yeet::sources::ignores::Ignores;

/// A pattern becomes an automaton of a bounded size, and there are some kinds of them.
const BYTES: usize = 64 << 20;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let cut = data.iter().position(|byte| *byte == 0xff).unwrap_or(data.len());
    let (text, asked) = (&data[..cut], data.get(cut + 1..).unwrap_or_default());
    let path = RelPath::parse(asked).unwrap_or_else(|_| fuzz::path(b"a/b/c.o"));
    fuzz::within(BYTES, || look(text, &path));
});

fn look(text: &[u8], path: &RelPath) {
    let here = rules(text, Replica::SOURCE);
    let there = rules(text, fuzz::leaf());
    for is_dir in [false, true] {
        let by = here.matched_or_above(path, is_dir);
        let other = there.matched_or_above(path, is_dir);
        let rule = |by: &yeet::sources::ignores::IgnoredBy| (by.pattern.clone(), by.line);
        assert_eq!(by.as_ref().map(rule), other.as_ref().map(rule), "it matters whose rule it is");
        if let Some(by) = by
            && let Some((_, file)) = by.file
        {
            fuzz::check_path(&file);
            let line = text.split(|byte| *byte == b'\n').nth(by.line as usize - 1);
            let pattern = by.pattern.trim_end().as_bytes();
            let named = line.is_some_and(|line| {
                pattern.is_empty() || line.windows(pattern.len()).any(|part| part == pattern)
            });
            assert!(named, "{:?} does not stand in line {}", by.pattern, by.line);
        }
    }
    let problems = here.problems();
    assert!(problems.len() <= 100);
    for problem in problems {
        assert!(problem.line as usize <= text.split(|byte| *byte == b'\n').count());
    }
    // What a file said is forgotten with it.
    drop(here.set(Replica::SOURCE, &RelPath::root(), None));
    let left = here.matched_or_above(path, true);
    assert!(left.is_none_or(|by| by.file.is_none()));
}

fn rules(text: &[u8], of: Replica) -> Ignores {
    let rules = Ignores::new(&[], false).expect("no patterns");
    rules.attach(Replica::SOURCE);
    rules.attach(fuzz::leaf());
    drop(rules.set(of, &RelPath::root(), Some(text)));
    assert_eq!(rules.set(of, &RelPath::root(), Some(text)), None, "it says the same");
    rules
}

fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"*.o\n/build/\n# note\n!keep.o\na/**/b\n\xffx/y.o",
        b"\xef\xbb\xbffoo[0-9a-z]?\r\n\\#x\n\\!y\ntrail\\ \xfffoo1x",
        b"**/c\na/**\n[!a]b\n[[:alpha:]]\xffa/b/c",
        b"{a,b}c\n{x,{y,z}}\n*.{jpg,png}\xffbc",
        b"[z-a]\n!\n/\n***\n\\\n[\xffa",
        b"/*\n!/a/\n/a/*\n!/a/b/\xffa/b/c/d",
    ];
    texts.map(<[u8]>::to_vec).into()
}
