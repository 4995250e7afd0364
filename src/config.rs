//! `config.toml`: defaults for new syncs, and the ways to hosts. Optional; every setting has a command too.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dataflow::model::group::{self, BadGroup, Groups};
use crate::dataflow::model::mode::Mode;
use crate::ssh::destination::Destination;
use crate::ssh::route::Route;

const KEYS: [&str; 7] = ["mode", "ignore", "ignore-vcs", "group", "keep-age", "keep-size", "host"];
const DAY_S: u64 = 86_400;
/// The longest config file that is read, in bytes.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What new syncs start with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub mode: Mode,
    pub ignore: Vec<String>,
    pub ignore_vcs: bool,
    /// The patterns of files that belong together.
    pub groups: Vec<Vec<String>>,
    /// Seconds.
    pub keep_age_s: u64,
    /// Bytes.
    pub keep_size: u64,
    /// The ways to hosts, by the names these are written with, the preferred one first.
    pub routes: BTreeMap<String, Vec<Route>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::TwoWay,
            ignore: Vec::new(),
            ignore_vcs: false,
            groups: Vec::new(),
            keep_age_s: 30 * DAY_S,
            keep_size: 10 << 30,
            routes: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    mode: Option<Mode>,
    ignore: Option<Vec<String>>,
    ignore_vcs: Option<bool>,
    group: Option<Vec<WrittenGroup>>,
    keep_age: Option<String>,
    keep_size: Option<String>,
    host: Option<BTreeMap<String, WrittenHost>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHost {
    routes: toml::Spanned<Vec<toml::Spanned<String>>>,
}

/// The most routes that a host has.
pub const ROUTES_MAX: usize = 8;

/// The routes of the hosts, or where what is wrong.
fn routes_of(
    written: &BTreeMap<String, WrittenHost>,
) -> Result<BTreeMap<String, Vec<Route>>, (usize, String)> {
    let mut all = BTreeMap::new();
    for (host, WrittenHost { routes }) in written {
        let start = routes.span().start;
        match Destination::parse(host) {
            Ok(Destination { user: None, port: None, .. }) => {}
            Ok(_) | Err(_) => return Err((start, format!("{host:?} is no name of a host"))),
        }
        if routes.get_ref().len() > ROUTES_MAX {
            return Err((start, format!("a host has at most {ROUTES_MAX} routes")));
        }
        let read = |route: &toml::Spanned<String>| {
            Route::parse(route.get_ref()).map_err(|why| (route.span().start, why.to_string()))
        };
        let routes = routes.get_ref().iter().map(read).collect::<Result<Vec<_>, _>>()?;
        all.insert(host.clone(), routes);
    }
    Ok(all)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    files: toml::Spanned<Vec<toml::Spanned<String>>>,
}

/// The patterns of the groups, or where what is wrong.
fn groups_of(written: &[WrittenGroup]) -> Result<Vec<Vec<String>>, (usize, BadGroup)> {
    let mut groups = Vec::new();
    for WrittenGroup { files } in written {
        let start = files.span().start;
        for pattern in files.get_ref() {
            let at = pattern.span().start;
            group::check_pattern(pattern.get_ref()).map_err(|why| (at, why))?;
        }
        groups.push(files.get_ref().iter().map(|pattern| pattern.get_ref().clone()).collect());
        Groups::parse(&groups).map_err(|why| (start, why))?;
    }
    Ok(groups)
}

/// A config file that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct ConfigError {
    file: String,
    line: usize,
    what: String,
}

impl Config {
    /// Reads `config.toml` in `dir`; the defaults if there is none.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has an unknown key or a bad value; with the line and the nearest key.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let file: PathBuf = dir.join("config.toml");
        match read(&file) {
            Ok(text) if text.len() as u64 > CONFIG_BYTES_MAX => Err(ConfigError {
                file: file.display().to_string(),
                line: 1,
                what: format!("the file is longer than {CONFIG_BYTES_MAX} bytes"),
            }),
            Ok(text) => Self::parse(&file, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(ConfigError {
                file: file.display().to_string(),
                line: 0,
                what: error.to_string(),
            }),
        }
    }

    /// Writes the ways to a host into `config.toml` in `dir`, and leaves the rest of it as it is; with none, those that
    /// are there go.
    ///
    /// # Errors
    /// As [`Config::load`]; or the file cannot be written.
    pub fn set_routes(dir: &Path, host: &str, routes: &[Route]) -> Result<(), ConfigError> {
        let file = dir.join("config.toml");
        let failed = |error: &dyn std::fmt::Display| ConfigError {
            file: file.display().to_string(),
            line: 0,
            what: error.to_string(),
        };
        Self::load(dir)?;
        let before = match read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| failed(&error))?,
        };
        let text = with_routes(&before, host, routes).map_err(|error| failed(&error))?;
        Self::parse(&file, &text)?;
        replace(&file, &text).map_err(|error| failed(&error))
    }

    /// What a file of this text says, for `tests/fuzz`.
    ///
    /// # Errors
    /// As [`Config::load`].
    #[cfg(fuzzing)]
    pub fn of_text(text: &str) -> Result<Self, ConfigError> {
        Self::parse(Path::new("config.toml"), text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let at = |offset: usize, what: String| ConfigError {
            file: file.display().to_string(),
            line: text[..offset.min(text.len())].matches('\n').count() + 1,
            what,
        };
        let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
        let table: toml::Table =
            toml::from_str(text).map_err(|e| at(offset(&e), e.message().to_owned()))?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let nearest = KEYS.iter().min_by_key(|known| distance(key, known)).unwrap_or(&KEYS[0]);
            let place = text.find(key.as_str()).unwrap_or(0);
            return Err(at(place, format!("there is no key {key}; did you mean {nearest}?")));
        }
        let written: Written =
            toml::from_str(text).map_err(|e| at(offset(&e), e.message().to_owned()))?;
        let default = Self::default();
        let groups = groups_of(&written.group.unwrap_or_default())
            .map_err(|(place, why)| at(place, why.to_string()))?;
        let routes =
            routes_of(&written.host.unwrap_or_default()).map_err(|(place, why)| at(place, why))?;
        let value = |key: &str, read: &Option<String>, parse: fn(&str) -> Option<u64>| {
            let Some(read) = read else { return Ok(None) };
            let place = text.find(key).unwrap_or(0);
            parse(read).map(Some).ok_or_else(|| at(place, format!("{read:?} is no {key}")))
        };
        Ok(Self {
            mode: written.mode.unwrap_or(default.mode),
            ignore: written.ignore.clone().unwrap_or_default(),
            ignore_vcs: written.ignore_vcs.unwrap_or_default(),
            groups,
            keep_age_s: value("keep-age", &written.keep_age, parse_age)?
                .unwrap_or(default.keep_age_s),
            keep_size: value("keep-size", &written.keep_size, parse_size)?
                .unwrap_or(default.keep_size),
            routes,
        })
    }
}

/// A config with other ways to a host.
fn with_routes(text: &str, host: &str, routes: &[Route]) -> Result<String, toml_edit::TomlError> {
    let mut all: toml_edit::DocumentMut = text.parse()?;
    if routes.is_empty() {
        if let Some(hosts) = all.get_mut("host").and_then(toml_edit::Item::as_table_like_mut) {
            drop(hosts.remove(host));
        }
        return Ok(all.to_string());
    }
    let hosts = all.entry("host").or_insert_with(|| {
        let mut hosts = toml_edit::Table::new();
        hosts.set_implicit(true);
        hosts.into()
    });
    let routes: toml_edit::Array = routes.iter().map(ToString::to_string).collect();
    let table = hosts
        .as_table_like_mut()
        .map(|hosts| hosts.entry(host).or_insert_with(|| toml_edit::Table::new().into()));
    if let Some(table) = table.and_then(toml_edit::Item::as_table_like_mut) {
        drop(table.insert("routes", toml_edit::value(routes)));
    }
    Ok(all.to_string())
}

/// Puts a file in its place whole, also where that is a link to another place.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let dir = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let new = dir.join(format!(".config.toml.{}", std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut to = std::fs::File::create(&new)?;
        if let Ok(was) = file.metadata() {
            to.set_permissions(was.permissions())?;
        }
        to.write_all(text.as_bytes())?;
        to.sync_all()?;
        std::fs::rename(&new, &file)
    };
    written().inspect_err(|_| drop(std::fs::remove_file(&new)))
}

/// No more of it than tells that it is too long.
fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Seconds of `90s`, `10m`, `2h`, `30d`, `4w`.
#[must_use]
pub fn parse_age(text: &str) -> Option<u64> {
    with_unit(text, &[("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", DAY_S), ("w", 7 * DAY_S)])
}

/// Bytes of `1000`, `512K`, `10G`, `1T`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    with_unit(text, &[("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)])
}

/// How many letters two words are apart.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left_above = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let change = left_above + usize::from(x != *y);
            row[j + 1] = change.min(above + 1).min(row[j] + 1);
            left_above = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::model::mutated::mutations;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("config.toml"), text)
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            "mode = \"mirror\"\nignore = [\"*.o\"]\nignore-vcs = true\nkeep-age = \"2d\"\nkeep-size = \"1G\"\n",
        );
        let config = config.unwrap();
        assert_eq!((config.mode, config.ignore_vcs), (Mode::Mirror, true));
        assert_eq!((config.keep_age_s, config.keep_size), (2 * DAY_S, 1 << 30));
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line_and_the_nearest_one() {
        let error = parse("mode = \"two-way\"\n\nkeep-agee = \"30d\"\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.toml:3: there is no key keep-agee; did you mean keep-age?"
        );
        assert!(parse("keep-age = \"soon\"\n").unwrap_err().to_string().contains("\"soon\""));
        assert!(parse("mode = \"sideways\"\n").is_err());
    }

    #[test]
    fn groups_are_read_and_what_is_none_is_named_with_its_line() {
        let text = "keep-age = \"2d\"\n[[group]]\nfiles = [\"*.db\", \"*.db-wal\"]\n[[group]]\nfiles = [\"a\"]\n";
        let groups = vec![vec!["*.db".to_owned(), "*.db-wal".to_owned()], vec!["a".to_owned()]];
        assert_eq!(parse(text).unwrap().groups, groups);
        let table = [
            ("[[group]]\nfiles = [\n\"a\",\n\"b/c\"]\n", "config.toml:4: \"b/c\" is no file name"),
            ("\n[[group]]\nfiles = [\"*a*\"]\n", "config.toml:3: \"*a*\" has more than one *"),
            ("[[group]]\nfiles = []\n", "config.toml:2: a group needs a pattern"),
            ("[[group]]\nfiles = [\"\"]\n", "config.toml:2: an empty pattern"),
            ("[[group]]\nfiles = [\"a\"]\nfile = [\"b\"]\n", "config.toml:3: unknown field `file`"),
            ("[[group]]\n", "config.toml:1: missing field `files`"),
            (
                "[[groups]]\nfiles = [\"a\"]\n",
                "config.toml:1: there is no key groups; did you mean group?",
            ),
        ];
        for (text, said) in table {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        let many = format!("[[group]]\nfiles = [{}]\n", "\"a\",".repeat(17));
        assert!(parse(&many).unwrap_err().to_string().contains("at most 16 patterns"));
    }

    #[test]
    fn ways_to_hosts_are_read_in_their_order_and_what_is_none_is_named_with_its_line() {
        let text = "[host.nas]\nroutes = [\"nas.lan\", \"gate > nas\"]\n[host.\"10.0.0.7\"]\nroutes = []\n";
        let config = parse(text).unwrap();
        let routes: Vec<String> = config.routes["nas"].iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["nas.lan", "gate > nas"]);
        assert!(config.routes["10.0.0.7"].is_empty());
        let many = format!("[host.nas]\nroutes = [{}]\n", "\"a\",".repeat(9));
        for (text, said) in [
            ("[host.nas]\nroutes = [\n\"a\",\n\"b >\"]\n", "config.toml:4: `` names no host"),
            ("[host.\"me@nas\"]\nroutes = []\n", "config.toml:2: \"me@nas\" is no name of a host"),
            ("[host.nas]\nroute = []\n", "config.toml:2: unknown field `route`"),
            (many.as_str(), "config.toml:2: a host has at most 8 routes"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn ways_are_written_into_the_file_and_the_rest_of_it_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let text = || std::fs::read_to_string(&file).unwrap();
        let route = |text: &str| Route::parse(text).unwrap();
        Config::set_routes(dir.path(), "nas", &[route("nas.lan"), route("gate>nas")]).unwrap();
        assert_eq!(text(), "[host.nas]\nroutes = [\"nas.lan\", \"gate > nas\"]\n");
        std::fs::write(&file, format!("# mine\nmode = \"mirror\" # so\n\n{}", text())).unwrap();
        Config::set_routes(dir.path(), "10.0.0.7", &[route("vpn")]).unwrap();
        Config::set_routes(dir.path(), "nas", &[]).unwrap();
        assert_eq!(
            text(),
            "# mine\nmode = \"mirror\" # so\n\n[host.\"10.0.0.7\"]\nroutes = [\"vpn\"]\n"
        );
        std::fs::write(&file, "mode = 3\n").unwrap();
        assert!(Config::set_routes(dir.path(), "nas", &[route("x")]).is_err());
        assert_eq!(text(), "mode = 3\n", "what makes no sense is not written over");
    }

    #[test]
    fn whatever_is_almost_a_config_is_one_or_an_error_with_its_line() {
        let valid = "mode = \"mirror\"\nignore = [\"ä\"]\nignore-vcs = true\n[[group]]\nfiles = [\"*.a\", \"b\"]\n[host.nas]\nroutes = [\"a > b:22\"]\n";
        for bytes in mutations(valid.as_bytes()) {
            let Ok(text) = String::from_utf8(bytes) else { continue };
            if let Err(error) = parse(&text) {
                assert!((1..=text.split('\n').count()).contains(&error.line), "{text:?}: {error}");
            }
        }
    }

    #[test]
    fn a_config_file_without_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        let error = Config::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
    }
}
