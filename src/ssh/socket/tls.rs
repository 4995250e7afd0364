//! TLS between two who know each other's certificate.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, CipherSuite, ClientConfig, ClientConnection, Connection, ConnectionCommon,
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection, SideData,
    SignatureScheme, Stream,
};
use serde::{Deserialize, Serialize};

use crate::ssh::client::has_aes;

/// What is read from the socket at a time, in bytes.
const RAW_BYTES: usize = 256 << 10;

/// The digest of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(blake3::hash(certificate).into())
    }
}

/// A certificate for one connection, and its key, which is nowhere but here.
pub struct Fresh {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Fresh {
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(vec!["yeet".to_owned()]);
        let made = made.map_err(|error| format!("cannot make a certificate: {error}"))?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Ok(Self { certificate: made.cert.der().clone(), key: key.into() })
    }

    /// The same once more, which no connection uses.
    #[cfg(test)]
    pub(super) fn twin(&self) -> Self {
        Self { certificate: self.certificate.clone(), key: self.key.clone_key() }
    }

    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin::of(&self.certificate)
    }
}

/// Takes the one certificate that it was told of, and whoever has its key.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        match Pin::of(shown) == self.pin {
            true => Ok(()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, known)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not spoken.
fn too_old() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if !has_aes() {
        let is_aes = |suite: CipherSuite| suite != CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        provider.cipher_suites.sort_by_key(|suite| is_aes(suite.suite()));
    }
    Arc::new(provider)
}

/// What the agent's side of all connections to one listener goes by.
pub(super) fn served(own: Fresh, pin: Pin) -> Result<Arc<ServerConfig>, Error> {
    let provider = provider();
    let pinned = Arc::new(Pinned { pin, provider: provider.clone() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(pinned)
        .with_single_cert(vec![own.certificate], own.key)?;
    config.send_tls13_tickets = 0;
    config.ignore_client_order = !has_aes();
    Ok(Arc::new(config))
}

fn calling(own: Fresh, pin: Pin) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let pinned = Arc::new(Pinned { pin, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_client_auth_cert(vec![own.certificate], own.key)?;
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Both directions of a line that is not secured for long yet.
pub(super) trait Line: Read + Write {}
impl<T: Read + Write> Line for T {}

/// A connection whose other end has shown who it is. One thread reads, one writes.
pub struct Secured {
    tcp: Arc<TcpStream>,
    tls: Arc<Mutex<Connection>>,
}

impl Secured {
    /// As the one who connects; `prove` is what both say first.
    pub(super) fn call(
        tcp: TcpStream,
        own: Fresh,
        pin: Pin,
        until: Instant,
        prove: impl FnOnce(&mut dyn Line) -> io::Result<()>,
    ) -> io::Result<Self> {
        let config = calling(own, pin).map_err(io::Error::other)?;
        let name = ServerName::try_from("yeet").map_err(io::Error::other)?;
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Self::shake(tcp, tls, until, prove)
    }

    /// As the one who listens.
    pub(super) fn answer(
        tcp: TcpStream,
        config: Arc<ServerConfig>,
        until: Instant,
        prove: impl FnOnce(&mut dyn Line) -> io::Result<()>,
    ) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Self::shake(tcp, tls, until, prove)
    }

    fn shake<C, S>(
        tcp: TcpStream,
        mut tls: C,
        until: Instant,
        prove: impl FnOnce(&mut dyn Line) -> io::Result<()>,
    ) -> io::Result<Self>
    where
        C: DerefMut<Target = ConnectionCommon<S>> + Into<Connection>,
        S: SideData,
    {
        tls.set_buffer_limit(None);
        let mut timed = Timed { tcp: &tcp, until };
        prove(&mut Stream::new(&mut tls, &mut timed))?;
        tcp.set_read_timeout(None)?;
        tcp.set_write_timeout(None)?;
        Ok(Self { tcp: Arc::new(tcp), tls: Arc::new(Mutex::new(tls.into())) })
    }

    /// For a link: what reads, what writes, and what ends both.
    pub fn split(self) -> (Reader, Writer, impl Fn() + Send + Sync + use<>) {
        let Self { tcp, tls } = self;
        let closes = tcp.clone();
        let close = move || drop(closes.shutdown(Shutdown::Both));
        let raw = vec![0; RAW_BYTES];
        let reader = Reader { tcp: tcp.clone(), tls: tls.clone(), raw, at: 0, end: 0 };
        (reader, Writer { tcp, tls, out: Vec::new() }, close)
    }
}

/// A connection on which nothing may take longer than to this moment, whatever comes how slowly.
struct Timed<'a> {
    tcp: &'a TcpStream,
    until: Instant,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(self.left()?)?;
        self.tcp.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(self.left()?)?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn locked(tls: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes. It waits for the socket without holding up who writes.
pub struct Reader {
    tcp: Arc<TcpStream>,
    tls: Arc<Mutex<Connection>>,
    /// What has come and is not taken in is from `at` to `end`.
    raw: Vec<u8>,
    at: usize,
    end: usize,
}

impl Reader {
    /// As much as fits of what has come.
    fn take(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut tls = locked(&self.tls);
        let mut filled = 0;
        loop {
            match tls.reader().read(&mut buffer[filled..]) {
                // The other side has closed its half; or there is no more room.
                Ok(0) => return Ok(Some(filled)),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.at == self.end {
                return Ok((filled > 0).then_some(filled));
            }
            self.at += tls.read_tls(&mut &self.raw[self.at..self.end])?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(taken) = self.take(buffer)? {
                return Ok(taken);
            }
            let read = (&*self.tcp).read(&mut self.raw)?;
            if read == 0 {
                return Ok(0);
            }
            (self.at, self.end) = (0, read);
        }
    }
}

/// Takes what the system takes without waiting, and no more.
struct AtOnce<'a>(&'a TcpStream);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(self.0, bytes, &mut nothing, flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What goes out.
pub struct Writer {
    tcp: Arc<TcpStream>,
    tls: Arc<Mutex<Connection>>,
    out: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tls = locked(&self.tls);
        let written = tls.writer().write(bytes)?;
        self.out.clear();
        while tls.wants_write() {
            match tls.write_tls(&mut AtOnce(&self.tcp)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    while tls.wants_write() {
                        tls.write_tls(&mut self.out)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        drop(tls);
        // Whoever reads goes on meanwhile.
        (&*self.tcp).write_all(&self.out)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
