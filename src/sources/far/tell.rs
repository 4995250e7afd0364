//! How an agent tells what it sees: a directory by its children, or by their print where it is likely that they are known.
//!
//! Holds: it is a matter of cost alone. Who cannot tell what a print is of asks for the children, and gets them.

use std::collections::{HashMap, HashSet};

use super::page::{self, Last};
use super::wire::Told;
use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::RelPath;

/// More directories than are kept apart; beyond, what is told is told by its children.
const DIRS_MAX: usize = 1 << 16;

/// What one stream has told, and has been asked for.
#[derive(Default)]
pub struct Telling {
    last: Last,
    /// Scans that are under way, and whether most of what they find is known at the other side.
    scans: HashMap<u64, bool>,
    /// To be told by their children: there was a print that did not say enough.
    whole: HashSet<RelPath>,
    /// To be told by their prints: whoever asked can tell the digests of their files.
    prints: HashSet<RelPath>,
    /// All has been told once, so what is void since was known.
    is_told: bool,
    void: Vec<RelPath>,
}

impl Telling {
    /// A scan is asked for; `known`: of what most is known.
    pub fn scan(&mut self, number: u64, known: bool) {
        self.scans.insert(number, known);
    }

    /// Whether a scan has been asked for, ever.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.is_told || !self.scans.is_empty()
    }

    /// A directory is to be told by its children.
    pub fn whole(&mut self, dir: RelPath) {
        self.prints.remove(&dir);
        if self.whole.len() < DIRS_MAX {
            self.whole.insert(dir);
        } else {
            self.scans.values_mut().for_each(|known| *known = false);
            self.void.clear();
            self.prints.clear();
        }
    }

    /// A directory is to be told by its print.
    pub fn print(&mut self, dir: RelPath) {
        if self.prints.len() < DIRS_MAX {
            self.prints.insert(dir);
        }
    }

    /// Whether what is told waits for nothing: only of many directories in a row each waits for the next.
    #[must_use]
    pub fn is_urgent(&self, told: &Told) -> bool {
        let is_one_of_many = match told {
            Told::Facts(facts) => facts.iter().all(|fact| matches!(fact, Fact::Listed { .. })),
            Told::Same { .. } => true,
            Told::Trouble { .. }
            | Told::Watched(_)
            | Told::RootGone
            | Told::Done(_)
            | Told::Flushed(_)
            | Told::Quiet { .. }
            | Told::Rules { .. }
            | Told::RulesTaken(_) => false,
        };
        !is_one_of_many || (self.scans.is_empty() && self.prints.is_empty())
    }

    /// What is to be said, in bytes.
    pub fn messages(&mut self, told: Told) -> impl Iterator<Item = Vec<u8>> {
        let parts = match told {
            Told::Facts(facts) => self.parts(facts),
            Told::Done(scan) => {
                self.scans.remove(&scan);
                self.is_told = true;
                vec![told]
            }
            Told::Quiet { .. } => {
                self.void.clear();
                self.whole.clear();
                self.prints.clear();
                vec![told]
            }
            told @ (Told::Same { .. }
            | Told::Trouble { .. }
            | Told::Watched(_)
            | Told::RootGone
            | Told::Flushed(_)
            | Told::Rules { .. }
            | Told::RulesTaken(_)) => vec![told],
        };
        parts.into_iter().map(|part| part.bytes(&mut self.last))
    }

    fn parts(&mut self, facts: Vec<Fact>) -> Vec<Told> {
        let mut parts = Vec::new();
        let mut whole = Vec::new();
        let pages = |facts: &[Fact]| {
            page::cut(facts).map(|page| Told::Facts(page.to_vec())).collect::<Vec<_>>()
        };
        for fact in facts {
            match fact {
                Fact::Listed { dir, children, .. } if self.goes_by_print(&dir) => {
                    parts.extend(pages(&whole));
                    whole.clear();
                    parts.push(Told::Same { dir, print: page::print(&children) });
                    continue;
                }
                Fact::Unlisted { ref dir, .. } if self.is_told && self.void.len() < DIRS_MAX => {
                    self.void.push(dir.clone());
                }
                Fact::Listed { .. }
                | Fact::Unlisted { .. }
                | Fact::Holds { .. }
                | Fact::Agreed { .. }
                | Fact::Past { .. }
                | Fact::Means { .. }
                | Fact::Yields { .. } => {}
            }
            whole.push(fact);
        }
        parts.extend(pages(&whole));
        parts
    }

    fn goes_by_print(&mut self, dir: &RelPath) -> bool {
        if self.whole.remove(dir) {
            return false;
        }
        let is_known = self.scans.values().any(|known| *known)
            || self.void.iter().any(|void| dir.is_within(void));
        self.prints.remove(dir) || is_known
    }
}
