//! Names and paths inside a replica, and the arena that turns paths into small ids.
//!
//! Holds: a [`Name`] is one component and never `.`, `..`, empty, or longer than 255 bytes; a [`RelPath`] is
//! relative, has no empty component and never leaves its root. Names are bytes: any byte but `/` and NUL.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest component a file system of ours holds, in bytes (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;

/// One component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(Box<[u8]>);

/// Why bytes are not a [`Name`] or a [`RelPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path component is empty")]
    Empty,
    #[error("a path component is longer than 255 bytes")]
    TooLong,
    #[error("a path component is '.' or '..'")]
    Dots,
    #[error("a path component holds a '/' or a NUL byte")]
    Forbidden,
}

impl Name {
    /// Checks one component.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        match bytes {
            b"" => Err(PathError::Empty),
            b"." | b".." => Err(PathError::Dots),
            _ if bytes.len() > NAME_BYTES_MAX => Err(PathError::TooLong),
            _ if bytes.iter().any(|b| matches!(b, 0 | b'/')) => Err(PathError::Forbidden),
            _ => Ok(Self(bytes.into())),
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::parse(&bytes).map_err(serde::de::Error::custom)
    }
}

/// A path relative to a replica's root; empty for the root itself.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks a `/`-separated relative path; `b""` is the root.
    ///
    /// # Errors
    /// The first component that is not a [`Name`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if !bytes.is_empty() {
            for component in bytes.split(|b| *b == b'/') {
                Name::parse(component)?;
            }
        }
        Ok(Self(bytes.into()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// This path with one more component.
    #[must_use]
    pub fn join(&self, name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name.0);
        Self(bytes.into())
    }

    /// The directory this path is in, and its name there; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, Name)> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/');
        let (parent, name) = match cut {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&self.0[..0], &self.0[..]),
        };
        Some((Self(parent.into()), Name(name.into())))
    }

    /// Its components, top first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }

    /// Whether this path is `dir` or lies below it.
    #[must_use]
    pub fn is_within(&self, dir: &Self) -> bool {
        dir.is_root()
            || self.0.strip_prefix(&*dir.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl<'de> Deserialize<'de> for RelPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::parse(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    #[test]
    fn whatever_is_almost_a_path_is_one_below_the_root_or_none() {
        for bytes in
            [&b"a/bc/.d"[..], b"../x", b"x/..", b"./.", b"a/\xff\n"].into_iter().flat_map(mutations)
        {
            let names = bytes
                .split(|b| *b == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0));
            let path = RelPath::parse(&bytes);
            assert_eq!(path.is_ok(), names || bytes.is_empty(), "{}", bytes.escape_ascii());
            let Ok(path) = path else { continue };
            let built = path.components().fold(RelPath::root(), |dir, name| {
                dir.join(&Name::parse(name).expect("a path is made of names"))
            });
            assert_eq!((&built, built.as_bytes()), (&path, &bytes[..]));
        }
    }

    #[test]
    fn a_path_from_outside_is_checked_like_any_other() {
        for bytes in [&b"a/b"[..], b"a"].into_iter().flat_map(mutations) {
            let sent = postcard::to_stdvec(&bytes).expect("bytes are no trouble");
            let path = postcard::from_bytes::<RelPath>(&sent).ok();
            assert_eq!(path, RelPath::parse(&bytes).ok());
            let name = postcard::from_bytes::<Name>(&sent).ok();
            assert_eq!(name, Name::parse(&bytes).ok());
        }
    }
}
