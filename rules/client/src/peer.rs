//! The peer's session descriptions, as far as we act on them.
//!
//! RFC 3264 §6 and §8, RFC 4975 §8, RFC 6135, RFC 6714, RFC 8856 §10, RFC 4145, RFC 4567 §3. A line of a
//! call is `None` where the peer does not have it.

use std::net::SocketAddr;

use carnet_msrp::cema::{Facts, OnAnswer, OnOffer, Target};
use carnet_msrp::connection::Role;
use carnet_msrp::{Uri, parse_path};
use carnet_sdp::{Direction, Document, FloorControl, Media as Line, Setup};
use carnet_seal::{Half, Refusal as KeyRefusal};

use crate::conference::ControlledFloor;
use crate::description::{Kind, Own};
use crate::file::FileOffer;
use crate::media::{Remote, TcpRole};
use crate::refusal::Refusal;

/// Floors of one line that are taken note of. A focus that lists more has the rest unnamed.
const FLOORS: usize = 64;

/// A line of the peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerLine {
    pub(crate) index: usize,
    pub(crate) sealed: bool,
    pub(crate) setup: Option<Setup>,
    /// The values of `a=key-mgmt`, protocol and data, in order.
    pub(crate) key_mgmt: Vec<(String, String)>,
    /// The address or name of `c=`, and the port of the line.
    host: String,
    port: u16,
    pub(crate) content: PeerContent,
}

/// What belongs to the kind of line.
#[derive(Debug, Clone)]
pub(crate) enum PeerContent {
    Messages(Box<PeerMessages>),
    Floors(PeerFloors),
}

/// A message line.
#[derive(Debug, Clone)]
pub(crate) struct PeerMessages {
    pub(crate) cema: bool,
    /// Whether the peer can take its TLS role from the key exchange.
    pub(crate) by_mikey: bool,
    pub(crate) path: String,
    /// The first URI of the path.
    next_hop: Uri,
    pub(crate) accept_types: Vec<String>,
    pub(crate) max_size: Option<u64>,
    pub(crate) file: Option<FileOffer>,
    pub(crate) direction: Direction,
    /// `a=chatroom`: whether nicknames and private messages can be had.
    pub(crate) room: Option<(bool, bool)>,
}

/// A floor control line whose server is the peer.
#[derive(Debug, Clone)]
pub(crate) struct PeerFloors {
    pub(crate) conference: u32,
    pub(crate) user: u16,
    pub(crate) floors: Vec<ControlledFloor>,
}

/// The lines of an offer that this client can take part in, the message line first. `conference` says
/// whether floor control is of any use.
///
/// A sealed line is preferred to one in clear, wherever they stand: the order is not a statement
/// about security. All lines that are taken are sealed, or none is.
pub(crate) fn read_offer(
    offer: &Document,
    allow_clear: bool,
    conference: bool,
) -> Result<Vec<PeerLine>, Refusal> {
    let find = |kind: Kind, sealed: bool| {
        offer.media().find(|line| {
            line.media() == kind.media()
                && !line.is_rejected()
                && line.proto().eq_ignore_ascii_case(kind.transport(sealed))
        })
    };
    for sealed in [true, false] {
        let messages = find(Kind::Messages, sealed);
        let floors = if conference { find(Kind::Floors, sealed) } else { None };
        let found: Vec<_> = [(Kind::Messages, messages), (Kind::Floors, floors)]
            .into_iter()
            .filter_map(|(kind, line)| Some((kind, line?)))
            .collect();
        if found.is_empty() {
            continue;
        }
        if !sealed && !allow_clear {
            return Err(KeyRefusal::Unsealed(Half::Offer).into());
        }
        return found.iter().map(|(kind, line)| PeerLine::read(line, *kind, sealed, Half::Offer)).collect();
    }
    Err(Refusal::NoMedia)
}

/// Another offer inside a call: the lines of `own`, in their places.
pub(crate) fn read_again(offer: &Document, own: &Own) -> Result<Vec<Option<PeerLine>>, Refusal> {
    read_lines(offer, own, Half::Offer)
}

/// The answer to `own`. Floor control may be declined; what the call is for may not.
pub(crate) fn read_answer(answer: &Document, own: &Own) -> Result<Vec<Option<PeerLine>>, Refusal> {
    read_lines(answer, own, Half::Answer)
}

fn read_lines(document: &Document, own: &Own, half: Half) -> Result<Vec<Option<PeerLine>>, Refusal> {
    let mut lines = Vec::with_capacity(own.lines.len());
    for (at, line) in own.lines.iter().enumerate() {
        // RFC 3264 §6: as many lines as were offered, in that order.
        let theirs = document.media_at(line.index).ok_or(Refusal::NoMedia)?;
        let kind = line.kind();
        if !line.live {
            lines.push(None);
            continue;
        }
        if theirs.is_rejected() {
            if at == 0 {
                return Err(Refusal::Declined);
            }
            lines.push(None);
            continue;
        }
        // RFC 4975 §8: the transport of the answer is the one of the offer.
        let transport = kind.transport(own.sealed);
        if theirs.media() != kind.media() || !theirs.proto().eq_ignore_ascii_case(transport) {
            return Err(match half {
                Half::Answer => Refusal::TransportChanged {
                    offered: transport.to_owned(),
                    answered: theirs.proto().to_owned(),
                },
                Half::Offer if own.sealed => KeyRefusal::Unsealed(Half::Offer).into(),
                Half::Offer => Refusal::NoMedia,
            });
        }
        lines.push(Some(PeerLine::read(&theirs, kind, own.sealed, half)?));
    }
    Ok(lines)
}

impl PeerLine {
    fn read(line: &Line<'_>, kind: Kind, sealed: bool, half: Half) -> Result<Self, Refusal> {
        let content = match kind {
            Kind::Messages => PeerContent::Messages(Box::new(PeerMessages::read(line, sealed)?)),
            Kind::Floors => PeerContent::Floors(PeerFloors::read(line, half)?),
        };
        let connection = line.connection().ok_or_else(|| {
            Refusal::Malformed(format!("a line of kind {} without an address", kind.media()))
        })?;
        let peer = Self {
            index: line.index(),
            sealed,
            // RFC 6135 §4.2.1: `holdconn` says nothing about an MSRP session.
            setup: line.setup().filter(|setup| *setup != Setup::HoldConn),
            key_mgmt: line
                .key_mgmt()
                .iter()
                .map(|value| (value.protocol.to_owned(), value.data.to_owned()))
                .collect(),
            host: connection.host.to_string(),
            port: line.port().unwrap_or_default(),
            content,
        };
        if sealed && peer.key_mgmt.is_empty() {
            return Err(KeyRefusal::Unsealed(half).into());
        }
        Ok(peer)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.content {
            PeerContent::Messages(_) => Kind::Messages,
            PeerContent::Floors(_) => Kind::Floors,
        }
    }

    /// The message line, if it is one.
    pub(crate) fn messages(&self) -> Option<&PeerMessages> {
        match &self.content {
            PeerContent::Messages(messages) => Some(messages),
            PeerContent::Floors(_) => None,
        }
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

    /// What we answer to the peer's `setup`.
    ///
    /// RFC 4145 §4.1, RFC 6135 §4.2. `prefer` decides where the offer leaves the choice to us.
    pub(crate) fn setup_for_answer(&self, prefer: TcpRole) -> Result<Setup, Refusal> {
        match self.setup {
            // RFC 4975 §5.4, RFC 4145 §4.1: without the attribute the offerer connects.
            None | Some(Setup::Active) => Ok(Setup::Passive),
            Some(Setup::Passive) => Ok(Setup::Active),
            Some(Setup::ActPass) => Ok(match prefer {
                TcpRole::Active => Setup::Active,
                TcpRole::Passive => Setup::Passive,
            }),
            Some(_) => Err(Refusal::Setup),
        }
    }

    /// Our part after the peer answered our `setup`.
    pub(crate) fn role_after_answer(&self, offered: Setup) -> Result<TcpRole, Refusal> {
        // RFC 4145 §4.1: passive is the default of an answer.
        match (offered, self.setup.unwrap_or(Setup::Passive)) {
            (Setup::Active | Setup::ActPass, Setup::Passive) => Ok(TcpRole::Active),
            (Setup::Passive | Setup::ActPass, Setup::Active) => Ok(TcpRole::Passive),
            _ => Err(Refusal::Setup),
        }
    }

    /// Where the peer is to be reached, or a refusal if its offer leads past somebody in between who
    /// cannot serve this session (RFC 6714 §4.3).
    pub(crate) fn on_offer(&self) -> Result<Remote, Refusal> {
        match &self.content {
            PeerContent::Floors(_) => Ok(self.line()),
            PeerContent::Messages(messages) => match self.facts(messages).on_offer() {
                OnOffer::Answer { target, .. } => Ok(target.into()),
                OnOffer::Refuse => Err(Refusal::PathMismatch),
            },
        }
    }

    /// What the peer's answer to an offer with or without `cema` means (RFC 6714 §4.2).
    pub(crate) fn on_answer(&self, ours: TcpRole, cema: bool) -> Reach {
        match &self.content {
            PeerContent::Floors(_) if ours == TcpRole::Active => Reach::Connect(self.line()),
            PeerContent::Floors(_) => Reach::Listen,
            PeerContent::Messages(messages) => {
                let role = match ours {
                    TcpRole::Active => Role::Active,
                    TcpRole::Passive => Role::Passive,
                };
                let facts = self.facts(messages);
                match if cema { facts.on_answer(role) } else { facts.by_path(role) } {
                    OnAnswer::Connect(target) => Reach::Connect(target.into()),
                    OnAnswer::Listen => Reach::Listen,
                    OnAnswer::OfferWithout => Reach::OfferWithout,
                }
            }
        }
    }

    /// The address of the line itself.
    fn line(&self) -> Remote {
        let host = self.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Target { host, port: self.port }.into()
    }

    fn facts<'a>(&'a self, messages: &'a PeerMessages) -> Facts<'a> {
        Facts { cema: messages.cema, path: &messages.next_hop, host: &self.host, port: self.port }
    }
}

/// What an answer means for the connection of a line.
pub(crate) enum Reach {
    Connect(Remote),
    Listen,
    /// Offer again, without CEMA.
    OfferWithout,
}

impl PeerMessages {
    fn read(line: &Line<'_>, sealed: bool) -> Result<Self, Refusal> {
        let path = line.path().ok_or_else(|| Refusal::Malformed("a message line without a path".into()))?;
        let next_hop = next_hop(path, sealed)
            .ok_or_else(|| Refusal::Malformed("a path that is not an MSRP URI of the line's kind".into()))?;
        Ok(Self {
            cema: line.msrp_cema(),
            by_mikey: line.tls_role_by_mikey(),
            path: path.to_owned(),
            next_hop,
            accept_types: line.accept_types().map(str::to_owned).collect(),
            max_size: line.attribute("max-size").and_then(|value| value.text()?.parse().ok()),
            file: FileOffer::read(line)?,
            direction: line.direction(),
            room: line.chatroom().map(|room| (room.nickname(), room.private_messages())),
        })
    }
}

impl PeerFloors {
    fn read(line: &Line<'_>, half: Half) -> Result<Self, Refusal> {
        // RFC 8856 §5.1, Table 1; without the attribute the offerer is the client.
        let default = match half {
            Half::Offer => FloorControl::CLIENT,
            Half::Answer => FloorControl::SERVER,
        };
        if !line.floor_control().unwrap_or(default).server {
            return Err(Refusal::Malformed("a floor control line whose server is not the conference".into()));
        }
        let missing = |what: &str| Refusal::Malformed(format!("a floor control line without {what}"));
        Ok(Self {
            conference: line.conference_id().ok_or_else(|| missing("a conference id"))?,
            user: line.user_id().ok_or_else(|| missing("a user id"))?,
            floors: line
                .floor_ids()
                .take(FLOORS)
                .map(|floor| ControlledFloor {
                    floor: floor.floor,
                    streams: floor.streams.into_iter().map(str::to_owned).collect(),
                })
                .collect(),
        })
    }
}

/// The first URI of a path (RFC 4975 §6): the next hop towards the peer.
fn next_hop(path: &str, sealed: bool) -> Option<Uri> {
    parse_path(path.as_bytes()).ok()?.into_iter().next().filter(|uri| uri.is_secure() == sealed)
}

impl From<Target> for Remote {
    fn from(target: Target) -> Self {
        match target.host.parse() {
            Ok(ip) => Self::Address(SocketAddr::new(ip, target.port)),
            Err(_) => Self::Name(target.host, target.port),
        }
    }
}
