//! Where SIP servers ask: UDP, TCP, HTTP and WebSocket, the last three with TLS or without.
//!
//! Strangers get no answer. What an allowed address gets over UDP is bounded by what it sent, so that
//! nobody who writes its address on datagrams turns this into a weapon.

use super::shared::{Shared, Taken, Times};
use super::{datagrams, http, stream};
use crate::{Error, Token, tcp};
use carnet_ng::{Request, Value};
use carnet_tls::{CertificateContext, CertificateSettings, Credential, Peer, Trust};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Requests that wait to be taken.
const WAITING: usize = 1_024;

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

/// The certificate shown, and whether SIP servers have to show one. Clones share what [`renew`](Self::renew) replaces.
#[derive(Clone)]
pub struct NgTls {
    context: CertificateContext,
    peer: Peer,
}

impl NgTls {
    /// Reads PEM files: the chain, its key, and the authorities that SIP servers have theirs from, if they need one.
    ///
    /// # Errors
    /// A file that cannot be used, by its name.
    pub fn read(certificate: &Path, key: &Path, authorities: Option<&Path>) -> Result<Self, Error> {
        let wrong =
            |path: &Path, e: &dyn std::fmt::Display| Error::Certificate(format!("{}: {e}", path.display()));
        let read = |path: &Path| std::fs::read(path).map_err(|e| wrong(path, &e));
        let private = Zeroizing::new(read(key)?);
        let credential = Credential::from_pem(&read(certificate)?, &private);
        let credential = credential.map_err(|e| wrong(certificate, &e))?;
        let (trust, peer) = match authorities {
            Some(path) => (Trust::File(path.to_owned()), Peer::Vouched),
            None => (Trust::Nobody, Peer::Anyone),
        };
        let settings =
            CertificateSettings { credential: Some(credential), trust, ..CertificateSettings::default() };
        let context = CertificateContext::new(&settings);
        let context = context.map_err(|e| wrong(authorities.unwrap_or(certificate), &e))?.counted_at("ng");
        Ok(Self { context, peer })
    }

    /// Shows what `other` has to who connects from now on. Who has to show a certificate stays as it is.
    pub fn renew(&self, other: &Self) {
        self.context.renew(&other.context);
    }
}

/// A word that a SIP server must know. Not shown by anything.
pub struct NgToken(pub(super) Zeroizing<String>);

impl NgToken {
    /// Takes it over.
    pub fn new(token: Zeroizing<String>) -> Self {
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

/// What has been let in and what has not, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NgTally {
    /// Requests taken.
    pub taken: u64,
    /// Datagrams and connections of those who may not ask.
    pub strangers: u64,
    /// Requests without the token, or with another.
    pub without_token: u64,
    /// What was no request.
    pub malformed: u64,
    /// Answers that were too much for their source over UDP.
    pub withheld: u64,
    /// Connections too many, and requests for which there was no room.
    pub crowded: u64,
    /// Requests that got no answer in time.
    pub overdue: u64,
}

impl NgTally {
    /// Each count with a stable name.
    pub fn counts(&self) -> [(&'static str, u64); 7] {
        [
            ("taken", self.taken),
            ("strangers", self.strangers),
            ("without_token", self.without_token),
            ("malformed", self.malformed),
            ("withheld", self.withheld),
            ("crowded", self.crowded),
            ("overdue", self.overdue),
        ]
    }
}

/// Open sockets; closed when dropped.
pub struct NgServer {
    shared: Arc<Shared>,
    ports: datagrams::Ports,
    local: Vec<NgListen>,
    _stop: watch::Sender<()>,
}

impl NgServer {
    /// Opens the sockets. Inside a tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be had, files of TLS that cannot be used.
    pub fn open(config: NgConfig, drain: &Token) -> Result<(Self, mpsc::Receiver<NgRequest>), Error> {
        Self::open_with(config, Times::default(), drain)
    }

    /// [`Self::open`] with other times.
    pub(super) fn open_with(
        config: NgConfig,
        times: Times,
        drain: &Token,
    ) -> Result<(Self, mpsc::Receiver<NgRequest>), Error> {
        let NgConfig { listen, peers, tls, token } = config;
        let (events, received) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(());
        let tls = tls.map(|tls| (tls.context, tls.peer));
        let shared = Arc::new(Shared::new(peers, token, times, events));
        let mut ports = datagrams::Ports::default();
        let mut local = Vec::new();
        let stop_of = || (stopped.clone(), drain.clone());
        for NgListen { transport, address } in listen {
            let secured = matches!(transport, NgTransport::Tls | NgTransport::Https);
            let tls = match (secured, &tls) {
                (false, _) => None,
                (true, Some(tls)) => Some(tls.clone()),
                (true, None) => return Err(Error::NoTls(address)),
            };
            let address = match transport {
                NgTransport::Udp => ports.open(address, &shared, &stopped)?,
                NgTransport::Tcp | NgTransport::Tls => {
                    let (listener, address) = tcp::listen("TCP", address)?;
                    tokio::spawn(stream::accept(listener, tls, shared.clone(), stop_of(), stream::serve));
                    address
                }
                NgTransport::Http | NgTransport::Https => {
                    let (listener, address) = tcp::listen("HTTP", address)?;
                    tokio::spawn(stream::accept(listener, tls, shared.clone(), stop_of(), http::serve));
                    address
                }
            };
            local.push(NgListen { transport, address });
        }
        tokio::spawn(look_after(shared.clone(), stopped));
        Ok((Self { shared, ports, local, _stop: stop }, received))
    }

    /// Where it waits, with the ports that were given.
    pub fn listens(&self) -> &[NgListen] {
        &self.local
    }

    /// Answers a request, in the form in which it was asked. What was answered before, or is not waited for
    /// any more, is let go.
    pub fn answer(&self, number: u64, body: &Value) {
        match self.shared.take(number) {
            Some(Taken::Datagram(asked)) => self.ports.answer(&self.shared, &asked, body),
            Some(Taken::Connection(asked)) => asked.answer(body),
            None => {}
        }
    }

    /// Who was let in, and who was not.
    pub fn tally(&self) -> NgTally {
        self.shared.tally()
    }
}

impl Drop for NgServer {
    /// What was not answered never will be.
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Ends what nobody answers, until the server is dropped.
async fn look_after(shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    let mut look = tokio::time::interval(shared.times().longest / 4);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            _ = look.tick() => shared.give_up(Instant::now()),
        }
    }
}
