//! Session descriptions of calls: written, and read as far as media needs it (RFC 8866, RFC 4975 §8, RFC 4145, RFC 6714).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// The attribute by which an end says which content is its own. Borders pass on what they do not know; where one does
/// not, content is known by the first message.
const ATTRIBUTE: &str = "x-carnet-load";

/// What one end says of its media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Where it is reached.
    pub address: SocketAddr,
    /// `active`, `passive` or `actpass`.
    pub setup: String,
    /// In TLS from end to end.
    pub sealed: bool,
    /// Its MSRP path.
    pub path: String,
    /// Its content, and the number of the call's key if it is the caller's.
    pub key: Option<u64>,
    /// The number in the caller's key management line.
    pub seal: Option<u64>,
}

/// Octets of a key management line look like this; what is in them is between the ends.
const MIKEY: &str = "AQQFg";

impl Description {
    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { address, setup, sealed, path, key, seal } = self;
        let (version, ip) = (if address.is_ipv4() { 4 } else { 6 }, address.ip());
        let transport = if *sealed { "TCP/TLS/MSRP" } else { "TCP/MSRP" };
        let mut text = format!(
            "v=0\r\no=load 1 1 IN IP{version} {ip}\r\ns=-\r\nc=IN IP{version} {ip}\r\nt=0 0\r\n\
             m=message {} {transport} *\r\na=setup:{setup}\r\na=connection:new\r\n\
             a=accept-types:*\r\na=path:{path}\r\na=msrp-cema\r\n",
            address.port()
        );
        if let Some(key) = key {
            let _ = write!(text, "a={ATTRIBUTE}:{key:016x}\r\n");
        }
        if let Some(seal) = seal {
            let _ = write!(text, "a=key-mgmt:mikey {MIKEY}{seal:016x}+/==\r\n");
        }
        text
    }

    /// As it came.
    ///
    /// # Errors
    ///
    /// What is missing, in words.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(text);
        let (mut ip, mut port, mut sealed) = (None, None, false);
        let (mut setup, mut path, mut key, mut seal) = (None, None, None, None);
        let number = |text: &str| u64::from_str_radix(text.get(..16)?, 16).ok();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("c=IN IP") {
                ip = rest.split_whitespace().nth(1).and_then(|ip| ip.parse::<IpAddr>().ok());
            } else if let Some(rest) = line.strip_prefix("m=") {
                let mut words = rest.split_whitespace();
                if port.is_some() || words.next() != Some("message") {
                    return Err("another media line than one of MSRP".into());
                }
                port = words.next().and_then(|port| port.parse::<u16>().ok());
                sealed = words.next() == Some("TCP/TLS/MSRP");
            } else if let Some(rest) = line.strip_prefix("a=setup:") {
                setup = Some(rest.to_owned());
            } else if let Some(rest) = line.strip_prefix("a=path:") {
                path = Some(rest.to_owned());
            } else if let Some(rest) = line.strip_prefix("a=key-mgmt:mikey ") {
                seal = rest.strip_prefix(MIKEY).and_then(number);
            } else if let Some(rest) = line.strip_prefix("a=").and_then(|rest| rest.strip_prefix(ATTRIBUTE)) {
                key = rest.strip_prefix(':').and_then(number);
            }
        }
        let port = port.ok_or("no media line")?;
        if port == 0 {
            return Err("the media line was refused".into());
        }
        Ok(Self {
            address: SocketAddr::new(ip.ok_or("no address")?, port),
            // RFC 4145 §4: who does not say is active in an offer, passive in an answer.
            setup: setup.unwrap_or_default(),
            sealed,
            path: path.ok_or("no path")?,
            key,
            seal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let description = Description {
            address: "192.0.2.1:7000".parse().unwrap(),
            setup: "active".into(),
            sealed: true,
            path: "msrps://192.0.2.1:7000/abc;tcp".into(),
            key: Some(77),
            seal: Some(78),
        };
        assert_eq!(Description::read(description.text().as_bytes()), Ok(description.clone()));
        let plain = Description { sealed: false, key: None, seal: None, ..description.clone() };
        assert_eq!(Description::read(plain.text().as_bytes()), Ok(plain));
        let v6 = Description { address: "[2001:db8::1]:7000".parse().unwrap(), ..description };
        assert_eq!(Description::read(v6.text().as_bytes()), Ok(v6));
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for (text, why) in [
            ("", "no media line"),
            ("m=audio 1 RTP/AVP 0\r\n", "another media line"),
            ("c=IN IP4 192.0.2.1\r\nm=message 0 TCP/MSRP *\r\na=path:msrp://x;tcp\r\n", "refused"),
            ("m=message 5 TCP/MSRP *\r\na=path:msrp://x;tcp\r\n", "no address"),
            ("c=IN IP4 192.0.2.1\r\nm=message 5 TCP/MSRP *\r\n", "no path"),
            (
                "c=IN IP4 192.0.2.1\r\nm=message 5 TCP/MSRP *\r\nm=message 6 TCP/MSRP *\r\n",
                "another media line",
            ),
        ] {
            assert!(Description::read(text.as_bytes()).unwrap_err().contains(why), "{text}");
        }
        Description::read(b"\xff\xfea=x-carnet-load:\xc3\xa4\r\n").unwrap_err();
    }
}
