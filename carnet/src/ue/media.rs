//! The connection of one call: made, sealed, and pumped until it ends.
//!
//! ```text
//!  TCP ── TLS with the key of the call ── MSRP session ── texts, files
//! ```
//!
//! One task a call: this module makes the connection, [`pump`](super::pump) runs the session on it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use carnet_client::{CallId, Media, Remote, Seal, TcpRole, TlsRole};
use carnet_msrp::{Config, Session, Uri, parse_path};
use carnet_net::OsRandom;
use carnet_tls::{Keyring, Psk, PskContext, PskKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::UeError;
use super::door::{self, Heard};
use super::event::{SealReport, UeEvent};
use super::inbox::Inbox;
use super::outbox::Source;
use super::pump::{Fate, Pump};

/// How long the connection may take to come up.
const SETUP: Duration = Duration::from_secs(30);
/// Pause between attempts to connect: the other side's gate may open a moment later than ours.
const RETRY: Duration = Duration::from_millis(200);

/// What the engine asks of the task.
pub(super) enum Order {
    /// Send a text; the answer comes when it has arrived.
    Text(String, oneshot::Sender<Result<(), UeError>>),
    /// End in order.
    Stop,
    /// The call is over: take what is on its way still, and end.
    Drain,
}

/// What the task tells the engine.
pub(super) enum News {
    /// It could not be made, or broke; one sentence.
    Failed(String),
    /// All that was to be sent has arrived.
    Sent,
    /// The peer ended it, or we were told to.
    Done,
}

/// What the task needs.
pub(super) struct Line {
    pub(super) call: CallId,
    /// Who is on the other end, for the screen.
    pub(super) peer: String,
    pub(super) me: String,
    pub(super) media: Media,
    pub(super) listener: Option<TcpListener>,
    /// Where to connect to, if we do. It may change until the connection is up.
    pub(super) remote: watch::Receiver<Option<Remote>>,
    pub(super) psk: PskContext,
    /// The file to send.
    pub(super) file: Option<Source>,
    pub(super) inbox: Option<Inbox>,
    pub(super) fate: Fate,
    pub(super) events: mpsc::Sender<UeEvent>,
}

impl Line {
    /// Runs to the end.
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> News {
        let seal = self.media.seal.take();
        let made = tokio::time::timeout(SETUP, async {
            match seal {
                Some(seal) => self.sealed(seal).await.map(Made::Sealed),
                None => self.connected().await.map(Made::Clear),
            }
        });
        // An order to stop also ends the waiting.
        let made = tokio::select! {
            made = made => made,
            () = stopped(&mut orders) => return News::Done,
        };
        match made {
            Err(_) => News::Failed("the connection did not come up".into()),
            Ok(Err(reason)) => News::Failed(reason),
            Ok(Ok(Made::Sealed((stream, report)))) => {
                self.fate.connected();
                let _ = self.events.send(UeEvent::Sealed { call: self.call, seal: report }).await;
                self.pump(stream, orders).await
            }
            Ok(Ok(Made::Clear(stream))) => {
                self.fate.connected();
                let _ = self.events.send(UeEvent::Clear { call: self.call }).await;
                self.pump(stream, orders).await
            }
        }
    }

    async fn connected(&mut self) -> Result<TcpStream, String> {
        match self.media.tcp {
            TcpRole::Active => self.connect().await,
            TcpRole::Passive => {
                let listener = self.listener.take().ok_or("nobody listens")?;
                let ours = self.local_path()?;
                let prove = |stream, heard| door::greeted(stream, heard, ours.clone());
                door::open(&listener, Instant::now() + SETUP - RETRY, prove).await
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, String> {
        let local = self.media.local.ip();
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

    async fn sealed(&mut self, seal: Seal) -> Result<(carnet_tls::TlsStream<TcpStream>, SealReport), String> {
        let key = Psk::new(seal.tek.expose())
            .and_then(|psk| PskKey::new(seal.psk_identity.clone(), psk))
            .map_err(|error| error.to_string())?;
        let failed = |error: carnet_tls::Error| format!("the connection could not be sealed: {error}");
        let (stream, report) = match (self.media.tcp, self.media.tls) {
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
            if ours { (self.me.clone(), seal.peer) } else { (seal.peer, self.me.clone()) };
        let report = SealReport {
            version: report.version.to_string(),
            cipher: report.cipher.clone(),
            kms: seal.kms,
            initiator,
            responder,
            psk_identity: report.identity.clone().unwrap_or_default(),
            client_random: report.client_random_hex(),
            tls_client: self.media.tls == TlsRole::Client,
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
    ) -> Result<(carnet_tls::TlsStream<TcpStream>, carnet_tls::Report), String> {
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
                    TlsRole::Client => psk.connect(stream, spare).await,
                };
                made.map_err(|error| format!("the connection could not be sealed: {error}"))
            }
        };
        door::open(listener, Instant::now() + SETUP - RETRY, prove).await
    }

    async fn pump<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, orders: mpsc::Receiver<Order>) -> News {
        let session = match self.session() {
            Ok(session) => session,
            Err(reason) => return News::Failed(reason),
        };
        let is_active = self.media.tcp == TcpRole::Active;
        let (offer, inbox) = (self.media.file.clone(), self.inbox);
        let mut pump = Pump::new(self.call, self.peer, session, inbox, offer, self.fate, self.events);
        if let (Some(source), Some(file)) = (self.file, &self.media.file)
            && let Err(error) = pump.send_file(source, file.start).await
        {
            return News::Failed(error.to_string());
        }
        if is_active {
            pump.greet();
        }
        let news = pump.run(stream, orders).await;
        pump.end().await;
        news
    }

    fn local_path(&self) -> Result<Uri, String> {
        Uri::parse(self.media.local_path.as_bytes()).map_err(|error| error.to_string())
    }

    fn session(&self) -> Result<Session, String> {
        let remote = parse_path(self.media.remote_path.as_bytes()).map_err(|error| error.to_string())?;
        let mut config = Config::new(self.local_path()?, remote);
        // What is answered as received is on the disk, under its own name and with its hash checked.
        config.conclude = true;
        config.peer_accept_types.clone_from(&self.media.accept_types);
        config.peer_max_size = self.media.max_size;
        Ok(Session::new(config, Box::new(OsRandom)))
    }
}

enum Made {
    Sealed((carnet_tls::TlsStream<TcpStream>, SealReport)),
    Clear(TcpStream),
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

/// Waits for an order to stop; texts that are ordered before the connection is up fail.
async fn stopped(orders: &mut mpsc::Receiver<Order>) {
    loop {
        match orders.recv().await {
            Some(Order::Text(_, reply)) => {
                let _ = reply.send(Err(UeError::NotUp));
            }
            Some(Order::Stop | Order::Drain) | None => return,
        }
    }
}

/// Runs a line as a task of its own and passes its news on.
pub(super) async fn start(line: Line, orders: mpsc::Receiver<Order>, news: mpsc::Sender<(CallId, News)>) {
    let call = line.call;
    let outcome = line.run(orders).await;
    let _ = news.send((call, outcome)).await;
}
