//! Paths that a sink is changing right now.
//!
//! Our own writes raise events like anybody's. While a sink acts on a path its events are parked here; if any came,
//! the path is looked at once more when the sink is done, so that a user's write in that moment is never missed.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

/// Paths being acted on, and whether an event came for them meanwhile.
#[derive(Default)]
pub struct Acting(Mutex<HashMap<(Replica, RelPath), Act>>);

#[derive(Default)]
struct Act {
    sinks: u32,
    hinted: bool,
}

impl Acting {
    /// A sink is about to change `path`.
    pub fn begin(&self, replica: Replica, path: &RelPath) {
        let mut acts = self.0.lock().expect("no holder of this lock panics");
        acts.entry((replica, path.clone())).or_default().sinks += 1;
    }

    /// An event came; true if it is parked because a sink acts on the path.
    pub fn park(&self, replica: Replica, path: &RelPath) -> bool {
        let mut acts = self.0.lock().expect("no holder of this lock panics");
        if acts.is_empty() {
            return false;
        }
        let act = acts.get_mut(&(replica, path.clone()));
        act.map(|act| act.hinted = true).is_some()
    }

    /// The sink is done; true if the path has to be looked at again.
    pub fn end(&self, replica: Replica, path: &RelPath) -> bool {
        let mut acts = self.0.lock().expect("no holder of this lock panics");
        let key = (replica, path.clone());
        let Some(act) = acts.get_mut(&key) else {
            return false;
        };
        act.sinks -= 1;
        if act.sinks > 0 {
            return false;
        }
        acts.remove(&key).is_some_and(|act| act.hinted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_during_an_act_is_looked_at_after_it() {
        let acting = Acting::default();
        let path = RelPath::parse(b"a/b").expect("a good path");
        let r = Replica::SOURCE;
        assert!(!acting.park(r, &path));
        acting.begin(r, &path);
        acting.begin(r, &path);
        assert!(acting.park(r, &path));
        assert!(!acting.end(r, &path));
        assert!(acting.end(r, &path));
        assert!(!acting.park(r, &path));
    }
}
