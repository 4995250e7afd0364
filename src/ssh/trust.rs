//! Whether a host is the one it should be, asked of the files and, on a terminal, of a person.

use std::sync::Arc;

use russh::keys::{Algorithm, PublicKeyOrCertificate};

use super::ask::Ask;
use super::error::BadHostKey;
use super::files::{append, texts};
use super::known_hosts::{Known, KnownHosts, appended, fingerprint, line};
use super::settings::{Settings, Strict};

/// What is known of one host before it is asked.
pub(super) struct Trust {
    settings: Settings,
    known: KnownHosts,
    /// The same name at port 22: ssh believes that, too, where the port is another.
    plain: Option<KnownHosts>,
    /// Another name of the host: on whatever way it is reached, it is the same.
    also: Option<KnownHosts>,
    ask: Arc<dyn Ask>,
}

impl Trust {
    pub(super) fn new(settings: &Settings, ask: Arc<dyn Ask>) -> Self {
        let files = [&settings.user_known_hosts[..], &settings.global_known_hosts[..]].concat();
        let files = texts(&files);
        let (name, port) = match &settings.key_name {
            Some(name) => (name.as_str(), 22),
            None => (settings.hostname.as_str(), settings.port),
        };
        let known = KnownHosts::new(&files, name, port);
        let plain = (port != 22).then(|| KnownHosts::new(&files, name, 22));
        let also = settings.also_known.as_ref();
        let also = also.map(|(name, port)| KnownHosts::new(&files, name, *port));
        Self { settings: settings.clone(), known, plain, also, ask }
    }

    /// The kinds of keys to ask for first.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let also = self.also.as_ref().map(KnownHosts::algorithms);
        let mut all = self.known.algorithms();
        all.extend(also.unwrap_or_default());
        all
    }

    pub(super) fn has_authority(&self) -> bool {
        self.known.has_authority() || self.also.as_ref().is_some_and(KnownHosts::has_authority)
    }

    /// Blocks where a person is asked.
    pub(super) fn judge(
        &self,
        shown: &PublicKeyOrCertificate,
        now_s: u64,
    ) -> Result<String, BadHostKey> {
        let key = shown.public_key();
        let print = format!("{} {}", key.algorithm(), fingerprint(&key));
        let judged = match (self.known.judge(shown, now_s), &self.plain) {
            (Ok(Known::Unknown), Some(plain)) => match plain.judge(shown, now_s) {
                Ok(known @ (Known::Trusted(_) | Known::Revoked(_))) => Ok(known),
                Ok(Known::Changed(_) | Known::Unknown) | Err(_) => Ok(Known::Unknown),
            },
            (other, _) => other,
        };
        let judged = match (judged, &self.also) {
            (Ok(Known::Unknown), Some(also)) => also.judge(shown, now_s),
            (other, _) => other,
        };
        match judged.map_err(BadHostKey::Certificate)? {
            Known::Trusted(place) => Ok(format!("{print}, known from {place}")),
            Known::Revoked(place) => Err(BadHostKey::Revoked { shown: print, place }),
            Known::Changed(place) => Err(BadHostKey::Changed { shown: print, place }),
            Known::Unknown => self.meet(shown, print),
        }
    }

    fn meet(&self, shown: &PublicKeyOrCertificate, print: String) -> Result<String, BadHostKey> {
        let host = self.known.name();
        match self.settings.strict {
            Strict::Yes => return Err(BadHostKey::Unknown { shown: print }),
            Strict::AcceptNew => {}
            Strict::Ask => {
                let question =
                    format!("{host} is new here; its key is {print}. Is that the right one?");
                match self.ask.yes(&question) {
                    Some(true) => {}
                    Some(false) => return Err(BadHostKey::Declined { shown: print }),
                    None => return Err(BadHostKey::Unknown { shown: print }),
                }
            }
        }
        let Some(file) = self.settings.user_known_hosts.first() else {
            return Ok(format!("{print}, new and remembered nowhere"));
        };
        let unwritten =
            |why: String| BadHostKey::Unwritten { shown: print.clone(), file: file.clone(), why };
        let salt = self.settings.hash_known_hosts.then(random_salt).transpose();
        let salt = salt.map_err(|error| unwritten(error.to_string()))?;
        let line = line(host, &shown.public_key(), salt)
            .ok_or_else(|| unwritten("it cannot be written as text".to_owned()))?;
        append(file, &|before| appended(before, &line)).map_err(|e| unwritten(e.to_string()))?;
        Ok(format!("{print}, new, written to {}", file.display()))
    }
}

fn random_salt() -> rustix::io::Result<[u8; 20]> {
    let mut salt = [0; 20];
    rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
    Ok(salt)
}
