//! Files that are worth something only together arrive together, from one moment.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::rig::{Raised, Rig};

const DATABASES: &str = "*.db *.db-wal *.db-journal";

/// A rig with a two-way sync that has one group.
fn grouped(patterns: &str) -> Rig {
    let mut rig = Rig::new();
    rig.start();
    let (a, b) = (rig.path("a"), rig.path("b"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    rig.ok(&["add", "--name", "s", "--group", patterns, a, b]);
    rig.settle();
    rig
}

/// Which generation a file has; 0 if it is not there.
fn generation(path: &Path) -> u64 {
    let Ok(text) = fs::read_to_string(path) else { return 0 };
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn two_files_written_one_after_the_other_never_arrive_as_no_moment_had_them() {
    let rig = grouped("*.log *.data");
    let write = |name: &str, generation: u64| {
        let text =
            format!("{generation}\n").repeat(2000 + usize::try_from(generation % 7).unwrap());
        let (new, place) = (rig.path("new"), rig.path(&format!("a/{name}")));
        // Now by a rename, now in place.
        if generation.is_multiple_of(2) {
            fs::write(&new, text).unwrap();
            fs::rename(&new, place).unwrap();
        } else {
            fs::write(place, text).unwrap();
        }
    };
    let done = AtomicBool::new(false);
    let (arrived, wrote) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut arrived = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let seen = ["log", "data"].map(|end| generation(&rig.path(&format!("b/x.{end}"))));
                arrived.insert(seen);
            }
            arrived
        });
        let _done = Raised(&done);
        let mut last = 0;
        for round in 0..20 {
            for step in 0..10 {
                last = round * 10 + step + 1;
                write("x.log", last);
                write("x.data", last);
                rig.write("a/other", &format!("{last}"));
            }
            rig.settle();
            let seen = ["log", "data"].map(|end| generation(&rig.path(&format!("b/x.{end}"))));
            assert_eq!(seen, [last, last], "at rest both are there");
            assert_eq!(rig.read("b/other"), format!("{last}"));
        }
        done.store(true, Ordering::Relaxed);
        (looking.join().unwrap(), last)
    });
    assert!(arrived.iter().any(|seen| seen[0] == seen[1]), "{arrived:?} of {wrote}");
    assert_eq!(rig.tree("a"), rig.tree("b"));
    assert_eq!(rig.exits(0, &["conflicts"]), "");
}

/// Runs Python with SQLite; `None` where that is not installed.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn sqlite(code: &str, file: &Path) -> Option<String> {
    let out = Command::new("python3").args(["-c", code]).arg(file).output();
    let out = out.ok().filter(|out| {
        out.status.success() || !String::from_utf8_lossy(&out.stderr).contains("No module")
    });
    let Some(out) = out else {
        eprintln!("skipped: python3 with sqlite3 is not installed");
        return None;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Many transactions, in each of which two tables get the same number; some are written back to the database.
const WORK: &str = "
import sqlite3, sys, os
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('pragma journal_mode=wal')
c.execute('pragma wal_autocheckpoint=20')
c.execute('create table if not exists a (n integer, x blob)')
c.execute('create table if not exists b (n integer, x blob)')
for n in range(60):
    c.execute('begin')
    for t in 'ab':
        c.execute(f'insert into {t} values (?, ?)', (n, os.urandom(3000)))
        c.execute(f'delete from {t} where n = ?', (n - 15,))
    c.execute('commit')
# As after a kill: the log stays.
os._exit(0)
";

const CHECK: &str = "
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
print(c.execute('pragma integrity_check').fetchone()[0],
      c.execute('select n from a order by n').fetchall() == c.execute('select n from b order by n').fetchall(),
      c.execute('select max(n) from a').fetchone()[0])
";

/// What SQLite says of a copy of a side's database: to open it would be an edit.
fn checked(rig: &Rig, side: &str) -> Option<String> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(rig.path(side)).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
    }
    sqlite(CHECK, &copy.path().join("x.db"))
}

#[test]
fn a_database_in_use_is_whole_on_the_other_side_whenever_it_has_settled() {
    let rig = grouped(DATABASES);
    // It is written through a memory map, so its times do not tell; SQLite makes it anew.
    rig.write("a/.yeetignore", "*.db-shm\n");
    rig.settle();
    for _ in 0..6 {
        if sqlite(WORK, &rig.path("a/x.db")).is_none() {
            return;
        }
        rig.settle();
        assert!(rig.path("b/x.db-wal").exists());
        assert_eq!(checked(&rig, "b").unwrap(), "ok True 59");
    }
    // And back: what the other side writes into its copy is carried as one, too.
    sqlite(WORK, &rig.path("b/x.db"));
    rig.settle();
    assert_eq!(checked(&rig, "a").unwrap(), "ok True 59");
    assert_eq!(rig.exits(0, &["conflicts"]), "");
}

/// A rig whose group of two files was the same, and then changed on both sides while no daemon ran: in these files.
fn apart(at_a: &[&str], at_b: &[&str]) -> Rig {
    let mut rig = grouped("*.db *.db-wal");
    for name in ["x.db", "x.db-wal", "other"] {
        rig.write(&format!("a/{name}"), "first");
    }
    rig.settle();
    rig.stop();
    for (side, names) in [("a", at_a), ("b", at_b)] {
        for name in names {
            rig.write(&format!("{side}/{name}"), &format!("of side {side}"));
        }
    }
    rig.write("a/other", "second");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig
}

#[test]
fn a_group_that_changed_on_both_sides_is_one_conflict_and_is_resolved_as_a_whole() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["x.db", "x.db-wal"], &["x.db", "x.db-wal"]),
        (&["x.db", "x.db-wal"], &["x.db-wal"]),
        // No single file is in conflict.
        (&["x.db"], &["x.db-wal"]),
    ];
    for (at_a, at_b) in cases {
        for (keep, winner, loser) in [("source", "a", "b"), ("b", "b", "a")] {
            let rig = apart(at_a, at_b);
            assert_eq!(rig.read("b/other"), "second", "other files flow");
            assert_eq!(rig.exits(1, &["conflicts"]), "s\tgroup\tx.db\n");
            for path in ["a/x.db", "b/x.db-wal"] {
                let said = rig.ok(&["explain", path]);
                assert!(said.contains("changed on both sides"), "{said}");
                assert!(said.contains(&format!("--keep {keep} ./x.db\n")), "{said}");
            }
            let before = ["a/x.db", "a/x.db-wal", "b/x.db", "b/x.db-wal"].map(|at| rig.read(at));
            for (side, names) in [("a", at_a), ("b", at_b)] {
                for name in names {
                    assert_eq!(rig.read(&format!("{side}/{name}")), format!("of side {side}"));
                }
            }
            let said = rig.run(&["resolve", "--both", ".mine", "a/x.db"]);
            assert!(said.code == 1 && said.stderr.contains("decided as a whole"), "{said:?}");
            // Any of its files stands for all of it.
            rig.ok(&["resolve", "--keep", keep, "a/x.db-wal"]);
            rig.settle();
            let at = if winner == "a" { 0 } else { 2 };
            for side in [winner, loser] {
                assert_eq!(rig.read(&format!("{side}/x.db")), before[at]);
                assert_eq!(rig.read(&format!("{side}/x.db-wal")), before[at + 1]);
            }
            assert_eq!(rig.exits(0, &["conflicts"]), "");
            assert!(rig.ok(&["versions", &format!("{loser}/x.db-wal")]).contains("replaced"));
        }
    }
}

/// A rig whose group of two files was the same; then one side changed the main file, and made a directory with a file in it
/// of the other, which the other side wrote to.
fn retyped(at: &str, other: &str) -> Rig {
    let mut rig = grouped("*.db *.db-wal");
    for name in ["x.db", "x.db-wal"] {
        rig.write(&format!("a/{name}"), "first");
    }
    rig.settle();
    rig.stop();
    rig.write(&format!("{at}/x.db"), "second");
    fs::remove_file(rig.path(&format!("{at}/x.db-wal"))).unwrap();
    rig.write(&format!("{at}/x.db-wal/inside"), "in a directory");
    rig.write(&format!("{other}/x.db-wal"), "second log");
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    rig
}

#[test]
fn a_directory_against_a_file_of_a_group_is_a_conflict_of_the_group_and_either_side_can_win_it() {
    for (at, other) in [("a", "b"), ("b", "a")] {
        for wins in [at, other] {
            let rig = retyped(at, other);
            assert_eq!(rig.exits(1, &["conflicts"]), "s\tgroup\tx.db\n");
            assert_eq!(rig.read(&format!("{other}/x.db")), "first", "nothing of it is carried");
            let keep = if wins == "a" { "source" } else { "b" };
            rig.ok(&["resolve", "--keep", keep, "a/x.db"]);
            rig.settle();
            rig.equal();
            let (rows, log) =
                if wins == at { ("second", "x.db-wal/inside") } else { ("first", "x.db-wal") };
            let text = if wins == at { "in a directory" } else { "second log" };
            assert_eq!(rig.read(&format!("{other}/x.db")), rows);
            assert_eq!(rig.read(&format!("{at}/{log}")), text);
            assert_eq!(rig.exits(0, &["conflicts"]), "");
            let loser = if wins == at { other } else { at };
            let kept = rig.ok(&["versions", &format!("{loser}/x.db-wal")]);
            let lost = if wins == at { "\tx.db-wal\n" } else { "\tx.db-wal/inside\n" };
            assert!(kept.contains(lost), "{kept}");
        }
    }
}

#[test]
fn a_file_of_a_group_that_became_a_directory_goes_with_what_else_changed_in_it() {
    let rig = grouped(DATABASES);
    rig.write("a/x.db", "first");
    rig.write("a/x.db-wal", "first");
    rig.write("a/y.db-wal/inside", "no file of its group is anywhere");
    rig.settle();
    rig.equal();
    fs::remove_file(rig.path("a/x.db-wal")).unwrap();
    rig.write("a/x.db-wal/inside", "a directory");
    rig.write("a/x.db", "second");
    rig.settle();
    rig.equal();
    fs::remove_dir_all(rig.path("b/x.db-wal")).unwrap();
    rig.write("b/x.db-wal", "a file again");
    rig.write("b/x.db", "third");
    rig.settle();
    rig.equal();
    assert_eq!(
        (rig.read("a/x.db"), rig.read("a/x.db-wal")),
        ("third".into(), "a file again".into())
    );
}

#[test]
fn two_leaves_that_changed_a_group_apart_are_one_conflict_and_no_replica_ever_has_a_mixture() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&["x.db", "x.db-wal"], &["x.db", "x.db-wal"]),
        (&["x.db", "x.db-wal"], &["x.db-wal"]),
        // No single file is in conflict.
        (&["x.db"], &["x.db-wal"]),
    ];
    for (at_b, at_c) in cases {
        for keep in ["b", "c"] {
            let mut rig = grouped("*.db *.db-wal");
            let c = rig.path("c");
            rig.ok(&["add", "--to", "s", c.to_str().unwrap()]);
            for name in ["x.db", "x.db-wal"] {
                rig.write(&format!("a/{name}"), "first");
            }
            rig.settle();
            rig.stop();
            for (side, names) in [("b", at_b), ("c", at_c)] {
                for name in names {
                    rig.write(&format!("{side}/{name}"), &format!("of side {side}"));
                }
            }
            let pair = |side: &str| ["x.db", "x.db-wal"].map(|n| rig.read(&format!("{side}/{n}")));
            let moments = ["a", "b", "c"].map(pair);
            rig.start();
            rig.exits(1, &["wait", "--timeout", "60"]);
            let pair = |side: &str| ["x.db", "x.db-wal"].map(|n| rig.read(&format!("{side}/{n}")));
            for side in ["a", "b", "c"] {
                assert!(moments.contains(&pair(side)), "{side} has a mixture: {:?}", pair(side));
            }
            assert_eq!(rig.exits(1, &["conflicts"]), "s\tgroup\tx.db\n");
            rig.ok(&["resolve", "--keep", keep, "a/x.db"]);
            rig.settle();
            let kept = &moments[if keep == "b" { 1 } else { 2 }];
            for side in ["a", "b", "c"] {
                assert_eq!(&pair(side), kept, "{side} after --keep {keep}");
            }
            assert_eq!(rig.exits(0, &["conflicts"]), "");
        }
    }
}

#[test]
fn a_file_that_goes_from_a_group_goes_with_what_else_changed_in_it() {
    let rig = grouped(DATABASES);
    for name in ["x.db", "x.db-wal", "x.db-journal", "y.db", "alone.txt"] {
        rig.write(&format!("a/{name}"), "first");
    }
    rig.settle();
    fs::remove_file(rig.path("a/x.db-wal")).unwrap();
    fs::remove_file(rig.path("a/x.db-journal")).unwrap();
    rig.write("a/x.db", "second");
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("b"));
    assert_eq!(rig.read("b/x.db"), "second");
    // A file that is alone in its group is a file like others, also in a rename.
    fs::rename(rig.path("b/y.db"), rig.path("b/z.db")).unwrap();
    rig.settle();
    assert_eq!(rig.tree("a"), rig.tree("b"));
    assert_eq!(rig.read("a/z.db"), "first");
}

#[test]
fn the_groups_of_a_sync_come_from_the_config_and_from_options_and_can_be_set() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.path("config/yeet")).unwrap();
    let config = "[[group]]\nfiles = [\"*.db\", \"*.db-wal\"]\n";
    fs::write(rig.path("config/yeet/config.toml"), config).unwrap();
    rig.start();
    let (a, b) = (rig.path("a"), rig.path("b"));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let refused = rig.run(&["add", "--group", "a/b", a, b]);
    assert!(refused.code == 2 && refused.stderr.contains("no file name"), "{refused:?}");
    rig.ok(&["add", "--name", "s", a, b, "--group", "LOCK DATA"]);
    rig.settle();
    assert!(rig.ok(&["set", "s"]).contains("group\t*.db *.db-wal\\nLOCK DATA\n"));
    let refused = rig.run(&["set", "s", "group=*.a* b"]);
    assert!(refused.code == 2 && refused.stderr.contains("more than one *"), "{refused:?}");
    rig.ok(&["set", "s", "group=*.one *.two\n*.x"]);
    rig.stop();
    rig.start();
    assert!(rig.ok(&["set", "s"]).contains("group\t*.one *.two\\n*.x\n"), "it is remembered");
    rig.ok(&["set", "s", "group="]);
    assert!(rig.ok(&["set", "s"]).contains("group\t\n"));
}
