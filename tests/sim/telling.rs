//! What a watcher tells: hints about what happened on the disks, on their way to the sources, and the ends of flushes.
//!
//! Holds: hints may be lost, which is told, doubled, or told in another order; a flush ends behind every hint about what
//! happened before it was asked for, as with the real watcher.

use std::collections::VecDeque;

use super::users::Dice;
use crate::dataflow::model::path::RelPath;
use crate::sources::watch::Hint;
use crate::sources::watch::simulated::Watched;
use crate::sys::sim::fault::{Fault, has};
use crate::sys::sim::{Disk, Event, Ino, with};

#[derive(Default)]
pub(super) struct Telling {
    hints: VecDeque<(usize, Hint)>,
    /// Each with how many hints are told before it.
    flushes: VecDeque<(usize, u64)>,
}

/// The names that an event is about: their directory, and whether something came.
fn names_of(disk: &Disk, event: Event) -> Vec<(Ino, Vec<u8>, bool)> {
    match event {
        Event::Name(dir, name, new) => {
            let came = new.is_some_and(|ino| disk.now.names.contains_key(&ino));
            vec![(dir, name, came)]
        }
        Event::Object(ino) => {
            let all = disk.now.names.iter().flat_map(|(dir, names)| {
                names.iter().map(move |(name, ino)| (*dir, name.clone(), *ino))
            });
            all.filter(|(.., i)| *i == ino).map(|(d, n, _)| (d, n, false)).collect()
        }
    }
}

impl Telling {
    pub(super) fn clear(&mut self) {
        self.hints.clear();
        self.flushes.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.flushes.is_empty()
    }

    /// Turns what happened on these disks into what a watcher would say.
    pub(super) fn notice(&mut self, watched: &Watched, disks: &[usize]) {
        // Taken before what happened is: that was before the flush.
        let flushes = watched.take_flushes();
        with(|kernel| {
            for at in disks.iter().copied() {
                let disk = &mut kernel.disks[at];
                for event in std::mem::take(&mut disk.events) {
                    if has(Fault::OverflowSilent) && kernel.calls.is_multiple_of(8) {
                        continue;
                    }
                    for (dir, name, came) in names_of(disk, event) {
                        let Some(above) = disk.path_of(dir) else { continue };
                        if above.starts_with(".yeet") || !watched.is_watched(at, dir) {
                            continue;
                        }
                        let name = String::from_utf8_lossy(&name).into_owned();
                        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
                        let path = RelPath::parse(path.as_bytes()).unwrap();
                        let hint = if came { Hint::Scan(path) } else { Hint::Look(path) };
                        self.hints.push_back((at, hint));
                    }
                }
            }
        });
        let behind = self.hints.len();
        self.flushes.extend(flushes.into_iter().map(|number| (behind, number)));
    }

    /// What comes next.
    pub(super) fn next_hint(&mut self) -> Option<(usize, Hint)> {
        let hint = self.hints.pop_front()?;
        self.flushes.iter_mut().for_each(|(behind, _)| *behind = behind.saturating_sub(1));
        Some(hint)
    }

    /// The flushes that no hint is told before.
    pub(super) fn ended_flushes(&mut self) -> impl Iterator<Item = u64> {
        let ended = self.flushes.iter().take_while(|(behind, _)| *behind == 0).count();
        self.flushes.drain(..ended).map(|(_, number)| number)
    }

    /// Hints are lost, which is told; doubled; or told in another order.
    pub(super) fn disturb(&mut self, disks: &[usize], dice: &mut Dice) {
        match dice.below(3) {
            0 if disks.is_empty() => {}
            0 => {
                let at = disks[dice.index(disks.len())];
                self.hints.retain(|(of, _)| *of != at);
                self.hints.push_back((at, Hint::Overflow));
            }
            1 => {
                let copy: Vec<_> = self.hints.iter().cloned().collect();
                self.hints.extend(copy);
            }
            _ => self.hints.make_contiguous().reverse(),
        }
        let all = self.hints.len();
        self.flushes.iter_mut().for_each(|(behind, _)| *behind = all);
    }

    /// All hints in an order of the dice.
    pub(super) fn shuffle(&mut self, dice: &mut Dice) {
        let hints = self.hints.make_contiguous();
        for at in (1..hints.len()).rev() {
            hints.swap(at, dice.index(at + 1));
        }
    }
}
