//! Processes of ours.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What this machine is called.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What no other machine is known by, where it has been given such a thing; see machine-id(5).
#[must_use]
pub fn machine_id() -> Vec<u8> {
    std::fs::read("/etc/machine-id").unwrap_or_default()
}

/// Has the child survive the terminal it is started from: it gets a session of its own.
pub fn detach(command: &mut Command) {
    #[allow(unsafe_code, reason = "the only way to run something between fork and exec")]
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}
