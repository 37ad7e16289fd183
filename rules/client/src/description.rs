//! Our session descriptions as printed.
//!
//! RFC 3264 (offer and answer), RFC 4975 §8 and RFC 6135 (message lines), RFC 6714 (CEMA),
//! RFC 8856 (floor control lines), RFC 7701 §8 (chat rooms), RFC 4145 (`setup`, `connection`), RFC 4567 §3
//! (`key-mgmt`, at media level), docs/tls-role.md (`x-carnet-tlsrole`). The peer's are read in [`peer`](crate::peer). Left out: more than one line
//! of a kind a call, and every line of another kind (answered with port 0).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use carnet_sdp::{Document, FloorControl, MediaBuilder, Reuse, SessionBuilder, Setup};

use crate::file::{FileOffer, Side};
use crate::media::TcpRole;
use crate::peer::PeerLine;
use crate::refusal::Refusal;

/// RFC 4145 §4.1: the port of a side that only connects.
const DISCARD: u16 = 9;

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Messages,
    Floors,
}

impl Kind {
    /// The media type of its line.
    pub(crate) fn media(self) -> &'static str {
        match self {
            Self::Messages => "message",
            Self::Floors => "application",
        }
    }

    /// Its transport (RFC 4975 §8, RFC 8856 §4).
    pub(crate) fn transport(self, sealed: bool) -> &'static str {
        match (self, sealed) {
            (Self::Messages, true) => "TCP/TLS/MSRP",
            (Self::Messages, false) => "TCP/MSRP",
            (Self::Floors, true) => "TCP/TLS/BFCP",
            (Self::Floors, false) => "TCP/BFCP",
        }
    }
}

/// Our side of the session description. All its lines are sealed, or none.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    pub(crate) session_id: u64,
    /// Grows when the description changes (RFC 3264 §8).
    pub(crate) version: u64,
    pub(crate) sealed: bool,
    pub(crate) lines: Vec<OwnLine>,
}

/// One line of it.
#[derive(Debug, Clone)]
pub(crate) struct OwnLine {
    /// Its place among the media lines.
    pub(crate) index: usize,
    pub(crate) local: SocketAddr,
    pub(crate) setup: Setup,
    /// The value of `a=key-mgmt`.
    pub(crate) key_mgmt: Option<String>,
    /// Whether both sides have it; else it stands with port 0.
    pub(crate) live: bool,
    pub(crate) content: Content,
}

/// What belongs to the kind of line.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Messages(Messages),
    /// Whether the connection that is up stays.
    Floors(Reuse),
}

/// A message line.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    pub(crate) path: String,
    pub(crate) cema: bool,
    /// Whether we say that the key exchange can decide who is the TLS client.
    pub(crate) by_mikey: bool,
    pub(crate) accept_types: String,
    pub(crate) max_size: Option<u64>,
    /// The file, and what we do with it.
    pub(crate) file: Option<(FileOffer, Side)>,
    /// Whether it is the session of a chat room.
    pub(crate) room: bool,
}

impl OwnLine {
    pub(crate) fn kind(&self) -> Kind {
        match self.content {
            Content::Messages(_) => Kind::Messages,
            Content::Floors(_) => Kind::Floors,
        }
    }

    fn describe(&self, sealed: bool) -> Result<MediaBuilder, Refusal> {
        let kind = self.kind();
        let port = match (self.live, self.setup) {
            (false, _) => 0,
            // RFC 6135 §4.2, RFC 4145 §4.1
            (true, Setup::Active) => DISCARD,
            (true, _) => self.local.port(),
        };
        let mut line = MediaBuilder::new(kind.media(), port, kind.transport(sealed), "*");
        if !self.live {
            return Ok(line);
        }
        match &self.content {
            Content::Messages(messages) => {
                line = line
                    .attribute("accept-types", &messages.accept_types)
                    .attribute("path", &messages.path)
                    .setup(self.setup);
                if let Some(size) = messages.max_size {
                    line = line.attribute("max-size", &size.to_string());
                }
                if messages.cema {
                    line = line.flag("msrp-cema");
                }
                if messages.by_mikey && sealed {
                    line = line.tls_role_by_mikey();
                }
                if messages.room {
                    line = line.chatroom(true, true);
                }
                if let Some((file, side)) = &messages.file {
                    line = file.describe(line, *side)?;
                }
            }
            Content::Floors(reuse) => {
                line = line.setup(self.setup).reuse(*reuse).floor_control(FloorControl::CLIENT);
            }
        }
        if let Some(value) = &self.key_mgmt {
            line = line.attribute("key-mgmt", value);
        }
        Ok(line)
    }
}

impl Own {
    /// The message line.
    pub(crate) fn messages(&self) -> Option<&Messages> {
        self.lines.iter().find_map(|line| match &line.content {
            Content::Messages(messages) => Some(messages),
            Content::Floors(_) => None,
        })
    }

    /// The message line, to be changed.
    pub(crate) fn messages_mut(&mut self) -> Option<&mut Messages> {
        self.lines.iter_mut().find_map(|line| match &mut line.content {
            Content::Messages(messages) => Some(messages),
            Content::Floors(_) => None,
        })
    }

    /// The file that the call is about.
    pub(crate) fn file(&self) -> Option<&FileOffer> {
        self.messages().and_then(|messages| messages.file.as_ref()).map(|(file, _)| file)
    }

    /// From now on the connections that were made stay (RFC 8856 §10.5).
    pub(crate) fn established(&mut self) {
        for line in &mut self.lines {
            if let Content::Floors(reuse) = &mut line.content {
                *reuse = Reuse::Existing;
            }
        }
    }

    /// The next offer asks for another floor control connection (RFC 4145 §5.1); whether there is floor
    /// control at all.
    pub(crate) fn renew_floors(&mut self) -> bool {
        let mut found = false;
        for line in self.lines.iter_mut().filter(|line| line.live) {
            if let Content::Floors(reuse) = &mut line.content {
                (*reuse, found) = (Reuse::New, true);
            }
        }
        self.version += u64::from(found);
        found
    }

    /// Where the message line stands among ours, if both sides have it.
    pub(crate) fn messages_at(&self) -> Option<usize> {
        self.lines.iter().position(|line| line.live && line.kind() == Kind::Messages)
    }

    /// The message line from now on is another session: there, under that name. `start` is where the file
    /// goes on, if one is under way; 0 leaves that to its receiver.
    pub(crate) fn renew_messages(&mut self, local: SocketAddr, setup: Setup, path: String, start: u64) {
        let at = self.messages_at();
        let Some(line) = at.and_then(|at| self.lines.get_mut(at)) else { return };
        (line.local, line.setup) = (local, setup);
        if let Content::Messages(messages) = &mut line.content {
            messages.path = path;
            if let Some((file, _)) = &mut messages.file {
                (file.start, file.ranged) = (start, start > 0);
            }
        }
        self.version += 1;
    }

    fn session(&self) -> SessionBuilder {
        let ip = self.lines.first().map_or(IpAddr::from([0, 0, 0, 0]), |line| line.local.ip());
        SessionBuilder::new(self.session_id, self.version, ip)
    }

    /// The offer.
    pub(crate) fn offer(&self) -> Result<Bytes, Refusal> {
        let mut session = self.session();
        for line in &self.lines {
            session = session.media(line.describe(self.sealed)?);
        }
        print(session)
    }

    /// The answer: our lines in their places, every other line refused (RFC 3264 §6).
    pub(crate) fn answer(&self, offer: &Document) -> Result<Bytes, Refusal> {
        let mut session = self.session();
        for line in offer.media() {
            let ours = self.lines.iter().find(|own| own.live && own.index == line.index());
            session = session.media(match ours {
                Some(own) if !line.is_rejected() => own.describe(self.sealed)?,
                _ => MediaBuilder::rejecting(&line),
            });
        }
        print(session)
    }

    /// The answer to another offer of the peer. The connections stay as they are, so where the offer
    /// leaves it to us who connects we are the one we are: `actpass` cannot answer (RFC 4145 §4.1).
    pub(crate) fn answer_again(
        &self,
        offer: &Document,
        peer: &[Option<PeerLine>],
        roles: &[Option<TcpRole>],
    ) -> Result<Bytes, Refusal> {
        let mut own = self.clone();
        for ((line, peer), role) in own.lines.iter_mut().zip(peer).zip(roles) {
            match (peer, role) {
                (Some(peer), Some(role)) => line.setup = peer.setup_for_answer(*role)?,
                _ => line.live = false,
            }
        }
        own.answer(offer)
    }
}

fn print(session: SessionBuilder) -> Result<Bytes, Refusal> {
    Ok(session.build()?.to_bytes())
}
