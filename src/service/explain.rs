//! `explain`: what each side holds, what was agreed, what the rule said and why.

use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::paths::PathId;
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Digest, Special, Value};
use crate::dataflow::model::verdict::{Act, Verdict};
use crate::dataflow::query::Waits;
use crate::service::actor::Actor;
use crate::service::conflicts::Whole;
use crate::service::dispatch::JobKey;
use crate::sinks::journal::LogFilter;
use crate::sinks::journal::record::LogRecord;
use crate::sources::control::wire::{Explanation, Holding, LogLine};
use crate::sources::ignores::ALWAYS;
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// How many of a path's last acts `explain` shows.
const ACTS_SHOWN: usize = 10;

fn short(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "unread".to_owned(), |d| d.to_string())
}

/// A value in words: `file 644, 12 bytes, mtime 1732450000.000000000, digest 0123…`.
pub(crate) fn words(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::File(file)) => format!(
            "file {:03o}, {} bytes, mtime {}.{:09}, digest {}",
            file.mode,
            file.size,
            file.mtime.div_euclid(1_000_000_000),
            file.mtime.rem_euclid(1_000_000_000),
            short(file.content.digest())
        ),
        Some(Value::Dir { mode }) => format!("directory {mode:03o}"),
        Some(Value::Symlink { target, len }) => {
            format!("symlink, target of {len} bytes, digest {}", short(Some(*target)))
        }
        Some(Value::Ignored) => "something ignored".to_owned(),
        Some(Value::Skipped(special)) => match special {
            Special::Fifo => "a pipe, which is not carried".to_owned(),
            Special::Socket => "a socket, which is not carried".to_owned(),
            Special::Device => "a device, which is not carried".to_owned(),
            Special::Mount => "a mount point, which is not carried".to_owned(),
        },
        Some(Value::Unreadable { errno }) => {
            format!("something that cannot be read: {}", std::io::Error::from_raw_os_error(*errno))
        }
        Some(Value::Remnant) => {
            "absent; a directory stays for its unsynced content alone".to_owned()
        }
    }
}

pub(crate) fn kind_word(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Remnant) => "nothing",
        Some(Value::File(_)) => "file",
        Some(Value::Dir { .. }) => "directory",
        Some(Value::Symlink { .. }) => "symlink",
        Some(Value::Ignored) => "ignored",
        Some(Value::Skipped(_)) => "special",
        Some(Value::Unreadable { .. }) => "unreadable",
    }
}

/// Bytes as one word of a shell's line.
fn shell_word(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_./@%+=:,-".contains(b);
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        Ok(_) | Err(_) => format!("$'{}'", bytes.escape_ascii()),
    }
}

impl Actor {
    /// Everything about a path; `None` if nothing is known of it.
    pub(crate) fn explain(&mut self, path: &RelPath) -> Option<Explanation> {
        let notes_of_rules = self.ignore_notes(path);
        let id = self.id_of(path);
        if id.is_none() && notes_of_rules.is_empty() && !self.was_seen(path) {
            return None;
        }
        let id = id.unwrap_or(PathId::ROOT);
        let views = if path.is_root() || self.id_of(path).is_none() {
            crate::dataflow::model::verdict::Views::default()
        } else {
            self.engine.views(id)
        };
        let verdicts = if path.is_root() || self.id_of(path).is_none() {
            Vec::new()
        } else {
            self.engine.verdicts(id)
        };
        let root = path.is_root().then(|| "the directory of the replica".to_owned());
        let mut holdings = vec![Holding {
            replica: self.record.replica_name(Replica::SOURCE).to_owned(),
            holds: root.unwrap_or_else(|| words(views.source.as_ref())),
            agreed: None,
            verdict: None,
            rule: None,
            waits: None,
        }];
        for leaf in &views.leaves {
            let held = leaf.value;
            #[cfg(test)]
            let held = if has(Fault::AgreedExplained) { leaf.agreed } else { held };
            let of = verdicts.iter().find(|(verdict, _)| verdict.leaf == leaf.leaf);
            holdings.push(Holding {
                replica: self.record.replica_name(leaf.leaf).to_owned(),
                holds: words(held.as_ref()),
                agreed: Some(words(leaf.agreed.as_ref())),
                verdict: Some(
                    of.map_or_else(|| "in sync".to_owned(), |(verdict, _)| self.in_words(verdict)),
                ),
                rule: of.map(|(verdict, _)| format!("{:?}", verdict.rule)),
                waits: of.map(|(verdict, waits)| self.waiting_for(id, verdict, *waits)),
            });
        }
        let mut notes = notes_of_rules;
        notes.extend(self.problem_notes(path));
        notes.extend(self.hold_notes(&verdicts));
        let whole = self.whole_in_conflict(id);
        if let Some(whole) = whole {
            notes.push(self.whole_note(whole));
        }
        let leaves = self.record.leaves().iter();
        notes.extend(leaves.filter_map(|leaf| self.restless.past_words(JobKey { path: id, leaf })));
        let below = if self.id_of(path).is_some() { self.below(id) } else { Vec::new() };
        notes.extend(below);
        let summary = match verdicts.first() {
            None if notes.is_empty() => "in sync".to_owned(),
            None => notes[0].clone(),
            Some((verdict, _)) => self.in_words(verdict),
        };
        notes.extend(self.route_notes());
        Some(Explanation {
            name: self.record.name.clone(),
            path: path.clone(),
            summary,
            holdings,
            commands: self.commands_for(path, &verdicts, whole),
            notes,
            acts: self.last_acts(path),
        })
    }

    /// By which of several ways the hosts are reached, and how the others are.
    fn route_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (replica, host) in &self.record.hosts {
            let ways = self.away.ways(host);
            for way in ways.iter().filter(|_| ways.len() > 1) {
                let name = self.record.replica_name(*replica);
                let rtt = way.rtt_ms.map(|ms| format!(", {ms} ms")).unwrap_or_default();
                let why = (!way.why.is_empty()).then(|| format!(": {}", way.why));
                let why = why.unwrap_or_default();
                notes.push(format!("{name} by {}: {}{rtt}{why}", way.route, way.state));
            }
            let peer = self.shop.far(*replica).and_then(|far| far.peer());
            if let Some(words) = peer.and_then(|peer| peer.data()).filter(|_| !self.record.ssh_only)
            {
                notes.push(format!("{}: data goes by {words}", self.record.replica_name(*replica)));
            }
        }
        notes
    }

    /// What is outstanding below a directory, a line a leaf.
    fn below(&mut self, dir: PathId) -> Vec<String> {
        let tallies = self.engine.tallies_below(dir).into_iter().filter_map(|(leaf, tally)| {
            let counts = [
                (tally.conflicts, "in conflict"),
                (tally.blocked, "in the way of something"),
                (tally.pending, "waiting"),
            ];
            let counts = counts.into_iter().filter(|(count, _)| *count > 0);
            let counts: Vec<String> =
                counts.map(|(count, what)| format!("{count} {what}")).collect();
            (!counts.is_empty()).then(|| {
                format!("below it, with {}: {}", self.record.replica_name(leaf), counts.join(", "))
            })
        });
        tallies.collect()
    }

    fn was_seen(&self, path: &RelPath) -> bool {
        let Some(journal) = &self.shop.journal else { return false };
        let filter = LogFilter { within: path.clone(), ..LogFilter::default() };
        journal.log(&filter, 1).is_ok_and(|lines| !lines.is_empty())
    }

    /// A verdict in one sentence.
    pub(crate) fn in_words(&self, verdict: &Verdict) -> String {
        let name = |replica: Replica| self.record.replica_name(replica);
        let why = verdict.rule.sentence();
        match verdict.act {
            Act::Put { from, to } => format!("{} gets what {} has: {why}", name(to), name(from)),
            Act::Delete { at } => format!("it goes at {}: {why}", name(at)),
            Act::Agree => why.to_owned(),
            Act::Read(_) => why.to_owned(),
            Act::Await => format!("waits: {why}"),
            Act::Conflict(kind) => format!("conflict {kind}: {why}"),
            Act::Blocked(_) => format!("blocked: {why}"),
        }
    }

    fn ignore_notes(&self, path: &RelPath) -> Vec<String> {
        let mut at = path.clone();
        let mut is_dir =
            self.id_of(path).is_some_and(|id| self.engine.paths().children(id).next().is_some());
        while let Some((dir, name)) = at.split() {
            if let Some(by) = self.sources.ignores().matched(&dir, name.as_bytes(), is_dir) {
                let pattern = &by.pattern;
                let note = match &by.file {
                    Some((replica, file)) => format!(
                        "ignored by `{pattern}`, line {} of {} at {}",
                        by.line,
                        file.as_bytes().escape_ascii(),
                        self.record.replica_name(*replica)
                    ),
                    None if by.line == ALWAYS => {
                        format!("ignored by `{pattern}`: git is at work there, nothing to carry")
                    }
                    None => format!("ignored by `{pattern}`, an option of the sync"),
                };
                return vec![note];
            }
            at = dir;
            is_dir = true;
        }
        Vec::new()
    }

    fn problem_notes(&self, path: &RelPath) -> Vec<String> {
        let of_path = self.problems.within(path).filter(|(p, _, _)| *p == path);
        let note = |(_, replica, problem): (&RelPath, Replica, &super::problems::Problem)| {
            let at = self.record.replica_name(replica);
            let errno = problem.errno.map_or(String::new(), |errno| format!(" (errno {errno})"));
            let hint = problem.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
            format!("problem at {at}: {}{errno}{hint}", problem.what)
        };
        of_path.map(note).collect()
    }

    fn hold_notes(&self, verdicts: &[(Verdict, Waits)]) -> Vec<String> {
        let mut notes = Vec::new();
        for (replica, why) in &self.holds.roots {
            let at = self.record.replica_name(*replica);
            notes.push(match why {
                super::holds::RootHold::Missing => {
                    format!("held: the directory of {at} is missing")
                }
                super::holds::RootHold::Replaced => {
                    format!("held: another directory is in the place of {at}")
                }
            });
        }
        for replica in self.away.absent().iter() {
            if let Some(absence) = self.away.absence(replica) {
                let at = self.record.replica_name(replica);
                let hint = absence.hint.as_ref().map_or(String::new(), |hint| format!("; {hint}"));
                let (reason, why) = (absence.reason.word(), &absence.why);
                notes.push(format!("offline: {at} ({reason}): {why}{hint}"));
            }
        }
        let held = self.holds.held();
        for (verdict, _) in verdicts {
            if let Act::Delete { at } = verdict.act
                && held.contains(at)
            {
                let at = self.record.replica_name(at);
                notes.push(format!("held: part of a mass delete at {at}"));
            }
        }
        notes
    }

    fn commands_for(
        &self,
        path: &RelPath,
        verdicts: &[(Verdict, Waits)],
        whole: Option<Whole>,
    ) -> Vec<String> {
        let sync = &self.record.name;
        let shown = shell_word(&[b"./", path.as_bytes()].concat());
        let mut commands = Vec::new();
        let mut add = |command: String| {
            if !commands.contains(&command) {
                commands.push(command);
            }
        };
        if let Some(whole) = whole {
            let path = self.engine.paths().path(whole.row());
            let shown = shell_word(&[b"./", path.as_bytes()].concat());
            for name in self.record.replicas.iter().map(|replica| &replica.name) {
                add(format!("yeet resolve --sync {sync} --keep {name} {shown}"));
            }
        }
        for (verdict, _) in verdicts {
            match verdict.act {
                Act::Conflict(_) if whole.is_some() => {}
                Act::Conflict(_) => {
                    for replica in [Replica::SOURCE, verdict.leaf] {
                        let name = self.record.replica_name(replica);
                        add(format!("yeet resolve --sync {sync} --keep {name} {shown}"));
                    }
                }
                Act::Delete { at } if self.holds.held().contains(at) => {
                    add(format!("yeet allow {sync}"));
                    add(format!("yeet deny {sync}"));
                }
                Act::Put { .. } => add(format!("yeet bump --sync {sync} {shown}")),
                Act::Delete { .. } | Act::Agree | Act::Read(_) | Act::Await | Act::Blocked(_) => {}
            }
        }
        if self.holds.paused {
            add(format!("yeet resume {sync}"));
        }
        if !self.holds.roots.is_empty() {
            add(format!("yeet allow {sync}"));
        }
        commands
    }

    fn last_acts(&self, path: &RelPath) -> Vec<LogLine> {
        let Some(journal) = &self.shop.journal else { return Vec::new() };
        let filter = LogFilter { within: path.clone(), exactly: true, ..LogFilter::default() };
        // Lines that are on their way to the store belong to the answer.
        drop(journal.barrier());
        let lines = journal.log(&filter, ACTS_SHOWN).unwrap_or_default();
        lines.into_iter().map(|(_, line)| self.log_line(line)).collect()
    }

    pub(crate) fn log_line(&self, line: LogRecord) -> LogLine {
        LogLine {
            when_ms: line.when_ms,
            name: self.record.name.clone(),
            act: line.act,
            replica: self.record.replica_name(line.replica).to_owned(),
            old: line.old,
            new: line.new,
            path: line.path,
            note: line.note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_a_path_so_that_a_shell_takes_it_whole() {
        let words = [
            (&b"./a/b-1.txt"[..], "./a/b-1.txt"),
            (b"./two words", "'./two words'"),
            (b"./it's", "'./it'\\''s'"),
            ("./gr\u{fc}n".as_bytes(), "'./gr\u{fc}n'"),
            (b"./new\nline", "$'./new\\nline'"),
            (b"./\xff", "$'./\\xff'"),
        ];
        for (bytes, word) in words {
            assert_eq!(shell_word(bytes), word);
            let command = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {word}")])
                .output()
                .unwrap();
            assert_eq!(command.stdout, bytes);
        }
    }
}
