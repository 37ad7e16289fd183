//! Questions to the key server over HTTP (RFC 6043 §7 leaves the transport open; TS 33.328 uses
//! HTTP): one POST, `application/mikey` both ways.

use std::time::Duration;

use bytes::Bytes;
use carnet_client::{FetchError, FetchPurpose};
use carnet_tls::{CertificateContext, CertificateSettings, Peer, Trust};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::UeError;
use super::config::KmsAccount;

/// Largest answer read, in octets.
const MAX_ANSWER: usize = 64 * 1024;
/// A little more than the machine waits, so that it is the machine that gives up.
const PATIENCE: Duration = Duration::from_secs(6);
const MIKEY: &str = "application/mikey";

/// The way to a key server.
#[derive(Clone)]
pub(super) struct KmsLink {
    host: String,
    port: u16,
    base: String,
    tls: Option<CertificateContext>,
}

impl KmsLink {
    pub(super) fn new(account: &KmsAccount) -> Result<Self, UeError> {
        let bad = || UeError::Setup(format!("{} is not the URL of a key server", account.url));
        let (scheme, rest) = account.url.split_once("://").ok_or_else(bad)?;
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        let tls = match scheme {
            "https" => {
                let trust = account.ca_file.clone().map_or(Trust::System, Trust::File);
                let settings = CertificateSettings { trust, ..CertificateSettings::default() };
                Some(CertificateContext::new(&settings).map_err(|error| UeError::Setup(error.to_string()))?)
            }
            "http" => None,
            _ => return Err(bad()),
        };
        let default = if tls.is_some() { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (authority, default),
        };
        if host.is_empty() {
            return Err(bad());
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port, base: base.trim_end_matches('/').to_owned(), tls })
    }

    pub(super) async fn ask(&self, purpose: FetchPurpose, octets: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        match tokio::time::timeout(PATIENCE, self.post(purpose, octets)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::TimedOut),
        }
    }

    async fn post(&self, purpose: FetchPurpose, octets: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        let unreachable = |error: &dyn std::fmt::Display| {
            tracing::warn!(host = %self.host, %error, "key server not reached");
            FetchError::Unreachable
        };
        let stream =
            TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| unreachable(&error))?;
        match &self.tls {
            None => self.exchange(stream, purpose, octets).await,
            Some(tls) => {
                let peer = Peer::Named(self.host.clone());
                let (stream, _) = tls.connect(stream, &peer).await.map_err(|error| unreachable(&error))?;
                self.exchange(stream, purpose, octets).await
            }
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        purpose: FetchPurpose,
        octets: Vec<u8>,
    ) -> Result<Vec<u8>, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| {
            tracing::warn!(%error, "key server broke off");
            FetchError::Unreachable
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let driver = tokio::spawn(connection);
        let base = if self.base.is_empty() { String::new() } else { format!("/{}", self.base) };
        let request = Request::post(format!("{base}/keymanagement?requesttype={}", purpose.request_type()))
            .header("host", format!("{}:{}", self.host, self.port))
            .header("content-type", MIKEY)
            .body(Full::new(Bytes::from(octets)))
            .map_err(|_| FetchError::Unreachable)?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status().as_u16();
        let is_mikey = response
            .headers()
            .get("content-type")
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.to_ascii_lowercase().starts_with(MIKEY));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        driver.abort();
        // An Error message in MIKEY says more than the HTTP status it comes with.
        match body {
            Ok(body) if is_mikey => Ok(body.to_bytes().to_vec()),
            _ => Err(FetchError::Status(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_mikey::Psk;

    fn link(url: &str) -> Result<KmsLink, UeError> {
        KmsLink::new(&KmsAccount {
            url: url.into(),
            identity: "sip:kms.example".into(),
            key_name: "alice".into(),
            key: Psk::new(&[1; 32]).unwrap(),
            ca_file: None,
        })
    }

    #[test]
    fn urls() {
        let plain = link("http://127.0.0.1:8080").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.tls.is_none()), ("127.0.0.1", 8080, true));
        let long = link("https://[2001:db8::1]/kms/").unwrap();
        assert_eq!((long.host.as_str(), long.port, long.base.as_str()), ("2001:db8::1", 443, "kms"));
        for bad in ["kms.example", "ftp://kms.example", "http://", "http://kms:x"] {
            assert!(link(bad).is_err(), "{bad}");
        }
    }
}
