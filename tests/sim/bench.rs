//! Two replicas on a simulated machine, one batch of jobs, and what must hold after it, however it ended.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::job::{Job, Op};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::{Replica, ReplicaSet};
use crate::dataflow::model::value::{Content, Digest, File, Value};
use crate::dataflow::model::verdict::Rule;
use crate::sinks::apply::{KnownDigests, target_digest};
use crate::sinks::journal::{Change, Journal, JournalError, memory};
use crate::sinks::recover::recover;
use crate::sinks::stage::{OpId, OpIds, Store};
use crate::sinks::transfer::{Assigned, Done, Shop, Site, carry_out};
use crate::sys::sim::{Disk, Ino, Loss, Machine, Node, with};
use crate::sys::{Root, Stat, boot_id};

pub(super) const SOURCE: usize = 0;
pub(super) const LEAF: usize = 1;
const ROOTS: [&str; 2] = ["/sim/source", "/sim/leaf"];
const STORE: &str = "/sim/s.redb";

pub(super) fn replica(disk: usize) -> Replica {
    Replica::try_from(u8::try_from(disk).unwrap()).unwrap()
}

pub(super) fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

/// Knows nothing: every answer comes from the disk.
struct Nothing;

impl KnownDigests for Nothing {
    fn digest(&self, _: &Stat) -> Option<Digest> {
        None
    }
    fn record(&self, _: &Stat, _: Digest, _: i64) {}
}

/// What an object is, its bytes read.
pub(super) fn value_of(disk: &Disk, ino: Ino) -> Value {
    let attributes = disk.attributes(ino);
    match disk.node(ino) {
        Node::File(bytes) => Value::File(File {
            size: bytes.len() as u64,
            mtime: attributes.mtime,
            content: Content::known(Digest(*blake3::hash(bytes).as_bytes())),
            mode: attributes.mode,
        }),
        Node::Dir => Value::Dir { mode: attributes.mode },
        Node::Link(text) => {
            Value::Symlink { target: target_digest(text), len: u16::try_from(text.len()).unwrap() }
        }
    }
}

pub(super) fn value(disk: usize, path: &str) -> Option<Value> {
    with(|kernel| {
        let disk = &kernel.disks[disk];
        disk.at(path).map(|ino| value_of(disk, ino))
    })
}

/// What a user wrote, as bytes that must be somewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bytes {
    File(Vec<u8>),
    Link(Vec<u8>),
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::File(text) | Self::Link(text)) = self;
        write!(f, "{:?}", String::from_utf8_lossy(text))
    }
}

impl Bytes {
    pub(super) fn of(node: &Node) -> Option<Self> {
        match node {
            Node::File(bytes) => Some(Self::File(bytes.to_vec())),
            Node::Link(text) => Some(Self::Link(text.clone())),
            Node::Dir => None,
        }
    }
}

pub(super) fn bytes_of(disk: &Disk, ino: Ino) -> Option<Bytes> {
    Bytes::of(disk.node(ino))
}

/// What a case begins with and what is to be done.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Makes the trees.
    pub(super) before: fn(),
    /// Made from the trees as they are then.
    pub(super) jobs: fn() -> Vec<(&'static str, Op)>,
}

/// A case, ready to be carried out.
pub(super) struct Bench {
    _machine: Machine,
    shop: Option<Shop>,
    jobs: Vec<Job>,
    /// All bytes users had written and flushed.
    written: BTreeSet<Bytes>,
    /// Bytes that a user destroyed himself.
    destroyed: BTreeSet<Bytes>,
    /// All names that may be in a tree.
    names: BTreeSet<String>,
}

fn site(path: &str) -> io::Result<Site> {
    let mut root = Root::open(Path::new(path)).map_err(io::Error::other)?;
    root.prepare()?;
    let store = Ok(Store::open(&root, "s")?);
    Ok(Site { root: Arc::new(root), store })
}

fn open_shop() -> io::Result<Shop> {
    let sites = ROOTS.iter().map(|path| site(path).map(Some)).collect::<io::Result<_>>()?;
    let (journal, notice) =
        Journal::open_or_set_aside(Path::new(STORE)).map_err(io::Error::other)?;
    assert_eq!(notice, None, "the journal is whole");
    let journal = Some(Arc::new(journal));
    let boot = boot_id();
    let (far, digests) = (Vec::new(), Arc::new(Nothing));
    Ok(Shop {
        sites,
        far,
        journal,
        digests,
        ops: OpIds::start(),
        boot,
        unflushed: Default::default(),
    })
}

fn agreed(journal: &Journal, at: &RelPath) -> Result<Option<Value>, JournalError> {
    let (dir, _) = at.split().unwrap();
    let facts = journal.facts_in(&dir, ReplicaSet::of(&[replica(LEAF)]))?;
    Ok(facts.iter().find_map(|fact| match fact {
        Fact::Agreed { path, value, .. } if path == at => *value,
        _ => None,
    }))
}

/// A machine as it was when its process was gone.
pub(super) struct Remains {
    disks: Vec<Disk>,
    stores: memory::Stores,
}

impl Bench {
    pub(super) fn new(case: &Case) -> Self {
        let machine = Machine::start(&ROOTS);
        memory::wipe();
        (case.before)();
        let shop = open_shop().unwrap();
        let jobs = (case.jobs)();
        let agreed = jobs.iter().filter_map(|(at, op)| {
            let (Op::Put { expect: Some(value), .. } | Op::Delete { expect: value, .. }) = op
            else {
                return None;
            };
            Some(Change::Agreed { leaf: replica(LEAF), path: path(at), value: Some(*value) })
        });
        shop.journal.as_ref().unwrap().commit(agreed.collect()).unwrap();
        let job =
            |(at, op)| Job { path: path(at), leaf: replica(LEAF), rule: Rule::NeedsReading, op };
        let named = jobs.iter().map(|(at, _)| (*at).to_owned());
        let mut bench = Self {
            _machine: machine,
            shop: Some(shop),
            written: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            names: named.collect(),
            jobs: jobs.into_iter().map(job).collect(),
        };
        with(|kernel| {
            for disk in &mut kernel.disks {
                disk.flush();
                for (name, ino) in disk.tree() {
                    bench.names.insert(name);
                    bench.written.extend(bytes_of(disk, ino));
                }
            }
            (kernel.calls, kernel.changes) = (0, 0);
            kernel.log.clear();
        });
        bench
    }

    /// Carries the jobs out with the real code. After the machine died that has no effect any more.
    pub(super) fn carry_out(&self) -> Vec<Done<()>> {
        let shop = self.shop.as_ref().unwrap();
        let still = with(|kernel| kernel.disks.iter().any(|disk| disk.reflinks));
        let assign =
            |job: &Job| Assigned { key: (), job: job.clone(), control: Arc::default(), still };
        carry_out(shop, self.jobs.iter().map(assign).collect())
    }

    /// The process is gone.
    pub(super) fn remains(&mut self) -> Remains {
        // Closing is no act: what it would still remove stays where the machine is dead.
        self.shop = None;
        Remains { disks: with(|kernel| kernel.disks.clone()), stores: memory::snapshot() }
    }

    pub(super) fn restore(&mut self, remains: &Remains) {
        self.shop = None;
        with(|kernel| kernel.disks.clone_from(&remains.disks));
        memory::restore(&remains.stores);
    }

    /// Another process starts on what a kill, or a crash with this loss, left, and recovers.
    pub(super) fn start_again(&mut self, loss: Option<Loss>) {
        with(|kernel| match loss {
            None => kernel.kill(),
            Some(loss) => kernel.crash(|_| loss),
        });
        memory::end_process(loss.is_some());
        let shop = open_shop().unwrap();
        recover(&shop, ReplicaSet::EMPTY).unwrap();
        self.shop = Some(shop);
    }

    /// Nothing partial and no name of ours is in a tree.
    pub(super) fn check_trees(&self) -> Result<(), String> {
        with(|kernel| {
            for (at, disk) in kernel.disks.iter().enumerate() {
                for (name, ino) in disk.tree() {
                    if !self.names.contains(&name) {
                        return Err(format!("a name nobody gave on disk {at}: {name}"));
                    }
                    let bytes = bytes_of(disk, ino);
                    if bytes.as_ref().is_some_and(|bytes| !self.written.contains(bytes)) {
                        return Err(format!(
                            "{name} on disk {at} holds what nobody wrote: {bytes:?}"
                        ));
                    }
                }
            }
            Ok(())
        })
    }

    /// The path of the first job.
    pub(super) fn path(&self) -> String {
        String::from_utf8_lossy(self.jobs[0].path.as_bytes()).into_owned()
    }

    /// What a user did meanwhile.
    pub(super) fn raced(&mut self, wrote: Option<Bytes>, destroyed: Option<Bytes>) {
        if let Some(destroyed) = destroyed {
            // In a tree it may still be.
            self.destroyed.insert(destroyed);
        }
        self.written.extend(wrote);
        self.names.extend(
            self.jobs.iter().map(|j| String::from_utf8_lossy(j.path.as_bytes()).into_owned()),
        );
    }

    /// Everything that must hold after recovery.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_trees()?;
        self.check_kept()?;
        self.check_agreed(self.shop.as_ref().unwrap().journal.as_ref().unwrap())
    }

    /// What users wrote and did not destroy is in a tree or kept.
    pub(super) fn check_kept(&self) -> Result<(), String> {
        let shop = self.shop.as_ref().unwrap();
        let journal = shop.journal.as_ref().unwrap();
        let kept = journal.kept(&RelPath::root()).map_err(|e| e.to_string())?;
        let mut found = BTreeSet::new();
        with(|kernel| {
            for disk in &kernel.disks {
                found.extend(disk.tree().iter().filter_map(|(_, ino)| bytes_of(disk, *ino)));
            }
            for (op, kept) in &kept {
                let disk = &kernel.disks[usize::from(kept.replica.slot())];
                let name = OpId(*op).name();
                let at = format!(".yeet/s/{}", String::from_utf8_lossy(&name));
                found.extend(disk.at(&at).and_then(|ino| bytes_of(disk, ino)));
            }
        });
        let lost = self.written.difference(&found).find(|bytes| !self.destroyed.contains(*bytes));
        lost.map_or(Ok(()), |lost| Err(format!("lost: {lost:?}")))
    }

    /// What is agreed at a path of a job.
    pub(super) fn agreed(&self, text: &str) -> Option<Value> {
        agreed(self.shop.as_ref().unwrap().journal.as_ref().unwrap(), &path(text)).unwrap()
    }

    /// What is agreed is what both ends hold, unless it is what was agreed before.
    fn check_agreed(&self, journal: &Journal) -> Result<(), String> {
        for job in &self.jobs {
            let agreed = agreed(journal, &job.path).map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(job.path.as_bytes()).into_owned();
            let ends = [value(SOURCE, &text), value(LEAF, &text)];
            let before = match &job.op {
                Op::Put { expect, .. } => *expect,
                Op::Delete { expect, .. } => Some(*expect),
                Op::Move { .. } | Op::Agree { .. } | Op::Read { .. } => None,
            };
            if agreed != before && ends != [agreed, agreed] {
                return Err(format!("{text}: {agreed:?} is agreed, and they hold {ends:?}"));
            }
        }
        Ok(())
    }

    /// No operation is announced any more.
    pub(super) fn check_settled(&self) -> Result<(), String> {
        let journal = self.shop.as_ref().unwrap().journal.as_ref().unwrap();
        match journal.intents().map_err(|e| e.to_string())?.as_slice() {
            [] => Ok(()),
            open => Err(format!("still announced: {open:?}")),
        }
    }
}
