//! A stream inside TLS that can tell an end from a cut.
//!
//! RFC 8446 §6.1: an end of the connection without `close_notify` is a truncation. The library's
//! own stream reports both as the end of the data; here the cut is an error.

use crate::SubjectName;
use openssl::x509::GeneralNameRef;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;

/// A stream inside TLS. Call `shutdown` before dropping it: that sends `close_notify`, without
/// which the peer must take what it got as cut short.
///
/// A read gives no octets only after the peer's `close_notify`; a connection that just ends is an
/// error of kind [`io::ErrorKind::UnexpectedEof`].
pub struct TlsStream<S>(pub(crate) SslStream<Transport<S>>);

impl<S> TlsStream<S> {
    /// The connection below, to ask for its addresses and such.
    pub fn get_ref(&self) -> &S {
        &self.0.get_ref().0
    }

    /// The names the peer's certificate is good for (subjectAltName; a common name is none, RFC 9525
    /// §2). Empty with pre-shared keys and for a peer that showed no certificate.
    pub fn peer_names(&self) -> Vec<SubjectName> {
        let certificate = self.0.ssl().peer_certificate();
        let names = certificate.and_then(|certificate| certificate.subject_alt_names());
        let name = |name: &GeneralNameRef| {
            let address = |octets: &[u8]| match octets.len() {
                4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
                _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
            };
            None.or_else(|| name.dnsname().map(|name| SubjectName::Dns(name.to_owned())))
                .or_else(|| name.uri().map(|uri| SubjectName::Uri(uri.to_owned())))
                .or_else(|| name.ipaddress().and_then(address).map(SubjectName::Ip))
        };
        names.iter().flatten().filter_map(name).collect()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The connection below TLS. TLS asks it for octets only while it has not seen `close_notify`, so
/// an end here always comes too early.
pub(crate) struct Transport<S>(pub(crate) S);

impl<S: AsyncRead + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.0).poll_read(cx, buf);
        match outcome {
            Poll::Ready(Ok(())) if buf.filled().len() == before && buf.remaining() > 0 => {
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer ended the connection without close_notify",
                )))
            }
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
