//! The ways to a server: a request out, an answer in.
//!
//! UDP repeats the request with its cookie until it is answered; a connection carries one request. Over
//! HTTP the message is POSTed to `/ng`.

use bytes::{Bytes, BytesMut};
use carnet_net::OsRandom;
use carnet_ng::{Limits, Message, Value};
use carnet_tls::{CertificateContext, CertificateSettings, Peer};
use carnet_wire::{Random as _, hex};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use zeroize::Zeroizing;

/// Wait before a datagram is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// Octets of an answer.
const MAX_ANSWER: usize = 16 << 20;

/// What carries requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proto {
    Udp,
    Tcp,
    Tls,
    Http,
    Https,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    proto: Proto,
    host: String,
    port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.proto {
            Proto::Udp => "udp:",
            Proto::Tcp => "tcp:",
            Proto::Tls => "tls:",
            Proto::Http => "http://",
            Proto::Https => "https://",
        };
        write!(f, "{proto}{}", self.authority())
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!("`{text}` is no server; write udp:HOST:PORT, tcp:, tls:, or http://HOST:PORT, https://")
        };
        let (proto, rest) = text.split_once(':').ok_or_else(form)?;
        let proto = match proto {
            "udp" => Proto::Udp,
            "tcp" => Proto::Tcp,
            "tls" => Proto::Tls,
            "http" => Proto::Http,
            "https" => Proto::Https,
            _ => return Err(form()),
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let rest = rest.strip_suffix("/ng").unwrap_or(rest);
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(form)?;
        let host = host.trim_matches(['[', ']']);
        if host.is_empty() || host.contains('/') {
            return Err(form());
        }
        Ok(Self { proto, host: host.to_owned(), port: port.parse().map_err(|_| form())? })
    }
}

impl Server {
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// Files for TLS.
pub struct Trust {
    /// The authorities that vouch for the server.
    pub ca: Option<PathBuf>,
    /// Certificate and key that are shown to it.
    pub shown: Option<(PathBuf, PathBuf)>,
}

/// How a server is asked.
pub struct Way<'a> {
    pub server: &'a Server,
    pub trust: Trust,
    pub token: Option<Zeroizing<String>>,
    /// The longest wait for an answer.
    pub wait: Duration,
}

impl Way<'_> {
    /// Sends a request and gives the answer.
    ///
    /// # Errors
    /// There is none, in words.
    pub async fn exchange(&self, mut body: Value) -> Result<Value, String> {
        let server = self.server;
        if let (Value::Dictionary(entries), Some(token), Proto::Tcp | Proto::Tls) =
            (&mut body, &self.token, server.proto)
        {
            entries.push((Bytes::from_static(b"token"), Value::text(token)));
        }
        let mut octets = [0; 12];
        OsRandom.fill(&mut octets);
        let cookie = Bytes::from(hex::encode(&octets));
        let message = Message::new(cookie.clone(), body).to_bytes();
        let exchange = async {
            match server.proto {
                Proto::Udp => self.datagrams(&message, &cookie).await,
                Proto::Tcp => stream(self.connect().await?, &message, &cookie).await,
                Proto::Tls => stream(self.secure(self.connect().await?).await?, &message, &cookie).await,
                Proto::Http => self.post(self.connect().await?, message, &cookie).await,
                Proto::Https => self.post(self.secure(self.connect().await?).await?, message, &cookie).await,
            }
        };
        match tokio::time::timeout(self.wait, exchange).await {
            Ok(answer) => answer.map_err(|why| format!("{server}: {why}")),
            Err(_) => {
                let seconds = self.wait.as_secs();
                Err(format!(
                    "{server}: no answer in {seconds} s; is a gateway with [gateway.NAME.ng] at work there, and \
                     may this host ask it (`peers`)?"
                ))
            }
        }
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((self.server.host.as_str(), self.server.port)).await;
        Ok(found.map_err(|e| e.to_string())?.collect())
    }

    async fn datagrams(&self, message: &Bytes, cookie: &Bytes) -> Result<Value, String> {
        let address = *self.addresses().await?.first().ok_or("the name has no address")?;
        let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).await.map_err(|e| e.to_string())?;
        socket.connect(address).await.map_err(|e| e.to_string())?;
        let mut buffer = vec![0; 65_536];
        let mut again = tokio::time::interval(AGAIN);
        loop {
            tokio::select! {
                _ = again.tick() => {
                    // Of what is refused (nobody listens) the receiving tells.
                    let _ = socket.send(message).await;
                }
                received = socket.recv(&mut buffer) => match received {
                    Ok(length) => {
                        let datagram = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                        if let Some(answer) = answer(&datagram, cookie)? {
                            return Ok(answer);
                        }
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                        return Err("nobody listens there".into());
                    }
                    Err(e) => return Err(e.to_string()),
                },
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let mut last = "the name has no address".to_owned();
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                    last = "nobody listens there".into();
                }
                Err(e) => last = e.to_string(),
            }
        }
        Err(last)
    }

    async fn secure(
        &self,
        stream: TcpStream,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, String> {
        let credential = match &self.trust.shown {
            Some((certificate, key)) => Some(crate::roles::tls::from_files(certificate, key)?),
            None => None,
        };
        let settings = CertificateSettings {
            credential,
            trust: crate::roles::tls::trust(self.trust.ca.as_deref()),
            handshake_timeout: self.wait,
            ..CertificateSettings::default()
        };
        let context = CertificateContext::new(&settings).map_err(|e| e.to_string())?;
        let peer = Peer::Named(self.server.host.clone());
        context.connect(stream, &peer).await.map(|(stream, _)| stream).map_err(|e| e.to_string())
    }

    async fn post<S>(&self, stream: S, message: Bytes, cookie: &Bytes) -> Result<Value, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = |e: hyper::Error| e.to_string();
        let mut request = Request::post("/ng")
            .header(HOST, self.server.authority())
            .header(CONTENT_TYPE, "application/x-rtpengine-ng");
        if let Some(token) = &self.token {
            let bearer = Zeroizing::new(format!("Bearer {}", token.as_str()));
            let mut value = HeaderValue::from_str(&bearer).map_err(|_| "the token is not visible ASCII")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(message)).map_err(|e| e.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(lost)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            match answer(&body, cookie) {
                Ok(Some(answer)) => Ok(answer),
                _ => Err(match status.as_u16() {
                    401 | 403 => {
                        format!("HTTP status {status}: it wants a token (--token-file), or not this host")
                    }
                    _ => format!("HTTP status {status} without an answer of ng"),
                }),
            }
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            answer = exchange.as_mut() => answer,
            // It may end as soon as the answer is read; then the answer says how it went.
            _ = connection => exchange.await,
        }
    }
}

/// Writes a request and reads until the answer to it is whole.
async fn stream<S>(mut stream: S, message: &Bytes, cookie: &Bytes) -> Result<Value, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(message).await.map_err(|e| e.to_string())?;
    let mut read = BytesMut::new();
    loop {
        match stream.read_buf(&mut read).await.map_err(|e| e.to_string())? {
            0 => {
                let refused =
                    "it closed the connection; it may want a token (--token-file), or not this host";
                return Err(refused.into());
            }
            _ if read.len() > MAX_ANSWER => return Err("the answer is too long".into()),
            _ => {}
        }
        // Half an answer is no bencode yet.
        if let Ok(Some(answer)) = answer(&Bytes::copy_from_slice(&read), cookie) {
            return Ok(answer);
        }
    }
}

/// The answer to a request, if it is that.
fn answer(octets: &Bytes, cookie: &Bytes) -> Result<Option<Value>, String> {
    let limits = Limits { values: 1_000_000, ..Limits::default() };
    if !octets.strip_prefix(cookie.as_ref()).is_some_and(|rest| rest.starts_with(b" ")) {
        return Ok(None);
    }
    let message = Message::parse(octets, &limits);
    message.map(|message| Some(message.body)).map_err(|e| format!("the answer is not understood: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_sip_servers_and_browsers_do() {
        for (text, same) in [
            ("udp:127.0.0.1:2223", "udp:127.0.0.1:2223"),
            ("tcp:[::1]:2223", "tcp:[::1]:2223"),
            ("tls:gw.example:2224", "tls:gw.example:2224"),
            ("http://gw.example:8080/", "http://gw.example:8080"),
            ("https://[2001:db8::1]:2225/ng", "https://[2001:db8::1]:2225"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), same);
        }
        for bad in ["127.0.0.1:2223", "udp:127.0.0.1", "udp::1", "ws://a:1", "http://a:1/cli", "udp:a:70000"]
        {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_answer_to_the_request_is_one() {
        let cookie = Bytes::from_static(b"ab");
        let of = |octets: &'static [u8]| answer(&Bytes::from_static(octets), &cookie);
        assert_eq!(of(b"abc d6:result4:ponge"), Ok(None));
        assert_eq!(of(b"ab d6:result4:ponge").unwrap().unwrap().text_of("result"), Some("pong"));
        assert!(of(b"ab d6:result4:pon").is_err());
    }
}
