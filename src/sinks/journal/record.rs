//! What is stored, as bytes: versioned by the store's format number, checked when read back.
//!
//! Holds: bytes that are no record are an error, never a panic and never a guess; an agreed file costs 51 bytes
//! beside its name.

use serde::{Deserialize, Serialize};

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Digest, File, Value};

/// Stored bytes that cannot be what yeet wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored record is malformed")]
pub struct BadRecord;

const FILE: u8 = 1;
const DIR: u8 = 2;
const SYMLINK: u8 = 3;
const REMNANT: u8 = 4;

/// A value that can be agreed; `None` for one that cannot (unread, ignored, skipped, unreadable).
#[must_use]
pub fn encode_value(value: &Value) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(51);
    match value {
        Value::File(file) => {
            let digest = file.content.digest()?;
            bytes.push(FILE);
            bytes.extend_from_slice(&file.mode.to_le_bytes());
            bytes.extend_from_slice(&file.mtime.to_le_bytes());
            bytes.extend_from_slice(&file.size.to_le_bytes());
            bytes.extend_from_slice(&digest.0);
        }
        Value::Dir { mode } => {
            bytes.push(DIR);
            bytes.extend_from_slice(&mode.to_le_bytes());
        }
        Value::Symlink { target, len } => {
            bytes.push(SYMLINK);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&target.0);
        }
        Value::Remnant => bytes.push(REMNANT),
        Value::Ignored | Value::Skipped(_) | Value::Unreadable { .. } => return None,
    }
    Some(bytes)
}

/// The value that [`encode_value`] wrote.
///
/// # Errors
/// These bytes are none.
pub fn decode_value(bytes: &[u8]) -> Result<Value, BadRecord> {
    let mut rest = bytes.get(1..).ok_or(BadRecord)?;
    let value = match bytes[0] {
        FILE => {
            let mode = u16::from_le_bytes(take(&mut rest)?);
            let mtime = i64::from_le_bytes(take(&mut rest)?);
            let size = u64::from_le_bytes(take(&mut rest)?);
            let content = Content::known(Digest(take(&mut rest)?));
            Value::File(File { size, mtime, content, mode: checked_mode(mode)? })
        }
        DIR => Value::Dir { mode: checked_mode(u16::from_le_bytes(take(&mut rest)?))? },
        SYMLINK => {
            let len = u16::from_le_bytes(take(&mut rest)?);
            Value::Symlink { target: Digest(take(&mut rest)?), len }
        }
        REMNANT => Value::Remnant,
        _ => return Err(BadRecord),
    };
    if rest.is_empty() { Ok(value) } else { Err(BadRecord) }
}

fn checked_mode(mode: u16) -> Result<u16, BadRecord> {
    if mode <= 0o777 { Ok(mode) } else { Err(BadRecord) }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadRecord> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(BadRecord)?;
    *rest = tail;
    Ok(*head)
}

/// The digests of a path's past, oldest first.
///
/// # Errors
/// These bytes are no whole number of them.
pub fn decode_digests(bytes: &[u8]) -> Result<&[[u8; 32]], BadRecord> {
    match bytes.as_chunks() {
        (digests, []) => Ok(digests),
        _ => Err(BadRecord),
    }
}

/// What an operation is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntentKind {
    Put,
    Delete,
}

/// An operation that was announced and may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub kind: IntentKind,
    /// Where it acts.
    pub replica: Replica,
    /// Whose agreement it leads to.
    pub leaf: Replica,
    pub path: RelPath,
    /// What was there, and may be displaced.
    pub old: Option<Value>,
    /// What shall be there; its digest is the only one that recovery may unlink from the staging directory.
    pub new: Option<Value>,
    /// The boot it was announced in: after another one its bytes may never have reached the disk.
    pub boot: [u8; 16],
}

/// A displaced version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub path: RelPath,
    pub replica: Replica,
    /// Unix milliseconds.
    pub when_ms: u64,
    pub value: Value,
    /// `replaced`, `deleted`, `restored`, `surprise`, `recovered`.
    pub why: String,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    pub when_ms: u64,
    pub act: String,
    pub replica: Replica,
    pub path: RelPath,
    pub old: Option<Digest>,
    pub new: Option<Digest>,
    pub note: String,
}

/// Any other record as `postcard`.
///
/// # Errors
/// These bytes are none.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BadRecord> {
    match postcard::take_from_bytes(bytes) {
        Ok((record, [])) => Ok(record),
        Ok(_) | Err(_) => Err(BadRecord),
    }
}

/// The bytes of a record.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records hold nothing that postcard refuses")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            (0u16..0o1000, any::<i64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(
                |(mode, mtime, size, digest)| Value::File(File {
                    size,
                    mtime,
                    content: Content::known(Digest(digest)),
                    mode
                })
            ),
            (0u16..0o1000).prop_map(|mode| Value::Dir { mode }),
            (any::<u16>(), any::<[u8; 32]>())
                .prop_map(|(len, d)| Value::Symlink { target: Digest(d), len }),
            Just(Value::Remnant),
        ]
    }

    proptest! {
        #[test]
        fn a_value_comes_back_as_it_went_in(value in values()) {
            let bytes = encode_value(&value).expect("it can be agreed");
            prop_assert_eq!(decode_value(&bytes), Ok(value));
            prop_assert!(decode_value(&bytes[..bytes.len() - 1]).is_err() || bytes.len() == 1);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = decode_value(&bytes) {
                prop_assert_eq!(encode_value(&value), Some(bytes));
            }
        }
    }

    #[test]
    fn what_was_not_read_cannot_be_agreed() {
        let file = File { size: 1, mtime: 0, content: Content::unread(7), mode: 0o644 };
        assert_eq!(encode_value(&Value::File(file)), None);
        assert_eq!(encode_value(&Value::Ignored), None);
    }

    fn check<T>(record: &T)
    where
        T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
    {
        let valid = encode(record);
        assert_eq!(decode::<T>(&valid).as_ref(), Ok(record));
        for bytes in mutations(&valid) {
            if let Ok(other) = decode::<T>(&bytes) {
                assert_eq!(decode::<T>(&encode(&other)), Ok(other));
            }
        }
    }

    fn kept(mode: u16) -> Kept {
        Kept {
            path: RelPath::parse(b"d/a").unwrap(),
            replica: Replica::SOURCE,
            when_ms: 7,
            value: Value::File(File {
                size: 1,
                mtime: -1,
                content: Content::known(Digest([7; 32])),
                mode,
            }),
            why: "replaced".into(),
        }
    }

    #[test]
    fn whatever_is_almost_a_record_is_one_or_an_error() {
        let kept = kept(0o644);
        check(&kept);
        check(&Intent {
            kind: IntentKind::Delete,
            replica: Replica::SOURCE,
            leaf: Replica::leaf(1).unwrap(),
            path: kept.path.clone(),
            old: Some(kept.value),
            new: Some(Value::Dir { mode: 0o700 }),
            boot: [1; 16],
        });
        check(&LogRecord {
            when_ms: 7,
            act: "create".into(),
            replica: Replica::SOURCE,
            path: kept.path,
            old: None,
            new: Some(Digest([1; 32])),
            note: "n".into(),
        });
        for bytes in mutations(&encode_value(&kept.value).unwrap()) {
            if let Ok(value) = decode_value(&bytes) {
                assert_eq!(encode_value(&value), Some(bytes));
            }
        }
    }

    #[test]
    fn a_byte_behind_a_record_is_not_overlooked() {
        let mut bytes = encode(&kept(0o644));
        bytes.push(0);
        assert_eq!(decode::<Kept>(&bytes), Err(BadRecord));
        assert_eq!(decode_digests(&[0; 64]).map(<[_]>::len), Ok(2));
        assert_eq!(decode_digests(&[0; 65]), Err(BadRecord));
    }

    #[test]
    fn a_stored_mode_that_would_restore_a_set_uid_file_is_an_error() {
        assert!(decode::<Kept>(&encode(&kept(0o777))).is_ok());
        assert_eq!(decode::<Kept>(&encode(&kept(0o4755))), Err(BadRecord));
        let dir = Kept { value: Value::Dir { mode: 0o1777 }, ..kept(0) };
        assert_eq!(decode::<Kept>(&encode(&dir)), Err(BadRecord));
    }
}
