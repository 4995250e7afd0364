//! What says how to reach a host and whom to trust: an SSH config, a known_hosts, a host's answer to a probe.

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use yeet::ssh::bootstrap::probe::{self, Mark};
use yeet::ssh::destination::Destination;
use yeet::ssh::is_revoked;
use yeet::ssh::settings::{BadSettings, Item, Local, read, settle};

/// Words are kept with the line they are from.
const GROWTH: usize = 64;
const ROOM: usize = 64 << 10;

fuzz_target!(init: fuzz::seed(seeds()), |data: &[u8]| {
    let Some((which, rest)) = data.split_first() else { return };
    match which {
        0 => answer(rest),
        1 => known_hosts(&String::from_utf8_lossy(rest)),
        _ => config(&String::from_utf8_lossy(rest)),
    }
});

fn config(text: &str) {
    let file: Arc<Path> = Path::new("config").into();
    let lines = text.lines().count();
    let read = fuzz::within(text.len() * GROWTH + ROOM, || read(&file, text));
    let is_there = |line: usize| assert!((1..=lines).contains(&line), "line {line} of {lines}");
    let mut items = vec![Item::Enter];
    for line in read {
        match line {
            Ok(line) => {
                is_there(line.place.line);
                items.push(Item::Line(line));
            }
            Err(place) => is_there(place.line),
        }
    }
    items.push(Item::Leave);
    let local = Local {
        user: "me",
        home: "/home/me".into(),
        uid: 7,
        hostname: "box",
        variable: &|name| (name == "X").then(|| "x".to_owned()),
    };
    let asked = Destination::parse("nas").expect("a good host");
    match settle(&asked, &items, &local) {
        Ok(settings) => {
            let address =
                Destination { user: None, host: settings.hostname, port: Some(settings.port) };
            assert_eq!(
                Destination::parse(&address.to_string()),
                Ok(address),
                "no host of that name"
            );
            settings.notes.iter().for_each(|note| is_there(note.place.line));
            for file in settings.identity_files.iter().chain(&settings.user_known_hosts) {
                assert!(file.is_absolute(), "{file:?}");
            }
        }
        Err(BadSettings::Written { place, .. }) => is_there(place.line),
        Err(other) => panic!("{other}"),
    }
}

/// A line that revokes a key is not outdone by any line before it.
fn known_hosts(text: &str) {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let text = format!("{text}\n@revoked * {KEY}\n");
    let files = [(PathBuf::from("known_hosts"), text)];
    assert!(is_revoked(&files, "nas.lan", 22, KEY));
}

fn answer(bytes: &[u8]) {
    let found = fuzz::within(bytes.len() * GROWTH + ROOM, || probe::read(&Mark::new(7), bytes));
    if let Some(folder) = found.ok().and_then(|found| found.folder) {
        assert!(folder.starts_with('/'), "{folder:?}");
        assert!(!folder.contains(['"', '\'', '$', '`', '\\', '\n', ';', '!']), "{folder:?}");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mark = "yeet-0000000000000007";
    let answer = format!(
        "Welcome\n{mark} system Linux\n{mark} machine x86_64\n{mark} home /root\n{mark} refused noexec /tmp\n\
         {mark} folder /root/.cache\n{mark} agent yeet-00\n{mark} end\n"
    );
    let hosts = "nas.lan,!pi ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ x\n\
                 |1|o3kHAfktOi6dRO/8yWx+KCYSuwY=|AXjIMcNtnUYfb6fIpi+68erku7w= ssh-rsa AAAA\n@cert-authority * x y\n";
    let config = "Host nas *.lan !pi\n HostName \"%h.lan\"\n Port=22\n IdentityFile ~/.ssh/%n_%r\\ x # key\n\
                  ProxyJump a@gate:2222,[::1]:3\nMatch host nas,x !user y exec \"true\"\n UserKnownHostsFile ${X}/a b\n\
                  StrictHostKeyChecking accept-new\n ConnectTimeout 1h\n IdentityAgent $X\n Foo bar\n";
    let command =
        "ProxyCommand exec ssh -q -W %h:%p -l me -p 3 gate\nInclude x\nIgnoreUnknown F*,G\nFoo 1\n";
    [(0, answer.as_str()), (1, hosts), (2, config), (2, command)]
        .map(|(which, text)| [&[which], text.as_bytes()].concat())
        .into()
}
