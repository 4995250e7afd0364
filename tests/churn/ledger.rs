//! What users wrote and have not destroyed themselves.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// A side's path.
type Place = (&'static str, String);

/// By place, the content that was last written there by a user.
#[derive(Default)]
pub(crate) struct Ledger {
    live: BTreeMap<Place, blake3::Hash>,
}

impl Ledger {
    pub(crate) fn wrote(&mut self, side: &'static str, path: &str, bytes: &[u8]) {
        self.live.insert((side, path.to_owned()), blake3::hash(bytes));
    }

    /// A user removed or overwrote what has this name.
    pub(crate) fn destroyed(&mut self, side: &'static str, path: &str) {
        self.live.remove(&(side, path.to_owned()));
    }

    /// A user renamed a file, or a directory with all in it.
    pub(crate) fn renamed(&mut self, side: &'static str, from: &str, to: &str) {
        self.destroyed(side, to);
        let below = format!("{from}/");
        let moved = self
            .live
            .keys()
            .filter(|(s, path)| *s == side && (path == from || path.starts_with(&below)));
        for place in moved.cloned().collect::<Vec<_>>() {
            let hash = self.live.remove(&place).unwrap();
            self.live.insert((side, format!("{to}{}", &place.1[from.len()..])), hash);
        }
    }

    /// Everything is in a tree, or in a store in it.
    pub(crate) fn check(&self, rig: &Path, seed: u64) {
        let mut there = HashSet::new();
        let mut dirs = vec![rig.join("a"), rig.join("b")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    dirs.push(entry.path());
                } else if kind.is_file() {
                    there.insert(blake3::hash(&fs::read(entry.path()).unwrap()));
                }
            }
        }
        let lost = self.live.iter().find(|(_, hash)| !there.contains(hash));
        assert!(lost.is_none(), "seed {seed}: lost {lost:?} of {}", self.live.len());
    }
}
