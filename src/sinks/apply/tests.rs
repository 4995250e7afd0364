//! What the swap does to real files, and what it never does.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::dataflow::model::path::RelPath;
use crate::dataflow::model::value::{self, Content};

#[derive(Default)]
struct Memory(Mutex<HashMap<u64, Digest>>);

impl KnownDigests for Memory {
    fn digest(&self, stat: &Stat) -> Option<Digest> {
        self.0.lock().unwrap().get(&stat.identity()).copied()
    }
    fn record(&self, stat: &Stat, digest: Digest, _: i64) {
        self.0.lock().unwrap().insert(stat.identity(), digest);
    }
}

pub(super) struct Bench {
    dir: tempfile::TempDir,
    pub(super) from: Root,
    pub(super) to: Root,
    store: Store,
    digests: Memory,
    pub(super) control: Control,
    ops: AtomicU64,
}

fn path(text: &[u8]) -> RelPath {
    RelPath::parse(text).unwrap()
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for side in ["a", "b", "outside"] {
            fs::create_dir(dir.path().join(side)).unwrap();
        }
        let from = Root::open(&dir.path().join("a")).unwrap();
        let mut to = Root::open(&dir.path().join("b")).unwrap();
        to.prepare().unwrap();
        let store = Store::open_unwatched(&to, "s").unwrap();
        let (digests, control) = (Memory::default(), Control::default());
        Self { dir, from, to, store, digests, control, ops: AtomicU64::new(1) }
    }

    pub(super) fn at(&self, rel: &str) -> PathBuf {
        self.dir.path().join(rel)
    }

    pub(super) fn target(&self) -> Target<'_> {
        let op = OpId(self.ops.fetch_add(1, Ordering::Relaxed));
        Target { root: &self.to, store: &self.store, op, digests: &self.digests }
    }

    pub(super) fn kept(&self) -> Vec<Vec<u8>> {
        let mut kept: Vec<Vec<u8>> =
            self.store.operations().unwrap().iter().map(|op| self.bytes_of(*op)).collect();
        kept.sort();
        kept
    }

    fn bytes_of(&self, op: OpId) -> Vec<u8> {
        let name = String::from_utf8(op.name().to_vec()).unwrap();
        let path = self.at("b/.yeet/s").join(name);
        match fs::read_link(&path) {
            Ok(target) => target.as_os_str().as_bytes().to_vec(),
            Err(_) => fs::read(path).unwrap(),
        }
    }

    pub(super) fn value(&self, rel: &str) -> Value {
        let at = self.at(rel);
        let meta = fs::symlink_metadata(&at).unwrap();
        let mode = u16::try_from(meta.mode() & 0o777).unwrap();
        if meta.is_dir() {
            return Value::Dir { mode };
        }
        if meta.is_symlink() {
            let text = fs::read_link(&at).unwrap();
            let len = u16::try_from(text.as_os_str().len()).unwrap();
            return Value::Symlink { target: target_digest(text.as_os_str().as_bytes()), len };
        }
        Value::File(self.file(&at, &meta, mode))
    }

    fn file(&self, at: &Path, meta: &fs::Metadata, mode: u16) -> value::File {
        let digest = Digest(*blake3::hash(&fs::read(at).unwrap()).as_bytes());
        let mtime = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        value::File { size: meta.len(), mtime, content: Content::known(digest), mode }
    }

    fn put(&self, rel: &str, expect: Option<&Value>) -> Result<Applied, ApplyError> {
        let Value::File(new) = self.value(&format!("a/{rel}")) else { panic!("a file") };
        put_file(
            (Origin::Live(&self.from), &Handles::default()),
            self.target(),
            &path(rel.as_bytes()),
            &new,
            expect,
            &self.control,
        )
    }

    pub(super) fn write(&self, rel: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(rel), bytes).unwrap();
    }

    pub(super) fn names(&self, side: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.at(side))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_file_arrives_whole_with_mode_and_time() {
    let bench = Bench::new();
    bench.write("a/f", "content");
    fs::set_permissions(bench.at("a/f"), fs::Permissions::from_mode(0o640)).unwrap();
    let applied = bench.put("f", None).unwrap();
    assert_eq!(bench.value("b/f"), bench.value("a/f"));
    assert_eq!(applied.to_now, Some(bench.value("b/f")));
    assert_eq!(applied.from_now, applied.to_now);
    assert!(bench.kept().is_empty());
}

#[test]
fn origins_with_directories_of_one_name_are_not_mixed_up() {
    let bench = Bench::new();
    let (handles, other) = (Handles::default(), Root::open(&bench.at("outside")).unwrap());
    ["a/d", "outside/d", "b/d"].iter().for_each(|dir| fs::create_dir(bench.at(dir)).unwrap());
    for (side, name, from) in [("a", "f", &bench.from), ("outside", "g", &other)] {
        let (rel, at) = (format!("d/{name}"), format!("{side}/d/{name}"));
        bench.write(&at, side);
        let Value::File(new) = bench.value(&at) else { panic!("a file") };
        let (target, origin) = (bench.target(), (Origin::Live(from), &handles));
        put_file(origin, target, &path(rel.as_bytes()), &new, None, &bench.control).unwrap();
        assert_eq!(fs::read_to_string(bench.at("b").join(&rel)).unwrap(), side);
    }
}

#[test]
fn a_large_file_that_is_called_off_leaves_nothing_behind() {
    let bench = Bench::new();
    // So large, if only in name, that it would not end within this test.
    fs::File::create(bench.at("a/f")).unwrap().set_len(1 << 40).unwrap();
    let stat = bench.from.stat(&path(b"f")).unwrap().unwrap();
    let Value::File(new) = value_of(&stat, Content::unread(stat.identity())) else { panic!() };
    let put = || {
        let (handles, target) = (Handles::default(), bench.target());
        let from = (Origin::Live(&bench.from), &handles);
        put_file(from, target, &path(b"f"), &new, None, &bench.control)
    };
    let result = std::thread::scope(|scope| {
        let put = scope.spawn(put);
        while bench.control.moved() == 0 {
            std::thread::yield_now();
        }
        bench.control.cancel();
        put.join().unwrap()
    });
    assert!(matches!(result, Err(ApplyError::Cancelled)), "{result:?}");
    assert_eq!(bench.names("b"), [".yeet"]);
    assert!(bench.store.operations().unwrap().is_empty());
}

#[test]
fn what_is_held_still_arrives_as_it_was_whatever_is_written_since() {
    let bench = Bench::new();
    bench.write("a/f", "then");
    let held = hold_still(&bench.from, &path(b"f"), &bench.control);
    // Most file systems under a test have no reflinks: then it is said so, and nothing else.
    let Ok((still, Value::File(then))) = held else {
        assert!(matches!(held, Err(ApplyError::Restless)));
        return;
    };
    let was = bench.value("a/f");
    bench.write("a/f", "since");
    let (handles, target) = (Handles::default(), bench.target());
    let from = (Origin::Still(still), &handles);
    let applied = put_file(from, target, &path(b"f"), &then, None, &bench.control).unwrap();
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), b"then");
    assert_eq!((applied.from_now, applied.to_now), (Some(was), Some(was)));
    assert_eq!(bench.value("b/f"), was);
}

#[test]
fn what_is_replaced_is_kept() {
    let bench = Bench::new();
    bench.write("a/f", "new");
    bench.write("b/f", "old");
    let old = bench.value("b/f");
    let applied = bench.put("f", Some(&old)).unwrap();
    assert_eq!(applied.kept, Some(old));
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), b"new");
    assert_eq!(bench.kept(), [b"old".to_vec()]);
}

#[test]
fn what_changed_since_the_plan_was_made_is_left_alone() {
    let bench = Bench::new();
    bench.write("a/f", "new");
    bench.write("b/f", "old");
    let old = bench.value("b/f");
    bench.write("b/f", "OLD");
    assert!(matches!(bench.put("f", Some(&old)), Err(ApplyError::Stale(End::To))));
    bench.write("b/g", "appeared");
    bench.write("a/g", "new");
    assert!(matches!(bench.put("g", None), Err(ApplyError::Stale(End::To))));
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), b"OLD");
    assert_eq!(fs::read(bench.at("b/g")).unwrap(), b"appeared");
    assert!(bench.kept().is_empty(), "what was staged is gone");
}

#[test]
fn an_edit_of_equal_size_with_its_time_put_back_is_never_overwritten() {
    let bench = Bench::new();
    bench.write("a/f", "new");
    bench.write("b/f", "old");
    let old = bench.value("b/f");
    let time = fs::metadata(bench.at("b/f")).unwrap().modified().unwrap();
    bench.write("b/f", "OLD");
    fs::File::options().write(true).open(bench.at("b/f")).unwrap().set_modified(time).unwrap();
    assert!(matches!(bench.put("f", Some(&old)), Err(ApplyError::Stale(End::To))));
    assert_eq!(fs::read(bench.at("b/f")).unwrap(), b"OLD");
}

#[test]
fn a_file_that_a_program_writes_waits() {
    let bench = Bench::new();
    bench.write("a/f", "new");
    bench.write("b/f", "old");
    let old = bench.value("b/f");
    let writer = fs::File::options().write(true).open(bench.at("b/f")).unwrap();
    assert!(matches!(bench.put("f", Some(&old)), Err(ApplyError::Busy)));
    drop(writer);
    bench.put("f", Some(&old)).unwrap();
}

#[test]
fn a_cancelled_or_outdated_put_leaves_nothing() {
    let bench = Bench::new();
    bench.write("a/f", vec![7u8; 3 << 20]);
    let Value::File(new) = bench.value("a/f") else { panic!("a file") };
    let control = Control::default();
    control.cancel();
    let put = |new: &value::File, control: &Control| {
        let from = (Origin::Live(&bench.from), &Handles::default());
        put_file(from, bench.target(), &path(b"f"), new, None, control)
    };
    assert!(matches!(put(&new, &control), Err(ApplyError::Cancelled)));
    let other = value::File { content: Content::known(Digest([1; 32])), ..new };
    assert!(matches!(put(&other, &bench.control), Err(ApplyError::Stale(End::From))));
    let stat = bench.from.stat(&path(b"f")).unwrap().unwrap();
    assert_eq!(bench.digests.digest(&stat), new.content.digest(), "what it has is known now");
    assert_eq!(bench.names("b"), [".yeet"]);
    assert!(bench.kept().is_empty());
}

#[test]
fn d26_sizes_around_a_buffer_and_holes_arrive_equal() {
    let bench = Bench::new();
    let k256 = 256usize << 10;
    for (i, size) in [0, 1, k256 - 1, k256, k256 + 1, 3 * k256].into_iter().enumerate() {
        let mut bytes = vec![0u8; size];
        bench.write(&format!("a/zero{i}"), &bytes);
        bytes.iter_mut().step_by(k256 + 7).for_each(|b| *b = 1);
        bench.write(&format!("a/some{i}"), &bytes);
        for name in [format!("zero{i}"), format!("some{i}")] {
            bench.put(&name, None).unwrap();
            let (a, b) = (bench.at(&format!("a/{name}")), bench.at(&format!("b/{name}")));
            assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{name}");
        }
    }
}

#[test]
fn large_files_arrive_equal_with_their_digest_and_their_holes() {
    let bench = Bench::new();
    let mib = 1u64 << 20;
    // (size, where there is data)
    let shapes = [
        (mib, vec![]),
        (mib + 1, vec![0]),
        (9 * mib, vec![4 * mib + 3]),
        (9 * mib + 5, vec![0, 9 * mib]),
    ];
    for (i, (size, data)) in shapes.into_iter().enumerate() {
        let name = format!("f{i}");
        let file = fs::File::create(bench.at(&format!("a/{name}"))).unwrap();
        file.set_len(size).unwrap();
        data.iter().for_each(|at| file.write_all_at(b"data", *at).unwrap());
        let applied = bench.put(&name, None).unwrap();
        let got = fs::read(bench.at(&format!("b/{name}"))).unwrap();
        assert!(got == fs::read(bench.at(&format!("a/{name}"))).unwrap(), "{name}");
        let digest = applied.to_now.and_then(|value| value.digest());
        assert_eq!(digest, Some(Digest(*blake3::hash(&got).as_bytes())), "{name}");
        let taken = fs::metadata(bench.at(&format!("b/{name}"))).unwrap().blocks() * 512;
        assert!(taken <= 2 * mib, "{name}: {taken} of {size} bytes");
    }
}

#[test]
fn a_symlink_in_place_of_a_directory_holds_nothing_of_what_was_in_it() {
    let bench = Bench::new();
    fs::create_dir(bench.at("b/d")).unwrap();
    bench.write("b/d/f", "content");
    let old = bench.value("b/d/f");
    fs::create_dir(bench.at("outside/d")).unwrap();
    bench.write("outside/d/f", "content");
    symlink(bench.at("outside/d"), bench.at("a/d")).unwrap();
    delete(&bench.from, bench.target(), &path(b"d/f"), &old, &bench.control).unwrap();
    assert!(!bench.at("b/d/f").exists() && bench.at("outside/d/f").exists());
    assert_eq!(bench.kept(), [b"content"]);
}

#[test]
fn odd_names_are_names() {
    let bench = Bench::new();
    let long = vec![b'x'; 255];
    for name in [&b"new\nline"[..], b"-rf", b"\xff\xfe", &long] {
        let at = bench.at("a").join(std::ffi::OsStr::from_bytes(name));
        fs::write(&at, name).unwrap();
        let meta = fs::metadata(&at).unwrap();
        let new = bench.file(&at, &meta, 0o644);
        put_file(
            (Origin::Live(&bench.from), &Handles::default()),
            bench.target(),
            &path(name),
            &new,
            None,
            &bench.control,
        )
        .unwrap();
    }
    assert_eq!(bench.names("b").len(), 5);
}

#[test]
fn a_delete_is_kept_and_refused_when_its_reason_is_gone() {
    let bench = Bench::new();
    bench.write("b/f", "old");
    let old = bench.value("b/f");
    bench.write("a/f", "here again");
    let delete =
        |old: &Value| delete(&bench.from, bench.target(), &path(b"f"), old, &bench.control);
    assert!(matches!(delete(&old), Err(ApplyError::Stale(End::From))));
    fs::remove_file(bench.at("a/f")).unwrap();
    bench.write("b/f", "edited");
    assert!(matches!(delete(&old), Err(ApplyError::Stale(End::To))));
    let edited = bench.value("b/f");
    assert_eq!(delete(&edited).unwrap().kept, Some(edited));
    assert_eq!(bench.kept(), [b"edited".to_vec()]);
    assert_eq!(bench.names("b"), [".yeet"]);
}

#[test]
fn a_directory_goes_only_when_it_is_empty() {
    let bench = Bench::new();
    fs::create_dir(bench.at("b/d")).unwrap();
    bench.write("b/d/f", "x");
    let dir = bench.value("b/d");
    let delete = || delete(&bench.from, bench.target(), &path(b"d"), &dir, &bench.control);
    assert!(matches!(delete(), Err(ApplyError::NotEmpty)));
    fs::remove_file(bench.at("b/d/f")).unwrap();
    delete().unwrap();
    assert!(!bench.at("b/d").exists());
}

#[test]
fn types_change_into_one_another_and_bytes_are_kept() {
    let bench = Bench::new();
    bench.write("b/x", "a file");
    let file = bench.value("b/x");
    let make = || {
        make_dir(
            (&bench.from, &Handles::default()),
            bench.target(),
            &path(b"x"),
            0o750,
            Some(&file),
            &bench.control,
        )
    };
    // Right after a resolve the job was once made from a look at a directory that had just given way.
    assert!(matches!(make(), Err(ApplyError::Stale(End::From))));
    assert_eq!(bench.value("b/x"), file);
    fs::create_dir(bench.at("a/x")).unwrap();
    make().unwrap();
    assert_eq!(bench.value("b/x"), Value::Dir { mode: 0o750 });
    fs::remove_dir(bench.at("a/x")).unwrap();
    bench.write("a/x", "a file again");
    let dir = bench.value("b/x");
    bench.put("x", Some(&dir)).unwrap();
    fs::remove_file(bench.at("a/x")).unwrap();
    symlink("target", bench.at("a/x")).unwrap();
    let (link, file) = (bench.value("a/x"), bench.value("b/x"));
    put_symlink(
        (&bench.from, &Handles::default()),
        bench.target(),
        &path(b"x"),
        &link,
        Some(&file),
        &bench.control,
    )
    .unwrap();
    assert_eq!(bench.value("b/x"), link);
    assert_eq!(bench.kept(), [b"a file".to_vec(), b"a file again".to_vec()]);
}

#[test]
fn a_move_renames_and_keeps_nothing() {
    let bench = Bench::new();
    bench.write("b/old", "content");
    let inode = fs::metadata(bench.at("b/old")).unwrap().ino();
    let old = bench.value("b/old");
    let moved = move_within(
        (&bench.from, &Handles::default()),
        bench.target(),
        &path(b"old"),
        &path(b"new"),
        &old,
        &old,
        &bench.control,
    );
    assert_eq!(moved.unwrap().to_now, Some(old));
    assert_eq!(fs::metadata(bench.at("b/new")).unwrap().ino(), inode);
    assert!(bench.kept().is_empty() && !bench.at("b/old").exists());
}

#[test]
fn metadata_is_set_without_touching_the_bytes() {
    let bench = Bench::new();
    bench.write("b/f", "content");
    let Value::File(old) = bench.value("b/f") else { panic!("a file") };
    let new = Value::File(value::File { mode: 0o755, mtime: 1_000_000_007, ..old });
    let set = set_metadata(bench.target(), &path(b"f"), &new, &Value::File(old), &bench.control);
    assert_eq!(set.unwrap().to_now, Some(new));
    assert_eq!(bench.value("b/f"), new);
}

#[test]
fn what_is_written_right_after_a_file_was_placed_is_not_taken_for_ours() {
    let bench = Bench::new();
    bench.write("a/f", "ours");
    assert!(bench.put("f", None).is_ok());
    let Value::File(placed) = bench.value("b/f") else { panic!("a file") };
    for theirs in ["another", "same"] {
        bench.write("b/f", theirs);
        let stat = bench.to.stat(&path(b"f")).unwrap().unwrap();
        let said = staged::as_placed(bench.target(), &stat, &placed);
        assert_eq!(said, Value::File(placed), "what it was when it got the name");
        assert_eq!(bench.digests.digest(&stat), None);
    }
}

#[test]
fn a_file_that_a_program_writes_is_read_again_after_its_time_was_set() {
    let bench = Bench::new();
    bench.write("b/f", "content");
    let expect = bench.value("b/f");
    let Value::File(file) = expect else { panic!("a file") };
    let new = Value::File(value::File { mtime: 1_600_000_000_000_000_000, ..file });
    let set = |expect| {
        let set = set_metadata(bench.target(), &path(b"f"), &new, expect, &bench.control);
        set.unwrap().to_now.unwrap()
    };
    let writer = fs::File::options().write(true).open(bench.at("b/f")).unwrap();
    assert_eq!(set(&expect).digest(), None);
    drop(writer);
    assert_eq!(set(&bench.value("b/f")), new);
}

#[test]
fn d24_no_symlink_leads_out_of_the_root_whoever_swaps_it_in() {
    let bench = Bench::new();
    fs::create_dir(bench.at("a/d")).unwrap();
    bench.write("a/d/f", "content");
    fs::create_dir(bench.at("b/real")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(bench.at("b/real"), bench.at("b/d")).unwrap();
                fs::rename(bench.at("b/d"), bench.at("b/real")).unwrap();
                symlink(bench.at("outside"), bench.at("b/d")).unwrap();
                fs::remove_file(bench.at("b/d")).unwrap();
            }
        });
        for _ in 0..2000 {
            drop(bench.put("d/f", None));
            let inside = bench.at("b/real/f");
            if inside.exists() {
                drop(fs::remove_file(inside));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(bench.names("outside").is_empty());
}

#[test]
fn a_directory_that_may_not_be_written_is_written_and_left_as_it_was() {
    let bench = Bench::new();
    fs::create_dir(bench.at("a/d")).unwrap();
    fs::create_dir(bench.at("b/d")).unwrap();
    bench.write("a/d/f", "content");
    fs::set_permissions(bench.at("b/d"), fs::Permissions::from_mode(0o555)).unwrap();
    bench.put("d/f", None).unwrap();
    assert_eq!(bench.value("b/d"), Value::Dir { mode: 0o555 });
}

/// Runs an act on a thread to which one system call is refused with this error.
fn refused<T: Send>(call: i64, errno: i32, act: impl FnOnce() -> T + Send) -> T {
    let filter = refused_tests::refusing(errno, [(call, Vec::new())].into());
    std::thread::scope(|scope| {
        let act = move || {
            seccompiler::apply_filter(&filter).unwrap();
            act()
        };
        scope.spawn(act).join().unwrap()
    })
}

#[test]
fn a_file_is_back_when_the_directory_in_its_place_cannot_be_made() {
    let bench = Bench::new();
    bench.write("b/x", "a file");
    fs::create_dir(bench.at("a/x")).unwrap();
    let file = bench.value("b/x");
    for call in [libc::SYS_mkdirat, libc::SYS_fchmod] {
        let made = refused(call, libc::ENOSPC, || {
            // The owner's bit that is missing has to be taken from it once it is made.
            make_dir(
                (&bench.from, &Handles::default()),
                bench.target(),
                &path(b"x"),
                0o550,
                Some(&file),
                &bench.control,
            )
        });
        assert_eq!(made.unwrap_err().errno(), Some(libc::ENOSPC));
        assert_eq!(bench.value("b/x"), file);
        assert!(bench.kept().is_empty());
    }
}

/// What a one-shot copy that trusts times knows.
struct Unwanted;

impl KnownDigests for Unwanted {
    fn digest(&self, _: &Stat) -> Option<Digest> {
        None
    }
    fn record(&self, stat: &Stat, _: Digest, _: i64) {
        panic!("a digest was taken of {stat:?}");
    }
    fn are_wanted(&self) -> bool {
        false
    }
}

#[test]
fn where_no_digest_is_wanted_none_is_taken_and_both_ends_hold_the_same() {
    let bench = Bench::new();
    for (name, size) in [("small", 3), ("large", 3 << 20)] {
        fs::write(bench.at("a").join(name), vec![7; size]).unwrap();
        let stat = bench.from.stat(&path(name.as_bytes())).unwrap().unwrap();
        let content = Content::unread(stat.identity());
        let Value::File(new) = value_of(&stat, content) else { panic!("a file") };
        let put = |new| {
            let from = (Origin::Live(&bench.from), &Handles::default());
            let target = Target { digests: &Unwanted, ..bench.target() };
            put_file(from, target, &path(name.as_bytes()), new, None, &bench.control)
        };
        let other = value::File { content: Content::unread(1), ..new };
        assert!(matches!(put(&other), Err(ApplyError::Stale(End::From))), "it is another file");
        let applied = put(&new).unwrap();
        assert_eq!(applied.from_now, Some(Value::File(new)));
        assert_eq!(applied.to_now, applied.from_now);
        assert_eq!(fs::read(bench.at("b").join(name)).unwrap(), vec![7; size]);
    }
}
