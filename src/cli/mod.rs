//! The command line: one file a command, all printing in `ui.rs`, every word a contract with scripts.
//!
//! Holds: the result goes to stdout, talk to stderr; exit codes are 0 well, 1 not well, 2 usage, 3 cannot, 124 timed
//! out, 130 interrupted.

#![allow(clippy::disallowed_methods, reason = "io shell")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a reply that is no row is not looked at")]

mod add;
mod agent;
mod conflicts;
mod copy;
mod daemon;
mod doctor;
mod endpoint;
mod error;
mod explain;
mod files;
mod hold;
mod log;
mod manage;
mod manual;
mod request;
mod resolve;
mod route;
mod status;
mod target;
mod terminal;
mod ui;
mod versions;
mod wait;
mod when;
mod whom;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::CommandError;
use ui::{Format, Ui};

const ABOUT: &str = "Keeps directories the same, continuously, and can say why";

const AFTER: &str = "\
A sync has one source and one or more leaves. Changes are carried the moment they are made; what both sides changed \
differently is a conflict: both keep what they have until `yeet resolve`. What is replaced or deleted can be \
restored.

Examples:
  yeet add ~/work /mnt/copy        keep two directories the same from now on
  yeet status                      exits 0 if all is in sync
  yeet wait && make                go on when every change has arrived
  yeet conflicts                   what needs you
  yeet explain src/main.rs         why a file is as it is

Exit codes: 0 well; 1 not in sync, conflicts, or nothing found; 2 usage; 3 cannot (no daemon, no such sync); \
124 timed out; 130 interrupted.";

/// The arguments of `yeet`.
#[derive(Parser)]
#[command(name = "yeet", version, about = ABOUT, after_help = AFTER, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(add::Args),
    #[command(visible_alias = "rm")]
    Forget(manage::ForgetArgs),
    Set(manage::SetArgs),
    Move(manage::MoveArgs),
    List(manage::ListArgs),
    Pause(manage::PauseArgs),
    Resume(manage::ResumeArgs),
    Status(status::Args),
    Wait(wait::Args),
    Conflicts(conflicts::Args),
    Diff(files::DiffArgs),
    Cat(files::CatArgs),
    Resolve(resolve::Args),
    Explain(explain::Args),
    Log(log::Args),
    Versions(versions::Args),
    Restore(versions::RestoreArgs),
    Allow(hold::AllowArgs),
    Deny(hold::DenyArgs),
    Bump(hold::BumpArgs),
    Copy(copy::Args),
    Daemon(daemon::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
    Route(route::Args),
    #[command(about = "Live view of syncs and transfers (comes in a later version)")]
    Top(LaterArgs),
    Doctor(doctor::Args),
    Agent(agent::Args),
}

/// A command that is promised and not there yet.
#[derive(clap::Args)]
struct LaterArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody to tell if even this cannot be printed.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let mut ui = Ui::new();
    let code = match run(cli.command, &mut ui) {
        Ok(code) => code,
        Err(error) => {
            ui.error(&error);
            error.code()
        }
    };
    ExitCode::from(ui.finish(code))
}

/// `yeet sync VERB …` is `yeet VERB …`.
fn arguments(all: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = all.collect();
    if all.get(1).is_some_and(|word| word == "sync") {
        all.remove(1);
    }
    all
}

fn run(command: Command, ui: &mut Ui) -> Result<u8, CommandError> {
    match command {
        Command::Add(args) => add::run(args, ui),
        Command::Forget(args) => manage::forget(args, ui),
        Command::Set(args) => manage::set(args, ui),
        Command::Move(args) => manage::move_replica(args, ui),
        Command::List(args) => manage::list(args, ui),
        Command::Pause(args) => manage::pause(args, ui),
        Command::Resume(args) => manage::resume(args, ui),
        Command::Status(args) => status::run(args, ui),
        Command::Wait(args) => wait::run(args, ui),
        Command::Conflicts(args) => conflicts::run(args, ui),
        Command::Diff(args) => files::diff(args, ui),
        Command::Cat(args) => files::cat(args, ui),
        Command::Resolve(args) => resolve::run(args, ui),
        Command::Explain(args) => explain::run(args, ui),
        Command::Log(args) => log::run(args, ui),
        Command::Versions(args) => versions::run(args, ui),
        Command::Restore(args) => versions::restore(args, ui),
        Command::Allow(args) => hold::allow(args, ui),
        Command::Deny(args) => hold::deny(args, ui),
        Command::Bump(args) => hold::bump(args, ui),
        Command::Copy(args) => copy::run(args, ui),
        Command::Daemon(args) => daemon::run(args, ui),
        Command::Completions(args) => manual::completions(args, ui),
        Command::Man(args) => manual::man(args, ui),
        Command::Doctor(args) => doctor::run(args, ui),
        Command::Agent(args) => agent::run(args, ui),
        Command::Route(args) => route::run(args, ui),
        Command::Top(args) => {
            drop(args.rest);
            Err(CommandError::usage("this command comes in a later version of yeet"))
        }
    }
}

/// How rows are printed; the same options for every command that prints rows.
#[derive(clap::Args, Clone, Default)]
pub(crate) struct RowArgs {
    /// Print the header line
    #[arg(short = 'H', long)]
    header: bool,
    /// Print these columns, by their names in the header, in this order
    #[arg(short = 'o', long, value_name = "A,B,C", value_delimiter = ',')]
    columns: Vec<String>,
    /// Print paths alone
    #[arg(short = 'p', long)]
    paths: bool,
    /// End records with NUL and print paths raw
    #[arg(short = 'z', long)]
    null: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

impl RowArgs {
    fn format(&self) -> Format {
        Format {
            header: self.header,
            columns: self.columns.clone(),
            null: self.null,
            json: self.json,
            paths_only: self.paths,
            continued: false,
            optional: 0,
        }
    }
}
