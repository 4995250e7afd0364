//! `yeet conflicts`.

use std::ffi::OsString;

use super::error::CommandError;
use super::request::collect;
use super::ui::{Field, Ui};
use super::{RowArgs, target};
use crate::sources::control::wire::{Conflict, Reply, Request};

/// List conflicts; exit 0 if there are none, else 1
#[derive(clap::Args)]
#[command(after_help = "\
Both sides of a conflict keep what they have, and nothing else waits for it.

Examples:
  yeet conflicts -l
  yeet conflicts -p -z | yeet resolve --keep source -z -")]
pub(crate) struct Args {
    /// A sync, or a path in one of its replicas; without it the sync around here, or all
    #[arg(value_name = "NAME|PATH")]
    target: Option<OsString>,
    /// The sync that a path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// One line for each side
    #[arg(short = 'l', long)]
    long: bool,
    /// Print nothing, only exit
    #[arg(short = 'q', long)]
    quiet: bool,
    #[command(flatten)]
    rows: RowArgs,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::of(args.target.as_ref(), args.sync.as_ref())?;
    let (found, code) = collect(ui, &Request::Conflicts { target }, |reply| match reply {
        Reply::Conflict(conflict) => Some(conflict),
        _ => None,
    })?;
    if args.quiet {
        return Ok(code);
    }
    let format = args.rows.format();
    if args.long {
        let rows: Vec<Vec<Field>> = found.iter().flat_map(sides).collect();
        let names = ["NAME", "KIND", "REPLICA", "MTIME", "SIZE", "DIGEST", "PATH"];
        ui.rows(&format, &names, &rows)?;
    } else {
        let row = |c: &Conflict| {
            vec![
                Field::Text(c.name.clone()),
                Field::Text(c.kind.clone()),
                Field::Path(c.path.as_bytes().to_vec()),
            ]
        };
        let rows: Vec<Vec<Field>> = found.iter().map(row).collect();
        ui.rows(&format, &["NAME", "KIND", "PATH"], &rows)?;
    }
    Ok(code)
}

fn sides(conflict: &Conflict) -> Vec<Vec<Field>> {
    let row = |side: &crate::sources::control::wire::ConflictSide| {
        let digest = side.digest.map(|d| Field::Text(d.to_string()));
        vec![
            Field::Text(conflict.name.clone()),
            Field::Text(conflict.kind.clone()),
            Field::Text(side.replica.clone()),
            side.mtime.map_or(Field::None, Field::Number),
            if side.kind == "nothing" { Field::None } else { Field::count(side.size) },
            digest.unwrap_or(Field::None),
            Field::Path(conflict.path.as_bytes().to_vec()),
        ]
    };
    conflict.sides.iter().map(row).collect()
}
