//! The platform: every system call of yeet that names a file.
//!
//! Holds: a path below a root is resolved from the root's held handle, beneath it, through no symlink and onto no
//! other file system (INV-7); no policy lives here. Linux now; another platform is another half of this folder.

#![allow(clippy::disallowed_methods, reason = "io shell")]

mod caps;
mod dir;
mod file;
mod lease;
mod limits;
mod network;
mod os;
mod place;
mod process;
mod root;
#[cfg(test)]
pub mod sim;
mod snapshot;
mod stat;

pub use caps::{Caps, Naming};
pub use dir::Dir;
pub use file::{
    boot_id, claim, copy_bytes, copy_range, reflink, seek_to, set_mode, set_mtime, sync_fs,
    trim_memory, tune_memory, umask,
};
pub use lease::{Lease, Leased, lease};
pub use limits::{files_max, watches_max};
pub use network::Network;
pub use os::{File, now, now_ns, opened, pause};
pub use place::Place;
pub use process::{detach, hostname, machine_id};
pub use root::{Holder, Identity, Lock, LockError, OWN_DIR, Root, RootError, is_mount, is_outside};
pub use snapshot::Snapshot;
pub use stat::{Kind, Stat, fstat};
