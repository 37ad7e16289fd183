//! Where SIP servers ask: UDP, TCP, HTTP and WebSocket, the last three with TLS or without.
//!
//! Strangers get no answer. What an allowed address gets over UDP is bounded by what it sent, so that
//! nobody who writes its address on datagrams turns this into a weapon.

use crate::udp::{Datagrams, UdpPort};
use crate::{Error, Token};
use bytes::Bytes;
use carnet_ng::{Form, Limits, Message, Request, Response, Value};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};

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

/// Requests that wait to be taken.
const WAITING: usize = 1_024;
/// Answers that are kept for those who ask again.
const KEPT: usize = 4_096;

/// Open sockets; closed when dropped.
pub struct NgServer {
    ports: Vec<UdpPort>,
    held: Arc<Mutex<Held>>,
    _stop: watch::Sender<()>,
}

/// What is under way, and what has been answered.
#[derive(Default)]
struct Held {
    next: u64,
    asked: HashMap<u64, Asked>,
    known: HashMap<(SocketAddr, Bytes), Option<Bytes>>,
    order: VecDeque<(SocketAddr, Bytes)>,
}

struct Asked {
    local: SocketAddr,
    remote: SocketAddr,
    cookie: Bytes,
    form: Form,
}

#[derive(Clone)]
struct Incoming {
    peers: Arc<Vec<(IpAddr, u8)>>,
    held: Arc<Mutex<Held>>,
    again: mpsc::Sender<(SocketAddr, SocketAddr, Bytes)>,
}

impl Datagrams for Incoming {
    type Event = NgRequest;

    fn received(&self, local: SocketAddr, remote: SocketAddr, data: &[u8]) -> Option<NgRequest> {
        if !self.peers.iter().any(|(ip, bits)| begins_alike(remote.ip(), *ip, *bits)) {
            return None;
        }
        let message = Message::parse(&Bytes::copy_from_slice(data), &Limits::default()).ok()?;
        let key = (remote, message.cookie.clone());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.known.get(&key) {
            Some(Some(answer)) => {
                let _ = self.again.try_send((local, remote, answer.clone()));
                return None;
            }
            Some(None) => return None,
            None => {}
        }
        let request = match Request::of(&message.body) {
            Ok(request) => request,
            Err(error) => {
                let body = Response::Refused { reason: error.to_string() }.body();
                let answer = Message { body, ..message }.to_bytes();
                let _ = self.again.try_send((local, remote, answer));
                return None;
            }
        };
        held.next += 1;
        let number = held.next;
        held.asked.insert(number, Asked { local, remote, cookie: message.cookie, form: message.form });
        held.known.insert(key.clone(), None);
        held.order.push_back(key);
        if held.order.len() > KEPT
            && let Some(oldest) = held.order.pop_front()
        {
            held.known.remove(&oldest);
        }
        Some(NgRequest { number, from: remote, request })
    }

    fn failed(&self, _: SocketAddr, _: SocketAddr, _: &std::io::Error) -> Option<NgRequest> {
        None
    }
}

fn begins_alike(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    match (a.to_canonical(), b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            bits == 0 || (u32::from(a) ^ u32::from(b)) >> (32 - u32::from(bits.min(32))) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            bits == 0 || (u128::from(a) ^ u128::from(b)) >> (128 - u32::from(bits.min(128))) == 0
        }
        _ => false,
    }
}

impl NgServer {
    /// Opens the sockets. Inside a tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be had, files of TLS that cannot be used.
    pub fn open(config: NgConfig, _token: &Token) -> Result<(Self, mpsc::Receiver<NgRequest>), Error> {
        let (events, received) = mpsc::channel(WAITING);
        let (stop, stopped) = watch::channel(());
        let (again, mut repeats) = mpsc::channel::<(SocketAddr, SocketAddr, Bytes)>(WAITING);
        let held = Arc::new(Mutex::new(Held::default()));
        let incoming = Incoming { peers: Arc::new(config.peers), held: held.clone(), again };
        let mut ports = Vec::new();
        for listen in &config.listen {
            if listen.transport != NgTransport::Udp {
                return Err(Error::NoSocket(listen.address));
            }
            ports.push(UdpPort::open(listen.address, WAITING, incoming.clone(), &events, &stopped)?);
        }
        let sockets: Vec<_> = ports.iter().map(|port| (port.local, port.sender())).collect();
        tokio::spawn(async move {
            while let Some((local, remote, answer)) = repeats.recv().await {
                if let Some((_, sender)) = sockets.iter().find(|(at, _)| *at == local) {
                    let _ = sender.try_send((remote, answer));
                }
            }
        });
        Ok((Self { ports, held, _stop: stop }, received))
    }

    /// Answers a request, in the form in which it was asked.
    pub fn answer(&self, number: u64, body: &Value) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Asked { local, remote, cookie, form }) = held.asked.remove(&number) else { return };
        let answer = Message { cookie: cookie.clone(), form, body: body.clone() }.to_bytes();
        if let Some(kept) = held.known.get_mut(&(remote, cookie)) {
            *kept = Some(answer.clone());
        }
        if let Some(port) = self.ports.iter().find(|port| port.local == local) {
            let _ = port.send(remote, answer);
        }
    }
}
