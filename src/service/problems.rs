//! What went wrong on a path and has not gone right since.
//!
//! Holds: a problem belongs to one path and one replica and stops nothing else (INV-6); it goes when what failed has
//! gone right, or is no longer wanted: looking at a path says nothing of a job that failed there. The list is bounded.

use std::collections::BTreeMap;

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

/// More problems than anybody reads; the count goes on.
const KEPT_MAX: usize = 100_000;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// Seeing all that is in a directory.
    Looking,
    /// Noticing what changes in a directory.
    Watching,
    /// Carrying something out.
    Acting,
}

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

/// The problems of one sync by path, replica and what failed.
#[derive(Default)]
pub struct Problems {
    by_path: BTreeMap<(RelPath, Replica, About), Problem>,
    /// How many of them are not about acting.
    of_sources: usize,
}

impl Problems {
    /// Notes a failure; true if this path had no such problem before.
    pub fn note(
        &mut self,
        path: &RelPath,
        replica: Replica,
        about: About,
        problem: Problem,
    ) -> bool {
        if let Some(known) = self.by_path.get_mut(&(path.clone(), replica, about)) {
            let attempts = known.attempts.saturating_add(1);
            *known = Problem { attempts, ..problem };
            return false;
        }
        if self.by_path.len() < KEPT_MAX {
            self.by_path.insert((path.clone(), replica, about), problem);
            self.of_sources += usize::from(about != About::Acting);
        }
        true
    }

    /// This went right at the path on this replica.
    pub fn clear(&mut self, path: &RelPath, replica: Replica, about: About) -> bool {
        let there = !self.by_path.is_empty()
            && self.by_path.remove(&(path.clone(), replica, about)).is_some();
        self.of_sources -= usize::from(there && about != About::Acting);
        there
    }

    /// A replica holds no directory here, or one of which `is_dir` says which children are directories: what is not
    /// there cannot be looked at or watched.
    pub fn clear_gone(&mut self, at: &RelPath, replica: Replica, is_dir: impl Fn(&[u8]) -> bool) {
        if self.of_sources == 0 {
            return;
        }
        let depth = at.components().count();
        let gone = |path: &RelPath| {
            path.is_within(at) && path.components().nth(depth).is_none_or(|name| !is_dir(name))
        };
        self.by_path.retain(|(path, r, about), _| {
            *r != replica || *about == About::Acting || !gone(path) || path == at
        });
        let left = self.by_path.keys().filter(|(_, _, about)| *about != About::Acting);
        self.of_sources = left.count();
    }

    /// Problems at or below `dir`, in path order.
    pub fn within<'a>(
        &'a self,
        dir: &'a RelPath,
    ) -> impl Iterator<Item = (&'a RelPath, Replica, &'a Problem)> {
        self.by_path
            .range((dir.clone(), Replica::SOURCE, About::Looking)..)
            .map(|((path, replica, _), problem)| (path, *replica, problem))
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
        let acting = About::Acting;
        assert!(problems.note(&path("a/b"), Replica::SOURCE, acting, problem.clone()));
        assert!(!problems.note(&path("a/b"), Replica::SOURCE, acting, problem.clone()));
        assert!(problems.note(&path("ab"), Replica::SOURCE, acting, problem));
        let dir = path("a");
        let (_, _, first) = problems.within(&dir).next().expect("a/b is within a");
        assert_eq!(first.attempts, 2);
        assert_eq!(problems.within(&dir).count(), 1, "ab is not within a");
        assert!(problems.clear(&path("a/b"), Replica::SOURCE, acting));
        assert!(!problems.is_empty());
    }

    #[test]
    fn what_was_seen_says_nothing_of_what_failed_to_be_done() {
        let mut problems = Problems::default();
        let mut note = |text: &str, about| {
            problems.note(&path(text), Replica::SOURCE, about, Problem::new("x".into()));
        };
        note("a", About::Looking);
        note("a/gone", About::Looking);
        note("a/gone/deep", About::Watching);
        note("a/gone", About::Acting);
        note("a/there", About::Looking);
        note("ab", About::Looking);
        problems.clear_gone(&path("a"), Replica::SOURCE, |name| name == b"there");
        let root = RelPath::root();
        let left: Vec<String> =
            problems.within(&root).map(|(path, _, _)| format!("{path:?}")).collect();
        assert_eq!(left, ["a", "a/gone", "a/there", "ab"]);
        problems.clear(&path("a/gone"), Replica::SOURCE, About::Acting);
        assert_eq!(problems.within(&path("a/gone")).count(), 0);
    }
}
