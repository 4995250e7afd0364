//! Replicas on hosts, kept the same by a daemon here.
//!
//! Holds: what a host has is looked at by its paths; a connection is cut between two machines, never by asking yeet.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::agent::server;
use super::line::Line;
use super::server::{Home, Server};

/// Text that gets hardly smaller when it is compressed, another one each time.
pub(crate) fn noise(bytes: usize) -> String {
    static TIMES: AtomicU64 = AtomicU64::new(1);
    let mut state = TIMES.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..bytes).map(letter).collect()
}

/// A home with a daemon, and a host `nas` behind a line that can be cut.
pub(crate) struct Rig {
    pub(crate) home: Home,
    pub(crate) line: Line,
    program: PathBuf,
    pub(crate) server: Server,
}

impl Rig {
    pub(crate) fn new() -> Option<Self> {
        Self::of(server("")?)
    }

    /// Whose host has a network of its own, of which nothing but the connection to the server is known here.
    pub(crate) fn apart() -> Option<Self> {
        let (home, server) = server("")?;
        drop(server);
        let apart = Server::openssh_apart(&home, "MaxSessions 1");
        super::at(&home, &apart);
        Self::of((home, apart))
    }

    pub(crate) fn of((home, server): (Home, Server)) -> Option<Self> {
        let line = Line::to(server.port);
        let config = home.read("home/.ssh/config");
        home.config(&config.replace(&server.port.to_string(), &line.proxy.port.to_string()));
        fs::create_dir(home.path("home/src")).unwrap();
        let program = env!("CARGO_BIN_EXE_yeet").into();
        Some(Self { home, line, program, server })
    }

    pub(crate) fn yeet(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(self.home.path("home"));
        // diff is one of the system's.
        let command = self.home.at_home(&mut command).env("PATH", "/usr/bin:/bin");
        let out = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code().unwrap(), text(&out.stdout) + &text(&out.stderr))
    }

    pub(crate) fn well(&self, words: &[&str]) -> String {
        let (code, said) = self.yeet(words);
        assert_eq!(code, 0, "yeet {words:?}: {said}\n{}", self.log());
        said
    }

    pub(crate) fn log(&self) -> String {
        self.yeet(&["status", "-l"]).1 + &self.yeet(&["status", "--files"]).1
    }

    pub(crate) fn at(&self, rel: &str) -> PathBuf {
        self.home.path(rel)
    }

    pub(crate) fn write(&self, rel: &str, text: &str) {
        fs::create_dir_all(self.at(rel).parent().unwrap()).unwrap();
        fs::write(self.at(rel), text).unwrap();
    }

    /// Makes sure that both sides have the same names with the same bytes.
    pub(crate) fn same(&self) {
        let (here, there) = (files(&self.at("home/src")), files(&self.at("there/work")));
        assert_eq!(here, there, "{}", self.log());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.yeet(&["daemon", "stop"]));
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(dir: &Path, below: &str, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".yeet" {
                continue;
            }
            let path = format!("{below}{name}");
            if entry.file_type().unwrap().is_dir() {
                out.push((format!("{path}/"), Vec::new()));
                walk(&entry.path(), &format!("{path}/"), out);
            } else {
                out.push((path, fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, "", &mut out);
    out.sort();
    out
}

#[test]
fn a_leaf_on_a_host_is_kept_the_same_both_ways() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/d/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.same();
    rig.write("home/src/d/f", "edited here");
    rig.write("there/work/d/e/new", "made there");
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.home.read("there/work/d/f"), "edited here");
    assert_eq!(rig.home.read("home/src/d/e/new"), "made there");
    fs::rename(rig.at("there/work/d/f"), rig.at("there/work/g")).unwrap();
    fs::remove_dir_all(rig.at("home/src/d/e")).unwrap();
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(files(&rig.at("home/src")).len(), 2);
    let list = rig.well(&["list"]);
    assert!(list.contains(&format!("work=nas:{}", rig.at("there/work").display())), "{list}");
    // What it remembers is enough to start again with.
    rig.well(&["daemon", "stop"]);
    rig.write("there/work/while", "it was not there");
    rig.well(&["daemon", "start"]);
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.well(&["conflicts"]), "");
}

#[test]
fn a_host_that_is_away_is_said_to_be_offline_and_catches_up_without_a_conflict() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.write("home/src/b", "b");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.line.cut();
    rig.write("home/src/a", "edited here meanwhile");
    rig.write("there/work/b", "edited there meanwhile");
    rig.write("there/work/d/new", "made there meanwhile");
    let (code, said) = rig.yeet(&["wait"]);
    assert_eq!(code, 1, "{said}");
    let (code, leaves) = rig.yeet(&["status", "-l"]);
    assert!(code == 1 && leaves.starts_with("src\twork\toffline\tunreachable\t"), "{leaves}");
    let why = rig.well(&["explain", "src/a"]);
    assert!(why.contains("offline: work (unreachable): "), "{why}");
    rig.line.mend();
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.well(&["conflicts"]), "");
    let log = rig.well(&["log"]);
    assert!(log.contains("\toffline\twork\t") && log.contains("\tonline\twork\t"), "{log}");
}

#[test]
fn what_was_under_way_when_a_connection_was_cut_is_done_and_is_nobodys_edit() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/first", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    for (round, bytes) in [3_000, 20_000, 60_000, 150_000].into_iter().enumerate() {
        rig.line.cut_after(bytes);
        for n in 0..60 {
            rig.write(&format!("home/src/d/{n}"), &format!("{round} {n} {}", noise(n * 50)));
            rig.write(&format!("there/work/e/{n}"), &format!("{n} {round}"));
        }
        let (code, said) = rig.yeet(&["wait"]);
        assert!(code <= 1, "{said}");
        rig.line.mend();
        rig.well(&["wait"]);
        rig.same();
        assert_eq!(rig.well(&["conflicts"]), "");
    }
    // What was displaced is what a newer one replaced, never a copy of what is there.
    let there = files(&rig.at("there/work"));
    let (_, versions) = rig.yeet(&["versions", "src"]);
    for row in versions.lines() {
        let fields: Vec<&str> = row.split('\t').collect();
        let now = there.iter().find(|(path, _)| path == fields[7]).map(|(_, bytes)| bytes);
        let now = now.map(|bytes| blake3::hash(bytes).to_hex().to_string());
        assert!(now.is_some_and(|now| now != fields[5]), "{row}");
    }
}

#[test]
fn a_large_file_whose_connection_is_cut_is_gone_on_with_where_it_was() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/f", "first");
    rig.well(&["add", "--ssh-only", "src", "nas:work"]);
    rig.well(&["wait"]);
    let large: Vec<u8> =
        (0..40_u32 << 18).flat_map(|n| (n.wrapping_mul(0x9e37_79b9)).to_le_bytes()).collect();
    for (from, to) in [("home/src/there", "there/work/there"), ("there/work/here", "home/src/here")]
    {
        rig.line.passed();
        rig.line.cut_after(25 << 20);
        // At once: one that is seen while it grows has versions.
        fs::write(rig.at("made"), &large).unwrap();
        fs::rename(rig.at("made"), rig.at(from)).unwrap();
        let (code, said) = rig.yeet(&["wait"]);
        assert_eq!(code, 1, "it was cut: {said}");
        rig.line.mend();
        rig.well(&["wait"]);
        assert!(fs::read(rig.at(to)).unwrap() == large);
        let passed = rig.line.passed();
        assert!(passed < large.len() as u64 + (8 << 20), "{passed} of {}", large.len());
    }
    rig.same();
    assert_eq!(rig.well(&["conflicts"]) + &rig.yeet(&["versions", "src"]).1, "");
}

#[test]
fn a_conflict_with_a_host_is_shown_and_decided_and_what_it_costs_can_be_brought_back() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/f", "one\n");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.line.cut();
    rig.write("home/src/f", "one\nhere\n");
    rig.write("there/work/f", "one\nthere\n");
    rig.line.mend();
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    let (code, conflicts) = rig.yeet(&["conflicts"]);
    assert_eq!((code, conflicts.as_str()), (1, "src\tedit/edit\tf\n"));
    assert_eq!(rig.well(&["cat", "--from", "work", "src/f"]), "one\nthere\n");
    let (code, diff) = rig.yeet(&["diff", "src/f"]);
    assert!(code == 1 && diff.contains("-here\n+there"), "{diff}");
    rig.well(&["resolve", "--keep", "source", "src/f"]);
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.home.read("there/work/f"), "one\nhere\n");
    let version = rig.well(&["versions", "src/f"]);
    assert!(version.contains("\twork\t") && version.contains("\treplaced\t"), "{version}");
    let to = rig.at("home/out").display().to_string();
    rig.well(&["restore", "--to", &to, "src/f"]);
    assert_eq!(rig.home.read("home/out"), "one\nthere\n");
    rig.well(&["restore", "src/f"]);
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.home.read("home/src/f"), "one\nthere\n");
}

#[test]
fn rules_of_either_side_hold_on_both_as_soon_as_they_are_written() {
    let Some(rig) = Rig::new() else { return };
    for file in ["a.o", "b.c", "d/x.log", "d/y.c"] {
        rig.write(&format!("home/src/{file}"), "content");
    }
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.write("home/src/.yeetignore", "*.o\n");
    fs::remove_file(rig.at("home/src/a.o")).unwrap();
    rig.write("there/work/d/.yeetignore", "*.log\n");
    fs::remove_file(rig.at("there/work/d/x.log")).unwrap();
    rig.well(&["wait"]);
    assert_eq!(rig.home.read("there/work/a.o"), "content", "it is left out, not deleted");
    assert_eq!(rig.home.read("home/src/d/x.log"), "content", "it is left out, not deleted");
    assert_eq!(rig.home.read("there/work/.yeetignore"), "*.o\n");
    assert_eq!(rig.home.read("home/src/d/.yeetignore"), "*.log\n");
    rig.write("there/work/new.o", "left out");
    rig.write("home/src/d/new.log", "left out");
    rig.write("there/work/d/z.c", "carried");
    rig.well(&["wait"]);
    assert!(!rig.at("home/src/new.o").exists() && !rig.at("there/work/d/new.log").exists());
    assert_eq!(rig.home.read("home/src/d/z.c"), "carried");
    // Taken back at one side it goes at the other, and what was left out flows again.
    fs::remove_file(rig.at("home/src/.yeetignore")).unwrap();
    rig.well(&["wait"]);
    assert_eq!(rig.home.read("home/src/new.o"), "left out");
}

#[test]
fn a_root_that_is_gone_or_another_one_there_is_never_a_delete_here() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    fs::rename(rig.at("there/work"), rig.at("there/elsewhere")).unwrap();
    rig.write("home/src/b", "b");
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    assert!(rig.yeet(&["status", "-l"]).1.starts_with("src\twork\toffline\trefused\t"));
    fs::create_dir(rig.at("there/work")).unwrap();
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    assert_eq!(rig.home.read("home/src/a"), "a");
    assert!(files(&rig.at("there/work")).is_empty());
    fs::remove_dir_all(rig.at("there/work")).unwrap();
    fs::rename(rig.at("there/elsewhere"), rig.at("there/work")).unwrap();
    rig.well(&["wait", "--offline"]);
    rig.same();
}

#[test]
fn who_may_not_log_in_any_more_is_told_so_and_nothing_is_asked_out_of_the_blue() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    let keys = rig.home.read("etc/authorized");
    rig.home.write("etc/authorized", "");
    rig.line.cut();
    rig.line.mend();
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    let leaves = rig.yeet(&["status", "-l"]).1;
    assert!(leaves.starts_with("src\twork\toffline\tauth\t"), "{leaves}");
    rig.home.write("etc/authorized", &keys);
    rig.well(&["wait", "--offline"]);
}

#[test]
fn the_source_can_be_on_a_host_and_all_that_leaves_agree_on_passes_through_here() {
    let Some(rig) = Rig::new() else { return };
    rig.write("there/work/a", "from there");
    rig.well(&["add", "--name", "s", "nas:work", "src", "nas:other"]);
    rig.well(&["wait"]);
    rig.same();
    rig.write("home/src/b", "from here");
    rig.write("there/other/c", "from the other");
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(files(&rig.at("there/other")), files(&rig.at("home/src")));
    rig.line.cut();
    rig.write("home/src/d", "while nobody was there");
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    rig.line.mend();
    rig.well(&["wait", "--offline"]);
    rig.same();
    assert_eq!(files(&rig.at("there/other")), files(&rig.at("home/src")));
}

#[test]
fn a_leaf_that_is_away_holds_up_nobody_else() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work", "near"]);
    rig.well(&["wait"]);
    rig.line.cut();
    rig.write("home/src/a", "edited");
    rig.write("home/near/b", "made");
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    assert_eq!(rig.home.read("home/near/a"), "edited");
    assert_eq!(rig.home.read("home/src/b"), "made");
    rig.well(&["wait", "--leaf", "near"]);
    rig.line.mend();
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.well(&["conflicts"]), "");
}

#[test]
fn a_leaf_is_forgotten_and_its_directory_is_free_for_another_sync() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work", "near"]);
    rig.well(&["wait"]);
    let (code, said) = rig.yeet(&["add", "--name", "t", "near2", "nas:work/d"]);
    assert!(code != 0, "{said}");
    rig.well(&["forget", "src", "work"]);
    rig.write("home/src/b", "b");
    rig.well(&["wait"]);
    assert!(!rig.at("there/work/b").exists());
    rig.well(&["add", "--to", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.same();
}

#[test]
fn a_leaf_that_is_forgotten_keeps_no_sign_of_who_had_it_unless_its_host_is_away() {
    let Some(rig) = Rig::new() else { return };
    let sign = |name: &str| rig.at("there/work/.yeet").join(name).symlink_metadata().is_ok();
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work", "near"]);
    rig.well(&["wait"]);
    assert!(sign("daemon") && sign("yeet"));
    assert_eq!(rig.well(&["forget", "src", "work"]), "");
    assert!(!sign("daemon") && !sign("yeet") && sign("id"));
    rig.well(&["add", "--to", "src", "nas:work"]);
    rig.well(&["wait"]);
    assert!(sign("daemon") && sign("yeet"));
    assert_eq!(rig.well(&["forget", "src"]), "");
    assert!(!sign("daemon") && !sign("yeet"));
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.line.cut();
    let said = rig.well(&["forget", "src"]);
    let path = rig.at("there/work/.yeet/daemon");
    assert!(
        said.contains(&format!("nas is not reached: {} stays there", path.display())),
        "{said}"
    );
    assert!(sign("daemon"));
}

#[test]
fn files_that_go_together_do_so_over_a_line_that_is_cut() {
    let Some(rig) = Rig::new() else { return };
    let both = |at: &str, state: &str| {
        let text = format!("{state} {}", noise(60_000));
        rig.write(&format!("{at}/d/x.db"), &text);
        rig.write(&format!("{at}/d/x.db-wal"), &text);
    };
    let read = |at: &str| {
        let of = |name: &str| rig.home.read(&format!("{at}/d/{name}"));
        let (db, wal) = (of("x.db"), of("x.db-wal"));
        assert_eq!(db, wal, "they are of one moment at {at}");
        db.split(' ').next().unwrap_or_default().to_owned()
    };
    both("home/src", "0");
    rig.well(&["add", "--group", "*.db *.db-wal", "src", "nas:work", "nas:other"]);
    rig.well(&["wait"]);
    assert_eq!((read("there/work").as_str(), read("there/other").as_str()), ("0", "0"));
    both("there/work", "1");
    rig.well(&["wait"]);
    assert_eq!((read("home/src").as_str(), read("there/other").as_str()), ("1", "1"));
    for (round, bytes) in ["2", "3", "4"].into_iter().zip([5_000, 40_000, 90_000]) {
        rig.line.cut_after(bytes);
        both("home/src", round);
        let (code, said) = rig.yeet(&["wait"]);
        assert!(code <= 1, "{said}");
        read("there/work");
        rig.line.mend();
        rig.well(&["wait", "--offline"]);
        assert_eq!((read("there/work"), read("there/other")), (round.to_owned(), round.to_owned()));
    }
    rig.line.cut();
    rig.write("home/src/d/x.db", "here");
    rig.write("there/work/d/x.db-wal", "there");
    rig.line.mend();
    assert_eq!(rig.yeet(&["wait", "--offline"]).0, 1);
    assert_eq!(rig.yeet(&["conflicts"]).1, "src\tgroup\td/x.db\n");
    rig.well(&["resolve", "--keep", "work", "src/d/x.db"]);
    rig.well(&["wait"]);
    rig.same();
    assert_eq!(rig.home.read("home/src/d/x.db-wal"), "there");
}

#[test]
fn a_repository_is_one_on_a_host_at_every_moment_and_work_there_comes_back() {
    let Some(rig) = Rig::new() else { return };
    let git = |at: &str, words: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.email=a@b", "-c", "user.name=n"]).args(words);
        let out = command.current_dir(rig.at(at)).env("HOME", rig.at("home")).output().unwrap();
        assert!(out.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    git("home/src", &["init", "-q"]);
    let commit = |at: &str, name: &str| {
        rig.write(&format!("{at}/{name}"), name);
        git(at, &["add", "."]);
        git(at, &["commit", "-q", "-m", name]);
    };
    commit("home/src", "one");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    git("there/work", &["fsck", "--strict"]);
    commit("there/work", "two");
    rig.well(&["wait"]);
    commit("home/src", "three");
    rig.well(&["wait"]);
    for at in ["home/src", "there/work"] {
        assert_eq!(git(at, &["log", "--format=%s"]), "three\ntwo\none\n");
        assert_eq!(git(at, &["status", "--short"]), "");
        git(at, &["fsck", "--strict"]);
    }
    assert_eq!(rig.well(&["conflicts"]), "");
}

#[test]
fn a_daemon_whose_program_was_replaced_or_removed_still_reaches_hosts() {
    let Some(mut rig) = Rig::new() else { return };
    let installed = rig.program.clone();
    rig.program = rig.at("home/yeet");
    fs::copy(&installed, &rig.program).unwrap();
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    fs::remove_file(&rig.program).unwrap();
    fs::remove_dir_all(rig.at("there/.cache")).unwrap();
    rig.program = installed;
    rig.line.cut();
    rig.line.mend();
    rig.write("home/src/b", "b");
    rig.well(&["wait", "--offline"]);
    rig.same();
}

#[test]
fn nothing_is_said_to_be_in_sync_with_a_host_that_has_not_answered_yet() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.well(&["daemon", "stop"]);
    rig.line.hush();
    rig.well(&["daemon", "start"]);
    let (code, said) = rig.yeet(&["status"]);
    assert!(code == 1 && said.starts_with("src\tscanning\t"), "{said}");
    rig.line.mend();
    rig.well(&["wait", "--offline"]);
}

#[test]
fn a_host_that_is_gone_without_a_word_is_offline_for_whoever_asks() {
    let Some(rig) = Rig::new() else { return };
    rig.write("home/src/a", "a");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.line.freeze();
    let (code, said) = rig.yeet(&["status", "-l"]);
    assert!(code == 1 && said.starts_with("src\twork\toffline\tunreachable\t"), "{said}");
    rig.line.mend();
    rig.well(&["wait", "--offline"]);
}
