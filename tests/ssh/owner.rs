//! A replica on a host that two machines' daemons want.

use std::fs;
use std::process::{Command, Stdio};

use super::daemon::Rig;

impl Rig {
    /// As `yeet`, on another machine of the same user.
    fn other(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yeet"));
        command.args(words).current_dir(self.home.path("other"));
        let command = self.home.at_home(&mut command);
        command.env("HOME", self.home.path("other")).env("XDG_RUNTIME_DIR", self.home.path("run2"));
        let out = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code().unwrap(), text(&out.stdout) + &text(&out.stderr))
    }
}

#[test]
fn a_replica_belongs_to_one_daemon_until_another_one_takes_it_over() {
    let Some(rig) = Rig::new() else { return };
    for dir in ["other/.ssh", "other/mine", "run2"] {
        fs::create_dir_all(rig.at(dir)).unwrap();
    }
    for file in fs::read_dir(rig.at("home/.ssh")).unwrap().flatten() {
        fs::copy(file.path(), rig.at("other/.ssh").join(file.file_name())).unwrap();
    }
    rig.write("home/src/f", "first");
    rig.well(&["add", "src", "nas:work"]);
    rig.well(&["wait"]);
    let (code, said) = rig.other(&["add", "mine", "nas:work"]);
    assert!(code == 3 && said.contains("it belongs to another daemon ("), "{said}");
    assert!(said.contains(", pid ") && said.contains("--take-over"), "{said}");
    let (code, said) = rig.other(&["add", "--take-over", "mine", "nas:work"]);
    assert!(code == 2 && said.contains("-y takes it over"), "nobody can be asked: {said}");
    assert_eq!(rig.yeet(&["status"]).0, 0, "and nothing was taken");
    let (code, said) = rig.other(&["add", "--take-over", "-y", "mine", "nas:work"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = rig.other(&["wait"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(rig.home.read("other/mine/f"), "first");
    let (code, said) = rig.yeet(&["wait"]);
    let leaves = rig.yeet(&["status", "-l"]).1;
    assert!(code == 1 && leaves.contains("\toffline\trefused\t"), "{said} {leaves}");
    // Whoever gives it back lets the other one have it, with what has come meanwhile.
    rig.write("other/mine/new", "of the other one");
    assert_eq!(rig.other(&["wait"]).0, 0);
    let (code, said) = rig.other(&["forget", "mine"]);
    assert_eq!(code, 0, "{said}");
    while rig.yeet(&["wait"]).0 != 0 {}
    rig.same();
    assert_eq!(rig.home.read("home/src/new"), "of the other one");
    rig.other(&["daemon", "stop"]);
}
