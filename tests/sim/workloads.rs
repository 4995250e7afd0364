//! Small and exhaustive: every workload of a few acts of users on two names, the daemon ended before each change that it
//! makes for the last of them, by a kill and by every crash image.
//!
//! The acts come one after the other, each after a rest, or all at once. What the daemon does for the acts before the
//! last is what a shorter workload ends. `YEET_SIM_ACTS=3 cargo test --release --lib sim::workloads -- --nocapture` takes
//! workloads of up to three; `YEET_SIM_PART=2/8` the second of eight parts of them.

use std::ops::Range;
use std::time::Instant;

use super::history::{end, outcome_of};
use super::moments::Moments;
use super::users::{Deed, Dice, does};
use super::world::World;
use crate::sys::sim::{Bytes, Loss, with};

const ACTS: usize = 2;
/// Of the names, `a` is an agreed file before, `b` is not there.
const DEEDS: [Deed; 9] = [
    Deed::Write("a"),
    Deed::Write("b"),
    Deed::Save("a"),
    Deed::Remove("a"),
    Deed::Remove("b"),
    Deed::Rename("a", "b"),
    Deed::Rename("b", "a"),
    Deed::Directory("a"),
    Deed::Directory("b"),
];
const ENDS: [Bytes; 2] = [Bytes::Old, Bytes::All];

/// Who does what.
type Act = (usize, Deed);

/// What the workloads are done in.
#[derive(Clone, Copy)]
struct Setting {
    /// Whether the file systems can swap two names.
    swaps: bool,
    /// Whether the two names are a group.
    grouped: bool,
}

struct Workload {
    acts: Vec<Act>,
    /// Whether the daemon comes to rest between two acts.
    rests: bool,
    setting: Setting,
}

fn workloads(longest: usize, setting: Setting) -> Vec<Workload> {
    let acts: Vec<Act> = (0..2).flat_map(|at| DEEDS.map(|deed| (at, deed))).collect();
    let mut lists: Vec<Vec<Act>> = vec![Vec::new()];
    let mut all = Vec::new();
    for _ in 0..longest {
        let longer = |list: &Vec<Act>| {
            let list = list.clone();
            acts.iter().map(move |act| list.iter().copied().chain([*act]).collect::<Vec<_>>())
        };
        lists = lists.iter().flat_map(longer).collect();
        for list in &lists {
            all.push(Workload { acts: list.clone(), rests: true, setting });
            if list.len() > 1 {
                all.push(Workload { acts: list.clone(), rests: false, setting });
            }
        }
    }
    all
}

impl Workload {
    /// The world right after the last act; none if one of the acts does nothing, as a shorter workload is like it.
    fn begin(&self) -> Option<World> {
        let (mut world, mut dice) = (World::new(2, 0, self.setting.swaps), Dice::new(1));
        if self.setting.grouped {
            world.record.groups = vec![vec!["a".to_owned(), "b".to_owned()]];
            world.ledger.borrow_mut().moments = Some(Moments::of(["a", "b"]));
        }
        let mut act = |world: &World, at: usize, deed: Deed| {
            with(|kernel| does(kernel, &mut world.ledger.borrow_mut(), &mut dice, at, deed))
        };
        act(&world, 0, Deed::Write("a"));
        world.start();
        assert!(world.rest(), "a first sync comes to rest");
        with(|kernel| kernel.disks.iter_mut().for_each(crate::sys::sim::Disk::flush));
        for (n, (at, deed)) in self.acts.iter().enumerate() {
            if n > 0 && self.rests {
                world.rest();
            }
            if !act(&world, *at, *deed) {
                return None;
            }
        }
        Some(world)
    }

    /// Lets it come to its own end. The changes that were made for the last act; none if it was like a shorter one.
    fn end_by_itself(&self) -> Result<Range<u64>, String> {
        let Some(mut world) = self.begin() else { return Ok(0..0) };
        let first = with(|kernel| kernel.changes);
        world.rest();
        let last = with(|kernel| kernel.changes);
        end(&mut world, &mut Dice::new(1))?;
        Ok(first..last)
    }

    /// Ends it everywhere. Returns how often.
    fn end_everywhere(&self) -> Result<u64, String> {
        let Range { start: first, end: last } = self.end_by_itself()?;
        let mut ends = 0;
        for change in first..last {
            ends += self.end_before(change)?;
        }
        Ok(ends)
    }

    fn end_before(&self, change: u64) -> Result<u64, String> {
        let mut world = self.begin().expect("it did something before");
        world.ledger.borrow_mut().moments = None;
        with(|kernel| kernel.plan.die = Some(change));
        world.rest();
        let pending = with(|kernel| kernel.disks.iter().map(|disk| disk.unflushed()).max());
        let remains = world.remains();
        let images = (0..=pending.unwrap_or(0))
            .flat_map(|changes| ENDS.map(|bytes| Some(Loss { changes, bytes })));
        let mut ends = 0;
        for loss in std::iter::once(None).chain(images) {
            world.restore(&remains);
            match loss {
                None => world.kill(),
                Some(loss) => world.lose_power(&|_| loss),
            }
            world.start();
            ends += 1;
            end(&mut world, &mut Dice::new(ends)).map_err(|fault| {
                let how = loss.map_or("a kill".to_owned(), |loss| format!("a crash, {loss:?},"));
                format!("{how} before change {change}: {fault}")
            })?;
        }
        Ok(ends)
    }
}

/// Lets all workloads in which the names are a group come to their own end.
pub(super) fn group_everywhere(faults: &mut Vec<String>) {
    for load in workloads(ACTS, Setting { swaps: true, grouped: true }) {
        if let Err(fault) = outcome_of(|| load.end_by_itself()) {
            faults.push(format!("a group, {:?}: {fault}", load.acts));
        }
    }
}

fn number(name: &str) -> Option<usize> {
    Some(std::env::var(name).ok()?.parse().expect("a number"))
}

/// Which part of how many.
fn part() -> (usize, usize) {
    let Ok(text) = std::env::var("YEET_SIM_PART") else { return (0, 1) };
    let (part, parts) = text.split_once('/').expect("a part is N/PARTS");
    let part: usize = part.parse().expect("a number");
    (part - 1, parts.parse().expect("a number"))
}

#[test]
fn wherever_a_small_workload_ends_nothing_is_lost_and_all_is_the_same_in_the_end() {
    ends_well(Setting { swaps: true, grouped: false });
}

#[test]
fn nor_is_it_where_two_names_cannot_be_swapped() {
    ends_well(Setting { swaps: false, grouped: false });
}

#[test]
fn nor_is_it_where_the_two_names_are_a_group() {
    ends_well(Setting { swaps: true, grouped: true });
}

/// Each of these left files of two moments once, where what is a directory at one end counted as no file of the group.
#[test]
fn a_directory_in_the_place_of_a_file_of_a_group_goes_with_the_group_or_stays_with_it() {
    let (w, s, d) = (Deed::Write, Deed::Save, Deed::Directory);
    let (gone, renamed) = (Deed::Remove("a"), Deed::Rename("a", "b"));
    let found: [[Act; 3]; 10] = [
        [(0, w("b")), (1, w("a")), (1, d("b"))],
        [(0, w("b")), (0, w("a")), (1, d("b"))],
        [(0, w("b")), (1, gone), (1, d("b"))],
        [(0, gone), (1, w("b")), (0, d("a"))],
        [(1, gone), (1, d("a")), (0, w("b"))],
        [(0, renamed), (0, d("a")), (1, w("a"))],
        [(0, renamed), (1, w("b")), (0, d("a"))],
        [(1, renamed), (0, d("b")), (1, w("a"))],
        [(0, d("b")), (1, w("b")), (1, s("a"))],
        [(1, s("a")), (0, renamed), (1, d("b"))],
    ];
    for acts in found {
        for rests in [false, true] {
            let setting = Setting { swaps: true, grouped: true };
            let load = Workload { acts: acts.to_vec(), rests, setting };
            assert_eq!(load.end_everywhere().err(), None, "{acts:?}, rests: {rests}");
        }
    }
}

#[test]
fn a_file_and_a_directory_of_the_names_of_a_group_that_swap_them_do_not_wait_for_each_other() {
    let (mut world, mut dice) = (World::new(2, 0, true), Dice::new(1));
    world.record.groups = vec![vec!["a".to_owned(), "b".to_owned()]];
    let mut acts = |world: &World, at: usize, deeds: &[Deed]| {
        for deed in deeds {
            let did =
                with(|kernel| does(kernel, &mut world.ledger.borrow_mut(), &mut dice, at, *deed));
            assert!(did, "{deed:?}");
        }
    };
    acts(&world, 0, &[Deed::Write("a"), Deed::Write("b/c"), Deed::Write("b/d")]);
    world.start();
    assert!(world.rest());
    acts(&world, 1, &[Deed::Rename("a", "e"), Deed::Rename("b", "a"), Deed::Rename("e", "b")]);
    // All of it is seen before anything of it is carried.
    world.see();
    world.epoch();
    assert_eq!(end(&mut world, &mut Dice::new(1)), Ok(()));
    let mut names: Vec<String> =
        with(|kernel| kernel.disks[0].tree().into_iter().map(|(path, _)| path).collect());
    names.sort();
    assert_eq!(names, ["a", "a/c", "a/d", "b"]);
}

fn ends_well(setting: Setting) {
    let (began, (part, parts)) = (Instant::now(), part());
    let all = workloads(number("YEET_SIM_ACTS").unwrap_or(ACTS), setting);
    let mine = all.iter().enumerate().filter(|(n, _)| n % parts == part).map(|(_, load)| load);
    let (mut loads, mut ends, mut faults) = (0, 0, Vec::new());
    for load in mine {
        match outcome_of(|| load.end_everywhere()) {
            Ok(0) => {}
            Ok(n) => (loads, ends) = (loads + 1, ends + n),
            Err(fault) => faults.push(format!("{:?}, rests: {}: {fault}", load.acts, load.rests)),
        }
    }
    println!("{loads} workloads, ended {ends} times, in {:.0?}", began.elapsed());
    assert!(loads > 0 && ends > loads, "{loads} workloads, {ends} ends");
    let shown: Vec<_> = faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", faults.len());
}
