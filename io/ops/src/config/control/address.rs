//! Addresses of gateway control as they are written in a file.

use crate::config::text::as_text;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Transport of a control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ControlProto {
    /// Datagrams.
    Udp,
    /// TPKT on a stream.
    Tcp,
    /// TPKT inside TLS.
    Tls,
    /// SCTP.
    Sctp,
}

impl ControlProto {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "udp" => Self::Udp,
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "sctp" => Self::Sctp,
            _ => return None,
        })
    }
}

impl fmt::Display for ControlProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Sctp => "sctp",
        })
    }
}

/// A socket to listen on: `udp:192.0.2.1:2944`. Port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ControlBind {
    /// The transport.
    pub proto: ControlProto,
    /// The address.
    pub address: SocketAddr,
}

impl FromStr for ControlBind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':');
        let parsed = parts.and_then(|(proto, rest)| Some((ControlProto::parse(proto)?, rest.parse().ok()?)));
        parsed.map(|(proto, address)| Self { proto, address }).ok_or_else(|| {
            format!(
                "`{text}` is not an address to listen on; write `udp:192.0.2.1:2944`, `tcp:`, `tls:` or \
                 `sctp:`, IPv6 in brackets"
            )
        })
    }
}

impl fmt::Display for ControlBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.proto, self.address)
    }
}

/// A host by its address or by a name to be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Some(Self::Ip(ip));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        let named = name.len() < 254 && name.split('.').all(label);
        // A mistyped IPv4 address is not a name.
        let digits = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        (named && !digits).then(|| Self::Name(text.to_owned()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A gateway's controller: `NAME@udp:192.0.2.1:2944` on another host, whose name may stand for its address,
/// `local:NAME` in this file. NAME is what the controller calls itself in its messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlAddress {
    /// Another host or process.
    Remote {
        /// The name of the border there.
        name: String,
        /// How it is reached.
        proto: ControlProto,
        /// Where.
        host: Host,
        /// The port; the one registered for the encoding if absent.
        port: Option<u16>,
    },
    /// The border of that name in this file.
    Local(String),
}

impl ControlAddress {
    /// The border's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Remote { name, .. } | Self::Local(name) => name,
        }
    }

    /// The transport; none inside the process.
    pub fn proto(&self) -> Option<ControlProto> {
        match self {
            Self::Remote { proto, .. } => Some(*proto),
            Self::Local(_) => None,
        }
    }

    /// Whether messages arrive or the connection fails (not `udp:`).
    pub fn is_reliable(&self) -> bool {
        self.proto() != Some(ControlProto::Udp)
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote { name, proto, host, port: Some(port) } => {
                write!(f, "{name}@{proto}:{host}:{port}")
            }
            Self::Remote { name, proto, host, port: None } => write!(f, "{name}@{proto}:{host}"),
            Self::Local(name) => write!(f, "local:{name}"),
        }
    }
}

impl FromStr for ControlAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a controller; write `NAME@udp:192.0.2.1:2944` (or `tcp:`, `tls:`, `sctp:`, or a \
                 host name), or `local:NAME`"
            )
        };
        if let Some(name) = text.strip_prefix("local:").filter(|name| !name.is_empty()) {
            return Ok(Self::Local(name.to_owned()));
        }
        let (name, at) = text.split_once('@').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        let (proto, place) = at.split_once(':').ok_or_else(wrong)?;
        let proto = ControlProto::parse(proto).ok_or_else(wrong)?;
        // An IPv6 address without brackets has colons of its own.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if place.parse::<IpAddr>().is_err() && !place.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
                (host, Some(port))
            }
            _ => (place, None),
        };
        let host = Host::parse(host).ok_or_else(wrong)?;
        Ok(Self::Remote { name: name.to_owned(), proto, host, port })
    }
}

/// Local addresses of a gateway for its control association, one or a list: `"192.0.2.2"`,
/// `["192.0.2.2:2944", "[2001:db8::2]:2944"]`. Port 0, or none, takes a free one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(pub Vec<SocketAddr>);

impl Sources {
    fn one(text: &str) -> Result<SocketAddr, String> {
        let ip = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0));
        text.parse().ok().or_else(ip).ok_or_else(|| {
            format!("`{text}` is not an address of this host; write `192.0.2.2` or `192.0.2.2:2944`")
        })
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Sources;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Sources, E> {
                Ok(Sources(vec![Sources::one(text).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sources, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    all.push(Sources::one(&text).map_err(de::Error::custom)?);
                }
                Ok(Sources(all))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

as_text! {
    ControlBind, "^(udp|tcp|tls|sctp):.+:[0-9]+$";
    ControlAddress, "^(local:.+|.+@(udp|tcp|tls|sctp):.+)$";
}

impl Serialize for Sources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

impl JsonSchema for Sources {
    fn schema_name() -> Cow<'static, str> {
        "Sources".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_written_in_many_ways() {
        for text in [
            "a@udp:192.0.2.1:2944",
            "a@tcp:[2001:db8::1]:2944",
            "a@tls:mgc.example.net:2945",
            "a@sctp:mgc.example.net",
            "a@udp:192.0.2.1",
            "a@udp:[2001:db8::1]",
            "local:a",
        ] {
            assert_eq!(text.parse::<ControlAddress>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        let bare = "a@udp:2001:db8::1".parse::<ControlAddress>().unwrap();
        assert_eq!(bare.to_string(), "a@udp:[2001:db8::1]");
        for text in [
            "",
            "a",
            "@udp:h",
            "local:",
            "a@ftp:h",
            "a@udp:",
            "a@udp:h:0",
            "a@udp:h:x",
            "a@udp:192.0.2",
            "a@udp:a b",
            "a@udp:-..",
            "a@tls:192.0.2.1:99999",
        ] {
            assert!(text.parse::<ControlAddress>().is_err(), "{text}");
        }
    }
}
