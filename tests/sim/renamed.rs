//! What users gave another name in the middle of a step.
//!
//! Holds: a delete that is carried out while a user gives the file's directory another name takes the file there; the
//! daemon sees it right after, and puts it back in the same step. If it is killed in that moment, the delete came first
//! (`docs/design/0005`), and what it took is kept.

use std::collections::BTreeMap;

use super::bench::Bytes;
use crate::sys::sim::Disk;

type Place = (usize, String);
type Tree = BTreeMap<String, Bytes>;

#[derive(Clone, Default)]
pub(super) struct Renamed {
    /// The name a file had when the step began.
    from: BTreeMap<Place, String>,
    /// What users gave another name, the last one last.
    all: Vec<(usize, String, String)>,
    /// What a delete of that name took.
    taken: BTreeMap<Place, Bytes>,
}

impl Renamed {
    /// What a user did on a disk.
    pub(super) fn note(&mut self, disk: &Disk, at: usize, old: &Tree, new: &Tree) {
        let mut from = self.from.clone();
        from.retain(|(on, path), _| *on != at || old.get(path) == new.get(path));
        let arrived = new.iter().filter(|(path, bytes)| old.get(*path) != Some(*bytes));
        for (path, bytes) in arrived {
            let was = old.iter().find(|(p, b)| *b == bytes && new.get(*p) != Some(bytes));
            if let Some((was, _)) = was {
                let first = self.from(at, was).unwrap_or(was).to_owned();
                from.insert((at, path.clone()), first);
            }
        }
        self.from = from;
        // It goes back to where its directory is.
        self.taken.retain(|(on, path), _| {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let is_there = dir.is_empty() || disk.at(dir).is_some();
            *on != at || (!new.contains_key(path) && is_there)
        });
    }

    /// A user is about to give something another name.
    pub(super) fn goes_to(&mut self, at: usize, from: &str, to: &str) {
        self.all.push((at, from.to_owned(), to.to_owned()));
    }

    /// The path that something new was made at, if its directory has got another name since.
    pub(super) fn made_at(&self, at: usize, path: &str) -> String {
        let mut path = path.to_owned();
        for (_, from, to) in self.all.iter().rev().filter(|(on, ..)| *on == at) {
            if let Some(rest) = path.strip_prefix(to.as_str()).filter(|r| r.starts_with('/')) {
                path = format!("{from}{rest}");
            }
        }
        path
    }

    pub(super) fn from(&self, at: usize, path: &str) -> Option<&str> {
        self.from.get(&(at, path.to_owned())).map(String::as_str)
    }

    pub(super) fn goes(&mut self, at: usize, path: &str, bytes: &Bytes) {
        self.taken.insert((at, path.to_owned()), bytes.clone());
    }

    /// What was not put back.
    pub(super) fn step_ends(&mut self, trees: &[Tree]) -> Option<String> {
        let Self { from: _, all: _, taken } = std::mem::take(self);
        let mut taken = taken.into_iter();
        let ((at, path), bytes) = taken.find(|((at, path), _)| !trees[*at].contains_key(path))?;
        Some(format!("S3: {path} on {at}: {bytes:?}, which a user had renamed, was not put back"))
    }
}
