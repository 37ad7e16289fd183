//! Addresses as they are written in a configuration file.

use super::text::as_text;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Transport of a SIP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// TLS over a stream.
    Tls,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

/// A socket to listen on: `udp:192.0.2.1:5060`, `tls:[2001:db8::1]:5061`. Port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The transport.
    pub proto: Proto,
    /// The address.
    pub address: SocketAddr,
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.proto, self.address)
    }
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (proto, rest) = text.split_once(':').ok_or_else(|| bind_form(text))?;
        let proto = match proto {
            "udp" => Proto::Udp,
            "tcp" => Proto::Tcp,
            "tls" => Proto::Tls,
            _ => return Err(bind_form(text)),
        };
        let address = rest.parse().map_err(|_| bind_form(text))?;
        Ok(Self { proto, address })
    }
}

fn bind_form(text: &str) -> String {
    format!(
        "`{text}` is not an address to listen on; write `udp:192.0.2.1:5060`, `tcp:` or `tls:`, IPv6 in brackets"
    )
}

/// A range of ports, `30000-30999`, both included, none of them 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange(pub RangeInclusive<u16>);

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(low, high)| {
            let (low, high) = (low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?);
            (low > 0 && low <= high).then_some(low..=high)
        });
        range.map(Self).ok_or_else(|| format!("`{text}` is not a range of ports; write `30000-30999`"))
    }
}

/// A host name or address with a port, for services that are not SIP (the KMS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(pub SocketAddr);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{text}` is not an address; write `192.0.2.1:8443`"))
    }
}

/// Addresses with the same leading bits: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that count.
    pub bits: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.ip.is_ipv4() { 32 } else { 128 };
        match self.bits {
            bits if bits == all => self.ip.fmt(f),
            bits => write!(f, "{}/{bits}", self.ip),
        }
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address or prefix; write `192.0.2.0/24`");
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits <= most { Ok(Self { ip, bits }) } else { Err(wrong()) }
    }
}

as_text! {
    Bind, "^(udp|tcp|tls):.+:[0-9]+$";
    PortRange, "^ *[0-9]+ *- *[0-9]+ *$";
    Endpoint, "^.+:[0-9]+$";
    Prefix, "^[0-9A-Fa-f:.]+(/[0-9]+)?$";
}
