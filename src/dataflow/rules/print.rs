//! A fingerprint of the values a verdict rests on.
//!
//! Holds: equal values give equal prints on every run of the same build; it is never stored.

use std::hash::{Hash, Hasher};

use crate::dataflow::model::value::Value;
use crate::dataflow::model::verdict::{Decision, LeafView, Rule, Views};

/// Puts the print into every decision.
pub(super) fn stamp(views: &Views, decisions: &mut [Decision]) {
    for decision in decisions {
        let leaf = views.leaves.iter().find(|leaf| leaf.leaf == decision.verdict.leaf);
        decision.verdict.print = print(views, leaf, decision);
    }
}

fn print(views: &Views, leaf: Option<&LeafView>, decision: &Decision) -> u64 {
    let mut mixer = Mixer::default();
    views.source.hash(&mut mixer);
    leaf.map(|leaf| (leaf.value, leaf.agreed)).hash(&mut mixer);
    decision.new.hash(&mut mixer);
    if decision.verdict.rule == Rule::LeavesDisagree {
        // A sum, so that it does not matter which leaf holds which.
        let rivals = views.leaves.iter().map(|leaf| of(&leaf.value));
        mixer.write_u64(rivals.fold(0, u64::wrapping_add));
    }
    mixer.finish()
}

fn of(value: &Option<Value>) -> u64 {
    let mut mixer = Mixer::default();
    value.hash(&mut mixer);
    mixer.finish()
}

/// A multiply-and-fold hasher without a seed.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 27)
    }
}
