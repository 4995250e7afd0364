//! What a command is about: a NAME, or a PATH (with a `/` or a leading `.`), or the sync around here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::endpoint::absolute;
use super::error::CommandError;
use super::request::collect;
use super::ui::Ui;
use super::whom;
use crate::dataflow::model::path::RelPath;
use crate::sources::control::wire::{Reply, Request, Target};

/// Whether an argument is a PATH.
pub(crate) fn is_path(argument: &OsStr) -> bool {
    let bytes = argument.as_bytes();
    bytes.contains(&b'/') || bytes.starts_with(b".")
}

/// A NAME or PATH, or neither.
pub(crate) fn of(
    argument: Option<&OsString>,
    sync: Option<&String>,
) -> Result<Target, CommandError> {
    match argument {
        None => match sync {
            Some(sync) => Ok(Target::Sync(sync.clone())),
            None => here(),
        },
        Some(argument) if is_path(argument) || sync.is_some() => path(argument, sync),
        Some(name) => Ok(Target::Sync(name.to_string_lossy().into_owned())),
    }
}

/// The sync around the current directory, or all.
pub(crate) fn here() -> Result<Target, CommandError> {
    let dir = absolute(".".as_ref())?;
    let dir = dir.canonicalize().unwrap_or(dir);
    Ok(Target::Here { dir: dir.as_os_str().as_bytes().to_vec() })
}

/// A PATH, whatever it looks like: absolute, relative to here, or with `--sync` to the sync's root.
pub(crate) fn path(argument: &OsStr, sync: Option<&String>) -> Result<Target, CommandError> {
    let bytes = argument.as_bytes();
    if let (Some(sync), false) = (sync, bytes.starts_with(b"/")) {
        let bytes = bytes.strip_prefix(b"./").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        let bytes = if bytes == b"." { &b""[..] } else { bytes };
        let path = RelPath::parse(bytes).map_err(|error| {
            CommandError::usage(format!("{}: {error}", argument.to_string_lossy()))
        })?;
        return Ok(Target::In { sync: sync.clone(), path });
    }
    let path = absolute(argument.as_ref())?;
    Ok(Target::Path { sync: sync.cloned(), path: path.as_os_str().as_bytes().to_vec() })
}

/// A NAME, or the sync around the current directory; a PATH in its place is refused.
pub(crate) fn name_or_here(
    argument: Option<&OsString>,
    what: &str,
    ui: &mut Ui,
) -> Result<String, CommandError> {
    if let Some(argument) = argument {
        return name(argument, what);
    }
    whom::refuse_inside(what)?;
    let target = here()?;
    let Target::Here { dir } = target else { return Err(CommandError::usage("name a sync")) };
    let target = Target::Path { sync: None, path: dir };
    let asked = collect(ui, &Request::Status { target, leaf: None }, |reply| match reply {
        Reply::Status(status) => Some(status.name),
        _ => None,
    });
    let (names, _) = asked.map_err(|error| {
        if error.is_unreachable() {
            return error;
        }
        CommandError::usage(format!("{what} takes the NAME of a sync; there is none around here"))
            .hinted("`yeet list` names the syncs")
    })?;
    match &names[..] {
        [name] => Ok(name.clone()),
        _ => Err(CommandError::usage(format!("say which sync: {}", names.join(", ")))),
    }
}

/// A NAME; a PATH in its place is refused.
pub(crate) fn name(argument: &OsStr, what: &str) -> Result<String, CommandError> {
    if is_path(argument) {
        let shown = argument.to_string_lossy();
        return Err(CommandError::usage(format!(
            "{shown} is a path; {what} takes the NAME of a sync"
        ))
        .hinted("`yeet list` names the syncs"));
    }
    Ok(argument.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_or_a_leading_dot_makes_a_path() {
        assert!(is_path(OsStr::new("./work")) && is_path(OsStr::new("a/b")));
        assert!(is_path(OsStr::new(".")) && !is_path(OsStr::new("work")));
        let sync = "s".to_owned();
        let at = path(OsStr::new("./a/b/"), Some(&sync)).unwrap();
        let path = RelPath::parse(b"a/b").unwrap();
        assert_eq!(at, Target::In { sync, path });
    }
}
