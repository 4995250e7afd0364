//! What each call does to a simulated disk.
//!
//! Holds: a call either does all of what it says or fails and does nothing, but for a write to a full disk.

use std::path::Path;
use std::rc::Rc;

use rustix::fs::{OFlags, RenameFlags, SeekFrom, Statx};
use rustix::io::Errno;

use super::Kernel;
use super::disk::{Attributes, Change, Disk, Event, Ino, Node};
use super::fault::{Fault, has};
use super::open::Opened;

type Call<T> = Result<T, Errno>;
type Place<'a> = (u64, &'a [u8]);

/// Moved by every call: what happens later has a later time.
const STEP_NS: i64 = 1000;

impl Kernel {
    /// Every call begins here. `what` is for the print of a failure.
    fn call(&mut self, what: impl FnOnce() -> String, changes: bool) -> Call<()> {
        if self.dead {
            return Err(Errno::IO);
        }
        if let Some(mut hook) = self.plan.hook.take() {
            let calls = self.calls;
            hook(self, calls);
            if self.plan.hook.is_none() {
                self.plan.hook = Some(hook);
            }
        }
        if changes && self.plan.die == Some(self.changes) {
            self.dead = true;
            return Err(Errno::IO);
        }
        self.clock_ns += STEP_NS;
        let number = self.calls;
        self.calls += 1;
        if let Some((at, errno)) = self.plan.fail
            && at == number
        {
            self.log.push(format!("{number} fails with {errno}: {}", what()));
            return Err(Errno::from_raw_os_error(errno));
        }
        self.changes += u64::from(changes);
        if changes {
            self.log.push(format!("{number}: {}", what()));
        }
        Ok(())
    }

    /// The journal is about to commit: a change like any other.
    ///
    /// # Errors
    /// As planned.
    pub fn commit(&mut self) -> Call<()> {
        self.call(|| "journal".to_owned(), true)?;
        self.commits += 1;
        Ok(())
    }

    fn opened(&self, open: u64) -> Call<Opened> {
        self.opens.get(&open).copied().ok_or(Errno::BADF)
    }

    fn open_object(&mut self, disk: usize, ino: Ino) -> u64 {
        self.opened += 1;
        let process = self.process;
        self.opens.insert(self.opened, Opened { disk, ino, at: 0, process, lease: None });
        self.opened
    }

    pub(super) fn close(&mut self, open: u64) {
        if self.opens.remove(&open).is_some_and(|open| open.lease.is_some()) {
            self.end_waiting();
        }
    }

    fn mount(&self, path: &Path) -> Option<Call<usize>> {
        if !path.starts_with("/sim") {
            return None;
        }
        Some(self.mounts.get(path).copied().ok_or(Errno::NOENT))
    }

    pub(super) fn open_mount(&mut self, path: &Path) -> Option<Call<u64>> {
        let disk = self.mount(path)?;
        Some(self.call(|| format!("open {}", path.display()), false).and(disk).map(|disk| {
            let root = self.disks[disk].root;
            self.open_object(disk, root)
        }))
    }

    pub(super) fn find_mount(&mut self, path: &Path) -> Option<Call<(u64, u64)>> {
        let disk = self.mount(path)?;
        let called = self.call(|| format!("stat {}", path.display()), false);
        Some(called.and(disk).map(|disk| (self.disks[disk].dev, self.disks[disk].root)))
    }

    /// The object that a path from an open directory names.
    fn find(&self, open: u64, path: &[u8]) -> Call<(usize, Ino)> {
        let Opened { disk, ino, .. } = self.opened(open)?;
        if path.is_empty() || path == b"." {
            return Ok((disk, ino));
        }
        let mut at = ino;
        for name in path.split(|byte| *byte == b'/') {
            at = self.followed(disk, at);
            match self.disks[disk].node(at) {
                Node::Dir => {}
                Node::Link(_) => return Err(Errno::LOOP),
                Node::File(_) => return Err(Errno::NOTDIR),
            }
            at = self.disks[disk].child(at, name).ok_or(Errno::NOENT)?;
        }
        Ok((disk, at))
    }

    /// What a symlink leads to, for a yeet that asks to follow them: from the root, slashes at its end apart.
    fn followed(&self, disk: usize, ino: Ino) -> Ino {
        let disk = &self.disks[disk];
        match disk.node(ino) {
            Node::Link(text) if has(Fault::LinksFollowed) => {
                let text = String::from_utf8_lossy(text);
                disk.at(text.trim_end_matches('/')).unwrap_or(ino)
            }
            Node::Link(_) | Node::File(_) | Node::Dir => ino,
        }
    }

    fn free(&self, (dir, name): Place<'_>) -> Call<(usize, Ino)> {
        match self.find(dir, name) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => {
                let Opened { disk, ino, .. } = self.opened(dir)?;
                self.alive(disk, ino)?;
                Ok((disk, ino))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Nothing gets a name in a directory that was removed.
    fn alive(&self, disk: usize, dir: Ino) -> Call<()> {
        self.disks[disk].path_of(dir).map(drop).ok_or(Errno::NOENT)
    }

    pub(super) fn open_at(&mut self, dir: u64, name: &[u8], flags: OFlags, mode: u16) -> Call<u64> {
        let makes = flags.intersects(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        self.call(|| format!("open {} {flags:?}", name.escape_ascii()), makes)?;
        let now = self.clock_ns;
        let new = Node::File(Rc::default());
        if flags.contains(OFlags::TMPFILE) {
            let disk = self.opened(dir)?.disk;
            if !self.disks[disk].unnamed {
                return Err(Errno::OPNOTSUPP);
            }
            let ino = self.disks[disk].make(new, mode & 0o755, now);
            return Ok(self.open_object(disk, ino));
        }
        if flags.contains(OFlags::CREATE)
            && (flags.contains(OFlags::EXCL) || self.find(dir, name).is_err())
        {
            let (disk, parent) = self.free((dir, name))?;
            self.room(disk)?;
            let ino = self.disks[disk].make(new, mode & 0o755, now);
            self.disks[disk].rename(vec![(parent, name.to_vec(), Some(ino))], now);
            return Ok(self.open_object(disk, ino));
        }
        let (disk, mut ino) = self.find(dir, name)?;
        if flags.contains(OFlags::DIRECTORY) {
            ino = self.followed(disk, ino);
        }
        match self.disks[disk].node(ino) {
            Node::Link(_) => Err(Errno::LOOP),
            Node::File(_) if flags.contains(OFlags::DIRECTORY) => Err(Errno::NOTDIR),
            Node::File(_) | Node::Dir => Ok(self.open_object(disk, ino)),
        }
    }

    fn room(&self, disk: usize) -> Call<()> {
        if self.disks[disk].full { Err(Errno::NOSPC) } else { Ok(()) }
    }

    pub(super) fn statx(&mut self, dir: u64, name: &[u8]) -> Call<Statx> {
        self.call(|| format!("stat {}", name.escape_ascii()), false)?;
        let (disk, ino) = self.find(dir, name)?;
        Ok(statx(&self.disks[disk], ino))
    }

    pub(super) fn names(&mut self, dir: u64) -> Call<Vec<Vec<u8>>> {
        self.call(|| "list".to_owned(), false)?;
        let Opened { disk, ino, .. } = self.opened(dir)?;
        Ok(self.disks[disk].now.names.get(&ino).ok_or(Errno::NOTDIR)?.keys().cloned().collect())
    }

    pub(super) fn make_dir(&mut self, dir: u64, name: &[u8], mode: u16) -> Call<()> {
        self.make(dir, name, Node::Dir, mode & 0o755, "mkdir")
    }

    pub(super) fn make_link(&mut self, dir: u64, name: &[u8], text: &[u8]) -> Call<()> {
        self.make(dir, name, Node::Link(text.to_vec()), 0o777, "symlink")
    }

    fn make(&mut self, dir: u64, name: &[u8], node: Node, mode: u16, what: &str) -> Call<()> {
        self.call(|| format!("{what} {}", name.escape_ascii()), true)?;
        let (disk, parent) = self.free((dir, name))?;
        self.room(disk)?;
        let now = self.clock_ns;
        let ino = self.disks[disk].make(node, mode, now);
        self.disks[disk].rename(vec![(parent, name.to_vec(), Some(ino))], now);
        Ok(())
    }

    pub(super) fn unlink(&mut self, dir: u64, name: &[u8], is_dir: bool) -> Call<()> {
        self.call(|| format!("unlink {}", name.escape_ascii()), true)?;
        let (disk, ino) = self.find(dir, name)?;
        match (self.disks[disk].node(ino), is_dir) {
            (Node::Dir, false) => return Err(Errno::ISDIR),
            (Node::File(_) | Node::Link(_), true) => return Err(Errno::NOTDIR),
            (Node::Dir, true) if !self.disks[disk].now.names[&ino].is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            (Node::Dir | Node::File(_) | Node::Link(_), _) => {}
        }
        let parent = self.opened(dir)?.ino;
        let now = self.clock_ns;
        self.disks[disk].rename(vec![(parent, name.to_vec(), None)], now);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: Place<'_>,
        to: Place<'_>,
        flags: RenameFlags,
    ) -> Call<()> {
        let what = || format!("rename {} {} {flags:?}", from.1.escape_ascii(), to.1.escape_ascii());
        self.call(what, true)?;
        let (disk, ino) = self.find(from.0, from.1)?;
        let (parent, to_parent) = (self.opened(from.0)?.ino, self.opened(to.0)?);
        if to_parent.disk != disk {
            return Err(Errno::XDEV);
        }
        let to_parent = to_parent.ino;
        self.alive(disk, to_parent)?;
        let (old, new) = ((parent, from.1.to_vec()), (to_parent, to.1.to_vec()));
        let there = match self.find(to.0, to.1) {
            Ok((_, there)) => Some(there),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        let now = self.clock_ns;
        if flags.contains(RenameFlags::EXCHANGE) {
            if !self.disks[disk].exchange {
                return Err(Errno::INVAL);
            }
            let there = there.ok_or(Errno::NOENT)?;
            self.disks[disk]
                .rename(vec![(old.0, old.1, Some(there)), (new.0, new.1, Some(ino))], now);
            return Ok(());
        }
        let refused = flags.contains(RenameFlags::NOREPLACE) && !has(Fault::NamesTakenOver);
        if there.is_some() && refused {
            return Err(Errno::EXIST);
        }
        let is_dir = *self.disks[disk].node(ino) == Node::Dir;
        match there.map(|there| (there, self.disks[disk].node(there))) {
            Some((_, Node::Dir)) if !is_dir => return Err(Errno::ISDIR),
            Some((there, Node::Dir)) if !self.disks[disk].now.names[&there].is_empty() => {
                return Err(Errno::NOTEMPTY);
            }
            Some((_, Node::File(_) | Node::Link(_))) if is_dir => return Err(Errno::NOTDIR),
            Some((there, _)) if there == ino => return Ok(()),
            Some(_) | None => {}
        }
        self.disks[disk].rename(vec![(old.0, old.1, None), (new.0, new.1, Some(ino))], now);
        Ok(())
    }

    pub(super) fn link(&mut self, from: Place<'_>, to: Place<'_>) -> Call<()> {
        self.call(|| format!("link {} {}", from.1.escape_ascii(), to.1.escape_ascii()), true)?;
        let (disk, ino) = self.find(from.0, from.1)?;
        if *self.disks[disk].node(ino) == Node::Dir {
            return Err(Errno::PERM);
        }
        let (_, parent) = self.free(to)?;
        let now = self.clock_ns;
        self.disks[disk].rename(vec![(parent, to.1.to_vec(), Some(ino))], now);
        Ok(())
    }

    pub(super) fn read_link(&mut self, dir: u64, name: &[u8]) -> Call<Vec<u8>> {
        self.call(|| format!("readlink {}", name.escape_ascii()), false)?;
        let (disk, ino) = self.find(dir, name)?;
        match self.disks[disk].node(ino) {
            Node::Link(text) => Ok(text.clone()),
            Node::File(_) | Node::Dir => Err(Errno::INVAL),
        }
    }

    fn set(&mut self, open: u64, set: impl FnOnce(&mut Attributes)) -> Call<()> {
        let Opened { disk, ino, .. } = self.opened(open)?;
        let now = self.clock_ns;
        let disk = &mut self.disks[disk];
        let mut attributes = disk.attributes(ino);
        set(&mut attributes);
        attributes.ctime = disk.stamp(now);
        disk.change(vec![Change::Attributes(ino, attributes)]);
        disk.events.push(Event::Object(ino));
        Ok(())
    }

    pub(super) fn set_mode(&mut self, open: u64, mode: u32) -> Call<()> {
        self.call(|| format!("chmod {mode:o}"), true)?;
        self.set(open, |attributes| attributes.mode = u16::try_from(mode & 0o777).unwrap_or(0))
    }

    pub(super) fn set_mtime(&mut self, open: u64, mtime: i64) -> Call<()> {
        self.call(|| "utimens".to_owned(), true)?;
        self.set(open, |attributes| attributes.mtime = mtime)
    }

    /// `fsync` and `fdatasync`. Of a directory: all that was renamed.
    pub(super) fn sync(&mut self, open: u64) -> Call<()> {
        self.call(|| "fsync".to_owned(), true)?;
        let Opened { disk, ino, .. } = self.opened(open)?;
        match self.disks[disk].node(ino) {
            Node::File(_) => self.disks[disk].flush_bytes(ino),
            Node::Dir | Node::Link(_) => self.disks[disk].flush(),
        }
        Ok(())
    }

    pub(super) fn sync_all(&mut self, open: u64) -> Call<()> {
        self.call(|| "syncfs".to_owned(), true)?;
        let disk = self.opened(open)?.disk;
        if !has(Fault::AgreedBeforeDurable) {
            self.disks[disk].flush();
        }
        Ok(())
    }

    fn bytes(&self, open: u64) -> Call<(Opened, Rc<Vec<u8>>)> {
        let opened = self.opened(open)?;
        match self.disks[opened.disk].node(opened.ino) {
            Node::File(bytes) => Ok((opened, bytes.clone())),
            Node::Dir | Node::Link(_) => Err(Errno::ISDIR),
        }
    }

    pub(super) fn read(&mut self, open: u64, buffer: &mut [u8]) -> Call<usize> {
        self.call(|| "read".to_owned(), false)?;
        let (opened, bytes) = self.bytes(open)?;
        let left = bytes.get(opened.at..).unwrap_or_default();
        let len = left.len().min(buffer.len());
        buffer[..len].copy_from_slice(&left[..len]);
        self.opens.entry(open).and_modify(|opened| opened.at += len);
        Ok(len)
    }

    pub(super) fn write(&mut self, open: u64, new: &[u8]) -> Call<usize> {
        self.call(|| format!("write {} bytes", new.len()), true)?;
        self.clock_ns += self.ns_per_byte * i64::try_from(new.len()).unwrap_or(0);
        let (opened, bytes) = self.bytes(open)?;
        let mut bytes = bytes.to_vec();
        let full = self.disks[opened.disk].full;
        // A full disk takes the beginning of what it is given.
        let new = if full { &new[..new.len() / 2] } else { new };
        if full && new.is_empty() {
            return Err(Errno::NOSPC);
        }
        let end = opened.at + new.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[opened.at..end].copy_from_slice(new);
        let now = self.clock_ns;
        self.disks[opened.disk].write(opened.ino, bytes, now);
        self.opens.entry(open).and_modify(|opened| opened.at = end);
        Ok(new.len())
    }

    pub(super) fn set_len(&mut self, open: u64, len: u64) -> Call<()> {
        self.call(|| format!("truncate to {len}"), true)?;
        let (opened, bytes) = self.bytes(open)?;
        let mut bytes = bytes.to_vec();
        bytes.resize(usize::try_from(len).map_err(|_| Errno::FBIG)?, 0);
        let now = self.clock_ns;
        self.disks[opened.disk].write(opened.ino, bytes, now);
        Ok(())
    }

    /// Makes a file hold what another one holds, at once.
    pub(super) fn clone_file(&mut self, to: u64, from: u64) -> Call<()> {
        let to = self.opened(to)?;
        if !self.disks[to.disk].reflinks {
            return Err(Errno::OPNOTSUPP);
        }
        self.call(|| "clone".to_owned(), true)?;
        let (from, bytes) = self.bytes(from)?;
        if from.disk != to.disk {
            return Err(Errno::XDEV);
        }
        self.room(to.disk)?;
        let now = self.clock_ns;
        self.disks[to.disk].write(to.ino, bytes.to_vec(), now);
        Ok(())
    }

    pub(super) fn seek(&mut self, open: u64, to: SeekFrom) -> Call<u64> {
        let (mut opened, bytes) = self.bytes(open)?;
        opened.at = match to {
            SeekFrom::Start(at) => usize::try_from(at).map_err(|_| Errno::INVAL)?,
            SeekFrom::Current(by) => opened
                .at
                .checked_add_signed(isize::try_from(by).unwrap_or(0))
                .ok_or(Errno::INVAL)?,
            SeekFrom::End(_) => bytes.len(),
            _ => return Err(Errno::INVAL),
        };
        self.opens.insert(open, opened);
        Ok(opened.at as u64)
    }

    pub(super) fn lease(&mut self, open: u64) -> Call<()> {
        self.call(|| "lease".to_owned(), false)?;
        let opened = self.opened(open)?;
        if self.writers.get(&(opened.disk, opened.ino)).is_some_and(|writers| *writers > 0) {
            return Err(Errno::AGAIN);
        }
        self.opens.entry(open).and_modify(|opened| opened.lease = Some(false));
        Ok(())
    }

    pub(super) fn is_leased(&self, open: u64) -> bool {
        has(Fault::LeaseIgnored) || self.opens.get(&open).and_then(|open| open.lease) == Some(false)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "small numbers of ours")]
fn statx(disk: &Disk, ino: Ino) -> Statx {
    let (node, attributes) = (disk.node(ino), disk.attributes(ino));
    let (kind, size) = match node {
        Node::File(bytes) => (libc::S_IFREG, bytes.len()),
        Node::Dir => (libc::S_IFDIR, 0),
        Node::Link(text) => (libc::S_IFLNK, text.len()),
    };
    // SAFETY: a struct of numbers, for which all zeros is a value.
    #[allow(unsafe_code, reason = "it has no constructor")]
    let mut found: Statx = unsafe { std::mem::zeroed() };
    found.stx_mask = rustix::fs::StatxFlags::BASIC_STATS.bits();
    found.stx_mode = kind as u16 | attributes.mode;
    found.stx_size = size as u64;
    found.stx_ino = ino;
    let names = disk.now.names.values().flat_map(|names| names.values());
    found.stx_nlink = names.filter(|named| **named == ino).count() as u32;
    found.stx_dev_major = 0;
    found.stx_dev_minor = disk.dev as u32;
    for (time, ns) in
        [(&mut found.stx_mtime, attributes.mtime), (&mut found.stx_ctime, attributes.ctime)]
    {
        time.tv_sec = ns.div_euclid(1_000_000_000);
        time.tv_nsec = ns.rem_euclid(1_000_000_000) as u32;
    }
    found
}
