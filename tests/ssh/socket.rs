//! The data socket: what goes by it, what does not, and what becomes of a file when it breaks.
//!
//! Holds: which way bytes took is seen by those that passed the line to the SSH server; a socket is cut from outside, never
//! by asking yeet.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::daemon::Rig;

const LARGE: u64 = 40 << 20;
/// More than all that is said beside the bytes of a file, the agent's own file left out.
const FEW: u64 = 1 << 20;

fn bytes(seed: u32, length: u64) -> Vec<u8> {
    let words = u32::try_from(length / 4).unwrap();
    (seed..seed + words).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

fn large(seed: u32) -> Vec<u8> {
    bytes(seed, LARGE)
}

/// Makes a file at once: one that is seen while it grows has versions.
fn make(rig: &Rig, rel: &str, bytes: &[u8]) {
    fs::write(rig.at("made"), bytes).unwrap();
    fs::rename(rig.at("made"), rig.at(rel)).unwrap();
}

/// A home whose leaf on the host is in sync.
fn rig(options: &[&str]) -> Option<Rig> {
    let rig = Rig::new()?;
    rig.write("home/src/f", "first");
    rig.well(&[&["add"], options, &["src", "nas:work"]].concat());
    rig.well(&["wait"]);
    rig.line.passed();
    Some(rig)
}

/// A large file goes one way, then another one the other; how many bytes passed by SSH.
fn there_and_back(rig: &Rig) -> u64 {
    rig.line.passed();
    for (seed, from, to) in
        [(1, "home/src/there", "there/work/there"), (2, "there/work/here", "home/src/here")]
    {
        make(rig, from, &large(seed));
        rig.well(&["wait"]);
        assert!(fs::read(rig.at(to)).unwrap() == large(seed), "{to}");
    }
    rig.same();
    assert_eq!(rig.well(&["conflicts"]) + &rig.yeet(&["versions", "src"]).1, "");
    rig.line.passed()
}

/// The daemon's connections to this machine, but those to `ssh`.
fn sockets(rig: &Rig, ssh: u16) -> Vec<OwnedFd> {
    let runs = |process: &Path| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let home = format!("HOME={}\0", rig.at("home").display());
        contains(&words, b"daemon") && contains(&environment, home.as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let daemon = processes.filter(|process| runs(process)).last().expect("a daemon runs");
    let table = fs::read_to_string(daemon.join("net/tcp")).unwrap();
    let to_agents: Vec<String> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let port = u16::from_str_radix(fields[2].split_once(':')?.1, 16).ok()?;
            (fields[3] == "01" && port != ssh).then(|| format!("socket:[{}]", fields[9]))
        })
        .collect();
    let pid = daemon.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    let open: Vec<PathBuf> =
        fs::read_dir(daemon.join("fd")).unwrap().flatten().map(|entry| entry.path()).collect();
    let is_one = |fd: &&PathBuf| {
        fs::read_link(fd).is_ok_and(|is| to_agents.iter().any(|one| is == Path::new(one)))
    };
    open.iter()
        .filter(is_one)
        .map(|fd| {
            let number = fd.file_name().unwrap().to_str().unwrap().parse().unwrap();
            pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).unwrap()
        })
        .collect()
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[test]
fn a_large_file_goes_by_a_socket_of_its_own_and_what_is_said_by_ssh() {
    let Some(rig) = rig(&[]) else { return };
    assert!(sockets(&rig, rig.line.proxy.port).is_empty(), "none before there is much to carry");
    let passed = there_and_back(&rig);
    assert!(passed < FEW, "{passed} bytes passed by SSH");
    let why = rig.well(&["explain", "src/f"]);
    assert!(why.contains("work: data goes by a socket of its own"), "{why}");
}

#[test]
fn a_sync_that_is_ssh_only_opens_no_socket_until_that_is_taken_back() {
    let Some(rig) = rig(&["--ssh-only"]) else { return };
    assert!(rig.well(&["set", "src"]).contains("ssh-only\tyes\n"));
    let passed = there_and_back(&rig);
    assert!(passed > 2 * LARGE, "{passed} bytes passed by SSH");
    assert!(sockets(&rig, rig.line.proxy.port).is_empty());
    rig.well(&["set", "src", "ssh-only=no"]);
    rig.well(&["wait", "--offline"]);
    rig.line.passed();
    make(&rig, "home/src/more", &large(3));
    rig.well(&["wait"]);
    let passed = rig.line.passed();
    assert!(passed < FEW, "{passed} bytes passed by SSH");
    assert_eq!(rig.yeet(&["set", "src", "ssh-only=maybe"]).0, 2);
}

#[test]
fn a_file_whose_socket_breaks_goes_on_over_ssh_where_it_was() {
    let Some(rig) = rig(&[]) else { return };
    let length = 6 * LARGE;
    make(&rig, "home/src/large", &bytes(1, length));
    let longest = |dir: PathBuf| -> u64 {
        let below = fs::read_dir(dir).into_iter().flatten().flatten();
        below.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
    };
    while longest(rig.at("there/work/.yeet/src")) < length / 4 {
        assert!(!rig.at("there/work/large").exists(), "it is under way");
        std::thread::yield_now();
    }
    let sockets = sockets(&rig, rig.line.proxy.port);
    assert_eq!(sockets.len(), 1);
    rustix::net::shutdown(&sockets[0], rustix::net::Shutdown::Both).unwrap();
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    let passed = rig.line.passed();
    assert!((FEW..length - length / 5).contains(&passed), "{passed} of {length} passed by SSH");
    assert_eq!(rig.well(&["conflicts"]) + &rig.yeet(&["versions", "src"]).1, "");
    let log = rig.well(&["log"]);
    assert!(!log.contains("\toffline\t"), "the host was there all the time: {log}");
    // By SSH, or by another socket if this took so long that one may be tried.
    there_and_back(&rig);
}

#[test]
fn where_the_agents_port_is_not_reached_all_goes_by_ssh_and_the_doctor_says_why() {
    let Some(rig) = Rig::apart() else { return };
    rig.write("home/src/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    let passed = there_and_back(&rig);
    assert!(passed > 2 * LARGE, "{passed} bytes passed by SSH");
    let why = rig.well(&["explain", "src/f"]);
    assert!(why.contains("work: data goes by SSH: 127.0.0.1:"), "{why}");
    let (code, said) = rig.home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("socket\tnote\tdata goes over SSH alone: 127.0.0.1:"), "{said}");
}

#[test]
fn behind_a_gateway_no_socket_is_tried() {
    let Some(rig) = Rig::new() else { return };
    let config = rig.home.read("home/.ssh/config");
    let gate = config.replace("Host nas", "Host gate");
    rig.home.config(&format!("{config} ProxyJump gate\n{gate}"));
    let (code, said) = rig.home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("socket\tnote\tdata goes over SSH alone: other machines"), "{said}");
    let mut copy = Command::new(env!("CARGO_BIN_EXE_yeet"));
    fs::write(rig.at("home/src/f"), large(1)).unwrap();
    rig.line.passed();
    copy.args(["copy", "src", "nas:work"]).current_dir(rig.at("home"));
    let (code, said) = rig.home.ended(&mut copy);
    assert_eq!((code, said.as_str()), (0, ""));
    rig.same();
    let passed = rig.line.passed();
    assert!(passed > LARGE, "{passed} bytes passed by SSH");
}
