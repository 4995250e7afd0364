//! The patterns of `ssh_config` and `known_hosts`: `*`, `?`, and `!` before what is not meant.
//!
//! Holds: a match takes no more than the product of the lengths.

/// What a list of patterns says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listed {
    Yes,
    No,
    /// A pattern with `!` matches, and that beats every other one.
    Excluded,
}

/// Whether the whole text matches a pattern of `*` and `?`.
pub(crate) fn is_match(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

pub(crate) fn listed<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> Listed {
    let mut found = Listed::No;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(not) if is_match(not, text) => return Listed::Excluded,
            None if is_match(pattern, text) => found = Listed::Yes,
            Some(_) | None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The meaning, said as plainly as it can be.
    fn plain(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                plain(rest, text) || !text.is_empty() && plain(pattern, &text[1..])
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => plain(rest, tail),
            ([c, rest @ ..], [d, tail @ ..]) => c == d && plain(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn every_short_pattern_says_of_every_short_text_what_the_plain_meaning_says() {
        let words = |alphabet: &[u8]| {
            let mut all = vec![Vec::new()];
            for _ in 0..4 {
                let longer: Vec<Vec<u8>> = all
                    .iter()
                    .flat_map(|w: &Vec<u8>| alphabet.iter().map(move |c| [&w[..], &[*c]].concat()))
                    .collect();
                all.extend(longer);
            }
            all.into_iter().map(|w| String::from_utf8(w).unwrap()).collect::<Vec<_>>()
        };
        for pattern in words(b"ab*?") {
            for text in words(b"ab") {
                let want = plain(pattern.as_bytes(), text.as_bytes());
                assert_eq!(is_match(&pattern, &text), want, "{pattern} and {text}");
            }
        }
    }

    #[test]
    fn an_exclusion_beats_every_match() {
        assert_eq!(listed(["*.lan", "!nas.lan"], "nas.lan"), Listed::Excluded);
        assert_eq!(listed(["!nas.lan", "*.lan"], "pi.lan"), Listed::Yes);
        assert_eq!(listed(["!nas.lan"], "pi.lan"), Listed::No, "exclusions alone match nothing");
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        assert!(!is_match(&"*a".repeat(200), &"a".repeat(199)));
    }
}
