//! SCTP, one-to-one style (RFC 6458 §4): a socket that keeps the boundaries of messages, one H.248 message
//! a record, on one stream (TS 29.332 §A.12). Multi-homing, heartbeats and ordering are the kernel's.
//!
//! Left out: the payload protocol identifier 7 of H.248 (it takes a socket option that no safe
//! interface offers: records leave with 0, and any is taken); binding to several addresses.

use crate::Error;
use carnet_h248::tpkt::LONGEST;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, recvmsg, send};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// IPPROTO_SCTP.
const SCTP: i32 = 132;
/// Connections the system may hold for us before we accept them.
const BACKLOG: i32 = 128;
/// Octets of a TPKT header.
const HEADER: usize = 4;

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::from(SCTP)));
    let socket = socket.map_err(|error| {
        let missing = [Errno::PROTONOSUPPORT, Errno::SOCKTNOSUPPORT, Errno::NOPROTOOPT];
        if missing.iter().any(|missing| error.raw_os_error() == Some(missing.raw_os_error())) {
            let what = format!("this kernel has no SCTP (on Linux: load the module `sctp`): {error}");
            return io::Error::new(ErrorKind::Unsupported, what);
        }
        error
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether the kernel has it.
pub(super) fn available() -> io::Result<()> {
    open(SocketAddr::from(([127, 0, 0, 1], 0))).map(drop)
}

/// A socket that the runtime watches. The type is that of another protocol: only readiness is asked of
/// it, and what is read and written goes by the socket underneath.
pub(super) struct Watched(TcpStream);

impl Watched {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self(TcpStream::from_std(socket.into())?))
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }
}

/// Listens; the address with its real port.
pub(super) fn listen(address: SocketAddr) -> Result<(Watched, SocketAddr), Error> {
    let open = || -> io::Result<_> {
        let socket = open(address)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let local = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((Watched::new(socket)?, local))
    };
    open().map_err(|source| Error::Listen { what: "SCTP", address, source })
}

/// The next association.
pub(super) async fn accept(listener: &Watched) -> io::Result<(Records, SocketAddr)> {
    let (socket, remote) = listener.0.async_io(Interest::READABLE, || listener.socket().accept()).await?;
    socket.set_nonblocking(true)?;
    let remote = remote.as_socket().ok_or_else(|| io::Error::other("a peer without an address"))?;
    Ok((Records::new(socket, Ends::ByFlag)?, remote))
}

/// Connects, from one of our addresses if it matters which.
pub(super) async fn connect(remote: SocketAddr, from: Option<SocketAddr>) -> Result<Records, String> {
    let attempt = async {
        let socket = open(remote)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from.ip(), 0).into())?;
        }
        match socket.connect(&remote.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            _ => {}
        }
        let records = Records::new(socket, Ends::ByFlag)?;
        records.socket.0.writable().await?;
        match records.socket.socket().take_error()? {
            Some(error) => Err(error),
            None => Ok(records),
        }
    };
    attempt.await.map_err(|error: io::Error| error.to_string())
}

/// How a socket says that a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// By MSG_EOR: a long record may come in parts (SCTP).
    ByFlag,
    /// With every read (AF_UNIX).
    EachRead,
}

/// A socket of records as the streams that the rest of this module knows: what is read has a TPKT
/// header before each record; one write is one record.
pub(super) struct Records {
    socket: Watched,
    ends: Ends,
    /// Header and record.
    record: Vec<u8>,
    /// Octets of it that have come.
    filled: usize,
    /// Octets of it that were given away; only once it is whole.
    given: Option<usize>,
}

impl Records {
    fn new(socket: Socket, ends: Ends) -> io::Result<Self> {
        let socket = Watched::new(socket)?;
        Ok(Self { socket, ends, record: vec![0; HEADER + LONGEST], filled: HEADER, given: None })
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.socket().local_addr().ok()?.as_socket()
    }

    /// Reads until a record is whole; whether there was one, or the end.
    fn poll_record(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            ready!(self.socket.0.poll_read_ready(context))?;
            let room = self.record.get_mut(self.filled..).unwrap_or_default();
            if room.is_empty() {
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, "a record too long")));
            }
            let socket = &self.socket.0;
            let read = socket.try_io(Interest::READABLE, || {
                let mut parts = [IoSliceMut::new(room)];
                let received =
                    recvmsg(socket, &mut parts, &mut RecvAncillaryBuffer::default(), RecvFlags::empty())?;
                Ok((received.bytes, received.flags))
            });
            let (octets, flags) = match read {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if octets == 0 {
                return Poll::Ready(Ok(false));
            }
            if flags.contains(ReturnFlags::TRUNC) {
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, "a record too long")));
            }
            self.filled += octets;
            if self.ends == Ends::EachRead || flags.contains(ReturnFlags::EOR) {
                let length = u16::try_from(self.filled).unwrap_or(u16::MAX).to_be_bytes();
                let header = [3, 0, length[0], length[1]];
                self.record.iter_mut().zip(header).for_each(|(to, from)| *to = from);
                self.given = Some(0);
                return Poll::Ready(Ok(true));
            }
        }
    }
}

impl AsyncRead for Records {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given.is_none() && !ready!(self.poll_record(context))? {
            return Poll::Ready(Ok(()));
        }
        let given = self.given.unwrap_or(0);
        let rest = self.record.get(given..self.filled).unwrap_or_default();
        let now = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..now).unwrap_or_default());
        let given = given + now;
        if given == self.filled {
            self.filled = HEADER;
            self.given = None;
        } else {
            self.given = Some(given);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Records {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let socket = &self.socket.0;
            ready!(socket.poll_write_ready(context))?;
            match socket.try_io(Interest::WRITABLE, || Ok(send(socket, data, SendFlags::NOSIGNAL)?)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.socket().shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// AF_UNIX has sockets with the same semantics everywhere.
    fn pair() -> (Records, Records) {
        let (a, b) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        [&a, &b].iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        (Records::new(a, Ends::EachRead).unwrap(), Records::new(b, Ends::EachRead).unwrap())
    }

    #[tokio::test]
    async fn a_record_is_a_message() {
        let (mut a, mut b) = pair();
        let long = vec![b'x'; 60_000];
        a.write_all(b"first").await.unwrap();
        a.write_all(b"second one").await.unwrap();
        a.write_all(&long).await.unwrap();
        let mut framer = carnet_h248::tpkt::Framer::new(LONGEST);
        let mut messages = Vec::new();
        let mut buffer = vec![0; 1000];
        while messages.len() < 3 {
            let n = b.read(&mut buffer).await.unwrap();
            framer.push(&buffer[..n]);
            while let Some(message) = framer.next().unwrap() {
                messages.push(message.to_vec());
            }
        }
        assert_eq!(messages, [b"first".to_vec(), b"second one".to_vec(), long]);
        a.shutdown().await.unwrap();
        assert_eq!(b.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_who_does_not_read_makes_us_wait() {
        let (mut a, mut b) = pair();
        let record = vec![b'x'; 8_000];
        let full = async {
            loop {
                a.write_all(&record).await.unwrap();
            }
        };
        let short = std::time::Duration::from_millis(100);
        assert!(tokio::time::timeout(short, full).await.is_err());
        let mut buffer = vec![0; HEADER + 8_000];
        let read = async {
            loop {
                b.read_exact(&mut buffer).await.unwrap();
            }
        };
        tokio::select! {
            () = read => {}
            written = tokio::time::timeout(short * 50, a.write_all(&record)) => written.unwrap().unwrap(),
        }
    }

    #[tokio::test]
    async fn a_kernel_without_sctp_is_told() {
        match listen("127.0.0.1:0".parse().unwrap()) {
            // Here it works: then it has to carry a message.
            Ok((listener, address)) => {
                let (client, server) = tokio::join!(connect(address, None), accept(&listener));
                let (mut client, (mut server, _)) = (client.unwrap(), server.unwrap());
                client.write_all(b"MEGACO").await.unwrap();
                let mut buffer = [0; HEADER + 6];
                server.read_exact(&mut buffer).await.unwrap();
                assert_eq!(&buffer, b"\x03\0\0\x0aMEGACO");
            }
            Err(error) => {
                assert!(available().is_err());
                let said = error.to_string();
                assert!(
                    said.contains("cannot listen on SCTP 127.0.0.1:0: this kernel has no SCTP"),
                    "{said}"
                );
            }
        }
    }
}
