//! A client's connection, in TLS or not.

use crate::Result;
use crate::relays::Peer;
use carnet_tls::{CertificateContext, CertificateSettings, Lent, NamedSocket, Side, Trust};
use socket2::Socket;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub enum Wire {
    Plain(Socket),
    Tls(Box<(NamedSocket<Socket>, Lent)>),
}

impl Wire {
    /// Connects, and shakes hands.
    pub fn connect(peer: &Peer) -> Result<Self> {
        let socket = TcpStream::connect(peer.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let Some(certificate) = &peer.certificate else { return Ok(Self::Plain(socket.into())) };
        let context = CertificateContext::new(&CertificateSettings {
            trust: Trust::Pem(certificate.clone()),
            ..CertificateSettings::default()
        })?;
        let named = carnet_tls::Peer::Named("127.0.0.1".into());
        let mut tls = context.named_socket(Socket::from(socket), Side::Client, &named)?;
        // It blocks, so once is enough.
        let mut lent = Lent::default();
        tls.handshake(&mut lent)?.ok_or("no handshake in time")?;
        Ok(Self::Tls(Box::new((tls, lent))))
    }

    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.0.get_ref(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.0.read(buffer, &mut tls.1),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(octets),
            Self::Tls(tls) => tls.0.write(octets, &mut tls.1),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads once; `None` when there is nothing.
pub fn read_some(wire: &mut Wire, buffer: &mut [u8]) -> Result<Option<usize>> {
    match wire.read(buffer) {
        Ok(0) => Err("the relay closed a connection".into()),
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}
