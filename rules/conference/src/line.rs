//! Media lines: ours as they are written, the peer's as far as we act on them.
//!
//! RFC 3264 (offer and answer), RFC 4975 §8, RFC 6135 and RFC 6714 (message lines), RFC 7701 §8
//! (`chatroom`), RFC 8856 (floor control), RFC 4145 (`setup`), RFC 4567 §3 (`key-mgmt`). A member has at
//! most one line of each kind; every other line of an offer is answered with port 0.

use std::net::SocketAddr;

use bytes::Bytes;
use carnet_h248::TerminationId;
use carnet_msrp::cema::{Facts, OnAnswer, OnOffer, Target};
use carnet_msrp::connection::Role;
use carnet_msrp::parse_path;
use carnet_sdp::{
    Direction, Document, FloorControl, FloorId, Media, MediaBuilder, Reuse, SessionBuilder, Setup,
};

use crate::config::{Policy, Unsealed};
use crate::fault::Fault;

/// RFC 4574: how floors name our message line.
pub(crate) const LABEL: &str = "messages";
/// RFC 4145 §4.1: the port of a side that only connects.
const DISCARD: u16 = 9;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `m=message`: MSRP.
    Messages,
    /// `m=application`: BFCP.
    Floors,
}

impl Kind {
    pub(crate) fn media(self) -> &'static str {
        match self {
            Self::Messages => "message",
            Self::Floors => "application",
        }
    }

    pub(crate) fn transport(self, sealed: bool) -> &'static str {
        match (self, sealed) {
            (Self::Messages, true) => "TCP/TLS/MSRP",
            (Self::Messages, false) => "TCP/MSRP",
            (Self::Floors, true) => "TCP/TLS/BFCP",
            (Self::Floors, false) => "TCP/BFCP",
        }
    }
}

/// One of our lines.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    /// Position among the media lines of the description.
    pub(crate) index: usize,
    pub(crate) sealed: bool,
    /// Our `a=setup`.
    pub(crate) setup: Setup,
    /// Whether we speak TLS first; it does not change while the connection lives.
    pub(crate) tls_client: bool,
    /// RFC 6714: the attribute answers the attribute.
    pub(crate) cema: bool,
    /// The session identifier in our MSRP path.
    pub(crate) session: String,
    /// On the media server, once it is there.
    pub(crate) termination: Option<TerminationId>,
    pub(crate) local: Option<SocketAddr>,
    /// Our `a=path`, filled in by the media server.
    pub(crate) path: Option<String>,
    /// The value of our `a=key-mgmt`.
    pub(crate) key_mgmt: Option<String>,
    pub(crate) peer: Option<Peer>,
    /// TLS version and suite, once the connection is there.
    pub(crate) with: Option<String>,
}

/// A line of the peer.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) index: usize,
    pub(crate) kind: Kind,
    pub(crate) sealed: bool,
    pub(crate) setup: Option<Setup>,
    pub(crate) cema: bool,
    pub(crate) path: String,
    pub(crate) accept_types: String,
    pub(crate) max_size: Option<u64>,
    /// The values of `a=key-mgmt`, protocol and data, in order.
    pub(crate) key_mgmt: Vec<(String, String)>,
    pub(crate) direction: Direction,
    /// Where it is reached, as H.248 is told: address or name, and port.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What a conference puts on every line of its own.
pub(crate) struct House<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) confid: u32,
    pub(crate) user: u16,
}

impl Line {
    /// A line that answers `peer`.
    pub(crate) fn answering(peer: Peer, session: String) -> Result<Self, Fault> {
        let setup = peer.setup_for_answer()?;
        let tls_client = match peer.kind {
            // RFC 8122 §6.2, RFC 6135 §4: the active side.
            Kind::Messages => setup == Setup::Active,
            // RFC 8856 §8: the offerer, whatever the direction of TCP.
            Kind::Floors => false,
        };
        Ok(Self {
            kind: peer.kind,
            index: peer.index,
            sealed: peer.sealed,
            setup,
            tls_client,
            cema: peer.cema,
            session,
            termination: None,
            local: None,
            path: None,
            key_mgmt: None,
            peer: Some(peer),
            with: None,
        })
    }

    /// A line that is offered.
    pub(crate) fn offering(kind: Kind, index: usize, sealed: bool, session: String) -> Self {
        Self {
            kind,
            index,
            sealed,
            setup: Setup::ActPass,
            tls_client: kind == Kind::Floors,
            cema: kind == Kind::Messages,
            session,
            termination: None,
            local: None,
            path: None,
            key_mgmt: None,
            peer: None,
            with: None,
        }
    }

    pub(crate) fn transport(&self) -> &'static str {
        self.kind.transport(self.sealed)
    }

    fn describe(&self, house: &House<'_>) -> Option<MediaBuilder> {
        let local = self.local?;
        // RFC 6135 §4.2, RFC 4145 §4.1
        let port = if self.setup == Setup::Active { DISCARD } else { local.port() };
        let mut line = MediaBuilder::new(self.kind.media(), port, self.transport(), "*")
            .connection(local.ip())
            .setup(self.setup);
        match self.kind {
            Kind::Messages => {
                line = line
                    .attribute("path", self.path.as_deref()?)
                    // RFC 7701 §5.1: everything goes in message/cpim; what is in it is the members' matter.
                    .attribute("accept-types", "message/cpim")
                    .attribute("accept-wrapped-types", "*")
                    .chatroom(house.policy.nicknames, house.policy.private)
                    .label(LABEL);
                if house.policy.max_message != 0 {
                    line = line.attribute("max-size", &house.policy.max_message.to_string());
                }
                if self.cema {
                    line = line.flag("msrp-cema");
                }
            }
            Kind::Floors => {
                line = line
                    .reuse(Reuse::New)
                    .floor_control(FloorControl::SERVER)
                    .conference_id(house.confid)
                    .user_id(house.user)
                    .attribute("bfcpver", "1");
                for floor in &house.policy.floors {
                    let streams = if floor.messages { vec![LABEL] } else { Vec::new() };
                    line = line.floor_id(&FloorId { floor: floor.id, streams });
                }
            }
        }
        if let Some(value) = &self.key_mgmt {
            line = line.attribute("key-mgmt", value);
        }
        Some(line)
    }

    /// Takes the answer to it in.
    pub(crate) fn answered(&mut self, peer: Peer) -> Result<(), Fault> {
        // RFC 4145 §4.1: passive is the default of an answer.
        self.setup = match (self.setup, peer.setup.unwrap_or(Setup::Passive)) {
            (Setup::Active | Setup::ActPass, Setup::Passive) => Setup::Active,
            (Setup::Passive | Setup::ActPass, Setup::Active) => Setup::Passive,
            _ => return Err(Fault::new(488, "Connection setup not possible")),
        };
        if self.kind == Kind::Messages {
            self.tls_client = self.setup == Setup::Active;
        }
        self.peer = Some(peer);
        Ok(())
    }
}

/// Our description: an offer, or the answer to `offer`, whose other lines are refused.
pub(crate) fn describe(
    lines: &[Line],
    house: &House<'_>,
    (session_id, version): (u64, u64),
    offer: Option<&Document>,
) -> Result<Bytes, Fault> {
    let not_yet = || Fault::new(500, "A line without an address");
    let address = lines.iter().find_map(|line| line.local).ok_or_else(not_yet)?.ip();
    let mut session = SessionBuilder::new(session_id, version, address);
    match offer {
        Some(offer) => {
            for media in offer.media() {
                let ours = lines.iter().find(|line| line.index == media.index());
                session = session.media(match ours {
                    Some(line) if !media.is_rejected() => line.describe(house).ok_or_else(not_yet)?,
                    _ => MediaBuilder::rejecting(&media),
                });
            }
        }
        None => {
            for line in lines {
                session = session.media(line.describe(house).ok_or_else(not_yet)?);
            }
        }
    }
    Ok(session.build()?.to_bytes())
}

/// The lines of an offer that a member of this room may have.
///
/// A sealed line is preferred to one in clear, wherever they stand: the order is not a statement about
/// security.
pub(crate) fn read_offer(offer: &Document, policy: &Policy) -> Result<Vec<Peer>, Fault> {
    let mut peers = Vec::new();
    for kind in [Kind::Messages, Kind::Floors] {
        if kind == Kind::Floors && policy.floors.is_empty() {
            continue;
        }
        let of = |sealed: bool| {
            offer.media().find(|line| {
                line.media() == kind.media()
                    && !line.is_rejected()
                    && line.proto().eq_ignore_ascii_case(kind.transport(sealed))
                    // RFC 8856 §5.1: we are the server; one who wants to be it finds nobody here.
                    && (kind == Kind::Messages || line.floor_control().is_none_or(|control| control.client))
            })
        };
        match (of(true), of(false)) {
            (Some(line), _) => {
                let peer = Peer::read(&line, kind, true)?;
                // TLS without keys from the key server is not end to end here: there is no certificate.
                if peer.key_mgmt.is_empty() {
                    return Err(Fault::unsealed());
                }
                peers.push(peer);
            }
            (None, Some(_)) if policy.unsealed == Unsealed::Refuse => return Err(Fault::unsealed()),
            (None, Some(line)) => peers.push(Peer::read(&line, kind, false)?),
            (None, None) => {}
        }
    }
    if peers.is_empty() {
        return Err(Fault { warning: Some(304), ..Fault::new(488, "Media type not available") });
    }
    Ok(peers)
}

impl Peer {
    pub(crate) fn read(line: &Media<'_>, kind: Kind, sealed: bool) -> Result<Self, Fault> {
        let unreadable = |what: &str| Fault::new(488, what.to_owned());
        let connection = line.connection().ok_or_else(|| unreadable("A line without an address"))?;
        let (mut path, mut host, mut port) =
            (String::new(), connection.host.to_string(), line.port().unwrap_or_default());
        if kind == Kind::Messages {
            path = line.path().ok_or_else(|| unreadable("A message line without a path"))?.to_owned();
            let next = parse_path(path.as_bytes()).ok().and_then(|all| all.into_iter().next());
            let next = next
                .filter(|uri| uri.is_secure() == sealed)
                .ok_or_else(|| unreadable("A path that is not of the line's kind"))?;
            let facts = Facts { cema: line.msrp_cema(), path: &next, host: &host, port };
            // RFC 6714 §4.3
            match facts.on_offer() {
                OnOffer::Answer { target, .. } => {
                    let Target { host: at, port: number } = target;
                    (host, port) = (at, number);
                }
                OnOffer::Refuse => return Err(unreadable("MSRP path does not match and no CEMA")),
            }
        }
        Ok(Self {
            index: line.index(),
            kind,
            sealed,
            // RFC 6135 §4.2.1: `holdconn` says nothing about an MSRP session.
            setup: line.setup().filter(|setup| *setup != Setup::HoldConn),
            cema: line.msrp_cema(),
            path,
            accept_types: line.accept_types().collect::<Vec<_>>().join(" "),
            // RFC 4975 §8.6; nothing could be sent to who takes nothing.
            max_size: line
                .attribute("max-size")
                .and_then(|value| value.text()?.parse().ok())
                .filter(|size| (1..=i64::MAX.unsigned_abs()).contains(size)),
            key_mgmt: line
                .key_mgmt()
                .iter()
                .map(|value| (value.protocol.to_owned(), value.data.to_owned()))
                .collect(),
            direction: line.direction(),
            host,
            port,
        })
    }

    /// The answer to `ours`, if its line is taken.
    pub(crate) fn of_answer(answer: &Document, ours: &Line) -> Result<Option<Self>, Fault> {
        // RFC 3264 §6: as many lines as were offered, in that order.
        let Some(line) = answer.media_at(ours.index).filter(|line| !line.is_rejected()) else {
            return Ok(None);
        };
        // RFC 4975 §8: the transport of the answer is the one of the offer.
        if line.media() != ours.kind.media() || !line.proto().eq_ignore_ascii_case(ours.transport()) {
            return Err(Fault { warning: Some(302), ..Fault::new(488, "Incompatible transport protocol") });
        }
        let peer = Self::read(&line, ours.kind, ours.sealed)?;
        if ours.sealed && peer.key_mgmt.is_empty() {
            return Err(carnet_seal::Refusal::Unsealed(carnet_seal::Half::Answer).into());
        }
        Ok(Some(peer))
    }

    /// The key management protocols offered, in order (RFC 4567 §3: the SDP IDs).
    pub(crate) fn protocols(&self) -> String {
        let names: Vec<&str> = self.key_mgmt.iter().map(|(protocol, _)| protocol.as_str()).collect();
        names.join(";")
    }

    /// The data of `a=key-mgmt:mikey`.
    pub(crate) fn mikey(&self) -> Option<&str> {
        self.key_mgmt.iter().find(|(protocol, _)| protocol == "mikey").map(|(_, data)| data.as_str())
    }

    /// What we answer to the peer's `setup`: the media server is where everybody reaches it, so it waits
    /// unless it is asked to come (RFC 4145 §4.1, RFC 6135 §4.2).
    fn setup_for_answer(&self) -> Result<Setup, Fault> {
        match self.setup {
            // RFC 4975 §5.4: without the attribute the offerer connects.
            None | Some(Setup::Active | Setup::ActPass) => Ok(Setup::Passive),
            Some(Setup::Passive) => Ok(Setup::Active),
            Some(_) => Err(Fault::new(488, "Connection setup not possible")),
        }
    }

    /// Whether an answer to a line of ours leads somewhere without a second offer (RFC 6714 §4.2).
    pub(crate) fn is_reachable(&self, line: &Line) -> bool {
        if self.kind == Kind::Floors || line.setup == Setup::Passive {
            return true;
        }
        let Some(next) = parse_path(self.path.as_bytes()).ok().and_then(|all| all.into_iter().next()) else {
            return false;
        };
        let facts = Facts { cema: self.cema, path: &next, host: &self.host, port: self.port };
        !matches!(facts.on_answer(Role::Active), OnAnswer::OfferWithout)
    }
}
