//! Whom to trust: what `known_hosts` files say of a host's key. sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
//!
//! Holds: what is revoked is refused whatever else is written; a key other than a recorded one is refused; a line that
//! cannot be read trusts nobody.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::HostPatterns;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey};
use russh::keys::{Certificate, PublicKeyOrCertificate};
use sha1::Sha1;

use super::pattern::{Listed, listed};
use super::place::Place;

/// What the files say of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Trusted(Place),
    Revoked(Place),
    /// Another key stands there.
    Changed(Place),
    Unknown,
}

/// The lines that are about one host.
pub(super) struct KnownHosts {
    /// As a key is looked up: `host`, or `[host]:port` if the port is not 22.
    name: String,
    /// The name without the port: what a certificate is made out to.
    host: String,
    entries: Vec<Entry>,
}

struct Entry {
    place: Place,
    marker: Marker,
    key: KeyData,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Plain,
    Authority,
    Revoked,
}

/// The name under which a host's key stands.
pub(super) fn name_of(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

impl KnownHosts {
    /// What these files, with their texts, say of a host; earlier lines count first.
    pub(super) fn new(files: &[(PathBuf, String)], host: &str, port: u16) -> Self {
        let name = name_of(host, port);
        let mut entries = Vec::new();
        for (file, text) in files {
            let file: Arc<Path> = file.as_path().into();
            let lines = text.lines().enumerate();
            entries.extend(lines.filter_map(|(index, line)| {
                let place = Place { file: file.clone(), line: index + 1 };
                entry(place, line, &name)
            }));
        }
        Self { name, host: host.to_ascii_lowercase(), entries }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The kinds of keys that are recorded for the host: asked for first, or a server that has several shows another
    /// one than the one that is known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let named = self.with(Marker::Plain);
        named.map(|entry| PublicKey::from(entry.key.clone()).algorithm()).collect()
    }

    /// Whether some authority may vouch for the host.
    pub(super) fn has_authority(&self) -> bool {
        self.with(Marker::Authority).next().is_some()
    }

    /// # Errors
    /// What is wrong with a certificate of an authority that is trusted. Its key may still be known by itself, which
    /// this has looked at.
    pub(super) fn judge(
        &self,
        shown: &PublicKeyOrCertificate,
        now_s: u64,
    ) -> Result<Known, String> {
        let key = shown.public_key().key_data().clone();
        let certificate = shown.certificate();
        let authority = certificate.map(Certificate::signature_key);
        let revoked = self.with(Marker::Revoked);
        let mut revoked = revoked.filter(|entry| entry.key == key || Some(&entry.key) == authority);
        if let Some(entry) = revoked.next() {
            return Ok(Known::Revoked(entry.place.clone()));
        }
        let mut refused = None;
        if let Some(certificate) = certificate {
            let mut trusted = self.with(Marker::Authority);
            if let Some(entry) = trusted.find(|entry| Some(&entry.key) == authority) {
                match vouches(certificate, &entry.key, &self.host, now_s) {
                    Ok(()) => return Ok(Known::Trusted(entry.place.clone())),
                    Err(why) => refused = Some(format!("{why} (authority: {})", entry.place)),
                }
            }
        }
        if let Some(entry) = self.with(Marker::Plain).find(|entry| entry.key == key) {
            return Ok(Known::Trusted(entry.place.clone()));
        }
        if let Some(why) = refused {
            return Err(why);
        }
        Ok(match self.with(Marker::Plain).next() {
            Some(other) => Known::Changed(other.place.clone()),
            None => Known::Unknown,
        })
    }

    fn with(&self, marker: Marker) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.marker == marker)
    }
}

/// A line, if it can be read and says something of this host.
fn entry(place: Place, line: &str, name: &str) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let mut words = line.split_whitespace();
    let mut patterns = words.next()?;
    let marker = match patterns {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        other if other.starts_with('@') => return None,
        _ => Marker::Plain,
    };
    if marker != Marker::Plain {
        patterns = words.next()?;
    }
    if !names(patterns, name) {
        return None;
    }
    let (kind, key) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok()?;
    Some(Entry { place, marker, key: key.key_data().clone() })
}

fn names(patterns: &str, name: &str) -> bool {
    if patterns.starts_with('|') {
        return match HostPatterns::from_str(patterns) {
            Ok(HostPatterns::HashedName { salt, hash }) => hashed(&salt, name) == hash,
            Ok(HostPatterns::Patterns(_)) | Err(_) => false,
        };
    }
    let patterns = patterns.to_ascii_lowercase();
    listed(patterns.split(','), name) == Listed::Yes
}

fn hashed(salt: &[u8], name: &str) -> [u8; 20] {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(salt) else { return [0; 20] };
    mac.update(name.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether an authority's certificate is one for this host, now.
fn vouches(
    certificate: &Certificate,
    authority: &KeyData,
    host: &str,
    now_s: u64,
) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("its certificate is one for users".to_owned());
    }
    let (from, until) = (certificate.valid_after(), certificate.valid_before());
    if now_s < from {
        return Err("its certificate is not valid yet".to_owned());
    }
    if now_s >= until {
        return Err("its certificate is out of date".to_owned());
    }
    // None would mean every host.
    let principals = certificate.valid_principals().iter().map(String::as_str);
    let principals: Vec<&str> = principals.filter(|p| !p.starts_with('!')).collect();
    if listed(principals.iter().copied(), host) != Listed::Yes {
        return Err(format!("its certificate is made out to `{}`", principals.join(",")));
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Err(format!("its certificate asks for `{name}`, which yeet does not know"));
    }
    certificate
        .validate_at(now_s, [&authority.fingerprint(HashAlg::Sha256)])
        .map_err(|_| "its certificate is forged".to_owned())
}

/// A line for a new host, with its newline.
pub(super) fn line(name: &str, key: &PublicKey, salt: Option<[u8; 20]>) -> Option<String> {
    let mut key = key.clone();
    key.set_comment("");
    let key = key.to_openssh().ok()?;
    let name = match salt {
        Some(salt) => {
            HostPatterns::HashedName { salt: salt.to_vec(), hash: hashed(&salt, name) }.to_string()
        }
        None => name.to_owned(),
    };
    Some(format!("{name} {}\n", key.trim_end()))
}

/// The text with a line more, also where its last line has no end.
pub(super) fn appended(text: &str, line: &str) -> String {
    let between = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{between}{line}")
}

/// A fingerprint as ssh prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether a key, as OpenSSH writes it, is revoked for a host.
#[cfg(fuzzing)]
pub fn is_revoked(files: &[(PathBuf, String)], host: &str, port: u16, key: &str) -> bool {
    let shown = PublicKey::from_openssh(key).map(PublicKeyOrCertificate::from);
    let judged = shown.map(|shown| KnownHosts::new(files, host, port).judge(&shown, 0));
    matches!(judged, Ok(Ok(Known::Revoked(_))))
}
