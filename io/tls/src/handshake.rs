//! Running a handshake on an asynchronous stream, within a time.

use crate::stream::{TlsStream, Transport};
use crate::{Error, Side};
use openssl::ssl::{
    Ssl, SslContextBuilder, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode, SslVersion,
};
use openssl::x509::X509VerifyResult;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_openssl::SslStream;

/// Groups of every context. Hybrid groups that newer libraries prefer cost a third of the
/// handshakes a second and do not protect a pre-shared key any better.
pub(crate) const GROUPS: &str = "X25519:P-256";

/// What every context has in common.
pub(crate) fn context(side: Side, versions: (SslVersion, SslVersion)) -> Result<SslContextBuilder, Error> {
    let failed = Error::library("preparing a TLS context");
    let method = match side {
        Side::Client => SslMethod::tls_client(),
        Side::Server => SslMethod::tls_server(),
    };
    let mut builder = SslContextBuilder::new(method).map_err(&failed)?;
    builder.set_min_proto_version(Some(versions.0)).map_err(&failed)?;
    builder.set_max_proto_version(Some(versions.1)).map_err(&failed)?;
    builder.set_options(
        SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET
            | SslOptions::CIPHER_SERVER_PREFERENCE,
    );
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    if side == Side::Server {
        builder.set_num_tickets(0).map_err(&failed)?;
    }
    // An asynchronous writer may come back with its octets at another address, and may be told
    // that only some were taken.
    builder.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    // One read a record instead of two, one for its header.
    builder.set_read_ahead(true);
    builder.set_groups_list(GROUPS).map_err(&failed)?;
    Ok(builder)
}

/// Runs the handshake to its end. A stream whose handshake failed is dropped here.
pub(crate) async fn run<S>(ssl: Ssl, stream: S, side: Side, within: Duration) -> Result<TlsStream<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut tls =
        SslStream::new(ssl, Transport(stream)).map_err(Error::library("putting TLS on a connection"))?;
    let outcome = tokio::time::timeout(within, async {
        match side {
            Side::Client => Pin::new(&mut tls).connect().await,
            Side::Server => Pin::new(&mut tls).accept().await,
        }
    });
    match outcome.await {
        Ok(Ok(())) => Ok(TlsStream(tls)),
        Ok(Err(error)) => {
            let error = said(Error::from_handshake(error), tls.ssl());
            if side == Side::Server && matches!(error, Error::Certificate(_) | Error::NoCertificate) {
                part(&mut tls.get_mut().0).await;
            }
            Err(error)
        }
        Err(_) => Err(Error::Timeout(within)),
    }
}

/// Of a certificate that we do not take, what is wrong with it: the library's error says no more than that something is.
fn said(error: Error, ssl: &SslRef) -> Error {
    match (error, ssl.verify_result()) {
        (Error::Certificate(_), found) if found != X509VerifyResult::OK => {
            Error::Certificate(found.error_string().to_owned())
        }
        (error, _) => error,
    }
}

/// Ends a connection whose certificate was refused so that the peer hears why. In TLS 1.3 a client speaks before
/// it knows; were its octets left unread, the end would overtake the alert on its way (RFC 9112 §9.6 tells
/// the same of HTTP).
async fn part<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    /// How much of what it had to say is read, and for how long.
    const OCTETS: u64 = 64 << 10;
    const PATIENCE: Duration = Duration::from_millis(500);
    // It may have gone already.
    let _ = stream.shutdown().await;
    let rest = async { tokio::io::copy(&mut stream.take(OCTETS), &mut tokio::io::sink()).await };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
}
