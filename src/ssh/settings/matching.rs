//! Which lines hold: `Host` and `Match`.

use super::{At, Line, Local, Note, Written};
use crate::ssh::destination::Destination;
use crate::ssh::pattern::{Listed, listed};

/// The block that the lines now are in, and those around the file they are in.
pub(super) struct Blocks<'a> {
    asked: &'a Destination,
    local: &'a Local<'a>,
    holds: bool,
    /// Whether nothing holds here, whatever blocks say: the line that includes the file does not.
    never: bool,
    outer: Vec<(bool, bool)>,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(asked: &'a Destination, local: &'a Local<'a>) -> Self {
        Self { asked, local, holds: true, never: false, outer: Vec::new() }
    }

    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    pub(super) fn enter(&mut self) {
        self.outer.push((self.holds, self.never));
        self.never |= !self.holds;
    }

    pub(super) fn leave(&mut self) {
        (self.holds, self.never) = self.outer.pop().unwrap_or((true, false));
    }

    /// A block begins; what of its condition is not honoured.
    pub(super) fn begin(&mut self, line: &Line, written: &Written) -> Option<Note> {
        let is_match = line.keyword == "match";
        let met = if is_match {
            self.meets(&line.arguments, written)
        } else {
            let patterns = line.arguments.iter().map(String::as_str);
            Ok(listed(patterns, &self.asked.host) == Listed::Yes)
        };
        self.holds = !self.never && *met.as_ref().unwrap_or(&false);
        let what = met.err().filter(|_| !self.never)?;
        Some(Note { place: line.place.clone(), what: format!("{what}; the block is left out") })
    }

    /// Whether all criteria of a `Match` hold.
    ///
    /// # Errors
    /// What cannot be told. A criterion before it that does not hold decides first, as it does for ssh.
    fn meets(&self, criteria: &[String], written: &Written) -> Result<bool, String> {
        let mut words = criteria.iter();
        let mut any = false;
        while let Some(word) = words.next() {
            any = true;
            let (word, wanted) = match word.strip_prefix('!') {
                Some(word) => (word, false),
                None => (word.as_str(), true),
            };
            let (word, inline) = match word.split_once('=') {
                Some((word, value)) => (word, Some(value)),
                None => (word, None),
            };
            let mut list = || {
                let value = inline.or_else(|| words.next().map(String::as_str));
                value.ok_or_else(|| format!("match {word} names nothing"))
            };
            let met = match word.to_ascii_lowercase().as_str() {
                "all" => true,
                "host" => {
                    let name = value(&written.hostname, &self.asked.host);
                    // The two tokens that a HostName may have.
                    let name = name.replace("%h", &self.asked.host).replace("%%", "%");
                    is_listed(list()?, &name)
                }
                "originalhost" => is_listed(list()?, &self.asked.host),
                "user" => {
                    let usual = value(&written.user, self.local.user);
                    is_listed(list()?, self.asked.user.as_deref().unwrap_or(usual))
                }
                "localuser" => is_listed(list()?, self.local.user),
                other => return Err(format!("match {other} is not honoured")),
            };
            if met != wanted {
                return Ok(false);
            }
        }
        if any { Ok(true) } else { Err("match without a criterion".to_owned()) }
    }
}

fn value<'a>(written: &'a At<String>, usual: &'a str) -> &'a str {
    written.as_ref().map_or(usual, |(_, value)| value)
}

fn is_listed(patterns: &str, text: &str) -> bool {
    listed(patterns.split(','), text) == Listed::Yes
}
