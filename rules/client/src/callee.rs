//! A call we get, until it is up: look at the offer, open the ticket, ring, answer.
//!
//! RFC 3261 §13.3, RFC 3262 §3 (reliable ringing), RFC 6043 §4.2.3 (resolve). Nobody is disturbed
//! before the keys are checked: a call whose ticket does not open never rings.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use carnet_sdp::{Direction, Document, Setup};
use carnet_seal::{FetchPurpose, Half, Opening, Question, Refusal as KeyRefusal, Seal, Sealed};
use carnet_sip::{Dialog, DialogId, Message, Provisionals, Repetition, ServerKey};

use crate::call::{Call, State};
use crate::core::{Core, Ids, sdp_of_request, set_sdp, tag_to};
use crate::description::{Own, Peer, read_offer};
use crate::event::{CallId, Ending, Event};
use crate::file::Side;
use crate::media::{Media, Purpose, TcpRole, TlsRole};
use crate::refusal::Refusal;
use crate::up::Up;

/// What we know of an INVITE that is not answered yet.
pub(crate) struct Offered {
    pub(crate) key: ServerKey,
    pub(crate) invite: Message,
    offer: Document,
    peer: Peer,
    pub(crate) dialog: Dialog,
}

/// The key server is asked.
pub(crate) struct Resolving {
    pub(crate) offered: Offered,
    sealed: Sealed,
    pub(crate) question: Question<Opening>,
}

/// The user is asked.
pub(crate) struct Alerting {
    pub(crate) offered: Offered,
    /// The seal, and the `a=key-mgmt` that answers with it.
    seal: Option<(Seal, String)>,
    until: Instant,
    reliable: Option<Provisionals>,
}

impl Call {
    /// An INVITE outside any dialog. `Err` has been answered already.
    pub(crate) fn arrived(
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        id: CallId,
        key: ServerKey,
        invite: Message,
    ) -> Result<Self, Refusal> {
        let tag = core.token(8);
        match Self::look(core, now, wall, id, key, &invite, &tag) {
            Ok(call) => Ok(call),
            Err(refusal) => {
                core.refuse(now, key, &invite, &refusal, Some(&tag));
                Err(refusal)
            }
        }
    }

    fn look(
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        id: CallId,
        key: ServerKey,
        invite: &Message,
        tag: &str,
    ) -> Result<Self, Refusal> {
        let mut ringing = Message::response(invite, 180, "Ringing")?;
        tag_to(&mut ringing, tag)?;
        let dialog = Dialog::callee(invite, &ringing)?;
        core.config.session_timers.check(invite)?;
        // An INVITE without an offer would have us make one: we would need a ticket for somebody
        // who calls us, which the key server gives to callers.
        let octets = sdp_of_request(invite)?.ok_or(Refusal::NoMedia)?;
        let offer = Document::parse(octets.clone(), &core.config.limits.sdp)?;
        let peer = read_offer(&offer, core.config.allow_clear)?;
        let setup = peer.setup_for_answer(core.config.prefer)?;
        peer.on_offer()?;
        // RFC 5547 §8.3.2: somebody wants a file of ours, and we give none away.
        if peer.file.is_some() && peer.direction != Direction::SendOnly {
            return Err(Refusal::NoMedia);
        }
        let to = invite.from()?.uri().clone();
        let ids = Ids { call_id: dialog.id().call_id, tag: tag.to_owned(), cseq: 0 };
        let own = Own {
            session_id: core.rng.u64() >> 2,
            version: 1,
            // Both are settled when the call is accepted.
            local: SocketAddr::from(([0, 0, 0, 0], 0)),
            path: String::new(),
            sealed: peer.sealed,
            setup,
            key_mgmt: None,
            // RFC 6714 §4.3: the attribute answers the attribute.
            cema: peer.cema,
            accept_types: core.config.accept_types.clone(),
            max_size: core.config.max_message,
            file: peer.file.clone().map(|file| (file, Side::Receiver)),
        };
        let offered = Offered { key, invite: invite.clone(), offer, peer, dialog };
        let mut call = Self { id, to, ids, own, state: State::Over };
        if offered.peer.sealed {
            let (keys, rng) = core
                .sealing()
                .ok_or(Refusal::Keys(KeyRefusal::UnsupportedKeys("we have no key server".into())))?;
            let data = offered
                .peer
                .mikey()
                .ok_or(Refusal::Keys(KeyRefusal::UnsupportedKeys(offered.peer.protocols())))?;
            let sealed = keys.look(wall, data, &offered.peer.protocols())?;
            let (pending, octets) = keys.open(wall, rng, &sealed);
            let fetch = core.fetch(now, id, FetchPurpose::Resolve, octets);
            let question = Question::Out { fetch, pending, again: false };
            call.state = State::Resolving(Box::new(Resolving { offered, sealed, question }));
        } else {
            call.alert(core, now, offered, None);
        }
        Ok(call)
    }

    /// The key server has answered the question for the keys.
    pub(crate) fn resolved(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        resolving: Resolving,
        octets: &[u8],
    ) {
        let Resolving { offered, sealed, question } = resolving;
        let Question::Out { pending, again, .. } = question else {
            self.state = State::Resolving(Box::new(Resolving { offered, sealed, question }));
            return;
        };
        let opened = match core.sealing() {
            Some((keys, rng)) => keys.opened(wall, rng, &sealed, pending, octets),
            None => Err(KeyRefusal::Unsealed(Half::Offer)),
        };
        match opened {
            Ok(seal) => self.alert(core, now, offered, Some(seal)),
            Err(refusal) => match Question::pause(now, &refusal, again) {
                Some(question) => {
                    self.state = State::Resolving(Box::new(Resolving { offered, sealed, question }));
                }
                None => self.reject(core, now, &offered, refusal.into()),
            },
        }
    }

    /// Asks the key server once more for the keys.
    pub(crate) fn resolve_again(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        mut resolving: Box<Resolving>,
    ) {
        let Some((keys, rng)) = core.sealing() else {
            self.reject(core, now, &resolving.offered, Refusal::Keys(KeyRefusal::Unsealed(Half::Offer)));
            return;
        };
        let (pending, octets) = keys.open(wall, rng, &resolving.sealed);
        let fetch = core.fetch(now, self.id, FetchPurpose::Resolve, octets);
        resolving.question = Question::Out { fetch, pending, again: true };
        self.state = State::Resolving(resolving);
    }

    /// The question to the key server came to nothing.
    pub(crate) fn unresolved(
        &mut self,
        core: &mut Core,
        now: Instant,
        resolving: &Resolving,
        refusal: Refusal,
    ) {
        self.reject(core, now, &resolving.offered, refusal);
    }

    fn reject(&mut self, core: &mut Core, now: Instant, offered: &Offered, refusal: Refusal) {
        core.refuse(now, offered.key, &offered.invite, &refusal, Some(&self.ids.tag));
        core.events.push_back(Event::Refused { call: self.id, from: self.to.to_string(), reason: refusal });
        self.state = State::Over;
    }

    fn alert(&mut self, core: &mut Core, now: Instant, offered: Offered, seal: Option<(Seal, String)>) {
        let from = seal.as_ref().map_or_else(|| self.to.to_string(), |(seal, _)| seal.peer.clone());
        let purpose = match &self.own.file {
            Some((file, _)) => Purpose::SendFile(file.clone()),
            None => Purpose::Chat,
        };
        core.events.push_back(Event::Incoming { call: self.id, from, purpose, sealed: seal.is_some() });
        let reliable = self.ring(core, now, &offered);
        let until = now + core.config.limits.ringing;
        self.state = State::Alerting(Box::new(Alerting { offered, seal, until, reliable }));
    }

    fn ring(&self, core: &mut Core, now: Instant, offered: &Offered) -> Option<Provisionals> {
        let mut ringing = Message::response(&offered.invite, 180, "Ringing").ok()?;
        tag_to(&mut ringing, &self.ids.tag).ok()?;
        ringing.copy_lines("Record-Route", &offered.invite);
        core.introduce(&mut ringing).ok()?;
        let mut reliable = None;
        // RFC 3262 §3: we are reliable where we must, not where we may.
        if offered.invite.lists("Require", "100rel") {
            let t1 = core.endpoint.config().timers.t1;
            let mut provisionals = Provisionals::new(&offered.invite, t1, core.rng.u32()).ok()?;
            ringing = provisionals.send(now, ringing).ok()??;
            reliable = Some(provisionals);
        }
        let _ = core.endpoint.respond(now, offered.key, ringing);
        reliable
    }

    /// The user takes the call. `local` is where the driver receives media for it; `start` is how
    /// many octets of the offered file are here already.
    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        alerting: Alerting,
        local: SocketAddr,
        start: u64,
    ) {
        let Alerting { offered, seal, reliable, .. } = alerting;
        match self.answer(core, now, &offered, seal, local, start) {
            Ok((mut up, media)) => {
                up.ringing = reliable;
                self.state = State::Up(Box::new(up));
                core.events.push_back(Event::Media { call: self.id, media: Box::new(media) });
            }
            Err(refusal) => self.withdraw(core, now, &offered, refusal),
        }
    }

    /// A call that rings cannot come about.
    pub(crate) fn withdraw(&mut self, core: &mut Core, now: Instant, offered: &Offered, refusal: Refusal) {
        core.refuse(now, offered.key, &offered.invite, &refusal, Some(&self.ids.tag));
        self.over(core, Ending::Refused(refusal));
    }

    fn answer(
        &mut self,
        core: &mut Core,
        now: Instant,
        offered: &Offered,
        seal: Option<(Seal, String)>,
        local: SocketAddr,
        start: u64,
    ) -> Result<(Up, Media), Refusal> {
        let session = core.token(12);
        let path = carnet_msrp::Uri::new(self.own.sealed, &local.ip().to_string(), local.port(), &session)
            .map_err(|error| Refusal::Malformed(error.to_string()))?;
        self.own.local = local;
        self.own.path = path.to_string();
        let (seal, value) = seal.unzip();
        self.own.key_mgmt = value;
        if let Some((file, _)) = &mut self.own.file {
            // RFC 5547 §8.3.1: a range that was offered is taken as it is or not at all.
            if !file.ranged {
                file.start = start;
            } else if file.start > start {
                return Err(Refusal::NoMedia);
            }
        }
        let answer = self.own.answer(&offered.offer, offered.peer.index)?;
        let mut response = Message::response(&offered.invite, 200, "OK")?;
        tag_to(&mut response, &self.ids.tag)?;
        // RFC 3261 §12.1.1
        response.copy_lines("Record-Route", &offered.invite);
        core.introduce(&mut response)?;
        let peer_value = offered.peer.mikey().map(str::to_owned);
        let dialog = Dialog::callee(&offered.invite, &response)?;
        let (invite, timers) = ((offered.key, &offered.invite), core.config.session_timers);
        let tcp = role(self.own.setup);
        let remote = Some(offered.peer.on_offer()?).filter(|_| tcp == TcpRole::Active);
        let mut up = Up::called(now, dialog, peer_value, tcp, invite, timers, &mut response)?;
        up.remote.clone_from(&remote);
        set_sdp(&mut response, answer)?;
        let _ = core.endpoint.respond(now, offered.key, response);
        let media = Media {
            tcp,
            tls: match tcp {
                TcpRole::Active => TlsRole::Client,
                TcpRole::Passive => TlsRole::Server,
            },
            local,
            remote,
            seal,
            local_path: self.own.path.clone(),
            remote_path: offered.peer.path.clone(),
            accept_types: offered.peer.accept_types.clone(),
            max_size: offered.peer.max_size,
            file: self.own.file.as_ref().map(|(file, _)| file.clone()),
        };
        Ok((up, media))
    }

    /// The caller gave up.
    pub(crate) fn cancelled(&mut self, core: &mut Core, now: Instant, offered: &Offered) {
        core.reply(now, offered.key, &offered.invite, 487, Some(&self.ids.tag));
        self.over(core, Ending::Cancelled);
    }

    /// The user does not want the call, or nobody took it.
    pub(crate) fn decline(&mut self, core: &mut Core, now: Instant, offered: &Offered, refusal: &Refusal) {
        core.refuse(now, offered.key, &offered.invite, refusal, Some(&self.ids.tag));
        self.over(
            core,
            match refusal {
                Refusal::NoFiles => Ending::Refused(refusal.clone()),
                _ => Ending::Local,
            },
        );
    }
}

impl Alerting {
    /// When something is to be done.
    pub(crate) fn timeout(&self) -> Instant {
        let repeat = self.reliable.as_ref().and_then(Provisionals::poll_timeout);
        repeat.map_or(self.until, |at| at.min(self.until))
    }

    /// Repeats a reliable response; `Err` when the call is to be given up.
    pub(crate) fn tick(&mut self, core: &mut Core, now: Instant) -> Result<(), Refusal> {
        match self.reliable.as_mut().and_then(|reliable| reliable.handle_timeout(now)) {
            Some(Repetition::Again(response)) => {
                let _ = core.endpoint.respond(now, self.offered.key, response);
            }
            Some(Repetition::Lost) => return Err(Refusal::Unreliable),
            None => {}
        }
        if now < self.until { Ok(()) } else { Err(Refusal::Unanswered) }
    }

    /// A PRACK for the ringing.
    pub(crate) fn prack(&mut self, core: &mut Core, now: Instant, key: ServerKey, prack: &Message) {
        if let Err(error) = self.offered.dialog.receive(prack) {
            core.refuse(now, key, prack, &error.into(), None);
            return;
        }
        acknowledged(core, now, self.reliable.as_mut(), key, prack);
    }
}

/// Answers a PRACK: 200 if it fits what we sent reliably, else 481 (RFC 3262 §3).
pub(crate) fn acknowledged(
    core: &mut Core,
    now: Instant,
    provisionals: Option<&mut Provisionals>,
    key: ServerKey,
    prack: &Message,
) {
    let fits = provisionals.is_some_and(|provisionals| provisionals.acknowledged(now, prack).0);
    core.reply(now, key, prack, if fits { 200 } else { 481 }, None);
}

impl Offered {
    pub(crate) fn owns(&self, request: &Message) -> bool {
        DialogId::of_request(request).is_ok_and(|id| id == self.dialog.id())
    }
}

fn role(setup: Setup) -> TcpRole {
    if setup == Setup::Active { TcpRole::Active } else { TcpRole::Passive }
}
