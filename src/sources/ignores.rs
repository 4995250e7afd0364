//! What a sync leaves out: `--ignore`, `--ignore-vcs`, and every `.yeetignore` of every replica.
//!
//! Holds: syntax and precedence are git's (the deeper file wins, the last line in a file wins, `!` takes back). What
//! the rules of any one replica leave out is left out on all, so that replicas which see new rules at different
//! times never take one side's ignored file for a delete. A line that is no pattern ignores nothing and is a problem.
//! What git is working with inside a repository is always left out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::dataflow::model::git;
use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::replica::{Replica, ReplicaSet};
#[cfg(test)]
use crate::sys::sim::fault::{Fault, has};

/// The name of a file of rules, in any directory.
pub const IGNORE_FILE: &[u8] = b".yeetignore";
/// The longest file of rules that is read, in bytes.
pub const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;
/// The most lines of one file that become patterns: each costs memory and matching time.
const LINES_MAX: usize = 10_000;
/// The longest pattern, in bytes: no path is longer. What compiles patterns calls itself for each `{` in a `{`, and a
/// stack ends.
const PATTERN_BYTES_MAX: usize = 4096;
/// The most problems kept for showing.
const PROBLEMS_MAX: usize = 100;

const VCS: [&str; 9] =
    [".git", ".hg", ".svn", ".bzr", ".jj", ".pijul", "_darcs", ".fslckout", "CVS"];

/// The rule that leaves a path out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredBy {
    /// As it was written.
    pub pattern: String,
    /// The `.yeetignore` it stands in; `None`: it was an option of the sync, or holds for all.
    pub file: Option<(Replica, RelPath)>,
    /// Its line there, from 1; of an option: the how manyth; 0: `--ignore-vcs`, or [`ALWAYS`].
    pub line: u32,
}

/// The line of what is left out whatever the rules say: git's locks and temporary files.
pub const ALWAYS: u32 = u32::MAX;

/// A line, or a whole file, of rules that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreProblem {
    /// The file; `None`: an option of the sync.
    pub file: Option<(Replica, RelPath)>,
    /// From 1; 0: all of it.
    pub line: u32,
    pub reason: String,
}

impl fmt::Display for IgnoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some((replica, path)) => write!(f, "{path:?} on {replica:?}, line {}", self.line)?,
            None => write!(f, "ignore pattern {}", self.line)?,
        }
        write!(f, ": {}; it ignores nothing until it is mended", self.reason)
    }
}

impl std::error::Error for IgnoreProblem {}

/// Is told what a file of rules of a replica says now, and whether what it is about is to be listed again. It must not call
/// back.
pub type Listener = Box<dyn Fn(Replica, &RelPath, Option<&[u8]>, bool) + Send + Sync>;

/// The rules of one file, or those of the sync's options.
struct Rules {
    source: Box<[u8]>,
    text: blake3::Hash,
    globs: Gitignore,
    problems: Vec<(u32, String)>,
}

#[derive(Default)]
struct State {
    replicas: ReplicaSet,
    /// Those that will be attached once they are reached.
    awaited: ReplicaSet,
    files: BTreeMap<(Replica, RelPath), Arc<Rules>>,
    /// Where there are files of rules that cannot be read and never were.
    unread: BTreeSet<(Replica, RelPath)>,
}

impl State {
    /// Whether no rule of a file in or below `dir` takes anything back.
    fn only_ignores_within(&self, dir: &RelPath) -> bool {
        let within = self.files.iter().filter(|((_, at), _)| at.is_within(dir));
        within.map(|(_, rules)| rules.globs.num_whitelists()).sum::<u64>() == 0
    }

    /// Whether two replicas have the same files of rules, so that one of them says it all.
    fn same_files(&self, one: Replica, other: Replica) -> bool {
        let of = |replica| {
            let own = self.files.iter().filter(move |((r, _), _)| *r == replica);
            own.map(|((_, dir), rules)| (dir, rules.text))
        };
        of(one).eq(of(other))
    }
}

/// All rules of one sync. Shared by its scanners; every change has a new version.
pub struct Ignores {
    options: Arc<Rules>,
    state: RwLock<State>,
    version: AtomicU64,
    listener: OnceLock<Listener>,
    /// Held while a change is made and told, so that changes are told in their order.
    telling: Mutex<()>,
}

impl Ignores {
    /// The rules of a sync's options alone.
    ///
    /// # Errors
    /// The first option that is no pattern.
    pub fn new(patterns: &[String], vcs: bool) -> Result<Self, IgnoreProblem> {
        let own = patterns.iter().zip(1..).map(|(pattern, line)| (line, pattern.as_bytes()));
        let vcs = VCS.iter().filter(|_| vcs).map(|name| (0, name.as_bytes()));
        let options = Rules::compile(vcs.chain(own), blake3::hash(b""));
        if let Some((line, reason)) = options.problems.first() {
            return Err(IgnoreProblem { file: None, line: *line, reason: reason.clone() });
        }
        Ok(Self {
            options: Arc::new(options),
            state: RwLock::default(),
            version: AtomicU64::new(1),
            listener: OnceLock::new(),
            telling: Mutex::default(),
        })
    }

    /// Has every change of a file of rules told, from now on; once.
    pub fn listen(&self, listener: Listener) {
        drop(self.listener.set(listener));
    }

    /// All files of rules: whose, in which directory, and what they say.
    #[must_use]
    pub fn files(&self) -> Vec<(Replica, RelPath, Box<[u8]>)> {
        let state = self.read();
        let all = state.files.iter();
        all.map(|((replica, dir), rules)| (*replica, dir.clone(), rules.source.clone())).collect()
    }

    /// Whether rules of `dir` are known of a replica: those that were read last.
    #[must_use]
    pub fn knows(&self, replica: Replica, dir: &RelPath) -> bool {
        self.read().files.contains_key(&(replica, dir.clone()))
    }

    /// Counts the changes of the rules.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What `dir/.yeetignore` of an attached replica says now (`None`: it is not there). Returns the directory that must be
    /// listed again with all below it, on all replicas, if that changed anything.
    pub fn set(&self, replica: Replica, dir: &RelPath, text: Option<&[u8]>) -> Option<RelPath> {
        let key = (replica, dir.clone());
        let is_new =
            |state: &State| !state.files.contains_key(&key) && !state.unread.contains(&key);
        // Most directories have none, and never had: nobody waits for that.
        if text.is_none() && is_new(&self.read()) {
            return None;
        }
        let _telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let was_unread = self.write().unread.remove(&key);
        let hash = text.map(blake3::hash);
        let before = self.read().files.get(&key).map(|rules| rules.text);
        if before == hash {
            return was_unread.then(|| dir.clone());
        }
        // Replicas in sync hold the same file: it is compiled once.
        let same = self
            .read()
            .files
            .iter()
            .find(|((_, at), r)| at == dir && Some(r.text) == hash)
            .map(|(_, r)| r.clone());
        let doubles = same.is_some();
        let rules = text.map(|text| same.unwrap_or_else(|| Arc::new(Rules::parse(text))));
        let mut state = self.write();
        if !state.replicas.contains(replica) {
            // Read before it was detached, and said after.
            return None;
        }
        // The others' copy of a file that only ignores said it all already.
        let is_first = text.is_some() && before.is_none() && !was_unread;
        let nothing_new = is_first && doubles && state.only_ignores_within(dir);
        match rules {
            Some(rules) => drop(state.files.insert(key, rules)),
            None => drop(state.files.remove(&key)),
        }
        self.version.fetch_add(1, Ordering::Release);
        drop(state);
        if let Some(listener) = self.listener.get() {
            listener(replica, dir, text, !nothing_new);
        }
        (!nothing_new).then(|| dir.clone())
    }

    /// A replica has a file of rules in `dir` that cannot be read. Where the rules were not known before, nothing is known
    /// of what is in `dir` on any replica until they are. Returns `dir` if that is new.
    pub fn cannot_read(&self, replica: Replica, dir: &RelPath) -> Option<RelPath> {
        let key = (replica, dir.clone());
        let mut state = self.write();
        let counts = state.replicas.contains(replica) && !state.files.contains_key(&key);
        (counts && state.unread.insert(key)).then(|| dir.clone())
    }

    /// Whether what is left out in `dir` is not known, for a file of rules in or above it that could not be read.
    #[must_use]
    pub fn are_unread(&self, dir: &RelPath) -> bool {
        self.read().unread.iter().any(|(_, at)| dir.is_within(at))
    }

    /// As [`Ignores::are_unread`], but for those in `dir` where a replica has some that it has to try again.
    #[must_use]
    pub fn are_others_unread(&self, replica: Replica, dir: &RelPath) -> bool {
        let state = self.read();
        let tries = |at: &RelPath| at == dir && state.unread.contains(&(replica, at.clone()));
        state.unread.iter().any(|(_, at)| dir.is_within(at) && !tries(at))
    }

    /// Drops the rules below `dir` on a replica that are in no directory any more: `is_dir` says which children of
    /// `dir` are. Returns the directories to be listed again on all replicas, as [`Ignores::set`] does.
    pub fn keep_only(
        &self,
        replica: Replica,
        dir: &RelPath,
        is_dir: impl Fn(&[u8]) -> bool,
    ) -> Vec<RelPath> {
        let depth = dir.components().count();
        let mut gone = self.files_within(replica, dir);
        gone.retain(|at| at.components().nth(depth).is_some_and(|name| !is_dir(name)));
        gone.iter().filter_map(|at| self.set(replica, at, None)).collect()
    }

    /// Drops the rules at and below `path` on a replica: it is no directory (any more). Returns as
    /// [`Ignores::keep_only`] does.
    pub fn drop_within(&self, replica: Replica, path: &RelPath) -> Vec<RelPath> {
        let gone = self.files_within(replica, path);
        gone.iter().filter_map(|at| self.set(replica, at, None)).collect()
    }

    /// Says that a replica belongs to the sync: its (so far empty) rules count, too.
    pub fn attach(&self, replica: Replica) {
        let mut state = self.write();
        state.replicas = state.replicas.with(replica);
    }

    /// Says that these will belong to the sync.
    pub fn wait_for(&self, replicas: ReplicaSet) {
        self.write().awaited = replicas;
    }

    /// Whether more than two replicas belong to the sync, or will.
    #[must_use]
    pub fn are_of_many(&self) -> bool {
        let state = self.read();
        (state.replicas.bits() | state.awaited.bits()).count_ones() > 2
    }

    /// Says that a replica belongs to the sync no more: its rules are gone. Returns the directories to be listed again
    /// on the others: those with rules of its own, and those whose rules take back what it left out.
    pub fn detach(&self, replica: Replica) -> Vec<RelPath> {
        let mut state = self.write();
        if !state.replicas.contains(replica) {
            return Vec::new();
        }
        state.replicas =
            ReplicaSet::from_bits(state.replicas.bits() & !ReplicaSet::of(&[replica]).bits());
        let doubled = state.replicas.iter().any(|other| state.same_files(replica, other));
        let counts =
            |(r, rules): (Replica, &Rules)| r == replica || rules.globs.num_whitelists() > 0;
        let mut again: Vec<RelPath> = state
            .files
            .iter()
            .filter(|((r, _), rules)| !doubled && counts((*r, rules)))
            .map(|((_, dir), _)| dir.clone())
            .collect();
        again
            .extend(state.unread.iter().filter(|(r, _)| *r == replica).map(|(_, dir)| dir.clone()));
        state.unread.retain(|(r, _)| *r != replica);
        again.sort_unstable();
        again.dedup();
        state.files.retain(|(r, _), _| *r != replica);
        self.version.fetch_add(1, Ordering::Release);
        again
    }

    /// The rules that hold for the children of `dir`, ready to be asked many times.
    #[must_use]
    pub fn in_dir(&self, dir: &RelPath) -> DirRules {
        let state = self.read();
        let mut chains: Vec<Vec<Link>> = Vec::new();
        for replica in state.replicas.iter() {
            let chain = self.chain(&state, replica, dir);
            let known = chains.iter().any(|other| same_rules(other, &chain));
            if !known {
                chains.push(chain);
            }
        }
        if chains.is_empty() {
            chains.push(vec![self.options_link()]);
        }
        chains.retain(|chain| chain.iter().any(|link| !link.rules.globs.is_empty()));
        let in_repository = dir.components().any(|name| name == git::REPOSITORY);
        DirRules { dir: dir.clone(), in_repository, chains }
    }

    /// Whether `name` in `dir` is left out, and by which rule. Asks nothing about the directories above.
    #[must_use]
    pub fn matched(&self, dir: &RelPath, name: &[u8], is_dir: bool) -> Option<IgnoredBy> {
        self.in_dir(dir).matched(name, is_dir)
    }

    /// Whether `path` or a directory above it is left out, and by which rule.
    #[must_use]
    pub fn matched_or_above(&self, path: &RelPath, is_dir: bool) -> Option<IgnoredBy> {
        let mut dir = RelPath::root();
        for component in path.components() {
            let name = Name::parse(component).expect("a RelPath is made of names");
            let below = dir.join(&name);
            let here_is_dir = is_dir || below != *path;
            if let Some(by) = self.matched(&dir, component, here_is_dir) {
                return Some(by);
            }
            dir = below;
        }
        None
    }

    /// Lines and files of rules that could not be used, at most 100.
    #[must_use]
    pub fn problems(&self) -> Vec<IgnoreProblem> {
        let state = self.read();
        let all = state.files.iter().flat_map(|((replica, dir), rules)| {
            rules.problems.iter().map(|(line, reason)| IgnoreProblem {
                file: Some((*replica, ignore_file_in(dir))),
                line: *line,
                reason: reason.clone(),
            })
        });
        all.take(PROBLEMS_MAX).collect()
    }

    /// The directories at and below `dir` that have a file of rules on a replica.
    fn files_within(&self, replica: Replica, dir: &RelPath) -> Vec<RelPath> {
        let state = self.read();
        let from = (replica, dir.clone());
        let here =
            |(r, at): &&_| *r == replica && RelPath::as_bytes(at).starts_with(dir.as_bytes());
        let read = state.files.range(from.clone()..).map(|(key, _)| key).take_while(here);
        let unread = state.unread.range(from..).take_while(here);
        read.chain(unread).map(|(_, at)| at).filter(|at| at.is_within(dir)).cloned().collect()
    }

    fn chain(&self, state: &State, replica: Replica, dir: &RelPath) -> Vec<Link> {
        let mut chain = Vec::new();
        let mut at = Some(dir.clone());
        while let Some(here) = at {
            let key = (replica, here);
            if let Some(rules) = state.files.get(&key) {
                chain.push(Link {
                    rules: rules.clone(),
                    dir: key.1.clone(),
                    replica: Some(replica),
                });
            }
            at = key.1.split().map(|(parent, _)| parent);
        }
        chain.push(self.options_link());
        chain
    }

    fn options_link(&self) -> Link {
        Link { rules: self.options.clone(), dir: RelPath::root(), replica: None }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One file's rules on the way from a directory up to the root.
struct Link {
    rules: Arc<Rules>,
    dir: RelPath,
    replica: Option<Replica>,
}

fn same_rules(a: &[Link], b: &[Link]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| Arc::ptr_eq(&x.rules, &y.rules) && x.dir == y.dir)
}

/// The rules for the children of one directory, as they were when [`Ignores::in_dir`] was called.
pub struct DirRules {
    dir: RelPath,
    in_repository: bool,
    /// One for every replica whose rules differ, deepest file first.
    chains: Vec<Vec<Link>>,
}

impl DirRules {
    /// Whether the child `name` is the index of a git repository.
    #[must_use]
    pub fn is_index(&self, name: &[u8]) -> bool {
        self.in_repository
            && name == b"index"
            && Name::parse(name).is_ok_and(|name| git::is_index(&self.dir.join(&name)))
    }

    /// Whether nothing can be left out here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && !self.in_repository
    }

    /// Whether the child `name` is left out, and by which rule.
    #[must_use]
    pub fn matched(&self, name: &[u8], is_dir: bool) -> Option<IgnoredBy> {
        if self.in_repository
            && let Some(pattern) = git::transient(&self.dir, name)
        {
            return Some(IgnoredBy { pattern: pattern.to_owned(), file: None, line: ALWAYS });
        }
        #[cfg(test)]
        if has(Fault::IgnoredCarried) && !is_dir {
            return None;
        }
        self.chains.iter().find_map(|chain| self.matched_by(chain, name, is_dir))
    }

    fn matched_by(&self, chain: &[Link], name: &[u8], is_dir: bool) -> Option<IgnoredBy> {
        for link in chain {
            let below = &self.dir.as_bytes()[link.dir.as_bytes().len()..];
            let mut path = below.strip_prefix(b"/").unwrap_or(below).to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            match link.rules.globs.matched(Path::new(OsStr::from_bytes(&path)), is_dir) {
                Match::None => {}
                Match::Whitelist(_) => return None,
                Match::Ignore(glob) => {
                    return Some(IgnoredBy {
                        pattern: glob.original().to_owned(),
                        file: link.replica.map(|replica| (replica, ignore_file_in(&link.dir))),
                        line: line_of(glob.from()),
                    });
                }
            }
        }
        None
    }
}

/// The path of the file of rules in `dir`.
pub(super) fn ignore_file_in(dir: &RelPath) -> RelPath {
    dir.join(&Name::parse(IGNORE_FILE).expect("a good name"))
}

/// The matcher keeps a path with every pattern; ours is the line number.
fn line_of(from: Option<&Path>) -> u32 {
    from.and_then(Path::to_str).and_then(|line| line.parse().ok()).unwrap_or(0)
}

impl Rules {
    fn parse(text: &[u8]) -> Self {
        let hash = blake3::hash(text);
        if text.len() as u64 > IGNORE_FILE_BYTES_MAX {
            let reason = format!(
                "the file is longer than {IGNORE_FILE_BYTES_MAX} bytes, none of it is used"
            );
            let (source, globs) = (Box::default(), Gitignore::empty());
            return Self { source, text: hash, globs, problems: vec![(0, reason)] };
        }
        let source = text.into();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self { source, ..Self::compile((1..).zip(text.split(|b| *b == b'\n')), hash) }
    }

    fn compile<'t>(lines: impl Iterator<Item = (u32, &'t [u8])>, text: blake3::Hash) -> Self {
        let mut builder = GitignoreBuilder::new("");
        let mut problems = Vec::new();
        let mut count = 0;
        for (number, line) in lines {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            count += usize::from(!line.is_empty() && !line.starts_with(b"#"));
            let added = if count > LINES_MAX {
                Err(format!(
                    "more than {LINES_MAX} patterns in one file, this and the rest are not used"
                ))
            } else {
                add(&mut builder, number, line)
            };
            if let Err(reason) = added {
                problems.push((number, reason));
            }
            if problems.len() >= PROBLEMS_MAX || count > LINES_MAX {
                break;
            }
        }
        let globs = builder.build().unwrap_or_else(|error| {
            problems.push((0, format!("the patterns together are refused: {error}")));
            Gitignore::empty()
        });
        Self { source: Box::default(), text, globs, problems }
    }
}

/// Refuses a pattern that is too long to be compiled.
///
/// # Errors
/// It is longer than 4,096 bytes.
pub fn check_length(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn add(builder: &mut GitignoreBuilder, number: u32, line: &[u8]) -> Result<(), String> {
    let Ok(line) = std::str::from_utf8(line) else {
        return Err("the pattern is not UTF-8".to_owned());
    };
    let body = line.trim_end().trim_start_matches('!').trim_matches('/');
    if body.is_empty() && !line.trim_end().is_empty() {
        return Err(format!("'{line}' names nothing"));
    }
    check_length(line)?;
    let from = Some(PathBuf::from(number.to_string()));
    match builder.add_line(from, line) {
        Ok(_) => Ok(()),
        Err(ignore::Error::Glob { err, .. }) => Err(format!("'{line}' is no pattern: {err}")),
        Err(error) => Err(format!("'{line}' is no pattern: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    fn rules(text: &[u8]) -> Ignores {
        let rules = Ignores::new(&[], false).unwrap();
        rules.attach(Replica::SOURCE);
        drop(rules.set(Replica::SOURCE, &RelPath::root(), Some(text)));
        rules
    }

    #[test]
    fn whatever_is_almost_a_file_of_rules_ignores_by_a_line_of_it_or_says_what_is_wrong() {
        let path = RelPath::parse(b"a/b/keep.o").unwrap();
        for text in mutations(b"\xef\xbb\xbf/a/\n!k[!a-c]*.o\r\n**/{b,c}\n\\#\\ ") {
            let lines = text.split(|b| *b == b'\n').count();
            let rules = rules(&text);
            let problems = rules.problems().into_iter().map(|problem| problem.line);
            let by = rules.matched_or_above(&path, false).map(|by| by.line);
            for line in problems.chain(by) {
                assert!((1..=lines).contains(&(line as usize)), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn a_pattern_that_no_stack_is_large_enough_for_is_a_problem() {
        let path = RelPath::parse(b"a").unwrap();
        // The deepest one that is tried at all: refused, with a stack to spare.
        let deepest = PATTERN_BYTES_MAX / 2 - 1;
        for (depth, line) in [(deepest, 0), (200_000, 1)] {
            let braces = [vec![b'{'; depth], vec![b'a'], vec![b'}'; depth]].concat();
            let rules = rules(&[&braces[..], b"\na\n"].concat());
            assert_eq!(rules.problems().iter().map(|p| p.line).collect::<Vec<_>>(), [line]);
            let other_line_counts = rules.matched_or_above(&path, false).is_some();
            assert_eq!(other_line_counts, line == 1);
        }
    }
}
