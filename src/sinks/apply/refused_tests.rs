//! The apply tests where the kernel lacks the newer calls: what takes their place must hold the same.
//!
//! They run again in a child process, whose calls a filter refuses.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Names the refused calls to the child.
const REFUSED: &str = "YEET_TEST_REFUSED";
const TMPFILE: &str = "O_TMPFILE";
const CALLS: [(&str, i64); 4] = [
    ("openat2", libc::SYS_openat2),
    ("statx", libc::SYS_statx),
    ("renameat2", libc::SYS_renameat2),
    ("copy_file_range", libc::SYS_copy_file_range),
];

/// A filter that fails these calls with `errno` and lets all else pass.
pub(super) fn refusing(errno: i32, rules: BTreeMap<i64, Vec<SeccompRule>>) -> BpfProgram {
    let errno = SeccompAction::Errno(errno.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).unwrap().try_into().unwrap()
}

fn filters(refused: &[&str]) -> Vec<BpfProgram> {
    let mut filters = Vec::new();
    let calls: BTreeMap<_, _> = CALLS
        .iter()
        .filter(|(name, _)| refused.contains(name))
        .map(|(_, call)| (*call, Vec::new()))
        .collect();
    if !calls.is_empty() {
        filters.push(refusing(libc::ENOSYS, calls));
    }
    if refused.contains(&TMPFILE) {
        let flags = u64::from(OFlags::TMPFILE.bits());
        let has_it =
            SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(flags), flags);
        let rule = SeccompRule::new(vec![has_it.unwrap()]).unwrap();
        let calls = BTreeMap::from([(libc::SYS_openat, vec![rule])]);
        filters.push(refusing(libc::EOPNOTSUPP, calls));
    }
    filters
}

/// Runs the apply tests in a child to which these are refused, and the test below that shows that they are.
#[track_caller]
fn all_holds_without(refused: &[&str]) {
    let filters = filters(refused);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["sinks::apply::tests::", "sinks::apply::refused_tests::what_is_refused_fails"])
        .arg("--test-threads=1")
        .env(REFUSED, refused.join(","));
    let install = move || {
        filters
            .iter()
            .try_for_each(|filter| seccompiler::apply_filter(filter))
            .map_err(|_| std::io::Error::last_os_error())
    };
    #[allow(unsafe_code, reason = "only before exec can a filter hold for the whole child")]
    // SAFETY: between fork and exec it makes two system calls a filter with memory made before, and allocates nothing.
    unsafe {
        child.pre_exec(install);
    }
    let out = child.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{refused:?}: {text}\n{}", String::from_utf8_lossy(&out.stderr));
    let passed = text.split(" passed").next().and_then(|before| before.rsplit(' ').next());
    let passed: usize = passed.unwrap().parse().unwrap();
    assert!(passed > 10 && text.contains("what_is_refused_fails ... ok"), "{text}");
}

#[test]
fn what_is_refused_fails() {
    // Without the variable nothing is refused, and nothing may fail.
    let refused = std::env::var(REFUSED).unwrap_or_default();
    let refused: Vec<&str> = refused.split(',').collect();
    let dir = tempfile::tempdir().unwrap();
    let open = OFlags::RDONLY | OFlags::DIRECTORY;
    let at = fs::open(dir.path(), open, Mode::empty()).unwrap();
    let file = std::fs::File::create(dir.path().join("f")).unwrap();
    let beneath = ResolveFlags::BENEATH;
    let tmpfile = OFlags::TMPFILE | OFlags::RDWR;
    let found = [
        ("openat2", Errno::NOSYS, fs::openat2(&at, ".", open, Mode::empty(), beneath).err()),
        ("statx", Errno::NOSYS, fs::statx(CWD, "/", AtFlags::empty(), StatxFlags::ALL).err()),
        (
            "renameat2",
            Errno::NOSYS,
            fs::renameat_with(&at, "f", &at, "g", RenameFlags::NOREPLACE).err(),
        ),
        ("copy_file_range", Errno::NOSYS, fs::copy_file_range(&file, None, &file, None, 1).err()),
        (TMPFILE, Errno::OPNOTSUPP, fs::openat(&at, ".", tmpfile, Mode::RUSR).err()),
    ];
    for (call, errno, got) in found {
        assert_eq!(got == Some(errno), refused.contains(&call), "{call}: {got:?}");
    }
}

#[test]
fn all_holds_without_openat2() {
    all_holds_without(&["openat2"]);
}

#[test]
fn all_holds_without_statx() {
    all_holds_without(&["statx"]);
}

#[test]
fn all_holds_without_renameat2() {
    all_holds_without(&["renameat2"]);
}

#[test]
fn all_holds_without_copy_file_range() {
    all_holds_without(&["copy_file_range"]);
}

#[test]
fn all_holds_without_unnamed_files() {
    all_holds_without(&[TMPFILE]);
}

#[test]
fn all_holds_without_any_of_them() {
    all_holds_without(&["openat2", "statx", "renameat2", "copy_file_range", TMPFILE]);
}
