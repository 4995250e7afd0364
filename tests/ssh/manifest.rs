//! What it costs to tell what a host has.
//!
//! Holds: bytes are counted between the two machines, with all that SSH adds to them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use super::daemon::Rig;

const DIRS: usize = 40;
const FILES: usize = 30;
/// So many files there are, and more than a connection costs by itself is what they cost.
const ALL: u64 = (DIRS * FILES) as u64;
/// What a connection costs: its keys, its checks, a few questions.
const CONNECTION: u64 = 24 << 10;

fn name(dir: usize, file: usize) -> String {
    format!("chapter-{dir:02}/page-{file:02}-of-the-manual.html")
}

/// Both sides have the same files, unread, some minutes old; an agent is there already.
fn rig() -> Option<Rig> {
    let rig = Rig::new()?;
    let then = SystemTime::now() - Duration::from_secs(600);
    for at in ["home/src", "there/work"] {
        for (dir, file) in (0..DIRS).flat_map(|dir| (0..FILES).map(move |file| (dir, file))) {
            let path = format!("{at}/{}", name(dir, file));
            rig.write(&path, &format!("page {file} of {dir}"));
            let after = Duration::from_micros((dir * FILES + file) as u64 * 731);
            fs::File::open(rig.at(&path)).unwrap().set_modified(then + after).unwrap();
        }
    }
    rig.write("home/first/file", "");
    rig.well(&["copy", "first", "nas:first"]);
    Some(rig)
}

impl Rig {
    /// Ends the agent of this rig, and no other, without a word.
    fn kill_agent(&self) {
        let own = self.at("there/.cache/yeet/agent");
        let own = own.as_os_str().as_encoded_bytes();
        let is_own = |process: &fs::DirEntry| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            line.starts_with(own)
        };
        for process in fs::read_dir("/proc").unwrap().flatten().filter(is_own) {
            let pid = process.file_name().into_string().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }

    fn comes_back(&self) -> u64 {
        self.line.passes(|| {
            self.line.cut();
            self.line.mend();
            drop(self.well(&["wait", "--offline"]));
        })
    }
}

#[test]
fn a_file_that_both_sides_have_costs_less_than_sixty_bytes_and_nothing_once_it_is_known() {
    let Some(rig) = rig() else { return };
    let first = rig.line.passes(|| {
        rig.well(&["add", "src", "nas:work"]);
        rig.well(&["wait"]);
    });
    assert!(first < CONNECTION + 60 * ALL, "{first} bytes");
    let again = rig.comes_back();
    assert!(again < CONNECTION + 4 * ALL, "{again} bytes");
    // A daemon that knows only what was agreed.
    rig.well(&["daemon", "stop"]);
    let anew = rig.line.passes(|| {
        rig.well(&["daemon", "start"]);
        rig.well(&["wait", "--offline"]);
    });
    assert!(anew < CONNECTION + 4 * ALL, "{anew} bytes");
    rig.same();
    assert_eq!(rig.yeet(&["versions", "src"]).1, "");
}

#[test]
fn what_changed_while_a_host_was_away_is_seen_among_all_that_did_not() {
    let Some(rig) = rig() else { return };
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    rig.line.cut();
    let there = |dir, file| rig.at(&format!("there/work/{}", name(dir, file)));
    fs::remove_file(there(1, 1)).unwrap();
    fs::rename(there(2, 2), rig.at("there/work/chapter-03/moved.html")).unwrap();
    // As long as before, and its time put back.
    let stat = fs::metadata(there(4, 4)).unwrap();
    fs::write(there(4, 4), "PAGE 4 OF 4").unwrap();
    fs::File::open(there(4, 4)).unwrap().set_modified(stat.modified().unwrap()).unwrap();
    let now = fs::metadata(there(4, 4)).unwrap();
    assert_eq!((now.len(), now.mtime_nsec()), (stat.len(), stat.mtime_nsec()));
    fs::remove_dir_all(rig.at("there/work/chapter-05")).unwrap();
    rig.write("there/work/chapter-06/new.html", "new");
    rig.write("there/work/other/deep/new.html", "new");
    rig.write(&format!("home/src/{}", name(7, 7)), "edited here");
    fs::remove_file(rig.at(&format!("home/src/{}", name(8, 8)))).unwrap();
    rig.line.mend();
    rig.well(&["wait", "--offline"]);
    rig.same();
    let here = |path: String| rig.at(&format!("home/src/{path}"));
    assert!(!here(name(1, 1)).exists() && !here(name(2, 2)).exists());
    assert_eq!(fs::read_to_string(here(name(4, 4))).unwrap(), "PAGE 4 OF 4");
    assert!(!here("chapter-05".to_owned()).exists());
    assert_eq!(rig.home.read(&format!("there/work/{}", name(7, 7))), "edited here");
    assert!(!there(8, 8).exists());
    assert_eq!(rig.well(&["conflicts"]), "");
}

#[test]
fn files_that_differ_at_both_sides_are_told_apart_among_those_that_do_not() {
    let Some(rig) = rig() else { return };
    // As long as the other side's.
    rig.write(&format!("there/work/{}", name(3, 3)), "PAGE 3 OF 3");
    rig.write(&format!("home/src/{}", name(9, 9)), "Page 9 Of 9");
    rig.well(&["add", "src", "nas:work"]);
    let said = rig.yeet(&["wait"]);
    assert_eq!(said.0, 1, "{}", said.1);
    let conflicts = rig.yeet(&["conflicts"]).1;
    let mut paths: Vec<&str> = conflicts.lines().filter_map(|l| l.split('\t').nth(2)).collect();
    paths.sort_unstable();
    assert_eq!(paths, [name(3, 3), name(9, 9)]);
}

#[test]
fn an_agent_that_is_killed_reads_nothing_again_that_it_had_read() {
    let Some(rig) = rig() else { return };
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    // What it has read it writes down when it rests; without that, what it tells afterwards costs what it did at first.
    let cache = rig.at("there/.cache/yeet/replicas");
    let is_there = || fs::read_dir(&cache).is_ok_and(|mut files| files.next().is_some());
    while !is_there() {
        rig.well(&["status"]);
    }
    let again = rig.line.passes(|| {
        rig.kill_agent();
        rig.well(&["wait", "--offline"]);
    });
    assert!(again < CONNECTION + 4 * ALL, "{again} bytes");
    rig.same();
}
