//! Random histories: users, faults and steps of the engine, from one seed; then rest, and the books are checked.
//!
//! `YEET_SIM_SEEDS=0..1000000 cargo test --release --lib sim::history` runs others and tells how many a second;
//! `YEET_SIM_SEEDS=17..18` one again. A history that fails is made shorter by removing whole acts: what each of them
//! does, and what the engine does after it, is drawn from dice of its own. `YEET_SIM_LINES` sets how much is shown.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::bench::value_of;
use super::habits::Habit;
use super::links;
use super::users::{self, Dice};
use super::world::{ROOTS, World, last_trace};
use crate::service::actor::Pace;
use crate::sys::sim::{Kernel, with};

const ACTS: usize = 60;
const SEEDS: Range<u64> = 0..200;
const ERRNOS: [i32; 6] =
    [libc::EIO, libc::ENOSPC, libc::EMFILE, libc::EINTR, libc::ESTALE, libc::EACCES];

/// Those that were asked for, or these.
pub(super) fn seeds_or(usual: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var("YEET_SIM_SEEDS") else { return usual };
    let (from, to) = text.split_once("..").expect("seeds are FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// What happens to the machine beside what users do.
fn environment(world: &mut World, dice: &mut Dice, seed: u64) -> Result<(), String> {
    match dice.below(40) {
        0 | 1 if world.is_up() => {
            // In the middle of whatever comes next.
            let changes = dice.below(12);
            with(|kernel| kernel.plan.die = Some(kernel.changes + changes));
            for _ in 0..40 {
                world.step(dice);
            }
            if dice.one_in(2) { world.kill() } else { world.crash(dice) }
        }
        2 => world.crash(dice),
        3 | 4 if world.is_up() => with(|kernel| {
            let call = kernel.calls + dice.below(60);
            kernel.plan.fail = Some((call, ERRNOS[dice.index(ERRNOS.len())]));
        }),
        5 => {
            let at = dice.index(world.disks);
            with(|kernel| kernel.disks[at].full ^= true);
        }
        6 | 7 => world.disturb_events(dice),
        8 | 9 => world.resolve(dice),
        10 => world.scan_all(),
        11 => unmount(world, dice, seed),
        12 => mount(world)?,
        13..=22 if !world.is_up() => world.start(),
        _ => {}
    }
    Ok(())
}

fn unmount(world: &mut World, dice: &mut Dice, seed: u64) {
    let at = dice.index(world.disks);
    with(|kernel| {
        kernel.log.push(format!("{at} is unmounted"));
        kernel.mounts.retain(|_, disk| *disk != at);
    });
    // Not by the dice: what older seeds found stays what they do.
    if matches!(seed % 32, 4 | 29) {
        world.put_stranger(at);
    }
}

/// Everything is where it was; a daemon that missed it starts again.
fn mount(world: &mut World) -> Result<(), String> {
    let misused = world.misused_stranger();
    let missing = !world.all_there();
    let disks = world.disks;
    with(|kernel| kernel.mounts = (0..disks).map(|n| (ROOTS[n].into(), n)).collect());
    if missing && world.is_up() {
        world.kill();
    }
    misused.map_or(Ok(()), Err)
}

/// Where the replicas of a history are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    /// Some of them on machines with agents.
    Apart,
}

impl Place {
    /// The test that runs these.
    fn test(self) -> &'static str {
        match self {
            Self::Here => "sim::history",
            Self::Apart => "sim::links",
        }
    }
}

/// Runs the history of a seed without some of its acts. What is wrong, if anything is.
fn run((place, seed): (Place, u64), without: &BTreeSet<usize>) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let disks = 2 + dice.index(4) / 3;
    let grain = [0, 0, 0, 10_000_000][dice.index(4)];
    let exchange = !dice.one_in(6);
    let mut world = World::new(disks, grain, exchange);
    // Not by the dice: what older seeds found stays what they do.
    if seed % 8 == 5 {
        world.record.groups = vec![vec!["a".to_owned(), "b".to_owned()]];
    }
    if seed & 8 == 0 {
        world.names = Pace::LASTING.names;
    }
    if place == Place::Apart {
        world.move_away(links::disks_of(seed, disks));
    }
    if dice.one_in(2) {
        world.start();
    }
    let mut questions = Dice::new(!seed);
    for act in 0..ACTS {
        let mut dice = Dice::new(seed ^ (act as u64 + 1).wrapping_mul(0x00d1_b54a_32d1_92ed));
        if without.contains(&act) {
            continue;
        }
        let ledger = world.ledger.clone();
        with(|kernel| {
            users::act(kernel, &mut ledger.borrow_mut(), &mut dice);
        });
        environment(&mut world, &mut dice, seed)?;
        world.trouble(&mut dice);
        let habit = Habit::of(seed);
        if place == Place::Here || habit != Habit::Losing {
            habit.act(&mut world, &mut dice);
        }
        if questions.one_in(3) {
            // Not by the dice: what older seeds found stays what they do.
            world.ask(&mut questions, seed % 10 == 7);
        }
        for _ in 0..dice.below(40) {
            world.step(&mut dice);
        }
        fault(&world)?;
    }
    end(&mut world, &mut dice)?;
    if seed % 8 == 2 {
        world.check_neutrality(&mut dice)?;
        fault(&world)?;
    }
    Ok(())
}

fn fault(world: &World) -> Result<(), String> {
    world.ledger.borrow_mut().fault.take().map_or(Ok(()), Err)
}

/// Everything works again; then all is the same everywhere, and stays so.
pub(super) fn end(world: &mut World, dice: &mut Dice) -> Result<(), String> {
    mount(world)?;
    world.machines.heal();
    with(|kernel| {
        kernel.plan = Default::default();
        kernel.disks.iter_mut().for_each(|disk| disk.full = false);
        kernel.log.push("the end".to_owned());
    });
    if !world.is_up() {
        world.start();
    }
    if !world.is_up() {
        return Err("it does not start".to_owned());
    }
    for round in 0.. {
        // Q10: without its rules all is as if there had never been any.
        world.remove_rules();
        let mut rests = world.rest();
        fault(world)?;
        if rests && (world.has_rules() || world.answer_brake(dice)) {
            continue;
        }
        if rests && world.is_held() {
            // An error while the root was looked at counts as a lost root, until the daemon starts again.
            world.kill();
            world.start();
            continue;
        }
        if rests && world.is_refused() {
            // What may not be listed is listed when its permissions change, which no user did here.
            world.scan_all();
            rests = world.rest();
            fault(world)?;
        }
        let (conflicts, others) = world.outstanding();
        if !rests || (others > 0 && conflicts.is_empty()) || round == 40 {
            let problems = world.problems();
            let left = world.left();
            return Err(format!("Q1: it does not settle: {others} left, {left:?}, {problems:?}"));
        }
        if let Some(dishonest) = world.dishonest() {
            return Err(dishonest);
        }
        let same = same(world.disks);
        match (conflicts.is_empty(), same) {
            (true, Ok(())) => break,
            (true, Err(different)) => return Err(format!("Q1: {different}")),
            (false, _) => {
                if let Some(idle) = world.held_back() {
                    return Err(format!("Q3: {idle}"));
                }
                if let Some(needless) = world.needless_conflict() {
                    return Err(format!("Q2: {needless}"));
                }
                world.resolve(dice);
            }
        }
    }
    if let Some(unsound) = world.unsound_agreement() {
        return Err(format!("S7: {unsound}"));
    }
    // The journal apart: what cannot be told by its times is read again, and is then noted as past.
    let disk_changes = |kernel: &Kernel| kernel.changes - kernel.commits;
    let (changes, log) = with(|kernel| (disk_changes(kernel), kernel.log.len()));
    world.scan_all();
    if !world.rest() {
        return Err("Q4: looked at again, it does not rest".to_owned());
    }
    fault(world)?;
    with(|kernel| match disk_changes(kernel) == changes {
        true => Ok(()),
        false => Err(format!("Q4: looked at again, it did {:?}", &kernel.log[log..])),
    })
}

/// Whether all trees are the same.
fn same(disks: usize) -> Result<(), String> {
    with(|kernel| {
        let trees = kernel.replicas().iter().map(|disk| {
            let tree = disk.tree().into_iter();
            tree.map(|(path, ino)| (path, value_of(disk, ino))).collect::<BTreeSet<_>>()
        });
        let trees: Vec<_> = trees.collect();
        for at in 1..disks {
            if let Some(different) = trees[0].symmetric_difference(&trees[at]).next() {
                return Err(format!("0 and {at} differ: {different:?}"));
            }
        }
        Ok(())
    })
}

/// As [`run`], with a panic as one more way to fail.
pub(super) fn outcome(of: (Place, u64), without: &BTreeSet<usize>) -> Result<(), String> {
    outcome_of(|| run(of, without))
}

/// What comes of this, with a panic as one more way to fail.
pub(super) fn outcome_of<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("?")))
    })
}

/// Removes acts as long as it fails in the same way: whole halves first, then smaller parts.
fn shrink(of: (Place, u64), kind: &str) -> BTreeSet<usize> {
    let mut without = BTreeSet::new();
    let mut part = ACTS / 2;
    while part > 0 {
        for from in (0..ACTS).step_by(part) {
            let mut fewer = without.clone();
            fewer.extend(from..(from + part).min(ACTS));
            let fails = outcome_of(|| run(of, &fewer)).is_err_and(|fault| fault.starts_with(kind));
            if fails {
                without = fewer;
            }
        }
        part /= 2;
    }
    without
}

/// What is wrong with a seed, how little of it is enough unless `YEET_SIM_WHOLE` is set, and how to see it again.
fn explain((place, seed): (Place, u64), fault: &str) -> String {
    let kind = &fault[..fault.len().min(3)];
    let without = match std::env::var_os("YEET_SIM_WHOLE") {
        None => shrink((place, seed), kind),
        Some(_) => BTreeSet::new(),
    };
    let shorter =
        outcome_of(|| run((place, seed), &without)).err().unwrap_or_else(|| fault.to_owned());
    let log = last_trace();
    let take = std::env::var("YEET_SIM_LINES").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let log: Vec<_> = log.iter().rev().take(take).rev().collect();
    format!(
        "seed {seed}: {fault}\n{} of {ACTS} acts are enough: {shorter}\n{log:#?}\n\
         again: YEET_SIM_SEEDS={seed}..{} cargo test --lib {}",
        ACTS - without.len(),
        seed + 1,
        place.test()
    )
}

/// Runs the histories of these seeds, and prints what is wrong with the first that fails.
pub(super) fn run_all(place: Place, seeds: Range<u64>) {
    let began = Instant::now();
    let count = seeds.end - seeds.start;
    let mut failed = Vec::new();
    for seed in seeds {
        if let Err(fault) = outcome_of(|| run((place, seed), &BTreeSet::new())) {
            if failed.is_empty() {
                eprintln!("{}", explain((place, seed), &fault));
            }
            failed.push(format!("{seed}: {fault}"));
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let speed = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} histories, {speed:.0} a second");
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:#?}", failed.len());
}

#[test]
fn whatever_users_do_and_whatever_fails_no_byte_is_lost_and_all_is_the_same_in_the_end() {
    run_all(Place::Here, seeds_or(SEEDS));
}

/// Histories that failed once, and what they found.
const FOUND: &[(u64, &str)] = &[
    (319, "a delete under way followed a directory that a user gave another name"),
    (14841, "a user's edit with the time put back was taken for what a kill had interrupted"),
    (69691, "what a power loss had put back was still listed as a kept version"),
    (1329, "what recovery took back was read as a user's delete"),
    (363, "a file that had been read was then said to be unread, and was never read again"),
    (
        202760,
        "a directory that could be looked at again was not listed, and a delete in it was missed",
    ),
    (43003, "a file whose directory could not be opened for its reading was never read again"),
    (4520, "a file that could not be read, and then could, was never read again"),
    (72596, "an agreement was recorded while the origin was away, and lost with the power"),
    (19902, "a user's file with the time that was announced is taken for ours, and kept"),
    (356246, "a leaf kept by name that is in no conflict did not stand against the next edit"),
    (
        356135,
        "what was set aside in a directory that was removed was listed as kept, and not there",
    ),
    (550414, "what a power loss left is the user's once he gave it another time"),
    (554211, "a batch with two origins read a file of one leaf for that of the other"),
    (569702, "a save whose name outlived its bytes is the user's, with what the file had before"),
    (351072, "what a failed check had put back while a user looked is no edit"),
    (
        729769,
        "a save fell between the last look at a name that cannot be swapped, and its new file",
    ),
    (85, "a group of files in a directory that was gone at the other side was never deleted"),
    (805, "two directories with the names of a group kept each other from going"),
    (950115, "a directory got another name while a file in it was set aside"),
    (900158, "a file that was set aside when the power went came back"),
    (962320, "what a failed act had set aside was noted as kept before it was on disk"),
    (947559, "rewritten with its time put back after a kill, and its origin away"),
    (967522, "rewritten with its time put back after a kill, and its origin written to"),
    (1075742, "a user made a directory of the name of a file that was set aside"),
    (1031089, "a user's file with the announced time, under its name, is taken for ours and kept"),
    (1250838, "a torn file was taken for a user's, as a power loss puts the store's times back"),
    (1006929, "a directory got another name while a file in it was deleted, and then a kill"),
    (744, "a file announced unread was taken for whole after a power loss"),
    (47, "a wait said in-sync at a rest beside which something had changed"),
    (1510071, "a status said in-sync whose flush was told together with the end of a job"),
    (1510604, "a file that gives way to a directory while deletes are held is no delete"),
    (1510349, "what a user makes of a name that a power loss took comes from what had it"),
    (2301274, "a deleted directory that stayed for what was ignored stayed when that was gone"),
    (2306074, "a root that could not be looked at at a start: nobody knew its rules"),
    (
        3018471,
        "what one leaf deleted and another had copied was to be renamed at the source, for ever",
    ),
    (3046145, "a wait said in-sync of a rename whose new name it had not seen"),
    (
        3011757,
        "a power loss left of a symlink that a user replaced only that the old one was removed",
    ),
    (3023148, "a user acted in the middle of a rename while deletes were held"),
    (
        3096688,
        "a user made a directory of a name that a power loss took, where a leaf had the file, too",
    ),
    (
        3086384,
        "what a kill left unconfirmed got another name by its user, and a power loss tore it",
    ),
    (3020442, "what a third replica left out was carried at a start before it was listed"),
    (3013322, "below rules that could not be read all was carried, whatever they left out"),
    (3073562, "a wait said in-sync as what it had been flushed for was gone by the look at it"),
    (1500092, "an emptied root was held no more while a directory was not listed for a moment"),
    (3041624, "what a set back disk had alone, and an unlisted store beside it, is owed to nobody"),
    (3028947, "a version was under way when the only disk that had it was set back"),
    (3011187, "a disk that was full had no mark, and its older copy was taken for deletes"),
    (
        4081272,
        "what a kill left unflushed was unknown once the state was gone, and a power loss tore it",
    ),
    (3095576, "a version stayed listed that had gone with a disk whose last mark had failed"),
];

#[test]
fn what_random_histories_found_stays_mended() {
    for (seed, what) in FOUND {
        assert_eq!(outcome((Place::Here, *seed), &BTreeSet::new()), Ok(()), "seed {seed}: {what}");
    }
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in 0..4 {
        let trace = || {
            drop(outcome((Place::Here, seed), &BTreeSet::new()));
        };
        trace();
        let first = last_trace();
        trace();
        assert_eq!(first, last_trace(), "seed {seed}");
    }
}
