//! The hosts that a connection passes: `ProxyJump`, and a `ProxyCommand` that says the same.

use super::Line;
use crate::ssh::destination::Destination;

/// More gateways than anybody has.
const JUMPS_MAX: usize = 8;

pub(super) fn hosts(line: &Line) -> Result<Vec<Destination>, String> {
    let text = super::one(line)?;
    if text.eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let hosts: Result<Vec<_>, _> = text
        .split(',')
        .map(|host| {
            let host = host.trim();
            let host = host.strip_prefix("ssh://").map_or(host, |h| h.trim_end_matches('/'));
            Destination::parse(host).map_err(|error| error.to_string())
        })
        .collect();
    let hosts = hosts?;
    if hosts.len() > JUMPS_MAX {
        return Err(format!("{} hosts to pass; {JUMPS_MAX} at most", hosts.len()));
    }
    Ok(hosts)
}

/// `ssh -W %h:%p GATEWAY`, however its words are ordered, is a jump; no other command is run.
pub(super) fn of_command(line: &Line) -> Result<Vec<Destination>, String> {
    if line.rest.trim().eq_ignore_ascii_case("none") {
        return Ok(Vec::new());
    }
    let refused = || {
        format!(
            "`{}` would have to be run, and yeet runs no command to reach a host; \
             write ProxyJump, or `ssh -W %h:%p GATEWAY`",
            line.rest
        )
    };
    let mut words = line.arguments.iter().map(String::as_str);
    let mut program = words.next().unwrap_or_default();
    if program == "exec" {
        program = words.next().unwrap_or_default();
    }
    if program != "ssh" && !program.ends_with("/ssh") {
        return Err(refused());
    }
    let (mut forwards, mut gateway, mut port, mut user) = (false, None, None, None);
    while let Some(word) = words.next() {
        match word {
            "-W" => forwards = matches!(words.next(), Some("%h:%p" | "[%h]:%p")),
            "-p" => port = words.next(),
            "-l" => user = words.next(),
            // What these say changes nothing for a jump.
            "-q" | "-a" | "-x" | "-T" | "-n" | "-4" | "-6" => {}
            host if !host.starts_with('-') && gateway.is_none() => gateway = Some(host),
            _ => return Err(refused()),
        }
    }
    let gateway = gateway.filter(|_| forwards).ok_or_else(refused)?;
    let mut gateway = Destination::parse(gateway).map_err(|error| error.to_string())?;
    if let Some(port) = port {
        gateway.port = Some(port.parse().map_err(|_| refused())?);
    }
    if let Some(user) = user {
        gateway.user = Some(user.to_owned());
    }
    Ok(vec![gateway])
}
