//! The `yeet` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    yeet::cli::main()
}
