//! Repositories survive being synced: whatever git does on one side, the other is a repository at every moment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::rig::{Raised, Rig};

/// Runs git as nobody in particular.
fn git(dir: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"])
        .args(["-c", "gc.auto=0", "-c", "commit.gpgsign=false", "-c", "core.editor=true"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .unwrap()
}

#[track_caller]
fn good(dir: &Path, args: &[&str]) -> String {
    let out = git(dir, args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "git {args:?}: {said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn has_git() -> bool {
    let there = Command::new("git").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: git is not installed");
    }
    there
}

/// A rig with an empty repository at `a/r`, and where it is on both sides.
fn repositories() -> (Rig, PathBuf, PathBuf) {
    let rig = Rig::synced("two-way");
    let (near, far) = (rig.path("a/r"), rig.path("b/r"));
    std::fs::create_dir(&near).unwrap();
    good(&near, &["init", "--quiet"]);
    (rig, near, far)
}

/// A number from the environment, for longer runs.
fn asked_for<T: FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// One thing a developer does, by its number.
fn work(repository: &Path, step: usize) {
    let text = format!("line {step}\n").repeat(1 + step % 50);
    std::fs::write(repository.join(format!("f{}", step % 7)), text).unwrap();
    good(repository, &["add", "-A"]);
    good(repository, &["commit", "--quiet", "--allow-empty", "-m", &format!("step {step}")]);
    let branch = format!("b/{step}");
    match step % 10 {
        1 => drop(good(repository, &["branch", &branch])),
        2 => drop(good(repository, &["checkout", "--quiet", "-B", "topic"])),
        3 => {
            std::fs::write(repository.join("stashed"), format!("{step}")).unwrap();
            good(repository, &["stash", "--quiet", "--include-untracked"]);
            good(repository, &["stash", "pop", "--quiet"]);
        }
        4 => drop(good(repository, &["repack", "-a", "-d", "--quiet"])),
        5 => drop(good(repository, &["pack-refs", "--all", "--prune"])),
        6 => {
            good(repository, &["checkout", "--quiet", "main"]);
            drop(git(repository, &["rebase", "--quiet", "-X", "theirs", "topic"]));
            drop(git(repository, &["rebase", "--abort"]));
        }
        7 => drop(good(repository, &["gc", "--quiet", "--prune=now"])),
        8 => drop(good(
            repository,
            &["commit", "--quiet", "--amend", "--allow-empty", "-m", "amended"],
        )),
        9 => {
            good(repository, &["tag", "-f", "-m", "t", &format!("v{step}")]);
            drop(git(repository, &["branch", "--quiet", "-D", &format!("b/{}", step - 8)]));
        }
        _ => {}
    }
}

/// What is wrong with a repository, if anything is.
fn fault(repository: &Path) -> Option<String> {
    let checks = [
        &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"][..],
        // git prunes before it writes the graph of what is left: for that moment neither side's graph is good.
        &["-c", "core.commitGraph=false", "fsck", "--full", "--no-dangling", "--no-progress"],
        &["log", "--oneline", "--all", "--reflog"],
    ];
    checks.iter().find_map(|args| {
        let out = git(repository, args);
        let said = [out.stdout, out.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        (!out.status.success()).then(|| format!("git {args:?}: {said:?}"))
    })
}

#[allow(clippy::print_stdout, reason = "a long run says how long it was")]
fn says(what: &str, number: u64) {
    println!("{number} {what}");
}

/// Works in one repository, and looks at the other one again and again while nothing moves there.
fn works_at(near: &Path, far: &Path, rig: &Rig) {
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(rig.frozen(|| fault(far)), None, "after {looks} good looks");
                looks += 1;
            }
            looks
        });
        let _done = Raised(&done);
        for step in 1..asked_for("YEET_GIT_STEPS", 60) {
            work(near, step);
            if looking.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        looking.join().unwrap()
    });
    assert!(looks > 0);
    says("good looks", looks);
    // What changed all the time while it was read is a problem until it was read at rest.
    let begun = Instant::now();
    while rig.run(&["wait", "--timeout", "60"]).code == 1 && begun.elapsed().as_secs() < 60 {}
    rig.settle();
    assert_eq!(fault(far), None);
    let staged = |repository| good(repository, &["ls-files", "--stage"]);
    assert_eq!(staged(near), staged(far));
    assert_eq!(without_index(rig, "a"), without_index(rig, "b"));
}

#[test]
fn while_git_works_on_one_side_the_other_is_a_repository_at_every_moment() {
    if !has_git() {
        return;
    }
    let (rig, near, far) = repositories();
    work(&near, 0);
    rig.settle();
    works_at(&near, &far, &rig);
    works_at(&far, &near, &rig);
}

/// Everything but the indexes, of which each side may have its own.
fn without_index(rig: &Rig, side: &str) -> Vec<String> {
    rig.tree(side).into_iter().filter(|line| !line.starts_with("\"r/.git/index\"")).collect()
}

#[test]
fn what_git_remembers_in_its_index_about_files_is_no_edit() {
    if !has_git() {
        return;
    }
    let (rig, near, far) = repositories();
    work(&near, 0);
    rig.settle();
    let index = || ["a", "b"].map(|side| std::fs::read(rig.path(&format!("{side}/r/.git/index"))));
    let (begun, lasts) = (Instant::now(), asked_for("YEET_GIT_SECONDS", 0));
    let mut round = 0;
    let carried = || rig.exits(0, &["log"]).lines().filter(|l| l.contains("/.git/")).count();
    let before_all = carried();
    while round < 20 || begun.elapsed().as_secs() < lasts {
        round += 1;
        for repository in [&near, &far] {
            // Another time on a file makes git look into it and write down what it saw.
            let file = std::fs::File::options().write(true).open(repository.join("f0")).unwrap();
            let seconds = 1_700_000_000 + round;
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
            good(repository, &["update-index", "--refresh"]);
            assert_eq!(good(repository, &["status", "--porcelain"]), "");
        }
        let before = index().map(Result::unwrap);
        rig.settle();
        assert_ne!(before[0], before[1], "each side has its own");
        assert_eq!(index().map(Result::unwrap), before, "and keeps it");
    }
    assert_eq!(rig.exits(0, &["conflicts"]), "");
    assert_eq!(carried(), before_all, "nothing of the repositories was carried");
    says("rounds on both sides", round);

    // What the index says is carried, also to a side that has only looked at its files.
    std::fs::write(near.join("staged"), "new").unwrap();
    good(&near, &["add", "staged"]);
    rig.settle();
    assert_eq!(good(&far, &["diff", "--cached", "--name-only"]), "staged\n");
    good(&far, &["reset", "--quiet"]);
    rig.settle();
    assert_eq!(good(&near, &["diff", "--cached", "--name-only"]), "");
    assert_eq!(without_index(&rig, "a"), without_index(&rig, "b"));
}

/// Two repositories that were the same, and then had commits on both sides while no daemon ran; and those commits.
fn apart() -> (Rig, [PathBuf; 2], [String; 2]) {
    let (mut rig, near, far) = repositories();
    work(&near, 0);
    good(&near, &["branch", "kept"]);
    rig.settle();
    rig.stop();
    let commits = [(&near, 11), (&far, 12)].map(|(repository, step)| {
        work(repository, step);
        work(repository, step + 10);
        good(repository, &["rev-parse", "HEAD"]).trim().to_owned()
    });
    rig.start();
    rig.exits(1, &["wait", "--timeout", "60"]);
    (rig, [near, far], commits)
}

#[test]
fn work_on_both_sides_of_a_repository_is_one_conflict_and_is_resolved_as_a_whole() {
    if !has_git() {
        return;
    }
    for (keep, winner) in [("source", 0), ("b", 1)] {
        let (rig, both, commits) = apart();
        assert_eq!(rig.exits(1, &["conflicts", "-p"]).matches(".git").count(), 1);
        assert!(rig.exits(1, &["conflicts"]).contains("s\trepository\tr/.git\n"));
        assert_eq!(rig.exits(1, &["conflicts", "-l"]).matches("\trepository\t").count(), 2);
        for path in ["a/r/.git", "a/r/.git/HEAD", "a/r/.git/refs/heads/main"] {
            let said = rig.ok(&["explain", path]);
            assert!(said.contains(&format!("--keep {keep} ./r/.git\n")), "{said}");
            assert!(said.contains("changed on both sides"), "{said}");
        }
        for repository in &both {
            assert_eq!(fault(repository), None);
        }
        for (repository, commit) in both.iter().zip(&commits) {
            assert_eq!(good(repository, &["rev-parse", "HEAD"]).trim(), commit, "nothing moved");
        }
        let said = rig.run(&["resolve", "--both", ".mine", "a/r/.git"]);
        assert!(said.code == 1 && said.stderr.contains("decided as a whole"), "{said:?}");

        let staged = good(&both[winner], &["ls-files", "--stage"]);
        // A path in it stands for all of it.
        rig.ok(&["resolve", "--keep", keep, "a/r/.git/index"]);
        rig.settle();
        for repository in &both {
            assert_eq!(fault(repository), None);
            assert_eq!(good(repository, &["rev-parse", "HEAD"]).trim(), commits[winner]);
            assert_eq!(good(repository, &["ls-files", "--stage"]), staged);
            for commit in &commits {
                good(repository, &["cat-file", "-e", commit]);
            }
        }
        assert_eq!(without_index(&rig, "a"), without_index(&rig, "b"));
    }
}

#[test]
fn a_work_tree_that_is_a_root_does_not_see_what_is_ours() {
    if !has_git() {
        return;
    }
    let rig = Rig::synced("two-way");
    let (near, far) = (rig.path("a"), rig.path("b"));
    good(&near, &["init", "--quiet"]);
    work(&near, 0);
    rig.settle();
    for repository in [&near, &far] {
        assert_eq!(good(repository, &["status", "--porcelain"]), "");
        assert_eq!(good(repository, &["ls-files"]), "f0\n");
        good(repository, &["clean", "--quiet", "-ffd"]);
        assert!(repository.join(".yeet/id").exists());
    }
    rig.settle();
}
