//! Rules that an agent has been told of and may not have heard.

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;

/// With more, all counts as pending until the last is heard.
const PENDING_MAX: usize = 256;

/// The directories of which nothing counts that an agent says, and until which round.
#[derive(Default)]
pub(super) struct Pending {
    last: u64,
    rounds: Vec<(u64, RelPath)>,
}

impl Pending {
    /// Nothing counts of `dir` until the end of the round that begins; its number.
    pub(super) fn begin(&mut self, dir: &RelPath) -> u64 {
        self.last += 1;
        if self.rounds.len() >= PENDING_MAX {
            self.rounds = vec![(self.last, RelPath::root())];
        } else {
            self.rounds.push((self.last, dir.clone()));
        }
        self.last
    }

    pub(super) fn end(&mut self, round: u64) {
        self.rounds.retain(|(other, _)| *other > round);
    }

    /// Whether what is said of a path was said by rules that hold no more.
    pub(super) fn covers_dir(&self, path: &RelPath) -> bool {
        self.rounds.iter().any(|(_, dir)| path.is_within(dir))
    }

    /// Whether a fact is about what has been said by rules that hold no more.
    pub(super) fn covers(&self, fact: &Fact) -> bool {
        let is_in = |path: &RelPath| self.covers_dir(path);
        match fact {
            Fact::Listed { dir, .. } | Fact::Unlisted { dir, .. } => is_in(dir),
            Fact::Holds { path, .. } => is_in(path),
            Fact::Agreed { .. } | Fact::Past { .. } | Fact::Means { .. } | Fact::Yields { .. } => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::replica::Replica;

    fn listed(dir: &[u8]) -> Fact {
        let dir = RelPath::parse(dir).unwrap();
        Fact::Listed { replica: Replica::SOURCE, dir, children: Vec::new() }
    }

    #[test]
    fn what_is_said_of_a_directory_counts_once_all_its_rules_were_heard() {
        let mut pending = Pending::default();
        let dir = RelPath::parse(b"a").unwrap();
        let (one, two) = (pending.begin(&dir), pending.begin(&RelPath::parse(b"b").unwrap()));
        let three = pending.begin(&dir);
        assert!(pending.covers(&listed(b"a")) && pending.covers(&listed(b"a/b")));
        assert!(!pending.covers(&listed(b"ab")) && !pending.covers(&listed(b"")));
        pending.end(one);
        assert!(pending.covers(&listed(b"a")), "a later round is about it, too");
        pending.end(two);
        assert!(!pending.covers(&listed(b"b")));
        pending.end(three);
        assert!(!pending.covers(&listed(b"a")));
    }

    #[test]
    fn more_than_can_be_counted_stand_for_all() {
        let mut pending = Pending::default();
        let dir = RelPath::parse(b"a").unwrap();
        let last = (0..=PENDING_MAX).map(|_| pending.begin(&dir)).last().unwrap();
        assert!(pending.rounds.len() <= PENDING_MAX && pending.covers(&listed(b"elsewhere")));
        pending.end(last - 1);
        assert!(pending.covers(&listed(b"elsewhere")));
        pending.end(last);
        assert!(!pending.covers(&listed(b"a")));
    }
}
