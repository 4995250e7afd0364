//! `yeet versions` and `yeet restore`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use super::endpoint::absolute;
use super::error::CommandError;
use super::request::{ask, collect};
use super::ui::{Field, Ui};
use super::when::print_ms;
use super::{RowArgs, target};
use crate::sources::control::wire::{Reply, Request};

/// List the displaced versions of a path or of all below it, newest first; exit 1 if there are none
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    #[command(flatten)]
    rows: RowArgs,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    let (rows, code) = collect(ui, &Request::Versions { target }, |reply| match reply {
        Reply::Version(v) => Some(vec![
            Field::Text(v.name),
            Field::Text(v.version),
            Field::Text(print_ms(v.when_ms)),
            Field::Text(v.replica),
            Field::count(v.size),
            v.digest.map_or(Field::None, |d| Field::Text(d.to_string())),
            Field::Text(v.why),
            Field::Path(v.path.as_bytes().to_vec()),
        ]),
        _ => None,
    })?;
    let names = ["NAME", "VERSION", "WHEN", "REPLICA", "SIZE", "DIGEST", "WHY", "PATH"];
    ui.rows(&args.rows.format(), &names, &rows)?;
    Ok(code)
}

/// Bring a displaced version back, in place as a new edit or to a file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  yeet restore notes.txt
  yeet versions notes.txt
  yeet restore notes.txt --version 0006427b5c3d1a00 --to /tmp/notes.txt")]
pub(crate) struct RestoreArgs {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Which, as `yeet versions` prints it; by default the newest
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Write it to this file, which must not exist, and change nothing else
    #[arg(long, value_name = "FILE")]
    to: Option<OsString>,
}

pub(crate) fn restore(args: RestoreArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    let to = args.to.map(|to| absolute(to.as_ref())).transpose()?;
    let to = to.map(|to| to.as_os_str().as_bytes().to_vec());
    ask(ui, &Request::Restore { target, version: args.version, to }, |_, _| Ok(()))
}
