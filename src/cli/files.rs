//! `diff` and `cat`: look at the other side.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use super::error::CommandError;
use super::request::{ask, collect};
use super::target;
use super::ui::Ui;
use crate::sources::control::wire::{Reply, Request};

/// Compare what the two sides hold; exit 0 equal, 1 different, 2 trouble, as diff does
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  yeet diff notes.txt
  yeet diff notes.txt -- vimdiff")]
pub(crate) struct DiffArgs {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// What compares, with its arguments; by default `diff -u`
    #[arg(last = true, value_name = "TOOL")]
    tool: Vec<OsString>,
}

pub(crate) fn diff(args: DiffArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let trouble = |error: CommandError| {
        if error.is_unreachable() { error } else { error.with_code(2) }
    };
    let target = target::path(&args.path, args.sync.as_ref())?;
    let (sides, _) = collect(ui, &Request::Sides { target }, |reply| match reply {
        Reply::Side { file, .. } => Some(file),
        _ => None,
    })
    .map_err(trouble)?;
    let mut tool = args.tool.into_iter();
    let mut command = match tool.next() {
        Some(program) => Command::new(program),
        None => {
            let mut diff = Command::new("diff");
            diff.arg("-u");
            diff
        }
    };
    command.args(tool);
    for side in sides {
        command.arg(side.map_or_else(|| "/dev/null".into(), OsString::from_vec));
    }
    let status = command.status().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        trouble(CommandError::cannot(format!("cannot run {program}: {error}")))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// Print what a replica holds
#[derive(clap::Args)]
pub(crate) struct CatArgs {
    /// The replica: `source` or a leaf's name
    #[arg(long, value_name = "R")]
    from: String,
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
}

pub(crate) fn cat(args: CatArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    ask(ui, &Request::Cat { target, replica: args.from }, |ui, reply| {
        if let Reply::Bytes(bytes) = reply {
            ui.bytes(&bytes)?;
        }
        Ok(())
    })
}
