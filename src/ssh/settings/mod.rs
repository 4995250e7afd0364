//! What an `ssh_config` says of one host.
//!
//! Holds: the first value of a keyword wins, as ssh_config(5) has it, files and certificates add up; what yeet does not
//! honour is never silently left out where it decides how a host is reached or trusted: it is a [`Note`].

mod jump;
mod lines;
mod matching;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::PathBuf;

use super::destination::Destination;
use super::place::Place;
pub use lines::{Item, Line, read};
use matching::Blocks;

/// What this machine and its user are; settings may name it.
pub struct Local<'a> {
    pub user: &'a str,
    pub home: PathBuf,
    pub uid: u32,
    pub hostname: &'a str,
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Whether a host whose key nobody has seen is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strict {
    /// No.
    Yes,
    /// A person is asked.
    Ask,
    /// Yes, and its key is remembered; `no` is the same here, since a changed key is always refused.
    AcceptNew,
}

/// Where the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    None,
    /// Where `SSH_AUTH_SOCK` says.
    Environment,
    Socket(PathBuf),
}

/// Something that is written and not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    pub what: String,
}

/// How to reach one host and log in there, all defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// As it was asked for.
    pub host: String,
    pub hostname: String,
    pub user: String,
    pub port: u16,
    /// Tried in this order.
    pub identity_files: Vec<PathBuf>,
    /// Whether the files are written in the config; else they are the usual ones.
    pub identities_are_named: bool,
    pub certificate_files: Vec<PathBuf>,
    pub identities_only: bool,
    pub agent: Agent,
    /// In the order in which they are passed.
    pub jumps: Vec<Destination>,
    /// The name whose key is looked up.
    pub key_name: Option<String>,
    /// Another name, and its port, by which the same host's key is known.
    pub also_known: Option<(String, u16)>,
    pub user_known_hosts: Vec<PathBuf>,
    pub global_known_hosts: Vec<PathBuf>,
    pub hash_known_hosts: bool,
    pub strict: Strict,
    pub timeout_s: Option<u32>,
    pub uses_keys: bool,
    pub uses_password: bool,
    pub uses_questions: bool,
    pub notes: Vec<Note>,
}

/// Why a host cannot be reached as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    #[error("{place}: {what}")]
    Written { place: Place, what: String },
    #[error("the config files include each other, or are more than {0} deep")]
    Includes(usize),
    #[error("{file}: {why}")]
    Unreadable { file: PathBuf, why: String },
}

/// The usual key files below `~/.ssh`, in the order of ssh(1).
const KEY_FILES: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];

/// Works out what holds for a host; what it names itself comes first.
///
/// # Errors
/// A value is none that the keyword can have, or the host is only reached by a command.
pub fn settle(
    asked: &Destination,
    items: &[Item],
    local: &Local<'_>,
) -> Result<Settings, BadSettings> {
    let mut written = Written::default();
    written.take_all(asked, items, local)?;
    written.settings(asked, local)
}

/// As [`settle`], for a host that is reached at another address than its own: what is written for that address comes
/// first; what is written for the host holds besides, but for where it is. It is known by the keys of either.
///
/// # Errors
/// As [`settle`].
pub fn settle_at(
    host: &Destination,
    address: &Destination,
    items: &[Item],
    local: &Local<'_>,
) -> Result<Settings, BadSettings> {
    let own = settle(host, items, local)?;
    if host == address {
        return Ok(own);
    }
    let mut written = Written::default();
    written.take_all(address, items, local)?;
    let (hostname, way) = (written.hostname.take(), written.way.take());
    written.take_all(host, items, local)?;
    (written.hostname, written.way) = (hostname, way);
    let asked = Destination {
        user: address.user.clone().or_else(|| host.user.clone()),
        host: address.host.clone(),
        port: address.port.or(host.port),
    };
    let mut settings = written.settings(&asked, local)?;
    // Lines that hold for both were read twice.
    for files in [&mut settings.identity_files, &mut settings.certificate_files] {
        once(files);
    }
    once(&mut settings.notes);
    settings.host = own.host;
    settings.also_known = Some(match own.key_name {
        Some(name) => (name, 22),
        None => (own.hostname, own.port),
    });
    Ok(settings)
}

/// Leaves out what was there before.
fn once<T: PartialEq + Clone>(all: &mut Vec<T>) {
    let mut seen = Vec::with_capacity(all.len());
    all.retain(|one| {
        let is_new = !seen.contains(one);
        is_new.then(|| seen.push(one.clone()));
        is_new
    });
}

/// A value and where it stands.
type At<T> = Option<(Place, T)>;

/// What lines have said so far.
#[derive(Default)]
struct Written {
    hostname: At<String>,
    user: At<String>,
    port: At<u16>,
    identity_files: Vec<(Place, String)>,
    certificate_files: Vec<(Place, String)>,
    identities_only: At<bool>,
    agent: At<String>,
    /// `ProxyJump` or `ProxyCommand`, whichever is first.
    way: At<Vec<Destination>>,
    key_name: At<String>,
    user_known_hosts: At<Vec<String>>,
    global_known_hosts: At<Vec<String>>,
    hash_known_hosts: At<bool>,
    strict: At<Strict>,
    timeout_s: At<Option<u32>>,
    uses_keys: At<bool>,
    uses_password: At<bool>,
    uses_questions: At<bool>,
    ignored: Vec<String>,
    notes: Vec<Note>,
}

/// Keywords that change neither whom yeet talks to nor how it proves who it is.
const NO_MATTER: &[&str] = &[
    "addkeystoagent",
    "batchmode",
    "channeltimeout",
    "checkhostip",
    "clearallforwardings",
    "compression",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapidelegatecredentials",
    "hostbasedauthentication",
    "include",
    "ipqos",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "permitlocalcommand",
    "permitremoteopen",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "sendenv",
    "serveralivecountmax",
    "serveraliveinterval",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "syslogfacility",
    "tag",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "usekeychain",
    "visualhostkey",
    "xauthlocation",
];

impl Written {
    /// Takes in the lines that hold for a host.
    fn take_all(
        &mut self,
        asked: &Destination,
        items: &[Item],
        local: &Local<'_>,
    ) -> Result<(), BadSettings> {
        let mut blocks = Blocks::new(asked, local);
        for item in items {
            match item {
                Item::Enter => blocks.enter(),
                Item::Leave => blocks.leave(),
                Item::Line(line) if matches!(line.keyword.as_str(), "host" | "match") => {
                    let note = blocks.begin(line, self);
                    self.notes.extend(note);
                }
                Item::Line(line) if blocks.holds() => self.take(line)?,
                Item::Line(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &Line) -> Result<(), BadSettings> {
        let keyword = line.keyword.as_str();
        match keyword {
            "hostname" => set(&mut self.hostname, line, one),
            "user" => set(&mut self.user, line, one),
            "port" => set(&mut self.port, line, port),
            "identityfile" => add(&mut self.identity_files, line),
            "certificatefile" => add(&mut self.certificate_files, line),
            "identitiesonly" => set(&mut self.identities_only, line, yes),
            "identityagent" => set(&mut self.agent, line, one),
            "proxyjump" => set(&mut self.way, line, jump::hosts),
            "proxycommand" => set(&mut self.way, line, jump::of_command),
            "hostkeyalias" => set(&mut self.key_name, line, one),
            "userknownhostsfile" => set(&mut self.user_known_hosts, line, many),
            "globalknownhostsfile" => set(&mut self.global_known_hosts, line, many),
            "hashknownhosts" => set(&mut self.hash_known_hosts, line, yes),
            "stricthostkeychecking" => set(&mut self.strict, line, strict),
            "connecttimeout" => set(&mut self.timeout_s, line, seconds),
            "pubkeyauthentication" => set(&mut self.uses_keys, line, keys),
            "passwordauthentication" => set(&mut self.uses_password, line, yes),
            "kbdinteractiveauthentication" | "challengeresponseauthentication" => {
                set(&mut self.uses_questions, line, yes)
            }
            "ignoreunknown" => {
                self.ignored.extend(
                    line.arguments.iter().flat_map(|a| a.split(',')).map(str::to_lowercase),
                );
                Ok(())
            }
            _ => {
                let is_ignored = self.ignored.iter().any(|p| super::pattern::is_match(p, keyword));
                if !is_ignored && !NO_MATTER.contains(&keyword) {
                    let what = format!("{keyword} is not honoured");
                    self.notes.push(Note { place: line.place.clone(), what });
                }
                Ok(())
            }
        }
    }

    fn settings(self, asked: &Destination, local: &Local<'_>) -> Result<Settings, BadSettings> {
        let port = asked.port.or(self.port.map(|(_, p)| p)).unwrap_or(22);
        let user = asked.user.clone().or(self.user.map(|(_, u)| u));
        let user = user.unwrap_or_else(|| local.user.to_owned());
        let mut values = tokens::Values::new(asked, local, &user, port);
        let hostname = match self.hostname {
            Some((place, text)) => values.host_name(&place, &text)?,
            None => asked.host.clone(),
        };
        values.hostname.clone_from(&hostname);
        values.key_name = self.key_name.as_ref().map(|(_, name)| name.clone());
        let ssh = local.home.join(".ssh");
        let paths = |files: &[(Place, String)]| -> Result<Vec<PathBuf>, BadSettings> {
            let files = files.iter().filter(|(_, text)| !text.eq_ignore_ascii_case("none"));
            files.map(|(place, text)| values.path(place, text)).collect()
        };
        let known = |written: &At<Vec<String>>, usual: [PathBuf; 2]| match written {
            Some((place, files)) => {
                let files: Vec<_> = files.iter().map(|f| (place.clone(), f.clone())).collect();
                paths(&files)
            }
            None => Ok(usual.into()),
        };
        let agent = match &self.agent {
            None => Agent::Environment,
            Some((place, text)) => values.agent(place, text)?,
        };
        let identities_are_named = !self.identity_files.is_empty();
        Ok(Settings {
            host: asked.host.clone(),
            identity_files: if identities_are_named {
                paths(&self.identity_files)?
            } else {
                KEY_FILES.iter().map(|name| ssh.join(name)).collect()
            },
            identities_are_named,
            certificate_files: paths(&self.certificate_files)?,
            identities_only: of(&self.identities_only, false),
            agent,
            jumps: self.way.map(|(_, jumps)| jumps).unwrap_or_default(),
            user_known_hosts: known(
                &self.user_known_hosts,
                [ssh.join("known_hosts"), ssh.join("known_hosts2")],
            )?,
            global_known_hosts: known(
                &self.global_known_hosts,
                ["/etc/ssh/ssh_known_hosts".into(), "/etc/ssh/ssh_known_hosts2".into()],
            )?,
            key_name: self.key_name.map(|(_, name)| name),
            also_known: None,
            hash_known_hosts: of(&self.hash_known_hosts, false),
            strict: of(&self.strict, Strict::Ask),
            timeout_s: of(&self.timeout_s, None),
            uses_keys: of(&self.uses_keys, true),
            uses_password: of(&self.uses_password, true),
            uses_questions: of(&self.uses_questions, true),
            notes: self.notes,
            hostname,
            user,
            port,
        })
    }
}

fn of<T: Copy>(written: &At<T>, usual: T) -> T {
    written.as_ref().map_or(usual, |(_, value)| *value)
}

/// What a keyword's arguments mean; the error says what they should have been.
type Meaning<T> = fn(&Line) -> Result<T, String>;

/// The first value wins; later ones are not even read.
fn set<T>(slot: &mut At<T>, line: &Line, meaning: Meaning<T>) -> Result<(), BadSettings> {
    if slot.is_some() {
        return Ok(());
    }
    let value = meaning(line).map_err(|what| BadSettings::Written {
        place: line.place.clone(),
        what: format!("{}: {what}", line.keyword),
    })?;
    *slot = Some((line.place.clone(), value));
    Ok(())
}

fn add(list: &mut Vec<(Place, String)>, line: &Line) -> Result<(), BadSettings> {
    let mut value = None;
    set(&mut value, line, one)?;
    list.extend(value);
    Ok(())
}

fn one(line: &Line) -> Result<String, String> {
    match line.arguments.as_slice() {
        [value] if !value.is_empty() => Ok(value.clone()),
        _ => Err("takes one value".to_owned()),
    }
}

fn many(line: &Line) -> Result<Vec<String>, String> {
    let some = !line.arguments.is_empty();
    some.then(|| line.arguments.clone()).ok_or_else(|| "takes at least one value".to_owned())
}

fn yes(line: &Line) -> Result<bool, String> {
    match one(line)?.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        other => Err(format!("is yes or no, not `{other}`")),
    }
}

fn keys(line: &Line) -> Result<bool, String> {
    // Two more words of OpenSSH 8.9 and later: how keys are tied to hosts in an agent.
    Ok(matches!(one(line)?.to_ascii_lowercase().as_str(), "unbound" | "host-bound") || yes(line)?)
}

fn port(line: &Line) -> Result<u16, String> {
    let text = one(line)?;
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("is a number from 1 to 65535, not `{text}`"))
}

fn seconds(line: &Line) -> Result<Option<u32>, String> {
    let text = one(line)?.to_ascii_lowercase();
    if text == "none" {
        return Ok(None);
    }
    let (number, unit) =
        text.split_at(text.trim_end_matches(|c: char| c.is_ascii_lowercase()).len());
    let factor = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let value = number.parse().ok().zip(factor).and_then(|(n, f): (u32, u32)| n.checked_mul(f));
    value.map(Some).ok_or_else(|| format!("is a time, not `{text}`"))
}

fn strict(line: &Line) -> Result<Strict, String> {
    match one(line)?.to_ascii_lowercase().as_str() {
        "yes" | "true" => Ok(Strict::Yes),
        "ask" => Ok(Strict::Ask),
        "accept-new" | "no" | "off" | "false" => Ok(Strict::AcceptNew),
        other => Err(format!("is yes, no, ask or accept-new, not `{other}`")),
    }
}
