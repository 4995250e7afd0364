//! `%h`, `~` and `${NAME}` in values.

use std::path::PathBuf;

use super::{Agent, BadSettings, Local, Place};
use crate::ssh::destination::Destination;

/// What tokens stand for.
pub(super) struct Values<'a> {
    asked: &'a Destination,
    local: &'a Local<'a>,
    user: &'a str,
    port: u16,
    pub(super) hostname: String,
    pub(super) key_name: Option<String>,
}

impl<'a> Values<'a> {
    pub(super) fn new(
        asked: &'a Destination,
        local: &'a Local<'a>,
        user: &'a str,
        port: u16,
    ) -> Self {
        Self { asked, local, user, port, hostname: asked.host.clone(), key_name: None }
    }

    /// The value of `HostName`, where `%h` is what was asked for.
    pub(super) fn host_name(&self, place: &Place, text: &str) -> Result<String, BadSettings> {
        let name =
            self.expand(place, text, |token| (token == 'h').then(|| self.asked.host.clone()))?;
        let name = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        // It goes into known_hosts and to a gateway.
        match Destination::parse(&bracketed(name)) {
            Ok(Destination { user: None, host, port: None }) => Ok(host),
            Ok(_) | Err(_) => Err(wrong(place, format!("hostname: `{name}` is no host"))),
        }
    }

    pub(super) fn path(&self, place: &Place, text: &str) -> Result<PathBuf, BadSettings> {
        let text = self.variables(place, text)?;
        let text = self.expand(place, &text, |token| self.token(token))?;
        let home = &self.local.home;
        Ok(match text.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None if text == "~" => home.clone(),
            None if text.starts_with('~') => {
                return Err(wrong(
                    place,
                    format!("`{text}`: another user's home is not looked up"),
                ));
            }
            None => home.join(text),
        })
    }

    pub(super) fn agent(&self, place: &Place, text: &str) -> Result<Agent, BadSettings> {
        Ok(match text {
            "none" => Agent::None,
            "SSH_AUTH_SOCK" => Agent::Environment,
            _ => match text.strip_prefix('$').filter(|name| !name.starts_with('{')) {
                Some(name) => (self.local.variable)(name)
                    .map_or(Agent::None, |path| Agent::Socket(path.into())),
                None => Agent::Socket(self.path(place, text)?),
            },
        })
    }

    fn token(&self, token: char) -> Option<String> {
        Some(match token {
            'h' => self.hostname.clone(),
            'n' => self.asked.host.clone(),
            'p' => self.port.to_string(),
            'r' => self.user.to_owned(),
            'u' => self.local.user.to_owned(),
            'd' => self.local.home.to_str()?.to_owned(),
            'i' => self.local.uid.to_string(),
            'k' => self.key_name.clone().unwrap_or_else(|| self.asked.host.clone()),
            'l' => self.local.hostname.to_owned(),
            'L' => self.local.hostname.split('.').next().unwrap_or_default().to_owned(),
            _ => return None,
        })
    }

    fn expand(
        &self,
        place: &Place,
        text: &str,
        meaning: impl Fn(char) -> Option<String>,
    ) -> Result<String, BadSettings> {
        let mut out = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let token = chars.next();
            match token {
                Some('%') => out.push('%'),
                Some(token) => out.push_str(&meaning(token).ok_or_else(|| {
                    wrong(place, format!("%{token} is not honoured in `{text}`"))
                })?),
                None => return Err(wrong(place, format!("`{text}` ends in a lone %"))),
            }
        }
        Ok(out)
    }

    fn variables(&self, place: &Place, text: &str) -> Result<String, BadSettings> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, tail) = after
                .split_once('}')
                .ok_or_else(|| wrong(place, format!("`{text}` has ${{ without an end")))?;
            let value = (self.local.variable)(name)
                .ok_or_else(|| wrong(place, format!("there is no variable {name} for `{text}`")))?;
            out.push_str(before);
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn wrong(place: &Place, what: String) -> BadSettings {
    BadSettings::Written { place: place.clone(), what }
}
