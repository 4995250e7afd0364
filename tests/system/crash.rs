//! kill -9, and state that is lost.

use std::fs;

use crate::rig::Rig;

#[test]
fn killed_at_any_moment_it_settles_and_loses_nothing() {
    let mut rig = Rig::synced("two-way");
    for round in 0..25 {
        for i in 0..40 {
            rig.write(&format!("a/d{}/f{i}", i % 4), &format!("round {round} file {i}"));
            rig.write(&format!("b/e{}/g{i}", i % 4), &format!("round {round} file {i}"));
        }
        for i in 0..8 {
            let link = rig.path(&format!("a/l{i}"));
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(format!("round {round}"), link).unwrap();
        }
        if round % 5 == 4 {
            fs::remove_dir_all(rig.path("a/d1")).unwrap();
        }
        // Before anything, or when one file or another has arrived: in the middle of the work.
        if round % 3 != 0 {
            let (at, text) =
                (rig.path(&format!("b/d0/f{}", round / 2 * 4 % 40)), format!("round {round} "));
            while !fs::read_to_string(&at).is_ok_and(|found| found.starts_with(&text)) {
                std::thread::yield_now();
            }
        }
        rig.kill();
        rig.start();
        if round % 2 == 0 {
            continue;
        }
        rig.settle();
        rig.equal();
        assert_eq!(rig.read("b/d0/f0"), format!("round {round} file 0"));
        assert_eq!(rig.read("a/e3/g3"), format!("round {round} file 3"));
    }
}

#[test]
fn without_its_state_it_loses_time_but_no_byte() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/same", "same");
    rig.write("a/differs", "old");
    rig.settle();
    rig.stop();
    rig.write("a/differs", "source's");
    rig.write("b/differs", "leaf's");
    rig.write("b/new", "new");
    fs::remove_file(rig.path("a/same")).unwrap();
    fs::remove_dir_all(rig.path("state/yeet")).unwrap();
    rig.start();
    rig.ok(&["add", "--name", "s", "a", "b"]);
    rig.exits(1, &["wait", "--timeout", "60"]);
    assert_eq!(rig.read("a/differs"), "source's");
    assert_eq!(rig.read("b/differs"), "leaf's");
    assert_eq!(rig.read("a/same"), "same", "without an agreement absence is no delete");
    assert_eq!(rig.read("a/new"), "new");
}

#[test]
fn a_corrupt_store_or_cache_is_said_and_costs_nothing_but_time() {
    let mut rig = Rig::synced("two-way");
    rig.write("a/f", "content");
    rig.settle();
    rig.stop();
    for dir in ["state", "cache"] {
        let mut dirs = vec![rig.path(dir)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|e| e == "redb" || e == "cache")
                    && !path.to_string_lossy().contains("registry")
                {
                    let mut bytes = fs::read(&path).unwrap();
                    bytes.iter_mut().step_by(7).for_each(|b| *b = !*b);
                    fs::write(&path, bytes).unwrap();
                }
            }
        }
    }
    rig.write("b/g", "more");
    rig.start();
    rig.run(&["wait", "--timeout", "60"]);
    assert_eq!(rig.read("a/f"), "content");
    assert_eq!(rig.read("a/g"), "more");
}
