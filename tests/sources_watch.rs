//! Watching real trees: every change is noticed, by itself, whatever order it comes in.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sources_world;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use sources_world::{Options, SOURCE, World, alone, digest, leaf, obey_permissions, path};
use yeet::dataflow::model::path::RelPath;
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::Value;
use yeet::sources::ignores::Ignores;
use yeet::sources::scan::pool::{Scanner, Seen, Trouble};
use yeet::sources::stat_cache::StatCache;
use yeet::sources::tree::Tree;
use yeet::sources::watch::{Added, Hint, Watch, WatchError};
use yeet::sys::Root;

fn watched() -> World {
    let mut world = World::new();
    world.write("kept/f", "kept");
    world.scan();
    world
}

#[test]
fn a_saved_file_is_noticed_with_its_digest() {
    let mut world = watched();
    world.write("f", "abc");
    world.wait_until(|known| known.digest(SOURCE, "f") == Some(digest(b"abc")));
    world.write("f", "abcd");
    world.wait_until(|known| known.digest(SOURCE, "f") == Some(digest(b"abcd")));
    fs::write(world.leaf("g"), "on the leaf").unwrap();
    world.wait_until(|known| known.digest(leaf(), "g") == Some(digest(b"on the leaf")));
}

#[test]
fn a_rename_and_a_delete_are_noticed() {
    let mut world = watched();
    fs::rename(world.source("kept/f"), world.source("kept/g")).unwrap();
    world.wait_until(|k| k.at(SOURCE, "kept/f").is_none() && k.at(SOURCE, "kept/g").is_some());
    assert_eq!(world.known.digest(SOURCE, "kept/g"), Some(digest(b"kept")));
    fs::remove_file(world.source("kept/g")).unwrap();
    world.wait_until(|known| known.at(SOURCE, "kept/g").is_none());
}

#[test]
fn a_deep_tree_made_at_once_is_noticed_whole() {
    let mut world = watched();
    world.write("a/b/c/d/e/f", "deep");
    world.wait_until(|known| known.is_listed(SOURCE, "a/b/c/d/e"));
    world.settle();
    assert_eq!(world.as_known(SOURCE).len(), 8);
    world.write("a/b/c/d/e/g", "later");
    world.wait_until(|known| known.digest(SOURCE, "a/b/c/d/e/g").is_some());
}

#[test]
fn modes_links_and_kinds_are_noticed() {
    let mut world = watched();
    fs::set_permissions(world.source("kept/f"), fs::Permissions::from_mode(0o600)).unwrap();
    world.wait_until(|k| matches!(k.at(SOURCE, "kept/f"), Some(Value::File(f)) if f.mode == 0o600));
    fs::set_permissions(world.source("kept"), fs::Permissions::from_mode(0o700)).unwrap();
    world.wait_until(|known| known.at(SOURCE, "kept") == Some(Value::Dir { mode: 0o700 }));
    symlink("x", world.source("link")).unwrap();
    world.wait_until(|known| known.digest(SOURCE, "link") == Some(digest(b"x")));
    fs::remove_file(world.source("link")).unwrap();
    fs::create_dir(world.source("link")).unwrap();
    world.wait_until(|known| known.is_listed(SOURCE, "link"));
}

#[test]
fn a_file_held_open_and_written_to_is_noticed_without_its_close() {
    let mut world = watched();
    let mut log = fs::File::create(world.source("log")).unwrap();
    for line in 0..3 {
        log.write_all(b"line\n").unwrap();
        let content = b"line\n".repeat(line + 1);
        world.wait_until(|known| known.digest(SOURCE, "log") == Some(digest(&content)));
    }
}

#[test]
fn a_renamed_directory_is_watched_under_its_new_name() {
    let mut world = watched();
    world.write("a/b/f", "1");
    world.settle();
    fs::rename(world.source("a"), world.source("z")).unwrap();
    world.wait_until(|k| k.at(SOURCE, "a").is_none() && k.at(SOURCE, "z/b/f").is_some());
    world.settle();
    let watches = world.sources.watcher().unwrap().watches();
    assert_eq!(watches, 5, "source, kept, z, z/b, leaf");
    world.write("z/b/g", "2");
    world.wait_until(|known| known.digest(SOURCE, "z/b/g") == Some(digest(b"2")));
    fs::rename(world.source("z"), world.leaf("z")).unwrap();
    world.wait_until(|k| k.at(SOURCE, "z").is_none() && k.at(leaf(), "z/b/g").is_some());
    fs::write(world.leaf("z/b/h"), "3").unwrap();
    world.wait_until(|known| known.digest(leaf(), "z/b/h") == Some(digest(b"3")));
}

#[test]
fn two_directories_that_swap_names_are_both_right() {
    let mut world = watched();
    world.write("a/one", "1");
    world.write("b/two", "2");
    world.settle();
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, world.source("a"), cwd, world.source("b"), flags).unwrap();
    world.wait_until(|k| k.at(SOURCE, "a/two").is_some() && k.at(SOURCE, "b/one").is_some());
    world.settle();
    assert_eq!(world.known.at(SOURCE, "a/one"), None);
    world.write("a/new", "3");
    world.write("b/new", "4");
    world.wait_until(|k| k.digest(SOURCE, "a/new") == Some(digest(b"3")));
    world.wait_until(|k| k.digest(SOURCE, "b/new") == Some(digest(b"4")));
}

#[test]
fn watches_go_with_their_directories() {
    let mut world = watched();
    let before = world.sources.watcher().unwrap().watches();
    for i in 0..50 {
        world.write(&format!("tmp/{i}/f"), "x");
    }
    world.settle();
    assert_eq!(world.sources.watcher().unwrap().watches(), before + 51);
    fs::remove_dir_all(world.source("tmp")).unwrap();
    world.settle();
    assert_eq!(world.sources.watcher().unwrap().watches(), before);
    assert_eq!(world.known.paths(SOURCE), ["kept", "kept/f"]);
}

#[test]
fn new_rules_are_noticed_on_all_replicas_and_taken_back() {
    let mut world = watched();
    world.write("out/f", "1");
    fs::create_dir(world.leaf("out")).unwrap();
    world.settle();
    world.write(".yeetignore", "/out\n");
    world.wait_until(|k| [SOURCE, leaf()].iter().all(|r| k.at(*r, "out") == Some(Value::Ignored)));
    assert_eq!(world.known.at(SOURCE, "out/f"), None);
    world.write(".yeetignore", "/other\n");
    world.wait_until(|k| k.at(SOURCE, "out/f").is_some() && k.is_listed(leaf(), "out"));
    world.write(".yeetignore", "/out\n");
    world.wait_until(|k| k.at(leaf(), "out") == Some(Value::Ignored));
    fs::remove_file(world.source(".yeetignore")).unwrap();
    world.wait_until(|k| k.at(SOURCE, "out/f").is_some() && k.is_listed(leaf(), "out"));
}

#[test]
fn rules_go_with_their_directory() {
    let mut world = watched();
    world.write("a/b/.yeetignore", "*.o\n");
    fs::create_dir_all(world.leaf("a/b")).unwrap();
    fs::write(world.leaf("a/b/x.o"), "1").unwrap();
    world.settle();
    world.wait_until(|k| k.at(leaf(), "a/b/x.o") == Some(Value::Ignored));
    fs::rename(world.source("a"), world.dir.path().join("gone")).unwrap();
    world.wait_until(|k| matches!(k.at(leaf(), "a/b/x.o"), Some(Value::File(_))));
}

#[test]
fn a_directory_made_readable_is_listed() {
    obey_permissions();
    let mut world = watched();
    world.write("shut/f", "1");
    world.settle();
    fs::set_permissions(world.source("shut"), fs::Permissions::from_mode(0o000)).unwrap();
    world.settle();
    assert!(world.known.at(SOURCE, "shut/f").is_some());
    let mut world = World::in_dir(world.dir, Options::default());
    world.scan();
    assert!(!world.known.is_listed(SOURCE, "shut"));
    fs::set_permissions(world.source("shut"), fs::Permissions::from_mode(0o755)).unwrap();
    world.wait_until(|known| known.is_listed(SOURCE, "shut"));
}

#[test]
fn a_watched_directory_shut_and_opened_again_is_listed_with_all_below() {
    obey_permissions();
    for (shut, wakes) in [("a", "a/f"), ("a", "a/b/f"), ("", "a/f")] {
        let mut world = watched();
        world.write("a/f", "1");
        world.write("a/b/f", "1");
        world.settle();
        let mode = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(world.source(shut), mode(0o000)).unwrap();
        world.settle();
        world.sources.look(SOURCE, &path(wakes));
        let dir = path(wakes).split().unwrap().0;
        world.wait_until(|known| !known.listed.contains(&(SOURCE, dir.clone())));
        world.settle();
        fs::set_permissions(world.source(shut), mode(0o755)).unwrap();
        world.wait_until(|k| k.is_listed(SOURCE, "a") && k.is_listed(SOURCE, "a/b"));
    }
}

#[test]
fn a_directory_that_may_be_read_but_not_searched_is_listed_once_it_may() {
    obey_permissions();
    let mut world = watched();
    world.write("a/f", "1");
    world.settle();
    fs::set_permissions(world.source("a"), fs::Permissions::from_mode(0o444)).unwrap();
    world.settle();
    assert!(world.sources.scan(SOURCE, &path("")).is_some());
    world.wait_until(|k| matches!(k.at(SOURCE, "a/f"), Some(Value::Unreadable { .. })));
    world.settle();
    fs::set_permissions(world.source("a"), fs::Permissions::from_mode(0o755)).unwrap();
    world.wait_until(|k| matches!(k.at(SOURCE, "a/f"), Some(Value::File(_))));
}

#[test]
fn after_a_failure_that_ends_without_an_event_all_below_is_listed_again() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // The limit is the whole process's.
    if !alone("after_a_failure_that_ends_without_an_event_all_below_is_listed_again") {
        return;
    }
    for hint in [Hint::Look(path("a/f")), Hint::List(path("a"))] {
        let mut world = watched();
        world.write("a/f", "1");
        world.write("a/b/c/f", "1");
        world.settle();
        let usual = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..usual }).unwrap();
        world.sources.watcher().unwrap().inject(SOURCE, hint);
        world.wait_until(|known| !known.is_listed(SOURCE, "a/b/c"));
        setrlimit(Resource::Nofile, usual).unwrap();
        world.wait_until(|k| ["a", "a/b", "a/b/c"].iter().all(|dir| k.is_listed(SOURCE, dir)));
    }
}

#[test]
fn rules_that_cannot_be_read_change_nothing_until_they_can() {
    obey_permissions();
    let mut world = watched();
    world.write("a/b/x.o", "1");
    world.write("a/.yeetignore", "*.c\n");
    world.write("a/x.c", "1");
    world.settle();
    assert_eq!(world.known.at(SOURCE, "a/x.c"), Some(Value::Ignored));
    let new = world.dir.path().join("new");
    fs::write(&new, "*.o\n").unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o000)).unwrap();
    fs::rename(new, world.source("a/.yeetignore")).unwrap();
    let trouble = Trouble::Rules { errno: libc::EACCES };
    let told = Seen::Trouble { replica: SOURCE, path: path("a"), trouble };
    world.wait_until(|known| known.seen.contains(&told));
    world.settle();
    assert!(world.known.is_listed(SOURCE, "a") && world.known.is_listed(SOURCE, "a/b"));
    assert_eq!(world.known.at(SOURCE, "a/x.c"), Some(Value::Ignored), "the old rules hold");

    let file = world.source("a/.yeetignore");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    world.wait_until(|k| k.at(SOURCE, "a/b/x.o") == Some(Value::Ignored));
    world.wait_until(|k| matches!(k.at(SOURCE, "a/x.c"), Some(Value::File(_))));
}

#[test]
fn what_rules_leave_out_that_were_never_read_is_not_known_so_nothing_beside_them_is() {
    obey_permissions();
    let mut world = watched();
    world.write("a/b/x.o", "1");
    world.settle();
    assert!(world.known.is_listed(SOURCE, "a/b"));
    let trouble = Trouble::NoRules { errno: libc::EACCES };
    let told = Seen::Trouble { replica: SOURCE, path: path("a"), trouble };
    for rules in ["*.o\n", ""] {
        let new = world.dir.path().join("new");
        fs::write(&new, rules).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o000)).unwrap();
        let file = world.source("a/.yeetignore");
        fs::rename(new, &file).unwrap();
        world.wait_until(|known| known.seen.contains(&told));
        world.settle();
        assert!(!world.known.is_listed(SOURCE, "a") && !world.known.is_listed(SOURCE, "a/b"));
        world.known.seen.clear();
        world.sources.scan(SOURCE, &RelPath::root());
        world.wait_until(|known| known.seen.contains(&told));
        world.known.seen.clear();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let is_out = !rules.is_empty();
        world.wait_until(|k| k.is_listed(SOURCE, "a/b"));
        world.settle();
        assert_eq!(world.known.at(SOURCE, "a/b/x.o") == Some(Value::Ignored), is_out);
        fs::remove_file(&file).unwrap();
        world.wait_until(|k| matches!(k.at(SOURCE, "a/b/x.o"), Some(Value::File(_))));
    }
}

#[test]
fn the_trouble_of_unreadable_rules_is_over_when_they_are_readable_though_the_same() {
    obey_permissions();
    let mut world = watched();
    let file = world.write("a/.yeetignore", "*.c\n");
    world.settle();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let trouble = Trouble::Rules { errno: libc::EACCES };
    let told = Seen::Trouble { replica: SOURCE, path: path("a"), trouble };
    world.wait_until(|known| known.seen.contains(&told));
    world.settle();
    world.known.listed.clear();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    world.wait_until(|known| known.is_listed(SOURCE, "a"));
}

#[test]
fn a_lost_root_is_noticed() {
    let mut world = watched();
    fs::rename(world.source(""), world.dir.path().join("elsewhere")).unwrap();
    world.wait_until(|k| k.seen.contains(&Seen::RootGone { replica: SOURCE }));
    assert!(world.known.at(SOURCE, "kept/f").is_some());
}

#[test]
fn after_an_overflow_everything_is_looked_at_again() {
    let mut world = watched();
    world.write("a/b/f", "1");
    world.settle();
    // What the kernel would not have told.
    let watcher = world.sources.watcher().unwrap().clone();
    watcher.forget(SOURCE);
    fs::rename(world.source("a"), world.source("z")).unwrap();
    world.write("z/b/f", "22");
    watcher.inject(SOURCE, Hint::Overflow);
    world.wait_until(|k| k.at(SOURCE, "a").is_none() && k.is_listed(SOURCE, "z/b"));
    let unlisted =
        world.known.seen.iter().position(|seen| format!("{seen:?}").contains("Unlisted"));
    assert!(unlisted.is_some(), "nothing counts as absent until it is listed again");
    world.settle();
    assert_eq!(watcher.watches(), 5);
    world.write("z/b/g", "3");
    world.wait_until(|k| k.digest(SOURCE, "z/b/g").is_some());
}

#[test]
fn more_events_than_the_kernel_keeps_lose_nothing() {
    let (told, tells) = channel();
    let (go, wait) = channel::<()>();
    let mut held = Some(wait);
    let watcher = yeet::sources::watch::inotify::Watcher::start(move |notice| {
        // Stalls at the first hint, so that the kernel's queue runs over.
        if let Some(wait) = held.take() {
            wait.recv().unwrap_or_default();
        }
        drop(told.send(notice));
    })
    .unwrap();
    // Dropped before the watcher, which waits for its thread, even if something below fails.
    let go = go;
    let dir = tempfile::tempdir().unwrap();
    let handle = Root::open(dir.path()).unwrap().open_dir(&RelPath::root()).unwrap();
    watcher.add(SOURCE, &path(""), std::os::fd::AsFd::as_fd(&handle), &|| true).unwrap();
    for i in 0..10_000 {
        fs::write(dir.path().join(i.to_string()), "x").unwrap();
    }
    drop(go);
    watcher.flush(1);
    let told: Vec<_> =
        std::iter::from_fn(|| tells.recv_timeout(std::time::Duration::from_secs(20)).ok())
            .take_while(|notice| *notice != yeet::sources::watch::inotify::Notice::Flushed(1))
            .collect();
    assert!(told.contains(&yeet::sources::watch::inotify::Notice::Hint(SOURCE, Hint::Overflow)));
}

/// A watcher with room for so many directories.
struct Few {
    room: AtomicUsize,
    known: Mutex<BTreeSet<(Replica, RelPath)>>,
}

impl Watch for Few {
    fn add(
        &self,
        replica: Replica,
        dir: &RelPath,
        _: BorrowedFd<'_>,
        _: &dyn Fn() -> bool,
    ) -> Result<Added, WatchError> {
        let mut known = self.known.lock().unwrap();
        if known.len() >= self.room.load(Ordering::Relaxed)
            && !known.contains(&(replica, dir.clone()))
        {
            return Err(WatchError::adding(libc::ENOSPC));
        }
        known.insert((replica, dir.clone()));
        Ok(Added::New)
    }

    fn knows(&self, replica: Replica, dir: &RelPath) -> bool {
        self.known.lock().unwrap().contains(&(replica, dir.clone()))
    }
}

#[test]
fn where_the_limit_of_watches_is_reached_the_scan_goes_on_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a/b", "c/d/e", "f"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let scanner = Scanner::start(2).unwrap();
    let few = Arc::new(Few { room: AtomicUsize::new(3), known: Mutex::default() });
    let tree = Tree::new(
        SOURCE,
        Arc::new(Root::open(dir.path()).unwrap()),
        Arc::new(Ignores::new(&[], false).unwrap()),
        Arc::new(StatCache::in_memory()),
        few.clone(),
    )
    .unwrap();
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let handle =
        scanner.attach(1, tree, Arc::new(move |seen| drop(sender.lock().unwrap().send(seen))));
    let scan = handle.scan(&path(""));
    let mut listed = 0;
    let mut unwatched = Vec::new();
    loop {
        match seen.recv_timeout(std::time::Duration::from_secs(20)).unwrap() {
            Seen::Done { scan: done, .. } if done == scan => break,
            Seen::Facts(facts) => listed += facts.len(),
            Seen::Trouble { path, trouble: Trouble::Unwatched(error), .. } => {
                assert!(
                    error.to_string().contains("sysctl fs.inotify.max_user_watches="),
                    "{error}"
                );
                unwatched.push(format!("{path:?}"));
            }
            Seen::Same { .. }
            | Seen::Trouble { .. }
            | Seen::Watched { .. }
            | Seen::RootGone { .. } => {
                panic!("nothing else is wrong")
            }
            Seen::Done { .. } | Seen::Quiet { .. } | Seen::Flushed { .. } | Seen::Away { .. } => {}
        }
    }
    assert_eq!(listed, 7, "every directory");
    assert!(!unwatched.is_empty() && unwatched.len() < 4, "the highest ones: {unwatched:?}");

    // The limit is raised, and the next listing of what is not watched puts that right.
    few.room.store(100, Ordering::Relaxed);
    for dir in &unwatched {
        handle.hint(Hint::List(path(dir)));
    }
    while !unwatched.is_empty() {
        let seen = seen.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        if let Seen::Watched { dir, .. } = seen {
            unwatched.retain(|other| path(other) != dir);
        }
    }
    while handle.outstanding() > 0 {
        drop(seen.recv_timeout(std::time::Duration::from_secs(20)).unwrap());
    }
    assert_eq!(few.known.lock().unwrap().len(), 7, "and what is below");
}

#[test]
fn reading_files_wakes_nobody() {
    // The threads of other tests must not be counted.
    if !alone("reading_files_wakes_nobody") {
        return;
    }
    let mut world = watched();
    world.settle();
    let before = wakes_at_rest();
    for _ in 0..100 {
        drop(fs::read(world.source("kept/f")).unwrap());
        assert!(fs::read_dir(world.source("kept")).unwrap().count() > 0);
    }
    assert_eq!(wakes(), before);
}

/// The threads of sources, as folders of `/proc`.
fn threads() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path()).filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.starts_with("watch") || name.starts_with("scan-")
    })
}

fn is_asleep(thread: &Path) -> bool {
    // The kernel names where it sleeps; "0" while it runs.
    fs::read_to_string(thread.join("wchan")).unwrap() != "0"
}

/// The wakes once every thread is asleep: who told that all is settled may still have to lie down.
fn wakes_at_rest() -> u64 {
    loop {
        let before = wakes();
        // Twice: a thread found asleep may have been woken by one that was looked at after it.
        let asleep = (0..2).all(|_| threads().all(|thread| is_asleep(&thread)));
        // A thread has its name only once it has begun.
        let all_begun = threads().count() == 1 + sources_world::SCANNERS;
        if all_begun && asleep && wakes() == before {
            return before;
        }
        std::thread::yield_now();
    }
}

/// How often the threads of sources were switched to.
fn wakes() -> u64 {
    let of = |thread: PathBuf| -> u64 {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        counts.map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
    };
    threads().map(of).sum()
}

/// A small generator with a printed seed: the same seed makes the same changes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn name(&mut self) -> String {
        let depth = self.roll(3) + 1;
        let names: Vec<String> = (0..depth).map(|_| format!("{}", self.roll(4))).collect();
        names.join("/")
    }
}

/// Does something to a tree; what fails (no such parent, not empty) fails.
fn disturb(world: &World, dice: &mut Dice) {
    let side = dice.roll(2);
    let at = |text: &str| {
        if side == 0 { world.source(text) } else { world.leaf(text) }
    };
    let (one, two) = (at(&dice.name()), at(&dice.name()));
    let content = dice.roll(1000).to_string();
    let _may_fail = match dice.roll(9) {
        0..=2 => fs::write(one, content),
        3 => fs::create_dir_all(one),
        4 => fs::rename(one, two),
        5 => fs::remove_file(one),
        6 => fs::remove_dir_all(one),
        7 => symlink(content, one),
        _ => {
            let cwd = rustix::fs::CWD;
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(cwd, one, cwd, two, flags).map_err(Into::into)
        }
    };
}

#[test]
fn d29_whatever_happens_in_whatever_order_what_is_known_is_what_is_there() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let first = seed.unwrap_or(1);
    let rounds = if seed.is_some() { 1 } else { 12 };
    for seed in first..first + rounds {
        println!("SEED={seed}");
        let mut dice = Dice(seed);
        let mut world = World::new();
        for _ in 0..dice.roll(60) {
            disturb(&world, &mut dice);
        }
        // Changes go on while the first scan runs.
        for replica in [SOURCE, leaf()] {
            assert!(world.sources.scan(replica, &RelPath::root()).is_some());
        }
        for step in 0..4 {
            for _ in 0..150 {
                disturb(&world, &mut dice);
            }
            world.settle();
            for replica in [SOURCE, leaf()] {
                let mut known = world.as_known(replica);
                let there = world.on_disk(replica);
                for (path, text) in &mut known {
                    // Files found by a scan are not read; then there is only their being there to compare.
                    if text.starts_with("unread")
                        && let Some(real) = there.get(path)
                    {
                        assert!(real.starts_with("file"), "SEED={seed}");
                        text.clone_from(real);
                    }
                }
                assert_eq!(known, there, "SEED={seed}, step {step}, {replica:?}");
            }
        }
    }
}
