//! What users wrote and have not destroyed themselves.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

/// The contents that are owed to the user of each side.
#[derive(Default)]
pub(crate) struct Ledger {
    /// By content and side, where it was written.
    live: BTreeMap<([u8; 32], &'static str), String>,
    /// What was done, to be told when something is lost.
    acts: Vec<String>,
}

impl Ledger {
    pub(crate) fn wrote(&mut self, side: &'static str, path: &str, bytes: &[u8]) {
        let hash = blake3::hash(bytes);
        self.note(format!("{side} wrote {path} {hash}"));
        self.live.insert((*hash.as_bytes(), side), path.to_owned());
    }

    /// A user removed or overwrote this content at his own side, whoever gave it the name it had there.
    pub(crate) fn destroyed(&mut self, side: &'static str, path: &str, bytes: &[u8]) {
        let hash = blake3::hash(bytes);
        self.note(format!("{side} destroyed {path} {hash}"));
        self.live.remove(&(*hash.as_bytes(), side));
    }

    pub(crate) fn note(&mut self, act: String) {
        self.acts.push(act);
    }

    /// Everything is in a tree, or in a store in it.
    pub(crate) fn check(&self, rig: &Path, log: &str, seed: u64) {
        let mut there = HashSet::new();
        let mut dirs = vec![rig.join("a"), rig.join("b")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    dirs.push(entry.path());
                } else if kind.is_file() {
                    there.insert(*blake3::hash(&fs::read(entry.path()).unwrap()).as_bytes());
                }
            }
        }
        let lost = self.live.iter().find(|((hash, _), _)| !there.contains(hash));
        if let Some(((hash, side), path)) = lost {
            let hash = blake3::Hash::from_bytes(*hash);
            let about = |line: &&str| line.contains(path) || line.contains(&*hash.to_hex());
            let log: Vec<&str> = log.lines().filter(about).collect();
            let acts = &self.acts;
            panic!("seed {seed}: lost what {side} wrote to {path}, {hash}\n{acts:#?}\n{log:#?}");
        }
    }
}
