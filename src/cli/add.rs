//! `yeet add`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::daemon;
use super::endpoint::{Endpoint, absolute};
use super::error::CommandError;
use super::request::{ask_with, places};
use super::terminal::Terminal;
use super::ui::{Bar, Ui};
use super::wait;
use crate::dataflow::model::mode::Mode;
use crate::service::hosts::{Hosts, NoReplica};
use crate::sources::control::wire::{NewLeaf, Place, Reply, Request, Target};
use crate::ssh::ask::Ask;

const AFTER: &str = "\
Each LEAF may be followed by `--as NAME`, the name of that replica. A leaf that does not exist is made. On a terminal \
the first sync is shown until it ends; Ctrl-C leaves it running. Source and leaves can be on other machines, as \
[USER@]HOST:PATH or ssh://[USER@]HOST[:PORT]/PATH: nothing has to be installed there.

Examples:
  yeet add ~/work /mnt/copy
  yeet add --name photos --mode one-way ~/Pictures /mnt/a --as shelf /mnt/b
  yeet add --group '*.db *.db-wal' --ignore '*.db-shm' ~/notes /mnt/notes
  yeet add --to photos /mnt/c
  yeet add ~/work me@build:work";

/// Keep directories the same from now on
#[derive(clap::Args)]
#[command(after_help = AFTER, override_usage = "yeet add [OPTIONS] SOURCE LEAF [--as NAME] [LEAF [--as NAME]]...\n       yeet add --to NAME LEAF [--as NAME]...")]
pub(crate) struct Args {
    /// Call the sync NAME; by default as the source's last component
    #[arg(long)]
    name: Option<String>,
    /// What may flow where
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// Leave out what matches (gitignore syntax); may be given several times
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<String>,
    /// Leave out the folders of version control systems
    #[arg(long)]
    ignore_vcs: bool,
    /// Carry these files of a directory together only, as '*.db *.db-wal'; may be given several times
    #[arg(long, value_name = "PATTERNS")]
    group: Vec<String>,
    /// Take replicas on hosts from other daemons that have them; asks first
    #[arg(long)]
    take_over: bool,
    /// Do not ask before something is taken over
    #[arg(short = 'y', long)]
    yes: bool,
    /// Carry all over SSH: open no other connection to the hosts of this sync
    #[arg(long)]
    ssh_only: bool,
    /// Add the leaves to the sync NAME
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "mode", "ignore", "ignore_vcs", "group", "ssh_only"])]
    to: Option<String>,
    /// The source and its leaves
    #[arg(
        value_name = "SOURCE LEAF",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    endpoints: Vec<OsString>,
}

pub(crate) fn mode(word: &str) -> Result<Mode, String> {
    Mode::ALL.into_iter().find(|mode| mode.word() == word).ok_or_else(|| {
        let words: Vec<&str> = Mode::ALL.iter().map(|mode| mode.word()).collect();
        format!("{word} is no mode; the modes are {}", words.join(", "))
    })
}

/// What came behind the first endpoint: more endpoints, names, and options that clap left there.
struct Rest {
    endpoints: Vec<(OsString, Option<String>)>,
}

fn take_rest(args: &mut Args) -> Result<Rest, CommandError> {
    let mut endpoints: Vec<(OsString, Option<String>)> = Vec::new();
    let mut words = std::mem::take(&mut args.endpoints).into_iter();
    let missing = |option: &str| CommandError::usage(format!("{option} needs a value"));
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        let (option, inline) = match text.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                (option.to_owned(), Some(value.to_owned()))
            }
            _ => (text, None),
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| words.next().map(|w| w.to_string_lossy().into_owned()))
                .ok_or_else(|| missing(&option))
        };
        match option.as_str() {
            "--as" => {
                let name = value()?;
                let last = endpoints.last_mut();
                let last = last.ok_or_else(|| CommandError::usage("--as follows an endpoint"))?;
                last.1 = Some(name);
            }
            "--name" => args.name = Some(value()?),
            "--mode" => args.mode = Some(mode(&value()?).map_err(CommandError::usage)?),
            "--ignore" => args.ignore.push(value()?),
            "--group" => args.group.push(value()?),
            "--to" => args.to = Some(value()?),
            "--ignore-vcs" => args.ignore_vcs = true,
            "--take-over" => args.take_over = true,
            "-y" | "--yes" => args.yes = true,
            "--ssh-only" => args.ssh_only = true,
            "--" => {}
            unknown if unknown.starts_with('-') => {
                return Err(CommandError::usage(format!("there is no option {unknown}"))
                    .hinted("a path that begins with a dash is written ./-name"));
            }
            _ => endpoints.push((word, None)),
        }
    }
    Ok(Rest { endpoints })
}

/// Whether, and how, replicas are taken from other daemons.
#[derive(Clone, Copy)]
struct TakeOver {
    is_wanted: bool,
    asks: bool,
}

/// Where an endpoint is, seen from anywhere. A host is visited for it: here is the terminal at which it can be asked whether
/// it is the right one, and a directory there that cannot be used is said before a sync is made.
fn place(
    hosts: &Hosts,
    written: &OsString,
    is_source: bool,
    take: TakeOver,
) -> Result<Place, CommandError> {
    match Endpoint::parse(written)? {
        Endpoint::Local(path) => {
            let path = absolute(&path)?.as_os_str().as_bytes().to_vec();
            Ok(Place { host: None, path, take_over: false })
        }
        Endpoint::Remote { host, path } => {
            let find =
                |take_over| hosts.find(&host, path.as_os_str().as_bytes(), (!is_source, take_over));
            let (mut found, mut take_over) = (find(false), false);
            let owner = found.as_ref().err().and_then(NoReplica::owner);
            if let Some(owner) = owner.filter(|_| take.is_wanted)
                && may_take(written, owner, take)?
            {
                (found, take_over) = (find(true), true);
            }
            let path = found.map_err(|error| not_found(&error))?;
            Ok(Place { host: Some(host), path, take_over })
        }
    }
}

fn not_found(error: &NoReplica) -> CommandError {
    let told = CommandError::cannot(error.to_string());
    match error.hint() {
        Some(hint) => told.hinted(hint),
        None if error.owner().is_some() => {
            told.hinted("forget it there (`yeet forget`), or take it from there with --take-over")
        }
        None => told,
    }
}

/// Asks whether a replica is to be taken from who has it.
fn may_take(written: &OsString, owner: &str, take: TakeOver) -> Result<bool, CommandError> {
    if !take.asks {
        return Ok(true);
    }
    let place = written.to_string_lossy();
    let question = format!(
        "{place} belongs to another daemon ({owner}), which will not reach it any more. Take it over?"
    );
    let answer = Terminal::new().yes(&question);
    answer.ok_or_else(|| {
        CommandError::usage(format!("{place} belongs to another daemon ({owner})"))
            .hinted("nobody is there to be asked: -y takes it over without a question")
    })
}

fn leaf(
    hosts: &Hosts,
    (endpoint, name): (OsString, Option<String>),
    take: TakeOver,
) -> Result<NewLeaf, CommandError> {
    Ok(NewLeaf { place: place(hosts, &endpoint, false, take)?, name })
}

pub(crate) fn run(mut args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let mut endpoints = take_rest(&mut args)?.endpoints.into_iter();
    let hosts = Hosts::new(Arc::new(Terminal::new()), Some(places()?.config));
    let take = TakeOver { is_wanted: args.take_over, asks: !args.yes };
    let leaf = |written| leaf(&hosts, written, take);
    let request = match args.to {
        Some(sync) => {
            Request::AddTo { sync, leaves: endpoints.map(leaf).collect::<Result<_, _>>()? }
        }
        None => {
            let (source, named) = endpoints
                .next()
                .ok_or_else(|| CommandError::usage("a sync needs a source and a leaf"))?;
            if named.is_some() {
                return Err(CommandError::usage("the source is always called source"));
            }
            let source = place(&hosts, &source, true, take)?;
            let leaves: Vec<NewLeaf> = endpoints.map(leaf).collect::<Result<_, _>>()?;
            if leaves.is_empty() {
                return Err(CommandError::usage("a sync needs a leaf: yeet add SOURCE LEAF"));
            }
            Request::Add {
                name: args.name,
                mode: args.mode,
                ignore: args.ignore,
                ignore_vcs: args.ignore_vcs,
                groups: args.group,
                ssh_only: args.ssh_only,
                source,
                leaves,
            }
        }
    };
    let client = daemon::connect_or_start()?;
    let mut added = None;
    let code = ask_with(client, ui, &request, |_, reply| {
        if let Reply::Name(name) = reply {
            added = Some(name);
        }
        Ok(())
    })?;
    if let (Some(name), true) = (added, ui.is_terminal() && code == 0) {
        ui.say(&format!("added {name}; the first sync runs (Ctrl-C leaves it running)"));
        let bar = Bar::new();
        let target = Target::Sync(name);
        let request = Request::Wait { target, leaf: None, offline: false };
        let state = wait::wait(daemon::connect_or_start()?, ui, &request, Some(&bar))?;
        drop(bar);
        if state != 0 {
            ui.say("not all is in sync yet: see `yeet status`");
        }
    }
    Ok(code)
}
