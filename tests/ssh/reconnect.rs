//! Hosts that sleep, hang or start again: they are reached anew by themselves, and nothing is lost of what both sides did.
//!
//! Holds: nobody asks yeet anything until what was done meanwhile has arrived; processes are stopped and ended from outside.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::Rig;
use super::server::Server;

/// What the agent on the host is, and all that the server has started for its connection.
fn session(rig: &Rig) -> Vec<Pid> {
    let there = format!("\0agent\0--at\0{}/", rig.at("there").display());
    let runs = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&there)
    };
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let mut pids = names.filter_map(|name| name.to_str()?.parse::<i32>().ok());
    let agent = pids.find(runs).expect("an agent runs");
    let parent = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    let own = i32::try_from(std::process::id()).unwrap();
    let above = std::iter::successors(Some(agent), parent).take_while(|pid| *pid != own);
    above.map(|pid| Pid::from_raw(pid).unwrap()).collect()
}

fn send(session: &[Pid], signal: Signal) {
    for pid in session {
        // Some end with others.
        kill_process(*pid, signal).unwrap_or_default();
    }
}

fn rig() -> Option<Rig> {
    let rig = Rig::new()?;
    rig.write("home/src/f", "first");
    rig.write("home/src/g", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    Some(rig)
}

impl Rig {
    /// Both sides go on while nobody reaches the other.
    fn both_go_on(&self, with: &str) {
        self.write("home/src/f", &format!("here {with}"));
        self.write("there/work/g", &format!("there {with}"));
        self.write("there/work/d/new", with);
    }

    /// Until all of that is on both sides, without a question.
    fn arrives(&self, with: &str) {
        let has = |rel: &str, text: &str| self.home.read(rel) == text;
        while !(has("there/work/f", &format!("here {with}"))
            && has("home/src/g", &format!("there {with}"))
            && has("home/src/d/new", with))
        {
            std::thread::yield_now();
        }
        while self.yeet(&["wait"]).0 != 0 {}
        self.same();
        assert_eq!(self.well(&["conflicts"]), "");
    }
}

#[test]
fn an_agent_that_stands_still_while_it_has_something_to_do_is_replaced_by_another() {
    let Some(rig) = rig() else { return };
    let stopped = session(&rig);
    send(&stopped[..1], Signal::STOP);
    rig.both_go_on("meanwhile");
    rig.arrives("meanwhile");
    send(&stopped, Signal::CONT);
    rig.both_go_on("after that");
    rig.arrives("after that");
    let log = rig.well(&["log", "-o", "act,note"]);
    assert!(log.contains("offline\tnas is gone: it did not answer in 15 s"), "{log}");
}

#[test]
fn who_waited_for_a_silent_data_socket_does_not_wait_as_long_for_ssh() {
    let Some(rig) = rig() else { return };
    let large: Vec<u8> =
        (0..60_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    fs::write(rig.at("made"), &large).unwrap();
    fs::rename(rig.at("made"), rig.at("home/src/large")).unwrap();
    let staged = || -> u64 {
        let below = fs::read_dir(rig.at("there/work/.yeet/src")).into_iter().flatten().flatten();
        below.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
    };
    while staged() < 8 << 20 {
        assert!(!rig.at("there/work/large").exists(), "it is under way");
        std::thread::yield_now();
    }
    send(&session(&rig)[..1], Signal::STOP);
    while !rig.at("there/work/large").exists() {
        std::thread::yield_now();
    }
    while rig.yeet(&["wait"]).0 != 0 {}
    assert!(fs::read(rig.at("there/work/large")).unwrap() == large);
    let log = rig.well(&["log", "-o", "act,note"]);
    assert!(log.contains("offline\tnas is gone: it did not answer in 2 s"), "{log}");
}

#[test]
fn a_host_that_has_slept_catches_up_once_it_is_awake() {
    let Some(rig) = rig() else { return };
    let asleep = session(&rig);
    rig.line.freeze();
    send(&asleep, Signal::STOP);
    rig.both_go_on("in its sleep");
    // Who asks is told soon, and is not who wakes it.
    let (code, said) = rig.yeet(&["wait"]);
    let leaves = rig.yeet(&["status", "-l"]).1;
    assert!(code == 1 && leaves.contains("\toffline\tunreachable\t"), "{said} {leaves}");
    send(&asleep, Signal::CONT);
    rig.line.mend();
    rig.arrives("in its sleep");
}

#[test]
fn a_server_that_starts_again_is_reached_again_without_a_question() {
    let Some(mut rig) = rig() else { return };
    for round in ["one", "two"] {
        let ended = session(&rig);
        // Nobody listens any more, and every session is over.
        rig.line.leads_to(1);
        send(&ended, Signal::KILL);
        rig.both_go_on(round);
        let (code, said) = rig.yeet(&["wait"]);
        assert_eq!(code, 1, "{said}");
        rig.server = Server::openssh_after(&rig.home, "MaxSessions 1", "");
        rig.line.leads_to(rig.server.port);
        rig.arrives(round);
    }
}

#[test]
fn several_leaves_on_a_host_that_does_not_answer_wait_for_one_attempt() {
    let Some(rig) = Rig::new() else { return };
    let config = rig.home.read("home/.ssh/config");
    rig.home.config(&format!("{config} ConnectTimeout 3\n"));
    rig.write("home/src/f", "first");
    let leaves = ["nas:work", "nas:two", "nas:three", "nas:four", "nas:five"];
    rig.well(&[&["add", "src"], &leaves[..]].concat());
    rig.well(&["wait"]);
    rig.line.came();
    rig.line.hush();
    let (code, said) = rig.yeet(&["wait"]);
    assert_eq!(code, 1, "{said}");
    let said = rig.yeet(&["status", "-l"]).1;
    assert_eq!(said.matches("\toffline\tunreachable\t").count(), leaves.len(), "{said}");
    // Who is not reached is tried again after a second or more.
    let came = rig.line.came();
    assert!((1..leaves.len()).contains(&came), "{came} attempts");
    rig.line.mend();
    rig.well(&["wait", "--offline"]);
    rig.same();
}

/// What a directory has is what a copy of it has.
fn play_back(rig: &Rig, copy: &str, to: &str) {
    for entry in fs::read_dir(rig.at(to)).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
    copy_all(rig, &format!("{copy}/."), to);
}

fn copy_all(rig: &Rig, from: &str, to: &str) {
    let copied = Command::new("cp").arg("-a").arg(rig.at(from)).arg(rig.at(to)).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_leaf_whose_host_came_back_from_a_snapshot_gets_what_is_newer_and_undoes_nothing() {
    let Some(rig) = rig() else { return };
    rig.write("home/src/edited", "old");
    rig.well(&["wait"]);
    copy_all(&rig, "there/work", "copy");
    rig.write("home/src/edited", "newer");
    rig.write("there/work/made", "since");
    rig.well(&["wait"]);
    rig.same();
    rig.line.cut();
    play_back(&rig, "copy", "there/work");
    rig.line.mend();
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    assert_eq!(rig.home.read("home/src/edited"), "newer");
    assert_eq!(rig.home.read("there/work/edited"), "newer", "it was what the source once had");
    assert_eq!(rig.home.read("there/work/made"), "since");
    assert_eq!(rig.well(&["conflicts"]), "");
    let log = rig.well(&["log", "--act", "older", "-o", "replica,note"]);
    assert_eq!(log, "work\tit is an older copy of itself: nothing is agreed with it\n");
}

#[test]
fn a_source_whose_host_came_back_from_a_snapshot_is_taken_up_at_the_next_start_and_undoes_nothing()
{
    let Some(rig) = Rig::new() else { return };
    rig.write("there/work/edited", "old");
    rig.well(&["add", "--name", "s", "nas:work", "src"]);
    rig.well(&["wait"]);
    copy_all(&rig, "there/work", "copy");
    rig.write("home/src/edited", "newer");
    rig.write("there/work/made", "since");
    rig.well(&["wait"]);
    rig.line.cut();
    play_back(&rig, "copy", "there/work");
    rig.line.mend();
    let (code, said) = rig.yeet(&["wait"]);
    assert_eq!(code, 1, "{said}");
    let why = rig.well(&["explain", "src/edited"]);
    assert!(why.contains("it is an older copy of itself; `yeet daemon stop`"), "{why}");
    rig.well(&["daemon", "stop"]);
    rig.well(&["daemon", "start"]);
    let (code, said) = rig.yeet(&["wait"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(rig.yeet(&["conflicts", "-p"]), (1, "edited\n".to_owned()));
    assert_eq!(rig.home.read("home/src/edited"), "newer");
    assert_eq!(rig.home.read("there/work/edited"), "old");
    assert_eq!(rig.home.read("there/work/made"), "since");
    rig.well(&["resolve", "--keep", "src", "src/edited"]);
    rig.well(&["wait"]);
    rig.same();
}
