//! The SDP in Local and Remote descriptors, as far as a TCP relay needs it.
//!
//! RFC 3525 §7.1.8: `v=`, `o=`, `s=` and `t=` may be left out, and `$` stands for any value that
//! the gateway is to choose. So this is a template rather than a session description; lines that
//! mean nothing here go back as they came.
//!
//! Leaves out: several groups (`v=` lines) in one descriptor, of which the gateway would choose.

use std::net::{IpAddr, SocketAddr};

use carnet_h248::SessionDescription;

use crate::error::Fault;
use crate::media::Family;

/// Who opens the connection, as `a=setup` says it (RFC 4145 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    Active,
    Passive,
    ActPass,
    HoldConn,
}

/// What the transport field of the media line asks of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Octets pass untouched: `TCP`, `TCP/TLS`, `TCP/BFCP`.
    Transparent,
    /// The gateway is to end TLS: `TCP/TLS/x`.
    Tls,
    /// The gateway is to rewrite MSRP: `TCP/MSRP`.
    Msrp,
}

/// A value that may be left to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice<T> {
    /// `$`
    Choose,
    Given(T),
}

/// A Local or Remote descriptor, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    text: SessionDescription,
    pub(crate) family: Option<Family>,
    pub(crate) address: Option<Choice<IpAddr>>,
    pub(crate) port: Choice<u16>,
    pub(crate) transport: Transport,
    pub(crate) setup: Option<Setup>,
    pub(crate) fingerprint: bool,
}

impl Description {
    pub(crate) fn parse(text: &SessionDescription) -> Result<Self, Fault> {
        let syntax = |what: &str| Fault::request(474, format!("Invalid SDP: {what}"));
        let mut connection = None;
        let mut media = None;
        let mut setup = None;
        let mut fingerprint = false;
        let mut groups = 0;
        for line in text.lines() {
            let line = std::str::from_utf8(line).map_err(|_| syntax("not UTF-8"))?;
            let (kind, value) = line.split_once('=').ok_or_else(|| syntax("a line without ="))?;
            match kind {
                "v" => groups += 1,
                "c" => connection = Some(parse_connection(value).ok_or_else(|| syntax(line))?),
                "m" if media.is_some() => {
                    return Err(Fault::unsupported(501, "Several media lines in one descriptor"));
                }
                "m" => media = Some(value),
                "a" => match value.split_once(':') {
                    Some(("setup", how)) => setup = Some(parse_setup(how).ok_or_else(|| syntax(line))?),
                    Some(("fingerprint", _)) => fingerprint = true,
                    _ => {}
                },
                _ if kind.len() == 1 => {}
                _ => return Err(syntax(line)),
            }
        }
        if groups > 1 {
            return Err(Fault::unsupported(501, "Several groups in one descriptor"));
        }
        let media = media.ok_or_else(|| syntax("no media line"))?;
        let (port, transport) = parse_media(media)?;
        let (family, address) = connection.map_or((None, None), |(f, a)| (Some(f), Some(a)));
        Ok(Self { text: text.clone(), family, address, port, transport, setup, fingerprint })
    }

    pub(crate) fn text(&self) -> &SessionDescription {
        &self.text
    }

    /// Whether the gateway is asked to choose something.
    pub(crate) fn has_choice(&self) -> bool {
        self.address == Some(Choice::Choose) || self.port == Choice::Choose
    }

    /// Both address and port, if both are given and the port is one (9 is a placeholder for
    /// "none" of an active peer, RFC 4145 §4.1).
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        match (self.address, self.port) {
            (Some(Choice::Given(ip)), Choice::Given(port)) if port != 0 => Some(SocketAddr::new(ip, port)),
            _ => None,
        }
    }

    /// The same text with what was left to the gateway filled in.
    pub(crate) fn filled(&self, local: SocketAddr) -> SessionDescription {
        let mut out = String::new();
        for line in self.text.lines() {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match line.split_once('=') {
                Some(("c", value)) if parse_connection(value).is_some_and(|c| c.1 == Choice::Choose) => {
                    let version = if local.is_ipv4() { "IP4" } else { "IP6" };
                    out.push_str(&format!("c=IN {version} {}", local.ip()));
                }
                Some(("m", value)) if self.port == Choice::Choose => {
                    let port = local.port().to_string();
                    let fields = value.split(' ').enumerate();
                    let fields: Vec<_> =
                        fields.map(|(i, field)| if i == 1 { port.as_str() } else { field }).collect();
                    out.push_str("m=");
                    out.push_str(&fields.join(" "));
                }
                _ => out.push_str(line),
            }
            out.push_str(self.line_end());
        }
        SessionDescription::from(out)
    }

    fn line_end(&self) -> &'static str {
        if self.text.as_bytes().contains(&b'\r') { "\r\n" } else { "\n" }
    }
}

/// `IN IP4 $` and the like.
fn parse_connection(value: &str) -> Option<(Family, Choice<IpAddr>)> {
    let mut fields = value.split_ascii_whitespace();
    let (net, version, address) = (fields.next()?, fields.next()?, fields.next()?);
    let family = match version {
        "IP4" => Family::V4,
        "IP6" => Family::V6,
        _ => return None,
    };
    let address = match address {
        "$" => Choice::Choose,
        literal => Choice::Given(literal.parse::<IpAddr>().ok()?),
    };
    let agrees = match address {
        Choice::Given(ip) => ip.is_ipv4() == (family == Family::V4),
        Choice::Choose => true,
    };
    (net == "IN" && agrees && fields.next().is_none()).then_some((family, address))
}

fn parse_setup(value: &str) -> Option<Setup> {
    match value.trim() {
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        "actpass" => Some(Setup::ActPass),
        "holdconn" => Some(Setup::HoldConn),
        _ => None,
    }
}

/// `<media> <port> <transport> <format>...`
fn parse_media(value: &str) -> Result<(Choice<u16>, Transport), Fault> {
    let syntax = || Fault::request(474, format!("Invalid SDP: m={value}"));
    let mut fields = value.split(' ');
    let media = fields.next().ok_or_else(syntax)?;
    let port = match fields.next().ok_or_else(syntax)? {
        "$" => Choice::Choose,
        number => Choice::Given(number.parse().map_err(|_| syntax())?),
    };
    let transport = fields.next().ok_or_else(syntax)?;
    if fields.next().is_none_or(str::is_empty) {
        return Err(syntax());
    }
    let named = |name: &str| media.eq_ignore_ascii_case(name);
    if !(named("-") || named("message") || named("application")) {
        return Err(Fault::unsupported(515, format!("Unsupported media type: {media}")));
    }
    let transport = match transport.to_ascii_uppercase().as_str() {
        "TCP" | "TCP/TLS" | "TCP/BFCP" => Transport::Transparent,
        "TCP/MSRP" => Transport::Msrp,
        "TCP/TLS/MSRP" | "TCP/TLS/BFCP" => Transport::Tls,
        other => return Err(Fault::unsupported(515, format!("Unsupported transport: {other}"))),
    };
    Ok((port, transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Description, Fault> {
        Description::parse(&text.into())
    }

    #[test]
    fn choices_are_filled_and_nothing_else_changes() {
        let text = "v=0\nc=IN IP6 $\nm=- $ TCP/TLS -\na=setup:actpass\na=x:$\n";
        let local = parse(text).unwrap();
        assert!(local.has_choice());
        assert_eq!(local.family, Some(Family::V6));
        assert_eq!(local.setup, Some(Setup::ActPass));
        let filled = local.filled("[2001:db8:1::10]:30002".parse().unwrap());
        let expected = "v=0\nc=IN IP6 2001:db8:1::10\nm=- 30002 TCP/TLS -\na=setup:actpass\na=x:$\n";
        assert_eq!(filled.as_bytes(), expected.as_bytes());
        assert!(!Description::parse(&filled).unwrap().has_choice());
    }

    #[test]
    fn line_ends_stay() {
        let local = parse("v=0\r\nc=IN IP4 $\r\nm=- $ TCP -\r\n").unwrap();
        let filled = local.filled("192.0.2.1:5".parse().unwrap());
        assert_eq!(filled.as_bytes(), b"v=0\r\nc=IN IP4 192.0.2.1\r\nm=- 5 TCP -\r\n");
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_code() {
        let code = |text| parse(text).unwrap_err().code();
        assert_eq!(code("v=0\nc=IN IP4 $\n"), 474);
        assert_eq!(code("c=IN IP4 2001:db8::1\nm=- 9 TCP -\n"), 474);
        assert_eq!(code("m=- 70000 TCP -\n"), 474);
        assert_eq!(code("m=- 9 TCP\n"), 474);
        assert_eq!(code("nonsense\nm=- 9 TCP -\n"), 474);
        assert_eq!(code("m=- 9 TCP -\na=setup:perhaps\n"), 474);
        assert_eq!(code("m=audio 9 RTP/AVP 0\n"), 515);
        assert_eq!(code("m=- 9 UDP -\n"), 515);
        assert_eq!(code("m=- 9 TCP -\nm=- 9 TCP -\n"), 501);
    }

    #[test]
    fn a_remote_gives_a_socket() {
        let remote = parse("v=0\nc=IN IP4 198.51.100.20\nm=- 2855 TCP/TLS -\n").unwrap();
        assert_eq!(remote.socket(), Some("198.51.100.20:2855".parse().unwrap()));
    }
}
