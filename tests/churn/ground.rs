//! What a run stands on: where both replicas are, and what befalls the leaf's disk and yeet's state.
//!
//! Holds: whatever befalls a disk is over when [`Ground::mend`] returns.

use std::fs;
use std::path::Path;

use crate::ledger::Ledger;
use crate::mount::{Kind, Mount};
use crate::rig::Rig;

/// The file systems of both replicas, where a kind was asked for.
pub(crate) struct Ground {
    leaf: Option<Mount>,
    _source: Option<Mount>,
    is_full: bool,
    pub(crate) is_read_only: bool,
}

impl Ground {
    /// Where the rig's own directories are: nothing befalls that disk.
    pub(crate) fn bare() -> Self {
        Self { leaf: None, _source: None, is_full: false, is_read_only: false }
    }

    /// Each replica in a directory of a file system of its own; `None`, and a word, where that cannot be.
    pub(crate) fn of(kind: Kind, rig: &Rig) -> Option<Self> {
        let disk = |side: &str| {
            let at = rig.path(&format!("disk-{side}"));
            let mount = Mount::empty(kind, &rig.path(&format!("image-{side}")), &at)?;
            fs::create_dir(at.join(side)).unwrap();
            fs::remove_dir(rig.path(side)).unwrap();
            std::os::unix::fs::symlink(at.join(side), rig.path(side)).unwrap();
            Some(mount)
        };
        let (source, leaf) = (disk("a")?, disk("b")?);
        Some(Self { leaf: Some(leaf), _source: Some(source), ..Self::bare() })
    }

    /// The leaf's disk is full from now on, or no longer.
    pub(crate) fn turn_full(&mut self, ledger: &mut Ledger) {
        let Some(leaf) = &self.leaf else { return };
        if self.is_read_only {
            return;
        }
        self.is_full = !self.is_full;
        if self.is_full {
            ledger.note("the leaf's disk is full".to_owned());
            leaf.fill();
        } else {
            ledger.note("the leaf's disk has space".to_owned());
            leaf.empty_ballast();
        }
    }

    /// The leaf may not be written from now on, or may be again. While a daemon runs its lock is open for writing, and
    /// the kernel refuses: then nothing changes.
    pub(crate) fn turn_read_only(&mut self, ledger: &mut Ledger) {
        let Some(leaf) = &self.leaf else { return };
        let how = if self.is_read_only { "remount,rw" } else { "remount,ro" };
        if leaf.remount(how) {
            self.is_read_only = !self.is_read_only;
            ledger.note(format!("the leaf's disk: {how}"));
        }
    }

    /// Everything can be written again.
    pub(crate) fn mend(&mut self, ledger: &mut Ledger) {
        if self.is_read_only {
            self.turn_read_only(ledger);
            assert!(!self.is_read_only, "it was writable before");
        }
        if self.is_full {
            self.turn_full(ledger);
        }
    }
}

/// All that yeet remembers is gone; no daemon runs.
pub(crate) fn forget_all(rig: &Rig, ledger: &mut Ledger) {
    ledger.note("the state is deleted".to_owned());
    remove(&rig.path("state/yeet"));
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
}
