//! A call we get, until it is up: look at the offer, open the ticket, ring, answer.
//!
//! RFC 3261 §13.3, RFC 3262 §3 (reliable ringing), RFC 6043 §4.2.3 (resolve). Nobody is disturbed
//! before the keys are checked: a call whose ticket does not open never rings.

use std::time::{Instant, SystemTime};

use carnet_sdp::{Direction, Document, Reuse, Setup};
use carnet_seal::{FetchId, FetchPurpose, Half, Opening, Question, Refusal as KeyRefusal, Seal, Sealed};
use carnet_sip::{Dialog, DialogId, Message, Provisionals, Repetition, ServerKey};

use crate::call::{Call, State};
use crate::caller::contact;
use crate::conference::{Invitation, Places};
use crate::core::{Core, Ids, sdp_of_request, set_sdp, tag_to};
use crate::description::{Content, Kind, Messages, Own, OwnLine};
use crate::event::{CallId, Ending, Event};
use crate::file::Side;
use crate::media::{Purpose, TcpRole, TlsRole};
use crate::peer::{PeerContent, PeerLine, read_offer};
use crate::refusal::Refusal;
use crate::room::{Room, is_focus, name_of};
use crate::terms::{Agreed, Exchange, floor_media, message_media, message_tls, path_of, same_peer};
use crate::up::Up;

/// What we know of an INVITE that is not answered yet.
pub(crate) struct Offered {
    pub(crate) key: ServerKey,
    pub(crate) invite: Message,
    offer: Document,
    /// The lines that we can take part in, as in the description of ours.
    lines: Vec<PeerLine>,
    pub(crate) dialog: Dialog,
}

/// The key server is asked, once for each line.
pub(crate) struct Resolving {
    pub(crate) offered: Offered,
    asked: Vec<Asked>,
}

struct Asked {
    sealed: Sealed,
    stands: Stands,
}

enum Stands {
    Open(Box<Question<Opening>>),
    /// The seal, and the `a=key-mgmt` that answers with it.
    Done(Seal, String),
}

/// The user is asked.
pub(crate) struct Alerting {
    pub(crate) offered: Offered,
    /// The seal of each line with the `a=key-mgmt` that answers with it; none, if the call is in clear.
    seals: Vec<(Seal, String)>,
    /// The call that this one takes the place of.
    pub(crate) back: Option<CallId>,
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
        let is_conference = is_focus(invite);
        let lines = read_offer(&offer, core.config.allow_clear, is_conference)?;
        let sealed = lines.iter().all(|line| line.sealed);
        let mut own = Vec::with_capacity(lines.len());
        for line in &lines {
            let setup = line.setup_for_answer(core.config.prefer)?;
            line.on_offer()?;
            let content = match &line.content {
                PeerContent::Floors(_) => Content::Floors(Reuse::New),
                PeerContent::Messages(messages) => {
                    // RFC 5547 §8.3.2: somebody wants a file of ours, and we give none away.
                    if messages.file.is_some() && messages.direction != Direction::SendOnly {
                        return Err(Refusal::NoMedia);
                    }
                    Content::Messages(Messages {
                        // Settled when the call is accepted.
                        path: String::new(),
                        // RFC 6714 §4.3: the attribute answers the attribute.
                        cema: messages.cema,
                        // Said only in return: where an offer lost it on its way, neither end has it.
                        by_mikey: messages.by_mikey && core.config.tls_role_by_mikey,
                        accept_types: core.config.accept_types.clone(),
                        max_size: core.config.max_message,
                        file: messages.file.clone().map(|file| (file, Side::Receiver)),
                        room: is_conference,
                    })
                }
            };
            // Settled when the call is accepted.
            let local = ([0, 0, 0, 0], 0).into();
            own.push(OwnLine { index: line.index, local, setup, key_mgmt: None, live: true, content });
        }
        let to = invite.from()?.uri().clone();
        let ids = Ids { call_id: dialog.id().call_id, tag: tag.to_owned(), cseq: 0 };
        let own = Own { session_id: core.rng.u64() >> 2, version: 1, sealed, lines: own };
        let offered = Offered { key, invite: invite.clone(), offer, lines, dialog };
        let room = is_conference.then(Room::default);
        let mut call = Self { id, to, ids, own, room, state: State::Over };
        if !sealed {
            call.alert(core, now, offered, Vec::new());
            return Ok(call);
        }
        let mut asked = Vec::with_capacity(offered.lines.len());
        for line in &offered.lines {
            let (keys, _) =
                core.sealing().ok_or(KeyRefusal::UnsupportedKeys("we have no key server".into()))?;
            let data = line.mikey().ok_or(KeyRefusal::UnsupportedKeys(line.protocols()))?;
            asked.push(keys.look(wall, data, &line.protocols())?);
        }
        // All lines are looked at before anybody is asked about one.
        let asked = asked.into_iter().filter_map(|sealed| {
            let (keys, rng) = core.sealing()?;
            let (pending, octets) = keys.open(wall, rng, &sealed);
            let fetch = core.fetch(now, id, FetchPurpose::Resolve, octets);
            Some(Asked {
                sealed,
                stands: Stands::Open(Box::new(Question::Out { fetch, pending, again: false })),
            })
        });
        let asked = asked.collect();
        call.state = State::Resolving(Box::new(Resolving { offered, asked }));
        Ok(call)
    }

    /// The key server has answered the question for the keys of a line.
    pub(crate) fn resolved(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        mut resolving: Box<Resolving>,
        (id, octets): (FetchId, &[u8]),
    ) {
        let Some(at) = resolving.asked.iter().position(|asked| asked.is(id)) else {
            self.state = State::Resolving(resolving);
            return;
        };
        let Asked { sealed, stands } = resolving.asked.remove(at);
        let Stands::Open(question) = stands else { return };
        let Question::Out { pending, again, .. } = *question else { return };
        let opened = match core.sealing() {
            Some((keys, rng)) => keys.opened(wall, rng, &sealed, pending, octets),
            None => Err(KeyRefusal::Unsealed(Half::Offer)),
        };
        let stands = match opened {
            Ok((seal, value)) => Stands::Done(seal, value),
            Err(refusal) => match Question::pause(now, &refusal, again) {
                Some(question) => Stands::Open(Box::new(question)),
                None => return self.reject(core, now, &resolving.offered, refusal.into()),
            },
        };
        resolving.asked.insert(at, Asked { sealed, stands });
        if resolving.asked.iter().any(|asked| matches!(asked.stands, Stands::Open(_))) {
            self.state = State::Resolving(resolving);
            return;
        }
        let Resolving { offered, asked } = *resolving;
        let seals: Vec<_> = asked
            .into_iter()
            .filter_map(|asked| match asked.stands {
                Stands::Done(seal, value) => Some((seal, value)),
                Stands::Open(_) => None,
            })
            .collect();
        match same_peer(seals.iter().map(|(seal, _)| seal)) {
            Ok(()) => self.alert(core, now, offered, seals),
            Err(refusal) => self.reject(core, now, &offered, refusal),
        }
    }

    /// Asks the key server once more for the keys that are due.
    pub(crate) fn resolve_again(
        &mut self,
        core: &mut Core,
        now: Instant,
        wall: SystemTime,
        mut resolving: Box<Resolving>,
    ) {
        for asked in resolving.asked.iter_mut().filter(|asked| asked.is_due(now)) {
            let Some((keys, rng)) = core.sealing() else { continue };
            let (pending, octets) = keys.open(wall, rng, &asked.sealed);
            let fetch = core.fetch(now, self.id, FetchPurpose::Resolve, octets);
            asked.stands = Stands::Open(Box::new(Question::Out { fetch, pending, again: true }));
        }
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

    fn alert(&mut self, core: &mut Core, now: Instant, offered: Offered, seals: Vec<(Seal, String)>) {
        let sealed = !seals.is_empty();
        let from = seals.first().map_or_else(|| self.to.to_string(), |(seal, _)| seal.peer.clone());
        let has = |kind| offered.lines.iter().any(|line| line.kind() == kind);
        // A room that was sealed does not go on in clear.
        let back = match (&self.room, name_of(&from).and_then(|name| core.rooms.get(&name))) {
            (Some(_), Some((call, was_sealed))) if sealed || !was_sealed => Some(*call),
            _ => None,
        };
        let purpose = match (self.own.file(), &self.room) {
            (Some(file), _) => Purpose::SendFile(file.clone()),
            (None, Some(_)) => Purpose::Conference(Invitation {
                messages: has(Kind::Messages),
                floors: has(Kind::Floors),
                back,
            }),
            (None, None) => Purpose::Chat,
        };
        core.events.push_back(Event::Incoming { call: self.id, from, purpose, sealed });
        let reliable = self.ring(core, now, &offered);
        let until = now + core.config.limits.ringing;
        self.state = State::Alerting(Box::new(Alerting { offered, seals, back, until, reliable }));
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

    /// The user takes the call. `places` is where the driver receives media for it; `start` is how
    /// many octets of the offered file are here already.
    pub(crate) fn accept(
        &mut self,
        core: &mut Core,
        now: Instant,
        alerting: Alerting,
        places: Places,
        start: u64,
    ) {
        let Alerting { offered, seals, reliable, .. } = alerting;
        match self.answer(core, now, &offered, seals, places, start) {
            Ok((mut up, agreed)) => {
                up.ringing = reliable;
                self.state = State::Up(Box::new(up));
                self.joined(core, &agreed, contact(&offered.invite));
                agreed.connect(core, self.id);
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
        seals: Vec<(Seal, String)>,
        places: Places,
        start: u64,
    ) -> Result<(Up, Agreed), Refusal> {
        let mut seals = seals.into_iter();
        let mut agreed = Agreed { messages: None, floors: None, room: None, max_size: None, peer: None };
        let (mut values, mut roles, mut reached) = (Vec::new(), Vec::new(), None);
        let sealed = self.own.sealed;
        for (line, own) in offered.lines.iter().zip(&mut self.own.lines) {
            let (seal, value) = seals.next().unzip();
            let place = match own.content {
                Content::Messages(_) => places.messages,
                Content::Floors(_) => places.floors,
            };
            let Some(local) = place else {
                own.live = false;
                values.push(None);
                roles.push(None);
                continue;
            };
            if let Some(seal) = &seal {
                agreed.peer = Some(seal.peer.clone());
            }
            own.local = local;
            own.key_mgmt = value;
            let tcp = role(own.setup);
            let remote = Some(line.on_offer()?).filter(|_| tcp == TcpRole::Active);
            values.push(line.mikey().map(str::to_owned));
            roles.push(Some(tcp));
            match (&mut own.content, line.content.clone()) {
                (Content::Messages(messages), PeerContent::Messages(peer)) => {
                    messages.path = core.path(sealed, local)?;
                    if let Some((file, _)) = &mut messages.file {
                        // RFC 5547 §8.3.1: a range that was offered is taken as it is or not at all.
                        if !file.ranged {
                            file.start = start;
                        } else if file.start > start {
                            return Err(Refusal::NoMedia);
                        }
                    }
                    let file = messages.file.as_ref().map(|(file, _)| file.clone());
                    reached.clone_from(&remote);
                    agreed.room = peer.room;
                    agreed.max_size = peer.max_size;
                    let tls = message_tls(messages.by_mikey && peer.by_mikey, Exchange::Answered, tcp);
                    let media = message_media(own, *peer, (tcp, tls), remote, seal, file);
                    agreed.messages = Some(Ok(Box::new(media)));
                }
                // RFC 8856 §8: who answers is the TLS server.
                (Content::Floors(_), PeerContent::Floors(peer)) => {
                    let media = floor_media(own, peer, tcp, TlsRole::Server, remote, seal);
                    agreed.floors = Some(Box::new(media));
                }
                _ => return Err(Refusal::NoMedia),
            }
        }
        if agreed.messages.is_none() && agreed.floors.is_none() {
            return Err(Refusal::NoMedia);
        }
        let answer = self.own.answer(&offered.offer)?;
        self.own.established();
        let mut response = Message::response(&offered.invite, 200, "OK")?;
        tag_to(&mut response, &self.ids.tag)?;
        // RFC 3261 §12.1.1
        response.copy_lines("Record-Route", &offered.invite);
        core.introduce(&mut response)?;
        let dialog = Dialog::callee(&offered.invite, &response)?;
        let (invite, timers) = ((offered.key, &offered.invite), core.config.session_timers);
        let mut up = Up::called(now, dialog, (values, roles), invite, timers, &mut response)?;
        up.remote = reached;
        up.path = path_of(offered.lines.iter());
        set_sdp(&mut response, answer)?;
        let _ = core.endpoint.respond(now, offered.key, response);
        Ok((up, agreed))
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

impl Asked {
    fn is(&self, id: FetchId) -> bool {
        matches!(&self.stands, Stands::Open(question) if question.is(id))
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(&self.stands, Stands::Open(question) if question.is_due(now))
    }
}

impl Resolving {
    /// Whether this is one of the questions that the driver answers.
    pub(crate) fn is(&self, id: FetchId) -> bool {
        self.asked.iter().any(|asked| asked.is(id))
    }

    /// When one is to be put again.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let again = |asked: &Asked| match &asked.stands {
            Stands::Open(question) => question.timeout(),
            Stands::Done(..) => None,
        };
        self.asked.iter().filter_map(again).min()
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.asked.iter().any(|asked| asked.is_due(now))
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

pub(crate) fn role(setup: Setup) -> TcpRole {
    if setup == Setup::Active { TcpRole::Active } else { TcpRole::Passive }
}
