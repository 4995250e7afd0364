//! `completions` and `man`.

use std::ffi::OsString;

use clap::CommandFactory;
use clap_complete::Shell;

use super::error::CommandError;
use super::ui::Ui;

/// Print the completions of a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example: yeet completions bash > ~/.local/share/bash-completion/completions/yeet"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn completions(args: CompletionsArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "yeet", &mut script);
    ui.bytes(&script)?;
    Ok(0)
}

/// Write the manual pages into a directory
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The directory, which is made if need be
    #[arg(value_name = "DIR")]
    dir: OsString,
}

pub(crate) fn man(args: ManArgs, _: &mut Ui) -> Result<u8, CommandError> {
    let dir = std::path::Path::new(&args.dir);
    let failed = |error: std::io::Error| {
        CommandError::cannot(format!("cannot write manual pages to {}: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(super::Cli::command(), dir).map_err(failed)?;
    Ok(0)
}
