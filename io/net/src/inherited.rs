//! Sockets that were open before the process began and came with it: socket activation, as systemd does it
//! (sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`, descriptors from 3 on).
//!
//! A socket of ours that is to be opened at an address is taken from here if it is here, so a configuration
//! reads the same with and without. What nobody has taken at the end of the start is a mistake
//! ([`unused`]): callers would wait there for ever. Descriptors belong to the process, and so does this.
//!
//! Left out: Unix sockets and SCTP.

use listenfd::ListenFd;
use socket2::{Protocol, SockRef};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More than a file can name.
const MOST: usize = 1024;
/// `SD_LISTEN_FDS_START`
const FIRST: usize = 3;

static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());

struct Held {
    descriptor: usize,
    address: SocketAddr,
    socket: Kind,
}

enum Kind {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// A socket that came along cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// `LISTEN_FDS` is no number of sockets.
    #[error("LISTEN_FDS says {0:?}, which is no number of sockets up to {MOST}")]
    Count(String),
    /// One of them is not what it should be.
    #[error("descriptor {descriptor}, which came with the start, {why}")]
    Socket {
        /// Its number.
        descriptor: usize,
        /// What is wrong.
        why: String,
    },
}

/// Takes up what the environment says has come with the process; how many that is. To be called once,
/// before there are threads: the variables are taken out of the environment.
///
/// # Errors
/// One of them is neither a listening TCP socket nor a UDP socket of one IP version.
pub fn take_up() -> Result<usize, InheritedError> {
    // What is for another process is not for us; systemd always says whom it is for.
    let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    let Some(count) = std::env::var("LISTEN_FDS").ok().filter(|_| ours) else { return Ok(0) };
    if !count.parse().is_ok_and(|count: usize| count <= MOST) {
        return Err(InheritedError::Count(count));
    }
    let mut sockets = ListenFd::from_env();
    let taken = (0..sockets.len()).map(|index| {
        let descriptor = FIRST + index;
        let wrong = |why: String| InheritedError::Socket { descriptor, why };
        let socket = one(&mut sockets, index).map_err(wrong)?;
        let address = looked_at(&socket).map_err(|e| wrong(e.to_string()))?;
        Ok(Held { descriptor, address, socket })
    });
    let taken = taken.collect::<Result<Vec<_>, _>>()?;
    let count = taken.len();
    held().extend(taken);
    Ok(count)
}

/// A listening socket at that address, if one came along.
#[must_use]
pub fn tcp(address: SocketAddr) -> Option<TcpListener> {
    let mut held = held();
    let place = held.iter().position(|h| matches!(h.socket, Kind::Tcp(_)) && h.address == address)?;
    match held.remove(place).socket {
        Kind::Tcp(listener) => Some(listener),
        Kind::Udp(_) => None,
    }
}

/// A UDP socket at that address, if one came along.
#[must_use]
pub fn udp(address: SocketAddr) -> Option<UdpSocket> {
    let mut held = held();
    let place = held.iter().position(|h| matches!(h.socket, Kind::Udp(_)) && h.address == address)?;
    match held.remove(place).socket {
        Kind::Udp(socket) => Some(socket),
        Kind::Tcp(_) => None,
    }
}

/// What came along and nobody has asked for, each as a listener is written in the configuration.
#[must_use]
pub fn unused() -> Vec<String> {
    let name = |held: &Held| {
        let kind = if matches!(held.socket, Kind::Tcp(_)) { "tcp" } else { "udp" };
        format!("{kind}:{} (descriptor {})", held.address, held.descriptor)
    };
    held().iter().map(name).collect()
}

fn held() -> MutexGuard<'static, Vec<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one(sockets: &mut ListenFd, index: usize) -> Result<Kind, String> {
    if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
        return Ok(Kind::Tcp(listener));
    }
    match sockets.take_udp_socket(index) {
        Ok(Some(socket)) => Ok(Kind::Udp(socket)),
        _ => Err("is neither a TCP socket nor a UDP socket".to_owned()),
    }
}

/// Whether it is what a socket of ours is; its address.
fn looked_at(socket: &Kind) -> io::Result<SocketAddr> {
    let (this, protocol) = match socket {
        Kind::Tcp(listener) => (SockRef::from(listener), Protocol::TCP),
        Kind::Udp(socket) => (SockRef::from(socket), Protocol::UDP),
    };
    if this.protocol()? != Some(protocol) {
        return Err(io::Error::other("speaks neither TCP nor UDP"));
    }
    let address = this.local_addr()?.as_socket().ok_or_else(|| io::Error::other("has no address"))?;
    if address.port() == 0 {
        return Err(io::Error::other("is not bound to a port"));
    }
    if protocol == Protocol::TCP && !this.is_listener()? {
        return Err(io::Error::other(format!("does not listen at {address}: `Accept=` is to be `no`")));
    }
    // A socket serves one IP version, so that the addresses of peers are what they seem.
    if address.is_ipv6() && address.ip().is_unspecified() && !this.only_v6()? {
        return Err(io::Error::other(format!(
            "takes IPv4 at {address} too: set `BindIPv6Only=ipv6-only`, and name 0.0.0.0 in a line of its own"
        )));
    }
    this.set_nonblocking(true)?;
    Ok(address)
}
