//! `yeet agent`: what yeet runs on other machines; nothing for people.

use std::io;
use std::path::PathBuf;

use super::error::CommandError;
use super::ui::Ui;
use crate::agent;
use crate::ssh::protocol::Build;

/// Serve whoever started this over SSH
#[derive(clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Print the digest of this file and end
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    digest: Option<PathBuf>,
    /// This program's own file: not every system says which it is
    #[arg(long, value_name = "FILE", required_unless_present = "digest")]
    at: Option<PathBuf>,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let digest = |file: &PathBuf| {
        std::fs::read(file).map(|bytes| blake3::hash(&bytes)).map_err(|error| {
            CommandError::cannot(format!("cannot read {}: {error}", file.display()))
        })
    };
    if let Some(file) = &args.digest {
        ui.text(digest(file)?.to_hex().as_str())?;
        return Ok(0);
    }
    let Some(file) = &args.at else {
        return Err(CommandError::usage("give the agent's own file with --at"));
    };
    let build = Build(digest(file)?.into());
    agent::serve(build, file.clone(), io::stdin(), io::stdout())?;
    Ok(0)
}
