//! What a user asks of one replica by command: a version's bytes, a file put in its place, old versions removed.
//!
//! Holds: what is put in a place is whole before it gets its name, and what it replaces is kept under the operation's.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::dataflow::model::path::{Name, RelPath};
use crate::dataflow::model::value::{Content, Digest, Value};
use crate::sinks::apply::{Control, digest_of};
use crate::sinks::far::Far;
use crate::sinks::stage::{OpId, Store};
use crate::sinks::transfer::Site;
use crate::sys::{self, Dir, File, Kind, Root};

/// Whose bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Of {
    Path(RelPath),
    /// What an operation displaced.
    Kept(u64),
}

/// A file or a symlink as it is handed out.
pub enum Found<R> {
    File { bytes: R, mode: u16, mtime_ns: i64 },
    Symlink(Vec<u8>),
}

/// A file that is to be put at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub op: u64,
    pub path: RelPath,
    pub mode: u16,
    pub mtime_ns: Option<i64>,
    /// What has its name now, and is kept.
    pub replaces: Option<Value>,
    /// Directories that are missing on the way are made.
    pub parents: bool,
}

fn store(site: &Site) -> io::Result<&Store> {
    site.store.as_ref().map_err(|errno| io::Error::from_raw_os_error(*errno))
}

/// Opens a file or reads a symlink.
///
/// # Errors
/// There is none, or the kernel's.
pub fn read(site: &Site, of: &Of) -> io::Result<Found<File>> {
    match of {
        Of::Path(path) => {
            let (dir, name) = site.root.open_parent(path)?;
            read_in(&dir, name.as_bytes())
        }
        Of::Kept(op) => read_in(store(site)?.dir(), &OpId(*op).name()),
    }
}

fn read_in(dir: &Dir, name: &[u8]) -> io::Result<Found<File>> {
    let stat = dir.stat(name)?.ok_or(io::ErrorKind::NotFound)?;
    match stat.kind {
        Kind::Symlink => dir.readlink(name).map(Found::Symlink),
        Kind::File | Kind::Dir | Kind::Fifo | Kind::Socket | Kind::Device => Ok(Found::File {
            bytes: dir.open_read(name)?,
            mode: stat.mode,
            mtime_ns: stat.mtime_ns,
        }),
    }
}

/// The digest of a file that is still what was seen of it; `None` if it is not.
///
/// # Errors
/// The kernel's.
pub fn digest(root: &Root, path: &RelPath, seen: Content) -> io::Result<Option<Digest>> {
    let (dir, name) = root.open_parent(path)?;
    let mut open = dir.open_read(name.as_bytes())?;
    if Content::unread(sys::fstat(&open)?.identity()) != seen {
        return Ok(None);
    }
    digest_of(&mut open, &Control::default())
}

/// Makes a file of `bytes`; what it replaces has the operation's name in the store then.
///
/// # Errors
/// Nothing was changed: the name is taken, or is free though something is to be replaced, or the kernel's.
pub fn place(site: &Site, what: &Placed, bytes: &mut dyn Read) -> io::Result<()> {
    let (store, op) = (store(site)?, OpId(what.op));
    if what.parents {
        make_parents(&site.root, &what.path)?;
    }
    let staged = store.dir().create_new(&op.name())?;
    let placed = fill(&staged, bytes, what.mode, what.mtime_ns).and_then(|()| {
        let (dir, name) = site.root.open_parent(&what.path)?;
        match what.replaces {
            None => store.dir().rename_new(&op.name(), &dir, name.as_bytes()),
            Some(_) => match store.dir().exchange(&op.name(), &dir, name.as_bytes())? {
                true => Ok(()),
                false => Err(io::ErrorKind::Unsupported.into()),
            },
        }
    });
    if placed.is_err() {
        store.remove(op)?;
    }
    placed
}

/// Makes a symlink at a path that is free, with the directories that are missing on the way.
///
/// # Errors
/// The kernel's.
pub fn place_symlink(root: &Root, path: &RelPath, text: &[u8]) -> io::Result<()> {
    make_parents(root, path)?;
    let (dir, name) = root.open_parent(path)?;
    dir.make_symlink(text, name.as_bytes())
}

fn make_parents(root: &Root, path: &RelPath) -> io::Result<()> {
    let Some((dir, _)) = path.split() else { return Ok(()) };
    let mut at = RelPath::root();
    for name in dir.components() {
        let parent = root.open_dir(&at)?;
        match parent.make_dir(name, 0o755) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        at = at.join(&Name::parse(name).map_err(io::Error::other)?);
    }
    Ok(())
}

/// Fills a file that is nobody else's yet, and has it on disk.
///
/// # Errors
/// Reading or writing failed.
pub fn fill(
    mut out: &File,
    bytes: &mut dyn Read,
    mode: u16,
    mtime_ns: Option<i64>,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => out.write_all(&buffer[..read])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sys::set_mode(out, mode)?;
    if let Some(mtime_ns) = mtime_ns {
        sys::set_mtime(out, mtime_ns)?;
    }
    out.sync_all()
}

/// Removes what operations displaced; those that are gone.
#[must_use]
pub fn purge(site: &Site, ops: &[u64]) -> Vec<u64> {
    let Ok(store) = store(site) else { return Vec::new() };
    ops.iter().copied().filter(|op| store.remove(OpId(*op)).is_ok()).collect()
}

/// A replica's desk, wherever it is.
pub enum Desk<'a> {
    Here(&'a Site),
    There(&'a Far),
}

impl Desk<'_> {
    /// As [`read`].
    ///
    /// # Errors
    /// As there; or its host is not reached.
    pub fn read(&self, of: &Of) -> io::Result<Found<Box<dyn Read + Send>>> {
        match self {
            Self::Here(site) => Ok(match read(site, of)? {
                Found::File { bytes, mode, mtime_ns } => {
                    Found::File { bytes: Box::new(bytes), mode, mtime_ns }
                }
                Found::Symlink(text) => Found::Symlink(text),
            }),
            Self::There(far) => far.read(of),
        }
    }

    /// As [`digest`].
    ///
    /// # Errors
    /// As there; or its host is not reached.
    pub fn digest(&self, path: &RelPath, seen: Content) -> io::Result<Option<Digest>> {
        match self {
            Self::Here(site) => digest(&site.root, path, seen),
            Self::There(far) => far.digest(path, seen),
        }
    }

    /// As [`place`].
    ///
    /// # Errors
    /// As there; or its host is not reached.
    pub fn place(&self, what: &Placed, bytes: &mut dyn Read) -> io::Result<()> {
        match self {
            Self::Here(site) => place(site, what, bytes),
            Self::There(far) => far.place(what, bytes),
        }
    }

    /// As [`place_symlink`].
    ///
    /// # Errors
    /// As there; or its host is not reached.
    pub fn place_symlink(&self, path: &RelPath, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Here(site) => place_symlink(&site.root, path, text),
            Self::There(far) => far.place_symlink(path, text),
        }
    }

    /// As [`purge`].
    #[must_use]
    pub fn purge(&self, ops: &[u64]) -> Vec<u64> {
        match self {
            Self::Here(site) => purge(site, ops),
            Self::There(far) => far.purge(ops).unwrap_or_default(),
        }
    }
}
