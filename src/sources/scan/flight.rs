//! Observations under way at once, put in an order that ends with the truth.
//!
//! Holds: whoever looked earlier does not speak later. Two threads may look at the same path, one before a change and
//! one because of it; if the first were reported last, the change would be lost for good. So an observation is
//! reported under a lock, and those still under way that it overtakes are made again, or have it entered in theirs.

use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::Value;

/// What is being observed.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    Path(RelPath),
    Dir(RelPath),
}

struct Flight {
    id: u64,
    sight: Sight,
    overtaken: bool,
    later: Vec<(Name, Option<Value>)>,
}

/// All observations of one tree that are under way.
#[derive(Default)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    count: u64,
}

/// What happened while an observation was made.
pub(super) enum Landing {
    /// It is void: observe again.
    Overtaken,
    /// It stands but for these children of the directory, which were looked at meanwhile.
    Stands(Vec<(Name, Option<Value>)>),
}

impl Flights {
    pub(super) fn begin(&mut self, sight: Sight) -> u64 {
        self.count += 1;
        self.flights.push(Flight { id: self.count, sight, overtaken: false, later: Vec::new() });
        self.count
    }

    pub(super) fn end(&mut self, id: u64) -> Landing {
        let at =
            self.flights.iter().position(|flight| flight.id == id).expect("begun and not ended");
        let flight = self.flights.swap_remove(at);
        if flight.overtaken { Landing::Overtaken } else { Landing::Stands(flight.later) }
    }

    /// A look is reported.
    pub(super) fn seen(&mut self, path: &RelPath, value: Option<Value>) {
        for flight in &mut self.flights {
            match &flight.sight {
                Sight::Path(other) => flight.overtaken |= other.is_within(path),
                Sight::Dir(dir) if dir.is_within(path) => flight.overtaken = true,
                Sight::Dir(dir) => {
                    if let Some((parent, name)) = path.split()
                        && parent == *dir
                    {
                        flight.later.push((name, value));
                    }
                }
            }
        }
    }

    /// A listing is reported, its children by name.
    pub(super) fn listed(&mut self, dir: &RelPath, children: &[(Name, Value)]) {
        let depth = dir.components().count();
        for flight in &mut self.flights {
            let (path, may_go_on) = match &flight.sight {
                Sight::Path(path) => (path, 2),
                Sight::Dir(path) => (path, 1),
            };
            let mut below = path.components().skip(depth);
            flight.overtaken |= path.is_within(dir)
                && match below.next() {
                    None => true,
                    Some(child) => {
                        let found =
                            children.binary_search_by(|(name, _)| name.as_bytes().cmp(child));
                        let is_dir = found.is_ok_and(|at| children[at].1.is_dir());
                        !is_dir || path.components().count() - depth < may_go_on
                    }
                };
        }
    }

    /// Rules changed: what is looked at in or below `dir` was judged by the old ones, but for `own`, which brought them.
    pub(super) fn overtake_within(&mut self, dir: &RelPath, own: Option<u64>) {
        for flight in self.flights.iter_mut().filter(|flight| Some(flight.id) != own) {
            let (Sight::Path(path) | Sight::Dir(path)) = &flight.sight;
            flight.overtaken |= path.is_within(dir);
        }
    }

    /// Events were lost: nothing that was looked at before now counts.
    pub(super) fn overtake_all(&mut self) {
        for flight in &mut self.flights {
            flight.overtaken = true;
        }
    }
}

/// Enters what was looked at meanwhile into a listing.
pub(super) fn enter(children: &mut Vec<(Name, Value)>, later: Vec<(Name, Option<Value>)>) {
    for (name, value) in later {
        let at = children.binary_search_by(|(other, _)| other.cmp(&name));
        match (at, value) {
            (Ok(at), Some(value)) => children[at].1 = value,
            (Ok(at), None) => drop(children.remove(at)),
            (Err(at), Some(value)) => children.insert(at, (name, value)),
            (Err(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).expect("a good name")
    }

    const DIR: Value = Value::Dir { mode: 0o755 };

    fn overtaken(sight: Sight, report: impl FnOnce(&mut Flights)) -> bool {
        let mut flights = Flights::default();
        let id = flights.begin(sight);
        report(&mut flights);
        matches!(flights.end(id), Landing::Overtaken)
    }

    #[test]
    fn a_look_overtakes_older_looks_at_and_below_its_path() {
        let at = |text: &str, seen: &str| {
            overtaken(Sight::Path(path(text)), |flights| flights.seen(&path(seen), None))
        };
        assert!(at("a/b", "a/b"));
        assert!(at("a/b", "a"));
        assert!(!at("a", "a/b"));
        assert!(!at("a/b", "a/c"));
    }

    #[test]
    fn a_look_is_entered_in_a_listing_under_way() {
        let mut flights = Flights::default();
        let id = flights.begin(Sight::Dir(path("d")));
        flights.seen(&path("d/new"), Some(Value::Ignored));
        flights.seen(&path("d/gone"), None);
        flights.seen(&path("d/deeper/x"), None);
        flights.seen(&path("other"), None);
        let Landing::Stands(later) = flights.end(id) else {
            panic!("it stands");
        };
        let mut children = vec![(name("gone"), DIR), (name("z"), DIR)];
        enter(&mut children, later);
        assert_eq!(children, [(name("new"), Value::Ignored), (name("z"), DIR)]);
    }

    #[test]
    fn a_directory_renamed_while_it_was_listed_is_not_listed() {
        let dir = || Sight::Dir(path("a/b"));
        assert!(overtaken(dir(), |flights| flights.seen(&path("a"), None)));
        assert!(overtaken(dir(), |flights| flights.listed(&path(""), &[])));
        assert!(!overtaken(dir(), |flights| flights.listed(&path(""), &[(name("a"), DIR)])));
    }

    #[test]
    fn rules_that_changed_overtake_all_below_them_but_what_brought_them() {
        let mut flights = Flights::default();
        let own = flights.begin(Sight::Path(path("a/.yeetignore")));
        let below = flights.begin(Sight::Dir(path("a/b")));
        let outside = flights.begin(Sight::Dir(path("")));
        flights.overtake_within(&path("a"), Some(own));
        assert!(matches!(flights.end(own), Landing::Stands(_)));
        assert!(matches!(flights.end(below), Landing::Overtaken));
        assert!(matches!(flights.end(outside), Landing::Stands(_)));
    }

    #[test]
    fn a_listing_overtakes_older_looks_at_its_children() {
        let listed = |text: &str, children: &[(Name, Value)]| {
            overtaken(Sight::Path(path(text)), |flights| flights.listed(&path("a"), children))
        };
        assert!(listed("a/b", &[(name("b"), DIR)]));
        assert!(listed("a/b/c", &[]));
        assert!(!listed("a/b/c", &[(name("b"), DIR)]));
        assert!(!listed("x", &[]));
        assert!(overtaken(Sight::Dir(path("a")), |flights| flights.listed(&path("a"), &[])));
    }
}
