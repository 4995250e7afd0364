//! Batches under way: here, and with each leaf on another machine.
//!
//! Holds: a way that is slow takes none of another's room, and on none of them a large file takes the last.

use std::collections::BTreeMap;

use crate::dataflow::model::replica::Replica;
use crate::sinks::journal::registry::SyncRecord;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// Batches at once with one leaf on another machine, or whose source is.
const FAR_SLOTS: usize = 4;

struct Way {
    slots: usize,
    running: usize,
    large: usize,
}

impl Way {
    fn new(slots: usize) -> Self {
        Self { slots, running: 0, large: 0 }
    }

    fn has_room(&self, large: bool) -> bool {
        #[cfg(test)]
        let large = large && !has(Fault::LargeTakesLast);
        self.running < self.slots && (!large || self.large + 1 < self.slots)
    }
}

/// All ways of a sync.
pub struct Ways {
    here: Way,
    far: BTreeMap<Replica, Way>,
}

impl Ways {
    /// `slots`: batches at once between directories of this machine.
    #[must_use]
    pub fn of(record: &SyncRecord, slots: usize) -> Self {
        let is_far =
            |leaf: &Replica| record.host(*leaf).is_some() || record.host(Replica::SOURCE).is_some();
        let far = record.leaves().iter().filter(is_far);
        Self { here: Way::new(slots), far: far.map(|leaf| (leaf, Way::new(FAR_SLOTS))).collect() }
    }

    /// Batches at once on all of them.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.here.slots + self.far.len() * FAR_SLOTS
    }

    /// Whether the way to a leaf leads over another machine.
    #[must_use]
    pub fn is_far(&self, leaf: Replica) -> bool {
        self.far.contains_key(&leaf)
    }

    /// Whether another batch with a leaf may begin, of small jobs or of a large one.
    #[must_use]
    pub fn has_room(&self, leaf: Replica, large: bool) -> bool {
        self.far.get(&leaf).unwrap_or(&self.here).has_room(large)
    }

    pub fn begin(&mut self, leaf: Replica, large: bool) {
        let way = self.far.get_mut(&leaf).unwrap_or(&mut self.here);
        way.running += 1;
        way.large += usize::from(large);
    }

    pub fn end(&mut self, leaf: Replica, large: bool) {
        let way = self.far.get_mut(&leaf).unwrap_or(&mut self.here);
        way.running = way.running.saturating_sub(1);
        way.large = way.large.saturating_sub(usize::from(large));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_is_full_takes_no_room_of_another_and_keeps_a_place_for_small_ones() {
        let mut record = SyncRecord::of_roots(&["/a".into(), "/b".into(), "/c".into()]);
        let (near, far) = (Replica::leaf(1).unwrap(), Replica::leaf(2).unwrap());
        record.hosts = vec![(far, "nas".into())];
        let mut ways = Ways::of(&record, 4);
        assert_eq!((ways.slots(), ways.is_far(far), ways.is_far(near)), (8, true, false));
        for _ in 1..FAR_SLOTS {
            assert!(ways.has_room(far, true));
            ways.begin(far, true);
        }
        assert!(!ways.has_room(far, true) && ways.has_room(far, false));
        ways.begin(far, false);
        assert!(!ways.has_room(far, false) && ways.has_room(near, true));
        ways.end(far, true);
        assert!(ways.has_room(far, true));
        record.hosts = vec![(Replica::SOURCE, "nas".into())];
        assert!(Ways::of(&record, 4).is_far(near), "its source is far");
    }
}
