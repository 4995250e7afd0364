//! `yeet copy`.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::endpoint::{Endpoint, absolute};
use super::error::CommandError;
use super::request::places;
use super::terminal::Terminal;
use super::ui::{Bar, Ui};
use crate::copy::{self, CopyError, CopyOptions, Place};

/// Make DST like SRC, once; no sync is remembered and no daemon is needed
#[derive(clap::Args)]
#[command(after_help = "\
The contents of SRC go into DST, with or without a trailing slash. A file that differs is replaced and its old bytes \
are kept in DST/.yeet/copy; what only DST has stays, unless --mirror. Killed and run again it copies what is missing. \
Either can be on another machine, as HOST:PATH or ssh://HOST:PORT/PATH; nothing has to be installed there.

Examples:
  yeet copy ~/photos /mnt/backup/photos
  yeet copy ~/photos me@nas:photos
  yeet copy -n --mirror build /srv/www")]
pub(crate) struct Args {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Remove what only DST has (kept in DST/.yeet/copy)
    #[arg(long)]
    mirror: bool,
    /// Read files of equal size and time too
    #[arg(long)]
    verify: bool,
    /// Leave out what matches (gitignore syntax); may be given several times
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<String>,
    /// Carry all over SSH: open no other connection to a host
    #[arg(long)]
    ssh_only: bool,
    /// The directory to copy from
    #[arg(value_name = "SRC")]
    source: OsString,
    /// The directory to copy to; it is made if need be
    #[arg(value_name = "DST")]
    destination: OsString,
}

fn place(written: &OsStr) -> Result<Place, CommandError> {
    Ok(match Endpoint::parse(written)? {
        Endpoint::Local(path) => Place::Here(absolute(&path)?),
        Endpoint::Remote { host, path } => Place::There { host, path },
    })
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let options = CopyOptions {
        source: place(&args.source)?,
        destination: place(&args.destination)?,
        dry_run: args.dry_run,
        mirror: args.mirror,
        verify: args.verify,
        ignore: args.ignore,
        ssh_only: args.ssh_only,
        // A copy between two directories here needs no home.
        config: places().ok().map(|places| places.config),
    };
    let bar = ui.is_terminal().then(Bar::new);
    let outcome = copy::run(&options, Arc::new(Terminal::new()), &|progress| {
        if let Some(bar) = &bar {
            bar.show(progress);
        }
    });
    drop(bar);
    let outcome = outcome.map_err(|error| match error {
        CopyError::Usage(message) => CommandError::usage(message),
        CopyError::Cannot { what, hint: Some(hint) } => CommandError::cannot(what).hinted(hint),
        CopyError::Cannot { what, hint: None } => CommandError::cannot(what),
    })?;
    for line in &outcome.planned {
        ui.text(line)?;
    }
    for problem in &outcome.problems {
        ui.say(&format!("error: {problem}"));
    }
    if outcome.kept > 0 {
        ui.say(&format!("{} displaced files are kept in DST/.yeet/copy", outcome.kept));
    }
    Ok(u8::from(!outcome.problems.is_empty()))
}
