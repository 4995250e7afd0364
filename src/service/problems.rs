//! What went wrong on a path and has not gone right since.
//!
//! Holds: a problem belongs to one path and one replica and stops nothing else (INV-6); it goes when the path's job
//! succeeds or is no longer wanted. The list is bounded: past the bound problems are counted, not kept.

use std::collections::BTreeMap;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

/// More problems than anybody reads; the count goes on.
const KEPT_MAX: usize = 100_000;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was tried and why it failed.
    pub what: String,
    pub errno: Option<i32>,
    /// What the user can do.
    pub hint: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
}

impl Problem {
    /// A problem of which nothing but its sentence is known.
    #[must_use]
    pub fn new(what: String) -> Self {
        Self { what, errno: None, hint: None, attempts: 1 }
    }
}

/// The problems of one sync by path and replica.
#[derive(Default)]
pub struct Problems {
    by_path: BTreeMap<(RelPath, Replica), Problem>,
}

impl Problems {
    /// Notes a failure; true if this path had no problem before.
    pub fn note(&mut self, path: &RelPath, replica: Replica, problem: Problem) -> bool {
        if let Some(known) = self.by_path.get_mut(&(path.clone(), replica)) {
            let attempts = known.attempts.saturating_add(1);
            *known = Problem { attempts, ..problem };
            return false;
        }
        if self.by_path.len() < KEPT_MAX {
            self.by_path.insert((path.clone(), replica), problem);
        }
        true
    }

    /// The path is well again on this replica.
    pub fn clear(&mut self, path: &RelPath, replica: Replica) -> bool {
        !self.by_path.is_empty() && self.by_path.remove(&(path.clone(), replica)).is_some()
    }

    /// The path is well again on every replica.
    pub fn clear_path(&mut self, path: &RelPath) {
        if !self.by_path.is_empty() {
            self.by_path.retain(|(p, _), _| p != path);
        }
    }

    /// Problems at or below `dir`, in path order.
    pub fn within<'a>(
        &'a self,
        dir: &'a RelPath,
    ) -> impl Iterator<Item = (&'a RelPath, Replica, &'a Problem)> {
        self.by_path
            .range((dir.clone(), Replica::SOURCE)..)
            .map(|((path, replica), problem)| (path, *replica, problem))
            .filter(move |(path, _, _)| path.is_within(dir))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a good path")
    }

    #[test]
    fn a_problem_counts_its_attempts_and_goes_when_the_path_is_well() {
        let mut problems = Problems::default();
        let problem =
            Problem { what: "cannot write".into(), errno: Some(30), hint: None, attempts: 1 };
        assert!(problems.note(&path("a/b"), Replica::SOURCE, problem.clone()));
        assert!(!problems.note(&path("a/b"), Replica::SOURCE, problem.clone()));
        assert!(problems.note(&path("ab"), Replica::SOURCE, problem));
        let dir = path("a");
        let (_, _, first) = problems.within(&dir).next().expect("a/b is within a");
        assert_eq!(first.attempts, 2);
        assert_eq!(problems.within(&dir).count(), 1, "ab is not within a");
        assert!(problems.clear(&path("a/b"), Replica::SOURCE));
        assert!(!problems.is_empty());
    }
}
