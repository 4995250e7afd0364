//! Bad input: a clear word, the right exit code, nothing done.

use std::fs;

use crate::rig::Rig;

#[track_caller]
fn refused(rig: &Rig, code: i32, args: &[&str], says: &str) {
    let out = rig.run(args);
    assert_eq!(out.code, code, "{args:?}: {out:?}");
    assert!(out.stderr.to_lowercase().contains(&says.to_lowercase()), "{args:?}: {out:?}");
}

#[test]
fn roots_that_cannot_be_synced_are_refused() {
    let mut rig = Rig::new();
    rig.write("file", "x");
    rig.start();
    refused(&rig, 3, &["add", "nowhere", "b"], "nowhere");
    refused(&rig, 3, &["add", "file", "b"], "not a directory");
    refused(&rig, 3, &["add", "a", "file"], "not a directory");
    refused(&rig, 2, &["add", "a", "a"], "same");
    fs::create_dir(rig.path("a/inner")).unwrap();
    refused(&rig, 2, &["add", "a", "a/inner"], "inside");
    refused(&rig, 3, &["add", "a", "host.invalid:/path"], "cannot reach host.invalid");
    refused(&rig, 2, &["add", "a", "@host:/path"], "empty user");
    refused(&rig, 2, &["add", "--mode", "sideways", "a", "b"], "sideways");
    refused(&rig, 2, &["frobnicate"], "frobnicate");
    assert_eq!(rig.ok(&["list"]), "");
    rig.ok(&["add", "a", "b"]);
    rig.settle();
    refused(&rig, 3, &["status", "nosuch"], "nosuch");
}

#[test]
fn without_a_daemon_it_says_so() {
    let rig = Rig::new();
    refused(&rig, 3, &["status"], "daemon");
    refused(&rig, 3, &["daemon", "status"], "");
}

/// The rows of the doctor: step and state.
fn doctor(rig: &Rig, code: i32) -> Vec<(String, String, String)> {
    let said = rig.exits(code, &["doctor"]);
    let row = |line: &str| {
        let mut fields = line.splitn(3, '\t').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_else(|| panic!("{said}"));
        (next(), next(), next())
    };
    said.lines().map(row).collect()
}

#[test]
fn the_doctor_says_what_this_machine_has_and_which_of_it_is_wrong() {
    let mut rig = Rig::new();
    let steps = ["version", "config", "state", "cache", "daemon", "watches", "files", "ssh"];
    let row = |rows: &[(String, String, String)], step: &str| {
        rows.iter()
            .find(|(s, ..)| s == step)
            .unwrap_or_else(|| panic!("no {step}: {rows:?}"))
            .clone()
    };
    let rows = doctor(&rig, 0);
    steps.iter().for_each(|step| drop(row(&rows, step)));
    assert_eq!(row(&rows, "daemon").1, "note", "{rows:?}");
    rig.start();
    assert_eq!(row(&doctor(&rig, 0), "daemon").1, "ok");
    rig.write("config/yeet/config.toml", "mode = \"sideways\"\n");
    let rows = doctor(&rig, 1);
    let (_, state, detail) = row(&rows, "config");
    assert!(state == "failed" && detail.contains("config.toml:1"), "{rows:?}");
    assert!(rows.iter().any(|(step, ..)| step == "mend"), "{rows:?}");
    refused(&rig, 2, &["doctor", "--", "-oProxyCommand=x"], "begins with `-`");
    refused(&rig, 2, &["doctor", "nas:99999"], "a port is a number");
    refused(&rig, 2, &["doctor", "a b"], "which no user and no host has");
}

#[test]
fn a_daemon_that_was_stopped_can_be_started_at_once() {
    let rig = Rig::synced("two-way");
    for _ in 0..5 {
        rig.ok(&["daemon", "stop"]);
        rig.exits(3, &["daemon", "status"]);
        rig.ok(&["daemon", "start"]);
        rig.ok(&["wait", "--timeout", "60"]);
    }
    rig.ok(&["daemon", "stop"]);
}

#[test]
fn a_second_daemon_is_refused() {
    let mut rig = Rig::new();
    rig.start();
    refused(&rig, 3, &["daemon", "run"], "already");
}

#[test]
fn an_unknown_config_key_is_named_with_its_line() {
    let mut rig = Rig::new();
    rig.start();
    rig.write("config/yeet/config.toml", "keep-agee = \"30d\"\n");
    refused(&rig, 2, &["daemon", "run"], "keep-age");
}

#[test]
fn a_leaf_that_does_not_exist_is_made() {
    let mut rig = Rig::new();
    rig.write("a/f", "x");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "new/leaf"]);
    rig.settle();
    assert_eq!(rig.read("new/leaf/f"), "x");
}

#[test]
fn an_unknown_option_is_named() {
    let rig = Rig::new();
    refused(&rig, 2, &["status", "--frobnicate"], "--frobnicate");
    refused(&rig, 2, &["add", "--frobnicate", "a", "b"], "--frobnicate");
}

#[test]
fn a_registry_that_cannot_be_read_is_named_and_left_as_it_is() {
    let mut rig = Rig::synced("two-way");
    rig.stop();
    let registry = rig.path("state/yeet/registry.redb");
    assert!(registry.exists());
    fs::write(&registry, "no registry").unwrap();
    refused(&rig, 3, &["daemon", "run"], "registry.redb");
    assert_eq!(fs::read(&registry).unwrap(), b"no registry");
}
