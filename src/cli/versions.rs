//! `yeet versions` and `yeet restore`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::endpoint::absolute;
use super::error::CommandError;
use super::request::{ask, collect};
use super::ui::{Field, Ui};
use super::when::print_ms;
use super::{RowArgs, target};
use crate::sources::control::wire::{Reply, Request};

/// List the displaced versions of a path or of all below it, newest first; exit 1 if there are none
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    #[command(flatten)]
    rows: RowArgs,
}

pub(crate) fn run(args: Args, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    let (rows, code) = collect(ui, &Request::Versions { target }, |reply| match reply {
        Reply::Version(v) => Some(vec![
            Field::Text(v.name),
            Field::Text(v.version),
            Field::Text(print_ms(v.when_ms)),
            Field::Text(v.replica),
            Field::count(v.size),
            v.digest.map_or(Field::None, |d| Field::Text(d.to_string())),
            Field::Text(v.why),
            Field::Path(v.path.as_bytes().to_vec()),
        ]),
        _ => None,
    })?;
    let names = ["NAME", "VERSION", "WHEN", "REPLICA", "SIZE", "DIGEST", "WHY", "PATH"];
    ui.rows(&args.rows.format(), &names, &rows)?;
    Ok(code)
}

/// Bring a displaced version back, in place as a new edit or to a file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  yeet restore notes.txt
  yeet versions notes.txt
  yeet restore notes.txt --version 0006427b5c3d1a00 --to /tmp/notes.txt")]
pub(crate) struct RestoreArgs {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// Which, as `yeet versions` prints it; by default the newest
    #[arg(long, value_name = "ID")]
    version: Option<String>,
    /// Write it to this file, which must not exist, and change nothing else
    #[arg(long, value_name = "FILE")]
    to: Option<OsString>,
}

pub(crate) fn restore(args: RestoreArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    match args.to {
        None => ask(ui, &Request::Restore { target, version: args.version }, |_, _| Ok(())),
        Some(to) => {
            let (path, to) = (args.path, absolute(to.as_ref())?);
            let mut taken = Taken { to: &to, version: String::new(), content: None };
            let displaced = Request::Displaced { target, version: args.version };
            let code = ask(ui, &displaced, |_, reply| taken.take(reply))?;
            let version = taken.end()?;
            let (path, to) = (path.to_string_lossy(), to.display());
            ui.say(&format!("version {version} of {path} restored to {to}"));
            Ok(code)
        }
    }
}

/// A displaced version on its way to a file, which is gone if not all of it comes.
struct Taken<'a> {
    to: &'a Path,
    version: String,
    content: Option<Content>,
}

enum Content {
    File { file: File, mode: u16 },
    Symlink(Vec<u8>),
}

impl Taken<'_> {
    fn failed(&self, error: &io::Error) -> CommandError {
        CommandError::cannot(format!("cannot make {}: {error}", self.to.display()))
    }

    fn take(&mut self, reply: Reply) -> Result<(), CommandError> {
        match (reply, &mut self.content) {
            (Reply::Content { version, mode, is_symlink }, None) => {
                self.version = version;
                self.content = Some(match is_symlink {
                    true => Content::Symlink(Vec::new()),
                    false => {
                        // For nobody else before it is whole.
                        let mut options = OpenOptions::new();
                        options.write(true).create_new(true).mode(0o600);
                        let file = options.open(self.to).map_err(|error| self.failed(&error))?;
                        Content::File { file, mode }
                    }
                });
                Ok(())
            }
            (Reply::Bytes(bytes), Some(Content::File { file, .. })) => {
                file.write_all(&bytes).map_err(|error| self.failed(&error))
            }
            (Reply::Bytes(bytes), Some(Content::Symlink(text))) => {
                text.extend(bytes);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All has come; the version that it was.
    fn end(mut self) -> Result<String, CommandError> {
        let made = match &self.content {
            None => return Err(CommandError::cannot("the daemon sent no version")),
            Some(Content::Symlink(text)) => symlink(OsStr::from_bytes(text), self.to),
            Some(Content::File { file, mode }) => file
                .set_permissions(Permissions::from_mode(u32::from(*mode) & 0o777))
                .and_then(|()| file.sync_all()),
        };
        made.map_err(|error| self.failed(&error))?;
        self.content = None;
        Ok(std::mem::take(&mut self.version))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(Content::File { .. }) = self.content {
            drop(std::fs::remove_file(self.to));
        }
    }
}
