//! Facts about what a replica holds, as bytes: a directory's names and stats as they differ from those before them.
//!
//! Holds: what is read is what was written, or it is refused; nothing that an agent cannot know can be written down. What is
//! read takes no more memory than [`CHILDREN_MAX`] and [`PATHS_MAX`] allow, whatever the bytes claim.

use crate::dataflow::model::fact::Fact;
use crate::dataflow::model::path::{NAME_BYTES_MAX, Name, PathError, RelPath};
use crate::dataflow::model::replica::Replica;
use crate::dataflow::model::value::{Content, Digest, File, Special, Value};

/// The most children of a directory that is listed.
const CHILDREN_MAX: usize = 4 << 20;
/// The most bytes of all paths in a page: a path takes few bytes after one that is like it.
const PATHS_MAX: usize = 8 << 20;
/// More are written to another page.
const PATHS_CUT: usize = PATHS_MAX / 2;
/// The longest path, in bytes: of what the system takes, and more.
const PATH_MAX: usize = 64 << 10;

const SECOND_NS: i64 = 1_000_000_000;

/// Why bytes are no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPage {
    #[error("it ends too early")]
    Short,
    #[error("it has what nobody writes")]
    Odd,
    #[error("it holds too much")]
    Long,
    #[error(transparent)]
    Path(PathError),
}

/// What was said last on a stream: what comes is said as it differs from that. Both ends have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    path: Vec<u8>,
    /// Nanoseconds since the epoch.
    mtime: i64,
    file_mode: u16,
    dir_mode: u16,
}

/// What tells one listing from every other: the same for the same names and values, at any time.
#[must_use]
pub fn print(children: &[(Name, Value)]) -> Digest {
    let mut out = Vec::with_capacity(children.len() * 48);
    write_children(children, &mut Last::default(), &mut out);
    Digest(*blake3::hash(&out).as_bytes())
}

/// Cuts facts into what one page takes.
pub fn cut(facts: &[Fact]) -> impl Iterator<Item = &[Fact]> {
    let mut rest = facts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let is_more = |fact: &Fact| {
            bytes += path_of(fact).map_or(0, |path| path.as_bytes().len());
            bytes > PATHS_CUT
        };
        // The first always fits.
        let end = rest.iter().position(is_more).unwrap_or(rest.len()).max(1).min(rest.len());
        let page;
        (page, rest) = rest.split_at(end);
        (!page.is_empty()).then_some(page)
    })
}

fn path_of(fact: &Fact) -> Option<&RelPath> {
    match fact {
        Fact::Listed { dir: path, .. }
        | Fact::Unlisted { dir: path, .. }
        | Fact::Holds { path, .. } => Some(path),
        Fact::Agreed { .. } | Fact::Past { .. } | Fact::Means { .. } | Fact::Yields { .. } => None,
    }
}

const LISTED: u8 = 0;
const HOLDS: u8 = 1;
const HOLDS_NOTHING: u8 = 2;
const UNLISTED: u8 = 3;
const MEANS: u8 = 4;

/// Writes facts of one replica. Of those that no agent knows nothing is written.
pub fn write(facts: &[Fact], last: &mut Last, out: &mut Vec<u8>) {
    for fact in facts {
        match fact {
            Fact::Listed { dir, children, .. } => {
                out.push(LISTED);
                write_path(dir, last, out);
                write_children(children, last, out);
            }
            Fact::Holds { path, value: Some(value), .. } => {
                out.push(HOLDS);
                write_path(path, last, out);
                write_value(value, last, out);
            }
            Fact::Holds { path, value: None, .. } => {
                out.push(HOLDS_NOTHING);
                write_path(path, last, out);
            }
            Fact::Unlisted { dir, .. } => {
                out.push(UNLISTED);
                write_path(dir, last, out);
            }
            Fact::Means { digest, meaning } => {
                out.push(MEANS);
                out.extend(digest.0);
                out.extend(meaning.0);
            }
            Fact::Agreed { .. } | Fact::Past { .. } | Fact::Yields { .. } => {}
        }
    }
}

/// Reads what is known of `replica`.
///
/// # Errors
/// The bytes are none that [`write`] makes: nothing more that is said after them can be read.
pub fn read(bytes: &[u8], replica: Replica, last: &mut Last) -> Result<Vec<Fact>, BadPage> {
    let mut bytes = Bytes(bytes);
    let mut facts = Vec::new();
    let mut room = PATHS_MAX;
    while !bytes.0.is_empty() {
        let kind = bytes.byte()?;
        if kind == MEANS {
            let (digest, meaning) = (Digest(bytes.array()?), Digest(bytes.array()?));
            facts.push(Fact::Means { digest, meaning });
            continue;
        }
        let path = read_path(&mut bytes, last)?;
        room = room.checked_sub(path.as_bytes().len()).ok_or(BadPage::Long)?;
        facts.push(match kind {
            LISTED => {
                let children = read_children(&mut bytes, last)?;
                Fact::Listed { replica, dir: path, children }
            }
            HOLDS => Fact::Holds { replica, path, value: Some(read_value(&mut bytes, last)?) },
            HOLDS_NOTHING => Fact::Holds { replica, path, value: None },
            UNLISTED => Fact::Unlisted { replica, dir: path },
            _ => return Err(BadPage::Odd),
        });
    }
    Ok(facts)
}

/// Writes a path as it differs from the last one.
pub(super) fn write_path(path: &RelPath, last: &mut Last, out: &mut Vec<u8>) {
    write_text(path.as_bytes(), &last.path, out);
    last.path.clear();
    last.path.extend(path.as_bytes());
}

pub(super) fn read_path(bytes: &mut Bytes<'_>, last: &mut Last) -> Result<RelPath, BadPage> {
    read_text(bytes, &mut last.path, PATH_MAX)?;
    RelPath::parse(&last.path).map_err(BadPage::Path)
}

/// Writes names in their order.
pub(super) fn write_names<'a>(names: impl Iterator<Item = &'a Name>, out: &mut Vec<u8>) {
    let mut before: &[u8] = b"";
    for name in names {
        write_text(name.as_bytes(), before, out);
        before = name.as_bytes();
    }
}

/// All that is left as names.
pub(super) fn read_names(bytes: &mut Bytes<'_>, most: usize) -> Result<Vec<Name>, BadPage> {
    let (mut names, mut name) = (Vec::new(), Vec::new());
    while !bytes.0.is_empty() {
        if names.len() == most {
            return Err(BadPage::Long);
        }
        read_text(bytes, &mut name, NAME_BYTES_MAX)?;
        names.push(Name::parse(&name).map_err(BadPage::Path)?);
    }
    Ok(names)
}

fn write_children(children: &[(Name, Value)], last: &mut Last, out: &mut Vec<u8>) {
    write_number(children.len() as u64, out);
    let mut before: &[u8] = b"";
    for (name, value) in children {
        write_text(name.as_bytes(), before, out);
        write_value(value, last, out);
        before = name.as_bytes();
    }
}

fn read_children(bytes: &mut Bytes<'_>, last: &mut Last) -> Result<Vec<(Name, Value)>, BadPage> {
    let count = usize::try_from(bytes.number()?).map_err(|_| BadPage::Long)?;
    // The shortest child: how much of its name is new, a byte of that, a kind.
    if count > CHILDREN_MAX || count > bytes.0.len() / 3 {
        return Err(BadPage::Long);
    }
    let mut children: Vec<(Name, Value)> = Vec::with_capacity(count);
    let mut text = Vec::new();
    for _ in 0..count {
        read_text(bytes, &mut text, NAME_BYTES_MAX)?;
        let name = Name::parse(&text).map_err(BadPage::Path)?;
        if children.last().is_some_and(|(before, _)| *before >= name) {
            return Err(BadPage::Odd);
        }
        children.push((name, read_value(bytes, last)?));
    }
    Ok(children)
}

const KNOWN: u8 = 0;
const UNREAD: u8 = 1;
const DIR: u8 = 2;
const SYMLINK: u8 = 3;
const IGNORED: u8 = 4;
const SKIPPED: u8 = 5;
const UNREADABLE: u8 = 6;
const KIND: u8 = 7;
/// The mode is that of the last one of the kind.
const SAME_MODE: u8 = 8;
/// The mtime is a whole number of seconds, and said in seconds.
const WHOLE_SECONDS: u8 = 16;

fn write_value(value: &Value, last: &mut Last, out: &mut Vec<u8>) {
    match value {
        Value::File(file) => write_file(file, last, out),
        Value::Dir { mode } => {
            let flags = flag(*mode == last.dir_mode, SAME_MODE);
            out.push(DIR | flags);
            if flags == 0 {
                write_number(u64::from(*mode), out);
            }
            last.dir_mode = *mode;
        }
        Value::Symlink { target, len } => {
            out.push(SYMLINK);
            write_number(u64::from(*len), out);
            out.extend(target.0);
        }
        Value::Ignored => out.push(IGNORED),
        Value::Skipped(special) => {
            let which = match special {
                Special::Fifo => 0,
                Special::Socket => 1,
                Special::Device => 2,
                Special::Mount => 3,
            };
            out.extend([SKIPPED, which]);
        }
        Value::Unreadable { errno } => {
            out.push(UNREADABLE);
            write_number(folded(i64::from(*errno)), out);
        }
        // Never held: whoever reads this refuses it.
        Value::Remnant => out.push(KIND),
    }
}

fn write_file(file: &File, last: &mut Last, out: &mut Vec<u8>) {
    let is_whole = file.mtime % SECOND_NS == 0;
    let kind = if file.content.digest().is_some() { KNOWN } else { UNREAD };
    let has_same_mode = file.mode == last.file_mode;
    out.push(kind | flag(has_same_mode, SAME_MODE) | flag(is_whole, WHOLE_SECONDS));
    if !has_same_mode {
        write_number(u64::from(file.mode), out);
    }
    write_number(file.size, out);
    let later = match is_whole {
        true => file.mtime / SECOND_NS - last.mtime.div_euclid(SECOND_NS),
        false => file.mtime.wrapping_sub(last.mtime),
    };
    write_number(folded(later), out);
    match file.content.digest() {
        Some(digest) => out.extend(digest.0),
        None => out.extend(file.content.identity().to_le_bytes()),
    }
    (last.file_mode, last.mtime) = (file.mode, file.mtime);
}

fn read_value(bytes: &mut Bytes<'_>, last: &mut Last) -> Result<Value, BadPage> {
    let head = bytes.byte()?;
    let (kind, flags) = (head & KIND, head & !KIND);
    let may_have = match kind {
        KNOWN | UNREAD => SAME_MODE | WHOLE_SECONDS,
        DIR => SAME_MODE,
        _ => 0,
    };
    if flags & !may_have != 0 {
        return Err(BadPage::Odd);
    }
    Ok(match kind {
        KNOWN | UNREAD => Value::File(read_file(bytes, last, head)?),
        DIR => {
            last.dir_mode = read_mode(bytes, flags, last.dir_mode)?;
            Value::Dir { mode: last.dir_mode }
        }
        SYMLINK => {
            let len = u16::try_from(bytes.number()?).map_err(|_| BadPage::Odd)?;
            Value::Symlink { target: Digest(bytes.array()?), len }
        }
        IGNORED => Value::Ignored,
        SKIPPED => Value::Skipped(match bytes.byte()? {
            0 => Special::Fifo,
            1 => Special::Socket,
            2 => Special::Device,
            3 => Special::Mount,
            _ => return Err(BadPage::Odd),
        }),
        UNREADABLE => {
            let errno = i32::try_from(unfolded(bytes.number()?)).map_err(|_| BadPage::Odd)?;
            Value::Unreadable { errno }
        }
        _ => return Err(BadPage::Odd),
    })
}

fn read_file(bytes: &mut Bytes<'_>, last: &mut Last, head: u8) -> Result<File, BadPage> {
    let mode = read_mode(bytes, head, last.file_mode)?;
    let size = bytes.number()?;
    let later = unfolded(bytes.number()?);
    let mtime = match head & WHOLE_SECONDS {
        0 => last.mtime.wrapping_add(later),
        _ => {
            let seconds = last.mtime.div_euclid(SECOND_NS).checked_add(later);
            seconds.and_then(|s| s.checked_mul(SECOND_NS)).ok_or(BadPage::Odd)?
        }
    };
    let content = match head & KIND {
        KNOWN => Content::known(Digest(bytes.array()?)),
        _ => Content::unread(u64::from_le_bytes(bytes.array()?)),
    };
    (last.file_mode, last.mtime) = (mode, mtime);
    Ok(File { size, mtime, content, mode })
}

fn read_mode(bytes: &mut Bytes<'_>, flags: u8, before: u16) -> Result<u16, BadPage> {
    if flags & SAME_MODE != 0 {
        return Ok(before);
    }
    let mode = u16::try_from(bytes.number()?).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or(BadPage::Odd)
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// Writes a text as how many bytes it begins with that the one before began with, too, and the rest.
fn write_text(text: &[u8], before: &[u8], out: &mut Vec<u8>) {
    let shared = text.iter().zip(before).take_while(|(a, b)| a == b).count();
    let lengths = [shared, text.len() - shared];
    let [high, low] = lengths.map(|length| u8::try_from(length).map_or(15, |byte| byte.min(15)));
    out.push(high << 4 | low);
    for length in lengths.into_iter().filter(|length| *length >= 15) {
        write_number(length as u64 - 15, out);
    }
    out.extend(&text[shared..]);
}

/// Makes of the text before the one that is next.
fn read_text(bytes: &mut Bytes<'_>, text: &mut Vec<u8>, most: usize) -> Result<(), BadPage> {
    let head = bytes.byte()?;
    let mut length = |nibble: u8| match nibble {
        15 => {
            let more = usize::try_from(bytes.number()?).unwrap_or(usize::MAX);
            Ok(more.saturating_add(15))
        }
        short => Ok(usize::from(short)),
    };
    let (shared, rest) = (length(head >> 4)?, length(head & 15)?);
    if shared > text.len() {
        return Err(BadPage::Odd);
    }
    if shared.saturating_add(rest) > most {
        return Err(BadPage::Long);
    }
    text.truncate(shared);
    text.extend(bytes.take(rest)?);
    Ok(())
}

fn folded(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unfolded(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn write_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that are left to be read.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BadPage> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BadPage::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadPage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadPage::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// `read`, if nothing is left.
    pub(super) fn ended<T>(&self, read: T) -> Result<T, BadPage> {
        if self.0.is_empty() { Ok(read) } else { Err(BadPage::Odd) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, BadPage> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, BadPage> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if part << shift >> shift != part {
                return Err(BadPage::Odd);
            }
            number |= part << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(BadPage::Odd)
    }
}

#[cfg(test)]
mod tests;
