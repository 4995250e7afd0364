//! `config.toml`: defaults for new syncs. Optional; every setting has a command too.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dataflow::model::group::{self, BadGroup, Groups};
use crate::dataflow::model::mode::Mode;

const KEYS: [&str; 6] = ["mode", "ignore", "ignore-vcs", "group", "keep-age", "keep-size"];
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
        })
    }
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
    fn whatever_is_almost_a_config_is_one_or_an_error_with_its_line() {
        let valid = "mode = \"mirror\"\nignore = [\"ä\"]\nignore-vcs = true\n[[group]]\nfiles = [\"*.a\", \"b\"]\n";
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
