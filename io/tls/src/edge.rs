//! TLS that ends at a pinhole: between certificates known by their fingerprints, for loops that hold very
//! many associations (RFC 8122 §5 and §6, TS 23.334 §6.2.10.3).
//!
//! The one place where rustls is used, because there it takes about half of the time that OpenSSL takes for a
//! handshake, and less memory (`docs/performance.md`). It reads from and writes to memory that the
//! caller lends ([`Wire`]). What it cannot do is done by OpenSSL ([`CertificateSocket`]): keys of ours that it
//! does not sign with. It has no external pre-shared keys, so [`PskSocket`](crate::PskSocket) has OpenSSL.
//!
//! An end hears nothing from the moment it has spoken until its peer's fingerprint is announced, as in
//! [`CertificateSocket`]. Both libraries show the same to peers: versions, suites, groups, alerts.
//!
//! Left out: resumption, tickets, early data, renegotiation, compression of certificates, names.

mod judge;
mod key_info;
mod records;
mod wire;

pub use wire::Wire;

use crate::certificate::Announced;
use crate::{
    CertificateContext, CertificateSettings, CertificateSocket, Credential, Error, Fingerprint, Report, Side,
    Trust, Versions,
};
use judge::Judge;
use records::Engine;
pub(crate) use records::Records;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs::{self as library, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, IpAddr, Ipv4Addr, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion, version};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Makes associations that show one certificate. Cheap to clone.
#[derive(Clone)]
pub struct EdgeContext {
    /// `None`: the library cannot use the key.
    light: Option<Light>,
    full: CertificateContext,
}

/// What associations in rustls are made of.
#[derive(Clone)]
struct Light {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    shown: Arc<SingleCertAndKey>,
    client: Arc<ClientConfig>,
}

impl EdgeContext {
    /// # Errors
    /// [`Error::Library`] if the certificate or its key cannot be used.
    pub fn new(credential: &Credential, versions: Versions) -> Result<Self, Error> {
        let full = CertificateContext::new(&CertificateSettings {
            credential: Some(credential.clone()),
            trust: Trust::Nobody,
            versions,
            ..CertificateSettings::default()
        })?;
        let (chain, key) = credential.der()?;
        Ok(Self { light: Light::new(chain, key, versions), full })
    }

    /// One end of an association. It waits for [`EdgeSocket::announce`] before it looks at the peer's
    /// certificate.
    ///
    /// # Errors
    /// What the library says when it has no memory or no randomness.
    pub fn socket(&self, side: Side) -> Result<EdgeSocket, Error> {
        let (announced, ends) = match &self.light {
            Some(light) => {
                let announced = Announced::default();
                let engine = light.engine(side, Arc::clone(&announced)).map_err(Error::of_rustls)?;
                (announced, Ends::Light(Box::new(Records::new(engine))))
            }
            None => {
                let socket = self.full.socket(Wire::default(), side)?;
                (Announced::default(), Ends::Full(Box::new(socket)))
            }
        };
        Ok(EdgeSocket { ends, announced })
    }
}

impl fmt::Debug for EdgeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeContext").field("light", &self.light.is_some()).finish_non_exhaustive()
    }
}

/// How associations begin with clients that are asked for no certificate ([`NamedSocket`](crate::NamedSocket)).
/// `None`: the library cannot use the key.
pub(crate) fn for_anyone(credential: &Credential, versions: Versions) -> Option<Arc<ServerConfig>> {
    let (chain, key) = credential.der().ok()?;
    let light = Light::new(chain, key, versions)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&light.provider));
    let builder = builder.with_protocol_versions(light.versions).ok()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::clone(&light.shown) as _);
    without_resumption(&mut config);
    Some(Arc::new(config))
}

/// An end that accepts by it.
pub(crate) fn accepting(config: &Arc<ServerConfig>) -> Result<Records, Error> {
    let engine = UnbufferedServerConnection::new(Arc::clone(config)).map_err(Error::of_rustls)?;
    Ok(Records::new(Engine::Server(engine)))
}

fn without_resumption(config: &mut ServerConfig) {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.ignore_client_order = true;
}

static BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

impl Light {
    fn new(chain: Vec<Vec<u8>>, key: Vec<u8>, versions: Versions) -> Option<Self> {
        let key = library::default_provider().key_provider.load_private_key(PrivateKeyDer::Pkcs8(key.into()));
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key.ok()?)));
        let provider = Arc::new(provider());
        let versions = match versions {
            Versions::Both => BOTH,
            Versions::Tls12 => BOTH.get(1..)?,
            Versions::Tls13 => BOTH.get(..1)?,
        };
        let algorithms = provider.signature_verification_algorithms;
        let judge = Arc::new(Judge { announced: Announced::default(), algorithms });
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(judge)
            .with_client_cert_resolver(Arc::clone(&shown) as _);
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Some(Self { provider, versions, shown, client: Arc::new(client) })
    }

    fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.provider.signature_verification_algorithms
    }

    /// Each association has a judge of its own, and so a configuration of its own.
    fn engine(&self, side: Side, announced: Announced) -> Result<Engine, rustls::Error> {
        let judge = Arc::new(Judge { announced, algorithms: self.algorithms() });
        match side {
            Side::Client => {
                let mut config = (*self.client).clone();
                config.dangerous().set_certificate_verifier(judge);
                // An address is not sent, and nobody looks at names.
                let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])));
                Ok(Engine::Client(UnbufferedClientConnection::new(Arc::new(config), nobody)?))
            }
            Side::Server => {
                let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
                    .with_protocol_versions(self.versions)?
                    .with_client_cert_verifier(judge)
                    .with_cert_resolver(Arc::clone(&self.shown) as _);
                without_resumption(&mut config);
                Ok(Engine::Server(UnbufferedServerConnection::new(Arc::new(config))?))
            }
        }
    }
}

/// The suites and groups of [`CertificateContext`], in its order, and a group more.
fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        // In TLS 1.2 a certificate can only be shown to whom its curve was offered (RFC 8422 §5.1): the last is for those.
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..library::default_provider()
    }
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// So many octets; at least one.
    Octets(usize),
    /// Nothing: more has to come first.
    Nothing,
    /// The peer has said `close_notify`.
    End,
}

/// One end of an association. Drive [`handshake`](Self::handshake) to its end, then open and seal.
///
/// It has no socket: what comes is brought to its [`Wire`], and what it says is found there.
pub struct EdgeSocket {
    ends: Ends,
    /// What the peer's certificate is measured by in rustls. Set once.
    announced: Announced,
}

enum Ends {
    Light(Box<Records>),
    Full(Box<CertificateSocket<Wire>>),
}

impl EdgeSocket {
    /// Says which certificates the peer may show. The first word counts; an empty list fits none.
    pub fn announce(&mut self, fingerprints: &[Fingerprint]) {
        let _ = self.announced.set(fingerprints.into());
        if let Ends::Full(socket) = &mut self.ends {
            socket.announce(fingerprints);
        }
    }

    /// The peer's certificate is [announced](Self::announce).
    pub fn is_announced(&self) -> bool {
        self.announced.get().is_some()
    }

    /// Nothing more is heard until the peer's certificate is [announced](Self::announce).
    pub fn is_waiting(&self) -> bool {
        match &self.ends {
            Ends::Light(records) => records.spoke && !self.is_announced(),
            Ends::Full(socket) => socket.is_waiting(),
        }
    }

    /// Which end of the handshake this is.
    pub fn side(&self) -> Side {
        match &self.ends {
            Ends::Light(records) => records.side(),
            Ends::Full(socket) => socket.side(),
        }
    }

    /// Whether the certificate that the peer has shown has one of these fingerprints.
    pub fn is_shown(&self, fingerprints: &[Fingerprint]) -> bool {
        match &self.ends {
            Ends::Light(records) => {
                records.shown().is_some_and(|shown| Fingerprint::any_match_der(fingerprints, shown))
            }
            Ends::Full(socket) => socket.is_shown(fingerprints),
        }
    }

    /// Goes on with the handshake as far as what has come lets it; `None`: again when more has come, or when
    /// the peer's certificate is announced. What it agreed on, when it is done.
    ///
    /// # Errors
    /// As the handshake goes; [`Error::Fingerprint`] for another certificate than was announced,
    /// [`Error::NoCertificate`] for none. The alert that says so waits to be sent.
    pub fn handshake(&mut self) -> Result<Option<Report>, Error> {
        let records = match &mut self.ends {
            Ends::Full(socket) => return socket.handshake(),
            Ends::Light(records) => records,
        };
        if records.spoke && self.announced.get().is_none() {
            return Ok(None);
        }
        if !records.shake()? {
            return Ok(None);
        }
        // A wrong certificate was refused already. This holds even if nobody was asked.
        let announced = self.announced.get().map_or(&[][..], |list| list);
        match records.shown() {
            None => return Err(Error::NoCertificate),
            Some(shown) if Fingerprint::any_match_der(announced, shown) => {}
            Some(_) => return Err(Error::Fingerprint),
        }
        records.report().ok_or(Error::NoCommonVersion).map(Some)
    }

    /// Opens what has come, as far as it fits.
    ///
    /// # Errors
    /// What TLS says, or an alert of the peer. Whatever came before was opened before.
    pub fn open(&mut self, out: &mut [u8]) -> Result<Opened, Error> {
        match &mut self.ends {
            Ends::Light(records) => Ok(match records.open(out)? {
                (0, true) => Opened::End,
                (0, false) => Opened::Nothing,
                (octets, _) => Opened::Octets(octets),
            }),
            Ends::Full(socket) => {
                let mut opened = 0;
                while let Some(room) = out.get_mut(opened..).filter(|room| !room.is_empty()) {
                    match socket.read(room) {
                        Ok(0) if opened == 0 => return Ok(Opened::End),
                        Ok(0) => break,
                        Ok(octets) => opened += octets,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        // It is said again when nothing is left before it.
                        Err(_) if opened > 0 => break,
                        Err(error) => return Err(Error::of_stream(error)),
                    }
                }
                Ok(if opened == 0 { Opened::Nothing } else { Opened::Octets(opened) })
            }
        }
    }

    /// Seals octets for the peer, all of them.
    ///
    /// # Errors
    /// What TLS says: the association does not stand, or its keys are used up.
    pub fn seal(&mut self, octets: &[u8]) -> Result<(), Error> {
        match &mut self.ends {
            Ends::Light(records) => records.seal(octets),
            Ends::Full(socket) => {
                let mut rest = octets;
                while !rest.is_empty() {
                    let taken = socket.write(rest).map_err(Error::of_stream)?;
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Ok(())
            }
        }
    }

    /// Says `close_notify`, if there is an association. Opening may go on.
    pub fn close(&mut self) {
        match &mut self.ends {
            Ends::Light(records) => records.close(),
            Ends::Full(socket) => socket.close(),
        }
    }

    /// What has come and what is to be sent.
    pub fn wire(&self) -> &Wire {
        match &self.ends {
            Ends::Light(records) => &records.wire,
            Ends::Full(socket) => socket.get_ref(),
        }
    }

    /// What has come and what is to be sent.
    pub fn wire_mut(&mut self) -> &mut Wire {
        match &mut self.ends {
            Ends::Light(records) => &mut records.wire,
            Ends::Full(socket) => socket.get_mut(),
        }
    }
}

impl fmt::Debug for EdgeSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeSocket").field("side", &self.side()).finish_non_exhaustive()
    }
}
