//! `yeet resolve`.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::endpoint::absolute;
use super::error::CommandError;
use super::request::{ask, collect};
use super::target;
use super::ui::{Ui, escape, unescape};
use crate::sources::control::wire::{Reply, Request, Target, Which, Winner};

/// Decide conflicts
#[derive(clap::Args)]
#[command(after_help = "\
The other content is kept and can be restored. A conflict whose content changed since stands (exit 1). --keep with a \
replica that has nothing means the delete.

Examples:
  yeet resolve --keep source src/main.rs
  yeet resolve --both .theirs notes.txt
  yeet conflicts -p | grep '\\.lock$' | yeet resolve --keep source -")]
pub(crate) struct Args {
    /// Keep what this replica has, or the content whose digest begins so
    #[arg(long, value_name = "R|DIGEST", group = "winner")]
    keep: Option<String>,
    /// Keep the content with the newest mtime
    #[arg(long, group = "winner")]
    newest: bool,
    /// Keep the source's, and the others beside it with this suffix
    #[arg(long, value_name = "SUFFIX", group = "winner")]
    both: Option<String>,
    /// Give all sides the content of this file
    #[arg(long, value_name = "FILE", group = "winner")]
    with: Option<OsString>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// All conflicts, of the sync around here or of all
    #[arg(long, conflicts_with_all = ["glob", "paths"])]
    all: bool,
    /// The conflicts whose paths match
    #[arg(long, value_name = "G", conflicts_with = "paths")]
    glob: Option<String>,
    /// The sync that the paths belong to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Paths read from stdin end with NUL and are raw
    #[arg(short = 'z', long)]
    null: bool,
    /// Paths; a directory means all below it, `-` reads them from stdin as they are printed
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
}

fn winner(args: &Args) -> Result<Winner, CommandError> {
    match (&args.keep, args.newest, &args.both, &args.with) {
        (Some(keep), ..) => Ok(Winner::Keep(keep.clone())),
        (_, true, ..) => Ok(Winner::Newest),
        (_, _, Some(suffix), _) => Ok(Winner::Both(suffix.clone())),
        (_, _, _, Some(file)) => {
            Ok(Winner::With(absolute(file.as_ref())?.as_os_str().as_bytes().to_vec()))
        }
        (None, false, None, None) => {
            Err(CommandError::usage("say what to keep: --keep, --newest, --both or --with"))
        }
    }
}

/// Paths from stdin are as they were printed: relative to the root of a sync. Without `--sync` they are those of the
/// sync around here, or of every sync that has a conflict of that path.
fn printed(
    paths: Vec<Vec<u8>>,
    sync: Option<&String>,
    ui: &mut Ui,
) -> Result<Vec<Target>, CommandError> {
    if sync.is_some() {
        let target = |path| target::path(&OsString::from_vec(path), sync);
        return paths.into_iter().map(target).collect();
    }
    let target = target::here()?;
    let (known, _) = collect(ui, &Request::Conflicts { target }, |reply| match reply {
        Reply::Conflict(conflict) => Some((conflict.name, conflict.path)),
        _ => None,
    })?;
    let mut targets = Vec::new();
    for path in paths {
        let named = known.iter().filter(|(_, of)| of.as_bytes() == path);
        let found: Vec<Target> = named
            .map(|(sync, path)| Target::In { sync: sync.clone(), path: path.clone() })
            .collect();
        if found.is_empty() {
            targets.push(target::path(&OsString::from_vec(path), None)?);
        }
        targets.extend(found);
    }
    Ok(targets)
}

fn from_stdin(null: bool, sync: Option<&String>, ui: &mut Ui) -> Result<Vec<Target>, CommandError> {
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text)?;
    let end = if null { 0 } else { b'\n' };
    let lines = text.split(|b| *b == end).filter(|line| !line.is_empty());
    let paths = lines.map(|line| if null { line.to_vec() } else { unescape(line) });
    printed(paths.collect(), sync, ui)
}

fn which(args: &Args, ui: &mut Ui) -> Result<Which, CommandError> {
    let around = || match &args.sync {
        Some(sync) => Ok(Target::Sync(sync.clone())),
        None => target::here(),
    };
    if args.all {
        return Ok(Which::All(around()?));
    }
    if let Some(glob) = &args.glob {
        return Ok(Which::Glob(around()?, glob.clone()));
    }
    let sync = args.sync.as_ref();
    let mut targets = Vec::new();
    for path in &args.paths {
        if path == OsStr::new("-") {
            targets.extend(from_stdin(args.null, sync, ui)?);
        } else {
            targets.push(target::path(path, sync)?);
        }
    }
    if targets.is_empty() && args.paths.is_empty() {
        return Err(CommandError::usage("say which conflicts: a PATH, -, --all or --glob"));
    }
    Ok(Which::Paths(targets))
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let winner = winner(&args)?;
    let which = which(&args, ui)?;
    let dry_run = args.dry_run;
    ask(ui, &Request::Resolve { which, winner, dry_run }, |ui, reply| {
        if let (Reply::Resolved { name, path, outcome }, true) = (&reply, dry_run) {
            ui.text(&format!("{name}\t{outcome}\t{}", escape(path.as_bytes())))?;
        }
        Ok(())
    })
}
