//! Where SIP servers ask: UDP, TCP, HTTP and WebSocket, the last three with TLS or without.
//!
//! Strangers get no answer. What an allowed address gets over UDP is bounded by what it sent, so that
//! nobody who writes its address on datagrams turns this into a weapon.

use crate::{Error, Token};
use carnet_ng::{Request, Value};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// What carries requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NgTransport {
    /// One message a datagram.
    Udp,
    /// Messages one after the other.
    Tcp,
    /// [`Self::Tcp`] in TLS.
    Tls,
    /// `POST /ng`, `POST /ng-plain`, `GET /ping`, and WebSocket by upgrade.
    Http,
    /// [`Self::Http`] in TLS.
    Https,
}

/// A place to wait at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NgListen {
    /// What carries requests.
    pub transport: NgTransport,
    /// Address and port.
    pub address: SocketAddr,
}

/// The certificate shown, and the authorities that SIP servers have theirs from, if they need one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NgTls {
    /// PEM file with the chain.
    pub certificate: PathBuf,
    /// PEM file with the key.
    pub key: PathBuf,
    /// PEM file; with it a SIP server must show a certificate.
    pub authorities: Option<PathBuf>,
}

/// A word that a SIP server must know. Not shown by anything.
pub struct NgToken(String);

impl NgToken {
    /// Takes it over.
    pub fn new(token: String) -> Self {
        Self(token)
    }
}

/// Where SIP servers ask, and who may.
pub struct NgConfig {
    /// Where to wait.
    pub listen: Vec<NgListen>,
    /// Addresses that may ask, with the leading bits that count; nobody else is answered.
    pub peers: Vec<(IpAddr, u8)>,
    /// For TLS and HTTPS.
    pub tls: Option<NgTls>,
    /// Needed on every transport but UDP: `Authorization: Bearer` of HTTP and WebSocket, the key `token` of
    /// a message elsewhere.
    pub token: Option<NgToken>,
}

/// A request that was let in. Its answer goes to [`NgServer::answer`] under its number.
#[derive(Debug)]
pub struct NgRequest {
    /// Names it.
    pub number: u64,
    /// Who asks.
    pub from: SocketAddr,
    /// What is asked.
    pub request: Request,
}

/// Open sockets; closed when dropped.
pub struct NgServer {}

impl NgServer {
    /// Opens the sockets. Inside a tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be had, files of TLS that cannot be used.
    pub fn open(_config: NgConfig, _token: &Token) -> Result<(Self, mpsc::Receiver<NgRequest>), Error> {
        let (_sender, receiver) = mpsc::channel(1);
        Ok((Self {}, receiver))
    }

    /// Answers a request, in the form in which it was asked.
    pub fn answer(&self, _number: u64, _body: &Value) {}
}
