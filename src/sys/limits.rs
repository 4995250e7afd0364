//! What this machine lets one user have.

use rustix::process::{Resource, getrlimit};

/// How many directories one user can have watched; `None` where the system does not say.
#[must_use]
pub fn watches_max() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?.trim().parse().ok()
}

/// How many files a process of this user can have open if it asks; `None`: any number.
#[must_use]
pub fn files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}
