//! What a git index says, without what git only remembers about the files it looked at.
//!
//! Holds: two indexes with the same meaning list the same paths with the same modes, objects and flags. `git status`
//! writes the index anew only to remember stat data, which are another machine's or another directory's on the other
//! side. Bytes are hostile: whatever is odd about them has no meaning here, and is compared byte by byte.
//!
//! The format is git's `Documentation/gitformat-index.adoc`.

use crate::dataflow::model::value::Digest;

/// Change and modification time, device, inode, mode, owner, group, size: four bytes each, times eight.
const STAT_BYTES: usize = 40;
const MODE_AT: usize = 24;
const EXTENDED: u16 = 0x4000;
/// Assume-valid, extended, and the stage; the rest is the length of the name.
const FLAGS: u16 = 0xf000;

/// The longest path that means something: no work tree has a longer one. In version 4 an entry of 63 bytes has all of
/// the path before it, so without a bound the work would grow with the square of the bytes.
const PATH_BYTES_MAX: usize = 4096;

/// The meaning of an index; `None` for what is none.
#[must_use]
pub(super) fn meaning(index: &[u8]) -> Option<Digest> {
    // Which hash a repository has stands elsewhere: only one of them makes sense of all bytes.
    [20, 32].into_iter().find_map(|hash_bytes| meaning_with(index, hash_bytes))
}

fn meaning_with(index: &[u8], hash_bytes: usize) -> Option<Digest> {
    let body = index.get(..index.len().checked_sub(hash_bytes)?)?;
    let mut rest = Bytes(body);
    if rest.take(4)? != b"DIRC" {
        return None;
    }
    let version = rest.number()?;
    let count = rest.number()?;
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut said = blake3::Hasher::new();
    let mut path = Vec::new();
    for _ in 0..count {
        let before = rest.0.len();
        let stat = rest.take(STAT_BYTES)?;
        let object = rest.take(hash_bytes)?;
        let flags = rest.short()?;
        let further = if flags & EXTENDED != 0 { rest.short()? } else { 0 };
        if version == 4 {
            let strip = rest.variable()?;
            path.truncate(path.len().checked_sub(strip)?);
        } else {
            path.clear();
        }
        path.extend_from_slice(rest.until_zero()?);
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        if version < 4 {
            // The name ends in one to eight zeros, up to a multiple of eight; one is taken.
            let used = before - rest.0.len();
            let zeros = rest.take(used.next_multiple_of(8) - used)?;
            if zeros.iter().any(|byte| *byte != 0) {
                return None;
            }
        }
        said.update(&stat[MODE_AT..MODE_AT + 4]);
        said.update(object);
        said.update(&(flags & FLAGS).to_be_bytes());
        said.update(&further.to_be_bytes());
        said.update(&u32::try_from(path.len()).ok()?.to_be_bytes());
        said.update(&path);
    }
    while !rest.0.is_empty() {
        let name = rest.take(4)?;
        let size = usize::try_from(rest.number()?).ok()?;
        let content = rest.take(size)?;
        // git may do without those that begin with a capital: they repeat or speed up what is said elsewhere.
        if !name[0].is_ascii_uppercase() {
            said.update(name);
            said.update(content);
        }
    }
    Some(Digest(*said.finalize().as_bytes()))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Seven bits a byte, the highest first; each further byte adds one.
    fn variable(&mut self) -> Option<usize> {
        let mut byte = *self.take(1)?.first()?;
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = *self.take(1)?.first()?;
            value =
                value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        }
        Some(value)
    }

    fn until_zero(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.take(end)?;
        self.take(1)?;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dataflow::model::mutated::mutations;

    /// An index of version 2 of these paths, with all stat data made from `stat`.
    fn index(paths: &[&str], stat: u8, extensions: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x02".to_vec();
        bytes.extend(u32::try_from(paths.len()).unwrap().to_be_bytes());
        for path in paths {
            let from = bytes.len();
            bytes.extend([stat; MODE_AT]);
            bytes.extend([0, 0, 0x81, 0xa4]);
            bytes.extend([stat; 12]);
            bytes.extend([7; 20]);
            bytes.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
            bytes.extend(path.as_bytes());
            bytes.push(0);
            while !(bytes.len() - from).is_multiple_of(8) {
                bytes.push(0);
            }
        }
        for (name, content) in extensions {
            bytes.extend(*name);
            bytes.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            bytes.extend(*content);
        }
        bytes.extend([stat; 20]);
        bytes
    }

    #[test]
    fn stat_data_and_caches_mean_nothing() {
        let paths = ["a", "dir/file", "longer/name.txt"];
        let one = meaning(&index(&paths, 1, &[])).unwrap();
        assert_eq!(meaning(&index(&paths, 2, &[])), Some(one));
        assert_eq!(meaning(&index(&paths, 1, &[(b"TREE", b"cached")])), Some(one));
    }

    #[test]
    fn paths_objects_modes_and_what_git_needs_mean_something() {
        let one = index(&["a", "b"], 1, &[]);
        let said = meaning(&one).unwrap();
        assert_ne!(meaning(&index(&["a", "c"], 1, &[])), Some(said));
        assert_ne!(meaning(&index(&["a"], 1, &[])), Some(said));
        assert_ne!(meaning(&index(&["a", "b"], 1, &[(b"link", b"base")])), Some(said));
        for at in [12 + MODE_AT + 3, 12 + STAT_BYTES] {
            let mut other = one.clone();
            other[at] ^= 1;
            assert_ne!(meaning(&other), Some(said), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_index_has_no_meaning() {
        let whole = index(&["a", "b"], 1, &[]);
        assert_eq!(meaning(b""), None);
        assert_eq!(meaning(b"DIRC"), None);
        assert_eq!(meaning(&whole[..whole.len() - 30]), None);
        let mut version = whole;
        version[7] = 9;
        assert_eq!(meaning(&version), None);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_it_ends(mut bytes in prop::collection::vec(any::<u8>(), 0..400), version in 0_u8..5) {
            if bytes.len() > 12 {
                bytes[..12].copy_from_slice(&[b'D', b'I', b'R', b'C', 0, 0, 0, version, 0, 0, 0, 3]);
            }
            let _any = meaning(&bytes);
        }
    }

    #[test]
    fn whatever_is_almost_an_index_has_a_meaning_or_none() {
        for valid in [index(&["a", "dir/file"], 1, &[(b"TREE", b"cached")]), packed(&["a", "ab"])] {
            assert!(meaning(&valid).is_some());
            for other in mutations(&valid) {
                let _any = meaning(&other);
            }
        }
    }

    /// An index of version 4, in which each path is what differs from the one before.
    fn packed(paths: &[&str]) -> Vec<u8> {
        let mut bytes = b"DIRC\0\0\0\x04".to_vec();
        bytes.extend(u32::try_from(paths.len()).unwrap().to_be_bytes());
        for path in paths {
            bytes.extend([0; STAT_BYTES + 20]);
            bytes.extend(u16::try_from(path.len().min(0xfff)).unwrap().to_be_bytes());
            // Nothing of the path before goes.
            bytes.push(0);
            bytes.extend(path.as_bytes());
            bytes.push(0);
        }
        bytes.extend([0; 20]);
        bytes
    }

    #[test]
    fn a_path_no_work_tree_has_makes_no_endless_work() {
        let fits = "x".repeat(PATH_BYTES_MAX);
        assert!(meaning(&packed(&[&fits, ""])).is_some());
        assert_eq!(meaning(&packed(&[&fits, "x"])), None);
        let mut paths = vec![""; 200_000];
        let long = "x".repeat(4 << 20);
        paths[0] = &long;
        assert_eq!(meaning(&packed(&paths)), None);
    }
}
