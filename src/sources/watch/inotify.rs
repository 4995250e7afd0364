//! Watching by inotify: one instance and one thread for the replicas of a sync.
//!
//! Holds: the thread sleeps until the kernel has an event, a hint is due, or somebody wakes it; reading files wakes
//! nobody (INV-8). A watch is put on the directory that was opened, not on what its path may name by now.
//! `docs/design/0006-watching.md` says why this is not done through `notify`.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use super::settle::{Change, Settle};
use super::table::{Table, Wd, join};
use super::{Added, Hint, Watch, WatchError};
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::replica::Replica;

/// What is asked of every directory: no opens, no reads, no closes after reading.
const MASK: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::EXCL_UNLINK);
const BUFFER_BYTES: usize = 64 << 10;

/// What the watcher passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Hint(Replica, Hint),
    /// Every hint about what happened before [`Watcher::flush`] was called with this number has been passed on.
    Flushed(u64),
}

struct Shared {
    inotify: OwnedFd,
    waker: OwnedFd,
    table: Mutex<Table>,
    wanted: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    stop: bool,
    flushes: Vec<u64>,
    injected: Vec<(Replica, Hint)>,
}

/// A running watcher. Dropping it stops its thread.
pub struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts watching nothing. `sink` is called on the watcher's thread; while it blocks, the kernel keeps up to
    /// 16,384 events and then reports [`Hint::Overflow`].
    ///
    /// # Errors
    /// [`WatchError::Instances`] where the user's limit of inotify instances is reached.
    pub fn start(sink: impl FnMut(Notice) + Send + 'static) -> Result<Self, WatchError> {
        let failed = |error: rustix::io::Errno| WatchError::starting(error.raw_os_error());
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let (table, wanted) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { inotify, waker, table, wanted });
        let reader = Reader {
            shared: shared.clone(),
            settle: Settle::default(),
            epoch: Instant::now(),
            sink,
        };
        let thread =
            std::thread::Builder::new().name("watch".into()).spawn(move || reader.run()).map_err(
                |error| WatchError::Other { errno: error.raw_os_error().unwrap_or(libc::EAGAIN) },
            )?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has `Notice::Flushed(number)` passed on once every hint about what is already done has been.
    ///
    /// The kernel queues an event before the call that caused it returns, so reading the queue until it is empty is
    /// enough; nothing is written.
    pub fn flush(&self, number: u64) {
        self.shared.want(|wanted| wanted.flushes.push(number));
    }

    /// Passes a hint on as if the kernel had given it.
    pub fn inject(&self, replica: Replica, hint: Hint) {
        self.shared.want(|wanted| wanted.injected.push((replica, hint)));
    }

    /// How many directories are watched.
    #[must_use]
    pub fn watches(&self) -> usize {
        self.shared.table().len()
    }

    /// Watches nothing of a replica any more.
    pub fn forget(&self, replica: Replica) {
        self.shared.take_off(|table| table.take_replica(replica));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.want(|wanted| wanted.stop = true);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}

impl Watch for Watcher {
    fn add(
        &self,
        replica: Replica,
        dir: &RelPath,
        handle: BorrowedFd<'_>,
        still_here: &dyn Fn() -> bool,
    ) -> Result<Added, WatchError> {
        // Held over the system call: an event of the new watch finds its path.
        let mut table = self.shared.table();
        let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let wd = inotify::add_watch(&self.shared.inotify, path, MASK)
            .map_err(|error| WatchError::adding(error.raw_os_error()))?;
        match table.path(wd) {
            Some(known) if known == (replica, dir.clone()) => {
                table.put(wd, replica, dir);
                Ok(Added::Known)
            }
            Some(_) if !still_here() => Ok(Added::Elsewhere),
            Some(_) | None => {
                table.put(wd, replica, dir);
                Ok(Added::New)
            }
        }
    }

    fn begin_round(&self) -> u32 {
        self.shared.table().begin_round()
    }

    fn end_round(&self, replica: Replica, round: u32) {
        self.shared.take_off(|table| table.take_unseen(replica, round));
    }

    fn knows(&self, replica: Replica, dir: &RelPath) -> bool {
        self.shared.table().wd(replica, dir).is_some()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, what: impl FnOnce(&mut Wanted)) {
        what(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        // Fails only if the counter is full, and then the thread is awake.
        let _full = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn take_off(&self, which: impl FnOnce(&mut Table) -> Vec<Wd>) {
        // Held to the end: a directory found again meanwhile would get the very watch that is taken off here.
        let mut table = self.table();
        for wd in which(&mut table) {
            // Fails for a directory that is gone, which is as good.
            let _gone = inotify::remove_watch(&self.inotify, wd);
        }
    }
}

struct Reader<S> {
    shared: Arc<Shared>,
    settle: Settle,
    epoch: Instant,
    sink: S,
}

impl<S: FnMut(Notice)> Reader<S> {
    fn run(mut self) {
        let shared = self.shared.clone();
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        loop {
            self.sleep();
            let mut drain = [0; 8];
            let _count = rustix::io::read(&shared.waker, &mut drain);
            // Taken before the queue is read: what was done before a flush was asked for is in the queue.
            let wanted =
                std::mem::take(&mut *shared.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            if wanted.stop || self.read(&mut buffer).is_err() {
                return;
            }
            for (replica, hint) in wanted.injected {
                self.settle.hint(replica, hint);
            }
            let now = self.epoch.elapsed();
            let hints =
                if wanted.flushes.is_empty() { self.settle.due(now) } else { self.settle.all(now) };
            for (replica, hint) in hints {
                (self.sink)(Notice::Hint(replica, hint));
            }
            for number in wanted.flushes {
                (self.sink)(Notice::Flushed(number));
            }
        }
    }

    fn sleep(&self) {
        let left = self.settle.next_deadline().map(|due| due.saturating_sub(self.epoch.elapsed()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [
            PollFd::new(&self.shared.inotify, PollFlags::IN),
            PollFd::new(&self.shared.waker, PollFlags::IN),
        ];
        // Interrupted or not: what there is to do is found by asking.
        let _ready = poll(&mut fds, timeout.as_ref());
    }

    /// Reads the queue until it is empty.
    fn read(&mut self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut reader = inotify::Reader::new(shared.inotify.as_fd(), buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes());
                    self.event(&shared, event.wd(), event.events(), event.cookie(), name);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        shared.take_off(Table::take_loose);
        Ok(())
    }

    fn event(
        &mut self,
        shared: &Shared,
        wd: Wd,
        what: ReadFlags,
        cookie: u32,
        name: Option<&[u8]>,
    ) {
        let now = self.epoch.elapsed();
        let mut table = shared.table();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            for replica in table.replicas() {
                self.settle.hint(replica, Hint::Overflow);
            }
            return;
        }
        if what.contains(ReadFlags::IGNORED) {
            table.removed(wd);
            return;
        }
        let Some((replica, dir)) = table.path(wd) else {
            return;
        };
        let Some(name) = name else {
            self.own_event(now, replica, dir, what);
            return;
        };
        let is_dir = what.contains(ReadFlags::ISDIR);
        if is_dir && what.contains(ReadFlags::MOVED_FROM) {
            table.moved_from(wd, name, cookie);
        }
        if is_dir && what.contains(ReadFlags::MOVED_TO) {
            table.moved_to(wd, name, cookie);
        }
        drop(table);
        let Some(path) = join(&dir, name) else {
            return;
        };
        if is_dir && what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            self.settle.scan(replica, path);
            return;
        }
        let over = ReadFlags::CLOSE_WRITE
            | ReadFlags::DELETE
            | ReadFlags::MOVED_FROM
            | ReadFlags::MOVED_TO
            | ReadFlags::ATTRIB;
        let change = if what.intersects(over) {
            Change::Done
        } else if what.contains(ReadFlags::CREATE) {
            Change::Created
        } else {
            Change::Writing
        };
        self.settle.change(now, replica, path, change);
    }

    /// Something happened to a watched directory itself.
    fn own_event(
        &mut self,
        now: super::settle::At,
        replica: Replica,
        dir: RelPath,
        what: ReadFlags,
    ) {
        let gone = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        if dir.is_root() && what.intersects(gone) {
            self.settle.hint(replica, Hint::RootGone);
        } else if what.intersects(gone | ReadFlags::ATTRIB) {
            // Its parent says the same, if that is watched.
            self.settle.change(now, replica, dir, Change::Done);
        }
    }
}
