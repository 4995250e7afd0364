//! Random work on both sides of a real sync while its daemon is killed, paused and asked; then the books are checked.
//!
//! Holds: what a user wrote and did not destroy himself is afterwards in a tree or among the kept versions, both trees
//! are equal once the conflicts are resolved, and no name is in them that no user gave.
//!
//! A few fixed seeds run with all tests; `YEET_CHURN_SEEDS=1000..2000 cargo test --test churn` runs others, and
//! `YEET_CHURN_SEEDS=17..18` one again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ledger;
#[allow(dead_code, reason = "the part of the rig that other tests use")]
#[path = "../system/rig.rs"]
mod rig;
mod user;

use std::ops::Range;

use ledger::Ledger;
use rig::Rig;
use user::{Dice, User};

const ACTS: usize = 300;
const SEEDS: Range<u64> = 1..13;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("YEET_CHURN_SEEDS") else { return SEEDS };
    let (from, to) = text.split_once("..").expect("seeds are FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn whatever_users_do_and_however_the_daemon_ends_no_byte_is_lost() {
    for seed in seeds() {
        churn(seed);
    }
}

fn churn(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut rig = Rig::synced(["two-way", "two-way", "two-way-source"][dice.below(3)]);
    let mut ledger = Ledger::default();
    let mut up = true;
    for act in 0..ACTS {
        let side = if dice.one_in(2) { "a" } else { "b" };
        let root = rig.path(side);
        User { side, root: &root, ledger: &mut ledger, dice: &mut dice, seed, act }.act();
        match dice.below(60) {
            0 | 1 if up => {
                ledger.note("daemon killed".to_owned());
                rig.kill();
                up = false;
            }
            2..=7 if !up => {
                ledger.note("daemon started".to_owned());
                rig.start();
                up = true;
            }
            8 if up => drop(rig.run(&["wait", "--timeout", "60"])),
            9 if up => drop(rig.run(&["pause", "s"])),
            10 | 11 if up => drop(rig.run(&["resume", "s"])),
            12 if up => {
                ledger.note("resolved".to_owned());
                resolve(&rig, &mut dice);
            }
            13 if up => drop(rig.run(&["status", "--files"])),
            _ => {}
        }
    }
    if !up {
        rig.start();
    }
    rig.ok(&["resume", "s"]);
    end(&rig, &mut dice, seed);
    let log = rig.ok(&["log", "s", "--limit", "100000"]);
    ledger.check(&rig.path(""), &log, seed);
}

fn resolve(rig: &Rig, dice: &mut Dice) {
    let keep = if dice.one_in(2) { "source" } else { "b" };
    drop(rig.run(&["resolve", "--sync", "s", "--keep", keep, "--all"]));
}

/// Resolves what is left; then both sides are the same.
fn end(rig: &Rig, dice: &mut Dice, seed: u64) {
    for _ in 0..50 {
        let waited = rig.run(&["wait", "--timeout", "60"]);
        if waited.code == 0 {
            assert_eq!(rig.tree("a"), rig.tree("b"), "seed {seed}");
            let stray = rig.tree("a").into_iter().find(|line| !user::is_given(line));
            assert_eq!(stray, None, "seed {seed}");
            return;
        }
        assert_eq!(waited.code, 1, "seed {seed}: {waited:?}\n{}", rig.log());
        drop(rig.run(&["allow", "s"]));
        resolve(rig, dice);
    }
    let asked = [&["status", "-l"][..], &["status", "--files"], &["conflicts", "-l"]];
    let mut told: Vec<String> = asked.iter().map(|args| rig.run(args).stdout).collect();
    for row in told[1].clone().lines() {
        let path = row.rsplit('\t').next().unwrap_or_default();
        told.push(rig.run(&["explain", "--sync", "s", path]).stdout);
    }
    panic!("seed {seed} does not settle: {told:#?}\n{}", rig.log());
}
