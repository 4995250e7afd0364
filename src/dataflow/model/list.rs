//! Lists in messages.
//!
//! Holds: a list has at most [`MOST`] members, or as many as its place allows. One of them can be a byte in a message and
//! hundreds in memory, so the length of a message alone would be no bound.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most members of a list: more than a command line has room for.
pub const MOST: usize = 1 << 18;

/// Reads a list as `serde` does, but for its length.
///
/// # Errors
/// It is none, or too long.
pub fn read<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    up_to::<MOST, T, D>(from)
}

/// As [`read`], of at most so many members.
///
/// # Errors
/// It is none, or too long.
pub fn up_to<'de, const MAX: usize, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_seq(Members::<MAX, T>(PhantomData))
}

struct Members<const MAX: usize, T>(PhantomData<T>);

impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Members<MAX, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        // Room for what is there, not for what is claimed.
        let mut members = Vec::new();
        while let Some(member) = from.next_element()? {
            if members.len() == MAX {
                return Err(A::Error::invalid_length(MAX.saturating_add(1), &self));
            }
            members.push(member);
        }
        Ok(members)
    }
}
