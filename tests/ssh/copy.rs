//! `yeet copy` to and from hosts where nothing is installed.
//!
//! Holds: what is at the other end is looked at there, by its paths, never through yeet.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use super::agent::server;
use super::daemon::noise;
use super::server::{Home, Server};

/// Exit code, what was printed and what was said.
fn copy(home: &Home, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yeet"));
    command.arg("copy").args(words).current_dir(home.path("home"));
    let out = home.at_home(&mut command).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap(), text(&out.stdout), text(&out.stderr))
}

fn copies(home: &Home, words: &[&str]) {
    let (code, out, err) = copy(home, words);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
}

/// Every path below a directory, with what it is; without `.yeet`.
fn tree(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, below: &str, out: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let meta = entry.metadata().unwrap();
            if name == ".yeet" {
                continue;
            }
            let path = format!("{below}{name}");
            let mode = meta.permissions().mode() & 0o777;
            if meta.is_dir() {
                out.push(format!("{path}/ {mode:o}"));
                walk(&entry.path(), &format!("{path}/"), out);
            } else if meta.is_symlink() {
                out.push(format!("{path} -> {}", fs::read_link(entry.path()).unwrap().display()));
            } else {
                let (digest, mtime) =
                    (blake3::hash(&fs::read(entry.path()).unwrap()), meta.mtime());
                out.push(format!("{path} {mode:o} {mtime} {}", digest.to_hex()));
            }
        }
    }
    let mut out = Vec::new();
    walk(dir, "", &mut out);
    out.sort();
    out
}

fn fill(home: &Home) {
    let at = |rel: &str| home.path("home/src").join(rel);
    fs::create_dir_all(at("d/e")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o751)).unwrap();
    for n in 0..300 {
        fs::write(at(&format!("d/e/{n}")), format!("file {n}")).unwrap();
    }
    fs::write(at("large"), noise(3_000_000)).unwrap();
    fs::write(at("nothing"), "").unwrap();
    fs::set_permissions(at("nothing"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("large", at("link")).unwrap();
}

#[test]
fn a_tree_is_copied_to_a_host_and_back_and_nothing_else_is_left_there() {
    let Some((home, _server)) = server("") else { return };
    fill(&home);
    let source = tree(&home.path("home/src"));
    copies(&home, &["src", "nas:dst"]);
    assert_eq!(tree(&home.path("there/dst")), source);
    assert!(!home.path("there/dst/.yeet").exists());
    copies(&home, &["nas:dst", "back"]);
    assert_eq!(tree(&home.path("home/back")), source);
    let absolute = format!("nas:{}", home.path("there/other").display());
    copies(&home, &["nas:~/dst", &absolute]);
    assert_eq!(tree(&home.path("there/other")), source, "the bytes passed through here");
}

#[test]
fn what_is_displaced_on_a_host_is_kept_there_and_what_is_equal_is_not_sent() {
    let Some((home, _server)) = server("") else { return };
    fill(&home);
    copies(&home, &["src", "nas:dst"]);
    let inode = |rel: &str| fs::metadata(home.path(rel)).unwrap().ino();
    let large = inode("there/dst/large");
    fs::write(home.path("home/src/nothing"), "something").unwrap();
    fs::remove_file(home.path("home/src/d/e/7")).unwrap();
    let (code, planned, err) = copy(&home, &["-n", "--mirror", "src", "nas:dst"]);
    assert_eq!(code, 0, "{err}");
    let paths: Vec<&str> = planned.lines().filter_map(|line| line.rsplit('\t').next()).collect();
    assert_eq!(paths, ["d/e/7", "nothing"], "{planned}");
    assert!(home.path("there/dst/d/e/7").exists(), "it was only said");
    copies(&home, &["--mirror", "src", "nas:dst"]);
    assert_eq!(tree(&home.path("there/dst")), tree(&home.path("home/src")));
    assert_eq!(inode("there/dst/large"), large);
    let mut kept: Vec<Vec<u8>> = fs::read_dir(home.path("there/dst/.yeet/copy"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    kept.sort();
    assert_eq!(kept, [b"".to_vec(), b"file 7".to_vec()]);
}

#[test]
fn a_dry_run_makes_nothing_on_a_host() {
    let Some((home, _server)) = server("") else { return };
    fill(&home);
    let (code, planned, err) = copy(&home, &["-n", "src", "nas:dst"]);
    assert_eq!((code, planned.lines().count()), (0, tree(&home.path("home/src")).len()), "{err}");
    assert!(!home.path("there/dst").exists());
}

#[test]
fn what_the_rules_of_either_side_leave_out_is_left_alone_on_both() {
    let Some((home, _server)) = server("") else { return };
    for (path, text) in [
        ("home/src/d/.yeetignore", "*.o\n"),
        ("home/src/d/x.o", "x"),
        ("home/src/d/y.c", "y"),
        ("there/dst/.yeetignore", "*.log\n"),
        ("there/dst/d/z.o", "z"),
        ("there/dst/it.log", "log"),
        ("home/src/it.log", "other"),
    ] {
        fs::create_dir_all(home.path(path).parent().unwrap()).unwrap();
        fs::write(home.path(path), text).unwrap();
    }
    copies(&home, &["--mirror", "--ignore", ".yeetignore", "src", "nas:dst"]);
    assert!(!home.path("there/dst/d/x.o").exists(), "the source leaves it out");
    assert!(home.path("there/dst/d/z.o").exists(), "the source leaves it out, and has no say");
    assert!(home.path("there/dst/d/y.c").exists());
    assert_eq!(home.read("there/dst/it.log"), "log", "the destination leaves it out");
}

#[test]
fn what_cannot_be_copied_says_why_and_where() {
    let Some((home, _server)) = server("") else { return };
    fill(&home);
    for (words, code, said) in [
        (["nas:nothing", "x"], 3, "nas:nothing: it does not exist"),
        (["nas:~", "nas:x"], 2, "one directory is the other, or inside it"),
        (["src", "nas:/proc/x"], 3, "nas:/proc/x: "),
        (["src", "no.such.host.invalid:x"], 3, "cannot reach no.such.host.invalid"),
        (["src", "-oX:x"], 2, "begins with `-`"),
    ] {
        let (ended, _, err) = copy(&home, &["--", words[0], words[1]]);
        assert_eq!(ended, code, "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
    assert_eq!(fs::read_dir(home.path("there")).unwrap().count(), 1, "the agent alone is there");
}

#[test]
fn a_disk_that_is_full_there_stops_what_does_not_fit_and_nothing_else() {
    let full = "mkdir -p THERE/dst && mount -t tmpfs -o nr_inodes=200 tmpfs THERE/dst";
    let Some((home, _server)) = server(full) else { return };
    fill(&home);
    let (code, _, err) = copy(&home, &["src", "nas:dst"]);
    assert_eq!(code, 1);
    let failed: Vec<&str> = err.lines().filter(|line| line.starts_with("error: ")).collect();
    let says = |line: &&str| line.contains("on nas: No space left on device");
    assert!(!failed.is_empty() && failed.iter().all(says), "{err}");
    // 306 objects, and fewer than 200 of them have room.
    assert!((107..130).contains(&failed.len()), "{err}");
}

/// Stands between yeet and a server, and cuts each connection after so many bytes to the server.
fn cutting(port: u16, bytes: u64) -> Server {
    Server::new(move |near| {
        let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
        drop(std::thread::spawn(move || pass(back.0, back.1, u64::MAX)));
        drop(std::thread::spawn(move || pass(near, far, bytes)));
    })
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut left: u64) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        left = left.saturating_sub(read as u64);
        if left == 0 || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn a_copy_whose_connection_is_cut_leaves_whole_files_and_goes_on_when_it_is_run_again() {
    let Some((home, real)) = server("") else { return };
    fill(&home);
    // The agent is there already: what is cut is the copy.
    assert_eq!(home.doctor("nas").0, 0);
    let config = home.read("home/.ssh/config");
    for bytes in [20_000, 100_000, 1_000_000] {
        let cut = cutting(real.port, bytes);
        home.config(&config.replace(&real.port.to_string(), &cut.port.to_string()));
        let (code, _, err) = copy(&home, &["src", "nas:dst"]);
        assert!(code != 0 && err.contains("nas"), "{code} {err}");
        home.config(&config);
        let source = tree(&home.path("home/src"));
        let there = tree(&home.path("there/dst"));
        assert!(there.iter().all(|line| source.contains(line)), "{bytes}: {there:?}");
    }
    copies(&home, &["src", "nas:dst"]);
    assert_eq!(tree(&home.path("there/dst")), tree(&home.path("home/src")));
}
