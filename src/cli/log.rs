//! `yeet log`.

use std::ffi::OsString;

use super::error::CommandError;
use super::request::ask;
use super::ui::{Field, Ui};
use super::when::{parse, print_ms};
use super::{RowArgs, target};
use crate::dataflow::model::value::Digest;
use crate::sources::control::wire::{LogLine, Reply, Request};

/// Print what was done, oldest first: who deleted this, and when
#[derive(clap::Args)]
#[command(after_help = "\
Acts: create, update, delete, move, metadata, resolve, restore, held, allow, deny, problem, recover, offline, online, route.

Examples:
  yeet log src/main.rs
  yeet log --act delete --since 2d
  yeet log -f")]
pub(crate) struct Args {
    /// A sync, or a path in one of its replicas; without it the sync around here, or all
    #[arg(value_name = "NAME|PATH")]
    target: Option<OsString>,
    /// The sync that a path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Go on printing as things are done
    #[arg(short = 'f', long)]
    follow: bool,
    /// Only this act
    #[arg(long)]
    act: Option<String>,
    /// Only since then: 2h, 3d, 2026-11-24, 2026-11-24T10:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse)]
    since: Option<u64>,
    /// At most the newest N
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    rows: RowArgs,
}

const NAMES: [&str; 8] = ["WHEN", "NAME", "ACT", "REPLICA", "OLD", "NEW", "PATH", "NOTE"];
/// Without the note, which is there for JSON and for who asks for it.
const USUAL: usize = NAMES.len() - 1;

fn row(line: LogLine, columns: usize) -> Vec<Field> {
    let digest = |d: Option<Digest>| d.map_or(Field::None, |d| Field::Text(d.to_string()));
    let note = if line.note.is_empty() { Field::None } else { Field::Text(line.note) };
    let mut row = vec![
        Field::Text(print_ms(line.when_ms)),
        Field::Text(line.name),
        Field::Text(line.act),
        Field::Text(line.replica),
        digest(line.old),
        digest(line.new),
        Field::Path(line.path.as_bytes().to_vec()),
        note,
    ];
    row.truncate(columns);
    row
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::of(args.target.as_ref(), args.sync.as_ref())?;
    let mut format = args.rows.format();
    let request = Request::Log {
        target,
        act: args.act,
        since_ms: args.since,
        limit: args.limit,
        follow: args.follow,
    };
    let follow = args.follow;
    let wants_note = format.columns.iter().any(|name| name.eq_ignore_ascii_case("note"));
    let columns = if format.json || wants_note { NAMES.len() } else { USUAL };
    let names = &NAMES[..columns];
    let mut rows = Vec::new();
    let code = ask(ui, &request, |ui, reply| {
        let Reply::Log(line) = reply else { return Ok(()) };
        rows.push(row(line, columns));
        if follow {
            ui.rows(&format, names, &rows)?;
            ui.flush()?;
            rows.clear();
            format.continued = true;
        }
        Ok(())
    })?;
    ui.rows(&format, names, &rows)?;
    Ok(code)
}
