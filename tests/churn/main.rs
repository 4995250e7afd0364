//! Random work on both sides of a real sync while its daemon is killed, paused and asked, its leaf's disk is full or
//! read-only and its state is deleted; then the books are checked.
//!
//! Holds: what a user wrote and did not destroy himself is afterwards in a tree or among the kept versions, both trees
//! are equal once the conflicts are resolved, and no name is in them that no user gave.
//!
//! A few fixed seeds run with all tests; `YEET_CHURN_SEEDS=1000..2000 cargo test --test churn` runs others, and
//! `YEET_CHURN_SEEDS=17..18` one again. `YEET_CHURN_MINUTES=20` runs fresh ones for so long. With
//! `YEET_CHURN_FS=ext4,xfs,btrfs,tmpfs` (any of them) both replicas are on file systems of that kind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ground;
mod ledger;
#[allow(dead_code, reason = "the part of it that other tests use")]
#[path = "../system/mount.rs"]
mod mount;
#[allow(dead_code, reason = "the part of the rig that other tests use")]
#[path = "../system/rig.rs"]
mod rig;
mod user;

use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use ground::Ground;
use ledger::Ledger;
use mount::Kind;
use rig::Rig;
use user::{Dice, User};

const ACTS: usize = 300;
const SEEDS: Range<u64> = 1..13;

/// The seeds that are asked for, or the usual ones.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("YEET_CHURN_SEEDS") else { return SEEDS };
    let (from, to) = text.split_once("..").expect("seeds are FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Since when and how long fresh seeds are to be run.
fn minutes() -> Option<(Instant, Duration)> {
    let text = std::env::var("YEET_CHURN_MINUTES").ok()?;
    let minutes: u64 = text.parse().expect("minutes are a number");
    Some((Instant::now(), Duration::from_secs(60 * minutes)))
}

/// The kinds of file systems that are asked for; `None` is whatever the rig stands on.
fn kinds() -> Vec<Option<Kind>> {
    let Ok(text) = std::env::var("YEET_CHURN_FS") else { return vec![None] };
    let names = text.split([',', '|', ' ']).filter(|name| !name.is_empty());
    let kind = |name| Kind::named(name).unwrap_or_else(|| panic!("no file system {name}"));
    names.map(|name| Some(kind(name))).collect()
}

#[test]
fn whatever_users_do_and_however_the_daemon_ends_no_byte_is_lost() {
    for kind in kinds() {
        let mut run = 0_u64;
        if let Some((begin, length)) = minutes() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let fresh = now.as_secs() << 16;
            while begin.elapsed() < length && churn(fresh + run, kind) {
                run += 1;
            }
        } else {
            run = seeds().map(|seed| u64::from(churn(seed, kind))).sum();
        }
        say(kind, run);
    }
}

#[allow(clippy::print_stdout, reason = "a long run says how long it was")]
fn say(kind: Option<Kind>, seeds: u64) {
    println!("{seeds} seeds on {}", kind.map_or("the usual directories", Kind::name));
}

/// A sync at its beginning.
struct Run {
    // In this order: a disk is taken away before the directory it is mounted in.
    ground: Ground,
    rig: Rig,
    mode: &'static str,
    ledger: Ledger,
    dice: Dice,
    up: bool,
}

impl Run {
    /// `None` where the file systems cannot be made.
    fn begin(seed: u64, kind: Option<Kind>) -> Option<Self> {
        let mut dice = Dice::new(seed);
        let mode = ["two-way", "two-way", "two-way-source"][dice.below(3)];
        let mut rig = Rig::new();
        let ground = match kind {
            Some(kind) => Ground::of(kind, &rig)?,
            None => Ground::bare(),
        };
        rig.start();
        rig.ok(&["add", "--name", "s", "--mode", mode, "a", "b"]);
        rig.settle();
        Some(Self { ground, rig, mode, ledger: Ledger::default(), dice, up: true })
    }

    fn kill(&mut self) {
        if std::mem::take(&mut self.up) {
            self.ledger.note("daemon killed".to_owned());
            self.rig.kill();
        }
    }

    fn start(&mut self) {
        if !std::mem::replace(&mut self.up, true) {
            self.ledger.note("daemon started".to_owned());
            self.rig.start();
        }
    }

    /// What befalls the daemon and its surroundings after a user's act.
    fn fate(&mut self) {
        match self.dice.below(60) {
            0 | 1 => self.kill(),
            2..=7 => self.start(),
            8 if self.up => drop(self.rig.run(&["wait", "--timeout", "60"])),
            9 if self.up => drop(self.rig.run(&["pause", "s"])),
            10 | 11 if self.up => drop(self.rig.run(&["resume", "s"])),
            12 if self.up => {
                self.ledger.note("resolved".to_owned());
                self.resolve();
            }
            13 if self.up => drop(self.rig.run(&["status", "--files"])),
            14 => self.ground.turn_full(&mut self.ledger),
            15 if self.ground.is_read_only => self.ground.turn_read_only(&mut self.ledger),
            15 => {
                self.kill();
                self.ground.turn_read_only(&mut self.ledger);
                self.start();
            }
            16 if self.dice.one_in(3) => {
                self.kill();
                ground::forget_all(&self.rig, &mut self.ledger);
                self.start();
                // On a disk that is full or read-only it may fail: then it is added at the end.
                self.add();
            }
            _ => {}
        }
    }

    fn add(&self) {
        drop(self.rig.run(&["add", "--name", "s", "--mode", self.mode, "a", "b"]));
    }

    fn resolve(&mut self) {
        let keep = if self.dice.one_in(2) { "source" } else { "b" };
        drop(self.rig.run(&["resolve", "--sync", "s", "--keep", keep, "--all"]));
    }

    /// Resolves what is left; then both sides are the same.
    fn end(&mut self, seed: u64) {
        self.ground.mend(&mut self.ledger);
        self.start();
        if !self.rig.ok(&["list"]).starts_with("s\t") {
            self.add();
        }
        self.rig.ok(&["resume", "s"]);
        for _ in 0..50 {
            let waited = self.rig.run(&["wait", "--timeout", "60"]);
            if waited.code == 0 {
                assert_eq!(self.rig.tree("a"), self.rig.tree("b"), "seed {seed}");
                let stray = self.rig.tree("a").into_iter().find(|line| !user::is_given(line));
                assert_eq!(stray, None, "seed {seed}");
                return;
            }
            assert_eq!(waited.code, 1, "seed {seed}: {waited:?}\n{}", self.rig.log());
            drop(self.rig.run(&["allow", "s"]));
            // What failed is tried again at once.
            drop(self.rig.run(&["resume", "s"]));
            self.resolve();
        }
        self.tell(seed);
    }

    /// It does not come to rest.
    fn tell(&self, seed: u64) -> ! {
        let rig = &self.rig;
        let asked = [&["status", "-l"][..], &["status", "--files"], &["conflicts", "-l"]];
        let mut told: Vec<String> = asked.iter().map(|args| rig.run(args).stdout).collect();
        for row in told[1].clone().lines() {
            let path = row.rsplit('\t').next().unwrap_or_default();
            told.push(rig.run(&["explain", "--sync", "s", path]).stdout);
        }
        panic!("seed {seed} does not settle: {told:#?}\n{}", rig.log());
    }
}

/// Runs a seed; false where its file systems cannot be made.
fn churn(seed: u64, kind: Option<Kind>) -> bool {
    let Some(mut run) = Run::begin(seed, kind) else { return false };
    for act in 0..ACTS {
        let side = if run.dice.one_in(2) { "a" } else { "b" };
        let root = run.rig.path(side);
        let (ledger, dice) = (&mut run.ledger, &mut run.dice);
        User { side, root: &root, ledger, dice, seed, act }.act();
        run.fate();
    }
    run.end(seed);
    let log = run.rig.ok(&["log", "s", "--limit", "100000"]);
    run.ledger.check(&run.rig.path(""), &log, seed);
    true
}
