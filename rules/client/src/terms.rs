//! What an offer and its answer settle, line by line.

use std::time::SystemTime;

use bytes::Bytes;
use carnet_sdp::{Direction, Document};
use carnet_seal::{Half, Offering, Refusal as KeyRefusal, Seal};

use crate::call::Call;
use crate::conference::FloorMedia;
use crate::core::Core;
use crate::description::{Content, OwnLine};
use crate::event::{CallId, Event};
use crate::media::{Media, Remote, TcpRole, TlsRole};
use crate::peer::{PeerContent, PeerFloors, PeerLine, PeerMessages, Reach, read_answer};
use crate::refusal::Refusal;

/// What the answer to our offer says, with its keys checked. One for each line of ours.
pub(crate) struct Terms(Vec<Option<Term>>);

struct Term {
    peer: PeerLine,
    role: TcpRole,
    seal: Option<Seal>,
}

/// What the driver is to do.
pub(crate) struct Agreed {
    /// The message line: its media, or that the peer is to be asked again without CEMA.
    pub(crate) messages: Option<Result<Box<Media>, Again>>,
    pub(crate) floors: Option<Box<FloorMedia>>,
    /// `a=chatroom` of the peer.
    pub(crate) room: Option<(bool, bool)>,
    pub(crate) max_size: Option<u64>,
    /// Who is on the other end, as the key server vouches for it.
    pub(crate) peer: Option<String>,
}

/// The peer is to be asked again.
pub(crate) struct Again;

impl Terms {
    /// `a=key-mgmt:mikey` of each line, as it came.
    pub(crate) fn values(&self) -> Vec<Option<String>> {
        let value = |term: &Option<Term>| term.as_ref()?.peer.mikey().map(str::to_owned);
        self.0.iter().map(value).collect()
    }

    /// Our part in the connection of each line.
    pub(crate) fn roles(&self) -> Vec<Option<TcpRole>> {
        self.0.iter().map(|term| term.as_ref().map(|term| term.role)).collect()
    }

    /// `a=path` of the message line, as it came.
    pub(crate) fn path(&self) -> Option<String> {
        path_of(self.0.iter().flatten().map(|term| &term.peer))
    }

    /// Whether the peer speaks as a chat room does (RFC 7701 §8).
    pub(crate) fn is_chat_room(&self) -> bool {
        self.0.iter().flatten().any(|term| term.peer.messages().is_some_and(|it| it.room.is_some()))
    }
}

impl Agreed {
    /// Tells the driver; `false` if the peer is to be asked again.
    pub(crate) fn connect(self, core: &mut Core, call: CallId) -> bool {
        let mut done = true;
        match self.messages {
            Some(Ok(media)) => core.events.push_back(Event::Media { call, media }),
            Some(Err(Again)) => done = false,
            None => {}
        }
        if let Some(media) = self.floors {
            core.events.push_back(Event::Floors { call, media });
        }
        done
    }
}

impl Call {
    /// What an answer says, with its keys checked.
    pub(crate) fn terms(
        &self,
        core: &Core,
        wall: SystemTime,
        offerings: &[Offering],
        octets: &Bytes,
    ) -> Result<Terms, Refusal> {
        let document = Document::parse(octets.clone(), &core.config.limits.sdp)?;
        let lines = read_answer(&document, &self.own)?;
        let mut terms = Vec::with_capacity(lines.len());
        for (at, (peer, own)) in lines.into_iter().zip(&self.own.lines).enumerate() {
            let Some(peer) = peer else {
                terms.push(None);
                continue;
            };
            let role = peer.role_after_answer(own.setup)?;
            let seal = if self.own.sealed {
                let offering = offerings.get(at).ok_or(KeyRefusal::Unsealed(Half::Offer))?;
                let data = peer.mikey().ok_or(KeyRefusal::Unsealed(Half::Answer))?;
                Some(offering.answered(data, wall)?)
            } else {
                None
            };
            terms.push(Some(Term { peer, role, seal }));
        }
        same_peer(terms.iter().flatten().filter_map(|term| term.seal.as_ref()))?;
        Ok(Terms(terms))
    }

    /// What the driver is to do about an answer.
    pub(crate) fn agree(&self, terms: Terms) -> Result<Agreed, Refusal> {
        let mut agreed = Agreed { messages: None, floors: None, room: None, max_size: None, peer: None };
        for (term, own) in terms.0.into_iter().zip(&self.own.lines) {
            let Some(Term { peer, role, seal }) = term else { continue };
            if let Some(seal) = &seal {
                agreed.peer = Some(seal.peer.clone());
            }
            let cema = matches!(&own.content, Content::Messages(messages) if messages.cema);
            let remote = match peer.on_answer(role, cema) {
                Reach::Connect(remote) => Some(remote),
                Reach::Listen => None,
                Reach::OfferWithout => {
                    agreed.messages = Some(Err(Again));
                    agreed.room = peer.messages().and_then(|messages| messages.room);
                    continue;
                }
            };
            match peer.content {
                PeerContent::Messages(messages) => {
                    agreed.room = messages.room;
                    agreed.max_size = messages.max_size;
                    let media = self.messages(own, *messages, role, remote, seal)?;
                    agreed.messages = Some(Ok(Box::new(media)));
                }
                PeerContent::Floors(floors) => {
                    // RFC 8856 §8: who offers is the TLS client.
                    let media = floor_media(own, floors, role, TlsRole::Client, remote, seal);
                    agreed.floors = Some(Box::new(media));
                }
            }
        }
        Ok(agreed)
    }

    fn messages(
        &self,
        own: &OwnLine,
        peer: PeerMessages,
        role: TcpRole,
        remote: Option<Remote>,
        seal: Option<Seal>,
    ) -> Result<Media, Refusal> {
        let mut file = self.own.file().cloned();
        if let Some(file) = &mut file {
            // RFC 5547 §8: a receiver that does not know file transfer leaves the attributes out,
            // and would show the file as a message.
            let answered = peer.file.as_ref().ok_or(Refusal::Declined)?;
            if peer.direction != Direction::RecvOnly || answered.transfer_id != file.transfer_id {
                return Err(Refusal::Declined);
            }
            if file.size.is_some_and(|size| answered.start > size) {
                return Err(Refusal::Malformed("a range that begins after the end of the file".into()));
            }
            file.start = answered.start;
        }
        let ours = matches!(&own.content, Content::Messages(messages) if messages.by_mikey);
        let tls = message_tls(ours && peer.by_mikey, Exchange::Offered, role);
        Ok(message_media(own, peer, (role, tls), remote, seal, file))
    }
}

/// Our part in the exchange that made the key of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// We are the MIKEY initiator.
    Offered,
    /// We are the MIKEY responder.
    Answered,
}

/// Who of the two is the TLS client of a message session.
///
/// docs/tls-role.md §3: if both ends said so (`by_mikey`), the MIKEY initiator, so that it works too where
/// translators of addresses make both connect. Else who connects (RFC 8122 §6.2, RFC 6135 §4).
pub(crate) fn message_tls(by_mikey: bool, exchange: Exchange, tcp: TcpRole) -> TlsRole {
    match (by_mikey, exchange, tcp) {
        (true, Exchange::Offered, _) | (false, _, TcpRole::Active) => TlsRole::Client,
        (true, Exchange::Answered, _) | (false, _, TcpRole::Passive) => TlsRole::Server,
    }
}

/// The message session, agreed.
pub(crate) fn message_media(
    own: &OwnLine,
    peer: PeerMessages,
    (tcp, tls): (TcpRole, TlsRole),
    remote: Option<Remote>,
    seal: Option<Seal>,
    file: Option<crate::FileOffer>,
) -> Media {
    Media {
        tcp,
        tls,
        local: own.local,
        remote,
        seal,
        local_path: match &own.content {
            Content::Messages(messages) => messages.path.clone(),
            Content::Floors(_) => String::new(),
        },
        remote_path: peer.path,
        accept_types: peer.accept_types,
        max_size: peer.max_size,
        file,
    }
}

/// `a=path` of the message line among the peer's lines.
pub(crate) fn path_of<'a>(mut lines: impl Iterator<Item = &'a PeerLine>) -> Option<String> {
    lines.find_map(|line| Some(line.messages()?.path.clone()))
}

/// The floor control connection, agreed.
pub(crate) fn floor_media(
    own: &OwnLine,
    peer: PeerFloors,
    tcp: TcpRole,
    tls: TlsRole,
    remote: Option<Remote>,
    seal: Option<Seal>,
) -> FloorMedia {
    let PeerFloors { conference, user, floors } = peer;
    FloorMedia { tcp, tls, local: own.local, remote, seal, conference, user, floors }
}

/// All lines of a call lead to the same peer, or somebody put them together who is none.
pub(crate) fn same_peer<'a>(seals: impl Iterator<Item = &'a Seal>) -> Result<(), Refusal> {
    let mut first = None;
    for seal in seals {
        if *first.get_or_insert(&seal.peer) != &seal.peer {
            return Err(KeyRefusal::WrongResponder(seal.peer.clone()).into());
        }
    }
    Ok(())
}
