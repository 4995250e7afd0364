//! A group arrives from one moment, or not at all.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

use super::*;
use crate::dataflow::model::job::Job;
use crate::dataflow::model::value::{Content, Digest};
use crate::dataflow::model::verdict::Rule;
use crate::sinks::apply::{KnownDigests, value_of};
use crate::sinks::stage::{OpIds, Store};
use crate::sinks::transfer::Site;

type Act = Box<dyn FnOnce() + Send>;

/// What a [`Bench`] makes a directory of.
const DIRECTORY: &str = "/";

/// Knows no digest; lets something happen when so many have been found: the first is while the group is staged.
#[derive(Default)]
struct Meanwhile(Mutex<Option<(usize, Act)>>);

impl KnownDigests for Meanwhile {
    fn digest(&self, _: &Stat) -> Option<Digest> {
        None
    }
    fn record(&self, _: &Stat, _: Digest, _: i64) {
        let mut waits = self.0.lock().unwrap();
        if let Some((left, _)) = waits.as_mut().filter(|(left, _)| *left > 1) {
            *left -= 1;
        } else if let Some((_, act)) = waits.take() {
            act();
        }
    }
}

struct Bench {
    dir: tempfile::TempDir,
    shop: Shop,
    meanwhile: Arc<Meanwhile>,
    jobs: Vec<Assigned<usize>>,
    members: Vec<Member>,
}

fn leaf() -> Replica {
    Replica::leaf(1).unwrap()
}

impl Bench {
    /// Files by name, with what they have at both ends. Those that differ have jobs, in this order.
    fn new(files: &[(&str, Option<&str>, Option<&str>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut roots = Vec::new();
        for side in ["a", "b"] {
            fs::create_dir(dir.path().join(side)).unwrap();
            let mut root = Root::open(&dir.path().join(side)).unwrap();
            root.prepare().unwrap();
            let store = Store::open(&root, "s").unwrap();
            roots.push(Some(Site { root: Arc::new(root), store: Ok(store) }));
        }
        let meanwhile = Arc::new(Meanwhile::default());
        let digests = meanwhile.clone();
        let (ops, boot) = (OpIds::start(), [0; 16]);
        let shop = Shop {
            sites: roots,
            far: Vec::new(),
            journal: None,
            digests,
            ops,
            boot,
            unflushed: Default::default(),
        };
        let mut bench = Self { dir, shop, meanwhile, jobs: Vec::new(), members: Vec::new() };
        for (number, (name, at_origin, at_target)) in files.iter().enumerate() {
            for (side, text) in [("a", at_origin), ("b", at_target)] {
                let at = bench.at(side, name);
                fs::create_dir_all(at.parent().unwrap()).unwrap();
                match text {
                    Some(DIRECTORY) => fs::create_dir(at).unwrap(),
                    Some(text) => fs::write(at, text).unwrap(),
                    None => {}
                }
            }
            bench.take_on(number, name, at_origin != at_target);
        }
        bench
    }

    fn take_on(&mut self, key: usize, name: &str, has_job: bool) {
        let path = RelPath::parse(name.as_bytes()).unwrap();
        let (at_origin, at_target) = (self.value("a", name), self.value("b", name));
        let from = (Replica::SOURCE, leaf());
        let op = match (at_origin, at_target) {
            (Some(new), expect) => Op::Put { from: from.0, to: from.1, new, expect },
            (None, Some(expect)) => Op::Delete { at: from.1, because: from.0, expect },
            (None, None) => Op::Agree { value: None },
        };
        if has_job {
            let job = Job { path: path.clone(), leaf: leaf(), rule: Rule::NeedsReading, op };
            let control = Arc::new(Control::default());
            self.jobs.push(Assigned { key, job, control, still: false });
        }
        self.members.push(Member { path, at_origin, at_target });
    }

    fn at(&self, side: &str, name: &str) -> PathBuf {
        self.dir.path().join(side).join(name)
    }

    fn value(&self, side: &str, name: &str) -> Option<Value> {
        let slot = usize::from(side == "b");
        let root = &self.shop.sites[slot].as_ref().unwrap().root;
        let stat = apply::found(root, &RelPath::parse(name.as_bytes()).unwrap()).unwrap()?;
        let bytes = if stat.kind == Kind::Dir {
            Vec::new()
        } else {
            fs::read(self.at(side, name)).unwrap()
        };
        Some(value_of(&stat, Content::known(Digest(*blake3::hash(&bytes).as_bytes()))))
    }

    /// Lets this happen once the first file has been read.
    fn meanwhile(&self, act: impl FnOnce(PathBuf) + Send + 'static) {
        self.after(1, act);
    }

    fn after(&self, digests: usize, act: impl FnOnce(PathBuf) + Send + 'static) {
        let dir = self.dir.path().to_owned();
        *self.meanwhile.0.lock().unwrap() = Some((digests, Box::new(move || act(dir))));
    }

    /// What became of each job: nothing, or the error.
    fn carry_out(&mut self) -> Vec<String> {
        let unit = Unit {
            jobs: std::mem::take(&mut self.jobs),
            origin: Replica::SOURCE,
            target: leaf(),
            members: std::mem::take(&mut self.members),
        };
        let done = carry_out(&self.shop, unit).into_iter();
        done.map(|done| done.result.map_or_else(|error| format!("{error:?}"), |_| String::new()))
            .collect()
    }

    /// What the target has, without what is ours, and how many files are kept.
    fn target(&self) -> (Vec<(String, String)>, usize) {
        let entries = fs::read_dir(self.dir.path().join("b")).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        let read = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        };
        let mut files: Vec<_> = files.map(read).collect();
        files.sort();
        let store = &self.shop.sites[1].as_ref().unwrap().store;
        (files, store.as_ref().unwrap().operations().unwrap().len())
    }
}

fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// A log that is new, one that went, one that stays, and a database that changed.
fn database() -> Bench {
    Bench::new(&[
        ("x-wal", Some("new log"), Some("log")),
        ("x-shm", None, Some("index")),
        ("x-journal", Some("same"), None),
        ("x", Some("new rows"), Some("rows")),
    ])
}

const BEFORE: [(&str, &str); 3] = [("x", "rows"), ("x-shm", "index"), ("x-wal", "log")];

#[test]
fn all_files_of_a_group_arrive_and_what_they_displace_is_kept() {
    let mut bench = database();
    assert_eq!(bench.carry_out(), ["", "", "", ""]);
    let after = files(&[("x", "new rows"), ("x-journal", "same"), ("x-wal", "new log")]);
    assert_eq!(bench.target(), (after, 3));
}

#[test]
fn a_group_goes_where_its_whole_directory_went() {
    let mut bench = Bench::new(&[("d/x-wal", None, Some("log")), ("d/x", None, Some("rows"))]);
    assert_eq!(bench.carry_out(), ["", ""]);
    assert_eq!(bench.target(), (files(&[]), 2));
    assert_eq!(fs::read_dir(bench.at("b", "d")).unwrap().count(), 0);
}

#[test]
fn a_directory_takes_the_place_of_a_file_of_a_group_and_gives_way_to_one() {
    let mut bench = Bench::new(&[
        ("x-wal", Some(DIRECTORY), Some("log")),
        ("x-shm", Some("index"), Some(DIRECTORY)),
        ("x", Some("new rows"), Some("rows")),
    ]);
    // What comes into a directory meanwhile does not make the group another.
    bench.meanwhile(|dir| fs::write(dir.join("a/x-wal/inside"), "").unwrap());
    assert_eq!(bench.carry_out(), ["", "", ""]);
    assert!(bench.at("b", "x-wal").is_dir());
    assert_eq!(bench.target(), (files(&[("x", "new rows"), ("x-shm", "index")]), 2));
}

#[test]
fn nothing_is_placed_when_a_directory_that_is_to_give_way_is_not_empty() {
    let mut bench = Bench::new(&[
        ("x-wal", Some("new log"), Some("log")),
        ("x-shm", Some("index"), Some(DIRECTORY)),
        ("x", Some("new rows"), Some("rows")),
    ]);
    fs::write(bench.at("b", "x-shm/ignored"), "").unwrap();
    assert_eq!(bench.carry_out(), ["Together", "NotEmpty", "Together"]);
    assert_eq!(bench.target(), (files(&[("x", "rows"), ("x-wal", "log")]), 0));
}

#[test]
fn nothing_is_placed_when_a_directory_of_a_group_is_a_file_again() {
    let mut bench = Bench::new(&[
        ("x-wal", Some(DIRECTORY), Some("log")),
        ("x", Some("new rows"), Some("rows")),
    ]);
    bench.meanwhile(|dir| {
        fs::remove_dir(dir.join("a/x-wal")).unwrap();
        fs::write(dir.join("a/x-wal"), "log").unwrap();
    });
    assert_eq!(bench.carry_out(), ["Stale(From)", "Stale(From)"]);
    assert_eq!(bench.target(), (files(&[("x", "rows"), ("x-wal", "log")]), 0));
}

#[test]
fn nothing_is_placed_when_a_file_changed_at_the_origin_while_the_group_was_staged() {
    type Change = (&'static str, fn(PathBuf));
    let changes: [Change; 6] = [
        ("one that was read", |dir| fs::write(dir.join("a/x-wal"), "newer").unwrap()),
        ("as long as before", |dir| fs::write(dir.join("a/x-wal"), "NEW LOG").unwrap()),
        ("one that is to be read", |dir| fs::write(dir.join("a/x"), "newer").unwrap()),
        ("one that was gone", |dir| fs::write(dir.join("a/x-shm"), "again").unwrap()),
        ("one that goes", |dir| fs::remove_file(dir.join("a/x")).unwrap()),
        ("one that is replaced", |dir| {
            fs::write(dir.join("a/other"), "new log").unwrap();
            fs::rename(dir.join("a/other"), dir.join("a/x-wal")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let mut bench = database();
        bench.meanwhile(change);
        let said = bench.carry_out();
        assert!(said.iter().all(|said| !said.is_empty()), "{what}: {said:?}");
        assert_eq!(bench.target(), (files(&BEFORE), 0), "{what}");
    }
}

#[test]
fn nothing_is_placed_when_a_file_without_a_job_changed_or_came() {
    let unchanged = || {
        let files = [("x-wal", Some("new log"), Some("log")), ("x", Some("rows"), Some("rows"))];
        let mut bench = Bench::new(&files);
        let path = RelPath::parse(b"x-shm").unwrap();
        bench.members.push(Member { path, at_origin: None, at_target: None });
        bench
    };
    let before = [("x", "rows"), ("x-wal", "log")];
    let changes: [fn(PathBuf); 4] = [
        |dir| fs::write(dir.join("a/x"), "new rows").unwrap(),
        |dir| fs::remove_file(dir.join("a/x")).unwrap(),
        |dir| fs::write(dir.join("a/x-shm"), "index").unwrap(),
        |dir| std::os::unix::fs::symlink("x", dir.join("a/x-shm")).unwrap(),
    ];
    for change in changes {
        let mut bench = unchanged();
        bench.meanwhile(change);
        let said = bench.carry_out();
        assert!(said[0] == "Stale(From)" || said[0] == "Torn", "{said:?}");
        assert_eq!(bench.target(), (files(&before), 0));
    }
    let mut bench = unchanged();
    bench.meanwhile(|dir| fs::write(dir.join("b/x"), "rows of the other side").unwrap());
    assert_eq!(bench.carry_out(), ["Stale(To)"]);
    let theirs = files(&[("x", "rows of the other side"), ("x-wal", "log")]);
    assert_eq!(bench.target(), (theirs, 0));
}

#[test]
fn nothing_is_placed_when_one_job_is_called_off_or_cannot_be_read() {
    let mut bench = database();
    bench.jobs[3].control.cancel();
    assert_eq!(bench.carry_out(), ["Together", "Together", "Together", "Cancelled"]);
    assert_eq!(bench.target(), (files(&BEFORE), 0));

    let mut bench = database();
    if let Op::Put { new: Value::File(new), .. } = &mut bench.jobs[0].job.op {
        new.content = Content::known(Digest([7; 32]));
    }
    assert_eq!(bench.carry_out(), ["Stale(From)", "Together", "Together", "Together"]);
    assert_eq!(bench.target(), (files(&BEFORE), 0));

    let mut bench = database();
    if let Op::Delete { expect: Value::File(expect), .. } = &mut bench.jobs[1].job.op {
        expect.content = Content::known(Digest([7; 32]));
    }
    assert_eq!(bench.carry_out(), ["Together", "Stale(To)", "Together", "Together"]);
    assert_eq!(bench.target(), (files(&BEFORE), 0));
}

#[test]
fn after_a_placement_that_failed_nothing_more_of_the_group_is_placed() {
    let mut bench = database();
    // Three are read, and the three that are there; then one again, and it is placed.
    bench.after(8, |dir| fs::write(dir.join("b/x-shm"), "of the other side").unwrap());
    assert_eq!(bench.carry_out(), ["", "Stale(To)", "Together", "Together"]);
    let theirs = [("x", "rows"), ("x-shm", "of the other side"), ("x-wal", "new log")];
    assert_eq!(bench.target(), (files(&theirs), 1));
}
