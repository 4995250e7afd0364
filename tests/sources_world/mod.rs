//! Real directories, looked at by sources, and what they say about them so far.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use yeet::dataflow::model::fact::Fact;
use yeet::dataflow::model::path::{Name, RelPath};
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Digest, Value};
use yeet::sources::Sources;
use yeet::sources::ignores::Ignores;
use yeet::sources::scan::pool::{Scanner, Seen};
use yeet::sources::stat_cache::StatCache;
use yeet::sys::Root;

/// Longer than any machine should take, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(20);

pub const SOURCE: Replica = Replica::SOURCE;

pub fn leaf() -> Replica {
    Replica::leaf(1).unwrap()
}

pub fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

pub fn digest(content: &[u8]) -> Digest {
    Digest(*blake3::hash(content).as_bytes())
}

/// What the facts so far add up to.
#[derive(Default)]
pub struct Known {
    pub values: BTreeMap<(Replica, RelPath), Value>,
    pub listed: BTreeSet<(Replica, RelPath)>,
    pub seen: Vec<Seen>,
}

impl Known {
    fn tell(&mut self, fact: Fact) {
        match fact {
            Fact::Listed { replica, dir, children } => {
                let names: BTreeSet<Name> = children.iter().map(|(name, _)| name.clone()).collect();
                let gone: Vec<RelPath> = self
                    .values
                    .keys()
                    .filter(|(r, p)| {
                        *r == replica
                            && p.split().is_some_and(|(d, n)| d == dir && !names.contains(&n))
                    })
                    .map(|(_, p)| p.clone())
                    .collect();
                gone.iter().for_each(|path| self.hold(replica, path, None));
                for (name, value) in children {
                    self.hold(replica, &dir.join(&name), Some(value));
                }
                self.listed.insert((replica, dir));
            }
            Fact::Holds { replica, path, value } => self.hold(replica, &path, value),
            Fact::Unlisted { replica, dir } => {
                self.listed.retain(|(r, d)| *r != replica || !d.is_within(&dir));
            }
            Fact::Means { .. } => {}
            Fact::Agreed { .. } | Fact::Past { .. } | Fact::Yields { .. } => {
                panic!("not a source's to say")
            }
        }
    }

    fn hold(&mut self, replica: Replica, path: &RelPath, value: Option<Value>) {
        if !value.is_some_and(|value| value.is_dir()) {
            self.values.retain(|(r, p), _| *r != replica || !p.is_within(path));
            self.listed.retain(|(r, d)| *r != replica || !d.is_within(path));
        }
        if let Some(value) = value {
            self.values.insert((replica, path.clone()), value);
        }
    }

    pub fn at(&self, replica: Replica, text: &str) -> Option<Value> {
        self.values.get(&(replica, path(text))).copied()
    }

    pub fn digest(&self, replica: Replica, text: &str) -> Option<Digest> {
        self.at(replica, text).and_then(|value| value.digest())
    }

    pub fn is_listed(&self, replica: Replica, text: &str) -> bool {
        self.listed.contains(&(replica, path(text)))
    }

    /// All paths a replica holds, as text.
    pub fn paths(&self, replica: Replica) -> Vec<String> {
        let own = self.values.keys().filter(|(r, _)| *r == replica);
        own.map(|(_, path)| format!("{path:?}")).collect()
    }
}

/// Makes this thread, and those it starts, obey permissions even when run by root.
pub fn obey_permissions() {
    use rustix::thread::CapabilitySet;
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    rustix::thread::set_capabilities(None, sets).unwrap();
}

pub const SCANNERS: usize = 3;

/// Runs the test of this name again in a process of its own. True there: the test is to go on.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("YEET_TEST_ALONE").is_some_and(|name| name == test) {
        return true;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let out = child.args(["--exact", test]).env("YEET_TEST_ALONE", test).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    false
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub sources: Sources,
    pub cache: Arc<StatCache>,
    pub known: Known,
    seen: Receiver<Seen>,
    flushes: u64,
}

pub struct Options {
    pub patterns: Vec<String>,
    pub vcs: bool,
    pub watch: bool,
    pub cache: Arc<StatCache>,
}

impl Default for Options {
    fn default() -> Self {
        Self { patterns: vec![], vcs: false, watch: true, cache: Arc::new(StatCache::in_memory()) }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    /// A source and a leaf, `source` and `leaf` in a temporary directory, both empty and not scanned yet.
    pub fn with(options: Options) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), options)
    }

    pub fn in_dir(dir: tempfile::TempDir, options: Options) -> Self {
        let (sender, seen) = channel();
        let sender = Mutex::new(sender);
        let sink = Arc::new(move |seen| drop(sender.lock().unwrap().send(seen)));
        let scanner = Arc::new(Scanner::start(SCANNERS).unwrap());
        let ignores = Arc::new(Ignores::new(&options.patterns, options.vcs).unwrap());
        let cache = options.cache.clone();
        let make = if options.watch { Sources::watching } else { Sources::unwatched };
        let sources = make(scanner, 1, ignores, cache.clone(), sink);
        for (replica, name) in [(SOURCE, "source"), (leaf(), "leaf")] {
            let root = dir.path().join(name);
            fs::create_dir_all(&root).unwrap();
            sources.attach(replica, Arc::new(Root::open(&root).unwrap())).unwrap();
        }
        Self { dir, sources, cache, known: Known::default(), seen, flushes: 0 }
    }

    pub fn source(&self, text: &str) -> PathBuf {
        self.dir.path().join("source").join(text)
    }

    pub fn leaf(&self, text: &str) -> PathBuf {
        self.dir.path().join("leaf").join(text)
    }

    pub fn write(&self, text: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source(text);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Waits for a report.
    pub fn next(&mut self) -> Seen {
        let seen = self.seen.recv_timeout(PATIENCE).expect("something is reported");
        if let Seen::Facts(facts) = &seen {
            facts.iter().for_each(|fact| self.known.tell(fact.clone()));
        }
        self.known.seen.push(seen.clone());
        seen
    }

    /// Scans both replicas whole.
    pub fn scan(&mut self) {
        for replica in [SOURCE, leaf()] {
            let scan = self.sources.scan(replica, &RelPath::root()).unwrap();
            while self.next() != (Seen::Done { replica, scan }) {}
        }
        self.settle();
    }

    /// Waits until all that happened so far has been looked at.
    pub fn settle(&mut self) {
        self.flushes += 1;
        if self.sources.flush(self.flushes) {
            while self.next() != (Seen::Flushed { number: self.flushes }) {}
        }
        while !self.sources.is_quiet() {
            drop(self.next());
        }
        while let Ok(seen) = self.seen.try_recv() {
            if let Seen::Facts(facts) = &seen {
                facts.iter().for_each(|fact| self.known.tell(fact.clone()));
            }
            self.known.seen.push(seen);
        }
    }

    /// Waits, without asking for anything, until what is known is as wanted.
    pub fn wait_until(&mut self, wanted: impl Fn(&Known) -> bool) {
        while !wanted(&self.known) {
            drop(self.next());
        }
    }

    /// What is on disk, as text: kind, and content of files and links.
    pub fn on_disk(&self, replica: Replica) -> BTreeMap<String, String> {
        let root = if replica == SOURCE { self.source("") } else { self.leaf("") };
        let mut found = BTreeMap::new();
        walk(&root, &root, &mut found);
        found
    }

    /// What is known, in the same form; content that is not read yet is looked up on disk.
    pub fn as_known(&self, replica: Replica) -> BTreeMap<String, String> {
        let own = self.known.values.iter().filter(|((r, _), _)| *r == replica);
        own.map(|((_, path), value)| {
            let text = match value {
                Value::Dir { .. } => "dir".to_owned(),
                Value::Symlink { target, .. } => format!("link {target}"),
                Value::File(file) => match file.content.digest() {
                    Some(digest) => format!("file {digest}"),
                    None => format!("unread {}", file.size),
                },
                other @ (Value::Ignored
                | Value::Skipped(_)
                | Value::Unreadable { .. }
                | Value::Remnant) => format!("{other:?}"),
            };
            (format!("{path:?}"), text)
        })
        .collect()
    }
}

fn walk(root: &Path, dir: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let relative =
            path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        let text = if kind.is_dir() {
            walk(root, &path, found);
            "dir".to_owned()
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            format!("link {}", digest(target.as_os_str().as_bytes()))
        } else {
            format!("file {}", digest(&fs::read(&path).unwrap()))
        };
        found.insert(relative, text);
    }
}
