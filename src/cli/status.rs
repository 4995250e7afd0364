//! `yeet status`.

use std::ffi::OsString;
use std::time::Duration;

use super::error::CommandError;
use super::request::collect;
use super::ui::{Field, Format, Ui, escape};
use super::{RowArgs, target};
use crate::sources::control::wire::{
    FileStatus, LeafStatus, Reply, Request, State, SyncStatus, Target,
};

/// Say how syncs stand; exit 0 if all asked about is in sync, else 1
#[derive(clap::Args)]
#[command(after_help = "\
The state is the first that holds of paused, held, offline, problems, conflicts, scanning, syncing, in-sync.

Examples:
  yeet status -q && deploy
  yeet status --files ~/work/src
  yeet status -o name,state | grep -v in-sync")]
pub(crate) struct Args {
    /// A sync, or a path in one of its replicas; without it the sync around here, or all
    #[arg(value_name = "NAME|PATH")]
    target: Option<OsString>,
    /// The sync that a path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Only this leaf
    #[arg(long, value_name = "R")]
    leaf: Option<String>,
    /// One line a leaf; a column AGENT (-o, --json) is the program to ask with inside a leaf on a host
    #[arg(short = 'l', long, conflicts_with_all = ["files", "skipped"])]
    long: bool,
    /// One line for each path with something outstanding
    #[arg(long, conflicts_with = "skipped")]
    files: bool,
    /// One line for each special file and mount point, which are not carried
    #[arg(long)]
    skipped: bool,
    /// Print again whenever it changes, until Ctrl-C
    #[arg(short = 'w', long)]
    watch: bool,
    /// Print nothing, only exit
    #[arg(short = 'q', long)]
    quiet: bool,
    #[command(flatten)]
    rows: RowArgs,
}

struct Table {
    names: &'static [&'static str],
    rows: Vec<Vec<Field>>,
}

fn sync_row(row: SyncStatus) -> Vec<Field> {
    vec![
        Field::Text(row.name),
        state(row.state),
        Field::count(row.files),
        Field::count(row.pending),
        Field::count(row.bytes),
        Field::count(row.conflicts),
        Field::count(row.problems),
        Field::count(row.held),
    ]
}

fn state(state: State) -> Field {
    Field::Text(state.word().to_owned())
}

fn leaf_row(row: LeafStatus) -> Vec<Field> {
    let reason = if row.reason.is_empty() { Field::None } else { Field::Text(row.reason) };
    vec![
        Field::Text(row.name),
        Field::Text(row.leaf),
        state(row.state),
        reason,
        Field::count(row.pending),
        Field::count(row.bytes),
        Field::Text(row.route),
        row.rtt_ms.map_or(Field::None, Field::count),
        row.agent.map_or(Field::None, Field::Text),
    ]
}

fn file_row(row: FileStatus) -> Vec<Field> {
    vec![
        Field::Text(row.name),
        Field::Text(row.kind.word().to_owned()),
        Field::Text(row.from),
        Field::Text(row.to),
        Field::count(row.bytes),
        Field::Text(row.why),
        Field::Path(row.path.as_bytes().to_vec()),
    ]
}

fn table(args: &Args, target: &Target, ui: &mut Ui) -> Result<(Table, u8), CommandError> {
    let (target, leaf) = (target.clone(), args.leaf.clone());
    let (names, (rows, code)): (&[&str], _) = if args.skipped {
        let pick = |reply| match reply {
            Reply::SkippedPath { name, replica, kind, path } => Some(vec![
                Field::Text(name),
                Field::Text(replica),
                Field::Text(kind),
                Field::Path(path.as_bytes().to_vec()),
            ]),
            _ => None,
        };
        let names = &["NAME", "REPLICA", "KIND", "PATH"];
        (names, collect(ui, &Request::StatusSkipped { target }, pick)?)
    } else if args.files {
        let pick =
            |reply| if let Reply::FileStatus(row) = reply { Some(file_row(row)) } else { None };
        let names = &["NAME", "KIND", "FROM", "TO", "BYTES", "WHY", "PATH"];
        (names, collect(ui, &Request::StatusFiles { target, leaf }, pick)?)
    } else if args.long {
        let pick =
            |reply| if let Reply::LeafStatus(row) = reply { Some(leaf_row(row)) } else { None };
        let names =
            &["NAME", "LEAF", "STATE", "REASON", "PENDING", "BYTES", "ROUTE", "RTT_MS", "AGENT"];
        (names, collect(ui, &Request::StatusLeaves { target, leaf }, pick)?)
    } else {
        let pick = |reply| if let Reply::Status(row) = reply { Some(sync_row(row)) } else { None };
        let names =
            &["NAME", "STATE", "FILES", "PENDING", "BYTES", "CONFLICTS", "PROBLEMS", "HELD"];
        (names, collect(ui, &Request::Status { target, leaf }, pick)?)
    };
    Ok((Table { names, rows }, code))
}

/// Says by which program the daemon is asked from inside leaves on other machines.
fn tell_agents(rows: &[Vec<Field>], ui: &mut Ui) {
    for row in rows {
        if let [_, Field::Text(leaf), .., Field::Text(agent)] = &row[..] {
            let (leaf, agent) = (escape(leaf.as_bytes()), escape(agent.as_bytes()));
            ui.say(&format!("inside {leaf} yeet is {agent}"));
        }
    }
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::of(args.target.as_ref(), args.sync.as_ref())?;
    let format = Format { optional: usize::from(args.long), ..args.rows.format() };
    let mut last: Option<Vec<Vec<Field>>> = None;
    loop {
        let (table, code) = table(&args, &target, ui)?;
        if !args.quiet && last.as_ref() != Some(&table.rows) {
            ui.rows(&format, table.names, &table.rows)?;
            ui.flush()?;
        }
        if args.long && !args.quiet && last.is_none() && format.is_for_people() {
            tell_agents(&table.rows, ui);
        }
        if !args.watch {
            return Ok(code);
        }
        last = Some(table.rows);
        std::thread::sleep(Duration::from_millis(500));
    }
}
