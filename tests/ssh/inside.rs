//! What is asked inside a replica on a host, by who logs in there.
//!
//! Holds: everything there is run over SSH, as a user would, by the program that yeet copied there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::daemon::Rig;
use super::nobody;
use super::server::{has, user};
use yeet::sources::control::wire::{Hello, read_frame, write_frame};

impl Rig {
    /// Runs a line of a shell in the replica on the host; its exit code and what it said.
    fn there(&self, line: &str) -> (i32, String) {
        let line = format!("cd \"$HOME/work\" && {{ {line}; }} 2>&1");
        let ended = self.home.run("nas", nobody(), &line).unwrap();
        let code = ended.status.map(|status| i32::try_from(status).unwrap());
        (code.unwrap_or(-1), String::from_utf8_lossy(&ended.out).into_owned())
    }

    /// The same, by yeet's words, with exit code 0.
    fn well_there(&self, words: &str) -> String {
        let (code, said) = self.there(&format!(".yeet/yeet {words}"));
        assert_eq!(code, 0, "yeet {words}: {said}");
        said
    }

    fn refused_there(&self, words: &str, why: &str) {
        let (code, said) = self.there(&format!(".yeet/yeet {words}"));
        assert!(code == 3 && said.contains(why), "yeet {words}: {code}: {said}");
    }

    fn socket(&self) -> PathBuf {
        let sign = self.home.read("there/work/.yeet/daemon");
        let socket = sign.lines().find_map(|line| line.strip_prefix("socket ")).unwrap();
        socket.into()
    }

    /// A sync of `src` with `work` on the host, which are the same.
    fn added(words: &[&str]) -> Option<Self> {
        let rig = Self::new()?;
        rig.write("home/src/f", "first\n");
        rig.write("home/src/d/g", "second\n");
        rig.well(&[&["add"], words, &["src", "nas:work"]].concat());
        rig.well(&["wait"]);
        Some(rig)
    }
}

#[test]
fn who_waits_on_the_leafs_host_goes_on_when_the_sources_last_edit_is_there() {
    let Some(rig) = Rig::added(&[]) else { return };
    for round in 0..20 {
        let text = format!("edit {round}");
        for n in 0..10 {
            rig.write(&format!("home/src/many/{n}"), &text);
        }
        rig.write("home/src/f", &text);
        let (code, said) = rig.there("cd d && ../.yeet/yeet wait && cat ../f ../many/9");
        assert_eq!((code, said), (0, format!("{text}{text}")));
    }
    // And by what was made there at the last moment, too.
    let (code, said) = rig.there("echo made >made && .yeet/yeet wait --timeout 60");
    assert_eq!((code, rig.home.read("home/src/made").as_str()), (0, "made\n"), "{said}");
}

#[test]
fn the_state_is_asked_from_everywhere_in_the_replica_and_is_of_its_sync_alone() {
    let Some(rig) = Rig::added(&[]) else { return };
    fs::create_dir(rig.at("home/secret")).unwrap();
    rig.well(&["add", "secret", "secret-copy"]);
    rig.well(&["wait"]);
    assert_eq!(rig.well_there("status"), "src\tin-sync\t2\t0\t0\t0\t0\t0\n");
    assert_eq!(rig.well_there("status src"), rig.well_there("status"));
    for words in ["status ./d", "status \"$HOME/work/d/g\"", "status --sync src d/g"] {
        assert!(rig.well_there(words).starts_with("src\tin-sync\t1\t"), "{words}");
    }
    let (code, said) = rig.there("cd / && \"$OLDPWD/.yeet/yeet\" status \"$OLDPWD/d\"");
    assert!(code == 0 && said.starts_with("src\t"), "{said}");
    let leaves = rig.well_there("status -l -o leaf,state,agent");
    assert!(leaves.starts_with("work\tin-sync\t"), "{leaves}");
    assert!(rig.well_there("explain ./d/g").starts_with("d/g: "));
    assert!(rig.well_there("log ./d").contains("\tcreate\twork\t"));
    assert_eq!(rig.well_there("conflicts"), "");
    rig.refused_there("status secret", "this is a replica of the sync src, and of none called");
    rig.refused_there("log --sync secret x", "of none called secret");
    rig.refused_there("resolve --keep source ./f \"$HOME/x\"", "is not in the replica");
    rig.refused_there("explain \"$HOME/x\"", "no daemon runs");
}

#[test]
fn what_changes_syncs_is_refused_with_a_word_where_to_ask() {
    let Some(rig) = Rig::added(&[]) else { return };
    for words in ["pause", "resume", "forget", "set", "allow", "deny"] {
        rig.refused_there(words, &format!("{words} is not answered here"));
    }
    rig.refused_there("bump ./f", "not answered in a replica on another machine");
    // Nothing was started for it either.
    rig.refused_there("daemon status", "no daemon runs");
}

#[test]
fn a_conflict_is_seen_and_decided_on_the_leafs_host() {
    let Some(rig) = Rig::added(&[]) else { return };
    let both = |text: &str| {
        rig.line.cut();
        rig.write("home/src/f", &format!("here {text}\n"));
        rig.write("there/work/f", &format!("there {text}\n"));
        rig.line.mend();
        assert_eq!(rig.yeet(&["wait", "--offline"]).0, 1);
    };
    both("1");
    assert_eq!(rig.there(".yeet/yeet wait").0, 1);
    assert_eq!(rig.there(".yeet/yeet conflicts"), (1, "src\tedit/edit\tf\n".to_owned()));
    assert_eq!(rig.well_there("cat --from source f"), "here 1\n");
    let (code, said) = rig.there(".yeet/yeet diff ./f");
    assert!(code == 1 && said.contains("-here 1\n+there 1"), "{said}");
    assert!(
        said.contains(&rig.at("there/work/f").display().to_string()),
        "its own is not sent: {said}"
    );
    rig.well_there("resolve --keep work ./f");
    rig.well_there("wait");
    assert_eq!(rig.home.read("home/src/f"), "there 1\n");
    both("2");
    rig.write("there/merged", "merged\n");
    rig.well_there("resolve --with ../merged f");
    rig.well_there("wait");
    assert_eq!(
        (rig.home.read("home/src/f"), rig.home.read("there/work/f")),
        ("merged\n".into(), "merged\n".into())
    );
    both("3");
    let (code, said) = rig.there(".yeet/yeet conflicts -p | .yeet/yeet resolve --newest -");
    assert_eq!(code, 0, "{said}");
    rig.well_there("wait");
    let (code, said) = rig.there("truncate -s 16M ../large; .yeet/yeet resolve --with ../large f");
    assert!(code == 3 && said.contains("larger than the 15 MiB that can be sent"), "{said}");
}

#[test]
fn a_displaced_version_comes_back_to_a_file_of_the_leafs_host_or_in_place() {
    let Some(rig) = Rig::added(&[]) else { return };
    fs::set_permissions(rig.at("home/src/f"), std::os::unix::fs::PermissionsExt::from_mode(0o750))
        .unwrap();
    rig.well(&["wait"]);
    rig.write("there/work/f", "newer\n");
    rig.well(&["wait"]);
    let versions = rig.well_there("versions ./f");
    assert!(versions.contains("\tsource\t") && versions.ends_with("\tf\n"), "{versions}");
    let (code, said) =
        rig.there(".yeet/yeet restore --to ../old ./f && stat -c %a ../old && cat ../old");
    assert!(code == 0 && said.ends_with("750\nfirst\n"), "{said}");
    let (code, said) = rig.there(".yeet/yeet restore --to ../old ./f");
    assert!(code == 3 && said.contains("File exists"), "it is not replaced: {said}");
    rig.refused_there("restore --to ../none ./d/g", "no displaced version of d/g is kept");
    assert!(!rig.at("there/none").exists());
    rig.well_there("restore ./f");
    rig.well_there("wait");
    assert_eq!(rig.home.read("there/work/f"), "first\n");
}

#[test]
fn nothing_is_seen_from_a_host_but_what_is_carried_there() {
    let Some(rig) = Rig::added(&["--ignore", "*.key"]) else { return };
    rig.write("home/src/my.key", "a secret");
    rig.write("home/src/d/link-to", "");
    rig.write("home/other", "of no sync");
    std::os::unix::fs::symlink(rig.at("home"), rig.at("home/src/up")).unwrap();
    rig.well(&["wait"]);
    for path in ["my.key", ".yeet/id", ".yeet/lock", "up/other", "d"] {
        rig.refused_there(&format!("cat --from source --sync src {path}"), "cannot read");
    }
    rig.refused_there("cat --from source ../other", "no daemon runs");
    assert_eq!(rig.well_there("cat --from source ./d/g"), "second\n");
}

#[test]
fn in_a_mode_in_which_a_leaf_does_not_reach_the_source_it_does_not_by_asking_either() {
    let Some(rig) = Rig::added(&["--mode", "one-way"]) else { return };
    rig.well(&["add", "--to", "src", "near"]);
    rig.well(&["wait"]);
    rig.write("home/near/of near alone", "private");
    rig.write("home/src/f", "newer\n");
    rig.well(&["wait"]);
    rig.write("there/work/f", "edited there\n");
    assert_eq!(rig.yeet(&["wait"]).0, 1);
    for words in ["--keep work", "--newest", "--with ../work/f"] {
        rig.refused_there(&format!("resolve {words} ./f"), "only what it has can be kept");
    }
    let (code, said) = rig.there(".yeet/yeet diff ./f");
    assert!(code == 1 && said.contains("-newer\n+edited there"), "{said}");
    let (code, said) = rig.there("echo mine >mine && .yeet/yeet diff ./mine");
    assert!(code == 1 && said.contains("\n+mine"), "the source has nothing there: {said}");
    rig.refused_there("restore ./f", "would not reach the source");
    rig.refused_there("cat --from near './of near alone'", "is not carried here in this mode");
    rig.well_there("resolve --keep source ./f");
    rig.well_there("wait");
    assert_eq!(rig.home.read("there/work/f"), "newer\n");
    assert_eq!(rig.home.read("home/src/f"), "newer\n");
}

#[test]
fn where_the_daemon_is_not_connected_that_is_said_and_nothing_is_started() {
    let Some(rig) = Rig::added(&[]) else { return };
    let socket = rig.socket();
    assert!(socket.exists());
    rig.well(&["daemon", "stop"]);
    assert!(!socket.exists(), "it goes with the connection");
    for words in ["wait", "status", "cat --from source ./f", "diff ./f", "status -q"] {
        rig.refused_there(words, "the daemon that owns this replica is not connected (");
    }
    rig.refused_there("resume", "resume is not answered here");
    // One that was killed leaves its socket behind.
    UnixListener::bind(&socket).unwrap();
    rig.refused_there("wait", "the daemon that owns this replica is not connected (");
    rig.well(&["daemon", "start"]);
    rig.well(&["wait", "--offline"]);
    rig.well_there("wait");
}

#[test]
fn where_the_daemon_is_of_another_version_the_program_that_speaks_to_it_is_named() {
    let Some(rig) = Rig::added(&[]) else { return };
    let socket = rig.socket();
    rig.well(&["daemon", "stop"]);
    let listener = UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut asked, _) = listener.accept().unwrap();
        let theirs = read_frame::<Hello>(&mut asked).unwrap().unwrap();
        write_frame(&mut asked, &Hello { version: theirs.version + 1 }).unwrap();
    });
    let agent = fs::read_link(rig.at("there/work/.yeet/yeet")).unwrap();
    let hint = format!("the program that speaks to it is {}", agent.display());
    rig.refused_there("status", &hint);
    answering.join().unwrap();
}

#[test]
fn another_user_of_the_host_is_not_answered() {
    let Some(rig) = Rig::added(&[]) else { return };
    if !has("setpriv") || user() != "root" {
        return;
    }
    // All that is on the way is open to everybody, what is the user's alone is not.
    let (code, said) = rig.there(
        "for d in . .. ../.. .yeet; do chmod a+rx $d; done; cp \"$(readlink .yeet/yeet)\" ../all && chmod 755 ../all && \
         cat .yeet/daemon >/dev/null && env -i HOME=/ setpriv --reuid 12345 --regid 12345 --clear-groups ../all status",
    );
    assert!(code == 3 && said.contains("no daemon runs"), "{code}: {said}");
    let socket = fs::metadata(rig.socket()).unwrap();
    let dir = fs::metadata(rig.socket().parent().unwrap()).unwrap();
    assert_eq!((socket.mode() & 0o777, dir.mode() & 0o777), (0o600, 0o700));
}

#[test]
fn a_log_that_is_followed_goes_on_and_ends_with_who_follows_it() {
    let Some(rig) = Rig::added(&[]) else { return };
    let (code, said) = rig.there(
        "mkfifo ../followed && { .yeet/yeet log -f --act update >../followed & } && echo more >f && \
         grep -m 1 'update.*f$' ../followed && kill $!",
    );
    assert_eq!(code, 0, "{said}");
    rig.well(&["wait"]);
}

#[test]
fn a_daemon_of_the_hosts_own_is_asked_about_its_own_replicas_and_no_others() {
    let Some(rig) = Rig::added(&[]) else { return };
    let (code, said) = rig.there(
        "cd .. && mkdir mine && echo x >mine/x && work/.yeet/yeet add mine mine-copy && cd mine && ../work/.yeet/yeet wait && \
         ../work/.yeet/yeet status && cd ../work && .yeet/yeet status && .yeet/yeet wait",
    );
    let (stopped, _) = rig.there(".yeet/yeet daemon stop");
    assert_eq!((code, stopped), (0, 0), "{said}");
    assert_eq!(said, "mine\tin-sync\t1\t0\t0\t0\t0\t0\nsrc\tin-sync\t2\t0\t0\t0\t0\t0\n");
    // Where the leaf is forgotten, the host's own daemon may have its directory, and is asked there from then on.
    let program = fs::read_link(rig.at("there/work/.yeet/yeet")).unwrap();
    rig.well(&["forget", "src"]);
    let (code, said) = rig.there(&format!(
        "y={}; cd .. && $y add work work-copy && cd work && $y wait && $y status; c=$?; $y daemon stop; exit $c",
        program.display()
    ));
    assert!(code == 0 && said.starts_with("work\tin-sync\t"), "{said}");
}

#[test]
fn the_program_to_ask_with_is_said_where_one_looks_for_it() {
    let Some(rig) = Rig::added(&[]) else { return };
    let agent = fs::read_link(rig.at("there/work/.yeet/yeet")).unwrap().display().to_string();
    assert!(agent.contains("/yeet-"), "{agent}");
    let said = rig.well(&["status", "-l"]);
    assert!(said.ends_with(&format!("inside work yeet is {agent}\n")), "{said}");
    assert_eq!(said.lines().next().unwrap().split('\t').count(), 8, "{said}");
    assert_eq!(rig.well(&["status", "-l", "-o", "agent"]), format!("{agent}\n"));
    assert!(rig.well(&["status", "-l", "--json"]).contains(&format!("\"agent\":\"{agent}\"")));
    assert!(rig.home.doctor("nas").1.contains(&format!("agent\tok\t{agent} is there")));
}
