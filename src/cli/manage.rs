//! `forget`, `set`, `move`, `list`, `pause`, `resume`.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use super::RowArgs;
use super::daemon;
use super::endpoint::Endpoint;
use super::error::CommandError;
use super::request::{ask, ask_with, collect};
use super::target;
use super::ui::{Field, Ui, escape};
use super::whom;
use crate::sources::control::wire::{Reply, Request};

/// Forget a sync or one of its leaves; no file of a replica is touched
#[derive(clap::Args)]
pub(crate) struct ForgetArgs {
    /// The sync; without it the one around here
    name: Option<OsString>,
    /// The leaf to forget; without it the whole sync
    leaf: Option<String>,
}

pub(crate) fn forget(args: ForgetArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let sync = target::name_or_here(args.name.as_ref(), "forget", ui)?;
    ask(ui, &Request::Forget { sync, leaf: args.leaf }, |_, _| Ok(()))
}

/// Print or change the settings of a sync
#[derive(clap::Args)]
#[command(after_help = "\
Settings: mode, ignore (patterns, one a line), ignore-vcs (true or false), group (files that go \
together, a group a line), keep-age (as 30d), keep-size (as 10G), ssh-only (yes: no other \
connection to hosts than that of SSH; or no).

Examples:
  yeet set work
  yeet set work keep-age=90d keep-size=50G
  yeet set work group='*.db *.db-wal'
  yeet set -y work mode=mirror")]
pub(crate) struct SetArgs {
    /// The sync (without it the one around here), and what to change
    #[arg(value_name = "NAME|KEY=VALUE")]
    arguments: Vec<OsString>,
    /// Do not ask before a change that may overwrite what leaves have
    #[arg(short = 'y', long)]
    yes: bool,
}

pub(crate) fn set(args: SetArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let (name, settings) = name_and_settings(&args.arguments)?;
    let sync = target::name_or_here(name, "set", ui)?;
    let overwrites = settings.iter().any(|(key, value)| {
        key == "mode" && matches!(value.as_str(), "two-way-source" | "one-way-source" | "mirror")
    });
    if overwrites && !args.yes && !confirmed(ui)? {
        return Err(CommandError::usage("nothing was changed"));
    }
    let print = settings.is_empty();
    let (rows, code) =
        collect(ui, &Request::Set { sync, settings, force: args.yes }, |reply| match reply {
            Reply::Setting { key, value } => Some((key, value)),
            _ => None,
        })?;
    if print {
        for (key, value) in rows {
            ui.text(&format!("{key}\t{}", escape(value.as_bytes())))?;
        }
    }
    Ok(code)
}

/// A key and a value.
type Setting = (String, String);

/// What has no `=` is a NAME, and can only come first: no sync has one in its name.
fn name_and_settings(
    arguments: &[OsString],
) -> Result<(Option<&OsString>, Vec<Setting>), CommandError> {
    let name = arguments.first().filter(|first| !first.as_bytes().contains(&b'='));
    let settings = arguments.iter().skip(usize::from(name.is_some())).map(|setting| {
        let text = setting.to_string_lossy();
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| CommandError::usage(format!("{text} is no KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let settings: Result<_, CommandError> = settings.collect();
    Ok((name, settings?))
}

fn confirmed(ui: &mut Ui) -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("this mode may overwrite what leaves have")
            .hinted("say -y if that is meant; what is overwritten is kept"));
    }
    ui.say(
        "In this mode what leaves have may be overwritten (the old bytes are kept). Go on? [y/N]",
    );
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Say that a replica lives elsewhere now
#[derive(clap::Args)]
#[command(override_usage = "yeet move [NAME] <REPLICA> <ENDPOINT>")]
pub(crate) struct MoveArgs {
    /// The sync (without it the one around here), the replica (`source` or a leaf's name), and where it is now
    #[arg(num_args = 2..=3, required = true, value_names = ["NAME", "REPLICA", "ENDPOINT"])]
    arguments: Vec<OsString>,
}

pub(crate) fn move_replica(args: MoveArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let (name, replica, endpoint) = match &args.arguments[..] {
        [name, replica, endpoint] => (Some(name), replica, endpoint),
        [replica, endpoint] => (None, replica, endpoint),
        _ => return Err(CommandError::usage("say which replica, and where it is now")),
    };
    let sync = target::name_or_here(name, "move", ui)?;
    let path = Endpoint::local(endpoint)?.as_os_str().as_bytes().to_vec();
    let replica = replica.to_string_lossy().into_owned();
    ask(ui, &Request::Move { sync, replica, path }, |_, _| Ok(()))
}

/// List the syncs with their modes, states and replicas
#[derive(clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    rows: RowArgs,
}

pub(crate) fn list(args: ListArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let (listed, code) = collect(ui, &Request::List, |reply| match reply {
        Reply::Listed(listed) => Some(listed),
        _ => None,
    })?;
    let row = |l: &crate::sources::control::wire::Listed| {
        let replicas = l.replicas.iter().map(|(name, path)| [name.as_bytes(), b"=", path].concat());
        let replicas: Vec<Vec<u8>> = replicas.collect();
        vec![
            Field::Text(l.name.clone()),
            Field::Text(l.mode.to_string()),
            Field::Text(l.state.word().to_owned()),
            Field::Many(replicas),
        ]
    };
    let rows: Vec<_> = listed.iter().map(row).collect();
    ui.rows(&args.rows.format(), &["NAME", "MODE", "STATE", "REPLICA=ENDPOINT"], &rows)?;
    Ok(code)
}

/// Let nothing flow in a sync until it is resumed
#[derive(clap::Args)]
pub(crate) struct PauseArgs {
    /// The sync; without it the one around here
    name: Option<OsString>,
}

pub(crate) fn pause(args: PauseArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let sync = target::name_or_here(args.name.as_ref(), "pause", ui)?;
    ask(ui, &Request::Pause { sync }, |_, _| Ok(()))
}

/// Let a paused sync flow again, and try again what failed
#[derive(clap::Args)]
pub(crate) struct ResumeArgs {
    /// The sync; without it the one around here
    name: Option<OsString>,
}

pub(crate) fn resume(args: ResumeArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    if args.name.is_none() {
        whom::refuse_inside("resume")?;
    }
    let client = daemon::connect_or_start()?;
    let sync = target::name_or_here(args.name.as_ref(), "resume", ui)?;
    ask_with(client, ui, &Request::Resume { sync }, |_, _| Ok(()))
}
