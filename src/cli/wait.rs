//! `yeet wait`.

use std::ffi::OsString;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::error::CommandError;
use super::request::ask_with;
use super::target;
use super::ui::{Bar, Ui};
use super::whom;
use crate::sources::control::socket::Client;
use crate::sources::control::wire::{Reply, Request};

/// Wait until every change made before now is carried out and durable
#[derive(clap::Args)]
#[command(after_help = "\
Exits 0 in sync; 1 if conflicts, problems or holds remain, or the sync is paused; 124 at the timeout.

Examples:
  yeet wait && make
  yeet wait --timeout 60 work")]
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
    /// Wait for leaves that are offline too
    #[arg(long)]
    offline: bool,
    /// Give up after so many seconds, with exit code 124
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::of(args.target.as_ref(), args.sync.as_ref())?;
    let request = Request::Wait { target, leaf: args.leaf, offline: args.offline };
    let Some(seconds) = args.timeout else {
        let (client, request) = whom::connect(&request)?;
        let bar = ui.is_terminal().then(Bar::new);
        return wait(client, ui, &request, bar.as_ref());
    };
    // The daemon is asked on a thread of its own, so that the time can run out meanwhile.
    let (tell, told) = channel();
    let terminal = ui.is_terminal();
    std::thread::spawn(move || {
        let waited = || {
            let (client, request) = whom::connect(&request)?;
            let bar = terminal.then(Bar::new);
            wait(client, &mut Ui::new(), &request, bar.as_ref())
        };
        drop(tell.send(waited()));
    });
    match told.recv_timeout(Duration::from_secs(seconds)) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            Err(CommandError::cannot(format!("not at rest after {seconds} s")).with_code(124))
        }
        Err(RecvTimeoutError::Disconnected) => Err(CommandError::cannot("the wait broke off")),
    }
}

/// Waits for the answer to a [`Request::Wait`].
pub(crate) fn wait(
    client: Client,
    ui: &mut Ui,
    request: &Request,
    bar: Option<&Bar>,
) -> Result<u8, CommandError> {
    ask_with(client, ui, request, |_, reply| {
        if let (Reply::Progress(progress), Some(bar)) = (reply, bar) {
            bar.show(&progress);
        }
        Ok(())
    })
}
