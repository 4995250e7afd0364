//! Files of one directory that are worth something only together: a database and its log.
//!
//! Holds: a name is in one group at most, that of the first group and the first pattern that match; what the star stands
//! for is the same in all names of a group; from any name of a group all its possible names follow.

use super::path::Name;

/// The most groups of a sync, and the most patterns of one.
pub const GROUPS_MAX: usize = 64;
pub const PATTERNS_MAX: usize = 16;
/// The longest pattern, in bytes: that of a name.
const PATTERN_BYTES_MAX: usize = super::path::NAME_BYTES_MAX;

/// Why something is no pattern, or no group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGroup {
    #[error("a group needs a pattern")]
    Empty,
    #[error("an empty pattern names no file")]
    EmptyPattern,
    #[error("{0:?} is no file name: a group is in one directory")]
    Slash(String),
    #[error("{0:?} has more than one *")]
    Stars(String),
    #[error("{0:?} has a blank or a control character in it")]
    Blank(String),
    #[error("{0:?} is longer than {PATTERN_BYTES_MAX} bytes")]
    Long(String),
    #[error("a group has at most {PATTERNS_MAX} patterns")]
    Patterns,
    #[error("a sync has at most {GROUPS_MAX} groups")]
    Groups,
}

/// A file name with at most one star.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    before: Vec<u8>,
    /// `None`: there is no star.
    after: Option<Vec<u8>>,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, BadGroup> {
        let bad = |why: fn(String) -> BadGroup| Err(why(text.to_owned()));
        if text.is_empty() {
            return Err(BadGroup::EmptyPattern);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return bad(BadGroup::Long);
        }
        if text.contains('/') || text == "." || text == ".." {
            return bad(BadGroup::Slash);
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return bad(BadGroup::Blank);
        }
        let bytes = |part: &str| part.as_bytes().to_vec();
        Ok(match text.split_once('*') {
            None => Self { before: bytes(text), after: None },
            Some((_, after)) if after.contains('*') => return bad(BadGroup::Stars),
            Some((before, after)) => Self { before: bytes(before), after: Some(bytes(after)) },
        })
    }

    /// What the star stands for in a name; nothing where there is no star.
    fn stem<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        match &self.after {
            None => (self.before == name).then_some(&[]),
            Some(after) => name.strip_prefix(&self.before[..])?.strip_suffix(&after[..]),
        }
    }

    /// The name in which the star stands for this.
    fn name(&self, stem: &[u8]) -> Option<Vec<u8>> {
        match &self.after {
            None => stem.is_empty().then(|| self.before.clone()),
            Some(after) => Some([&self.before[..], stem, after].concat()),
        }
    }
}

/// The patterns of a group that is written in one line, with blanks between them.
#[must_use]
pub fn patterns_of_line(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// What is wrong with one pattern, if anything is.
///
/// # Errors
/// What is wrong.
pub fn check_pattern(text: &str) -> Result<(), BadGroup> {
    Pattern::parse(text).map(drop)
}

/// What a name is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The group's place among the groups.
    pub group: usize,
    /// What the star stands for.
    pub stem: &'a [u8],
    /// The pattern's place in the group.
    pub pattern: usize,
}

/// All groups of a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Vec<Vec<Pattern>>);

impl Groups {
    /// # Errors
    /// A pattern or a group is none, or they are too many.
    pub fn parse(written: &[Vec<String>]) -> Result<Self, BadGroup> {
        if written.len() > GROUPS_MAX {
            return Err(BadGroup::Groups);
        }
        let group = |patterns: &Vec<String>| match patterns.len() {
            0 => Err(BadGroup::Empty),
            1..=PATTERNS_MAX => patterns.iter().map(|text| Pattern::parse(text)).collect(),
            _ => Err(BadGroup::Patterns),
        };
        Ok(Self(written.iter().map(group).collect::<Result<_, _>>()?))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a name is in the group it belongs to.
    #[must_use]
    pub fn of<'a>(&self, name: &'a [u8]) -> Option<Member<'a>> {
        self.0.iter().enumerate().find_map(|(group, patterns)| {
            patterns.iter().enumerate().find_map(|(pattern, known)| {
                known.stem(name).map(|stem| Member { group, stem, pattern })
            })
        })
    }

    /// All names that can be in the group that a member is of, in the order of its patterns.
    #[must_use]
    pub fn names(&self, of: Member<'_>) -> Vec<Name> {
        let Some(patterns) = self.0.get(of.group) else { return Vec::new() };
        let names = patterns.iter().enumerate().filter_map(|(pattern, known)| {
            let name = known.name(of.stem)?;
            // An earlier pattern, or group, may claim it.
            let claimed = self.of(&name)? == Member { pattern, stem: of.stem, ..of };
            claimed.then(|| Name::parse(&name).ok())?
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(written: &[&str]) -> Groups {
        let written: Vec<_> = written.iter().map(|line| patterns_of_line(line)).collect();
        Groups::parse(&written).expect("good groups")
    }

    const DATABASES: &str = "*.db *.db-wal *.db-shm";

    #[test]
    fn a_name_is_in_the_first_group_and_pattern_that_match() {
        let known = groups(&[DATABASES, "CURRENT MANIFEST-*", "*.bin x*.idx x*", "MANIFEST-* *"]);
        type Found = Option<(usize, &'static str, usize)>;
        let table: [(&str, Found); 16] = [
            ("a.db", Some((0, "a", 0))),
            ("a.db-wal", Some((0, "a", 1))),
            ("a.db-shm", Some((0, "a", 2))),
            (".db", Some((0, "", 0))),
            ("a.db.db", Some((0, "a.db", 0))),
            ("a.db-walx", Some((3, "a.db-walx", 1))),
            ("CURRENT", Some((1, "", 0))),
            ("CURRENT2", Some((3, "CURRENT2", 1))),
            ("MANIFEST-", Some((1, "", 1))),
            ("MANIFEST-7", Some((1, "7", 1))),
            ("x.bin", Some((2, "x", 0))),
            ("x.idx", Some((2, "", 1))),
            ("xy.idx", Some((2, "y", 1))),
            ("x", Some((2, "", 2))),
            ("bin", Some((3, "bin", 1))),
            ("\u{e9}.db", Some((0, "\u{e9}", 0))),
        ];
        for (name, of) in table {
            let found = known.of(name.as_bytes());
            let found = found.map(|m| (m.group, m.stem.to_vec(), m.pattern));
            let of = of.map(|(group, stem, pattern)| (group, stem.as_bytes().to_vec(), pattern));
            assert_eq!(found, of, "{name}");
        }
        assert_eq!(groups(&[DATABASES]).of(b"a.txt"), None);
        assert_eq!(groups(&["aXb a*b"]).of(b"a"), None);
        assert_eq!(groups(&["ab*b"]).of(b"ab"), None, "the two halves do not share a letter");
        assert!(groups(&[]).is_empty() && groups(&[]).of(b"a").is_none());
    }

    #[test]
    fn the_names_of_a_group_are_those_that_name_each_other() {
        let known = groups(&[DATABASES, "CURRENT LOCK LOG-*", "*.x *.db *.y *.x"]);
        let table: [(&str, &[&str]); 6] = [
            ("a.db", &["a.db", "a.db-wal", "a.db-shm"]),
            ("a.db-shm", &["a.db", "a.db-wal", "a.db-shm"]),
            ("LOCK", &["CURRENT", "LOCK", "LOG-"]),
            ("LOG-7", &["LOG-7"]),
            ("b.y", &["b.x", "b.y"]),
            ("b.x", &["b.x", "b.y"]),
        ];
        for (name, names) in table {
            let found = known.names(known.of(name.as_bytes()).expect("it is in a group"));
            let found: Vec<_> = found.iter().map(|name| name.as_bytes().to_vec()).collect();
            let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            assert_eq!(found, names, "{name}");
        }
    }

    #[test]
    fn what_is_no_group_is_an_error() {
        let one = |pattern: &str| Groups::parse(&[vec![pattern.to_owned()]]).unwrap_err();
        assert_eq!(one(""), BadGroup::EmptyPattern);
        assert_eq!(one("a/b"), BadGroup::Slash("a/b".into()));
        assert_eq!(one(".."), BadGroup::Slash("..".into()));
        assert_eq!(one("*a*"), BadGroup::Stars("*a*".into()));
        assert_eq!(one("a b"), BadGroup::Blank("a b".into()));
        assert_eq!(one("a\0"), BadGroup::Blank("a\0".into()));
        assert!(matches!(one(&"a".repeat(256)), BadGroup::Long(_)));
        assert_eq!(Groups::parse(&[Vec::new()]), Err(BadGroup::Empty));
        let many = vec!["a".to_owned(); PATTERNS_MAX + 1];
        assert_eq!(Groups::parse(&[many]), Err(BadGroup::Patterns));
        let many = vec![vec!["a".to_owned()]; GROUPS_MAX + 1];
        assert_eq!(Groups::parse(&many), Err(BadGroup::Groups));
    }
}
