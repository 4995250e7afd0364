//! Every kind of job, ended before each of its changes of a disk or of the journal, by a kill and by every crash image.

use std::path::Path;

use super::bench::{Bench, Bytes as Version, Case, LEAF, SOURCE, bytes_of, path, replica, value};
use crate::dataflow::model::job::Op;
use crate::dataflow::model::value::Content;
use crate::sinks::apply::value_of;
use crate::sys::Root;
use crate::sys::sim::{Bytes, Ino, Kernel, Loss, Node, with};

fn file(disk: usize, path: &str, text: &str) {
    with(|kernel| assert!(kernel.user_write(disk, path, text.as_bytes())));
}

fn dir(disk: usize, path: &str) {
    with(|kernel| assert!(kernel.user_make(disk, path, Node::Dir)));
}

fn link(disk: usize, path: &str, text: &str) {
    with(|kernel| assert!(kernel.user_make(disk, path, Node::Link(text.into()))));
}

/// The job that gives the other end what one holds.
fn put(from: usize, to: usize, at: &str) -> Op {
    let new = value(from, at).unwrap();
    Op::Put { from: replica(from), to: replica(to), new, expect: value(to, at) }
}

fn delete(at: &str) -> Op {
    let (at, because, expect) = (replica(LEAF), replica(SOURCE), value(LEAF, at).unwrap());
    Op::Delete { at, because, expect }
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a new file",
        before: || file(SOURCE, "a", "new bytes"),
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a file over a file",
        before: || {
            file(SOURCE, "a", "new bytes");
            file(LEAF, "a", "old bytes, longer");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a file over a file where names cannot be swapped",
        before: || {
            with(|kernel| kernel.disks[LEAF].exchange = false);
            file(SOURCE, "a", "new bytes");
            file(LEAF, "a", "old bytes, longer");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a file over a file where the clock is coarse",
        before: || {
            with(|kernel| kernel.disks[LEAF].grain = 10_000_000);
            file(SOURCE, "a", "new bytes");
            file(LEAF, "a", "old bytes, longer");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a snapshot over a file",
        before: || {
            with(|kernel| {
                let disk = &mut kernel.disks[SOURCE];
                (disk.reflinks, disk.unnamed) = (true, true);
            });
            file(SOURCE, "a", "new bytes");
            file(LEAF, "a", "old bytes, longer");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a file back to the source, as after a resolve",
        before: || {
            file(SOURCE, "a", "what loses");
            file(LEAF, "a", "what wins");
        },
        jobs: || vec![("a", put(LEAF, SOURCE, "a"))],
    },
    Case {
        name: "a delete",
        before: || file(LEAF, "a", "old bytes"),
        jobs: || vec![("a", delete("a"))],
    },
    Case {
        name: "a delete of a symlink",
        before: || link(LEAF, "a", "somewhere"),
        jobs: || vec![("a", delete("a"))],
    },
    Case {
        name: "a move",
        before: || {
            file(SOURCE, "b", "moved bytes");
            file(LEAF, "a", "moved bytes");
        },
        jobs: || {
            let (expect, new) = (value(LEAF, "a").unwrap(), value(SOURCE, "b").unwrap());
            let (at, source_path) = (replica(LEAF), path("a"));
            vec![("b", Op::Move { at, source_path, expect, new })]
        },
    },
    Case {
        name: "metadata",
        before: || {
            file(SOURCE, "a", "same bytes");
            file(LEAF, "a", "same bytes");
            with(|kernel| kernel.user_touch(SOURCE, "a", Some(0o755), None));
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a directory made",
        before: || dir(SOURCE, "d"),
        jobs: || vec![("d", put(SOURCE, LEAF, "d"))],
    },
    Case {
        name: "a directory removed",
        before: || dir(LEAF, "d"),
        jobs: || vec![("d", delete("d"))],
    },
    Case {
        name: "a file that becomes a directory",
        before: || {
            dir(SOURCE, "a");
            file(LEAF, "a", "old bytes");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a directory that becomes a file",
        before: || {
            file(SOURCE, "a", "new bytes");
            dir(LEAF, "a");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a new symlink",
        before: || link(SOURCE, "a", "somewhere"),
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a file that becomes a symlink",
        before: || {
            link(SOURCE, "a", "somewhere");
            file(LEAF, "a", "old bytes");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a symlink that becomes a file",
        before: || {
            file(SOURCE, "a", "new bytes");
            link(LEAF, "a", "somewhere");
        },
        jobs: || vec![("a", put(SOURCE, LEAF, "a"))],
    },
    Case {
        name: "a batch of a new file, a replaced one and a delete",
        before: || {
            file(SOURCE, "a", "new bytes");
            file(SOURCE, "b", "newer bytes");
            file(LEAF, "b", "old bytes");
            file(LEAF, "c", "bytes that go");
        },
        jobs: || {
            let put = |at| (at, put(SOURCE, LEAF, at));
            vec![put("a"), put("b"), ("c", delete("c"))]
        },
    },
];

const BYTES: [Bytes; 4] = [Bytes::All, Bytes::Old, Bytes::Zeros, Bytes::Half];

/// How often a case was ended, and what was wrong after it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) ends: u64,
    pub(super) faults: Vec<String>,
}

/// Ends a case before each of its changes, in every way.
pub(super) fn end_everywhere(case: &Case, found: &mut Found) {
    let reference = Bench::new(case);
    for done in reference.carry_out() {
        if let Err(error) = done.result {
            found.faults.push(format!("{}: is not carried out: {error}", case.name));
        }
    }
    let changes = with(|kernel| kernel.changes);
    drop(reference);
    for change in 0..=changes {
        let mut bench = Bench::new(case);
        with(|kernel| kernel.plan.die = Some(change));
        drop(bench.carry_out());
        let last = with(|kernel| {
            kernel.dead = true;
            kernel.log.last().cloned().unwrap_or_default()
        });
        let mut check = |result: Result<(), String>, how: &str| {
            if let Err(fault) = result {
                found.faults.push(format!("{}: {how} after {last:?}: {fault}", case.name));
            }
        };
        let remains = bench.remains();
        check(bench.check_trees(), "a kill");
        let pending =
            with(|kernel| kernel.disks.iter().map(|disk| disk.unflushed()).max().unwrap_or(0));
        let images = BYTES
            .iter()
            .flat_map(|bytes| (0..=pending).map(|changes| Some(Loss { changes, bytes: *bytes })));
        for loss in std::iter::once(None).chain(images) {
            bench.restore(&remains);
            bench.start_again(loss);
            let how = loss.map_or("a kill".to_owned(), |loss| format!("a crash with {loss:?}"));
            check(bench.check().and_then(|()| bench.check_settled()), &how);
            found.ends += 1;
            if loss.is_some() {
                // And once more, right after the recovery.
                bench.start_again(Some(Loss { changes: 0, bytes: Bytes::Old }));
                check(bench.check(), &format!("{how}, and another"));
            }
        }
    }
}

#[test]
fn a_daemon_that_was_killed_or_crashed_at_its_first_start_starts() {
    use super::world::World;
    let start = |die: Option<u64>| {
        let mut world = World::new(2, 0, true);
        with(|kernel| kernel.plan.die = die);
        world.start();
        (with(|kernel| kernel.changes), world)
    };
    let (changes, world) = start(None);
    drop(world);
    for change in 0..changes {
        for crash in [false, true] {
            let (_, mut world) = start(Some(change));
            if crash {
                world.crash(&mut super::users::Dice::new(change));
            } else {
                world.kill();
            }
            world.start();
            let last = with(|kernel| kernel.log.last().cloned());
            assert!(world.is_up(), "crash: {crash}, before change {change}: {last:?}");
        }
    }
}

#[test]
fn what_a_program_has_open_for_writing_is_not_removed_by_the_next_start() {
    let case = &CASES[1];
    let staged = |kernel: &mut Kernel| {
        let disk = &kernel.disks[LEAF];
        let mut names = Vec::new();
        disk.walk(disk.at(".yeet/s")?, "", &mut names);
        let new = |ino: &Ino| bytes_of(disk, *ino) == Some(Version::File(b"new bytes".to_vec()));
        names.into_iter().map(|(_, ino)| ino).find(new)
    };
    let mut kept = 0;
    for change in 0..40 {
        let mut bench = Bench::new(case);
        with(|kernel| kernel.plan.die = Some(change));
        drop(bench.carry_out());
        // It opened it while that had the name, and goes on.
        let Some(ino) = with(|kernel| {
            kernel.dead = true;
            let ino = staged(kernel)?;
            kernel.writers.insert((LEAF, ino), 1);
            Some(ino)
        }) else {
            continue;
        };
        bench.remains();
        bench.start_again(None);
        assert_eq!(with(staged), Some(ino), "ended before change {change}");
        kept += 1;
    }
    assert!(kept > 0);
}

/// A file as a first look tells of it.
fn unread(at: &str) -> Op {
    let root = Root::open(Path::new("/sim/source")).unwrap();
    let (dir, name) = root.open_parent(&path(at)).unwrap();
    let stat = dir.stat(name.as_bytes()).unwrap().unwrap();
    let new = value_of(&stat, Content::unread(stat.identity()));
    Op::Put { from: replica(SOURCE), to: replica(LEAF), new, expect: None }
}

#[test]
fn what_was_rewritten_after_the_end_is_no_copy_of_ours_also_where_there_is_nothing_to_compare_it_with()
 {
    let case = Case {
        name: "a new file nobody has read",
        before: || file(SOURCE, "a", "new bytes"),
        jobs: || vec![("a", unread("a"))],
    };
    for rewritten in [true, false] {
        let mut taken = 0;
        for change in 0..40 {
            let mut bench = Bench::new(&case);
            with(|kernel| kernel.plan.die = Some(change));
            drop(bench.carry_out());
            bench.remains();
            if !with(|kernel| kernel.dead) {
                break;
            }
            with(|kernel| {
                kernel.dead = false;
                kernel.plan.die = None;
                kernel.user_remove(SOURCE, "a");
                let Some(ino) = kernel.disks[LEAF].at("a").filter(|_| rewritten) else { return };
                let mtime = kernel.disks[LEAF].attributes(ino).mtime;
                kernel.user_write(LEAF, "a", b"our bytes");
                kernel.user_touch(LEAF, "a", None, Some(mtime));
            });
            bench.start_again(None);
            let agreed = bench.agreed("a");
            taken += usize::from(agreed.is_some() && agreed == value(LEAF, "a"));
        }
        assert_eq!(taken > 0, !rewritten, "taken for ours {taken} times, rewritten: {rewritten}");
    }
}

#[test]
fn wherever_a_job_ends_nothing_is_lost_or_torn_and_agreement_is_never_ahead() {
    let mut found = Found::default();
    CASES.iter().for_each(|case| end_everywhere(case, &mut found));
    println!("{} cases, ended {} times", CASES.len(), found.ends);
    assert!(found.ends > 1000, "{}", found.ends);
    let shown: Vec<_> = found.faults.iter().take(20).collect();
    assert!(shown.is_empty(), "{} faults: {shown:#?}", found.faults.len());
}
