//! Whom a request goes to: this machine's daemon, or in a replica that an agent serves the daemon that has it.
//!
//! Holds: the directory decides, of the PATH, or the current one for a NAME; where the daemon that has a replica is not
//! connected, no other one is asked, and none is started.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::endpoint::absolute;
use super::error::CommandError;
use super::request::places;
use super::ui::escape;
use crate::sources::control::sign::{self, Found};
use crate::sources::control::socket::{Client, ConnectError};
use crate::sources::control::wire::{CONTENT_BYTES_MAX, Request, Target, Winner};

/// Connects to whom it goes to; the request as it is put there.
pub(crate) fn connect(request: &Request) -> Result<(Client, Request), CommandError> {
    let mut request = request.clone();
    let near = request.targets_mut().into_iter().find_map(|target| near(target));
    let signs = near.map(|path| path.and_then(|path| Ok(sign::around(&absolute(&path)?))));
    let signs = signs.transpose()?.unwrap_or_default();
    for found in &signs {
        let Ok(socket) = &found.sign.socket else { continue };
        match Client::connect_at(socket) {
            Ok(client) => {
                put_inside(&mut request, found)?;
                return Ok((client, request));
            }
            Err(ConnectError::NoDaemon) => {}
            Err(error) => return Err(unreachable(found, &error)),
        }
    }
    match signs.first() {
        Some(found) => Err(unreachable(found, &ConnectError::NoDaemon)),
        None => Ok((Client::connect(&places()?.runtime)?, request)),
    }
}

/// Where a target is looked for; `None` for one that is anywhere.
fn near(target: &Target) -> Option<Result<PathBuf, CommandError>> {
    match target {
        Target::All => None,
        Target::Path { path, .. } | Target::Here { dir: path } => {
            Some(Ok(OsStr::from_bytes(path).into()))
        }
        Target::Sync(_) | Target::In { .. } | Target::Inside { .. } => Some(absolute(".".as_ref())),
    }
}

/// Says with paths in the replica what was said with paths of this machine, which its daemon does not know.
fn put_inside(request: &mut Request, found: &Found) -> Result<(), CommandError> {
    for target in request.targets_mut() {
        if let Target::Path { sync, path } = target
            && let Some(path) = found.within(Path::new(OsStr::from_bytes(path)))
        {
            *target = Target::Inside { sync: sync.take(), path };
        }
    }
    if let Request::Resolve { winner: winner @ Winner::With(_), .. } = request
        && let Winner::With(file) = winner
    {
        *winner = Winner::Content(content(Path::new(OsStr::from_bytes(file)))?);
    }
    Ok(())
}

/// What a file of this machine holds, to be sent along.
fn content(file: &Path) -> Result<Vec<u8>, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::cannot(format!("cannot read {}: {error}", file.display()))
    };
    let mut bytes = Vec::new();
    let most = CONTENT_BYTES_MAX as u64;
    File::open(file)
        .and_then(|open| open.take(most + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() > CONTENT_BYTES_MAX {
        let mib = CONTENT_BYTES_MAX >> 20;
        let why = format!("{} is larger than the {mib} MiB that can be sent", file.display());
        return Err(CommandError::cannot(why).hinted(ELSEWHERE));
    }
    Ok(bytes)
}

const ELSEWHERE: &str = "decide it on the machine that has the sync";

fn unreachable(found: &Found, error: &ConnectError) -> CommandError {
    let sign = &found.sign;
    let daemon = escape(sign.daemon.as_bytes());
    let program = escape(sign.program.as_os_str().as_bytes());
    let failed = CommandError::unreachable;
    match (&sign.socket, error) {
        (Err(why), _) => {
            failed(format!("nothing can be asked here: {}", escape(why.as_bytes())))
                .hinted(format!("ask on the machine of the daemon that owns this replica ({daemon})"))
        }
        (Ok(_), ConnectError::NoDaemon) => {
            failed(format!("the daemon that owns this replica is not connected ({daemon})")).hinted(
                "on its machine `yeet status -l` says why; if this replica was forgotten there, remove .yeet/daemon here",
            )
        }
        (Ok(_), ConnectError::Silent) => {
            failed(format!("the daemon that owns this replica does not answer ({daemon})"))
        }
        (Ok(_), ConnectError::OtherVersion) => {
            failed("the daemon that owns this replica is of another version of yeet".to_owned())
                .hinted(format!("the program that speaks to it is {program}"))
        }
        (Ok(_), ConnectError::Foreign { .. } | ConnectError::Io { .. }) => {
            failed(format!("the daemon that owns this replica ({daemon}) is not reached: {error}"))
        }
    }
}

/// What takes the NAME of a sync of this machine's daemon is not guessed in a replica of another one's.
pub(crate) fn refuse_inside(what: &str) -> Result<(), CommandError> {
    match sign::around(&absolute(".".as_ref())?).first() {
        None => Ok(()),
        Some(found) => {
            let daemon = escape(found.sign.daemon.as_bytes());
            Err(CommandError::cannot(format!(
                "this is a replica of another machine's daemon ({daemon}), and {what} is not answered here"
            ))
            .hinted("ask on the machine that has the sync; a sync of this machine's daemon has to be named"))
        }
    }
}
