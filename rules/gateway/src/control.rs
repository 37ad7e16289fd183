//! From LocalControl, Local and Remote to what the media engine is told.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use carnet_h248::{LocalControl, ParameterValue, StreamMode, Value};

use crate::Function;
use crate::description::{Description, Setup};
use crate::error::Fault;
use crate::media::{Direction, Gate, Rate, Role, Settings, SourceFilter};
use crate::member::Member;
use crate::package::{Kind, check};
use crate::plan::Here;

/// A LocalControl descriptor, understood. A new one replaces the old one whole (RFC 3525 §7.1.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Control {
    pub(crate) gate: Gate,
    pub(crate) realm: Option<String>,
    source: Source,
    filter_address: bool,
    network: Option<(IpAddr, u8)>,
    filter_port: bool,
    ports: Option<(u16, u16)>,
    rate: Option<Rate>,
    dscp: Option<u8>,
    /// In a conference. Others have nothing in it.
    pub(crate) member: Member,
}

/// Where connections that the gateway opens are to come from (`gm/esas` to `gm/lsp`). The media engine
/// opens all of them from the address and port where it waits for others, and from nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Source {
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Source {
    fn parse(control: &LocalControl) -> Result<Self, Fault> {
        let missing = |name: &str| Fault::request(472, format!("Required information missing: {name}"));
        let (mut address, mut port) = (None, None);
        if flag(control, "gm/esas")? {
            let given = text(control, "gm/lsa")?.ok_or_else(|| missing("gm/lsa"))?;
            let ip = given.as_str().trim_matches(['[', ']']).parse();
            address = Some(ip.map_err(|_| value("gm/lsa", given))?);
        }
        if flag(control, "gm/esps")? {
            let given = text(control, "gm/lsp")?.ok_or_else(|| missing("gm/lsp"))?;
            let number = given.as_u64().and_then(|number| u16::try_from(number).ok());
            port = Some(number.ok_or_else(|| value("gm/lsp", given))?);
        }
        Ok(Self { address, port })
    }
}

impl Control {
    /// Refuses another source of outgoing connections than the local address.
    pub(crate) fn check_source(&self, local: SocketAddr) -> Result<(), Fault> {
        let other = |name: &str| {
            let what = "another source than the local address and port of the termination";
            Err(Fault::unsupported(501, format!("Not implemented: {name} with {what}")))
        };
        match self.source {
            Source { address: Some(ip), .. } if ip != local.ip() => other("gm/esas"),
            Source { port: Some(port), .. } if port != local.port() => other("gm/esps"),
            _ => Ok(()),
        }
    }

    /// `old`: what held before.
    pub(crate) fn parse(control: &LocalControl, here: &Here, old: Option<&Self>) -> Result<Self, Fault> {
        for property in &control.properties {
            if property.name.package().eq_ignore_ascii_case("crntls") && !here.protected {
                return Err(Fault::request(504, "Keys are not accepted over an unprotected association"));
            }
            check(here.function, Kind::Property, &property.name)?;
        }
        let gate = match control.mode {
            // RFC 3525 §7.1.7: the default.
            None | Some(StreamMode::Inactive) => Gate::Inactive,
            Some(StreamMode::SendOnly) => Gate::SendOnly,
            Some(StreamMode::ReceiveOnly) => Gate::ReceiveOnly,
            Some(StreamMode::SendReceive) => Gate::SendReceive,
            Some(StreamMode::Loopback) => {
                return Err(Fault::unsupported(517, "Unsupported mode: Loopback"));
            }
        };
        Ok(Self {
            gate,
            realm: text(control, "ipdc/realm")?.map(|realm| realm.as_str().to_owned()),
            source: Source::parse(control)?,
            filter_address: flag(control, "gm/saf")?,
            network: text(control, "gm/sam")?
                .map(|v| network(v).ok_or_else(|| value("gm/sam", v)))
                .transpose()?,
            filter_port: flag(control, "gm/spf")?,
            ports: control.property("gm/spr").map(ports).transpose()?,
            rate: rate(control)?,
            dscp: dscp(control)?,
            member: match here.function {
                Function::Relay => Member::default(),
                Function::Conference => Member::parse(control, old.map(|old| &old.member))?,
            },
        })
    }

    /// What the engine is told.
    pub(crate) fn settings(
        &self,
        local: &Description,
        remote: Option<&Description>,
        latch: bool,
        inactivity: Option<(Duration, Direction)>,
    ) -> Settings {
        let role = role(local, remote);
        let hold = local.setup == Some(Setup::HoldConn);
        let target = remote.and_then(Description::socket);
        // Without a mask the address in Remote is the filter, unless that address is to be
        // ignored because the peer is behind a NAT.
        let implied = target.filter(|a| !latch && !a.ip().is_unspecified()).map(|a| (a.ip(), 128));
        let network = self.network.or(implied).filter(|_| self.filter_address);
        // The port of a peer that opens the connection says nothing (RFC 6135 §4.2).
        let peer_opens = remote.is_some_and(|r| r.setup == Some(Setup::Active));
        let implied = target.filter(|_| !latch && !peer_opens).map(|a| (a.port(), a.port()));
        let ports = self.ports.or(implied).filter(|_| self.filter_port);
        Settings {
            endpoint: None,
            edge: None,
            leg: None,
            role,
            // The address of a peer behind a NAT is not where it comes from.
            remote: target.filter(|_| !(peer_opens && latch)),
            peer_opens,
            latch,
            gate: if hold { Gate::Inactive } else { self.gate },
            filter: SourceFilter { network, ports },
            rate: self.rate,
            dscp: self.dscp,
            inactivity,
        }
    }
}

/// `a=setup` in Local is the gateway's own role; in Remote it is the peer's (RFC 4145 §4).
fn role(local: &Description, remote: Option<&Description>) -> Role {
    match local.setup {
        Some(Setup::Active) => Role::Active,
        Some(Setup::Passive) => Role::Passive,
        Some(Setup::ActPass | Setup::HoldConn) => Role::Undecided,
        None => match remote.and_then(|remote| remote.setup) {
            Some(Setup::Active) => Role::Passive,
            Some(Setup::Passive) => Role::Active,
            Some(Setup::ActPass | Setup::HoldConn) => Role::Undecided,
            None => Role::Either,
        },
    }
}

/// Unsupported value, with the value in the text.
pub(crate) fn value(name: &str, value: &Value) -> Fault {
    Fault::request(449, format!("Unsupported value of {name}: {value}"))
}

pub(crate) fn text<'a>(control: &'a LocalControl, name: &str) -> Result<Option<&'a Value>, Fault> {
    match control.property(name) {
        None => Ok(None),
        Some(property) => match property.single() {
            Some(value) => Ok(Some(value)),
            None => Err(Fault::request(449, format!("{name} takes one value"))),
        },
    }
}

fn flag(control: &LocalControl, name: &str) -> Result<bool, Fault> {
    Ok(flag_or(control, name)?.unwrap_or(false))
}

pub(crate) fn flag_or(control: &LocalControl, name: &str) -> Result<Option<bool>, Fault> {
    text(control, name)?.map(|v| v.as_bool().ok_or_else(|| value(name, v))).transpose()
}

pub(crate) fn number(control: &LocalControl, name: &str) -> Result<Option<u64>, Fault> {
    text(control, name)?.map(|v| v.as_u64().ok_or_else(|| value(name, v))).transpose()
}

/// `address/length` or an address alone; IPv6 also in brackets.
fn network(value: &Value) -> Option<(IpAddr, u8)> {
    let (address, length) = match value.as_str().split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (value.as_str(), None),
    };
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(longest);
    (length <= longest).then_some((address, length))
}

/// `[first:last]`, `first-last` or one port.
fn ports(property: &ParameterValue) -> Result<(u16, u16), Fault> {
    let parsed = match property {
        ParameterValue::Range(first, last) => Some((first.as_str(), last.as_str())),
        other => other.single().map(|v| v.as_str()).map(|v| v.split_once('-').unwrap_or((v, v))),
    };
    parsed
        .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)))
        .filter(|(first, last): &(u16, u16)| first <= last)
        .ok_or_else(|| Fault::request(449, "Unsupported value of gm/spr"))
}

/// H.248.53: policing at the sustainable rate if there is one, else at the peak.
fn rate(control: &LocalControl) -> Result<Option<Rate>, Fault> {
    let (sustained, burst) = (number(control, "tman/sdr")?, number(control, "tman/mbs")?);
    let peak = number(control, "tman/pdr")?;
    if !flag(control, "tman/pol")? {
        return Ok(None);
    }
    let Some(octets_per_second) = sustained.or(peak) else {
        return Err(Fault::request(472, "Required information missing: tman/sdr or tman/pdr"));
    };
    if octets_per_second == 0 {
        return Err(Fault::request(449, "Unsupported value of tman/sdr: 0"));
    }
    let burst = burst.unwrap_or(octets_per_second).max(1);
    Ok(Some(Rate { octets_per_second, burst }))
}

/// Hexadecimal without prefix.
fn dscp(control: &LocalControl) -> Result<Option<u8>, Fault> {
    let Some(v) = text(control, "ds/dscp")? else { return Ok(None) };
    match u8::from_str_radix(v.as_str(), 16) {
        Ok(dscp) if dscp < 64 => Ok(Some(dscp)),
        _ => Err(value("ds/dscp", v)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::Stream;

    fn control(stream: Stream) -> Result<Control, Fault> {
        let here = Here { function: Function::Relay, protected: false, most_streams: 1, realms: &[] };
        Control::parse(&stream.local_control.unwrap(), &here, None)
    }

    fn describe(text: &'static str) -> Description {
        Description::parse(&text.into()).unwrap()
    }

    fn settings(stream: Stream, local: &'static str, remote: &'static str) -> Settings {
        let remote = Some(remote).filter(|r| !r.is_empty()).map(describe);
        control(stream).unwrap().settings(&describe(local), remote.as_ref(), false, None)
    }

    const LOCAL: &str = "c=IN IP4 $\nm=- $ TCP/TLS -\na=setup:passive\n";
    const REMOTE: &str = "c=IN IP4 198.51.100.20\nm=- 2855 TCP/TLS -\na=setup:passive\n";
    const ACTIVE_PEER: &str = "c=IN IP4 198.51.100.20\nm=- 9 TCP/TLS -\na=setup:active\n";

    #[test]
    fn filters_come_from_the_mask_or_from_remote() {
        let stream = |s: Stream| s.property("gm/saf", true);
        let mask = stream(Stream::new(1)).property("gm/sam", "198.51.100.0/24");
        let filter = settings(mask, LOCAL, REMOTE).filter;
        assert_eq!(filter.network, Some(("198.51.100.0".parse().unwrap(), 24)));
        let filter = settings(stream(Stream::new(1)), LOCAL, ACTIVE_PEER).filter;
        assert_eq!(filter.network, Some(("198.51.100.20".parse().unwrap(), 128)));
        let off = Stream::new(1).property("gm/sam", "198.51.100.0/24");
        assert_eq!(settings(off, LOCAL, REMOTE).filter, SourceFilter::default());
    }

    #[test]
    fn the_port_of_a_peer_that_opens_is_no_filter() {
        let stream = || Stream::new(1).property("gm/spf", true);
        assert_eq!(settings(stream(), LOCAL, ACTIVE_PEER).filter.ports, None);
        assert_eq!(settings(stream(), LOCAL, REMOTE).filter.ports, Some((2855, 2855)));
        let range = stream().property("gm/spr", "1024-2048");
        assert_eq!(settings(range, LOCAL, ACTIVE_PEER).filter.ports, Some((1024, 2048)));
    }

    #[test]
    fn roles_follow_setup() {
        let role = |local, remote| settings(Stream::new(1).mode(StreamMode::SendReceive), local, remote).role;
        let plain = "c=IN IP4 $\nm=- $ TCP -\n";
        let other = "c=IN IP4 192.0.2.1\nm=- 9 TCP -\n";
        assert_eq!(role(LOCAL, ""), Role::Passive);
        assert_eq!(role("m=- $ TCP -\na=setup:active\n", ""), Role::Active);
        assert_eq!(role("m=- $ TCP -\na=setup:actpass\n", REMOTE), Role::Undecided);
        assert_eq!(role(plain, ACTIVE_PEER), Role::Passive);
        assert_eq!(role(plain, REMOTE), Role::Active);
        assert_eq!(role(plain, other), Role::Either);
    }

    #[test]
    fn holdconn_makes_no_connection() {
        let stream = Stream::new(1).mode(StreamMode::SendReceive);
        let settings = settings(stream, "m=- $ TCP -\na=setup:holdconn\n", REMOTE);
        assert_eq!(settings.gate, Gate::Inactive);
    }

    #[test]
    fn wrong_values_are_refused_with_their_code() {
        let code = |name: &'static str, value: &'static str| {
            control(Stream::new(1).property(name, value)).unwrap_err().code()
        };
        assert_eq!(code("gm/sam", "somewhere/9"), 449);
        assert_eq!(code("gm/sam", "192.0.2.0/33"), 449);
        assert_eq!(code("gm/spr", "9-8"), 449);
        assert_eq!(code("ds/dscp", "40"), 449);
        assert_eq!(code("tman/sdr", "fast"), 449);
        assert_eq!(code("tman/pol", "ON"), 472);
        assert_eq!(code("gm/saf", "perhaps"), 449);
        assert_eq!(code("gm/esas", "ON"), 472);
        assert_eq!(code("gm/esps", "ON"), 472);
        assert_eq!(code("gm/unheard", "x"), 445);
        assert_eq!(code("xyz/p", "x"), 440);
        assert_eq!(code("crntls/psk", "00"), 504);
        let looped = Stream::new(1).mode(StreamMode::Loopback);
        assert_eq!(control(looped).unwrap_err().code(), 517);
    }

    #[test]
    fn dscp_is_hexadecimal_and_policing_has_a_burst() {
        let stream = Stream::new(1)
            .property("ds/dscp", "1A")
            .property("tman/pol", true)
            .property("tman/sdr", 65536u32)
            .property("tman/mbs", 131_072u32);
        let settings = settings(stream, LOCAL, REMOTE);
        assert_eq!(settings.dscp, Some(26));
        assert_eq!(settings.rate, Some(Rate { octets_per_second: 65536, burst: 131_072 }));
    }
}
