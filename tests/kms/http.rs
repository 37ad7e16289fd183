//! As much of HTTP as asking a key management service takes: one connection, kept alive.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whether it says when to try again.
    pub retry_after: bool,
    /// What it carries.
    pub body: Vec<u8>,
}

/// A connection.
pub struct Http(BufReader<TcpStream>);

impl Http {
    /// Connects; a service that hangs fails within ten seconds.
    pub fn connect(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// POSTs a MIKEY message.
    pub fn post(&mut self, path: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut out = format!(
            "POST {path} HTTP/1.1\r\nHost: kms\r\nContent-Type: application/mikey\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        out.extend_from_slice(body);
        self.0.get_mut().write_all(&out)?;
        let bad = || std::io::Error::new(std::io::ErrorKind::InvalidData, "not an answer");
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(bad)?;
        let (mut len, mut retry_after) = (0, false);
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.trim().parse().map_err(|_| bad())?,
                "retry-after" => retry_after = true,
                _ => {}
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, retry_after, body })
    }
}
