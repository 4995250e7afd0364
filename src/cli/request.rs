//! One question to the daemon and its rows.

use std::io;

use super::error::CommandError;
use super::ui::Ui;
use super::whom;
use crate::places::Places;
use crate::sources::control::socket::Client;
use crate::sources::control::wire::{Outcome, Reply, Request};

pub(crate) fn places() -> Result<Places, CommandError> {
    Places::from_env().map_err(CommandError::cannot)
}

/// Asks the daemon that it goes to. `each` gets every reply that is neither a notice nor the last one.
pub(crate) fn ask(
    ui: &mut Ui,
    request: &Request,
    each: impl FnMut(&mut Ui, Reply) -> Result<(), CommandError>,
) -> Result<u8, CommandError> {
    let (client, request) = whom::connect(request)?;
    ask_with(client, ui, &request, each)
}

/// As [`ask`], with a connection that is there already.
pub(crate) fn ask_with(
    client: Client,
    ui: &mut Ui,
    request: &Request,
    mut each: impl FnMut(&mut Ui, Reply) -> Result<(), CommandError>,
) -> Result<u8, CommandError> {
    let mut code = Ok(0);
    let asked = client.ask(request, |reply| {
        match reply {
            Reply::Notice(text) => ui.say(&text),
            Reply::Done(Outcome::Well) => code = Ok(0),
            Reply::Done(Outcome::NotWell) => code = Ok(1),
            Reply::Failed(failure) => code = Err(failure.into()),
            other => {
                if let Err(error) = each(ui, other) {
                    code = Err(error);
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
        }
        Ok(())
    });
    match asked {
        Err(error) if code.is_ok() => {
            Err(CommandError::cannot(format!("the daemon does not answer: {error}")))
        }
        _ => code,
    }
}

/// Asks and collects what `pick` takes of the replies.
pub(crate) fn collect<T>(
    ui: &mut Ui,
    request: &Request,
    mut pick: impl FnMut(Reply) -> Option<T>,
) -> Result<(Vec<T>, u8), CommandError> {
    let mut rows = Vec::new();
    let code = ask(ui, request, |_, reply| {
        rows.extend(pick(reply));
        Ok(())
    })?;
    Ok((rows, code))
}
