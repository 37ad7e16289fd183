//! Session descriptions: ours as printed, the peer's as far as we act on it.
//!
//! RFC 3264 (offer and answer), RFC 4975 §8 and RFC 6135 (message lines), RFC 6714 (CEMA),
//! RFC 4145 (`setup`), RFC 4567 §3 (`key-mgmt`, at media level). Left out: more than one message
//! line a call, and every line that is not a message line (answered with port 0).

use std::net::SocketAddr;

use bytes::Bytes;
use carnet_msrp::cema::{Facts, OnAnswer, OnOffer, Target};
use carnet_msrp::connection::Role;
use carnet_msrp::{Uri, parse_path};
use carnet_sdp::{Direction, Document, Media as Line, MediaBuilder, SessionBuilder, Setup};
use carnet_seal::{Half, Refusal as KeyRefusal};

use crate::file::{FileOffer, Side};
use crate::media::{Remote, TcpRole};
use crate::refusal::Refusal;

/// The transport of a sealed line (RFC 4975 §8, TS 24.229).
pub(crate) const SEALED: &str = "TCP/TLS/MSRP";
/// The transport of a line in clear.
pub(crate) const CLEAR: &str = "TCP/MSRP";
/// RFC 4145 §4.1: the port of a side that only connects.
const DISCARD: u16 = 9;

/// Our side of the session description.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) session_id: u64,
    /// Grows when the description changes (RFC 3264 §8).
    pub(crate) version: u64,
    pub(crate) local: SocketAddr,
    pub(crate) path: String,
    pub(crate) sealed: bool,
    pub(crate) setup: Setup,
    /// The value of `a=key-mgmt`.
    pub(crate) key_mgmt: Option<String>,
    pub(crate) cema: bool,
    pub(crate) accept_types: String,
    pub(crate) max_size: Option<u64>,
    /// The file, and what we do with it.
    pub(crate) file: Option<(FileOffer, Side)>,
}

impl Own {
    fn transport(&self) -> &'static str {
        if self.sealed { SEALED } else { CLEAR }
    }

    fn line(&self) -> Result<MediaBuilder, Refusal> {
        // RFC 6135 §4.2, RFC 4145 §4.1
        let port = if self.setup == Setup::Active { DISCARD } else { self.local.port() };
        let mut line = MediaBuilder::new("message", port, self.transport(), "*")
            .attribute("accept-types", &self.accept_types)
            .attribute("path", &self.path)
            .setup(self.setup);
        if let Some(size) = self.max_size {
            line = line.attribute("max-size", &size.to_string());
        }
        if self.cema {
            line = line.flag("msrp-cema");
        }
        if let Some((file, side)) = &self.file {
            line = file.describe(line, *side)?;
        }
        if let Some(value) = &self.key_mgmt {
            line = line.attribute("key-mgmt", value);
        }
        Ok(line)
    }

    /// The offer.
    pub(crate) fn offer(&self) -> Result<Bytes, Refusal> {
        let session = SessionBuilder::new(self.session_id, self.version, self.local.ip());
        print(session.media(self.line()?))
    }

    /// The answer: our line in the place of the one at `index`, every other line refused
    /// (RFC 3264 §6).
    pub(crate) fn answer(&self, offer: &Document, index: usize) -> Result<Bytes, Refusal> {
        let mut session = SessionBuilder::new(self.session_id, self.version, self.local.ip());
        for line in offer.media() {
            let answer = if line.index() == index { self.line()? } else { MediaBuilder::rejecting(&line) };
            session = session.media(answer);
        }
        print(session)
    }

    /// The answer to another offer of `peer`. The connection stays as it is, so where the offer
    /// leaves it to us who connects we are the one we are: `actpass` cannot answer (RFC 4145 §4.1).
    pub(crate) fn answer_again(
        &self,
        offer: &Document,
        peer: &Peer,
        role: TcpRole,
    ) -> Result<Bytes, Refusal> {
        let setup = peer.setup_for_answer(role)?;
        Self { setup, ..self.clone() }.answer(offer, peer.index)
    }
}

fn print(session: SessionBuilder) -> Result<Bytes, Refusal> {
    Ok(session.build()?.to_bytes())
}

/// The peer's message line.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) index: usize,
    pub(crate) sealed: bool,
    pub(crate) setup: Option<Setup>,
    pub(crate) cema: bool,
    pub(crate) path: String,
    /// The values of `a=key-mgmt`, protocol and data, in order.
    pub(crate) key_mgmt: Vec<(String, String)>,
    pub(crate) accept_types: Vec<String>,
    pub(crate) max_size: Option<u64>,
    pub(crate) file: Option<FileOffer>,
    pub(crate) direction: Direction,
    /// The address or name of `c=`, and the port of the line.
    host: String,
    port: u16,
    /// The first URI of the path.
    next_hop: Uri,
}

/// The first line of an offer that this client can take part in.
///
/// A sealed line is preferred to one in clear, wherever they stand: the order is not a statement
/// about security.
pub(crate) fn read_offer(offer: &Document, allow_clear: bool) -> Result<Peer, Refusal> {
    let live = || offer.media().filter(|line| line.media() == "message" && !line.is_rejected());
    let of = |transport: &str| live().find(|line| line.proto().eq_ignore_ascii_case(transport));
    if let Some(line) = of(SEALED) {
        let peer = Peer::read(&line, true)?;
        if peer.key_mgmt.is_empty() {
            return Err(Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
        }
        return Ok(peer);
    }
    match of(CLEAR) {
        Some(line) if allow_clear => Peer::read(&line, false),
        Some(_) => Err(Refusal::Keys(KeyRefusal::Unsealed(Half::Offer))),
        None => Err(Refusal::NoMedia),
    }
}

/// The answer to `own`, which has one line.
pub(crate) fn read_answer(answer: &Document, own: &Own) -> Result<Peer, Refusal> {
    // RFC 3264 §6: as many lines as were offered, in that order.
    let line = answer.media_at(0).ok_or(Refusal::NoMedia)?;
    if line.is_rejected() {
        return Err(Refusal::Declined);
    }
    // RFC 4975 §8: the transport of the answer is the one of the offer.
    if line.media() != "message" || !line.proto().eq_ignore_ascii_case(own.transport()) {
        return Err(Refusal::TransportChanged {
            offered: own.transport().to_owned(),
            answered: line.proto().to_owned(),
        });
    }
    let peer = Peer::read(&line, own.sealed)?;
    if own.sealed && peer.key_mgmt.is_empty() {
        return Err(Refusal::Keys(KeyRefusal::Unsealed(Half::Answer)));
    }
    Ok(peer)
}

impl Peer {
    fn read(line: &Line<'_>, sealed: bool) -> Result<Self, Refusal> {
        let path = line.path().ok_or_else(|| Refusal::Malformed("a message line without a path".into()))?;
        let next_hop = next_hop(path, sealed)
            .ok_or_else(|| Refusal::Malformed("a path that is not an MSRP URI of the line's kind".into()))?;
        let connection = line
            .connection()
            .ok_or_else(|| Refusal::Malformed("a message line without an address".into()))?;
        Ok(Self {
            index: line.index(),
            sealed,
            // RFC 6135 §4.2.1: `holdconn` says nothing about an MSRP session.
            setup: line.setup().filter(|setup| *setup != Setup::HoldConn),
            cema: line.msrp_cema(),
            path: path.to_owned(),
            key_mgmt: line
                .key_mgmt()
                .iter()
                .map(|value| (value.protocol.to_owned(), value.data.to_owned()))
                .collect(),
            accept_types: line.accept_types().map(str::to_owned).collect(),
            max_size: line.attribute("max-size").and_then(|value| value.text()?.parse().ok()),
            file: FileOffer::read(line)?,
            direction: line.direction(),
            host: connection.host.to_string(),
            port: line.port().unwrap_or_default(),
            next_hop,
        })
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
            // RFC 4975 §5.4: without the attribute the offerer connects.
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
        match self.facts().on_offer() {
            OnOffer::Answer { target, .. } => Ok(target.into()),
            OnOffer::Refuse => Err(Refusal::PathMismatch),
        }
    }

    /// What the peer's answer to an offer with or without `cema` means (RFC 6714 §4.2).
    pub(crate) fn on_answer(&self, ours: TcpRole, cema: bool) -> OnAnswer {
        let role = match ours {
            TcpRole::Active => Role::Active,
            TcpRole::Passive => Role::Passive,
        };
        if cema { self.facts().on_answer(role) } else { self.facts().by_path(role) }
    }

    fn facts(&self) -> Facts<'_> {
        Facts { cema: self.cema, path: &self.next_hop, host: &self.host, port: self.port }
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
