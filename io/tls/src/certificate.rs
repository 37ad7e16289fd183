//! TLS with certificates: by fingerprint for media, by name for SIP and HTTPS.
//!
//! RFC 8122 (fingerprints in SDP, both ends show a certificate), RFC 5922 and RFC 9525 (server
//! names, the part the library checks). A context of this kind knows no pre-shared key.

use crate::{Credential, Error, Fingerprint, Report, Side, TlsStream, Versions};
use crate::{handshake, tally};
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslVerifyMode};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyParam};
use openssl::x509::{X509, X509StoreContext, X509StoreContextRef, X509VerifyResult};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
const SUITES_12: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// Who vouches for a peer that is checked by chain.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Nobody: only fingerprints are accepted.
    #[default]
    Nobody,
    /// The authorities that the operating system lists.
    System,
    /// The authorities (or single certificates) in a PEM file.
    File(PathBuf),
    /// The same, in memory.
    Pem(Vec<u8>),
}

/// How a context is set up.
#[derive(Clone)]
pub struct CertificateSettings {
    /// Our certificate. Needed to accept connections and to be checked by fingerprint.
    pub credential: Option<Credential>,
    /// Who vouches for peers.
    pub trust: Trust,
    /// Versions offered and accepted.
    pub versions: Versions,
    /// Longest time a handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for CertificateSettings {
    fn default() -> Self {
        Self {
            credential: None,
            trust: Trust::default(),
            versions: Versions::default(),
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// What is demanded of the peer of one connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A certificate with one of these fingerprints; chain and names do not matter (RFC 8122 §5).
    Fingerprints(Vec<Fingerprint>),
    /// A certificate that the trusted authorities vouch for, good for this host name or address.
    Named(String),
    /// A certificate that the trusted authorities vouch for, whatever its name.
    Vouched,
    /// No certificate is asked for. Only for accepting: a server that anyone may connect to.
    Anyone,
}

/// Makes associations that certificates protect. Cheap to clone; clones share what [`renew`](Self::renew) replaces.
#[derive(Clone)]
pub struct CertificateContext {
    prepared: Arc<RwLock<Arc<Prepared>>>,
    /// What it is for, if handshakes are counted.
    place: Option<&'static str>,
}

/// What a context is made of. Associations keep theirs.
struct Prepared {
    client: SslContext,
    server: Option<SslContext>,
    /// For servers that ask for no certificate.
    anyone: Option<Arc<rustls::ServerConfig>>,
    has_credential: bool,
    handshake_timeout: Duration,
}

impl Prepared {
    fn new(settings: &CertificateSettings) -> Result<Self, Error> {
        let server = match &settings.credential {
            Some(_) => Some(builder(Side::Server, settings)?.build()),
            None => None,
        };
        Ok(Self {
            client: builder(Side::Client, settings)?.build(),
            server,
            anyone: (settings.credential.as_ref())
                .and_then(|credential| crate::edge::for_anyone(credential, settings.versions)),
            has_credential: settings.credential.is_some(),
            handshake_timeout: settings.handshake_timeout,
        })
    }

    async fn run<S>(&self, side: Side, stream: S, peer: &Peer) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        const NONE: Error = Error::Misuse("a TLS server needs a certificate of its own");
        let context = match side {
            Side::Client => &self.client,
            Side::Server => self.server.as_ref().ok_or(NONE)?,
        };
        let mut ssl = Ssl::new(context).map_err(Error::library("preparing a TLS connection"))?;
        self.demand(&mut ssl, peer, side)?;
        let tls =
            handshake::run(ssl, stream, side, self.handshake_timeout).await.map_err(|error| {
                match (error, peer) {
                    (Error::Certificate(_), Peer::Fingerprints(_)) => Error::Fingerprint,
                    (other, _) => other,
                }
            })?;
        let report = Report::of(tls.0.ssl(), side).ok_or(Error::NoCommonVersion)?;
        // The callback has refused a wrong certificate already. This holds even if it was not called.
        if let Peer::Fingerprints(announced) = peer {
            let shown = tls.0.ssl().peer_certificate();
            if !shown.is_some_and(|c| Fingerprint::any_match(announced, &c)) {
                return Err(Error::Fingerprint);
            }
        }
        Ok((tls, report))
    }

    fn demand(&self, ssl: &mut Ssl, peer: &Peer, side: Side) -> Result<(), Error> {
        let failed = Error::library("saying whom to expect");
        let must_show = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        match peer {
            Peer::Anyone => ssl.set_verify(SslVerifyMode::NONE),
            Peer::Vouched => ssl.set_verify(must_show),
            Peer::Named(name) => {
                ssl.set_verify(must_show);
                let param = ssl.param_mut();
                match name.parse::<IpAddr>() {
                    Ok(address) => param.set_ip(address).map_err(&failed)?,
                    Err(_) => {
                        param.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
                        param.set_host(name).map_err(&failed)?;
                        if side == Side::Client {
                            ssl.set_hostname(name).map_err(&failed)?;
                        }
                    }
                }
            }
            Peer::Fingerprints(announced) => {
                // RFC 8122 §6: both ends show a certificate.
                if !self.has_credential {
                    return Err(Error::Misuse(
                        "fingerprints work both ways: a certificate of our own is needed",
                    ));
                }
                if announced.is_empty() {
                    return Err(Error::Misuse("no fingerprint to check the peer's certificate against"));
                }
                let announced = Arc::new(OnceLock::from(Box::from(announced.as_slice())));
                ssl.set_verify_callback(must_show, judge(announced));
            }
        }
        Ok(())
    }
}

impl CertificateContext {
    /// Prepares the client's side, and the server's if there is a credential.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Library`] if a certificate cannot be read or used.
    pub fn new(settings: &CertificateSettings) -> Result<Self, Error> {
        let prepared = Arc::new(RwLock::new(Arc::new(Prepared::new(settings)?)));
        Ok(Self { prepared, place: None })
    }

    /// Counts the handshakes from here on under a name for what they are for ([`handshakes`](crate::handshakes)). It keeps that
    /// name when it is renewed.
    #[must_use]
    pub fn counted_at(mut self, place: &'static str) -> Self {
        self.place = Some(place);
        self
    }

    /// Uses what `other` has for every handshake that begins from now on, in all clones of this context. Associations
    /// that are there go on; none of them is taken up again by a session ticket from before.
    pub fn renew(&self, other: &Self) {
        let new = other.now();
        *self.prepared.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn now(&self) -> Arc<Prepared> {
        self.prepared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The TLS client's side.
    ///
    /// In TLS 1.3 a server that refuses our certificate says so after our handshake is done: the
    /// refusal comes with the first read.
    ///
    /// # Errors
    /// As the handshake goes; [`Error::Misuse`] for [`Peer::Anyone`] and for fingerprints without a
    /// credential of our own.
    pub async fn connect<S>(&self, stream: S, peer: &Peer) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if matches!(peer, Peer::Anyone) {
            return Err(Error::Misuse("a TLS client must say whom it wants to reach"));
        }
        let outcome = self.now().run(Side::Client, stream, peer).await;
        tally::count(self.place, true, &outcome);
        outcome
    }

    /// The TLS server's side.
    ///
    /// # Errors
    /// As the handshake goes; [`Error::Misuse`] if the context has no credential.
    pub async fn accept<S>(&self, stream: S, peer: &Peer) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let outcome = self.now().run(Side::Server, stream, peer).await;
        tally::count(self.place, false, &outcome);
        outcome
    }

    /// For servers that ask for no certificate, if rustls can be that.
    pub(crate) fn anyone(&self) -> Option<Arc<rustls::ServerConfig>> {
        self.now().anyone.clone()
    }

    /// A connection to be, on one side, that demands this of its peer.
    pub(crate) fn prepared(&self, side: Side, peer: &Peer) -> Result<Ssl, Error> {
        const NONE: Error = Error::Misuse("a TLS server needs a certificate of its own");
        let now = self.now();
        let context = match (side, peer) {
            (_, Peer::Fingerprints(_)) => return Err(Error::Misuse("fingerprints are announced later")),
            (Side::Client, Peer::Anyone) => {
                return Err(Error::Misuse("a TLS client must say whom it wants to reach"));
            }
            (Side::Client, _) => &now.client,
            (Side::Server, _) => now.server.as_ref().ok_or(NONE)?,
        };
        let mut ssl = Ssl::new(context).map_err(Error::library("preparing a TLS connection"))?;
        now.demand(&mut ssl, peer, side)?;
        Ok(ssl)
    }

    /// The library's context for one side of an association between certificates.
    pub(crate) fn held(&self, side: Side) -> Result<SslContext, Error> {
        const NONE: Error = Error::Misuse("fingerprints work both ways: a certificate of our own is needed");
        let now = self.now();
        match side {
            Side::Client if now.has_credential => Ok(now.client.clone()),
            Side::Client => Err(NONE),
            Side::Server => now.server.clone().ok_or(NONE),
        }
    }
}

/// The fingerprints of a peer's certificates, once somebody has said them.
pub(crate) type Announced = Arc<OnceLock<Box<[Fingerprint]>>>;

/// Takes a certificate by its fingerprint, whatever else is the matter with it (RFC 8122 §5).
pub(crate) fn judge(
    announced: Announced,
) -> impl Fn(bool, &mut X509StoreContextRef) -> bool + Send + Sync + 'static {
    move |_chain_is_good, chain| {
        if chain.error_depth() > 0 {
            return true;
        }
        let list = announced.get().map_or(&[][..], |list| list);
        let matches = chain.current_cert().is_some_and(|c| Fingerprint::any_match(list, c));
        chain.set_error(if matches { X509VerifyResult::OK } else { refused() });
        matches
    }
}

/// What has the library send the alert `bad_certificate` (RFC 8122 §6.2). It chooses the alert by the reason
/// of a refusal, and its safe interface has only one reason to give, whose alert is `handshake_failure`; so
/// another is provoked once: a certificate that is good, but for another host.
fn refused() -> X509VerifyResult {
    static REASON: OnceLock<X509VerifyResult> = OnceLock::new();
    *REASON.get_or_init(|| provoked().unwrap_or(X509VerifyResult::APPLICATION_VERIFICATION))
}

fn provoked() -> Option<X509VerifyResult> {
    let credential = Credential::self_signed(&[], 1).ok()?;
    let mut param = X509VerifyParam::new().ok()?;
    param.set_host("another.invalid").ok()?;
    let mut store = X509StoreBuilder::new().ok()?;
    store.add_cert(credential.certificate().clone()).ok()?;
    store.set_param(&param).ok()?;
    let (store, chain) = (store.build(), Stack::new().ok()?);
    let outcome = X509StoreContext::new().ok()?.init(&store, credential.certificate(), &chain, |context| {
        let good = context.verify_cert()?;
        Ok((good, context.error()))
    });
    outcome.ok().filter(|(good, _)| !good).map(|(_, reason)| reason)
}

fn builder(side: Side, settings: &CertificateSettings) -> Result<SslContextBuilder, Error> {
    let failed = Error::library("preparing a certificate context");
    let mut builder = handshake::context(side, settings.versions.bounds())?;
    builder.set_ciphersuites(SUITES_13).map_err(&failed)?;
    builder.set_cipher_list(SUITES_12).map_err(&failed)?;
    if let Some(credential) = &settings.credential {
        credential.install(&mut builder)?;
    }
    match &settings.trust {
        Trust::Nobody => {}
        Trust::System => builder.set_default_verify_paths().map_err(&failed)?,
        Trust::File(path) => {
            let pem = std::fs::read(path)
                .map_err(|source| Error::File { path: path.display().to_string(), source })?;
            trust(&mut builder, &pem)?;
        }
        Trust::Pem(pem) => trust(&mut builder, pem)?,
    }
    Ok(builder)
}

fn trust(builder: &mut SslContextBuilder, pem: &[u8]) -> Result<(), Error> {
    let failed = Error::library("reading trusted certificates");
    let certificates = X509::stack_from_pem(pem).map_err(&failed)?;
    if certificates.is_empty() {
        return Err(Error::Misuse("no certificate among the trusted certificates"));
    }
    let mut store = X509StoreBuilder::new().map_err(&failed)?;
    for certificate in certificates {
        store.add_cert(certificate).map_err(&failed)?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}
