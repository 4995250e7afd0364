//! Endpoints: `PATH`, `[USER@]HOST:PATH`, `ssh://[USER@]HOST[:PORT]/PATH`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::error::CommandError;
use crate::ssh::destination::Destination;

/// Where a replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Local(PathBuf),
    /// `[USER@]HOST[:PORT]`, and a path from the root there or from the user's home.
    Remote {
        host: String,
        path: PathBuf,
    },
}

impl Endpoint {
    /// Tells a host from a path as scp does.
    ///
    /// # Errors
    /// What stands for a host is none.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, CommandError> {
        let bytes = text.as_bytes();
        if let Some(rest) = bytes.strip_prefix(b"ssh://") {
            let slash = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            // As git does: `/~/x` is in the user's home.
            let path = match rest[slash..].strip_prefix(b"/~") {
                Some(in_home) if in_home.is_empty() || in_home[0] == b'/' => &rest[slash + 1..],
                Some(_) | None => &rest[slash..],
            };
            return remote(&rest[..slash], path);
        }
        let colon = bytes.iter().position(|b| *b == b':');
        let slash = bytes.iter().position(|b| *b == b'/');
        match (colon, slash) {
            (Some(0), _) | (None, _) => Ok(Self::Local(text.into())),
            (Some(colon), Some(slash)) if slash < colon => Ok(Self::Local(text.into())),
            (Some(colon), _) => remote(&bytes[..colon], &bytes[colon + 1..]),
        }
    }

    /// The absolute local path.
    ///
    /// # Errors
    /// It is remote.
    pub(crate) fn local(text: &OsStr) -> Result<PathBuf, CommandError> {
        match Self::parse(text)? {
            Self::Local(path) => absolute(&path),
            Self::Remote { host, .. } => Err(CommandError::usage(format!(
                "a directory of this machine is wanted, and that is one on {host}"
            ))
            .hinted("a local path with a colon is written ./a:b")),
        }
    }
}

fn remote(host: &[u8], path: &[u8]) -> Result<Endpoint, CommandError> {
    let host = String::from_utf8_lossy(host).into_owned();
    Destination::parse(&host).map_err(|bad| {
        CommandError::usage(bad.to_string()).hinted("a local path with a colon is written ./a:b")
    })?;
    let path = if path.is_empty() { b"~" } else { path };
    Ok(Endpoint::Remote { host, path: OsStr::from_bytes(path).into() })
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

    fn parsed(text: &str) -> Endpoint {
        Endpoint::parse(OsStr::new(text)).unwrap()
    }

    #[test]
    fn local_and_remote_are_told_apart_as_scp_does() {
        for local in ["work", "/a/b", "./a:b", "/a:b/c", "../x", "a/b:c"] {
            assert_eq!(parsed(local), Endpoint::Local(local.into()));
        }
        for (remote, host, path) in [
            ("nas:/x", "nas", "/x"),
            ("me@nas:x/y", "me@nas", "x/y"),
            ("nas:", "nas", "~"),
            ("ssh://me@nas:22/x", "me@nas:22", "/x"),
            ("ssh://nas", "nas", "~"),
            ("ssh://nas/~/x", "nas", "~/x"),
            ("ssh://nas/~x", "nas", "/~x"),
        ] {
            let (host, path) = (host.to_owned(), path.into());
            assert_eq!(parsed(remote), Endpoint::Remote { host, path });
        }
        assert_eq!(lexical(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for bad in ["-oProxyCommand=x:/y", "ssh://nas:0/x", "@nas:x", "ssh:///x"] {
            assert!(Endpoint::parse(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
