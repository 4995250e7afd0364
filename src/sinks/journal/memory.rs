//! A store on a simulated machine: what `redb` flushed survives a crash, what it wrote a kill.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, StorageBackend};

use crate::sys::sim;

#[derive(Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Backend(Arc<Mutex<Bytes>>);

impl Backend {
    fn bytes<T>(&self, act: impl FnOnce(&mut Bytes) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

thread_local! {
    static STORES: std::cell::RefCell<BTreeMap<PathBuf, Backend>> = const {
        std::cell::RefCell::new(BTreeMap::new())
    };
}

/// Whether a store is one of a simulated machine.
pub(super) fn is_simulated(path: &Path) -> bool {
    path.starts_with("/sim")
}

pub(super) fn create(path: &Path, cache_bytes: usize) -> Result<Database, redb::Error> {
    let backend = STORES.with_borrow_mut(|all| all.entry(path.to_owned()).or_default().clone());
    let builder = &mut Database::builder();
    Ok(builder.set_cache_size(cache_bytes).create_with_backend(backend)?)
}

/// Forgets all stores of this thread.
pub(crate) fn wipe() {
    STORES.take();
}

pub(super) fn set_aside(path: &Path, aside: &Path) {
    STORES.with_borrow_mut(|all| {
        let store = all.remove(path).unwrap_or_default();
        all.insert(aside.to_owned(), store);
    });
}

/// After the process is gone: another one finds what was written, or after a crash what was flushed.
pub(crate) fn end_process(crashed: bool) {
    STORES.with_borrow_mut(|all| {
        for store in all.values_mut() {
            // What still has the old one open can do no more harm.
            *store = store.bytes(|bytes| {
                let bytes = if crashed { bytes.durable.clone() } else { bytes.now.clone() };
                Backend(Arc::new(Mutex::new(Bytes { durable: bytes.clone(), now: bytes })))
            });
        }
    });
}

/// All stores of this thread: what is written, what is flushed.
pub(crate) type Stores = BTreeMap<PathBuf, (Vec<u8>, Vec<u8>)>;

/// All stores as they are, for [`restore`].
pub(crate) fn snapshot() -> Stores {
    STORES.with_borrow(|all| {
        let copy = |store: &Backend| store.bytes(|b| (b.now.clone(), b.durable.clone()));
        all.iter().map(|(path, store)| (path.clone(), copy(store))).collect()
    })
}

pub(crate) fn restore(stores: &Stores) {
    STORES.with_borrow_mut(|all| {
        all.clear();
        for (path, (now, durable)) in stores {
            let bytes = Bytes { now: now.clone(), durable: durable.clone() };
            all.insert(path.clone(), Backend(Arc::new(Mutex::new(bytes))));
        }
    });
}

fn is_dead() -> bool {
    sim::maybe(|kernel| kernel.dead) == Some(true)
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes(|bytes| bytes.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.bytes(|bytes| {
            let from = bytes.now.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if is_dead() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.bytes(|bytes| bytes.now.resize(len, 0));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        sim::maybe(sim::Kernel::commit).transpose()?;
        self.bytes(|bytes| bytes.durable.clone_from(&bytes.now));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if is_dead() {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.bytes(|bytes| bytes.now[at..at + data.len()].copy_from_slice(data));
        Ok(())
    }
}
