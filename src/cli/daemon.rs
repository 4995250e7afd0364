//! `yeet daemon`.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::error::CommandError;
use super::request::{ask, collect, places};
use super::ui::{Field, Format, Ui};
use crate::config::Config;
use crate::service;
use crate::sources::control::socket::{self, BindError, Client, ConnectError};
use crate::sources::control::wire::{Reply, Request};
use crate::sys;

/// How long a started daemon may take to answer.
const START_TIME: Duration = Duration::from_secs(5);

/// Run, start, stop or look at the daemon
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Run it in the foreground, until SIGTERM or SIGINT
    Run,
    /// Start it in the background
    Start,
    /// Stop it; what is under way is finished or undone, nothing is lost
    Stop,
    /// Exit 0 if it runs, 3 if not
    Status,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    match args.command {
        Verb::Run => run_here(),
        Verb::Start => {
            drop(connect_or_start()?);
            Ok(0)
        }
        Verb::Stop => stop(ui),
        Verb::Status => status(ui),
    }
}

fn run_here() -> Result<u8, CommandError> {
    let places = places()?;
    let config =
        Config::load(&places.config).map_err(|error| CommandError::usage(error.to_string()))?;
    match service::run(&places, config) {
        Ok(()) => Ok(0),
        Err(error) => {
            let hint = match &error {
                service::ServiceError::Bind(BindError::Running { .. }) => {
                    Some("`yeet daemon stop` stops it")
                }
                service::ServiceError::Bind(BindError::Foreign { .. }) => {
                    Some("set XDG_RUNTIME_DIR to a directory of your own")
                }
                _ => None,
            };
            let failed = CommandError::cannot(error.to_string());
            Err(match hint {
                Some(hint) => failed.hinted(hint),
                None => failed,
            })
        }
    }
}

/// Connects to the daemon; where none runs it is started first.
pub(crate) fn connect_or_start() -> Result<Client, CommandError> {
    let places = places()?;
    match Client::connect(&places.runtime) {
        Err(ConnectError::NoDaemon) => {}
        result => return Ok(result?),
    }
    // Said here, not in a log that nobody reads.
    Config::load(&places.config).map_err(|error| CommandError::usage(error.to_string()))?;
    let log = places.state.join("daemon.log");
    let failed = |error: std::io::Error| {
        CommandError::cannot(format!("cannot start the daemon: {error}"))
            .hinted(format!("its log is {}", log.display()))
    };
    std::fs::create_dir_all(&places.state).map_err(failed)?;
    let out = File::options().create(true).append(true).open(&log).map_err(failed)?;
    let exe = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(exe);
    command.args(["daemon", "run"]).current_dir("/").stdin(Stdio::null());
    command.stdout(out.try_clone().map_err(failed)?).stderr(out);
    sys::detach(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let end = Instant::now() + START_TIME;
    loop {
        match Client::connect(&places.runtime) {
            Err(ConnectError::NoDaemon) if Instant::now() < end => {
                if child.try_wait().map_err(failed)?.is_some() {
                    // Another one may have been faster; else its log says why.
                    return Client::connect(&places.runtime).map_err(|_| {
                        CommandError::cannot("the daemon ended as soon as it was started")
                            .hinted(format!("its log is {}", log.display()))
                    });
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return Ok(result?),
        }
    }
}

fn stop(ui: &mut Ui) -> Result<u8, CommandError> {
    let code = ask(ui, &Request::DaemonStop, |_, _| Ok(()))?;
    let runtime = places()?.runtime;
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if !socket::is_owned(&runtime) {
            return Ok(code);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(CommandError::cannot("the daemon takes more than a minute to stop"))
}

fn status(ui: &mut Ui) -> Result<u8, CommandError> {
    let row = |reply| match reply {
        Reply::Daemon { pid, version, syncs, started_ms } => Some(vec![
            Field::Number(pid.into()),
            Field::Text(version),
            Field::count(syncs),
            Field::Text(super::when::print_ms(started_ms)),
        ]),
        _ => None,
    };
    let (rows, code) = collect(ui, &Request::DaemonStatus, row)?;
    ui.rows(&Format::default(), &["PID", "VERSION", "SYNCS", "SINCE"], &rows)?;
    Ok(code)
}
