//! What is ignored, and by which line of which file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use yeet::dataflow::model::path::RelPath;
use yeet::dataflow::model::replica::Replica;
use yeet::sources::ignores::{IgnoredBy, Ignores};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a good path")
}

fn leaf() -> Replica {
    Replica::leaf(1).expect("slot 1")
}

/// The rules of a source and a leaf that have no file of rules yet.
fn none() -> Ignores {
    with(&[])
}

fn with(patterns: &[String]) -> Ignores {
    let rules = Ignores::new(patterns, false).expect("patterns");
    rules.attach(Replica::SOURCE);
    rules.attach(leaf());
    rules
}

fn ignored(rules: &Ignores, text: &str, is_dir: bool) -> bool {
    rules.matched_or_above(&path(text), is_dir).is_some()
}

#[test]
fn an_option_is_like_a_gitignore_at_the_root() {
    let rules =
        Ignores::new(&["*.o".into(), "/build/".into(), "a/b".into()], false).expect("patterns");
    assert!(ignored(&rules, "x/y/z.o", false));
    assert!(ignored(&rules, "build", true));
    assert!(ignored(&rules, "build/x/y", false));
    assert!(!ignored(&rules, "build", false), "a file of that name is no directory");
    assert!(!ignored(&rules, "x/build", true), "only at the root");
    assert!(ignored(&rules, "a/b", false));
    assert!(!ignored(&rules, "x/a/b", false));
}

#[test]
fn vcs_directories_are_left_out_on_request() {
    let rules = Ignores::new(&[], true).expect("patterns");
    for name in [".git", ".hg", ".svn", ".jj", "CVS"] {
        assert!(ignored(&rules, &format!("deep/er/{name}"), true), "{name}");
    }
    assert!(ignored(&rules, ".git", false), "a worktree's .git is a file");
    assert!(!ignored(&rules, ".gitignore", false));
    assert!(!ignored(&none(), ".git", true));
}

#[test]
fn the_deeper_file_wins_and_an_exclamation_mark_takes_back() {
    let rules = none();
    assert_eq!(rules.set(Replica::SOURCE, &path(""), Some(b"*.log\n!keep.log\n")), Some(path("")));
    assert!(rules.set(Replica::SOURCE, &path("a"), Some(b"!*.log\n")).is_some());
    assert!(ignored(&rules, "x.log", false));
    assert!(!ignored(&rules, "keep.log", false));
    assert!(ignored(&rules, "b/x.log", false));
    assert!(!ignored(&rules, "a/x.log", false));
}

#[test]
fn what_one_replica_ignores_is_ignored_on_all() {
    let rules = none();
    rules.set(leaf(), &path(""), Some(b"tmp/\n"));
    rules.set(Replica::SOURCE, &path(""), Some(b"!tmp/\n"));
    let by = rules.matched(&path(""), b"tmp", true).expect("the leaf's rule");
    assert_eq!(
        by,
        IgnoredBy { pattern: "tmp/".into(), file: Some((leaf(), path(".yeetignore"))), line: 1 }
    );
}

#[test]
fn a_replica_that_takes_an_option_back_needs_the_others_to_agree() {
    let rules = with(&["*.iso".into()]);
    rules.set(Replica::SOURCE, &path(""), Some(b"!*.iso\n"));
    assert!(ignored(&rules, "x.iso", false));
    rules.set(leaf(), &path(""), Some(b"!*.iso\n"));
    assert!(!ignored(&rules, "x.iso", false));
}

#[test]
fn a_bad_line_is_a_problem_with_its_line_and_ignores_nothing() {
    let rules = none();
    rules.set(Replica::SOURCE, &path("d"), Some(b"# fine\n*.o\n{a\n!\n/\n**/\n\xff\n"));
    let lines: Vec<u32> = rules.problems().iter().map(|p| p.line).collect();
    assert_eq!(lines, [3, 4, 5, 7]);
    assert_eq!(rules.problems()[0].file, Some((Replica::SOURCE, path("d/.yeetignore"))));
    assert!(!ignored(&rules, "d/anything", false));
    assert!(ignored(&rules, "d/x.o", false));
    let error = Ignores::new(&["ok".into(), "{a".into()], false).err().expect("refused");
    assert_eq!(error.line, 2);
}

#[test]
fn names_that_are_not_text_are_matched_by_their_bytes() {
    let rules = Ignores::new(&["*.o".into()], false).expect("patterns");
    assert!(rules.matched(&path(""), b"\xff\xfe.o", false).is_some());
    assert!(rules.matched(&path(""), b"\xff\xfe.c", false).is_none());
    let odd = RelPath::parse(b"\xff/d").expect("a good path");
    assert!(rules.matched(&odd, b"x\ny.o", false).is_some());
}

#[test]
fn only_a_change_of_the_text_is_a_change() {
    let rules = none();
    let version = rules.version();
    assert_eq!(rules.set(leaf(), &path("a"), None), None);
    assert_eq!(rules.set(leaf(), &path("a"), Some(b"x\n")), Some(path("a")));
    assert_eq!(rules.set(leaf(), &path("a"), Some(b"x\n")), None);
    assert_eq!(rules.set(leaf(), &path("a"), Some(b"y\n")), Some(path("a")));
    assert_eq!(rules.version(), version + 2);
    assert_eq!(rules.keep_only(leaf(), &path(""), |name| name != b"a"), [path("a")]);
    assert!(!ignored(&rules, "a/y", false));
}

#[test]
fn a_file_of_rules_longer_than_a_mebibyte_is_a_problem() {
    let rules = none();
    rules.set(leaf(), &path(""), Some(&b"*\n".repeat(600_000)));
    assert!(!ignored(&rules, "x", false));
    assert_eq!(rules.problems().len(), 1);
}

#[test]
fn an_indented_or_commented_line_means_what_it_means_to_git() {
    let rules = none();
    rules.set(leaf(), &path(""), Some(b"\xef\xbb\xbf#c\r\n\\#file\r\nfoo  \r\n\\!bang\n"));
    assert!(ignored(&rules, "#file", false));
    assert!(ignored(&rules, "foo", false));
    assert!(ignored(&rules, "!bang", false));
    assert!(!ignored(&rules, "#c", false));
}

#[test]
fn a_detached_replica_leaves_nothing_out_and_takes_nothing_in() {
    let rules = none();
    rules.set(leaf(), &path("a"), Some(b"*.o\n"));
    assert_eq!(rules.detach(leaf()), [path("a")]);
    assert!(!ignored(&rules, "a/x.o", false));
    assert_eq!(rules.set(leaf(), &path("a"), Some(b"*.o\n")), None, "read before, said after");
    assert!(!ignored(&rules, "a/x.o", false));
    assert_eq!(rules.detach(leaf()), []);
}

#[test]
fn what_only_a_detached_replica_did_not_take_back_is_listed_again() {
    let rules = with(&["*.iso".into()]);
    rules.set(Replica::SOURCE, &path("images"), Some(b"!*.iso\n"));
    assert!(ignored(&rules, "images/x.iso", false));
    assert_eq!(rules.detach(leaf()), [path("images")]);
    assert!(!ignored(&rules, "images/x.iso", false));
}

#[test]
fn a_detached_replica_whose_rules_another_has_too_changes_nothing() {
    let rules = none();
    for replica in [Replica::SOURCE, leaf()] {
        rules.set(replica, &path(""), Some(b"*.o\n!keep.o\n"));
    }
    assert_eq!(rules.detach(leaf()), []);
    assert!(ignored(&rules, "x.o", false));
}
