//! A connection that does not block, in TLS or not, and a wait for many of them.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslStream, SslVerifyMode, SslVersion,
};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use socket2::{Domain, Socket, Type};

use crate::Result;

/// A connection.
#[derive(Debug)]
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// In TLS. `true` after a write that has to be repeated with the same octets.
    Tls(Box<SslStream<TcpStream>>, bool),
}

impl Wire {
    /// Begins to connect. Errors of the connection come with the first read or write.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn connect(to: SocketAddr, tls: Option<&SslContext>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        Self::over(begin(socket, to)?, tls.map(|context| (context, true)))
    }

    /// Begins to connect from an address, without TLS.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn leaving(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        begin(socket, to).map(Self::Plain)
    }

    /// Over a connection that there is; `true`: as the client of TLS.
    ///
    /// # Errors
    ///
    /// If TLS cannot begin.
    pub fn over(stream: TcpStream, tls: Option<(&SslContext, bool)>) -> io::Result<Self> {
        let Some((context, client)) = tls else { return Ok(Self::Plain(stream)) };
        let mut ssl = Ssl::new(context).map_err(io::Error::other)?;
        if client {
            ssl.set_connect_state();
        } else {
            ssl.set_accept_state();
        }
        Ok(Self::Tls(Box::new(SslStream::new(ssl, stream).map_err(io::Error::other)?), false))
    }

    /// The connection below.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream, _) => stream.get_ref(),
        }
    }

    /// 0 at the end, in TLS only after the other side said so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] when there is nothing.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream, _) => stream.ssl_read(buffer).or_else(|error| match error.code() {
                ErrorCode::ZERO_RETURN => Ok(0),
                _ => Err(told(error)),
            }),
        }
    }

    /// # Errors
    ///
    /// [`ErrorKind::WouldBlock`] when nothing is taken.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream, stuck) => {
                let written = stream.ssl_write(octets).map_err(told);
                *stuck = written.is_err();
                written
            }
        }
    }

    /// Whether what was written last has to be written again before anything else is.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        matches!(self, Self::Tls(_, true))
    }

    /// Nothing more is written.
    ///
    /// # Errors
    ///
    /// If the connection is gone.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream, _) => match stream.shutdown() {
                Ok(_) => Ok(()),
                Err(error) => Err(told(error)),
            },
        }
    }
}

fn begin(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => Ok(socket.into()),
    }
}

fn told(error: openssl::ssl::Error) -> io::Error {
    match error.code() {
        ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => ErrorKind::WouldBlock.into(),
        _ => error.into_io_error().unwrap_or_else(|error| {
            if error.ssl_error().is_none() {
                ErrorKind::UnexpectedEof.into()
            } else {
                io::Error::other(error)
            }
        }),
    }
}

/// Which TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// TLS with a certificate of our own, if there is one (both in PEM), no resumption and whoever is at the other end: what
/// passes is checked octet by octet instead.
///
/// # Errors
///
/// If certificate and key cannot be used.
pub fn context(certificate: Option<(&[u8], &[u8])>, version: Version) -> Result<SslContext> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_verify(SslVerifyMode::NONE);
    builder.set_mode(SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER);
    let version = match version {
        Version::Tls12 => SslVersion::TLS1_2,
        Version::Tls13 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(version))?;
    builder.set_session_cache_mode(openssl::ssl::SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    builder.set_groups_list("X25519:P-256")?;
    if let Some((certificate, key)) = certificate {
        let certificate = openssl::x509::X509::from_pem(certificate)?;
        let key = openssl::pkey::PKey::private_key_from_pem(key)?;
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&key)?;
    }
    Ok(builder.build())
}

/// Waits for many connections. Each is told of once when something changes (edges), so it has to be read and
/// written until it would block.
pub struct Poll {
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
}

impl Poll {
    /// # Errors
    ///
    /// If the operating system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, ready: Vec::with_capacity(256) })
    }

    /// # Errors
    ///
    /// What the operating system says.
    pub fn add(&self, source: impl AsFd, token: u64, edges: bool) -> io::Result<()> {
        let mut flags = epoll::EventFlags::IN;
        if edges {
            flags |= epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        }
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(token), flags)?)
    }

    /// From now on what becomes ready has this token.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn rename(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::modify(&self.epoll, source, epoll::EventData::new_u64(token), flags)?)
    }

    /// Waits; the tokens of what is ready, and whether the other side has ended.
    ///
    /// # Errors
    ///
    /// What the operating system says.
    pub fn wait(&mut self, limit: Duration, tokens: &mut Vec<(u64, bool)>) -> io::Result<()> {
        self.ready.clear();
        tokens.clear();
        let limit = Timespec::try_from(limit).map_err(|_| ErrorKind::InvalidInput)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&limit)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ends = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        tokens.extend(self.ready.iter().map(|event| {
            let flags = event.flags;
            (event.data.u64(), flags.intersects(ends))
        }));
        Ok(())
    }
}
