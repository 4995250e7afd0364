//! Endpoints: `PATH`, `[USER@]HOST:PATH`, `ssh://[USER@]HOST[:PORT]/PATH`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::error::CommandError;

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Local(PathBuf),
    /// `HOST` as it was written.
    Remote(String),
}

impl Endpoint {
    pub(crate) fn parse(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        if let Some(rest) = bytes.strip_prefix(b"ssh://") {
            let host = rest.split(|b| *b == b'/').next().unwrap_or_default();
            return Self::Remote(String::from_utf8_lossy(host).into_owned());
        }
        let colon = bytes.iter().position(|b| *b == b':');
        let slash = bytes.iter().position(|b| *b == b'/');
        match (colon, slash) {
            (Some(0), _) | (None, _) => Self::Local(text.into()),
            (Some(colon), Some(slash)) if slash < colon => Self::Local(text.into()),
            (Some(colon), _) => Self::Remote(String::from_utf8_lossy(&bytes[..colon]).into_owned()),
        }
    }

    /// The absolute local path.
    ///
    /// # Errors
    /// It is remote.
    pub(crate) fn local(text: &OsStr) -> Result<PathBuf, CommandError> {
        match Self::parse(text) {
            Self::Local(path) => absolute(&path),
            Self::Remote(host) => Err(CommandError::usage(format!(
                "remote endpoints come in a later version: {host} cannot be reached yet"
            ))
            .hinted("a local path with a colon is written ./a:b")),
        }
    }
}

/// The absolute path, `.` and `..` taken out as written.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    let cwd = std::env::current_dir()
        .map_err(|error| CommandError::cannot(format!("there is no current directory: {error}")))?;
    Ok(lexical(&cwd.join(path)))
}

fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other @ (Component::Prefix(_) | Component::RootDir | Component::Normal(_)) => {
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_remote_are_told_apart_as_scp_does() {
        let parse = |text: &str| Endpoint::parse(OsStr::new(text));
        for local in ["work", "/a/b", "./a:b", "/a:b/c", "../x", "a/b:c"] {
            assert_eq!(parse(local), Endpoint::Local(local.into()));
        }
        for (remote, host) in
            [("nas:/x", "nas"), ("me@nas:x", "me@nas"), ("ssh://me@nas:22/x", "me@nas:22")]
        {
            assert_eq!(parse(remote), Endpoint::Remote(host.into()));
        }
        assert_eq!(lexical(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
