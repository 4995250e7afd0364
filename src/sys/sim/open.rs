//! Open handles: they keep what they opened, whatever becomes of its names.

use super::disk::Ino;
use super::maybe;

/// What a handle has open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) disk: usize,
    pub(super) ino: Ino,
    pub(super) at: usize,
    /// Whose it is.
    pub(super) process: usize,
    /// A read lease, and whether somebody waits to write.
    pub(super) lease: Option<bool>,
}

/// A simulated file descriptor.
#[derive(Debug)]
pub struct Open(pub(super) u64);

impl Drop for Open {
    fn drop(&mut self) {
        // After the machine is gone there is nothing to close.
        maybe(|kernel| kernel.close(self.0));
    }
}
