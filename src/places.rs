//! Where yeet keeps its own files: the XDG directories.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::path::{Path, PathBuf};

/// The directories of this user's yeet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Holds `config.toml`.
    pub config: PathBuf,
    pub state: PathBuf,
    pub cache: PathBuf,
    /// Holds the agents of other machines.
    pub data: PathBuf,
    /// Holds the control socket.
    pub runtime: PathBuf,
}

impl Places {
    /// The places that the environment names.
    ///
    /// # Errors
    /// Neither `HOME` nor the XDG variables say where.
    pub fn from_env() -> Result<Self, String> {
        Self::of(|name| {
            let value = std::env::var_os(name)?;
            let path = PathBuf::from(value);
            path.is_absolute().then_some(path)
        })
    }

    fn of(var: impl Fn(&str) -> Option<PathBuf>) -> Result<Self, String> {
        let place = |name: &str, default: &str| {
            let base = var(name).or_else(|| var("HOME").map(|home| home.join(default)));
            base.map(|base| base.join("yeet")).ok_or_else(|| {
                format!("neither {name} nor HOME says where yeet may keep its files")
            })
        };
        let runtime = var("XDG_RUNTIME_DIR").map_or_else(
            || {
                let uid = rustix::process::getuid().as_raw();
                var("TMPDIR")
                    .unwrap_or_else(|| Path::new("/tmp").to_owned())
                    .join(format!("yeet-{uid}"))
            },
            |dir| dir.join("yeet"),
        );
        Ok(Self {
            config: place("XDG_CONFIG_HOME", ".config")?,
            state: place("XDG_STATE_HOME", ".local/state")?,
            cache: place("XDG_CACHE_HOME", ".cache")?,
            data: place("XDG_DATA_HOME", ".local/share")?,
            runtime,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xdg_variables_decide_and_home_is_the_default() {
        let places = Places::of(|name| match name {
            "HOME" => Some("/home/u".into()),
            "XDG_STATE_HOME" => Some("/state".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => None,
        });
        let places = places.unwrap();
        assert_eq!(places.config, Path::new("/home/u/.config/yeet"));
        assert_eq!(places.state, Path::new("/state/yeet"));
        assert_eq!(places.runtime, Path::new("/run/user/7/yeet"));
        assert!(Places::of(|_| None).is_err());
    }
}
