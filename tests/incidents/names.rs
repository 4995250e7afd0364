//! Names that are odd, and names that a file system takes for one another.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::mount::did;
use crate::rig::Rig;

/// A file system that does not tell upper from lower case, in user space.
struct Folding {
    at: PathBuf,
    device: String,
}

impl Folding {
    #[allow(clippy::print_stdout, reason = "a test that was skipped says so")]
    fn mounted(image: &Path, at: &Path) -> Option<Self> {
        fs::File::create(image).and_then(|file| file.set_len(32 << 20)).unwrap();
        fs::create_dir_all(at).unwrap();
        let made = did("mkfs.exfat", &[image.as_ref()]);
        let device = Command::new("losetup").args(["-f", "--show"]).arg(image).output().ok();
        let device = device.filter(|out| made && out.status.success());
        let device = device.map(|out| String::from_utf8(out.stdout).unwrap().trim().to_owned());
        let Some(device) = device else {
            println!("skipped: no exFAT can be made here");
            return None;
        };
        let mounted = Self { at: at.to_owned(), device };
        let args = [mounted.device.as_ref(), at.as_ref()];
        if did("mount.exfat-fuse", &args) {
            return Some(mounted);
        }
        println!("skipped: no exFAT can be mounted here");
        None
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        did("umount", &["-l".as_ref(), self.at.as_ref()]);
        did("losetup", &["-d".as_ref(), self.device.as_ref()]);
    }
}

/// Makes a file as such a file system keeps it: it has no modes and no parts of a second.
fn plain(rig: &Rig, path: &str, text: &str) {
    let new = rig.path("home/new");
    fs::write(&new, text).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o777)).unwrap();
    fs::rename(new, rig.path(path)).unwrap();
}

/// The names in a directory but ours.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != ".yeet")
        .collect();
    names.sort();
    names
}

#[test]
fn d11_a_rename_that_changes_only_the_case_deletes_nothing() {
    let mut rig = Rig::new();
    let Some(_disk) = Folding::mounted(&rig.path("image"), &rig.path("b")) else { return };
    plain(&rig, "a/Notes", "text");
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    assert_eq!(rig.read("b/Notes"), "text");
    for running in [true, false] {
        for (side, from, to) in [("a", "Notes", "notes"), ("b", "notes", "NOTES")] {
            if !running {
                rig.stop();
            }
            let from = if rig.path(side).join(from).exists() { from } else { "NOTES" };
            fs::rename(rig.path(side).join(from), rig.path(side).join(to)).unwrap();
            if !running {
                rig.start();
            }
            rig.settle();
            assert_eq!(rig.read(&format!("a/{to}")), "text", "{side}: {:?}", names(&rig.path("a")));
            assert_eq!(rig.read("b/notes"), "text", "{side}: {:?}", names(&rig.path("b")));
            assert_eq!(names(&rig.path("a")), [to], "{side}");
        }
    }
}

#[test]
fn d11_names_that_differ_only_in_case_lose_neither_of_two_files() {
    let mut rig = Rig::new();
    let Some(_disk) = Folding::mounted(&rig.path("image"), &rig.path("b")) else { return };
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.settle();
    plain(&rig, "a/Makefile", "first");
    rig.settle();
    plain(&rig, "a/makefile", "second");
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!((rig.read("a/Makefile"), rig.read("a/makefile")), ("first".into(), "second".into()));
    assert_eq!((rig.read("b/Makefile"), names(&rig.path("b")).len()), ("first".into(), 1));
    rig.kill();
    rig.start();
    fs::remove_file(rig.path("a/makefile")).unwrap();
    rig.settle();
    assert_eq!((rig.read("a/Makefile"), rig.read("b/Makefile")), ("first".into(), "first".into()));
}

#[test]
fn d28_odd_names_of_files_and_roots_are_carried_resolved_and_restored() {
    let mut rig = Rig::new();
    let odd: [&[u8]; 12] = [
        b"-rf",
        b"--help",
        b"a b",
        b" ",
        b"'$(touch owned)'",
        b"\"`touch owned`\"",
        b"new\nline",
        b"\xff\xfe",
        b"back\\slash",
        b"colon:",
        b"*?[x]{y}",
        b"~",
    ];
    let name = |i: usize| OsStr::from_bytes(odd[i]);
    let (source, leaf) =
        (rig.path("a").join(name(6)), rig.path("b").join("x:\\\u{1}$(touch owned)"));
    let run = |rig: &Rig, args: &[&OsStr], input: &[u8]| rig.fed(args, input);
    fs::create_dir(&source).unwrap();
    for i in 0..odd.len() {
        fs::create_dir(source.join(name(i))).unwrap();
        fs::write(source.join(name(i)).join(name(odd.len() - 1 - i)), odd[i]).unwrap();
    }
    rig.start();
    let args = ["add".as_ref(), "--name".as_ref(), "s".as_ref(), source.as_ref(), leaf.as_ref()];
    assert_eq!(run(&rig, &args, b"").code, 0);
    rig.settle();
    let file = |root: &Path, i: usize| root.join(name(i)).join(name(odd.len() - 1 - i));
    for (i, bytes) in odd.into_iter().enumerate() {
        assert_eq!(fs::read(file(&leaf, i)).unwrap(), bytes);
    }
    rig.stop();
    for i in 0..odd.len() {
        fs::write(file(&source, i), "source's").unwrap();
        fs::write(file(&leaf, i), "leaf's!").unwrap();
    }
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    let listed = run(&rig, &["conflicts".as_ref(), "-p".as_ref(), "-z".as_ref()], b"");
    assert_eq!(listed.bytes.split(|b| *b == 0).count(), odd.len() + 1);
    let resolve = ["resolve", "--sync", "s", "--keep", "source", "-z", "-"].map(OsStr::new);
    assert_eq!(run(&rig, &resolve, &listed.bytes).code, 0);
    rig.settle();
    for i in 0..odd.len() {
        assert_eq!(fs::read(file(&leaf, i)).unwrap(), b"source's");
        let restore =
            ["restore".as_ref(), "--".as_ref(), file(&leaf, i).as_os_str().to_owned().leak()];
        let restored = run(&rig, &restore, b"");
        assert_eq!(restored.code, 0, "{}", restored.said);
    }
    rig.settle();
    for i in 0..odd.len() {
        assert_eq!(fs::read(file(&source, i)).unwrap(), b"leaf's!");
        fs::remove_dir_all(source.join(name(i))).unwrap();
    }
    rig.settle();
    assert_eq!(names(&leaf), [""; 0]);
    assert!(!rig.path("owned").exists() && !rig.path("home/owned").exists());
}
