//! Which displaced versions may go.
//!
//! Holds: oldest first; never one whose path is unsettled; never one younger than an hour for its age or size, so
//! that a mistake can always be taken back at once.

use super::record::Kept;

/// Whatever the limits say, a version is kept this long, in milliseconds.
const GRACE_MS: u64 = 3_600_000;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub age_ms: u64,
    /// Bytes, of one replica.
    pub size: u64,
}

/// The operations to purge of one replica's versions (any order), at `now_ms`.
pub fn purge(
    kept: &[(u64, Kept)],
    limits: Limits,
    now_ms: u64,
    settled: impl Fn(&Kept) -> bool,
) -> Vec<u64> {
    let mut rows: Vec<&(u64, Kept)> = kept.iter().collect();
    rows.sort_by_key(|(op, row)| (row.when_ms, *op));
    let mut total: u64 = rows.iter().map(|(_, row)| row.value.bytes()).sum();
    let mut purged = Vec::new();
    for (op, row) in rows {
        let age = now_ms.saturating_sub(row.when_ms);
        if age < GRACE_MS {
            break;
        }
        if (age > limits.age_ms || total > limits.size) && settled(row) {
            total -= row.value.bytes();
            purged.push(*op);
        }
    }
    purged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::path::RelPath;
    use crate::dataflow::model::replica::Replica;
    use crate::dataflow::model::value::{Content, Digest, File, Value};

    const HOUR: u64 = 3_600_000;

    fn kept(op: u64, hours_ago: u64, size: u64) -> (u64, Kept) {
        let content = Content::known(Digest([0; 32]));
        let value = Value::File(File { size, mtime: 0, content, mode: 0o644 });
        let path = RelPath::parse(format!("f{op}").as_bytes()).expect("a good path");
        let when_ms = 1000 * HOUR - hours_ago * HOUR;
        (op, Kept { path, replica: Replica::SOURCE, when_ms, value, why: "replaced".into() })
    }

    fn ops(rows: &[(u64, Kept)], age_hours: u64, size: u64) -> Vec<u64> {
        purge(rows, Limits { age_ms: age_hours * HOUR, size }, 1000 * HOUR, |row| {
            row.path.as_bytes() != b"f9"
        })
    }

    #[test]
    fn what_is_too_old_goes_and_the_rest_stays() {
        assert_eq!(ops(&[kept(1, 50, 1), kept(2, 10, 1)], 24, 100), [1]);
    }

    #[test]
    fn above_the_size_the_oldest_go_first() {
        assert_eq!(ops(&[kept(3, 3, 40), kept(1, 9, 40), kept(2, 5, 40)], 24, 100), [1]);
    }

    #[test]
    fn d17_neither_the_young_nor_the_unsettled_go() {
        assert_eq!(ops(&[kept(1, 0, 1000)], 24, 100), [0u64; 0]);
        assert_eq!(ops(&[kept(9, 50, 1000), kept(1, 40, 1)], 24, 100), [1]);
    }
}
