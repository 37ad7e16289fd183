//! What keeps a process from being reached over TLS, in words that say what to look at.
//!
//! In TLS 1.3 a client is done before the server has looked at its certificate (RFC 8446 §4.4.4): that it was refused comes as an alert in
//! the place of the answer, or, if the connection was torn down under it, as no more than an end.

use carnet_tls::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What went wrong in a handshake.
pub(super) fn in_words(error: &Error) -> String {
    match error {
        Error::Certificate(why) => {
            let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
            if has(&["expired"]) {
                "its certificate has expired".to_owned()
            } else if has(&["not yet valid"]) {
                "its certificate is not valid yet: one of the two clocks is wrong".to_owned()
            } else if has(&["mismatch"]) {
                format!("its certificate is for another name than the one in `url` ({why})")
            } else if has(&["issuer", "self-signed", "self signed"]) {
                format!("its certificate is of an authority that is not in `ca` ({why})")
            } else {
                format!("its certificate is not accepted: {why}")
            }
        }
        Error::CertificateRefused(why) if why.contains("required") => {
            "it wants to be shown a certificate: name one with `certificate` and `key`".to_owned()
        }
        Error::CertificateRefused(why) if why.contains("expired") => {
            "the certificate that it is shown (`certificate`) has expired".to_owned()
        }
        Error::CertificateRefused(why) => {
            format!("it does not accept the certificate that it is shown (`certificate`): {why}")
        }
        Error::NotTls => "it does not speak TLS there: is it `http:`?".to_owned(),
        other => other.to_string(),
    }
}

/// A stream whose errors say what they mean.
pub(super) struct Speaking<S>(pub(super) S);

fn meant(error: io::Error) -> io::Error {
    let kind = error.kind();
    match Error::of_stream(error) {
        Error::Io(error) => error,
        Error::PeerClosed => io::Error::new(kind, "it ended the connection"),
        other => io::Error::other(in_words(&other)),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Speaking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf).map_err(meant)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Speaking<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data).map_err(meant)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(meant)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
