//! What users do to a simulated disk: never counted, never failing, and atomic but for what they say.

use super::disk::{Attributes, Change, Event, Ino, Node};
use super::{Disk, Kernel};

/// A write that waits for a lease.
pub(super) struct Write {
    pub(super) disk: usize,
    pub(super) ino: Ino,
    pub(super) bytes: Vec<u8>,
}

/// A path as users write it: components by `/`.
fn split(path: &str) -> (Vec<&[u8]>, &[u8]) {
    let mut parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
    let name = parts.pop().unwrap_or_default();
    (parts, name)
}

impl Disk {
    /// What a path names, if anything; the empty path is the root.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<Ino> {
        if path.is_empty() {
            return Some(self.root);
        }
        path.split('/').try_fold(self.root, |dir, name| self.child(dir, name.as_bytes()))
    }

    fn parent<'a>(&self, path: &'a str) -> Option<(Ino, &'a [u8])> {
        let (dirs, name) = split(path);
        let dir = dirs.into_iter().try_fold(self.root, |dir, name| self.child(dir, name))?;
        (*self.node(dir) == Node::Dir).then_some((dir, name))
    }

    /// The bytes of a file.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self.node(self.at(path)?) {
            Node::File(bytes) => Some(bytes.to_vec()),
            Node::Dir | Node::Link(_) => None,
        }
    }

    /// Every path with what it is, in order, but for those below `.yeet`.
    #[must_use]
    pub fn tree(&self) -> Vec<(String, Ino)> {
        let mut found = Vec::new();
        self.walk(self.root, "", &mut found);
        found
    }

    /// Every object below a directory.
    pub fn walk(&self, dir: Ino, at: &str, found: &mut Vec<(String, Ino)>) {
        for (name, ino) in &self.now.names[&dir] {
            let name = String::from_utf8_lossy(name);
            let path = if at.is_empty() { name.into_owned() } else { format!("{at}/{name}") };
            if path == ".yeet" {
                continue;
            }
            found.push((path.clone(), *ino));
            if *self.node(*ino) == Node::Dir {
                self.walk(*ino, &path, found);
            }
        }
    }
}

impl Kernel {
    /// Whether a read lease keeps writers out, which is noted with who has it.
    fn breaks_lease(&mut self, disk: usize, ino: Ino) -> bool {
        let mut leased = false;
        for open in self.opens.values_mut().filter(|open| (open.disk, open.ino) == (disk, ino)) {
            if let Some(broken) = &mut open.lease {
                *broken = true;
                leased = true;
            }
        }
        leased
    }

    pub(super) fn end_waiting(&mut self) {
        for write in std::mem::take(&mut self.waiting) {
            if self.breaks_lease(write.disk, write.ino) {
                self.waiting.push(write);
            } else {
                self.clock_ns += 1000;
                self.disks[write.disk].users.insert(write.ino);
                self.disks[write.disk].write(write.ino, write.bytes, self.clock_ns);
            }
        }
    }

    /// Opens, writes and closes; a new file if there is none. False where there is no directory for it, or it is one.
    pub fn user_write(&mut self, disk: usize, path: &str, bytes: &[u8]) -> bool {
        self.clock_ns += 1000;
        let now = self.clock_ns;
        if let Some(ino) = self.disks[disk].at(path) {
            if !matches!(self.disks[disk].node(ino), Node::File(_)) {
                return false;
            }
            let write = Write { disk, ino, bytes: bytes.to_vec() };
            if self.breaks_lease(disk, ino) {
                self.waiting.push(write);
            } else {
                self.disks[disk].users.insert(ino);
                self.disks[disk].write(ino, write.bytes, now);
            }
            return true;
        }
        let Some((dir, name)) = self.disks[disk].parent(path) else { return false };
        let ino = self.disks[disk].make(Node::File(Vec::new().into()), 0o644, now);
        self.disks[disk].rename(vec![(dir, name.to_vec(), Some(ino))], now);
        self.disks[disk].users.insert(ino);
        self.disks[disk].write(ino, bytes.to_vec(), now);
        true
    }

    /// Makes a directory or a symlink where nothing is.
    pub fn user_make(&mut self, disk: usize, path: &str, node: Node) -> bool {
        self.clock_ns += 1000;
        let now = self.clock_ns;
        let disk = &mut self.disks[disk];
        let Some((dir, name)) = disk.parent(path).filter(|_| disk.at(path).is_none()) else {
            return false;
        };
        let ino = disk.make(node, 0o755, now);
        disk.users.insert(ino);
        disk.rename(vec![(dir, name.to_vec(), Some(ino))], now);
        true
    }

    /// Removes a name, and all below it.
    pub fn user_remove(&mut self, disk: usize, path: &str) -> bool {
        self.clock_ns += 1000;
        let now = self.clock_ns;
        let disk = &mut self.disks[disk];
        let Some(ino) = disk.at(path) else { return false };
        let mut below = vec![(path.to_owned(), ino)];
        if *disk.node(ino) == Node::Dir {
            disk.walk(ino, path, &mut below);
        }
        for (path, _) in below.into_iter().rev() {
            let Some((dir, name)) = disk.parent(&path) else { continue };
            disk.rename(vec![(dir, name.to_vec(), None)], now);
        }
        true
    }

    /// `rename(2)`: what has the new name is replaced, if a file system would do that.
    pub fn user_rename(&mut self, disk: usize, from: &str, to: &str) -> bool {
        self.clock_ns += 1000;
        let now = self.clock_ns;
        let disk = &mut self.disks[disk];
        let (Some(ino), Some((dir, name)), Some((old_dir, old_name))) =
            (disk.at(from), disk.parent(to), disk.parent(from))
        else {
            return false;
        };
        let is_dir = *disk.node(ino) == Node::Dir;
        let fits = match disk.at(to) {
            None => true,
            Some(there) if *disk.node(there) == Node::Dir => {
                is_dir && disk.now.names[&there].is_empty()
            }
            Some(_) => !is_dir,
        };
        if !fits || from == to || to.starts_with(&format!("{from}/")) {
            return false;
        }
        let names = vec![(old_dir, old_name.to_vec(), None), (dir, name.to_vec(), Some(ino))];
        disk.rename(names, now);
        true
    }

    /// Sets permission bits, or the mtime, or both.
    pub fn user_touch(&mut self, disk: usize, path: &str, mode: Option<u16>, mtime: Option<i64>) {
        self.clock_ns += 1000;
        let now = self.clock_ns;
        let disk = &mut self.disks[disk];
        let Some(ino) = disk.at(path) else { return };
        let was = disk.attributes(ino);
        let attributes = Attributes {
            mode: mode.unwrap_or(was.mode),
            mtime: mtime.unwrap_or(was.mtime),
            ctime: disk.stamp(now),
        };
        disk.change(vec![Change::Attributes(ino, attributes)]);
        disk.events.push(Event::Object(ino));
    }
}
