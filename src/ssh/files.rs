//! The files of the user and of the machine that say how to reach hosts and whom to trust.
//!
//! Holds: what somebody else could have written is not believed; every file and their number is bounded.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::destination::Destination;
use super::hops::{NoWay, way, way_by};
use super::pattern::is_match;
use super::route::Route;
use super::settings::{BadSettings, Item, Local, Settings, read, settle, settle_at};
use crate::sys;

/// The longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// As deep as OpenSSH goes.
const INCLUDES_MAX: usize = 16;
/// The most files one `Include` names.
const MATCHES_MAX: usize = 256;

/// This machine and its user.
#[derive(Clone, Debug)]
pub struct Here {
    pub user: String,
    pub home: PathBuf,
    pub uid: u32,
    pub hostname: String,
    /// The config of the whole machine.
    pub system_config: PathBuf,
}

impl Here {
    /// # Errors
    /// Nothing says where the user's home is.
    pub fn from_env() -> Result<Self, String> {
        let uid = rustix::process::getuid().as_raw();
        let passwd = text(Path::new("/etc/passwd")).unwrap_or_default();
        let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let entry = entry.filter(|fields| fields.len() >= 7).find(|f| f[2] == uid.to_string());
        let field = |at: usize| entry.as_ref().map(|f| f[at].to_owned());
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HOME").or_else(|| field(5)).map(PathBuf::from);
        let home = home.filter(|home| home.is_absolute());
        Ok(Self {
            user: field(0).or_else(|| variable("USER")).unwrap_or_else(|| uid.to_string()),
            home: home.ok_or("HOME does not say where your home is")?,
            uid,
            hostname: sys::hostname(),
            system_config: "/etc/ssh/ssh_config".into(),
        })
    }

    /// The machines on the way to a host, as the config files say now.
    ///
    /// # Errors
    /// The files cannot be read, or make no sense for this host.
    pub fn way(&self, asked: &Destination) -> Result<Vec<Settings>, NoWay> {
        self.settled(|items, local| way(asked, &|asked| settle(asked, items, local)))
    }

    /// The machines on one of the ways to a host.
    ///
    /// # Errors
    /// As [`Self::way`].
    pub fn way_by(&self, asked: &Destination, route: &Route) -> Result<Vec<Settings>, NoWay> {
        self.settled(|items, local| {
            let settings = |machine: &Destination| settle(machine, items, local);
            let at = |address: &Destination| settle_at(asked, address, items, local);
            way_by(asked, route, &settings, &at)
        })
    }

    fn settled(
        &self,
        way: impl FnOnce(&[Item], &Local<'_>) -> Result<Vec<Settings>, NoWay>,
    ) -> Result<Vec<Settings>, NoWay> {
        let items = self.items()?;
        let variable = |name: &str| std::env::var(name).ok();
        let local = Local {
            user: &self.user,
            home: self.home.clone(),
            uid: self.uid,
            hostname: &self.hostname,
            variable: &variable,
        };
        way(&items, &local)
    }

    fn items(&self) -> Result<Vec<Item>, BadSettings> {
        let mut items = Vec::new();
        let users = self.home.join(".ssh/config");
        self.include(&users, &self.home.join(".ssh"), true, 0, &mut items)?;
        self.include(&self.system_config, Path::new("/etc/ssh"), false, 0, &mut items)?;
        Ok(items)
    }

    /// Adds what a file says, if there is one; relative includes are below `base`.
    fn include(
        &self,
        file: &Path,
        base: &Path,
        is_users: bool,
        depth: usize,
        items: &mut Vec<Item>,
    ) -> Result<(), BadSettings> {
        let unreadable = |why: String| BadSettings::Unreadable { file: file.to_owned(), why };
        if depth >= INCLUDES_MAX {
            return Err(BadSettings::Includes(INCLUDES_MAX));
        }
        let text = match text(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if is_users && !self.is_own(file) {
            return Err(unreadable("others than you could have written it".to_owned()));
        }
        items.push(Item::Enter);
        for line in read(&Arc::from(file), &text) {
            let line = line.map_err(|place| BadSettings::Written {
                place,
                what: "a quote has no end".to_owned(),
            })?;
            let includes = line.keyword == "include";
            let patterns = if includes { line.arguments.clone() } else { Vec::new() };
            items.push(Item::Line(line));
            for pattern in patterns {
                let pattern = match pattern.strip_prefix("~/") {
                    Some(rest) => self.home.join(rest),
                    None => base.join(&pattern),
                };
                for file in matches(&pattern) {
                    self.include(&file, base, is_users, depth + 1, items)?;
                }
            }
        }
        items.push(Item::Leave);
        Ok(())
    }

    /// Whether nobody but the user and root can write a file.
    fn is_own(&self, file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|meta| {
            (meta.uid() == self.uid || meta.uid() == 0) && meta.mode() & 0o022 == 0
        })
    }

    /// Whether a private key is as private as ssh wants it.
    #[must_use]
    pub(crate) fn is_private(&self, file: &Path) -> bool {
        fs::metadata(file).is_ok_and(|meta| meta.uid() != self.uid || meta.mode() & 0o077 == 0)
    }
}

/// A file's text; what is not UTF-8 is replaced.
pub(crate) fn text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files of these paths that can be read, with their texts.
pub(crate) fn texts(files: &[PathBuf]) -> Vec<(PathBuf, String)> {
    files.iter().filter_map(|file| Some((file.clone(), text(file).ok()?))).collect()
}

/// Adds to the end of a file that only the user reads; it and its directory are made where they are missing.
pub(crate) fn append(file: &Path, added: &dyn Fn(&str) -> String) -> io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let before = match text(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let mut file = File::options().append(true).create(true).mode(0o600).open(file)?;
    file.write_all(added(&before).as_bytes())
}

/// The files of a path whose names may have `*` and `?`, in the order of their names.
fn matches(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy();
        if !name.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let below = |dir: &PathBuf| {
            let mut names: Vec<_> = fs::read_dir(dir)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .filter(|n| {
                    let n = n.to_string_lossy();
                    is_match(&name, &n) && (name.starts_with('.') || !n.starts_with('.'))
                })
                .collect();
            names.sort();
            names.into_iter().map(|n| dir.join(n)).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(below).take(MATCHES_MAX).collect();
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn here(home: &Path) -> Here {
        fs::create_dir_all(home.join(".ssh/conf.d")).unwrap();
        Here {
            user: "me".to_owned(),
            home: home.to_owned(),
            uid: rustix::process::getuid().as_raw(),
            hostname: "box".to_owned(),
            system_config: home.join("system"),
        }
    }

    fn write(path: PathBuf, text: &str, mode: u32) {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn user(here: &Here) -> Result<String, NoWay> {
        let way = here.way(&Destination::parse("nas").unwrap())?;
        Ok(way[0].user.clone())
    }

    #[test]
    fn included_files_are_read_in_the_order_of_their_names_before_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let here = here(dir.path());
        let ssh = dir.path().join(".ssh");
        write(ssh.join("config"), "Include conf.d/* ~/.ssh/none\nUser last\n", 0o600);
        write(ssh.join("conf.d/b"), "User b\n", 0o600);
        write(ssh.join("conf.d/.a"), "User hidden\n", 0o600);
        write(dir.path().join("system"), "User system\n", 0o666);
        assert_eq!(user(&here).unwrap(), "b");
        write(ssh.join("conf.d/a"), "Host pi\n User a\n", 0o600);
        assert_eq!(user(&here).unwrap(), "b");
        write(ssh.join("config"), "Host pi\n Include conf.d/*\n", 0o600);
        assert_eq!(user(&here).unwrap(), "system");
    }

    #[test]
    fn files_that_include_each_other_are_refused_not_followed_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let here = here(dir.path());
        write(dir.path().join(".ssh/config"), "Include config\n", 0o600);
        assert!(user(&here).unwrap_err().to_string().contains("include each other"));
    }

    #[test]
    fn a_config_that_others_can_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let here = here(dir.path());
        write(dir.path().join(".ssh/config"), "User x\n", 0o666);
        assert!(user(&here).unwrap_err().to_string().contains("others than you"));
    }

    #[test]
    fn what_is_added_to_a_file_that_is_not_there_makes_it_for_the_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/known_hosts");
        append(&file, &|before| format!("{}a\n", before.len())).unwrap();
        append(&file, &|before| format!("{}b\n", before.len())).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "0a\n3b\n");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
}
