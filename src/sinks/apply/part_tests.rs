//! What becomes of a large file of which only a part has come.

use std::fs;

use super::tests::Bench;
use super::*;
use crate::dataflow::model::path::RelPath;

const SIZE: usize = 17 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// Another machine that has a file, and says so many bytes of it before the connection breaks.
struct Sender<'a> {
    file: &'a [u8],
    at: usize,
    breaks_at: usize,
    /// What it was told is there.
    told: Option<Part>,
}

impl<'a> Sender<'a> {
    fn of(file: &'a [u8], breaks_at: usize) -> Self {
        Self { file, at: 0, breaks_at, told: None }
    }
}

impl Bytes for Sender<'_> {
    fn can_go_on(&self) -> bool {
        true
    }

    fn go_on(&mut self, part: Part) -> Result<u64, ApplyError> {
        self.told = Some(part);
        let there = usize::try_from(part.bytes).unwrap();
        let is_same = blake3::hash(&self.file[..there]).as_bytes() == &part.digest.0;
        self.at = if is_same { there } else { 0 };
        Ok(self.at as u64)
    }

    fn next(&mut self) -> Result<&[u8], ApplyError> {
        if self.at >= self.breaks_at {
            return Err(ApplyError::Away { host: "nas".to_owned(), why: "cut".to_owned() });
        }
        let from = self.at;
        self.at = self.file.len().min(from + PIECE_BYTES);
        Ok(&self.file[from..self.at])
    }

    fn end(&mut self) -> Result<Option<Digest>, ApplyError> {
        Ok(Some(Digest(*blake3::hash(self.file).as_bytes())))
    }
}

fn bytes(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|i| u8::try_from(i % 251).unwrap() ^ seed).collect()
}

impl Bench {
    /// Has the file at `a/f` sent.
    fn receive(&self, sender: &mut Sender<'_>) -> Result<Applied, ApplyError> {
        let Value::File(new) = self.value("a/f") else { panic!("a file") };
        let stat = self.from.stat(&RelPath::parse(b"f").unwrap()).unwrap().unwrap();
        let path = RelPath::parse(b"f").unwrap();
        let origin = (Origin::Sent(stat, sender), &Handles::default());
        put_file(origin, self.target(), &path, &new, None, &self.control)
    }

    fn parts(&self) -> Vec<String> {
        let mut names = self.names("b/.yeet/s");
        names.retain(|name| name.starts_with("part-"));
        names
    }
}

#[test]
fn a_file_whose_sender_was_lost_is_gone_on_with_from_there() {
    let (bench, file) = (Bench::new(), bytes(0));
    bench.write("a/f", &file);
    let lost = bench.receive(&mut Sender::of(&file, 9 << 20));
    assert!(matches!(lost, Err(ApplyError::Away { .. })));
    assert_eq!((bench.parts().len(), bench.kept().len()), (1, 0), "half a file is no version");
    assert!(!bench.at("b/f").exists());
    let mut sender = Sender::of(&file, usize::MAX);
    bench.receive(&mut sender).unwrap();
    assert!(sender.told.unwrap().bytes >= 9 << 20);
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), file);
    assert_eq!((bench.parts().len(), bench.kept().len()), (0, 0));
}

#[test]
fn what_is_there_of_another_content_counts_for_nothing() {
    let (bench, before, after) = (Bench::new(), bytes(0), bytes(1));
    bench.write("a/f", &before);
    assert!(bench.receive(&mut Sender::of(&before, 9 << 20)).is_err());
    bench.write("a/f", &after);
    bench.receive(&mut Sender::of(&after, usize::MAX)).unwrap();
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), after);
    // Longer than the whole.
    let part = bench
        .at("b/.yeet/s")
        .join(String::from_utf8(part::name_of(&RelPath::parse(b"f").unwrap()).to_vec()).unwrap());
    fs::remove_file(bench.at("b/f")).unwrap();
    fs::write(part, vec![0; SIZE + 1]).unwrap();
    bench.receive(&mut Sender::of(&after, usize::MAX)).unwrap();
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), after);
    assert!(bench.parts().is_empty());
}

#[test]
fn who_is_still_at_a_part_is_waited_for() {
    let (bench, file) = (Bench::new(), bytes(0));
    bench.write("a/f", &file);
    assert!(bench.receive(&mut Sender::of(&file, 9 << 20)).is_err());
    let held = fs::File::open(bench.at("b/.yeet/s").join(&bench.parts()[0])).unwrap();
    held.lock().unwrap();
    let leaving = std::thread::spawn(move || {
        crate::sys::pause(std::time::Duration::from_millis(30));
        drop(held);
    });
    let mut sender = Sender::of(&file, usize::MAX);
    bench.receive(&mut sender).unwrap();
    assert!(sender.told.unwrap().bytes >= 9 << 20, "it was not begun anew");
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), file);
    leaving.join().unwrap();
}

#[test]
fn a_part_that_was_written_to_is_noticed() {
    let (bench, file) = (Bench::new(), bytes(0));
    bench.write("a/f", &file);
    assert!(bench.receive(&mut Sender::of(&file, 9 << 20)).is_err());
    let part = bench.at("b/.yeet/s").join(&bench.parts()[0]);
    let mut there = fs::read(&part).unwrap();
    there[5] ^= 1;
    fs::write(&part, there).unwrap();
    bench.receive(&mut Sender::of(&file, usize::MAX)).unwrap();
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), file);
}

#[test]
fn of_a_file_that_is_torn_nothing_stays() {
    let (bench, file) = (Bench::new(), bytes(0));
    bench.write("a/f", &file);
    // It says less than it should.
    let torn = bench.receive(&mut Sender::of(&file[..SIZE - 1], usize::MAX));
    assert!(matches!(torn, Err(ApplyError::Torn)));
    assert!(bench.parts().is_empty() && bench.names("b") == [".yeet"]);
}

#[test]
fn a_part_that_nobody_goes_on_with_goes_after_a_day() {
    let (bench, file) = (Bench::new(), bytes(0));
    bench.write("a/f", &file);
    assert!(bench.receive(&mut Sender::of(&file, 9 << 20)).is_err());
    let open = || drop(Store::open(&bench.to, "s").unwrap());
    open();
    assert_eq!(bench.parts().len(), 1);
    let part = fs::File::open(bench.at("b/.yeet/s").join(&bench.parts()[0])).unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    part.set_modified(then).unwrap();
    open();
    assert!(bench.parts().is_empty());
}
