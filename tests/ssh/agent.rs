//! The agent gets to hosts where nothing is installed, and where not every folder will do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::at;
use super::server::{Home, Server, has, has_namespaces, user};

/// A home that is let in at a server whose user has a home of his own, `there`; `setup` is run before the server, with
/// file systems of its own, by root.
pub(crate) fn server(setup: &str) -> Option<(Home, Server)> {
    if !has("sshd") || !has_namespaces() {
        return None;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    let there = home.path("there").display().to_string();
    let setup = setup.replace("THERE", &there);
    let server = Server::openssh_after(&home, "MaxSessions 1", &setup);
    at(&home, &server);
    Some((home, server))
}

fn agents(home: &Home) -> Vec<PathBuf> {
    let dir = home.path("there/.cache/yeet/agent");
    let mut all: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    all.sort();
    all
}

#[test]
fn the_first_contact_copies_the_agent_and_the_second_finds_it() {
    let Some((home, _server)) = server("") else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    let all = agents(&home);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(fs::metadata(&all[0]).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(said.contains(&format!("agent\tok\t{} was copied", all[0].display())), "{said}");
    assert!(said.contains("answer\tok\tthe agent answers"), "{said}");
    let (code, said) = home.doctor("nas");
    assert!(code == 0 && said.contains(&format!("{} is there", all[0].display())), "{said}");
    let there: Vec<_> =
        fs::read_dir(home.path("there")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(there, [".cache"], "nothing else was left");
}

#[test]
fn a_file_of_the_agents_name_that_is_another_one_is_replaced() {
    let Some((home, _server)) = server("") else { return };
    home.doctor("nas");
    let agent = agents(&home).remove(0);
    for wrong in ["#!/bin/sh\necho gotcha\n", "\x7fELF half a file"] {
        fs::write(&agent, wrong).unwrap();
        let (code, said) = home.doctor("nas");
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("agent\tnote") && said.contains("was copied"), "{said}");
        assert_eq!(agents(&home).len(), 1);
    }
}

#[test]
fn agents_that_nobody_has_used_for_long_go_when_one_is_copied() {
    let Some((home, _server)) = server("") else { return };
    let dir = home.path("there/.cache/yeet/agent");
    fs::create_dir_all(&dir).unwrap();
    for (name, days) in [("yeet-old", 40), (".yeet-cut.1", 40), ("yeet-young", 20), ("mine", 40)] {
        let file = fs::File::create(dir.join(name)).unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        file.set_modified(then).unwrap();
    }
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    let names: Vec<_> = agents(&home)
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.contains(&"yeet-young".to_owned()) && names.contains(&"mine".to_owned()),
        "{names:?}"
    );
    assert!(!names.contains(&"yeet-old".to_owned()) && names.len() == 3, "{names:?}");
}

#[test]
fn a_folder_from_which_no_program_runs_is_passed_over_for_the_next() {
    let setup = "mkdir THERE/.cache && mount -t tmpfs -o noexec none THERE/.cache";
    let Some((home, _server)) = server(setup) else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    let there = home.path("there").display().to_string();
    assert!(
        said.contains(&format!("folder\tnote\t{there}/.cache/yeet/agent: no program runs there")),
        "{said}"
    );
    assert!(said.contains(&format!("folder\tok\t{there}/.yeet-agent")), "{said}");
}

#[test]
fn a_folder_without_room_for_the_agent_is_left_empty_for_the_next() {
    let setup = "mkdir THERE/.cache && mount -t tmpfs -o size=256k none THERE/.cache";
    let Some((home, _server)) = server(setup) else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(
        said.contains(&format!("agent\tok\t{}/.yeet-agent/yeet-", home.path("there").display())),
        "{said}"
    );
}

#[test]
fn a_host_without_any_folder_says_where_was_looked_and_why_not() {
    let setup = "for d in THERE /var/tmp /dev/shm; do mount -t tmpfs -o noexec none $d; done";
    let Some((home, _server)) = server(setup) else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("agent\tfailed\tnas has no folder"), "{said}");
}

#[test]
fn a_folder_that_somebody_else_has_laid_is_not_used() {
    let setup = "mkdir -p THERE/.cache/yeet/agent && chown 12345 THERE/.cache/yeet/agent";
    let Some((home, _server)) = server(setup) else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("it belongs to somebody else"), "{said}");
    assert!(agents(&home).is_empty());
}

#[test]
fn a_login_shell_that_talks_or_is_not_posix_makes_no_difference() {
    for shell in [
        "#!/bin/sh\necho 'Welcome to nas!'\nprintf 'no end of line'\nexec /bin/sh \"$@\"\n",
        "tcsh",
    ] {
        if shell == "tcsh" && !has("tcsh") {
            continue;
        }
        let setup = if shell == "tcsh" {
            "sed 's,^\\(root:.*\\):[^:]*$,\\1:/bin/tcsh,' /etc/passwd > THERE/../etc/passwd; \
             mount --bind THERE/../etc/passwd /etc/passwd"
        } else {
            "sed \"s,^\\(root:.*\\):[^:]*\\$,\\1:$(realpath THERE/../etc/shell),\" /etc/passwd > THERE/../etc/passwd; \
             mount --bind THERE/../etc/passwd /etc/passwd"
        };
        let Some((home, _server)) = server(setup) else { return };
        if user() != "root" {
            return;
        }
        home.write("etc/shell", shell);
        fs::set_permissions(home.path("etc/shell"), fs::Permissions::from_mode(0o755)).unwrap();
        let (code, said) = home.doctor("nas");
        assert_eq!(code, 0, "{shell}: {said}");
        assert!(said.contains("answer\tok"), "{shell}: {said}");
    }
}

#[test]
fn a_user_whose_shell_runs_nothing_is_told_so() {
    let setup = "sed 's,^\\(root:.*\\):[^:]*$,\\1:/usr/sbin/nologin,' /etc/passwd > THERE/../etc/passwd; \
                 mount --bind THERE/../etc/passwd /etc/passwd";
    let Some((home, _server)) = server(setup) else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("command\tfailed") && said.contains("is it a restricted one?"), "{said}");
}

#[test]
fn small_servers_take_an_agent_too_also_those_of_one_channel_a_connection() {
    type Make = fn(&Home) -> Server;
    for (program, make) in [("dropbear", Server::dropbear as Make), ("tinysshd", Server::tinysshd)]
    {
        if !has(program) || !has_namespaces() {
            continue;
        }
        let home = Home::new();
        home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
        let server = make(&home);
        at(&home, &server);
        for word in ["was copied", "is there"] {
            let (code, said) = home.doctor("nas");
            let is_well = code == 0 && said.contains(word) && said.contains("answer\tok");
            assert!(is_well, "{program}: {said}");
        }
    }
}
