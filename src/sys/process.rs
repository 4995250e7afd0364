//! Processes of ours.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What this machine is called.
#[must_use]
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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
