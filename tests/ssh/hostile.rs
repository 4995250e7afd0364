//! An agent that lies: what it says is refused and named, nothing of it is written anywhere, and all else goes on.
//!
//! Holds: it is the real agent, and what it says is changed on the host ([`super::between`]); that it lies no more is all that
//! has to happen for its replica to be in sync again.

use std::collections::BTreeSet;
use std::fs;

use super::at;
use super::between::{self, MARK};
use super::daemon::Rig;
use super::server::{Home, has, has_namespaces};

/// A home whose host can be made to lie, before anything is there.
fn bare() -> Option<Rig> {
    if !has("sshd") || !has_namespaces() {
        return None;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    let server = between::server(&home);
    at(&home, &server);
    Rig::of((home, server))
}

/// The same, with a leaf there and one here, and a sync that has nothing to do with it.
fn rig() -> Option<Rig> {
    let rig = bare()?;
    rig.write("home/src/f", "first");
    rig.write("home/other/x", "first");
    rig.well(&["add", "src", "nas:work", "near"]);
    rig.well(&["add", "other", "copy"]);
    rig.well(&["wait"]);
    Some(rig)
}

impl Rig {
    fn lies(&self, about: &str) {
        self.home.write("etc/orders", about);
    }

    fn lies_no_more(&self) {
        fs::remove_file(self.at("etc/orders")).unwrap();
        while self.yeet(&["wait"]).0 != 0 {}
        self.same();
        assert_eq!(self.well(&["conflicts"]), "");
    }

    /// That what has nothing to do with the host goes on.
    fn goes_on(&self, with: &str) {
        self.write("home/other/x", with);
        self.write("home/src/here", with);
        self.well(&["wait", "other"]);
        self.well(&["wait", "--leaf", "near", "src"]);
        assert_eq!(self.home.read("home/copy/x"), with);
        assert_eq!(self.home.read("home/near/here"), with);
    }

    /// All names that are not in a replica, or in what yeet keeps.
    fn around(&self) -> BTreeSet<String> {
        let of = |dir: &str| {
            let names = fs::read_dir(self.at(dir)).unwrap().flatten();
            names.map(|e| format!("{dir}/{}", e.file_name().to_string_lossy())).collect::<Vec<_>>()
        };
        ["", "home", "there"].into_iter().flat_map(of).collect()
    }

    /// What `explain` says of a file, for whoever is told that something is wrong.
    fn why(&self, path: &str) -> String {
        self.well(&["explain", path])
    }

    /// Has a connection made whose agent lies from its first word; why nothing it says counts is in `why`.
    fn is_cut_off(&self, about: &str, why: &str) {
        let around = self.around();
        self.lies(about);
        self.line.cut();
        self.line.mend();
        let (code, said) = self.yeet(&["wait", "src"]);
        assert_eq!(code, 1, "{about}: {said}");
        self.goes_on(about);
        let explained = self.why("src/f");
        let offline = explained.lines().find(|line| line.contains("offline: work (unreachable): "));
        let is_named = offline.is_some_and(|line| line.contains("nas") && line.contains(why));
        assert!(is_named, "{about}: {explained}");
        assert_eq!(self.home.read("home/src/f"), "first", "{about}");
        assert_eq!(self.around(), around, "{about}");
    }
}

#[test]
fn names_that_there_cannot_be_are_refused_and_nothing_of_them_is_made() {
    let Some(rig) = rig() else { return };
    for (about, why) in [
        ("name ..", "a path component is '.' or '..'"),
        ("name .", "a path component is '.' or '..'"),
        ("name a/b", "a path component holds a '/' or a NUL byte"),
        ("name /etc/yeet-was-here", "a path component holds a '/' or a NUL byte"),
        ("name a%b", "a path component holds a '/' or a NUL byte"),
        ("name -", "a path component is empty"),
        ("name x*300", "it holds too much"),
        ("dir ../home", "a path component is '.' or '..'"),
        ("dir /etc", "a path component is empty"),
        ("dir a//b", "a path component is empty"),
        ("dir x/*40000", "it holds too much"),
    ] {
        rig.is_cut_off(about, why);
    }
    rig.lies_no_more();
    assert!(!fs::exists("/etc/yeet-was-here").unwrap());
}

#[test]
fn what_is_no_frame_or_of_no_stream_or_too_long_ends_the_connection() {
    let Some(rig) = rig() else { return };
    for (about, why) in [
        ("garbage", "what came makes no sense: a frame of "),
        ("frame", "a frame of 2147483647 bytes, and the longest there can be has 1048576"),
        ("stream", "it speaks on stream 999, which there is not"),
        ("message", "a message that is too long"),
    ] {
        rig.is_cut_off(about, why);
    }
    rig.lies_no_more();
}

#[test]
fn a_directory_that_nobody_asked_about_and_calls_to_nobody_do_no_harm() {
    let Some(rig) = rig() else { return };
    for about in ["unasked no/such", "unasked d", "call"] {
        let around = rig.around();
        rig.lies(about);
        rig.line.cut();
        rig.line.mend();
        // Its replica may be anything by now.
        rig.yeet(&["wait", "src"]);
        rig.goes_on(about);
        assert_eq!(rig.around(), around);
        assert_eq!(rig.home.read("home/src/f"), "first");
        assert!(!rig.at("home/src/no").exists() && !rig.at("home/src/d").exists());
        rig.line.cut();
        rig.line.mend();
        rig.lies_no_more();
    }
}

#[test]
fn bytes_that_are_not_those_announced_are_a_problem_of_their_file_and_never_get_its_name() {
    let Some(rig) = rig() else { return };
    let mark = String::from_utf8(MARK.to_vec()).unwrap();
    for (about, why) in [
        ("flip", "cannot carry its bytes on nas: what came is not what was announced"),
        ("more", "cannot carry its bytes on nas: more of them came than were announced"),
        ("early", "cannot understand what is said on nas: it ended before its answer"),
        ("length", "cannot understand what is said on nas: a message that is too long"),
    ] {
        let around = rig.around();
        let here = format!("home/src/{about}");
        rig.lies(about);
        rig.write(&format!("there/work/{about}"), &mark);
        let (code, said) = rig.yeet(&["wait", "src"]);
        assert_eq!(code, 1, "{about}: {said}");
        let explained = rig.why(&format!("src/{about}"));
        assert!(explained.contains(why), "{about}: {explained}");
        assert!(!rig.at(&here).exists(), "{about}");
        assert_eq!(rig.around(), around, "{about}");
        rig.write("home/other/x", about);
        rig.well(&["wait", "other"]);
        assert_eq!(rig.home.read("home/copy/x"), about);
        rig.lies_no_more();
        assert_eq!(rig.home.read(&here), mark);
    }
}

#[test]
fn an_answer_that_is_none_counts_for_nothing_and_what_is_there_for_all() {
    let Some(rig) = rig() else { return };
    for about in ["length", "jobs", "part"] {
        rig.lies(about);
        rig.write(&format!("home/src/{about}"), about);
        rig.write(&format!("home/src/d/{about}"), about);
        // The agent has done what it was told, whatever came back.
        while rig.yeet(&["wait", "src"]).0 != 0 {}
        rig.same();
        rig.lies_no_more();
    }
}

#[test]
fn a_host_that_says_a_replica_is_where_no_path_leads_is_refused_at_once() {
    let Some(rig) = bare() else { return };
    rig.write("home/src/f", "first");
    for path in ["relative/work", "../work"] {
        rig.lies(&format!("opened {path}"));
        let (code, said) = rig.yeet(&["add", "src", "nas:work"]);
        assert_eq!(code, 3, "{said}");
        assert!(
            said.contains("the agent on nas left: it has opened ") && said.contains(path),
            "{said}"
        );
    }
    fs::remove_file(rig.at("etc/orders")).unwrap();
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.same();
}

#[test]
fn a_data_socket_that_is_not_the_one_told_of_is_not_used_and_strangers_there_are_named() {
    let Some(rig) = rig() else { return };
    let large =
        |seed: u8| -> Vec<u8> { (0..17_u32 << 20).map(|n| (n % 251) as u8 ^ seed).collect() };
    for (seed, about, data, turned_away) in [
        (1, "pin", "work: data goes by SSH: 127.0.0.1:", "certificate"),
        (2, "token", "work: data goes by SSH: 127.0.0.1:", "it shows another token"),
        (3, "port", "work: data goes by SSH: 127.0.0.1:", ""),
        (4, "strangers", "work: data goes by a socket of its own", "certificate"),
    ] {
        rig.lies(&format!("socket {about}"));
        rig.line.cut();
        rig.line.mend();
        rig.well(&["wait", "--offline"]);
        fs::write(rig.at("made"), large(seed)).unwrap();
        fs::rename(rig.at("made"), rig.at("home/src/large")).unwrap();
        rig.well(&["wait"]);
        let explained = rig.why("src/f");
        assert!(
            explained.contains(data) && explained.contains(turned_away),
            "{about}: {explained}"
        );
        rig.same();
    }
    rig.lies_no_more();
}

#[test]
fn a_host_that_shows_another_key_or_a_revoked_one_is_offline_and_nothing_is_asked_of_it() {
    let Some(rig) = rig() else { return };
    let known = rig.home.read("home/.ssh/known_hosts");
    let (_, own) = known.trim().split_once(' ').unwrap();
    let other = rig.home.key("keys/other", "ed25519", "");
    for (about, lines, why) in [
        ("another key", known.replace(own, &other), "known_hosts:1"),
        ("a revoked key", format!("{known}@revoked * {own}\n"), "is revoked at"),
    ] {
        rig.home.write("home/.ssh/known_hosts", &lines);
        rig.line.cut();
        rig.line.mend();
        rig.write("there/work/there", about);
        let (code, said) = rig.yeet(&["wait", "src"]);
        assert_eq!(code, 1, "{about}: {said}");
        rig.goes_on(about);
        let explained = rig.why("src/f");
        assert!(
            explained.contains("offline: work (hostkey): ") && explained.contains(why),
            "{about}: {explained}"
        );
        assert_eq!(rig.home.read("home/.ssh/known_hosts"), lines, "nothing was written");
        rig.home.write("home/.ssh/known_hosts", &known);
        while rig.yeet(&["wait", "--offline", "src"]).0 != 0 {}
        rig.same();
        assert_eq!(rig.home.read("home/src/there"), about);
    }
}
