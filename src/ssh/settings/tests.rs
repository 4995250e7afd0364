//! What a config says of a host, one sentence a test.

use std::path::Path;
use std::sync::Arc;

use super::*;

fn items(file: &str, text: &str) -> Vec<Item> {
    let file: Arc<Path> = Path::new(file).into();
    read(&file, text).into_iter().map(|line| Item::Line(line.unwrap())).collect()
}

fn of(host: &str, items: &[Item]) -> Result<Settings, BadSettings> {
    let variable = |name: &str| (name == "KEYS").then(|| "/keys".to_owned());
    let local = Local {
        user: "me",
        home: "/home/me".into(),
        uid: 7,
        hostname: "box.lan",
        variable: &variable,
    };
    settle(&Destination::parse(host).unwrap(), items, &local)
}

fn says(host: &str, text: &str) -> Settings {
    of(host, &items("config", text)).unwrap()
}

fn says_at(host: &str, address: &str, text: &str) -> Settings {
    let local = Local {
        user: "me",
        home: "/home/me".into(),
        uid: 7,
        hostname: "box.lan",
        variable: &|_| None,
    };
    let of = |text: &str| Destination::parse(text).unwrap();
    settle_at(&of(host), &of(address), &items("config", text), &local).unwrap()
}

#[test]
fn at_another_address_a_host_has_its_user_its_files_and_its_key() {
    let text = "Host nas\n User a\n HostName far\n Port 9\n ProxyJump gate\n IdentityFile ~/k\n\
                Host *.lan\n User b\n IdentityFile ~/lan\nHost *\n IdentityFile ~/all\n";
    let got = says_at("nas", "10.0.0.7", text);
    assert_eq!((got.host.as_str(), got.hostname.as_str(), got.port), ("nas", "10.0.0.7", 9));
    assert_eq!((got.user.as_str(), got.jumps.len()), ("a", 0));
    assert_eq!(got.also_known, Some(("far".to_owned(), 9)));
    let names = |got: &Settings| {
        got.identity_files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&got), ["/home/me/all", "/home/me/k"]);
    let got = says_at("c@nas:22", "nas.lan", text);
    assert_eq!((got.user.as_str(), got.port), ("c", 22), "what was asked for beats it");
    let got = says_at("nas", "nas.lan", text);
    assert_eq!((got.user.as_str(), names(&got)[0].as_str()), ("b", "/home/me/lan"));
    assert_eq!(says_at("nas", "nas", text), says("nas", text));
    let alias = "Host nas\n HostKeyAlias it\n";
    let got = says_at("nas", "localhost:2222", alias);
    assert_eq!((got.key_name.as_deref(), got.port), (Some("it"), 2222));
    assert_eq!(got.also_known, Some(("it".to_owned(), 22)));
}

fn refuses(host: &str, text: &str) -> String {
    of(host, &items("config", text)).unwrap_err().to_string()
}

#[test]
fn without_a_config_the_usual_holds() {
    let got = says("nas", "");
    assert_eq!((got.hostname.as_str(), got.user.as_str(), got.port), ("nas", "me", 22));
    assert!(got.identity_files.contains(&"/home/me/.ssh/id_ed25519".into()));
    assert!(!got.identities_are_named);
    assert_eq!(got.user_known_hosts[0], Path::new("/home/me/.ssh/known_hosts"));
    assert_eq!((got.strict, got.agent), (Strict::Ask, Agent::Environment));
    assert!(got.jumps.is_empty() && got.notes.is_empty());
}

#[test]
fn the_first_value_wins_and_what_was_asked_for_beats_it() {
    let text = "Host nas\n User a\n Port 2222\nHost *\n User b\n HostName %h.lan\n";
    let got = says("nas", text);
    assert_eq!((got.user.as_str(), got.port, got.hostname.as_str()), ("a", 2222, "nas.lan"));
    let got = says("c@nas:9", text);
    assert_eq!((got.user.as_str(), got.port), ("c", 9));
    assert_eq!(says("pi", text).user, "b");
}

#[test]
fn patterns_choose_the_hosts_of_a_block() {
    let text = "Host *.lan !nas.lan\n User a\n";
    assert_eq!(says("pi.lan", text).user, "a");
    assert_eq!(says("nas.lan", text).user, "me");
}

#[test]
fn files_add_up_and_their_tokens_are_opened() {
    let text = "Host nas\n HostName 10.0.0.1\n IdentityFile ~/a_%h\n IdentityFile none\n\
                IdentityFile ${KEYS}/%n_%r_%p%%\nHost *\n IdentityFile %d/c\n IdentityFile rel\n";
    let got = says("nas", text);
    let want = ["/home/me/a_10.0.0.1", "/keys/nas_me_22%", "/home/me/c", "/home/me/rel"];
    assert_eq!(got.identity_files, want.map(PathBuf::from));
    assert!(got.identities_are_named);
}

#[test]
fn what_a_token_or_a_variable_does_not_say_is_an_error_with_its_line() {
    assert!(refuses("nas", "IdentityFile %C").starts_with("config:1: %C is not honoured"));
    assert!(refuses("nas", "\nIdentityFile ${NO}/a").starts_with("config:2: there is no variable"));
    assert!(refuses("nas", "IdentityFile ~other/a").contains("another user's home"));
    assert!(refuses("nas", "Port 0").starts_with("config:1: port: is a number"));
    assert!(refuses("nas", "HostName -oX").contains("is no host"));
    assert!(refuses("nas", "HostName a b").contains("takes one value"));
}

#[test]
fn a_value_that_means_nothing_hurts_only_the_hosts_it_is_for() {
    assert_eq!(says("nas", "Host pi\n Port x\nHost nas\n Port 7\n").port, 7);
}

#[test]
fn jumps_are_passed_in_their_order() {
    let hosts = |text: &str| {
        let jumps = says("nas", text).jumps;
        jumps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(hosts("ProxyJump a@gate:2222,ssh://b@inner:3/"), "a@gate:2222 b@inner:3");
    assert_eq!(hosts("ProxyJump none\nProxyJump gate"), "");
    assert_eq!(hosts("ProxyCommand ssh -W %h:%p gate"), "gate");
    assert_eq!(hosts("ProxyCommand exec /usr/bin/ssh -q gate -l me -p 3 -W [%h]:%p"), "me@gate:3");
    assert_eq!(hosts("ProxyJump gate\nProxyCommand nc %h %p"), "gate", "the first of both wins");
}

#[test]
fn a_command_to_reach_a_host_is_refused_by_name() {
    for command in ["nc %h %p", "ssh gate nc %h %p", "ssh -W other:22 gate", "ssh -W %h:%p"] {
        let said = refuses("nas", &format!("Host nas\n ProxyCommand {command}\n"));
        assert!(
            said.starts_with("config:2: proxycommand: `") && said.contains("ProxyJump"),
            "{said}"
        );
    }
}

#[test]
fn a_match_holds_if_all_its_criteria_do() {
    let user = |criteria: &str| {
        says("nas", &format!("Host nas\n HostName %h.lan\nMatch {criteria}\n User x\n")).user
    };
    for criteria in [
        "all",
        "host nas.lan",
        "host *.lan",
        "originalhost nas",
        "localuser me",
        "user me",
        "!host pi",
        "originalhost nas host nas.lan",
        "host pi,nas.lan",
        "host=nas.lan",
        "!localuser root host *",
    ] {
        assert_eq!(user(criteria), "x", "{criteria}");
    }
    for criteria in
        ["host nas", "originalhost nas.lan", "localuser root", "!all", "host a,!nas.lan"]
    {
        assert_eq!(user(criteria), "me", "{criteria}");
    }
}

#[test]
fn a_match_that_cannot_be_told_is_left_out_and_said_so() {
    let got =
        says("nas", "Match exec true\n User x\nMatch final all\n User y\nHost nas\n User z\n");
    assert_eq!(got.user, "z", "nothing of the blocks before reaches another one");
    let notes: Vec<String> = got.notes.iter().map(|n| format!("{} {}", n.place, n.what)).collect();
    assert_eq!(
        notes,
        [
            "config:1 match exec is not honoured; the block is left out",
            "config:3 match final is not honoured; the block is left out",
        ]
    );
    let got = says("nas", "Match host pi exec true\n User x\n");
    assert!(got.notes.is_empty(), "what does not hold anyway needs no note");
}

#[test]
fn what_an_included_file_says_ends_with_it() {
    let mut all = items("config", "Host pi\n Include x\n");
    all.push(Item::Enter);
    all.extend(items("x", "User a\nHost *\n Port 5\n"));
    all.push(Item::Leave);
    all.extend(items("config", " HostName pi.lan\n"));
    let got = of("pi", &all).unwrap();
    assert_eq!((got.user.as_str(), got.port, got.hostname.as_str()), ("a", 5, "pi.lan"));
    let got = of("nas", &all).unwrap();
    assert_eq!((got.user.as_str(), got.port, got.hostname.as_str()), ("me", 22, "nas"));
}

#[test]
fn what_is_not_honoured_is_noted_unless_it_decides_nothing() {
    let got = says("nas", "ForwardAgent yes\nCiphers aes128-cbc\nIgnoreUnknown Foo*\nFooBar 1\n");
    let notes: Vec<String> = got.notes.iter().map(|n| n.what.clone()).collect();
    assert_eq!(notes, ["ciphers is not honoured"]);
}

#[test]
fn the_other_words_are_read_as_openssh_reads_them() {
    let got = says(
        "nas",
        "IdentitiesOnly yes\nIdentityAgent none\nHostKeyAlias key.of.nas\nStrictHostKeyChecking accept-new\n\
         UserKnownHostsFile ~/k1 /k2\nHashKnownHosts yes\nConnectTimeout 1m\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nPubkeyAuthentication host-bound\nCertificateFile ~/c-cert.pub\n",
    );
    assert!(got.identities_only && got.hash_known_hosts && got.uses_keys);
    assert!(!got.uses_password && !got.uses_questions);
    assert_eq!(got.agent, Agent::None);
    assert_eq!(got.key_name.as_deref(), Some("key.of.nas"));
    assert_eq!(got.strict, Strict::AcceptNew);
    assert_eq!(got.user_known_hosts, ["/home/me/k1", "/k2"].map(PathBuf::from));
    assert_eq!(got.certificate_files, ["/home/me/c-cert.pub"].map(PathBuf::from));
    assert_eq!(got.timeout_s, Some(60));
}

#[test]
fn an_agent_may_be_named_by_a_path_or_a_variable() {
    let agent = |text: &str| says("nas", &format!("IdentityAgent {text}")).agent;
    assert_eq!(agent("~/agent"), Agent::Socket("/home/me/agent".into()));
    assert_eq!(agent("$KEYS"), Agent::Socket("/keys".into()));
    assert_eq!(agent("$NO"), Agent::None);
    assert_eq!(agent("${KEYS}/a"), Agent::Socket("/keys/a".into()));
    assert_eq!(agent("SSH_AUTH_SOCK"), Agent::Environment);
}
