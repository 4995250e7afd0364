//! The user's keys: files, the certificates beside them, and what the agent holds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key};

use super::files::{Here, text};
use super::settings::Settings;

/// A key that the settings name.
pub(super) struct Key {
    pub(super) file: PathBuf,
    pub(super) private: Private,
    pub(super) public: Option<PublicKey>,
    /// Of this key; the newest way to be let in, so the first to be shown.
    pub(super) certificate: Option<Certificate>,
}

pub(super) enum Private {
    Open(Box<PrivateKey>),
    /// A passphrase opens it; the file's text.
    Locked(String),
    /// Only its public half is there: an agent may have it.
    Absent,
    /// Why it is not used.
    Unusable(String),
}

/// The keys of a host's settings, in their order; usual files that are not there are left out.
pub(super) fn keys(settings: &Settings, here: &Here) -> Vec<Key> {
    let named = settings.certificate_files.iter().filter_map(|file| certificate(file));
    let named: Vec<Certificate> = named.collect();
    let files = settings.identity_files.iter();
    files.filter_map(|file| key(file, settings.identities_are_named, &named, here)).collect()
}

fn key(file: &Path, is_named: bool, certificates: &[Certificate], here: &Here) -> Option<Key> {
    let mut public = public(&beside(file, ".pub")).or_else(|| public(file));
    let private = match text(file) {
        Ok(_) if !here.is_private(file) => {
            Private::Unusable("others than you can read it; ssh would not use it either".to_owned())
        }
        Ok(text) => private(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if public.is_none() && !is_named {
                return None;
            }
            if public.is_none() {
                Private::Unusable("there is no such file".to_owned())
            } else {
                Private::Absent
            }
        }
        Err(error) => Private::Unusable(error.to_string()),
    };
    if public.is_none() {
        public = public_of(&private);
    }
    let own = certificate(&beside(file, "-cert.pub"));
    let is_of = |c: &&Certificate| public.as_ref().is_some_and(|p| p.key_data() == c.public_key());
    let certificate = own.iter().chain(certificates).find(is_of).cloned();
    Some(Key { file: file.to_owned(), private, public, certificate })
}

fn private(text: String) -> Private {
    match decode_secret_key(&text, None) {
        Ok(key) => Private::Open(Box::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => Private::Locked(text),
        // A public key in the place of a private one means that an agent has the other half.
        Err(_) if PublicKey::from_openssh(&text).is_ok() => Private::Absent,
        Err(error) => Private::Unusable(format!("no key that yeet can read: {error}")),
    }
}

/// The public half, which an OpenSSH file has in the open even if it is locked.
fn public_of(private: &Private) -> Option<PublicKey> {
    match private {
        Private::Open(key) => Some(key.public_key().clone()),
        Private::Locked(text) => Some(PrivateKey::from_openssh(text).ok()?.public_key().clone()),
        Private::Absent | Private::Unusable(_) => None,
    }
}

fn public(file: &Path) -> Option<PublicKey> {
    PublicKey::from_openssh(text(file).ok()?.trim()).ok()
}

fn certificate(file: &Path) -> Option<Certificate> {
    Certificate::from_openssh(text(file).ok()?.trim()).ok()
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
