//! Scanning real trees: what is said about what is there, what is not, and what cannot be seen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sources_world;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use sources_world::{Known, Options, SOURCE, World, digest, leaf, obey_permissions, path};
use yeet::dataflow::model::fact::Fact;
use yeet::dataflow::model::replica::Replica;
use yeet::dataflow::model::value::{Special, Value};
use yeet::sources::scan::pool::{Seen, Trouble};
use yeet::sources::stat_cache::StatCache;

fn still() -> Options {
    Options { watch: false, ..Options::default() }
}

#[test]
fn every_kind_of_object_is_named() {
    let mut world = World::with(still());
    world.write("a/file", "abc");
    world.write("a/empty", "");
    fs::create_dir(world.source("a/dir")).unwrap();
    fs::set_permissions(world.source("a/dir"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("no/where", world.source("link")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(world.source("fifo")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(world.source("socket")).unwrap();
    world.scan();
    let known = &world.known;
    assert_eq!(known.paths(SOURCE), ["a", "a/dir", "a/empty", "a/file", "fifo", "link", "socket"]);
    let Some(Value::File(file)) = known.at(SOURCE, "a/file") else {
        panic!("{:?}", known.at(SOURCE, "a/file"));
    };
    assert_eq!((file.size, file.content.digest()), (3, None), "a scan reads nothing");
    assert_eq!(known.at(SOURCE, "a/dir"), Some(Value::Dir { mode: 0o700 }));
    assert_eq!(known.at(SOURCE, "fifo"), Some(Value::Skipped(Special::Fifo)));
    assert_eq!(known.at(SOURCE, "socket"), Some(Value::Skipped(Special::Socket)));
    assert_eq!(
        known.at(SOURCE, "link"),
        Some(Value::Symlink { target: digest(b"no/where"), len: 8 })
    );
    for dir in ["", "a", "a/dir"] {
        assert!(known.is_listed(SOURCE, dir), "{dir}");
    }
}

#[test]
fn odd_names_are_names() {
    use std::os::unix::ffi::OsStrExt;
    let mut world = World::with(still());
    let long = "x".repeat(255);
    for name in [&b"\xff\xfe"[..], b"new\nline", b"-rf", b"..more", long.as_bytes(), b" "] {
        fs::write(world.source("").join(std::ffi::OsStr::from_bytes(name)), b"").unwrap();
    }
    world.scan();
    assert_eq!(world.known.paths(SOURCE).len(), 6);
}

#[test]
fn our_own_directory_is_never_named_at_the_root_and_is_plain_anywhere_else() {
    let mut world = World::with(still());
    world.write(".yeet/id", "x");
    world.write("a/.yeet/id", "x");
    world.scan();
    assert_eq!(world.known.paths(SOURCE), ["a", "a/.yeet", "a/.yeet/id"]);
}

#[test]
fn a_digest_once_taken_is_known_to_the_next_scan_and_after_a_restart() {
    let file = tempfile::tempdir().unwrap();
    let cache = Arc::new(StatCache::open(&file.path().join("cache")));
    let mut world = World::with(Options { cache, ..still() });
    world.write("f", "abc");
    world.scan();
    rest();
    world.sources.read(SOURCE, &path("f"));
    world.settle();
    assert_eq!(world.known.digest(SOURCE, "f"), Some(digest(b"abc")));
    world.scan();
    assert_eq!(world.known.digest(SOURCE, "f"), Some(digest(b"abc")));
    world.cache.flush().unwrap();
    let cache = Arc::new(StatCache::open(&file.path().join("cache")));
    let mut world = World::in_dir(world.dir, Options { cache, ..still() });
    world.scan();
    assert_eq!(world.known.digest(SOURCE, "f"), Some(digest(b"abc")));
}

/// Lets the clock of file times tick, so that what is read from now on is remembered.
fn rest() {
    use std::os::unix::fs::MetadataExt;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut written_at = || {
        std::io::Write::write_all(&mut file, b"x").unwrap();
        let meta = file.as_file().metadata().unwrap();
        meta.ctime() * 1_000_000_000 + meta.ctime_nsec()
    };
    let first = written_at();
    while written_at() < first + 25_000_000 {}
}

#[test]
fn an_edit_of_the_same_size_with_the_mtime_put_back_is_seen() {
    let mut world = World::with(still());
    let file = world.write("f", "abc");
    rest();
    world.sources.read(SOURCE, &path("f"));
    world.settle();
    world.scan();
    assert_eq!(world.known.digest(SOURCE, "f"), Some(digest(b"abc")));
    let mtime = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "xyz").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(mtime).unwrap();
    world.scan();
    assert_eq!(world.known.digest(SOURCE, "f"), None, "it must be read again");
    world.sources.read(SOURCE, &path("f"));
    world.settle();
    assert_eq!(world.known.digest(SOURCE, "f"), Some(digest(b"xyz")));
}

#[test]
fn a_scan_asserts_what_is_gone() {
    let mut world = World::with(still());
    world.write("a/b/c", "1");
    world.write("a/d", "1");
    world.scan();
    fs::remove_dir_all(world.source("a/b")).unwrap();
    world.scan();
    assert_eq!(world.known.paths(SOURCE), ["a", "a/d"]);
}

#[test]
fn a_directory_that_cannot_be_read_is_not_an_absence() {
    obey_permissions();
    let mut world = World::with(still());
    world.write("a/f", "1");
    world.write("b/f", "1");
    world.scan();
    fs::set_permissions(world.source("a"), fs::Permissions::from_mode(0o000)).unwrap();
    world.scan();
    fs::set_permissions(world.source("a"), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(world.known.at(SOURCE, "a/f").is_some());
    assert!(!world.known.is_listed(SOURCE, "a"));
    assert!(world.known.is_listed(SOURCE, "b"));
    let trouble = Trouble::Unlistable { errno: 13 };
    assert!(world.known.seen.contains(&Seen::Trouble {
        replica: SOURCE,
        path: path("a"),
        trouble
    }));
}

#[test]
fn a_root_that_is_gone_or_replaced_says_nothing() {
    for replaced in [false, true] {
        let mut world = World::with(still());
        world.write("a/f", "1");
        world.scan();
        fs::rename(world.source(""), world.dir.path().join("elsewhere")).unwrap();
        if replaced {
            fs::create_dir(world.source("")).unwrap();
        }
        world.known.seen.clear();
        for dir in ["", "a"] {
            assert!(world.sources.scan(SOURCE, &path(dir)).is_some());
            world.sources.look(SOURCE, &path("a/f"));
            world.sources.look(SOURCE, &path("a/g"));
        }
        world.settle();
        assert!(world.known.seen.contains(&Seen::RootGone { replica: SOURCE }));
        let facts = world.known.seen.iter().filter(|seen| matches!(seen, Seen::Facts(_)));
        assert_eq!(facts.count(), 0);
        assert!(world.known.at(SOURCE, "a/f").is_some());
    }
}

#[test]
fn the_first_files_come_before_the_scan_is_through() {
    let mut world = World::with(still());
    for dir in 0..50 {
        for file in 0..20 {
            world.write(&format!("d{dir:02}/f{file}"), "x");
        }
    }
    world.scan();
    let facts: Vec<_> =
        world.known.seen.iter().filter(|seen| matches!(seen, Seen::Facts(_))).collect();
    assert_eq!(facts.len(), 52, "one for each directory");
    let Seen::Facts(first) = facts[0] else { unreachable!() };
    assert!(matches!(&first[0], Fact::Listed { dir, .. } if dir.is_root()));
}

#[test]
fn a_scan_of_a_part_leaves_the_rest_alone() {
    let mut world = World::with(still());
    world.write("a/f", "1");
    world.write("b/f", "1");
    assert!(world.sources.scan(SOURCE, &path("a")).is_some());
    world.settle();
    assert_eq!(world.known.paths(SOURCE), ["a/f"]);
    assert!(world.sources.scan(SOURCE, &path("gone/deep")).is_some());
    world.settle();
    let told = Seen::Facts(vec![Fact::Holds { replica: SOURCE, path: path("gone"), value: None }]);
    assert!(world.known.seen.contains(&told), "{:?}", world.known.seen);
}

#[test]
fn a_file_where_a_directory_was_has_nothing_below() {
    let mut world = World::with(still());
    world.write("a/b/f", "1");
    world.scan();
    fs::remove_dir_all(world.source("a")).unwrap();
    world.write("a", "now a file");
    assert!(world.sources.scan(SOURCE, &path("a/b")).is_some());
    world.settle();
    assert_eq!(world.known.paths(SOURCE), ["a"]);
    assert_eq!(world.known.digest(SOURCE, "a"), Some(digest(b"now a file")));
}

#[test]
fn what_is_ignored_is_named_but_not_entered() {
    let mut world = World::with(Options { patterns: vec!["*.o".into()], vcs: true, ..still() });
    world.write("src/x.c", "1");
    world.write("src/x.o", "1");
    world.write("src/.yeetignore", "/out/\n");
    world.write("src/out/deep/f", "1");
    world.write(".git/config", "1");
    fs::create_dir_all(world.leaf("src/out")).unwrap();
    world.scan();
    let known = &world.known;
    assert_eq!(
        known.paths(SOURCE),
        [".git", "src", "src/.yeetignore", "src/out", "src/x.c", "src/x.o"]
    );
    for ignored in [".git", "src/out", "src/x.o"] {
        assert_eq!(known.at(SOURCE, ignored), Some(Value::Ignored), "{ignored}");
    }
    assert_eq!(
        known.at(leaf(), "src/out"),
        Some(Value::Ignored),
        "the source's rules hold on the leaf"
    );
}

#[test]
fn an_unchanged_directory_costs_no_second_listing_when_both_replicas_have_the_same_rules() {
    let mut world = World::with(still());
    for root in [world.source(""), world.leaf("")] {
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join(".yeetignore"), "*.o\n").unwrap();
    }
    world.scan();
    let is_listing = |fact: &&Fact| matches!(fact, Fact::Listed { .. });
    let facts = world.known.seen.iter().filter_map(|seen| match seen {
        Seen::Facts(facts) => Some(facts.iter()),
        Seen::Same { .. }
        | Seen::Trouble { .. }
        | Seen::Watched { .. }
        | Seen::RootGone { .. }
        | Seen::Done { .. }
        | Seen::Quiet { .. }
        | Seen::Flushed { .. }
        | Seen::Away { .. } => None,
    });
    let listings = facts.flatten().filter(is_listing).count();
    assert!(listings <= 6, "{listings} for four directories");
}

#[test]
fn d15_what_was_said_before_the_rules_changed_is_taken_back_before_they_are_followed() {
    for by_look in [false, true] {
        let mut world = World::with(still());
        world.write("dir/x.o", "1");
        fs::create_dir(world.leaf("dir")).unwrap();
        fs::write(world.leaf("dir/x.o"), "1").unwrap();
        world.scan();
        world.write(".yeetignore", "*.o\n");
        fs::remove_file(world.source("dir/x.o")).unwrap();
        if by_look {
            world.sources.look(SOURCE, &path(".yeetignore"));
            while !matches!(world.next(), Seen::Facts(facts) if holds(&facts, ".yeetignore")) {}
        } else {
            assert!(world.sources.scan(SOURCE, &path("")).is_some());
            while !matches!(world.next(), Seen::Facts(facts) if lists(&facts, SOURCE, "dir")) {}
        }
        let judged = world.known.at(leaf(), "dir/x.o") == Some(Value::Ignored);
        assert!(judged || !world.known.is_listed(leaf(), "dir"), "it would look deleted");
        world.settle();
        assert_eq!(world.known.at(leaf(), "dir/x.o"), Some(Value::Ignored));
        assert!(world.known.is_listed(leaf(), "dir"));
    }
}

fn holds(facts: &[Fact], text: &str) -> bool {
    facts.iter().any(|fact| matches!(fact, Fact::Holds { path: at, .. } if *at == path(text)))
}

fn lists(facts: &[Fact], of: Replica, text: &str) -> bool {
    facts.iter().any(|fact| {
        matches!(fact, Fact::Listed { replica, dir, .. } if *replica == of && *dir == path(text))
    })
}

#[test]
fn d15_what_is_left_out_is_not_listed_whoever_asks_for_it() {
    let mut world = World::with(still());
    world.write(".yeetignore", "build/\n");
    fs::create_dir_all(world.leaf("build/deep")).unwrap();
    fs::write(world.leaf("build/deep/x.o"), "1").unwrap();
    world.scan();
    for dir in ["build", "build/deep"] {
        let before = world.known.seen.len();
        let scan = world.sources.scan(leaf(), &path(dir)).unwrap();
        world.settle();
        let seen = &world.known.seen[before..];
        assert!(seen.contains(&Seen::Done { replica: leaf(), scan }));
        let facts = seen.iter().any(|seen| matches!(seen, Seen::Facts(f) if lists(f, leaf(), dir)));
        assert!(!facts, "{seen:?}");
    }
}

#[test]
fn rules_read_while_the_root_goes_are_followed_on_the_other_replica() {
    let mut world = World::with(still());
    fs::create_dir(world.leaf("out")).unwrap();
    world.scan();
    world.write(".yeetignore", "/out\n");
    fs::rename(world.source(""), world.dir.path().join("elsewhere")).unwrap();
    world.sources.look(SOURCE, &path(".yeetignore"));
    world.settle();
    assert!(world.known.seen.contains(&Seen::RootGone { replica: SOURCE }));
    assert_eq!(world.known.at(leaf(), "out"), Some(Value::Ignored));
}

#[test]
fn rules_read_by_a_listing_that_fails_are_followed_on_the_other_replica() {
    let mut world = World::with(still());
    fs::create_dir(world.leaf("out")).unwrap();
    world.scan();
    world.write(".yeetignore", "/out\n");
    fs::rename(world.source(""), world.dir.path().join("elsewhere")).unwrap();
    assert!(world.sources.scan(SOURCE, &path("")).is_some());
    world.settle();
    assert!(world.known.seen.contains(&Seen::RootGone { replica: SOURCE }));
    assert_eq!(world.known.at(leaf(), "out"), Some(Value::Ignored));
}

#[test]
fn what_only_a_detached_replica_left_out_is_found_on_the_others() {
    let mut world = World::with(still());
    world.write("out/f", "1");
    fs::write(world.leaf(".yeetignore"), "/out\n").unwrap();
    world.scan();
    world.settle();
    assert_eq!(world.known.at(SOURCE, "out"), Some(Value::Ignored));
    world.sources.detach(leaf());
    world.settle();
    assert!(world.known.at(SOURCE, "out/f").is_some());
}

#[test]
fn below_rules_that_cannot_be_read_nothing_counts_on_any_replica_until_all_can() {
    obey_permissions();
    let mut world = World::new();
    world.write("a/b/f", "1");
    fs::create_dir_all(world.leaf("a/b")).unwrap();
    world.scan();
    let rules = [world.source("a/.yeetignore"), world.leaf("a/.yeetignore")];
    for (file, replica) in rules.iter().zip([SOURCE, leaf()]) {
        let new = world.dir.path().join("new");
        fs::write(&new, "*.o\n").unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o000)).unwrap();
        fs::rename(new, file).unwrap();
        let trouble = Trouble::NoRules { errno: libc::EACCES };
        let told = Seen::Trouble { replica, path: path("a"), trouble };
        world.wait_until(|known| known.seen.contains(&told));
    }
    world.settle();
    world.write("a/c/x.o", "1");
    world.write("a/b/x.o", "1");
    fs::write(world.leaf("a/b/x.o"), "2").unwrap();
    let is_known = |known: &Known| {
        let all = ["a", "a/b", "a/c"].map(|dir| known.is_listed(SOURCE, dir)).into_iter();
        all.chain(["a", "a/b"].map(|dir| known.is_listed(leaf(), dir))).collect::<Vec<_>>()
    };
    for file in &rules {
        for replica in [SOURCE, leaf()] {
            world.sources.scan(replica, &path("a/b")).unwrap();
        }
        world.settle();
        assert_eq!(is_known(&world.known), [false; 5]);
        assert!(world.known.is_listed(SOURCE, "") && world.known.is_listed(leaf(), ""));
        fs::remove_file(file).unwrap();
    }
    world.wait_until(|known| is_known(known) == [true; 5]);
    world.settle();
    assert!(world.known.at(SOURCE, "a/c/x.o").is_some());
    assert!(world.known.at(leaf(), "a/b/x.o").is_some());
}
