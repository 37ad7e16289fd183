//! A user's way to the service: POST a MIKEY message, get one back.
//!
//! One connection a request. With `https:` the server proves itself with a certificate that a known authority
//! vouches for, or that is pinned by its SHA-256.
//! With `http:` only MIKEY protects: keys stay secret and answers proven, names are in the clear.

use super::server::MIKEY;
use carnet_tls::{
    CertificateContext, CertificateSettings, Credential, Fingerprint, Peer, SubjectName, Trust,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Octets of an answer.
const MAX_ANSWER: usize = 96 * 1024;

/// Who vouches for the service.
#[derive(Debug, Clone)]
pub enum ServerTrust {
    /// The authorities that the operating system lists.
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
    /// Nobody: the certificate has this fingerprint.
    Pinned(Fingerprint),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL cannot be used.
    #[error("{0}")]
    Url(String),
    /// The service cannot be reached, or did not prove who it is.
    #[error("the key management service cannot be reached: {0}")]
    Unreachable(String),
    /// The service took too long.
    #[error("the key management service does not answer")]
    Timeout,
    /// The service answered without a MIKEY message.
    #[error("the key management service answered with HTTP status {0}")]
    Status(u16),
}

/// Asks key management services. Cheap to clone.
#[derive(Clone)]
pub struct KmsClient {
    tls: CertificateContext,
    pinned: Option<Fingerprint>,
    timeout: Duration,
}

impl KmsClient {
    /// A client that waits for an answer up to `timeout`.
    pub fn new(trust: ServerTrust, timeout: Duration) -> Result<Self, carnet_tls::Error> {
        let mut settings = CertificateSettings { handshake_timeout: timeout, ..Default::default() };
        let mut pinned = None;
        match trust {
            ServerTrust::System => settings.trust = Trust::System,
            ServerTrust::File(path) => settings.trust = Trust::File(path),
            ServerTrust::Pinned(fingerprint) => {
                // Checking by fingerprint asks for a certificate of our own, in case the server
                // wants to see one. It does not.
                let name = SubjectName::Dns("client.invalid".into());
                settings.credential = Some(Credential::self_signed(&[name], 365)?);
                pinned = Some(fingerprint);
            }
        }
        Ok(Self { tls: CertificateContext::new(&settings)?, pinned, timeout })
    }

    /// POSTs `octets` to `url` and gives the MIKEY message of the answer, which may be an Error
    /// message.
    pub async fn fetch(&self, url: &str, octets: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        match tokio::time::timeout(self.timeout, self.exchange(url, octets)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout),
        }
    }

    async fn exchange(&self, url: &str, octets: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        let Place { uri, secure, host, port } = check_url(url)?;
        let unreachable = |e: &dyn std::fmt::Display| FetchError::Unreachable(e.to_string());
        let authority = uri.authority().map_or("", |a| a.as_str());
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| unreachable(&e))?;
        let request = Request::post(uri.path_and_query().map_or("/", |p| p.as_str()))
            .header(HOST, authority)
            .header(CONTENT_TYPE, MIKEY)
            .body(Full::new(Bytes::from(octets)))
            .map_err(|_| FetchError::Url(format!("`{url}` cannot be asked for")))?;
        if !secure {
            return post(stream, request).await.map_err(|error| match error {
                FetchError::Unreachable(why) => {
                    FetchError::Unreachable(format!("{why}: no HTTP is spoken there, perhaps HTTPS"))
                }
                other => other,
            });
        }
        let peer = match &self.pinned {
            Some(fingerprint) => Peer::Fingerprints(vec![fingerprint.clone()]),
            None => Peer::Named(host),
        };
        let (stream, _) = self.tls.connect(stream, &peer).await.map_err(|e| unreachable(&e))?;
        post(stream, request).await
    }
}

/// A URL in its parts.
pub struct Place {
    uri: Uri,
    secure: bool,
    host: String,
    port: u16,
}

impl Place {
    /// The host as it stands in a URI: an IPv6 address in brackets.
    pub fn host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

/// Reads the URL of a service: `https:` or `http:`, with a host.
pub fn check_url(url: &str) -> Result<Place, FetchError> {
    let bad = |why: &str| FetchError::Url(format!("`{url}` {why}"));
    let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    let secure = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(bad("must begin with https: or http:")),
    };
    let authority = uri.authority().ok_or_else(|| bad("names no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err(bad("names no host"));
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    Ok(Place { uri, secure, host, port })
}

async fn post<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Vec<u8>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |e: &dyn std::fmt::Display| FetchError::Unreachable(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| lost(&e))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| lost(&e))?;
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let is_mikey = kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(MIKEY);
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| FetchError::Unreachable(e.to_string()))?.to_bytes();
        // A refusal has another status than 200 and says in MIKEY why.
        if is_mikey && !body.is_empty() { Ok(body.to_vec()) } else { Err(FetchError::Status(status)) }
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        answer = answer.as_mut() => answer,
        // It may end as soon as the answer is read; then the answer says how it went.
        _ = connection => answer.await,
    }
}
