//! All printing: rows for grep and awk, tables for people, JSON for programs.
//!
//! Holds: a record is one line of TAB-separated fields, the path last; control characters, backslash and bytes that
//! are not UTF-8 are escaped; on a terminal only the alignment, the header and colours are added.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};

use super::error::CommandError;
use crate::sources::control::wire::Progress;

/// How rows are to be printed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Format {
    pub(crate) header: bool,
    /// Empty: all columns.
    pub(crate) columns: Vec<String>,
    pub(crate) null: bool,
    pub(crate) json: bool,
    pub(crate) paths_only: bool,
    /// The header was printed before.
    pub(crate) continued: bool,
    /// So many columns, the last ones, are printed only where they are named, and in JSON.
    pub(crate) optional: usize,
}

impl Format {
    /// Whether all is printed as it is without options: no program reads it, or one that was told of it.
    pub(crate) fn is_for_people(&self) -> bool {
        !self.json && !self.null && !self.paths_only && self.columns.is_empty()
    }
}

/// One field of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Text(String),
    Number(i64),
    /// Raw bytes of a path.
    Path(Vec<u8>),
    /// Several fields in the place of the last one.
    Many(Vec<Vec<u8>>),
    /// Nothing to say: `-`.
    None,
}

impl Field {
    pub(crate) fn count(n: u64) -> Self {
        Self::Number(i64::try_from(n).unwrap_or(i64::MAX))
    }

    fn bytes(&self, raw: bool) -> Vec<u8> {
        match self {
            Self::Text(text) if raw => text.clone().into_bytes(),
            Self::Text(text) => escape(text.as_bytes()).into_bytes(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Path(path) if raw => path.clone(),
            Self::Path(path) => escape(path).into_bytes(),
            Self::Many(fields) if raw => fields.join(&b'\t'),
            Self::Many(fields) => {
                let fields: Vec<String> = fields.iter().map(|field| escape(field)).collect();
                fields.join("\t").into_bytes()
            }
            Self::None => b"-".to_vec(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Number(number) => Value::from(*number),
            Self::Path(path) => Value::from(escape(path)),
            Self::Many(fields) => fields.iter().map(|field| escape(field)).collect(),
            Self::None => Value::Null,
        }
    }
}

/// Bytes as they are printed: one line, no control characters, `\xNN` for what is not UTF-8.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                c if c.is_control() => {
                    let mut utf8 = [0; 4];
                    c.encode_utf8(&mut utf8)
                        .bytes()
                        .for_each(|b| out.push_str(&format!("\\x{b:02x}")));
                }
                c => out.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
    }
    out
}

/// Bytes that [`escape`] printed, back as they were.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [b'n', after @ ..]) => (out.push(b'\n'), rest = after).1,
            (b'\\', [b't', after @ ..]) => (out.push(b'\t'), rest = after).1,
            (b'\\', [b'\\', after @ ..]) => (out.push(b'\\'), rest = after).1,
            (b'\\', [b'x', a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                out.push(hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0));
                rest = after;
            }
            (byte, after) => (out.push(*byte), rest = after).1,
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// The terminal, or what stands in for it.
pub(crate) struct Ui {
    out: io::BufWriter<io::Stdout>,
    is_terminal: bool,
    colours: bool,
    broken: bool,
}

impl Ui {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { out: io::BufWriter::new(io::stdout()), is_terminal, colours, broken: false }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints rows under these column names.
    pub(crate) fn rows(
        &mut self,
        format: &Format,
        names: &[&str],
        rows: &[Vec<Field>],
    ) -> Result<(), CommandError> {
        let picked = pick(format, names)?;
        if format.json {
            return self.json_rows(names, &picked, rows);
        }
        let raw = format.null;
        let mut lines: Vec<Vec<Vec<u8>>> = Vec::with_capacity(rows.len() + 1);
        let align = self.is_terminal && !format.null && !format.paths_only;
        let wanted = format.header || align && !rows.is_empty();
        let header = wanted && !format.paths_only && !format.continued;
        if header {
            lines.push(picked.iter().map(|i| names[*i].as_bytes().to_vec()).collect());
        }
        for row in rows {
            lines.push(picked.iter().map(|i| row[*i].bytes(raw)).collect());
        }
        let end = if format.null { 0 } else { b'\n' };
        let widths = widths(&lines, align);
        for (index, line) in lines.iter().enumerate() {
            self.line(line, &widths, header && index == 0, end)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        line: &[Vec<u8>],
        widths: &[usize],
        is_header: bool,
        end: u8,
    ) -> io::Result<()> {
        let bold = is_header && self.colours;
        if bold {
            self.out.write_all(b"\x1b[1m")?;
        }
        for (column, field) in line.iter().enumerate() {
            let colour = if self.colours && !is_header { colour_of(field) } else { None };
            if let Some(colour) = colour {
                write!(self.out, "\x1b[{colour}m")?;
            }
            self.out.write_all(field)?;
            if colour.is_some() {
                self.out.write_all(b"\x1b[0m")?;
            }
            if column + 1 == line.len() {
                break;
            }
            match widths.get(column) {
                Some(width) => {
                    let pad = width.saturating_sub(shown_width(field)) + 2;
                    write!(self.out, "{:pad$}", "")?;
                }
                None => self.out.write_all(b"\t")?,
            }
        }
        if bold {
            self.out.write_all(b"\x1b[0m")?;
        }
        self.out.write_all(&[end])
    }

    fn json_rows(
        &mut self,
        names: &[&str],
        picked: &[usize],
        rows: &[Vec<Field>],
    ) -> Result<(), CommandError> {
        for row in rows {
            let mut object = Map::new();
            object.insert("schema".to_owned(), Value::from(1));
            for i in picked {
                object.insert(names[*i].to_lowercase(), row[*i].json());
            }
            self.json(&Value::Object(object))?;
        }
        Ok(())
    }

    pub(crate) fn json(&mut self, value: &Value) -> Result<(), CommandError> {
        writeln!(self.out, "{value}")?;
        Ok(())
    }

    /// Prints a line as it is.
    pub(crate) fn text(&mut self, line: &str) -> Result<(), CommandError> {
        writeln!(self.out, "{line}")?;
        Ok(())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Says something to the person, on stderr.
    pub(crate) fn say(&mut self, text: &str) {
        drop(self.out.flush());
        // Nobody to tell where stderr is closed.
        drop(writeln!(io::stderr(), "{text}"));
    }

    pub(crate) fn error(&mut self, error: &CommandError) {
        if error.is_quiet() {
            self.broken = true;
            return;
        }
        self.say(&format!("error: {error}"));
        if let Some(hint) = error.hint() {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Flushes; the exit code, which a reader that went away does not change into a complaint.
    pub(crate) fn finish(mut self, code: u8) -> u8 {
        match self.out.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ if self.broken => 0,
            Err(_) => 3,
            Ok(()) => code,
        }
    }
}

fn pick(format: &Format, names: &[&str]) -> Result<Vec<usize>, CommandError> {
    let usual = names.len() - format.optional;
    if format.paths_only {
        return Ok(vec![usual - 1]);
    }
    if format.columns.is_empty() {
        return Ok((0..if format.json { names.len() } else { usual }).collect());
    }
    let find = |wanted: &String| {
        names.iter().position(|name| name.eq_ignore_ascii_case(wanted)).ok_or_else(|| {
            CommandError::usage(format!("there is no column {wanted}"))
                .hinted(format!("the columns are {}", names.join(",").to_lowercase()))
        })
    };
    format.columns.iter().map(find).collect()
}

fn widths(lines: &[Vec<Vec<u8>>], align: bool) -> Vec<usize> {
    if !align {
        return Vec::new();
    }
    let columns = lines.first().map_or(0, Vec::len);
    let width = |c: usize| lines.iter().map(|l| shown_width(&l[c])).max().unwrap_or(0);
    (0..columns).map(width).collect()
}

fn shown_width(field: &[u8]) -> usize {
    String::from_utf8_lossy(field).chars().count()
}

/// States that want attention, and those that do not.
fn colour_of(field: &[u8]) -> Option<u8> {
    match field {
        b"in-sync" => Some(32),
        b"syncing" | b"scanning" | b"queued" | b"sending" | b"waiting" => Some(36),
        b"paused" | b"held" | b"offline" => Some(33),
        b"conflicts" | b"problems" | b"conflict" | b"problem" => Some(31),
        _ => None,
    }
}

/// A bar for a sync that works; shows nothing where stderr is no terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent}%");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(crate) fn show(&self, progress: &Progress) {
        let (left, done) = (progress.files_left, progress.files_done);
        self.0.set_length((left + done).max(1));
        self.0.set_position(done);
        let mut message = format!(
            "{}: {done} done, {left} to go, {} of {}",
            progress.name,
            HumanBytes(progress.bytes_done),
            HumanBytes(progress.bytes_done + progress.bytes_left),
        );
        if progress.scanning {
            message.push_str(", still scanning");
        }
        if progress.conflicts + progress.problems > 0 {
            let (conflicts, problems) = (progress.conflicts, progress.problems);
            message.push_str(&format!(", {conflicts} conflicts, {problems} problems"));
        }
        self.0.set_message(message);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_are_printed_on_one_line_and_read_back() {
        let odd = b"a\nb\tc\\d\xff\x1b\xc2\x85 e\xcc\x81";
        assert_eq!(escape(odd), "a\\nb\\tc\\\\d\\xff\\x1b\\xc2\\x85 e\u{301}");
        assert_eq!(unescape(escape(odd).as_bytes()), odd);
        assert_eq!(unescape(b"\\q\\x1"), b"\\q\\x1", "what was not escaped stays");
    }

    #[test]
    fn columns_are_chosen_by_name_and_a_wrong_one_is_named() {
        let of = |columns: &[&str]| {
            let columns = columns.iter().map(|c| (*c).to_owned()).collect();
            pick(&Format { columns, ..Format::default() }, &["NAME", "STATE", "PATH"])
        };
        assert_eq!(of(&[]).unwrap(), [0, 1, 2]);
        assert_eq!(of(&["path", "NAME"]).unwrap(), [2, 0]);
        assert_eq!(of(&["size"]).unwrap_err().code(), 2);
        let names = ["NAME", "STATE", "AGENT"];
        let usual = Format { optional: 1, ..Format::default() };
        assert_eq!(pick(&usual, &names).unwrap(), [0, 1]);
        let named = Format { columns: vec!["agent".to_owned()], ..usual.clone() };
        assert_eq!(pick(&named, &names).unwrap(), [2]);
        assert_eq!(pick(&Format { json: true, ..usual }, &names).unwrap(), [0, 1, 2]);
    }
}
