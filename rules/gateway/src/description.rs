//! The SDP in Local and Remote descriptors, as far as a TCP relay needs it.
//!
//! RFC 3525 §7.1.8: `v=`, `o=`, `s=` and `t=` may be left out, and `$` stands for any value that
//! the gateway is to choose. So this is a template rather than a session description; lines that
//! mean nothing here go back as they came. Several of them, each begun by `v=`, are alternatives.

use std::net::{IpAddr, SocketAddr};

use carnet_h248::SessionDescription;

use crate::error::Fault;
use crate::fingerprint::Fingerprints;
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
    /// `TCP`
    Transparent,
    /// `TCP/TLS`
    Tls,
    /// `TCP/BFCP`
    Bfcp,
    /// `TCP/MSRP`
    Msrp,
    /// `TCP/TLS/BFCP`
    TlsBfcp,
    /// `TCP/TLS/MSRP`
    TlsMsrp,
}

impl Transport {
    /// Whether there is TLS in it, wherever that ends.
    pub(crate) fn is_sealed(self) -> bool {
        matches!(self, Self::Tls | Self::TlsBfcp | Self::TlsMsrp)
    }
}

/// A value that may be left to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice<T> {
    /// `$`
    Choose,
    Given(T),
}

/// One group of a Local or Remote descriptor, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    text: SessionDescription,
    pub(crate) family: Option<Family>,
    pub(crate) address: Option<Choice<IpAddr>>,
    pub(crate) port: Choice<u16>,
    pub(crate) transport: Transport,
    pub(crate) setup: Option<Setup>,
    pub(crate) fingerprints: Fingerprints,
    /// `a=path` (RFC 4975 §8.2): URIs separated by blanks.
    pub(crate) path: Option<String>,
    /// `a=accept-types` (RFC 4975 §8.6).
    pub(crate) accept_types: Option<String>,
    /// `a=max-size` (RFC 4975 §8.6), octets.
    pub(crate) max_size: Option<u64>,
    /// `a=userid` (RFC 8856 §5.3).
    pub(crate) user: Option<u16>,
    /// Something else than address and port is left to the gateway.
    open: bool,
}

/// A whole Local or Remote descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// Nothing in it: what was there before is let go (RFC 3525 §7.1.8 b).
    Empty,
    /// Alternatives in descending order of preference, each understood or with the reason why not.
    Groups(Vec<Result<Description, Fault>>),
}

/// Alternatives in one descriptor; nobody has so many kinds of TCP connections.
const MOST_GROUPS: usize = 16;

impl Descriptor {
    /// Takes a descriptor apart at its `v=` lines.
    pub(crate) fn parse(text: &SessionDescription) -> Result<Self, Fault> {
        if text.is_empty() {
            return Ok(Self::Empty);
        }
        let octets = text.as_bytes();
        let mut starts: Vec<usize> = memmem(octets, b"\nv=").map(|at| at + 1).collect();
        starts.insert(0, 0);
        if starts.len() > MOST_GROUPS {
            return Err(Fault::exhausted(510, format!("More than {MOST_GROUPS} groups in one descriptor")));
        }
        let whole = text.to_bytes();
        let ends = starts.iter().skip(1).copied().chain([octets.len()]);
        let mut groups = Vec::with_capacity(starts.len());
        for (start, end) in starts.iter().copied().zip(ends) {
            match Description::parse(&SessionDescription::new(whole.slice(start..end))) {
                // What cannot be read is wrong, whatever else there is.
                Err(fault) if fault.code() == 474 => return Err(fault),
                group => groups.push(group),
            }
        }
        Ok(Self::Groups(groups))
    }
}

fn memmem<'a>(octets: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    octets.windows(wanted.len()).enumerate().filter(move |(_, part)| *part == wanted).map(|(at, _)| at)
}

impl Description {
    /// Reads one group.
    pub(crate) fn parse(text: &SessionDescription) -> Result<Self, Fault> {
        let syntax = |what: &str| Fault::request(474, format!("Invalid SDP: {what}"));
        let mut connection = None;
        let mut media = None;
        let mut setup = None;
        // RFC 8122 §5: those of the session hold for a medium that has none.
        let (mut of_session, mut of_media) = (Fingerprints::default(), Fingerprints::default());
        let (mut path, mut accept_types, mut max_size, mut user) = (None, None, None, None);
        let mut open = false;
        for line in text.lines() {
            let line = std::str::from_utf8(line).map_err(|_| syntax("not UTF-8"))?;
            let (kind, value) = line.split_once('=').ok_or_else(|| syntax("a line without ="))?;
            match kind {
                "c" => connection = Some(parse_connection(value).ok_or_else(|| syntax(line))?),
                // RFC 3525 §7.1.8.
                "m" if media.is_some() => return Err(syntax("more than one media line in a group")),
                "m" => media = Some(value),
                "a" => match value.split_once(':') {
                    Some(("setup", "$")) => open = true,
                    Some(("setup", how)) => setup = Some(parse_setup(how).ok_or_else(|| syntax(line))?),
                    Some(("fingerprint", value)) => {
                        let level = if media.is_some() { &mut of_media } else { &mut of_session };
                        level.take(value)?;
                    }
                    Some(("path", uris)) => {
                        open |= in_authority(uris).is_some_and(|at| at.contains('$'));
                        path = Some(uris.trim().to_owned());
                    }
                    Some(("accept-types", types)) => accept_types = Some(types.trim().to_owned()),
                    Some(("userid", number)) => user = number.trim().parse().ok(),
                    Some(("max-size", octets)) => max_size = octets.trim().parse().ok(),
                    _ => {}
                },
                "v" | "o" | "s" | "t" => open |= value.split(' ').any(|field| field == "$"),
                _ if kind.len() == 1 => {}
                _ => return Err(syntax(line)),
            }
        }
        let media = media.ok_or_else(|| syntax("no media line"))?;
        let (port, transport) = parse_media(media)?;
        open |= media.split(' ').enumerate().any(|(index, field)| index != 1 && field == "$");
        let (family, address) = connection.map_or((None, None), |(f, a)| (f, Some(a)));
        let fingerprints = if of_media.is_empty() { of_session } else { of_media };
        open |= fingerprints.asked.is_some();
        Ok(Self {
            text: text.clone(),
            family,
            address,
            port,
            transport,
            setup,
            fingerprints,
            path,
            accept_types,
            max_size,
            user,
            open,
        })
    }

    pub(crate) fn text(&self) -> &SessionDescription {
        &self.text
    }

    /// Whether the gateway is asked to choose something.
    pub(crate) fn has_choice(&self) -> bool {
        self.address == Some(Choice::Choose) || self.port == Choice::Choose || self.open
    }

    /// Both address and port, if both are given and the port is one (9 is a placeholder for
    /// "none" of an active peer, RFC 4145 §4.1).
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        match (self.address, self.port) {
            (Some(Choice::Given(ip)), Choice::Given(port)) if port != 0 => Some(SocketAddr::new(ip, port)),
            _ => None,
        }
    }

    /// The same text with what was left to the gateway filled in. `peer`: who opens the connection
    /// according to Remote; `own`: the fingerprint of the certificate that the gateway shows there.
    pub(crate) fn filled(
        &self,
        local: SocketAddr,
        peer: Option<Setup>,
        own: Option<&str>,
    ) -> SessionDescription {
        let (version, ip) = (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip());
        let end = self.line_end();
        let mut out = String::new();
        for line in self.text.lines() {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let (kind, value) = line.split_once('=').unwrap_or((line, ""));
            match kind {
                "c" if value.contains('$') => out.push_str(&format!("c=IN {version} {ip}")),
                "m" => {
                    // RFC 3525 §7.1.8: what the controller must know is told even if it did not ask.
                    if self.address.is_none() {
                        out.push_str(&format!("c=IN {version} {ip}{end}"));
                    }
                    let port = local.port().to_string();
                    out.push_str("m=");
                    out.push_str(&chosen(value, &["-", &port, "TCP", "-"]));
                }
                "v" => out.push_str(&format!("v={}", chosen(value, &["0"]))),
                "s" => out.push_str(&format!("s={}", if value == "$" { "-" } else { value })),
                "t" => out.push_str(&format!("t={}", chosen(value, &["0", "0"]))),
                "o" => {
                    let ip = ip.to_string();
                    let fields = ["-", "0", "0", "IN", version, &ip];
                    out.push_str(&format!("o={}", chosen(value, &fields)));
                }
                "a" if value == "setup:$" => {
                    let mine = match peer {
                        Some(Setup::Active) => "passive",
                        Some(Setup::Passive) => "active",
                        _ => "actpass",
                    };
                    out.push_str(&format!("a=setup:{mine}"));
                }
                "a" if value.starts_with("fingerprint:") && value.ends_with(" $") => {
                    let digest = own.and_then(|own| own.split_once(' ')).map(|(_, digest)| digest);
                    out.push_str(line.strip_suffix('$').unwrap_or(line));
                    out.push_str(digest.unwrap_or("$"));
                }
                "a" if value.starts_with("path:") => {
                    let at = in_authority(value).filter(|at| at.contains('$'));
                    let (before, after) = at.and_then(|at| line.split_once(at)).unwrap_or((line, ""));
                    out.push_str(before);
                    if at.is_some() {
                        out.push_str(&local.to_string());
                    }
                    out.push_str(after);
                }
                _ => out.push_str(line),
            }
            out.push_str(end);
        }
        SessionDescription::from(out)
    }

    fn line_end(&self) -> &'static str {
        if self.text.as_bytes().contains(&b'\r') { "\r\n" } else { "\n" }
    }
}

/// The fields of a line, `$` replaced by what the gateway chooses; the last choice serves for all
/// further fields.
fn chosen(value: &str, choices: &[&str]) -> String {
    let mut out = String::with_capacity(value.len() + 16);
    for (index, field) in value.split(' ').enumerate() {
        if index > 0 {
            out.push(' ');
        }
        let choice = choices.get(index).or(choices.last());
        out.push_str(choice.filter(|_| field == "$").unwrap_or(&field));
    }
    out
}

/// Host and port of the first URI in a path (RFC 4975 §9 `authority`).
fn in_authority(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("://")?;
    let end = rest.find(['/', ';', ' ']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

/// `IN IP4 $` and the like, each field also `$`.
fn parse_connection(value: &str) -> Option<(Option<Family>, Choice<IpAddr>)> {
    let mut fields = value.split_ascii_whitespace();
    let (net, version, address) = (fields.next()?, fields.next()?, fields.next()?);
    let address = match address {
        "$" => Choice::Choose,
        literal => Choice::Given(literal.parse::<IpAddr>().ok()?),
    };
    let of_address = match address {
        Choice::Given(ip) => Some(if ip.is_ipv4() { Family::V4 } else { Family::V6 }),
        Choice::Choose => None,
    };
    let family = match version {
        "IP4" => Some(Family::V4),
        "IP6" => Some(Family::V6),
        "$" => of_address,
        _ => return None,
    };
    let agrees = of_address.is_none_or(|of_address| family == Some(of_address));
    (matches!(net, "IN" | "$") && agrees && fields.next().is_none()).then_some((family, address))
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
    if !(named("-") || named("$") || named("message") || named("application")) {
        return Err(Fault::unsupported(515, format!("Unsupported media type: {media}")));
    }
    let transport = match transport.to_ascii_uppercase().as_str() {
        "TCP" | "$" => Transport::Transparent,
        "TCP/TLS" => Transport::Tls,
        "TCP/BFCP" => Transport::Bfcp,
        "TCP/MSRP" => Transport::Msrp,
        "TCP/TLS/BFCP" => Transport::TlsBfcp,
        "TCP/TLS/MSRP" => Transport::TlsMsrp,
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
        let filled = local.filled("[2001:db8:1::10]:30002".parse().unwrap(), None, None);
        let expected = "v=0\nc=IN IP6 2001:db8:1::10\nm=- 30002 TCP/TLS -\na=setup:actpass\na=x:$\n";
        assert_eq!(filled.as_bytes(), expected.as_bytes());
        assert!(!Description::parse(&filled).unwrap().has_choice());
    }

    #[test]
    fn the_certificate_is_chosen_by_the_gateway() {
        let text = "m=message $ TCP/TLS/MSRP *\r\na=fingerprint:SHA-256 $\r\na=x:1\r\n";
        let local = parse(text).unwrap();
        assert!(local.has_choice());
        let pairs = ["AB"; 32].join(":");
        let own = format!("sha-256 {pairs}");
        let filled = local.filled("192.0.2.1:5".parse().unwrap(), None, Some(&own));
        let expected = format!(
            "c=IN IP4 192.0.2.1\r\nm=message 5 TCP/TLS/MSRP *\r\na=fingerprint:SHA-256 {pairs}\r\na=x:1\r\n"
        );
        assert_eq!(filled.as_bytes(), expected.as_bytes());
        let again = Description::parse(&filled).unwrap();
        assert!(!again.has_choice() && again.fingerprints.repeats(&own));
    }

    /// RFC 8122 §5.
    #[test]
    fn fingerprints_of_the_session_hold_where_the_medium_has_none() {
        let (session, medium) = (["AA"; 32].join(":"), ["BB"; 32].join(":"));
        let start = format!("v=0\na=fingerprint:SHA-256 {session}\nm=- 9 TCP/TLS -\n");
        let both = format!("{start}a=fingerprint:SHA-256 {medium}\n");
        let usable = |text: String| Description::parse(&text.into()).unwrap().fingerprints.usable();
        assert_eq!(usable(start), [format!("SHA-256 {session}")]);
        assert_eq!(usable(both), [format!("SHA-256 {medium}")]);
    }

    #[test]
    fn line_ends_stay() {
        let local = parse("v=0\r\nc=IN IP4 $\r\nm=- $ TCP -\r\n").unwrap();
        let filled = local.filled("192.0.2.1:5".parse().unwrap(), None, None);
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
        assert_eq!(code("m=- 9 TCP -\nm=- 9 TCP -\n"), 474);
    }

    #[test]
    fn a_remote_gives_a_socket() {
        let remote = parse("v=0\nc=IN IP4 198.51.100.20\nm=- 2855 TCP/TLS -\n").unwrap();
        assert_eq!(remote.socket(), Some("198.51.100.20:2855".parse().unwrap()));
    }

    #[test]
    fn any_single_field_may_be_chosen() {
        let text = "v=$\no=- $ $ $ $ $\ns=$\nt=$ $\nc=$ $ $\nm=$ $ $ $\na=setup:$\n";
        let local = parse(text).unwrap();
        assert!(local.has_choice());
        let at = "192.0.2.1:5".parse().unwrap();
        let start = "v=0\no=- 0 0 IN IP4 192.0.2.1\ns=-\nt=0 0\nc=IN IP4 192.0.2.1\nm=- 5 TCP -\n";
        for (peer, mine) in [
            (None, "actpass"),
            (Some(Setup::Active), "passive"),
            (Some(Setup::Passive), "active"),
            (Some(Setup::ActPass), "actpass"),
        ] {
            let expected = format!("{start}a=setup:{mine}\n");
            assert_eq!(local.filled(at, peer, None).as_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn an_address_that_was_not_asked_for_is_told_all_the_same() {
        let filled =
            parse("v=0\nm=- $ TCP -\n").unwrap().filled("[2001:db8::1]:5".parse().unwrap(), None, None);
        assert_eq!(filled.as_bytes(), b"v=0\nc=IN IP6 2001:db8::1\nm=- 5 TCP -\n");
    }

    #[test]
    fn groups_are_alternatives() {
        let groups = |text: &'static str| Descriptor::parse(&text.into());
        let two = "v=0\r\nc=IN IP6 $\r\nm=audio $ RTP/AVP 0\r\nv=0\r\nc=IN IP4 $\r\nm=- $ TCP -\r\n";
        let Ok(Descriptor::Groups(groups_of_two)) = groups(two) else { panic!() };
        let [Err(first), Ok(second)] = groups_of_two.as_slice() else { panic!("{groups_of_two:?}") };
        assert_eq!((first.code(), second.family), (515, Some(Family::V4)));
        assert_eq!(second.text().as_bytes(), b"v=0\r\nc=IN IP4 $\r\nm=- $ TCP -\r\n");
        assert_eq!(groups(""), Ok(Descriptor::Empty));
        assert_eq!(groups("v=0\nm=- $ TCP -\nv=0\nc=IN IP4 $\n").unwrap_err().code(), 474);
        let many: &'static str = "v=0\nm=- 9 TCP -\n".repeat(17).leak();
        assert_eq!(groups(many).unwrap_err().code(), 510);
    }
}
