//! `diff` and `cat`: look at the other side.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::error::CommandError;
use super::request::{ask, collect};
use super::target;
use super::ui::Ui;
use crate::sources::control::wire::{Reply, Request, Target};

/// Compare what the two sides hold; exit 0 equal, 1 different, 2 trouble, as diff does
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  yeet diff notes.txt
  yeet diff notes.txt -- vimdiff")]
pub(crate) struct DiffArgs {
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
    /// What compares, with its arguments; by default `diff -u`
    #[arg(last = true, value_name = "TOOL")]
    tool: Vec<OsString>,
}

pub(crate) fn diff(args: DiffArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let trouble = |error: CommandError| {
        if error.is_unreachable() { error } else { error.with_code(2) }
    };
    let target = target::path(&args.path, args.sync.as_ref())?;
    let asked = Request::Sides { target: target.clone() };
    let (sides, _) = collect(ui, &asked, |reply| match reply {
        Reply::Side { replica, file, is_here } => Some((replica, file, is_here)),
        _ => None,
    })
    .map_err(trouble)?;
    let mut fetched = Vec::new();
    let mut tool = args.tool.into_iter();
    let mut command = match tool.next() {
        Some(program) => Command::new(program),
        None => {
            let mut diff = Command::new("diff");
            diff.arg("-u");
            diff
        }
    };
    command.args(tool);
    for (replica, file, is_here) in sides {
        if is_here {
            command.arg(file.map_or_else(|| "/dev/null".into(), OsString::from_vec));
        } else {
            let copy = Fetched::of(ui, &target, &replica, fetched.len()).map_err(trouble)?;
            command.arg(&copy.0);
            fetched.push(copy);
        }
    }
    let status = command.status().map_err(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        trouble(CommandError::cannot(format!("cannot run {program}: {error}")))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// What a replica on another machine holds, in a file that is gone when this is.
struct Fetched(PathBuf);

impl Fetched {
    fn of(
        ui: &mut Ui,
        target: &Target,
        replica: &str,
        number: usize,
    ) -> Result<Self, CommandError> {
        let name = format!("yeet-diff-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(|error| {
            CommandError::cannot(format!("cannot make {}: {error}", path.display()))
        })?;
        let fetched = Self(path);
        let asked = Request::Cat { target: target.clone(), replica: replica.to_owned() };
        ask(ui, &asked, |_, reply| {
            if let Reply::Bytes(bytes) = reply {
                file.write_all(&bytes)?;
            }
            Ok(())
        })?;
        Ok(fetched)
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Print what a replica holds
#[derive(clap::Args)]
pub(crate) struct CatArgs {
    /// The replica: `source` or a leaf's name
    #[arg(long, value_name = "R")]
    from: String,
    /// The path
    #[arg(value_name = "PATH")]
    path: OsString,
    /// The sync that the path belongs to
    #[arg(long, value_name = "NAME")]
    sync: Option<String>,
}

pub(crate) fn cat(args: CatArgs, ui: &mut Ui) -> Result<u8, CommandError> {
    let target = target::path(&args.path, args.sync.as_ref())?;
    ask(ui, &Request::Cat { target, replica: args.from }, |ui, reply| {
        if let Reply::Bytes(bytes) = reply {
            ui.bytes(&bytes)?;
        }
        Ok(())
    })
}
