//! What is written for a host: `[USER@]HOST[:PORT]`.
//!
//! Holds: no part of it can be taken for an option, a path or a second line by whatever reads it next.

use std::fmt;

/// A host as somebody wrote it; what it leaves open, the settings say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    pub user: Option<String>,
    /// A name, an alias of the ssh config, or an address, without brackets.
    pub host: String,
    pub port: Option<u16>,
}

/// Why it is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDestination {
    #[error("`{0}` names no host")]
    NoHost(String),
    #[error("`{0}` has an empty user before the @")]
    NoUser(String),
    #[error("`{0}`: a port is a number from 1 to 65535")]
    Port(String),
    #[error("`{0}` has `{1}` in it, which no user and no host has")]
    Character(String, char),
    #[error("`{0}`: neither a user nor a host begins with `-`")]
    Option(String),
}

impl Destination {
    /// Parses `[USER@]HOST[:PORT]`; an IPv6 address with a port has brackets.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<Self, BadDestination> {
        let (user, rest) = match text.rsplit_once('@') {
            Some(("", _)) => return Err(BadDestination::NoUser(text.to_owned())),
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        let (host, port) = split_port(rest).ok_or_else(|| BadDestination::Port(text.to_owned()))?;
        if host.is_empty() {
            return Err(BadDestination::NoHost(text.to_owned()));
        }
        for part in [Some(host), user].into_iter().flatten() {
            if part.starts_with('-') {
                return Err(BadDestination::Option(text.to_owned()));
            }
            if let Some(bad) = part.chars().find(|c| !is_allowed(*c)) {
                return Err(BadDestination::Character(text.to_owned(), bad));
            }
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port })
    }
}

/// `None` if what stands for the port is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port_of(port)?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address.
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port_of(port)?))),
        None => Some((text, None)),
    }
}

fn port_of(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

/// Hosts and users go into messages, files with lines, and a server's hands.
fn is_allowed(c: char) -> bool {
    !c.is_control() && !c.is_whitespace() && !"/\\'\"`$;&|<>(){}[],!*?#".contains(c)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: Option<&str>, host: &str, port: Option<u16>) -> Destination {
        Destination { user: user.map(str::to_owned), host: host.to_owned(), port }
    }

    #[test]
    fn a_user_and_a_port_can_be_left_out() {
        for (text, want) in [
            ("nas", of(None, "nas", None)),
            ("me@nas", of(Some("me"), "nas", None)),
            ("me@nas:2222", of(Some("me"), "nas", Some(2222))),
            ("me@corp@nas", of(Some("me@corp"), "nas", None)),
            ("::1", of(None, "::1", None)),
            ("[::1]", of(None, "::1", None)),
            ("[fe80::1%eth0]:22", of(None, "fe80::1%eth0", Some(22))),
        ] {
            let got = Destination::parse(text).unwrap();
            assert_eq!(got, want, "{text}");
            assert_eq!(Destination::parse(&got.to_string()).unwrap(), want, "{text}, printed");
        }
    }

    #[test]
    fn what_something_else_could_take_for_more_than_a_host_is_refused() {
        for text in [
            "",
            "@nas",
            "me@",
            "nas:",
            "nas:0",
            "nas:65536",
            "nas:+22",
            "nas:22x",
            "[::1",
            "[::1]22",
            "-oProxyCommand=x",
            "me@-x",
            "-l@nas",
            "a b",
            "a\nb",
            "a;b",
            "$(x)",
            "a/b",
            "na*",
            "a,b",
        ] {
            assert!(Destination::parse(text).is_err(), "{text:?} passed");
        }
    }
}
