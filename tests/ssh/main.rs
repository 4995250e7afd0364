//! Hosts that are reached by SSH: real servers of other people, on this machine.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod agent;
mod asked;
mod between;
mod copy;
mod daemon;
mod hostile;
mod inside;
mod line;
mod manifest;
mod network;
mod owner;
mod reconnect;
mod routes;
mod server;
mod socket;
mod terminal;

use std::sync::Arc;

use server::{Home, Script, Server, has, has_namespaces, user};
use yeet::ssh::ask::Nobody;
use yeet::ssh::error::{BadHostKey, Reason, SshError};

/// A home whose user may log in at `nas` with a key, and whose config knows the server.
fn at(home: &Home, server: &Server) {
    let port = server.port;
    home.config(&format!(
        "Host nas\n HostName 127.0.0.1\n Port {port}\n IdentityAgent none\n StrictHostKeyChecking accept-new\n"
    ));
}

fn nobody() -> Arc<Nobody> {
    Arc::new(Nobody)
}

/// A home with a key that is let in, and a server.
fn openssh(more: &str) -> Option<(Home, Server)> {
    if !has("sshd") {
        return None;
    }
    let home = Home::new();
    let key = home.key("home/.ssh/id_ed25519", "ed25519", "");
    home.write("etc/authorized", &key);
    let server = Server::openssh(&home, more);
    at(&home, &server);
    Some((home, server))
}

#[test]
fn a_command_has_its_input_and_its_outputs_and_status_come_apart() {
    let Some((home, _server)) = openssh("") else { return };
    let ended = home.with("nas", nobody(), async |connection| {
        let input: &[u8] = b"to it";
        let ended = connection.run("cat; echo no >&2; exit 7", input, 1 << 20).await;
        connection.close().await;
        ended
    });
    let ended = ended.unwrap().unwrap();
    assert_eq!((ended.out.as_slice(), ended.err.as_slice()), (&b"to it"[..], &b"no\n"[..]));
    assert_eq!((ended.status, ended.why().as_str()), (Some(7), "no"));
}

#[test]
fn a_command_that_reads_nothing_ends_although_there_is_more_to_feed_it() {
    let Some((home, _server)) = openssh("") else { return };
    let ended = home.with("nas", nobody(), async |connection| {
        connection.run("exit 3", tokio::io::repeat(0), 10).await
    });
    assert_eq!(ended.unwrap().unwrap().status, Some(3));
    let ended = home.run("nas", nobody(), "head -c 3000000 /dev/zero").unwrap();
    assert_eq!((ended.out.len(), ended.is_cut), (1 << 20, true));
}

#[test]
fn a_new_host_is_asked_about_once_and_then_known() {
    let Some((home, server)) = openssh("") else { return };
    let port = server.port;
    home.config(&format!("Host nas\n HostName 127.0.0.1\n Port {port}\n IdentityAgent none\n"));
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert!(matches!(error, SshError::HostKey { bad: BadHostKey::Unknown { .. }, .. }), "{error}");
    assert_eq!(error.reason(), Reason::Hostkey);
    let no = Script::of(&["no"]);
    let error = home.run("nas", no, "true").unwrap_err();
    assert!(matches!(error, SshError::HostKey { bad: BadHostKey::Declined { .. }, .. }), "{error}");
    assert_eq!(home.read("home/.ssh/known_hosts"), "");
    let yes = Script::of(&["yes"]);
    assert!(home.run("nas", yes.clone(), "true").unwrap().is_well());
    let asked = yes.questions();
    assert!(
        asked.len() == 1 && asked[0].contains(&format!("[127.0.0.1]:{port} is new here")),
        "{asked:?}"
    );
    assert!(home.run("nas", nobody(), "true").unwrap().is_well());
    let line = format!("[127.0.0.1]:{port} {}\n", home.public("keys/host"));
    assert_eq!(home.read("home/.ssh/known_hosts"), line);
}

#[test]
fn a_changed_and_a_revoked_key_are_refused_with_file_and_line() {
    let Some((home, server)) = openssh("") else { return };
    let other = home.key("keys/other", "ed25519", "");
    let port = server.port;
    home.write("home/.ssh/known_hosts", &format!("# one\n[127.0.0.1]:{port} {other}\n"));
    let error = home.run("nas", Script::of(&["yes"]), "true").unwrap_err();
    assert!(error.to_string().contains("known_hosts:2"), "{error}");
    assert!(error.hint().unwrap().contains("remove line 2 of"), "{error:?}");
    let own = home.public("keys/host");
    let text = format!("[127.0.0.1]:{port} {own}\n@revoked * {own}\n");
    home.write("home/.ssh/known_hosts", &text);
    let error = home.run("nas", Script::of(&["yes"]), "true").unwrap_err();
    assert!(error.to_string().contains("is revoked at"), "{error}");
    assert_eq!(home.read("home/.ssh/known_hosts"), text, "nothing was written");
}

#[test]
fn a_server_with_several_keys_is_asked_for_the_one_that_is_known() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    let mut more = String::new();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        home.key(&format!("keys/{kind}"), kind, "");
        more.push_str(&format!("HostKey {}\n", home.path(&format!("keys/{kind}")).display()));
    }
    let server = Server::openssh(&home, &more);
    at(&home, &server);
    for kind in ["rsa", "ecdsa", "ed25519"] {
        let key = home.public(&format!("keys/{kind}"));
        home.write("home/.ssh/known_hosts", &format!("[127.0.0.1]:{} {key}\n", server.port));
        assert!(home.run("nas", nobody(), "true").unwrap().is_well(), "{kind}");
    }
}

#[test]
fn a_host_is_reached_through_two_others() {
    let Some((home, server)) = openssh("") else { return };
    let (gate, inner) = (Server::openssh(&home, ""), Server::openssh(&home, ""));
    let config = format!(
        "Host *\n HostName 127.0.0.1\n IdentityAgent none\n StrictHostKeyChecking accept-new\n\
         Host gate\n Port {}\nHost inner\n Port {}\n ProxyJump none\nHost nas\n Port {}\n ProxyJump gate,inner\n",
        gate.port, inner.port, server.port
    );
    home.config(&config);
    let ended = home.with("nas", nobody(), async |connection| {
        let hosts: Vec<String> = connection.hops.iter().map(|hop| hop.host.clone()).collect();
        let ended = connection.run("echo $SSH_CONNECTION", tokio::io::empty(), 1 << 20).await;
        connection.close().await;
        (hosts, ended)
    });
    let (hosts, ended) = ended.unwrap();
    assert_eq!(hosts, ["gate", "inner", "nas"]);
    assert!(ended.unwrap().is_well());
}

#[test]
fn a_gateway_that_leads_nowhere_says_which_and_why() {
    let Some((home, server)) = openssh("") else { return };
    let closed = Server::openssh(&home, "AllowTcpForwarding no");
    let dead = { Server::silent().port };
    let config = |gate: u16, port: u16| {
        home.config(&format!(
            "Host *\n HostName 127.0.0.1\n IdentityAgent none\n StrictHostKeyChecking accept-new\n\
             Host gate\n Port {gate}\nHost nas\n Port {port}\n ProxyJump gate\n"
        ));
    };
    config(closed.port, server.port);
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert!(error.to_string().starts_with("gate does not lead to nas"), "{error}");
    assert!(error.to_string().contains("not allowed") && error.hint().is_some(), "{error}");
    config(server.port, dead);
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert!(error.to_string().contains("cannot be reached from there"), "{error}");
}

#[test]
fn every_usual_kind_of_key_is_let_in() {
    if !has("sshd") {
        return;
    }
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let home = Home::new();
        home.write("etc/authorized", &home.key(&format!("home/.ssh/id_{kind}"), kind, ""));
        let server = Server::openssh(&home, "");
        at(&home, &server);
        assert!(home.run("nas", nobody(), "true").unwrap().is_well(), "{kind}");
    }
}

#[test]
fn a_passphrase_is_asked_for_only_if_no_open_key_is_let_in() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    let locked = home.key("home/.ssh/id_ed25519", "ed25519", "a b");
    let open = home.key("home/.ssh/id_ecdsa", "ecdsa", "");
    home.write("etc/authorized", &format!("{locked}\n{open}\n"));
    let server = Server::openssh(&home, "");
    at(&home, &server);
    let script = Script::of(&[]);
    assert!(home.run("nas", script.clone(), "true").unwrap().is_well());
    assert!(script.questions().is_empty());
    home.write("etc/authorized", &format!("{locked}\n"));
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert_eq!(error.reason(), Reason::Auth);
    assert!(
        error.to_string().contains("it wants a passphrase, and nobody is there to ask"),
        "{error}"
    );
    let script = Script::of(&["wrong", "a b"]);
    assert!(home.run("nas", script.clone(), "true").unwrap().is_well());
    assert_eq!(script.questions().len(), 2, "{:?}", script.questions());
}

#[test]
fn a_key_that_others_can_read_is_not_used_and_said_so() {
    let Some((home, _server)) = openssh("") else { return };
    use std::os::unix::fs::PermissionsExt;
    let key = home.path("home/.ssh/id_ed25519");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert!(error.to_string().contains("others than you can read it"), "{error}");
    assert!(error.to_string().contains("it offers publickey"), "{error}");
}

#[test]
fn keys_of_an_agent_are_used_and_only_the_named_ones_where_the_config_says_so() {
    if !has("sshd") || !has("ssh-agent") {
        return;
    }
    let home = Home::new();
    let keys: Vec<String> =
        ["ed25519", "rsa"].iter().map(|k| home.key(&format!("keys/{k}"), k, "")).collect();
    let agent = Agent::new(&home, &["keys/ed25519", "keys/rsa"]);
    for (key, name) in keys.iter().zip(["ed25519", "rsa"]) {
        home.write("etc/authorized", key);
        let server = Server::openssh(&home, "");
        let config = |more: &str| {
            home.config(&format!(
                "Host nas\n HostName 127.0.0.1\n Port {}\n IdentityAgent {}\n StrictHostKeyChecking accept-new\n{more}",
                server.port,
                agent.socket.display()
            ));
        };
        config("");
        assert!(home.run("nas", nobody(), "true").unwrap().is_well(), "{name}");
        config(" IdentitiesOnly yes\n");
        let error = home.run("nas", nobody(), "true").unwrap_err();
        assert_eq!(error.reason(), Reason::Auth, "{error}");
        // The public half beside no private one names the agent's key.
        home.write("home/.ssh/mine.pub", key);
        config(" IdentitiesOnly yes\n IdentityFile ~/.ssh/mine\n");
        assert!(home.run("nas", nobody(), "true").unwrap().is_well(), "{name}");
    }
}

struct Agent {
    socket: std::path::PathBuf,
    process: std::process::Child,
}

impl Agent {
    fn new(home: &Home, keys: &[&str]) -> Self {
        use std::io::{BufRead, BufReader};
        let socket = home.path("agent");
        let mut process = std::process::Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It prints where it is once it is there.
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        for key in keys {
            let added = std::process::Command::new("ssh-add")
                .arg("-q")
                .arg(home.path(key))
                .env("SSH_AUTH_SOCK", &socket)
                .status();
            assert!(added.unwrap().success(), "ssh-add {key}");
        }
        Self { socket, process }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn a_certificate_lets_a_user_in_whose_key_alone_would_not() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    home.key("home/.ssh/id_ed25519", "ed25519", "");
    let authority = home.key("keys/ca", "ed25519", "");
    home.write("etc/ca", &authority);
    home.write("etc/authorized", "");
    home.sign("keys/ca", "home/.ssh/id_ed25519", &["-n", &user()]);
    let server =
        Server::openssh(&home, &format!("TrustedUserCAKeys {}", home.path("etc/ca").display()));
    at(&home, &server);
    assert!(home.run("nas", nobody(), "true").unwrap().is_well());
    std::fs::remove_file(home.path("home/.ssh/id_ed25519-cert.pub")).unwrap();
    assert_eq!(home.run("nas", nobody(), "true").unwrap_err().reason(), Reason::Auth);
}

#[test]
fn a_host_with_a_certificate_is_trusted_by_its_authority_and_no_other() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    home.key("keys/host", "ed25519", "");
    let (right, wrong) = (home.key("keys/ca", "ed25519", ""), home.key("keys/no", "ed25519", ""));
    home.sign("keys/ca", "keys/host", &["-h", "-n", "127.0.0.1"]);
    let server = Server::openssh(
        &home,
        &format!(
            "HostKey {}\nHostCertificate {}",
            home.path("keys/host").display(),
            home.path("keys/host-cert.pub").display()
        ),
    );
    home.config(&format!(
        "Host nas\n HostName 127.0.0.1\n Port {}\n IdentityAgent none\n",
        server.port
    ));
    home.write("home/.ssh/known_hosts", &format!("@cert-authority [127.0.0.1]:* {right}\n"));
    assert!(home.run("nas", nobody(), "true").unwrap().is_well());
    home.write("home/.ssh/known_hosts", &format!("@cert-authority [127.0.0.1]:* {wrong}\n"));
    assert_eq!(home.run("nas", nobody(), "true").unwrap_err().reason(), Reason::Hostkey);
    home.sign("keys/ca", "keys/host", &["-h", "-n", "other"]);
    home.write("home/.ssh/known_hosts", &format!("@cert-authority [127.0.0.1]:* {right}\n"));
    let error = home.run("nas", nobody(), "true").unwrap_err();
    assert!(error.to_string().contains("made out to `other`"), "{error}");
}

#[test]
fn a_locked_down_server_is_reached_and_runs_one_command_after_the_other() {
    if !has("sshd") {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    home.key("keys/rsa", "rsa", "");
    let server = Server::openssh(
        &home,
        &format!(
            "HostKey {}\nKexAlgorithms diffie-hellman-group14-sha256\nCiphers aes256-ctr\nMACs hmac-sha2-256\n\
             AllowTcpForwarding no\nMaxSessions 1\nRekeyLimit 1M",
            home.path("keys/rsa").display()
        ),
    );
    at(&home, &server);
    let all = home.with("nas", nobody(), async |connection| {
        let mut all = Vec::new();
        for n in 0..3 {
            let command = format!("head -c 3000000 /dev/zero | wc -c; echo {n}");
            all.push(connection.run(&command, tokio::io::empty(), 1 << 20).await.unwrap().out);
        }
        connection.close().await;
        all
    });
    assert_eq!(all.unwrap(), [b"3000000\n0\n", b"3000000\n1\n", b"3000000\n2\n"]);
}

#[test]
fn dropbear_runs_twenty_commands_one_right_after_the_other() {
    if !has("dropbear") || !has("ssh-keygen") || !has_namespaces() {
        return;
    }
    let home = Home::new();
    home.write("etc/authorized", &home.key("home/.ssh/id_ed25519", "ed25519", ""));
    let server = Server::dropbear(&home);
    at(&home, &server);
    let all = home.with("nas", nobody(), async |connection| {
        let mut all = Vec::new();
        for n in 0..20 {
            let input = n.to_string();
            all.push(connection.run("cat", input.as_bytes(), 1 << 20).await.unwrap().out);
        }
        connection.close().await;
        all
    });
    let want: Vec<Vec<u8>> = (0..20).map(|n| n.to_string().into_bytes()).collect();
    assert_eq!(all.unwrap(), want);
}

#[test]
fn a_machine_that_is_no_ssh_server_or_says_nothing_is_told_from_one_that_is_not_there() {
    let home = Home::new();
    let silent = Server::silent();
    let web = Server::new(|mut stream| {
        use std::io::{Read, Write};
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        drop(stream.shutdown(std::net::Shutdown::Write));
        std::thread::spawn(move || drop(stream.read_to_end(&mut Vec::new())));
    });
    let gone = { Server::silent().port };
    for (port, word) in [
        (silent.port, "it says nothing for 1 s"),
        (web.port, "it hung up before it said who it is"),
        (gone, "connection refused"),
    ] {
        home.config(&format!("Host nas\n HostName 127.0.0.1\n Port {port}\n ConnectTimeout 1\n"));
        let error = home.run("nas", nobody(), "true").unwrap_err();
        assert_eq!(error.reason(), Reason::Unreachable, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_doctor_tells_every_step_and_which_one_failed() {
    let Some((home, server)) = openssh("Banner /etc/hostname") else { return };
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 0, "{said}");
    let steps: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    let all = [
        "settings", "reach", "key", "banner", "login", "command", "machine", "folder", "agent",
        "answer", "socket", "watches", "files",
    ];
    assert_eq!(steps, all, "{said}");
    assert!(said.contains(&format!("nas is {}@127.0.0.1:{}", user(), server.port)), "{said}");
    assert!(said.contains("which offers publickey: publickey"), "{said}");
    assert!(said.contains("id_ed25519: accepted"), "{said}");
    assert!(said.contains("-gcm@openssh.com") && said.contains("OpenSSH_"), "{said}");
    home.write("etc/authorized", "");
    let (code, said) = home.doctor("nas");
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("login\tfailed\tcannot log in to nas") && said.contains("rejected"),
        "{said}"
    );
    let (code, said) = home.doctor("gone.invalid");
    assert!(code == 1 && said.contains("reach\tfailed\tcannot reach gone.invalid"), "{said}");
}
