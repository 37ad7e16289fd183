//! TLS with a pre-shared key and nothing else.
//!
//! TLS 1.3 `psk_dhe_ke` with an external key (RFC 8446 §2.2, §4.2.11) and TLS 1.2 ECDHE-PSK and
//! DHE-PSK (RFC 5489, RFC 5487, RFC 7905). One key has one hash (RFC 8446 §4.2.11), and a key without an
//! agreed one has SHA-256, so no SHA-384 suite is offered. There is no certificate in these
//! contexts, a client refuses any certificate shown to it, and every handshake is checked to have
//! used the key.

use crate::psk_socket::PskSocket;
use crate::{Error, Keyring, PskKey, Report, Side, TlsStream, Version, Versions};
use crate::{handshake, tally};
use openssl::dh::Dh;
use openssl::ex_data::Index;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslRef, SslVerifyMode};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// 0x1301 and 0x1303.
const SUITES_13: &str = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
/// CCAC, C037, 00AA: DHE last, it costs 3 to 20 times as much. D001 would come first, but no
/// OpenSSL has it.
const SUITES_12: &str = "ECDHE-PSK-CHACHA20-POLY1305:ECDHE-PSK-AES128-CBC-SHA256:DHE-PSK-AES128-GCM-SHA256";
/// 0090 and 008C, which RFC 4279 defines and TS 23.333 names.
const SUITES_RFC4279: &str = "DHE-PSK-AES128-CBC-SHA:PSK-AES128-CBC-SHA";
/// Identities longer than this are refused unread.
const MAX_IDENTITY: usize = 256;

/// ffdhe3072 (RFC 7919 Appendix A.2).
const FFDHE3072: &[u8] = b"-----BEGIN DH PARAMETERS-----
MIIBiAKCAYEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEfz9zeNVs7ZRkDW7w09N75nAI4YbRvydbmyQd62R0mkff3
7lmMsPrBhtkcrv4TCYUTknC0EwyTvEN5RPT9RFLi103TZPLiHnH1S/9croKrnJ32
nuhtK8UiNjoNq8Uhl5sN6todv5pC1cRITgq80Gv6U93vPBsg7j/VnXwl5B0rZsYu
N///////////AgEC
-----END DH PARAMETERS-----
";

/// What may differ between deployments.
#[derive(Debug, Clone)]
pub struct PskSettings {
    /// Versions offered and accepted.
    pub versions: Versions,
    /// Offers the suites of RFC 4279 too, last: SHA-1 and, in one of them, no forward secrecy. Only
    /// for peers that have nothing else.
    pub rfc4279_suites: bool,
    /// Whether [`PskContext::accept`] takes its one key under any identity.
    pub any_identity: bool,
    /// Longest time a handshake may take.
    pub handshake_timeout: Duration,
}

impl Default for PskSettings {
    fn default() -> Self {
        Self {
            versions: Versions::default(),
            rfc4279_suites: false,
            any_identity: true,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Makes associations that a pre-shared key protects. Cheap to clone.
#[derive(Clone)]
pub struct PskContext {
    client: SslContext,
    server: SslContext,
    index: Index<Ssl, Arc<Exchange>>,
    settings: PskSettings,
    /// What it is for, if handshakes are counted.
    place: Option<&'static str>,
}

impl PskContext {
    /// Prepares both sides.
    ///
    /// # Errors
    /// [`Error::Library`] if the library lacks what is needed.
    pub fn new(settings: PskSettings) -> Result<Self, Error> {
        let failed = Error::library("preparing a PSK context");
        let index = index()?;

        let mut client = builder(Side::Client, &settings)?;
        client.set_psk_client_callback(move |ssl, _hint, identity, psk| {
            Ok(ssl.ex_data(index).map_or(0, |exchange| exchange.offer(identity, psk)))
        });
        // In TLS 1.3 a server may ignore the key that was offered and show a certificate.
        client.set_verify_callback(SslVerifyMode::PEER, |_, _| false);

        let mut server = builder(Side::Server, &settings)?;
        server.set_psk_server_callback(move |ssl, identity, psk| {
            let exchange = ssl.ex_data(index);
            Ok(exchange.zip(identity).map_or(0, |(exchange, identity)| exchange.find(identity, psk)))
        });
        let dh = Dh::params_from_pem(FFDHE3072).map_err(&failed)?;
        server.set_tmp_dh(&dh).map_err(&failed)?;

        Ok(Self { client: client.build(), server: server.build(), index, settings, place: None })
    }

    /// Counts the handshakes from here on under a name for what they are for ([`handshakes`](crate::handshakes)).
    #[must_use]
    pub fn counted_at(mut self, place: &'static str) -> Self {
        self.place = Some(place);
        self
    }

    /// The TLS client's side. The key is used up, also when the handshake fails: see
    /// [`PskKey::for_reconnect`].
    ///
    /// # Errors
    /// As the handshake goes; see [`Error::fault`].
    pub async fn connect<S>(&self, stream: S, key: PskKey) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let identity = key.identity().to_owned();
        let exchange = Arc::new(Exchange::new(Keys::Offered(key)));
        let outcome = self.run(stream, &exchange, Side::Client).await;
        tally::count(self.place, true, &outcome);
        exchange.forget();
        let (tls, mut report) = outcome.map_err(|error| client_error(error, &identity))?;
        report.identity = Some(identity.clone());
        report.bound_identity = Some(identity);
        Ok((tls, report))
    }

    /// The TLS server's side with one key, which is used up.
    ///
    /// # Errors
    /// As the handshake goes; see [`Error::fault`].
    pub async fn accept<S>(&self, stream: S, key: PskKey) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_from(stream, &Keyring::of(key, self.settings.any_identity)).await
    }

    /// The TLS server's side with the keys of `keyring`. The key leaves the keyring when the
    /// handshake has succeeded, and only then.
    ///
    /// # Errors
    /// As the handshake goes; [`Error::KeyUsed`] if a connection made at the same time with the
    /// same key was done first.
    pub async fn accept_from<S>(&self, stream: S, keyring: &Keyring) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = Arc::new(Exchange::new(Keys::Held(keyring.clone())));
        let outcome = self.run(stream, &exchange, Side::Server).await;
        tally::count(self.place, false, &outcome);
        exchange.forget();
        let seen = exchange.seen();
        let (tls, mut report) = outcome.map_err(|error| server_error(error, &seen))?;
        let bound = seen.bound.ok_or(Error::NotPsk)?;
        if !keyring.used(&bound) {
            return Err(Error::KeyUsed(bound));
        }
        report.identity = seen.sent;
        report.bound_identity = Some(bound);
        Ok((tls, report))
    }

    async fn run<S>(
        &self,
        stream: S,
        exchange: &Arc<Exchange>,
        side: Side,
    ) -> Result<(TlsStream<S>, Report), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = self.ssl(exchange, side)?;
        let tls = handshake::run(ssl, stream, side, self.settings.handshake_timeout).await?;
        let report = Report::of(tls.0.ssl(), side).ok_or(Error::NoCommonVersion)?;
        if !used_key(tls.0.ssl(), &report) {
            return Err(Error::NotPsk);
        }
        Ok((tls, report))
    }

    /// A connection of one side, with what its callbacks need.
    fn ssl(&self, exchange: &Arc<Exchange>, side: Side) -> Result<Ssl, Error> {
        let context = match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        };
        let mut ssl = Ssl::new(context).map_err(Error::library("preparing a TLS connection"))?;
        ssl.set_ex_data(self.index, Arc::clone(exchange));
        Ok(ssl)
    }

    /// Either side on a socket that does not block; the handshake is driven by whoever waits for
    /// the socket, and so is its timeout. A server's key is taken under any identity as
    /// [`PskSettings::any_identity`] says.
    ///
    /// # Errors
    /// [`Error::Library`] if the library refuses.
    pub fn socket<S: Read + Write>(&self, stream: S, side: Side, key: PskKey) -> Result<PskSocket<S>, Error> {
        let identity = key.identity().to_owned();
        let keys = match side {
            Side::Client => Keys::Offered(key),
            Side::Server => Keys::Held(Keyring::of(key, self.settings.any_identity)),
        };
        let exchange = Arc::new(Exchange::new(keys));
        PskSocket::new(self.ssl(&exchange, side)?, stream, side, exchange, identity)
    }
}

/// What a failed handshake means to a client that offered `identity`.
pub(crate) fn client_error(error: Error, identity: &str) -> Error {
    match error {
        Error::IdentityRefused(_) => Error::IdentityRefused(identity.to_owned()),
        // We refuse every certificate, so a server that showed one failed at this.
        Error::Certificate(_) | Error::NoCertificate => Error::NotPsk,
        // TLS 1.3 servers answer a binder that does not verify with illegal_parameter.
        Error::Protocol(text) if text.contains("illegal parameter") => Error::WrongKey,
        other => other,
    }
}

/// What a failed handshake means to a server.
pub(crate) fn server_error(error: Error, seen: &Seen) -> Error {
    match (error, seen) {
        // TLS 1.3 has no alert for an unknown identity: the library goes on to look for a
        // certificate and stumbles over that.
        (
            Error::UnknownIdentity(_) | Error::NotPsk | Error::NoCommonSuite,
            Seen { sent: Some(sent), bound: None },
        ) => Error::UnknownIdentity(sent.clone()),
        (other, _) => other,
    }
}

/// Whether the handshake rests on the pre-shared key. TLS 1.3 tells by "session reused" (an
/// external key counts as one, and there is no resumption here), TLS 1.2 by the suite.
pub(crate) fn used_key(ssl: &SslRef, report: &Report) -> bool {
    ssl.peer_certificate().is_none()
        && match report.version {
            Version::Tls13 => ssl.session_reused(),
            Version::Tls12 => report.cipher.contains("_PSK_"),
        }
}

fn builder(side: Side, settings: &PskSettings) -> Result<SslContextBuilder, Error> {
    let failed = Error::library("choosing cipher suites");
    let mut builder = handshake::context(side, settings.versions.bounds())?;
    builder.set_ciphersuites(SUITES_13).map_err(&failed)?;
    if settings.rfc4279_suites {
        builder.set_cipher_list(&format!("{SUITES_12}:{SUITES_RFC4279}")).map_err(&failed)?;
    } else {
        builder.set_cipher_list(SUITES_12).map_err(&failed)?;
    }
    Ok(builder)
}

/// Where a connection keeps its [`Exchange`]: one slot for the whole program, as the library
/// never gives slots back.
fn index() -> Result<Index<Ssl, Arc<Exchange>>, Error> {
    static INDEX: OnceLock<Index<Ssl, Arc<Exchange>>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let fresh = Ssl::new_ex_index().map_err(Error::library("preparing a PSK context"))?;
    Ok(*INDEX.get_or_init(|| fresh))
}

/// What the callbacks of one handshake may use and what they saw.
pub(crate) struct Exchange {
    keys: Mutex<Keys>,
    seen: Mutex<Seen>,
}

enum Keys {
    /// Client: the key to offer.
    Offered(PskKey),
    /// Server: the keys to look in.
    Held(Keyring),
    /// The handshake is over.
    Forgotten,
}

/// Recorded inside the callback, because the library does not tell afterwards in TLS 1.3.
#[derive(Default, Clone)]
pub(crate) struct Seen {
    pub(crate) sent: Option<String>,
    pub(crate) bound: Option<String>,
}

impl Exchange {
    fn new(keys: Keys) -> Self {
        Self { keys: Mutex::new(keys), seen: Mutex::default() }
    }

    fn offer(&self, identity: &mut [u8], psk: &mut [u8]) -> usize {
        match &*lock(&self.keys) {
            Keys::Offered(key) => key.write(identity, psk),
            _ => 0,
        }
    }

    fn find(&self, identity: &[u8], psk: &mut [u8]) -> usize {
        let keys = lock(&self.keys);
        let Keys::Held(keyring) = &*keys else { return 0 };
        if identity.len() > MAX_IDENTITY {
            return 0;
        }
        let mut seen = lock(&self.seen);
        seen.sent = Some(String::from_utf8_lossy(identity).into_owned());
        match keyring.look_up(identity, psk) {
            Some((bound, length)) => {
                seen.bound = Some(bound);
                length
            }
            None => 0,
        }
    }

    /// Drops (and so wipes) the key: the stream lives on, its key need not.
    pub(crate) fn forget(&self) {
        *lock(&self.keys) = Keys::Forgotten;
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
