//! A replica on the agent's machine, from when it is opened until its stream ends.
//!
//! Holds: its root is locked for its owner until the last act on it has ended; what is seen is told in the order in which it
//! was seen, and that nothing is left to look at only after all that was asked.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::chores::{Chore, Chores};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::Digest;
use crate::places::Places;
use crate::sinks::apply::KnownDigests;
use crate::sinks::stage::Store;
use crate::sinks::transfer::Site;
use crate::sources::Sources;
use crate::sources::control::sign::Sign;
use crate::sources::far::page::Last;
use crate::sources::far::tell::Telling;
use crate::sources::far::wire::{ASK_MAX, Ask, Open, Opened, Refusal, Told};
use crate::sources::ignores::Ignores;
use crate::sources::scan::pool::{Scanner, Seen};
use crate::sources::stat_cache::StatCache;
use crate::ssh::link::Broken;
use crate::ssh::talk::{Incoming, Outgoing};
use crate::sys::{self, Holder, Identity, Lock, LockError, Root, RootError, Stat};

use super::door::{Door, Way};

/// How long an agent that is ended may take to be gone.
const EVICTION_MAX: Duration = Duration::from_secs(5);
/// Threads that look at a replica.
const SCANNERS: usize = 2;
/// Each replica has a scanner of its own, which knows this sync alone.
const SYNC: u32 = 1;

/// An opened replica: what acts on it needs.
pub(super) struct Served {
    pub(super) site: Site,
    pub(super) digests: Cached,
    _lock: Option<Lock>,
}

/// What is known about this replica's files without reading them.
pub(super) struct Cached {
    cache: Arc<StatCache>,
    grain_ns: i64,
    are_wanted: bool,
    /// A one-shot copy has no use later for what it reads.
    remembers: bool,
}

impl KnownDigests for Cached {
    fn digest(&self, stat: &Stat) -> Option<Digest> {
        self.cache.lookup(stat)
    }

    fn record(&self, stat: &Stat, digest: Digest, since_ns: i64) {
        if self.remembers {
            self.cache.record(stat, digest, since_ns, self.grain_ns);
        }
    }

    fn are_wanted(&self) -> bool {
        self.are_wanted
    }
}

impl Served {
    /// Opens what is asked for.
    pub(super) fn open(asked: &Open) -> Result<(Self, Opened), Refusal> {
        let path = located(&asked.path, asked.make)?;
        let mut root = match Root::open(&path) {
            Ok(root) => root,
            Err(RootError::Missing { .. }) => return Err(Refusal::Missing),
            Err(RootError::NotADirectory { .. }) if asked.identity != Identity::default() => {
                return Err(Refusal::Replaced);
            }
            Err(error) => return Err(Refusal::Other(error.to_string())),
        };
        if asked.identity != Identity::default() && !root.identity().is_same(&asked.identity) {
            return Err(Refusal::Replaced);
        }
        let other = |error: io::Error| Refusal::Other(error.to_string());
        root.prepare().map_err(other)?;
        // What is only looked for is given back at once, to whoever looked for it.
        let lock = match asked.owner.is_empty() {
            true => None,
            false => lock(&root, asked)?.filter(|_| asked.lasting),
        };
        if asked.lasting {
            root.settle_unknown(&asked.identity).map_err(other)?;
        }
        let store = match asked.lasting {
            true => Store::open(&root, &asked.store),
            false => Store::open_unwatched(&root, &asked.store),
        };
        let store = match store {
            Ok(store) => Ok(store),
            Err(error) if root.caps().read_only => Err(error.raw_os_error().unwrap_or(libc::EROFS)),
            Err(error) => return Err(other(error)),
        };
        let opened = Opened {
            path: path.as_os_str().as_bytes().to_vec(),
            identity: root.identity(),
            unwritable: store.as_ref().err().copied(),
            boot: sys::boot_id(),
            reached: store.as_ref().ok().map(Store::reached),
        };
        if let Some(store) = store.as_ref().ok().filter(|_| asked.lasting) {
            store.begin_marks();
        }
        let cache = Arc::new(match cache_file(asked, &opened.identity) {
            Some(file) => StatCache::open(&file),
            None => StatCache::in_memory(),
        });
        let grain_ns = root.grain_ns();
        let (are_wanted, remembers) = (!asked.trust_times, asked.lasting);
        let digests = Cached { cache, grain_ns, are_wanted, remembers };
        let site = Site { root: Arc::new(root), store };
        Ok((Self { site, digests, _lock: lock }, opened))
    }

    /// Looks at it as it is asked to, until whoever asks ends.
    pub(super) fn run(
        self: &Arc<Self>,
        asked: &Open,
        (mut incoming, outgoing): (Incoming, Arc<Outgoing>),
        way: Way,
    ) -> Result<(), Broken> {
        let scanner = Arc::new(Scanner::start(SCANNERS).map_err(failed)?);
        let chores = Chores::start(outgoing.clone(), self.digests.cache.clone()).map_err(failed)?;
        let mut looking = Looking::begin(self.clone(), asked, scanner, (outgoing, chores), way)?;
        while let Some(bytes) = incoming.message(ASK_MAX)? {
            looking.hear(bytes)?;
        }
        looking.end();
        Ok(())
    }
}

fn failed(why: impl ToString) -> Broken {
    Broken::Garbled(why.to_string())
}

/// Takes the root. An agent that has it for the same replica of the same daemon has lost its connection, if it knows that or
/// not: it ends.
fn lock(root: &Root, asked: &Open) -> Result<Option<Lock>, Refusal> {
    #[cfg(test)]
    if sys::sim::maybe(|_| ()).is_some() {
        // Whoever drives it lets nobody in before that.
        return Ok(None);
    }
    let holder = Holder { errand: Some(asked.errand), agent: Some(std::process::id()) };
    let until = sys::now() + EVICTION_MAX;
    let mut is_ended = false;
    loop {
        match root.lock(&asked.owner, holder) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Owned { owner, holder: by, .. }) => {
                let is_ours = by.errand == holder.errand && by.agent != holder.agent;
                is_ended |=
                    (is_ours || asked.take_over) && by.agent.is_some_and(|agent| root.evict(agent));
                if !is_ended || sys::now() > until {
                    return Err(Refusal::Owned(owner));
                }
                // The kernel gives back what it had once it has gone.
                sys::pause(Duration::from_millis(5));
            }
            Err(error @ LockError::Io { .. }) => return Err(Refusal::Other(error.to_string())),
        }
    }
}

/// An open replica that is looked at.
pub(super) struct Looking {
    /// First: who is let in is let in to a replica that is looked at.
    door: Option<Door>,
    served: Arc<Served>,
    scanner: Arc<Scanner>,
    ignores: Arc<Ignores>,
    sources: Arc<Sources>,
    sees: Sees,
    own: Replica,
    owner: String,
    store: String,
    lasting: bool,
    way: Way,
    is_put_away: bool,
    last: Last,
}

impl Looking {
    pub(super) fn begin(
        served: Arc<Served>,
        asked: &Open,
        scanner: Arc<Scanner>,
        (outgoing, chores): (Arc<Outgoing>, Chores),
        way: Way,
    ) -> Result<Self, Broken> {
        let ignores = Arc::new(Ignores::new(&asked.ignore, asked.ignore_vcs).map_err(failed)?);
        let own = asked.replica;
        let sees = Sees::new(own, outgoing, chores);
        let sink = {
            let sees = sees.clone();
            Arc::new(move |seen| sees.tell(seen))
        };
        let (cache, rules) = (served.digests.cache.clone(), ignores.clone());
        let make = if asked.lasting { Sources::watching } else { Sources::unwatched };
        let sources = Arc::new(make(scanner.clone(), SYNC, rules, cache, sink));
        // Only now are there any to be quiet.
        sees.attend(&sources);
        let told = sees.clone();
        ignores.listen(Box::new(move |replica, dir, text, _| {
            if replica == own {
                let (dir, text) = (dir.clone(), text.map(<[u8]>::to_vec));
                told.say(Told::Rules { dir, text });
            }
        }));
        sources.attach(own, served.site.root.clone()).map_err(failed)?;
        let (owner, store, lasting) = (asked.owner.clone(), asked.store.clone(), asked.lasting);
        let (door, is_put_away, last) = (None, false, Last::default());
        Ok(Self {
            served,
            scanner,
            ignores,
            sources,
            sees,
            own,
            owner,
            store,
            lasting,
            way,
            door,
            is_put_away,
            last,
        })
    }

    /// Takes in one question.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let ask = Ask::read(bytes, &mut self.last).map_err(failed)?;
        if ask == Ask::LetIn && self.door.is_none() {
            self.door = Door::open(&self.served.site.root, &self.way, &self.owner);
        }
        self.is_put_away |= ask == Ask::PutAway;
        self.take(ask);
        Ok(())
    }

    /// Whoever asked has ended.
    pub(super) fn end(self) {
        drop(self.door);
        let root = &self.served.site.root;
        if self.is_put_away {
            Sign::take_down(root);
        }
        self.sources.detach(self.own);
        if !self.lasting {
            root.tidy(&self.store);
        }
        drop(self.served.digests.cache.flush());
    }

    /// What looks for it on a simulated machine, and is told what a watcher would say.
    #[cfg(test)]
    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    #[cfg(test)]
    pub(super) fn scanner(&self) -> &Scanner {
        &self.scanner
    }

    fn take(&self, ask: Ask) {
        let (sources, own) = (&*self.sources, self.own);
        match ask {
            Ask::Scan { dir, number, known } => {
                self.sees.telling().scan(number, known);
                sources.scan_as(own, &dir, number);
            }
            Ask::List(dir) => {
                self.sees.telling().whole(dir.clone());
                sources.list(own, &dir);
            }
            Ask::Fill { dir, except } => {
                self.sees.telling().print(dir.clone());
                sources.fill(own, &dir, except);
            }
            Ask::Read(path) => sources.read(own, &path),
            Ask::Look(path) => sources.look(own, &path),
            Ask::Flush(number) => {
                self.sees.flushing();
                if !sources.flush(number) {
                    self.sees.flushed(number);
                }
                // It is counted.
                return;
            }
            Ask::Rules { replica, dir, text, again } => {
                self.ignores.attach(replica);
                let changed = self.ignores.set(replica, &dir, text.as_deref());
                // Until all is asked for nothing is listed: the rules here of what a directory is in have not been read.
                let is_due = self.sees.telling().has_begun();
                let again_in = (is_due && (changed.is_some() || again.is_some())).then_some(dir);
                self.scanner.unlist(SYNC, again_in.as_slice());
                if let Some(round) = again {
                    self.sees.say(Told::RulesTaken(round));
                }
                self.scanner.scan_again(SYNC, again_in.as_slice());
            }
            Ask::Forget(replica) => {
                let mut dirs = self.ignores.detach(replica);
                if !self.sees.telling().has_begun() {
                    dirs.clear();
                }
                self.scanner.unlist(SYNC, &dirs);
                self.scanner.scan_again(SYNC, &dirs);
            }
            // Nothing is to be looked at.
            Ask::LetIn | Ask::PutAway => {}
        }
        self.sees.asked();
    }
}

/// Tells what is seen.
#[derive(Clone)]
struct Sees(Arc<Seeing>);

struct Seeing {
    own: Replica,
    outgoing: Arc<Outgoing>,
    /// Held while something is said: the order is that in which it is written.
    telling: Mutex<Telling>,
    chores: Chores,
    sources: OnceLock<Weak<Sources>>,
    asked: AtomicU64,
    /// Flushes under way: what they find is yet to be looked at.
    flushing: AtomicU64,
}

impl Sees {
    fn new(own: Replica, outgoing: Arc<Outgoing>, chores: Chores) -> Self {
        let (sources, asked, flushing) = (OnceLock::new(), AtomicU64::new(0), AtomicU64::new(0));
        let telling = Mutex::default();
        Self(Arc::new(Seeing { own, outgoing, telling, chores, flushing, sources, asked }))
    }

    fn telling(&self) -> MutexGuard<'_, Telling> {
        self.0.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attend(&self, sources: &Arc<Sources>) {
        drop(self.0.sources.set(Arc::downgrade(sources)));
    }

    fn say(&self, told: Told) {
        self.say_in(&mut self.telling(), told);
    }

    fn say_in(&self, telling: &mut Telling, told: Told) {
        let outgoing = &self.0.outgoing;
        let is_urgent = telling.is_urgent(&told);
        let said = telling.messages(told).try_for_each(|message| outgoing.bytes(&message));
        let said = said.and_then(|()| if is_urgent { outgoing.flush() } else { Ok(()) });
        if !is_urgent {
            self.0.chores.do_soon(Chore::Send);
        }
        // A connection that broke ends all of this.
        drop(said);
    }

    /// One more was taken in; whoever asked waits for the rest after it.
    fn asked(&self) {
        self.0.asked.fetch_add(1, Ordering::AcqRel);
        self.quiet_if_so();
    }

    /// A flush was taken in, and begins.
    fn flushing(&self) {
        self.0.flushing.fetch_add(1, Ordering::AcqRel);
        self.0.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// One has ended. Whoever waits for it wants to know how it stands: whether anything is left to look at goes before.
    fn flushed(&self, number: u64) {
        self.0.flushing.fetch_sub(1, Ordering::AcqRel);
        self.quiet_if_so();
        self.say(Told::Flushed(number));
    }

    /// What is begun before this looks says it again when it has ended. Nothing that is still being looked at says anything
    /// between the look and the word.
    fn quiet_if_so(&self) {
        let mut telling = self.telling();
        // In this order: a flush that is counted among the asked is known to be under way.
        let asked = self.0.asked.load(Ordering::Acquire);
        if self.0.flushing.load(Ordering::Acquire) > 0 {
            return;
        }
        let sources = self.0.sources.get().and_then(Weak::upgrade);
        if sources.is_some_and(|sources| sources.is_quiet()) {
            self.say_in(&mut telling, Told::Quiet { asked });
            self.0.chores.do_soon(Chore::Remember);
        }
    }

    fn tell(&self, seen: Seen) {
        match seen {
            Seen::Facts(facts) => self.say(Told::Facts(facts)),
            Seen::Trouble { path, trouble, .. } => self.say(Told::Trouble { path, trouble }),
            Seen::Watched { dir, .. } => self.say(Told::Watched(dir)),
            Seen::RootGone { .. } => self.say(Told::RootGone),
            Seen::Done { scan, .. } => self.say(Told::Done(scan)),
            Seen::Flushed { number } => self.flushed(number),
            Seen::Quiet { replica } if replica == self.0.own => self.quiet_if_so(),
            Seen::Same { .. } | Seen::Quiet { .. } | Seen::Away { .. } => {}
        }
    }
}

/// Where a path that was written for this machine is: from the root, or from the user's home.
fn located(written: &[u8], make: bool) -> Result<PathBuf, Refusal> {
    let written = PathBuf::from(std::ffi::OsString::from_vec(written.to_vec()));
    #[cfg(test)]
    if sys::sim::maybe(|_| ()).is_some() {
        return Ok(written);
    }
    let home = || {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        home.ok_or_else(|| Refusal::Other("the user has no home there".to_owned()))
    };
    let path = match written.strip_prefix("~") {
        Ok(rest) => home()?.join(rest),
        Err(_) if written.is_absolute() => written,
        Err(_) => home()?.join(written),
    };
    let other = |error: io::Error| Refusal::Other(error.to_string());
    if make && path.symlink_metadata().is_err() {
        std::fs::create_dir_all(&path).map_err(other)?;
    }
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Refusal::Missing),
        found => found.map_err(other),
    }
}

/// Where the digests of a lasting replica are remembered; they can be lost.
fn cache_file(asked: &Open, identity: &Identity) -> Option<PathBuf> {
    #[cfg(test)]
    if sys::sim::maybe(|_| ()).is_some() {
        return None;
    }
    let id = identity.id.filter(|_| asked.lasting)?;
    let dir = Places::from_env().ok()?.cache.join("replicas");
    std::fs::create_dir_all(&dir).ok()?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(dir.join(Path::new(&format!("{}-{id}", asked.store))))
}
