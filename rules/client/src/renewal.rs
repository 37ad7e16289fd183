//! Another message session in place of one whose connection broke, in the same call.
//!
//! RFC 4975 §5.4: a re-INVITE makes it, its session has another URI in `a=path`, and that is how both the
//! peer and whoever is in between tell it from an offer that changes nothing (`a=connection` is not used
//! with MSRP: RFC 6135 §4.4). The key exchange is repeated octet for octet, so the key stays: it is for one
//! line of one call, and a connection of that line that is made again may use it. A file goes on where its
//! receiver says (RFC 5547 §6, `a=file-range`).
//!
//! Who was called leaves it to the caller for a while; that is the driver's to do. Offers that cross are
//! refused with 491 and come again (RFC 3261 §14.1). Whoever does not know of this answers as to any
//! unchanged offer, with the path of the old session, and the driver finds nobody to talk to.
//!
//! Left out: conferences, whose focus calls back, and floor control (RFC 8856 §7.1), which is renewed in
//! [`up`](crate::up).

use std::net::SocketAddr;
use std::time::Instant;

use carnet_sdp::{Document, Setup};
use carnet_seal::Half;
use carnet_sip::{Message, ServerKey};

use crate::call::Call;
use crate::callee::role;
use crate::core::{Core, sdp_of_request, set_sdp};
use crate::description::Content;
use crate::event::Event;
use crate::file::Side;
use crate::media::{Media, Remote, TcpRole};
use crate::peer::{PeerContent, PeerLine, Reach};
use crate::refusal::Refusal;
use crate::terms::{Exchange, message_media, message_tls, path_of};
use crate::up::Up;

/// The peer's offer of another session, while the driver makes room for it.
pub(crate) struct Waiting {
    pub(crate) key: ServerKey,
    request: Message,
    document: Document,
    lines: Vec<Option<PeerLine>>,
}

impl Up {
    /// The call ends: an offer that waits gets its final response (RFC 3261 §15.1.2).
    pub(crate) fn let_go(&mut self, core: &mut Core, now: Instant) {
        if let Some(waiting) = self.waiting.take() {
            core.reply(now, waiting.key, &waiting.request, 487, None);
        }
    }
}

impl Call {
    /// Offers another session.
    pub(crate) fn renew_media(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        local: SocketAddr,
        start: u64,
    ) {
        // The peer's offer, or an earlier one of ours, is answered first.
        if up.renewing || up.waiting.is_some() || up.second.is_some() || self.room.is_some() {
            return;
        }
        up.renewing = true;
        up.attempts = 0;
        let offered = core.path(self.own.sealed, local).and_then(|path| {
            let cannot_accept = core.config.behind_nat || core.is_translated;
            let setup = if cannot_accept { Setup::Active } else { Setup::ActPass };
            // A sender leaves it to the receiver where the file goes on.
            let start = if self.receives() { start } else { 0 };
            self.own.renew_messages(local, setup, path, start);
            self.refresh(core, now, up)
        });
        if let Err(refusal) = offered {
            self.media_renewed(core, up, Err(refusal));
        }
    }

    /// That came to its end.
    pub(crate) fn media_renewed(&self, core: &mut Core, up: &mut Up, media: Result<Box<Media>, Refusal>) {
        up.renewing = false;
        core.events.push_back(Event::MediaRenewed { call: self.id, media });
    }

    /// What the answer to our offer settles.
    pub(crate) fn media_offered(
        &self,
        up: &mut Up,
        lines: Vec<Option<PeerLine>>,
    ) -> Result<Box<Media>, Refusal> {
        let at = self.own.messages_at().ok_or(Refusal::NoMedia)?;
        let peer = lines.into_iter().nth(at).flatten().ok_or(Refusal::NoMedia)?;
        let own = self.own.lines.get(at).ok_or(Refusal::NoMedia)?;
        let tcp = peer.role_after_answer(own.setup)?;
        let cema = matches!(&own.content, Content::Messages(messages) if messages.cema);
        let remote = match peer.on_answer(tcp, cema) {
            Reach::Connect(remote) => Some(remote),
            Reach::Listen => None,
            // A call that could do with CEMA before cannot any more.
            Reach::OfferWithout => return Err(Refusal::PathMismatch),
        };
        self.settle_media(up, (at, peer), tcp, remote)
    }

    fn settle_media(
        &self,
        up: &mut Up,
        (at, peer): (usize, PeerLine),
        tcp: TcpRole,
        remote: Option<Remote>,
    ) -> Result<Box<Media>, Refusal> {
        let own = self.own.lines.get(at).ok_or(Refusal::NoMedia)?;
        let (Content::Messages(messages), PeerContent::Messages(theirs)) = (&own.content, peer.content)
        else {
            return Err(Refusal::NoMedia);
        };
        let file = match (&messages.file, &theirs.file) {
            (Some((file, Side::Sender)), Some(wanted)) => {
                if file.size.is_some_and(|size| wanted.start > size) {
                    return Err(Refusal::Malformed("a range that begins after the end of the file".into()));
                }
                Some(crate::FileOffer { start: wanted.start, ..file.clone() })
            }
            (Some((file, Side::Receiver)), _) => Some(file.clone()),
            (Some((_, Side::Sender)), None) => return Err(Refusal::Declined),
            (None, _) => None,
        };
        let exchange = if up.called { Exchange::Answered } else { Exchange::Offered };
        let tls = message_tls(messages.by_mikey && theirs.by_mikey, exchange, tcp);
        up.path = Some(theirs.path.clone());
        up.remote.clone_from(&remote);
        if let Some(role) = up.roles.get_mut(at) {
            *role = Some(tcp);
        }
        Ok(Box::new(message_media(own, *theirs, (tcp, tls), remote, None, file)))
    }

    /// Whether a re-INVITE offers another session. Then it waits for the driver.
    pub(crate) fn offered_anew(
        &self,
        core: &mut Core,
        up: &mut Up,
        key: ServerKey,
        request: &Message,
    ) -> bool {
        let possible = core.config.recovers && self.room.is_none() && up.second.is_none();
        if !possible || up.waiting.is_some() {
            return false;
        }
        // What cannot be read, or changes the terms, is refused where all such offers are.
        let Ok(Some(octets)) = sdp_of_request(request) else { return false };
        let Ok((document, lines)) = self.same_terms(core, &up.remote_values, octets, Half::Offer) else {
            return false;
        };
        let path = path_of(lines.iter().flatten());
        if path.is_none() || up.path.is_none() || path == up.path {
            return false;
        }
        // The peer was faster: its offer takes the place of one of ours that has not gone out.
        if std::mem::take(&mut up.renewing) {
            up.retry = None;
        }
        up.waiting = Some(Waiting { key, request: request.clone(), document, lines });
        core.events.push_back(Event::MediaRenewal { call: self.id });
        true
    }

    /// The driver has made room for it.
    pub(crate) fn take_media(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        local: SocketAddr,
        start: u64,
    ) {
        let Some(waiting) = up.waiting.take() else { return };
        let Waiting { key, request, document, lines } = waiting;
        let answered = self.answer_anew(core, now, up, (&request, &document, lines), local, start);
        let (status, media) = match answered {
            Ok((response, media)) => {
                up.unacknowledged = Some(key);
                let _ = core.endpoint.respond(now, key, response);
                (200, Ok(media))
            }
            Err(refusal) => {
                core.refuse(now, key, &request, &refusal, None);
                (refusal.sip().0, Err(refusal))
            }
        };
        if let Ok(cseq) = request.cseq() {
            up.dialog.answered(cseq.number, &cseq.method, status);
        }
        core.events.push_back(Event::MediaRenewed { call: self.id, media });
    }

    fn answer_anew(
        &mut self,
        core: &mut Core,
        now: Instant,
        up: &mut Up,
        (request, offer, lines): (&Message, &Document, Vec<Option<PeerLine>>),
        local: SocketAddr,
        start: u64,
    ) -> Result<(Message, Box<Media>), Refusal> {
        let at = self.own.messages_at().ok_or(Refusal::NoMedia)?;
        let peer = lines.into_iter().nth(at).flatten().ok_or(Refusal::NoMedia)?;
        let setup = peer.setup_for_answer(core.config.prefer)?;
        let tcp = role(setup);
        let remote = Some(peer.on_offer()?).filter(|_| tcp == TcpRole::Active);
        let path = core.path(self.own.sealed, local)?;
        // RFC 5547 §8.3.1: whoever sends repeats the range that is wanted.
        let wanted = peer.messages().and_then(|messages| messages.file.as_ref()).map(|file| file.start);
        let start = if self.receives() { start } else { wanted.unwrap_or(0) };
        self.own.renew_messages(local, setup, path, start);
        let answer = self.own.answer(offer)?;
        let mut response = Message::response(request, 200, "OK")?;
        core.introduce(&mut response)?;
        up.timer = up.timers.accept(now, request, &mut response, false)?;
        set_sdp(&mut response, answer)?;
        let media = self.settle_media(up, (at, peer), tcp, remote)?;
        Ok((response, media))
    }

    /// The peer takes its offer back.
    pub(crate) fn not_taken(&self, core: &mut Core, now: Instant, up: &mut Up) {
        let Some(waiting) = up.waiting.take() else { return };
        core.reply(now, waiting.key, &waiting.request, 487, None);
        if let Ok(cseq) = waiting.request.cseq() {
            up.dialog.answered(cseq.number, &cseq.method, 487);
        }
        core.events.push_back(Event::MediaRenewed { call: self.id, media: Err(Refusal::Unanswered) });
    }

    /// Whether the call is about a file that we receive.
    fn receives(&self) -> bool {
        let file = self.own.messages().and_then(|messages| messages.file.as_ref());
        file.is_some_and(|(_, side)| *side == Side::Receiver)
    }
}
