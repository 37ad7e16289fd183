//! One connection of a call: made, and sealed with the key of its line.
//!
//! Who connects and who speaks TLS first are two questions (RFC 4145, RFC 8856 §8); any answers go together.
//! Who waits opens only to the peer: whoever else comes by does not end the call.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use carnet_client::{Remote, Seal, TcpRole, TlsRole};
use carnet_msrp::Uri;
use carnet_tls::{Keyring, Psk, PskContext, PskKey, Report, TlsStream};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::door::{self, Heard};
use super::event::SealReport;

/// How long the connection may take to come up.
const SETUP: Duration = Duration::from_secs(30);
/// Pause between attempts to connect: the other side's gate may open a moment later than ours.
const RETRY: Duration = Duration::from_millis(200);

/// What a connection is made of.
pub(super) struct Link {
    /// Who we are, for the report.
    pub(super) me: String,
    pub(super) tcp: TcpRole,
    pub(super) tls: TlsRole,
    pub(super) local: SocketAddr,
    /// The key, wiped with this.
    pub(super) seal: Option<Arc<Seal>>,
    /// Open since the offer, if we wait.
    pub(super) listener: Option<TcpListener>,
    /// Where to connect to, if we do. It may change until the connection is up.
    pub(super) remote: watch::Receiver<Option<Remote>>,
    pub(super) psk: PskContext,
    /// Our MSRP URI: in clear, the first request has to name it. Without one, the first who comes is
    /// taken.
    pub(super) greeting: Option<Uri>,
}

/// A connection.
pub(super) enum Made {
    /// Sealed, and how.
    Sealed(Box<TlsStream<TcpStream>>, Box<SealReport>),
    /// In clear.
    Clear(TcpStream),
}

impl Link {
    /// Makes it.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn make(mut self) -> Result<Made, String> {
        self.make_again().await
    }

    /// The same, and keeps what it takes to make another in its place: under the same key, which one line
    /// of one call may use for that.
    ///
    /// # Errors
    /// One sentence.
    pub(super) async fn make_again(&mut self) -> Result<Made, String> {
        let seal = self.seal.clone();
        let made = tokio::time::timeout(SETUP, async {
            match seal {
                Some(seal) => {
                    let (stream, report) = self.sealed(&seal).await?;
                    Ok(Made::Sealed(Box::new(stream), Box::new(report)))
                }
                None => self.connected().await.map(Made::Clear),
            }
        });
        made.await.unwrap_or_else(|_| Err("the connection did not come up".into()))
    }

    async fn connected(&mut self) -> Result<TcpStream, String> {
        match self.tcp {
            TcpRole::Active => self.connect().await,
            TcpRole::Passive => {
                let listener = self.listener.take().ok_or("nobody listens")?;
                let ours = self.greeting.clone();
                let prove = |stream, heard| {
                    let ours = ours.clone();
                    async move {
                        match ours {
                            Some(ours) => door::greeted(stream, heard, ours).await,
                            None => Ok(stream),
                        }
                    }
                };
                door::open(&listener, Instant::now() + SETUP - RETRY, prove).await
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, String> {
        let local = self.local.ip();
        loop {
            let remote = self.remote.borrow_and_update().clone().ok_or("the peer is nowhere")?;
            let attempt = async {
                match &remote {
                    Remote::Address(address) => connect_from(local, *address).await,
                    Remote::Name(name, port) => {
                        let places = tokio::net::lookup_host((name.as_str(), *port)).await?;
                        let mut outcome = Err(std::io::ErrorKind::NotFound.into());
                        for place in places {
                            outcome = connect_from(local, place).await;
                            if outcome.is_ok() {
                                break;
                            }
                        }
                        outcome
                    }
                }
            };
            let attempt = tokio::select! {
                attempt = attempt => attempt,
                // It is elsewhere now. A sender that is gone brings no news.
                Ok(()) = self.remote.changed() => continue,
            };
            match attempt {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(format!("{remote} cannot be reached: {error}")),
            }
        }
    }

    async fn sealed(&mut self, seal: &Seal) -> Result<(TlsStream<TcpStream>, SealReport), String> {
        let key = Psk::new(seal.tek.expose())
            .and_then(|psk| PskKey::new(seal.psk_identity.clone(), psk))
            .map_err(|error| error.to_string())?;
        let failed = |error: carnet_tls::Error| format!("the connection could not be sealed: {error}");
        let (stream, report) = match (self.tcp, self.tls) {
            (TcpRole::Active, TlsRole::Client) => {
                let stream = self.connect().await?;
                self.psk.connect(stream, key).await.map_err(failed)?
            }
            (TcpRole::Active, TlsRole::Server) => {
                let stream = self.connect().await?;
                self.psk.accept(stream, key).await.map_err(failed)?
            }
            (TcpRole::Passive, role) => {
                let listener = self.listener.take().ok_or("nobody listens")?;
                self.await_sealed(&listener, key, role).await?
            }
        };
        let remote = stream.get_ref().peer_addr().map(|address| address.to_string()).unwrap_or_default();
        let ours = seal.initiator != seal.peer;
        let (initiator, responder) =
            if ours { (self.me.clone(), seal.peer.clone()) } else { (seal.peer.clone(), self.me.clone()) };
        let report = SealReport {
            version: report.version.to_string(),
            cipher: report.cipher.clone(),
            kms: seal.kms.clone(),
            initiator,
            responder,
            psk_identity: report.identity.clone().unwrap_or_default(),
            client_random: report.client_random_hex(),
            tls_client: self.tls == TlsRole::Client,
            remote,
        };
        Ok((stream, report))
    }

    /// Accepts until somebody has the key: whoever else comes by does not end the call.
    async fn await_sealed(
        &self,
        listener: &TcpListener,
        key: PskKey,
        role: TlsRole,
    ) -> Result<(TlsStream<TcpStream>, Report), String> {
        let keyring = Keyring::new(1);
        let spare = key.for_reconnect();
        keyring.bind(key).map_err(|error| error.to_string())?;
        let prove = |stream, heard: Heard| {
            let (psk, keyring, spare) = (self.psk.clone(), keyring.clone(), spare.for_reconnect());
            async move {
                let made = match role {
                    TlsRole::Server => {
                        heard.first(&stream).await?;
                        psk.accept_from(stream, &keyring).await
                    }
                    TlsRole::Client => {
                        let (stream, other) = Heard::twice(stream)?;
                        let mut made = std::pin::pin!(psk.connect(stream, spare));
                        tokio::select! {
                            made = &mut made => made,
                            // Our ClientHello was answered by something.
                            _ = heard.first(&other) => made.await,
                        }
                    }
                };
                made.map_err(|error| format!("the connection could not be sealed: {error}"))
            }
        };
        door::open(listener, Instant::now() + SETUP - RETRY, prove).await
    }
}

/// Connects from the address that we have announced: a gateway with a source filter takes no other
/// (TS 23.334 §5.7). An address of the other IP version cannot be kept.
async fn connect_from(local: IpAddr, remote: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if local.is_ipv4() == remote.is_ipv4() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(remote).await
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
