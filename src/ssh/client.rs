//! Connections: through every machine on the way, each of them checked and logged in to.
//!
//! Holds: no host is spoken to any further whose key is not trusted; waiting for a machine is bounded, waiting for a
//! person is not.

#![allow(clippy::disallowed_methods, reason = "io shell")]

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{Config, Handle, Handler, Session, connect_stream};
use russh::keys::{Algorithm, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Disconnect, Names, Preferred, cipher};
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ask::{Ask, Secret, printable};
use super::auth::Login;
use super::destination::Destination;
use super::error::{BadHostKey, SshError, Tried};
use super::files::Here;
use super::settings::Settings;
use super::trust::Trust;

/// How long a machine may be silent while a connection is made, unless `ConnectTimeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a channel may receive before it is read: enough for 100 ms at 40 MB/s.
const WINDOW_BYTES: u32 = 4 << 20;
/// The most of a banner that is kept.
const BANNER_BYTES_MAX: usize = 4096;

/// What is learned of a machine on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    pub host: String,
    /// `HOSTNAME:PORT`.
    pub address: String,
    /// Its key, and from where it is known.
    pub trusted: String,
    /// As it calls itself.
    pub server: String,
    pub banner: String,
    pub key_exchange: String,
    pub cipher: String,
    pub user: String,
    /// The methods that it had offered.
    pub offered: Vec<String>,
    pub tried: Vec<Tried>,
}

/// A host that is logged in to.
pub struct Connection {
    pub(super) host: String,
    /// The last is the host's; the others carry it.
    pub(super) handles: Vec<Handle<Host>>,
    pub hops: Vec<Hop>,
    /// Where the host is; `None` behind another machine, from where it may be somewhere else.
    pub(super) address: Option<IpAddr>,
}

/// Connects to a host through all machines before it, `way`'s last one; `passed` is told of each.
///
/// # Errors
/// A machine cannot be reached, is not trusted, or lets nobody in.
pub async fn connect(
    way: &[Settings],
    here: &Here,
    ask: Arc<dyn Ask>,
    now_s: u64,
    passed: &mut dyn FnMut(&Hop),
) -> Result<Connection, SshError> {
    let ask = Arc::new(Patient { ask, is_asking: AtomicBool::new(false) });
    let (host, handles, hops) = (String::new(), Vec::new(), Vec::new());
    let mut connection = Connection { host, handles, hops, address: None };
    for settings in way {
        let (handle, hop) = match connection.handles.last() {
            None => {
                let stream = dial(settings).await?;
                connection.address = stream.peer_addr().ok().map(|at| at.ip());
                shake(stream, settings, here, &ask, now_s).await?
            }
            Some(gateway) => {
                let stream = forward(gateway, &connection.host, settings).await?;
                connection.address = None;
                shake(stream, settings, here, &ask, now_s).await?
            }
        };
        passed(&hop);
        connection.host.clone_from(&settings.host);
        connection.handles.push(handle);
        connection.hops.push(hop);
    }
    Ok(connection)
}

impl Connection {
    /// Says goodbye to every machine, the last one first.
    pub async fn close(self) {
        for handle in self.handles.into_iter().rev() {
            // It is over either way.
            drop(handle.disconnect(Disconnect::ByApplication, "done", "en").await);
        }
    }
}

fn address(settings: &Settings) -> String {
    Destination { user: None, host: settings.hostname.clone(), port: Some(settings.port) }
        .to_string()
}

fn patience(settings: &Settings) -> Duration {
    settings.timeout_s.map_or(PATIENCE, |s| Duration::from_secs(s.into()))
}

async fn dial(settings: &Settings) -> Result<TcpStream, SshError> {
    let failed = |why: String| SshError::Unreachable {
        host: settings.host.clone(),
        address: address(settings),
        why,
    };
    let patience = patience(settings);
    let dialed = timeout(patience, TcpStream::connect((settings.hostname.as_str(), settings.port)));
    let stream = match dialed.await {
        Ok(stream) => stream.map_err(|error| failed(plain(&error)))?,
        Err(_) => return Err(failed(format!("no answer in {} s", patience.as_secs()))),
    };
    set_up(&stream);
    Ok(stream)
}

/// Has what is sent go out at once, and a connection end when what was sent is not taken for so long. At rest nothing is
/// sent (INV-8): whether the other machine is there is found out when somebody wants to know.
pub(super) fn set_up(stream: &impl AsFd) {
    // Where they cannot be set, all takes longer.
    sockopt::set_tcp_nodelay(stream, true).unwrap_or_default();
    sockopt::set_tcp_user_timeout(stream, 15_000).unwrap_or_default();
}

/// A system's error without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

async fn forward(
    gateway: &Handle<Host>,
    name: &str,
    settings: &Settings,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, SshError> {
    let failed = |why: String| SshError::NotForwarded {
        gateway: name.to_owned(),
        host: settings.host.clone(),
        address: address(settings),
        why,
    };
    let port = settings.port.into();
    let opened = gateway.channel_open_direct_tcpip(&settings.hostname, port, "127.0.0.1", 0);
    let channel = match timeout(patience(settings), opened).await {
        Err(_) => return Err(failed("no answer".to_owned())),
        Ok(Ok(channel)) => channel,
        Ok(Err(russh::Error::ChannelOpenFailure(why))) => {
            return Err(failed(if why == ChannelOpenFailure::AdministrativelyProhibited {
                "it is not allowed there".to_owned()
            } else if why == ChannelOpenFailure::ConnectFailed {
                "it cannot be reached from there".to_owned()
            } else {
                format!("{why:?}")
            }));
        }
        Ok(Err(other)) => return Err(failed(other.to_string())),
    };
    Ok(channel.into_stream())
}

async fn shake<S>(
    stream: S,
    settings: &Settings,
    here: &Here,
    ask: &Arc<Patient>,
    now_s: u64,
) -> Result<(Handle<Host>, Hop), SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let trust = Arc::new(Trust::new(settings, ask.clone()));
    let seen = Arc::new(Mutex::new(Seen::default()));
    let config = Arc::new(config(&trust));
    let host = Host { trust, seen: seen.clone(), now_s };
    let patience = patience(settings);
    let shaken = ask.bounded(patience, connect_stream(config, stream, host)).await;
    let silent = || SshError::Unreachable {
        host: settings.host.clone(),
        address: address(settings),
        why: format!("it says nothing for {} s", patience.as_secs()),
    };
    let refused = || locked(&seen).refused.take();
    let mut handle = match shaken.ok_or_else(silent)? {
        Ok(handle) => handle,
        Err(error) => return Err(failed(settings, refused(), &error)),
    };
    let login = Login::new(&mut handle, settings, here, ask.clone()).run();
    let (tried, offered) = ask.bounded(patience, login).await.ok_or_else(silent)??;
    let mut hop = locked(&seen).hop.clone();
    hop.host.clone_from(&settings.host);
    hop.address = address(settings);
    hop.user.clone_from(&settings.user);
    (hop.tried, hop.offered) = (tried, offered);
    Ok((handle, hop))
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the library's other errors are told as they are"
)]
fn failed(settings: &Settings, refused: Option<BadHostKey>, error: &russh::Error) -> SshError {
    let host = settings.host.clone();
    if let Some(bad) = refused {
        return SshError::HostKey { host, bad, files: settings.user_known_hosts.clone() };
    }
    match error {
        russh::Error::IO(error) => {
            SshError::Unreachable { host, address: address(settings), why: plain(error) }
        }
        russh::Error::HUP | russh::Error::Disconnect => SshError::Unreachable {
            host,
            address: address(settings),
            why: "it hung up before it said who it is".to_owned(),
        },
        russh::Error::NoCommonAlgo { kind, theirs, .. } => SshError::Protocol {
            host,
            why: format!("of what it offers as {kind:?} yeet has none ({})", theirs.join(", ")),
        },
        other => SshError::Protocol { host, why: other.to_string() },
    }
}

fn config(trust: &Trust) -> Config {
    let known = trust.algorithms();
    // A recorded RSA key says nothing of the hash it signs with.
    let is_known = |algorithm: &Algorithm| {
        known.iter().any(|k| k == algorithm || is_rsa(k) && is_rsa(algorithm))
    };
    let mut key = Preferred::DEFAULT.key.to_vec();
    key.sort_by_key(|algorithm| !is_known(algorithm));
    let certificates = if trust.has_authority() { key.clone() } else { Vec::new() };
    let mut ciphers = vec![
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_192_CTR,
        cipher::AES_128_CTR,
    ];
    if !has_aes() {
        ciphers.swap(0, 2);
    }
    Config {
        nodelay: true,
        window_size: WINDOW_BYTES,
        preferred: Preferred {
            key: Cow::Owned(key),
            host_key_certificates: Cow::Owned(certificates),
            cipher: Cow::Owned(ciphers),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

#[cfg(target_arch = "x86_64")]
pub(super) fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
pub(super) fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn has_aes() -> bool {
    false
}

/// What a host has shown so far.
#[derive(Default)]
struct Seen {
    hop: Hop,
    refused: Option<BadHostKey>,
}

fn locked(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The side of a connection that listens to a host.
pub(super) struct Host {
    trust: Arc<Trust>,
    seen: Arc<Mutex<Seen>>,
    now_s: u64,
}

impl Handler for Host {
    type Error = russh::Error;

    async fn auth_banner(&mut self, text: &str, _: &mut Session) -> Result<(), russh::Error> {
        let mut seen = locked(&self.seen);
        let room = BANNER_BYTES_MAX.saturating_sub(seen.hop.banner.len());
        let text: String = printable(text).chars().take(room).collect();
        seen.hop.banner.push_str(&text);
        Ok(())
    }

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        // A person may have to think about it, and others talk to their hosts meanwhile.
        let shown = match shown {
            PublicKeyOrCertificate::PublicKey { key, hash_alg } => {
                PublicKeyOrCertificate::PublicKey { key: key.clone(), hash_alg: *hash_alg }
            }
            PublicKeyOrCertificate::Certificate(certificate) => certificate.clone().into(),
        };
        let (trust, now_s) = (self.trust.clone(), self.now_s);
        let judged = tokio::task::spawn_blocking(move || trust.judge(&shown, now_s)).await;
        // It is not done only if the runtime goes down.
        let judged = judged.map_err(|_| russh::Error::Disconnect)?;
        let mut seen = locked(&self.seen);
        match judged {
            Ok(trusted) => seen.hop.trusted = trusted,
            Err(bad) => seen.refused = Some(bad),
        }
        Ok(seen.refused.is_none())
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let mut seen = locked(&self.seen);
        seen.hop.key_exchange = names.kex.as_ref().to_owned();
        seen.hop.cipher = names.cipher.as_ref().to_owned();
        seen.hop.server = printable(&String::from_utf8_lossy(session.remote_sshid()));
        Ok(())
    }
}

/// Somebody to ask, and whether they are being asked right now.
struct Patient {
    ask: Arc<dyn Ask>,
    is_asking: AtomicBool,
}

impl Patient {
    /// What comes of work that ends in time; time in which a person thinks does not count. `None`: it took too long.
    async fn bounded<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            match timeout(patience, &mut work).await {
                Ok(done) => return Some(done),
                Err(_) if self.is_asking.swap(false, Ordering::Relaxed) => {}
                Err(_) => return None,
            }
        }
    }

    /// The mark outlives the question: what was asked just before the time is looked at counts, too.
    fn asked<T>(&self, question: impl FnOnce(&dyn Ask) -> T) -> T {
        self.is_asking.store(true, Ordering::Relaxed);
        let answer = question(&*self.ask);
        self.is_asking.store(true, Ordering::Relaxed);
        answer
    }
}

impl Ask for Patient {
    fn is_there(&self) -> bool {
        self.ask.is_there()
    }

    fn yes(&self, question: &str) -> Option<bool> {
        self.asked(|ask| ask.yes(question))
    }

    fn answer(&self, prompt: &str, is_shown: bool) -> Option<Secret> {
        self.asked(|ask| ask.answer(prompt, is_shown))
    }

    fn tell(&self, text: &str) {
        self.ask.tell(text);
    }
}
