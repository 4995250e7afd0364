//! `allow`, `deny`, `bump`.

use std::ffi::OsString;

use super::error::CommandError;
use super::request::ask;
use super::target;
use super::ui::Ui;
use crate::sources::control::wire::{Reply, Request};

/// Let a held mass delete through, or accept a replaced directory as a new replica
#[derive(clap::Args)]
pub(crate) struct AllowArgs {
    /// The sync; without it the one around here
    name: Option<OsString>,
    /// Only say what would be let through
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Take a held mass delete back: put the files back from the other side
#[derive(clap::Args)]
pub(crate) struct DenyArgs {
    /// The sync; without it the one around here
    name: Option<OsString>,
}

fn print(ui: &mut Ui, reply: Reply) -> Result<(), CommandError> {
    if let Reply::Held { name, replica, deletes, why } = reply {
        ui.text(&format!("{name}\t{replica}\t{deletes}\t{why}"))?;
    }
    Ok(())
}

pub(crate) fn allow(args: AllowArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let sync = target::name_or_here(args.name.as_ref(), "allow", ui)?;
    let code = ask(ui, &Request::Allow { sync, dry_run: args.dry_run }, print)?;
    if code != 0 {
        ui.say("nothing is held");
    }
    Ok(code)
}

pub(crate) fn deny(args: DenyArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let sync = target::name_or_here(args.name.as_ref(), "deny", ui)?;
    let code = ask(ui, &Request::Deny { sync }, print)?;
    if code != 0 {
        ui.say("nothing is held");
    }
    Ok(code)
}

/// Put paths at the head of the queue
#[derive(clap::Args)]
pub(crate) struct BumpArgs {
    /// Paths; a directory means all below it
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// The sync that the paths belong to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
}

pub(crate) fn bump(args: BumpArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let path = |path: &OsString| target::path(path, args.sync.as_ref());
    let targets = args.paths.iter().map(path).collect::<Result<_, _>>()?;
    ask(ui, &Request::Bump { targets }, |_, _| Ok(()))
}
