//! Several ways to one host: which is used, what becomes of what is under way when it breaks.
//!
//! Holds: a way is cut or made slow between the machines, never by asking yeet.

use std::fs;
use std::time::Duration;

use super::daemon::{Rig, noise};
use super::line::Line;

/// What each piece takes longer on a way that is not the better one.
const SLOW: Duration = Duration::from_millis(40);

/// A home whose host has a second way.
fn rig() -> Option<(Rig, Line)> {
    let rig = Rig::new()?;
    let other = Line::to(rig.server.port);
    Some((rig, other))
}

fn way(line: &Line) -> String {
    format!("127.0.0.1:{}", line.proxy.port)
}

impl Rig {
    /// What `route` says of the ways, as soon as it says this.
    fn ways_until(&self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let ways = self.well(&["route", "nas"]);
            if is_it(&ways) {
                return ways;
            }
        }
    }

    /// The way by which the leaf is reached.
    fn used(&self) -> String {
        let said = self.yeet(&["status", "-l"]).1;
        said.split('\t').nth(6).unwrap_or_default().to_owned()
    }
}

#[test]
fn the_ways_are_the_written_ones_and_what_the_ssh_config_says() {
    let Some((rig, other)) = rig() else { return };
    assert_eq!(rig.well(&["route", "nas"]), "nas\tnas\tuntried\t-\t-\n");
    rig.well(&["route", "nas", &way(&other), "gate>127.0.0.1"]);
    let said = rig.well(&["route", "nas", "-o", "route,state"]);
    assert_eq!(
        said,
        format!("{}\tuntried\ngate > 127.0.0.1\tuntried\nnas\tuntried\n", way(&other))
    );
    let config = rig.home.read("home/.config/yeet/config.toml");
    assert!(config.starts_with("[host.nas]\nroutes = [\"127.0.0.1:"), "{config}");
    for wrong in ["a >", "-oProxyCommand=x", "a b"] {
        let (code, said) = rig.yeet(&["route", "nas", "--", wrong]);
        assert!(code == 2, "{wrong}: {said}");
    }
    assert_eq!(rig.home.read("home/.config/yeet/config.toml"), config, "nothing was done");
    rig.well(&["route", "nas", "--default"]);
    assert_eq!(rig.well(&["route", "nas", "-o", "route"]), "nas\n");
}

#[test]
fn when_the_way_breaks_the_one_that_stands_by_is_used_and_nothing_is_lost_or_in_conflict() {
    let Some((rig, other)) = rig() else { return };
    // So slow that nobody moves to it on the busiest machine.
    other.slow(SLOW);
    rig.well(&["route", "nas", &way(&other)]);
    rig.write("home/src/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.ways_until(|ways| {
        ways.contains("nas\tnas\tused\t") && ways.contains(&format!("{}\tready\t", way(&other)))
    });
    // Before anything is there: on a busy machine it could be carried before it is cut.
    rig.line.cut_after(20_000);
    for n in 0..60 {
        rig.write(&format!("home/src/d/{n}"), &noise(n * 200));
    }
    // Whoever waits may be told that the leaf was away.
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    assert_eq!(rig.used(), way(&other));
    assert_eq!(rig.well(&["conflicts"]), "");
    let log = rig.well(&["log", "--act", "route", "--json"]);
    let said = format!("by {}: the connection by nas broke", way(&other));
    assert!(
        log.contains(&said),
        "{said}\n{log}\n{}\n{}",
        rig.well(&["route", "nas"]),
        rig.well(&["log", "-o", "when,act,note,path"])
    );
    let why = rig.well(&["explain", "src/f"]);
    assert!(why.contains(&format!("work by {}: used", way(&other))), "{why}");
    // It is back: it stands by, as it is no better.
    rig.line.mend_slow(SLOW * 2);
    rig.well(&["route", "nas", &way(&other)]);
    rig.ways_until(|ways| ways.contains("nas\tnas\tready\t"));
    assert_eq!(rig.used(), way(&other));
    other.cut();
    rig.write("there/work/d/there", "made there");
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    assert_eq!(rig.used(), "nas");
}

#[test]
fn a_clearly_better_way_is_moved_to_while_work_goes_on() {
    let Some((rig, fast)) = rig() else { return };
    rig.write("home/src/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    assert_eq!(rig.used(), "nas");
    rig.line.slow(Duration::from_millis(15));
    for n in 0..40 {
        rig.write(&format!("home/src/d/{n}"), &noise(n * 900));
    }
    rig.well(&["route", "nas", &way(&fast)]);
    let ways = rig.ways_until(|ways| ways.contains(&format!("{}\tused\t", way(&fast))));
    assert!(ways.contains("it is better than nas: "), "{ways}");
    assert!(
        ways.contains("nas\tnas\tready\t"),
        "what it was is there for when that breaks: {ways}"
    );
    fs::remove_file(rig.at("there/work/f")).unwrap();
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    assert_eq!(rig.used(), way(&fast));
    assert_eq!(rig.well(&["conflicts"]), "");
    let log = rig.well(&["log"]);
    assert!(!log.contains("\toffline\t"), "it was never away: {log}");
}

#[test]
fn a_way_on_which_nothing_moves_any_more_is_left_while_something_is_under_way() {
    let Some((rig, other)) = rig() else { return };
    rig.well(&["route", "nas", &way(&other)]);
    rig.write("home/src/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.ways_until(|ways| ways.contains("\tready\t"));
    other.freeze();
    rig.write("home/src/f", "second");
    // Nobody asks how it stands: that it is silent is noticed by the work itself.
    while rig.home.read("there/work/f") != "second" {
        std::thread::yield_now();
    }
    while rig.yeet(&["wait"]).0 != 0 {}
    assert_eq!(rig.used(), "nas");
    rig.same();
}

#[test]
fn a_large_file_under_way_goes_on_by_the_other_way_when_its_own_breaks() {
    let Some((rig, other)) = rig() else { return };
    rig.well(&["route", "nas", &way(&other)]);
    rig.write("home/src/f", "first");
    rig.well(&["add", "--ssh-only", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.ways_until(|ways| ways.contains("\tready\t"));
    let (first, second) = match rig.used() == "nas" {
        true => (&rig.line, &other),
        false => (&other, &rig.line),
    };
    let large: Vec<u8> =
        (0..40_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    first.passed();
    second.passed();
    fs::write(rig.at("made"), &large).unwrap();
    fs::rename(rig.at("made"), rig.at("home/src/large")).unwrap();
    while first.has_passed() < 20 << 20 {
        std::thread::yield_now();
    }
    first.cut();
    while second.has_passed() < 1 << 20 {
        assert!(!rig.at("there/work/large").exists(), "it is under way");
        std::thread::yield_now();
    }
    while rig.yeet(&["wait"]).0 != 0 {}
    assert!(fs::read(rig.at("there/work/large")).unwrap() == large);
    let passed = first.passed() + second.passed();
    assert!(passed < large.len() as u64 + (8 << 20), "{passed} of {}", large.len());
    assert_eq!(rig.well(&["conflicts"]) + &rig.yeet(&["versions", "src"]).1, "");
}
