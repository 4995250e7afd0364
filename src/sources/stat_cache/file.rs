//! The file of the stat cache: a header and sorted rows, mapped.
//!
//! Holds: [`Mapped`] exists only for a file whose length, magic, format, build and BLAKE3 are right, and whose rows
//! are sorted, each inode once: what is merged from it is such a file again. It is replaced
//! as a whole by rename and never written to in place, so a mapping never changes under its readers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use memmap2::Mmap;

use super::{FILE_ROWS_MAX, Inode, RUNS_UNUSED_MAX, Row, Used};
use crate::dataflow::model::value::Digest;

const HEADER_WORDS: usize = 16;
const ROW_WORDS: usize = 10;
const HEADER_BYTES: usize = HEADER_WORDS * 8;
const ROW_BYTES: usize = ROW_WORDS * 8;
const MAGIC: u64 = u64::from_ne_bytes(*b"yeetstat");
const FORMAT: u64 = 1;
/// Between two fences lie so many rows: fences stay in the processor's cache, the rows do not.
const FENCE_ROWS: usize = 64;

/// Device, inode, size, mtime, ctime, digest (4 words), the run that last asked for it.
type RowWords = [u64; ROW_WORDS];
/// Magic, format, build, rows, run, 0, 0, 0, BLAKE3 of this header without it and of all rows (4 words), 0...
type Header = [u64; HEADER_WORDS];

/// The rows on disk.
#[derive(Default)]
pub(super) struct Mapped {
    map: Option<Mmap>,
    rows: usize,
    run: u64,
    used: Used,
    fences: Vec<Inode>,
}

/// What a build that could lay out rows differently differs in.
fn build_id() -> u64 {
    let id = concat!(env!("CARGO_PKG_VERSION"), " dev ino size mtime ctime digest run");
    word_at(blake3::hash(id.as_bytes()).as_bytes(), 0)
}

impl Mapped {
    /// The rows in `path`, or `None` if anything about it is odd.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        #[allow(unsafe_code, reason = "mapping a file")]
        // SAFETY: files of this name are made by `write` below, which never changes one after its rename; the folder
        // is the user's own cache. Somebody who truncates it by hand can stop the process, not mislead it.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        Self::check(map)
    }

    fn check(map: Mmap) -> Option<Self> {
        let header = decode::<HEADER_WORDS>(map.get(..HEADER_BYTES)?);
        let rows = usize::try_from(header[3]).ok().filter(|rows| *rows <= FILE_ROWS_MAX)?;
        let right = header[..3] == [MAGIC, FORMAT, build_id()]
            && map.len() == HEADER_BYTES + rows * ROW_BYTES
            && map.as_ptr().cast::<u64>().is_aligned()
            && header == finished(&header, &hash_of(&header, &map[HEADER_BYTES..]));
        if !right {
            return None;
        }
        let mut mapped = Self {
            rows,
            run: header[4],
            used: Used::none_of(rows),
            map: Some(map),
            fences: Vec::new(),
        };
        mapped.fences = (0..rows).step_by(FENCE_ROWS).map(|row| mapped.inode(row)).collect();
        let sorted = (1..rows).all(|row| mapped.inode(row - 1) < mapped.inode(row));
        sorted.then_some(mapped)
    }

    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The number of the run that wrote the file.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// The row of an inode. Marks it as asked for.
    pub(super) fn find(&self, dev: u64, ino: u64) -> Option<Row> {
        let fence = self.fences.partition_point(|key| *key <= (dev, ino)).checked_sub(1)?;
        let mut from = fence * FENCE_ROWS;
        let mut to = (from + FENCE_ROWS).min(self.rows);
        while from < to {
            let middle = from.midpoint(to);
            match self.inode(middle).cmp(&(dev, ino)) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => {
                    self.used.set(middle);
                    return Some(row_of(&decode(self.row(middle))));
                }
            }
        }
        None
    }

    fn row(&self, row: usize) -> &[u8] {
        let map = self.map.as_ref().expect("there are rows only in a mapping");
        &map[HEADER_BYTES + row * ROW_BYTES..][..ROW_BYTES]
    }

    fn inode(&self, row: usize) -> Inode {
        let bytes = self.row(row);
        (word_at(bytes, 0), word_at(bytes, 1))
    }
}

/// Writes `old` and `new` (sorted, wins) merged to `path`, and maps that.
pub(super) fn write(
    path: &Path,
    old: &Mapped,
    new: &[(Inode, Row)],
    run: u64,
) -> io::Result<Mapped> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = write_to(&temporary, old, new, run).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // The name is this process's own; what is left of a failed write helps nobody.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    Mapped::open(path).ok_or_else(|| io::Error::other("the stat cache just written cannot be read"))
}

fn write_to(path: &Path, old: &Mapped, new: &[(Inode, Row)], run: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    out.write_all(&[0; HEADER_BYTES])?;
    let mut rows = 0;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::with_capacity(ROW_BYTES);
    let crowded = old.rows + new.len() > FILE_ROWS_MAX;
    let mut put = |words: &RowWords| {
        bytes.clear();
        encode(words, &mut bytes);
        hasher.update(&bytes);
        rows += 1;
        out.write_all(&bytes)
    };
    let mut room = FILE_ROWS_MAX.saturating_sub(new.len());
    let mut rest = new.iter().peekable();
    for row in 0..old.rows {
        let inode = old.inode(row);
        while let Some((inode, row)) = rest.next_if(|(other, _)| *other < inode) {
            put(&words_of(*inode, row, run))?;
        }
        if rest.peek().is_some_and(|(other, _)| *other == inode) {
            continue;
        }
        let mut words: RowWords = decode(old.row(row));
        let used = old.used.get(row);
        if used {
            words[9] = run;
        }
        let fresh = words[9].saturating_add(RUNS_UNUSED_MAX) >= run && (used || !crowded);
        if fresh && room > 0 {
            room -= 1;
            put(&words)?;
        }
    }
    for (inode, row) in rest.take(FILE_ROWS_MAX) {
        put(&words_of(*inode, row, run))?;
    }
    let mut header: Header = [0; HEADER_WORDS];
    header[..5].copy_from_slice(&[MAGIC, FORMAT, build_id(), rows, run]);
    // The header is hashed last: only now is the number of rows known.
    let header = finished(&header, &end(hasher, &header));
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    encode(&header, &mut bytes);
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&bytes)?;
    out.flush()
}

fn hash_of(header: &Header, rows: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(rows);
    end(hasher, header)
}

fn end(mut rows: blake3::Hasher, header: &Header) -> blake3::Hash {
    for word in &header[..8] {
        rows.update(&word.to_ne_bytes());
    }
    rows.finalize()
}

/// The header with its hash in it, and nothing after that.
fn finished(header: &Header, hash: &blake3::Hash) -> Header {
    let mut whole = [0; HEADER_WORDS];
    whole[..8].copy_from_slice(&header[..8]);
    for (at, word) in whole[8..12].iter_mut().enumerate() {
        *word = word_at(hash.as_bytes(), at);
    }
    whole
}

fn words_of((dev, ino): Inode, row: &Row, run: u64) -> RowWords {
    let digest = |at| word_at(&row.digest.0, at);
    let mtime = row.mtime_ns.cast_unsigned();
    let ctime = row.ctime_ns.cast_unsigned();
    [dev, ino, row.size, mtime, ctime, digest(0), digest(1), digest(2), digest(3), run]
}

fn row_of(words: &RowWords) -> Row {
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(8).zip(&words[5..9]) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    Row {
        size: words[2],
        mtime_ns: words[3].cast_signed(),
        ctime_ns: words[4].cast_signed(),
        digest: Digest(digest),
    }
}

fn word_at(bytes: &[u8], word: usize) -> u64 {
    u64::from_ne_bytes(bytes[word * 8..word * 8 + 8].try_into().expect("8 bytes"))
}

fn encode<const N: usize>(words: &[u64; N], out: &mut Vec<u8>)
where
    [u64; N]: abomonation::Abomonation,
{
    #[allow(unsafe_code, reason = "abomonation")]
    // SAFETY: an array of u64 has no padding, no pointer and owns nothing; its bytes are all there is to write.
    unsafe { abomonation::encode(words, out) }.expect("a Vec takes every write");
}

/// The words in `bytes`, which are as long as they.
fn decode<const N: usize>(bytes: &[u8]) -> [u64; N]
where
    [u64; N]: abomonation::Abomonation,
{
    let mut words = [0; N];
    let aligned: &mut [u8] = as_bytes_mut(&mut words);
    aligned.copy_from_slice(bytes);
    #[allow(unsafe_code, reason = "abomonation")]
    // SAFETY: the bytes are those of a [u64; N], so aligned and as long as one, and every bit pattern is one.
    let decoded = unsafe { abomonation::decode::<[u64; N]>(aligned) };
    let (decoded, _none) = decoded.expect("as long as the array it is the bytes of");
    *decoded
}

fn as_bytes_mut<const N: usize>(words: &mut [u64; N]) -> &mut [u8] {
    #[allow(unsafe_code, reason = "the bytes of an array of words")]
    // SAFETY: the same memory for the same lifetime; u8 has no alignment and u64 no padding or invalid pattern.
    unsafe {
        std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), N * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::StatCache;
    use super::*;

    fn rows(inodes: &[u64]) -> Vec<(Inode, Row)> {
        let row = Row { size: 1, mtime_ns: 2, ctime_ns: 3, digest: Digest([4; 32]) };
        inodes.iter().map(|ino| ((7, *ino), row)).collect()
    }

    #[test]
    fn a_whole_file_whose_rows_are_not_sorted_or_double_means_an_empty_cache() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("cache");
        assert_eq!(
            write(&path, &Mapped::default(), &rows(&[1, 2, 3]), 1).expect("sorted").len(),
            3
        );
        for wrong in [[1, 3, 2], [1, 2, 2]] {
            write_to(&path, &Mapped::default(), &rows(&wrong), 1).expect("written");
            assert!(Mapped::open(&path).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn the_last_run_there_can_be_is_not_the_last_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("cache");
        write_to(&path, &Mapped::default(), &rows(&[1]), u64::MAX).expect("written");
        let cache = StatCache::open(&path);
        assert!(cache.by_inode(7, 1).is_some());
        cache.flush().expect("nothing is new");
    }
}
