//! What all rooms share: the SIP endpoint, the keys, the gateways, and the queues towards the driver.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use carnet_h248::TerminationId;
use carnet_h248::controller::{GatewayName, RequestNumber};
use carnet_seal::{Fetch, FetchId, FetchPurpose, Keys};
use carnet_sip::{
    CSeq, ClientKey, Destination, Dialog, DigestClient, Endpoint, Message, Method, Scheme, ServerKey, Uri,
    multipart,
};
use carnet_wire::{Random, hex};

use crate::config::Config;
use crate::context::Watch;
use crate::event::{Event, Left};
use crate::fault::Fault;
use crate::gateways::Gateways;
use crate::leg::LegId;
use crate::subscribe::{NotifyKey, SubscriptionKey, Subscriptions};

/// Methods a focus understands.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, SUBSCRIBE, REFER";
/// Extensions a focus understands. `100rel`: its own provisional responses are none that would have to be
/// acknowledged.
pub(crate) const SUPPORTED: &str = "100rel, timer, norefersub, recipient-list-invite";
/// The media type of a session description.
pub(crate) const SDP: &str = "application/sdp";

/// Who asked for a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Leg(LegId),
    /// A subscription.
    Notify(NotifyKey),
    /// An INVITE that was answered: other branches of it may still answer too.
    Answered,
    /// Nobody waits for the answer.
    Nobody,
}

/// A request to a gateway that is not answered yet.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Lines of a leg.
    Add {
        room: String,
        leg: LegId,
        gateway: GatewayName,
        /// The context; none if one is to be made.
        context: Option<u32>,
    },
    Modify {
        leg: LegId,
    },
    Subtract {
        gateway: GatewayName,
        context: u32,
        terminations: Vec<TerminationId>,
        tries: u8,
    },
    /// Another way of running a room.
    Renew {
        room: String,
    },
    /// A context that no room knows.
    Sweep,
    /// What an administrator decided; if it is refused, that is told.
    Tell {
        gateway: GatewayName,
    },
}

/// What one leg or room wants of others; done when the one at hand is.
#[derive(Debug)]
pub(crate) enum Todo {
    /// Put the lines of those who wait into the room's context.
    Place(String),
    HangUp(LegId, Left),
    /// Call those who were lost.
    CallBack(String),
    /// A call out came to nothing.
    NotCalled {
        leg: LegId,
        room: String,
        status: Option<u16>,
    },
    /// The dialog of one who is being called back was ended by the member.
    OldGone(LegId, String),
    /// It is in the room: what that means for others.
    Joined(LegId),
    /// A SUBSCRIBE or REFER came in its dialog.
    Asked(LegId, ServerKey, Box<Message>),
    /// The member we call lets us know how far it is.
    Progress(LegId, u16),
    /// It is over.
    Parted {
        leg: LegId,
        room: String,
        member: String,
        /// It was in the room.
        joined: bool,
    },
    /// See whether the room still has a reason to be there.
    Settle(String),
}

/// One generator for the focus and the endpoint inside it.
#[derive(Clone)]
pub(crate) struct SharedRandom(Arc<Mutex<Box<dyn Random>>>);

impl Random for SharedRandom {
    fn fill(&mut self, buffer: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buffer);
    }
}

/// How often a failed Subtract is repeated before it is left to the gateway's heartbeat.
const SUBTRACT_TRIES: u8 = 5;

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) endpoint: Endpoint,
    pub(crate) rng: SharedRandom,
    pub(crate) keys: Option<Keys>,
    pub(crate) gateways: Gateways,
    pub(crate) events: VecDeque<Event>,
    pub(crate) fetches: VecDeque<Fetch>,
    /// Questions to the key server that have no answer yet: whose, which line, and when it is given up.
    pub(crate) waiting: BTreeMap<FetchId, (LegId, usize, Instant)>,
    pub(crate) owners: BTreeMap<ClientKey, Owner>,
    /// Our INVITEs that were answered, as long as other branches of them may answer too.
    pub(crate) answered: BTreeMap<ClientKey, Message>,
    /// BYEs that are not answered yet: the network may ask for the password first.
    parting: BTreeMap<ClientKey, (Message, Destination)>,
    pub(crate) ops: BTreeMap<RequestNumber, Op>,
    /// Subtracts that are to be repeated.
    again: VecDeque<(Instant, Op)>,
    pub(crate) todo: VecDeque<Todo>,
    /// Rooms whose record, or roster, is not what it was.
    pub(crate) touched: BTreeSet<String>,
    pub(crate) subscriptions: Subscriptions,
    /// Calls out whose progress somebody is told.
    pub(crate) followed: BTreeMap<LegId, SubscriptionKey>,
    /// Whom those who enter want called (RFC 5366).
    pub(crate) lists: BTreeMap<LegId, Vec<Uri>>,
    pub(crate) retiring: bool,
    digest: Option<DigestClient>,
    next_fetch: u64,
    next_leg: u64,
    next_events: u32,
    /// The moment of the input at hand.
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

impl Core {
    pub(crate) fn new(
        mut config: Config,
        keys: Option<Keys>,
        random: Box<dyn Random>,
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let mut rng = SharedRandom(Arc::new(Mutex::new(random)));
        let digest = config.digest.take();
        let subscriptions = crate::news::subscriptions(config.limits.subscriptions);
        Self {
            endpoint: Endpoint::new(config.sip.clone(), Box::new(rng.clone())),
            gateways: Gateways::new(&config, &mut rng, now, wall),
            rng,
            keys,
            config,
            events: VecDeque::new(),
            fetches: VecDeque::new(),
            waiting: BTreeMap::new(),
            owners: BTreeMap::new(),
            answered: BTreeMap::new(),
            parting: BTreeMap::new(),
            ops: BTreeMap::new(),
            again: VecDeque::new(),
            todo: VecDeque::new(),
            touched: BTreeSet::new(),
            subscriptions,
            followed: BTreeMap::new(),
            lists: BTreeMap::new(),
            retiring: false,
            digest,
            next_fetch: 0,
            next_leg: 1,
            next_events: 1,
            now,
            wall,
        }
    }

    /// A random token of `octets` octets in hexadecimal.
    pub(crate) fn token(&mut self, octets: usize) -> String {
        let mut buffer = vec![0; octets];
        self.rng.fill(&mut buffer);
        hex::encode(&buffer)
    }

    pub(crate) fn name_leg(&mut self) -> LegId {
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        id
    }

    /// What the next leg will be called.
    pub(crate) fn leg_to_come(&self) -> LegId {
        LegId(self.next_leg)
    }

    /// A fresh number for an Events descriptor.
    pub(crate) fn next_events(&mut self) -> u32 {
        let number = self.next_events;
        // 0xFFFFFFFF means all.
        self.next_events = if number >= 0xffff_fff0 { 1 } else { number + 1 };
        number
    }

    /// The keys and the generator, for whoever seals.
    pub(crate) fn sealing(&mut self) -> Result<(&mut Keys, &mut dyn Random), Fault> {
        match &mut self.keys {
            Some(keys) => Ok((keys, &mut self.rng)),
            None => Err(carnet_seal::Refusal::UnsupportedKeys("there is no key server here".into()).into()),
        }
    }

    /// Asks the driver to ask the key server, for a line of a leg.
    pub(crate) fn fetch(
        &mut self,
        leg: LegId,
        line: usize,
        purpose: FetchPurpose,
        octets: Vec<u8>,
    ) -> FetchId {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.waiting.insert(id, (leg, line, self.now + self.config.timers.key_server));
        self.fetches.push_back(Fetch { id, purpose, octets });
        id
    }

    // -- gateways --------------------------------------------------------------------------

    pub(crate) fn watch(&self, gateway: &str) -> Watch {
        Watch {
            heartbeat: self.gateways.supports(gateway, "hangterm"),
            connections: self.gateways.supports(gateway, "tcpbcc"),
            tls: self.gateways.supports(gateway, "tlsbsc"),
            floors: self.gateways.supports(gateway, "fcp"),
        }
    }

    /// Gives terminations back.
    pub(crate) fn subtract(&mut self, gateway: &GatewayName, context: u32, terminations: Vec<TerminationId>) {
        if !terminations.is_empty() {
            let gateway = gateway.clone();
            self.do_subtract(Op::Subtract { gateway, context, terminations, tries: 0 });
        }
    }

    fn do_subtract(&mut self, op: Op) {
        let Op::Subtract { gateway, context, terminations, .. } = &op else { return };
        // A gateway that is not there is cleared when it comes back.
        if self.gateways.is_up(gateway) {
            let actions = crate::context::subtract(*context, terminations);
            let request = self.gateways.request(self.now, gateway, actions);
            self.ops.insert(request, op);
        }
    }

    /// A Subtract was refused: it is done again, unless there is nothing left to subtract.
    pub(crate) fn not_subtracted(&mut self, op: Op, code: u16) {
        let Op::Subtract { gateway, context, terminations, tries } = op else { return };
        match code {
            // 411: the context is not there, which is what we want.
            411 => {}
            // 430, 431, 435: one of them is not there; the others may be.
            430 | 431 | 435 if terminations.len() > 1 => {
                for id in terminations {
                    let (gateway, tries) = (gateway.clone(), SUBTRACT_TRIES);
                    self.do_subtract(Op::Subtract { gateway, context, terminations: vec![id], tries });
                }
            }
            430 | 431 | 435 => {}
            _ if tries < SUBTRACT_TRIES => {
                let at = self.now + self.config.timers.subtract_again;
                let op = Op::Subtract { gateway, context, terminations, tries: tries + 1 };
                self.again.push_back((at, op));
            }
            _ => {}
        }
    }

    /// Ends a context that no room knows.
    pub(crate) fn sweep(&mut self, gateway: &GatewayName, context: u32) {
        let actions = crate::context::subtract_all(carnet_h248::ContextId::Id(context));
        let request = self.gateways.request(self.now, gateway, actions);
        self.ops.insert(request, Op::Sweep);
    }

    /// Does again what is due.
    pub(crate) fn tick(&mut self) {
        while self.again.front().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, op)) = self.again.pop_front() {
                self.do_subtract(op);
            }
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.again.front().map(|(at, _)| *at)
    }

    // -- SIP -------------------------------------------------------------------------------

    /// A request outside a dialog (RFC 3261 §8.1.1) in the name of `from`.
    pub(crate) fn request(
        &self,
        method: Method,
        target: Uri,
        (from, to): (&str, &str),
        ids: &Ids,
    ) -> Result<Message, Fault> {
        let mut request = Message::request(method.clone(), target);
        for route in &self.config.routes {
            request.push_back("Route", &route.to_string())?;
        }
        request.set_header("Max-Forwards", "70")?;
        request.set_header("From", &format!("<{from}>;tag={}", ids.tag))?;
        request.set_header("To", &format!("<{to}>"))?;
        request.set_header("Call-ID", &ids.call_id)?;
        request.set_header("CSeq", &CSeq { number: ids.cseq, method }.to_string())?;
        Ok(request)
    }

    /// Adds Contact, Allow and Supported. RFC 4579 §5.1: `isfocus` says what this is.
    pub(crate) fn introduce(message: &mut Message, contact: &Uri, secure: bool) -> Result<(), Fault> {
        let contact = if secure { secured(contact) } else { contact.to_string() };
        message.set_header("Contact", &format!("<{contact}>;isfocus"))?;
        message.set_header("Allow", ALLOW)?;
        // RFC 6665 §4.5.4, RFC 4575
        message.set_header("Allow-Events", "conference, refer")?;
        message.set_header("Supported", SUPPORTED)?;
        Ok(())
    }

    /// Where a request outside a dialog goes.
    pub(crate) fn destination(&self, target: &Uri) -> Destination {
        match (&self.config.proxy, self.config.routes.first()) {
            (Some(proxy), _) => proxy.clone(),
            (None, Some(route)) => Destination::Uri(route.uri().clone()),
            (None, None) => Destination::Uri(target.clone()),
        }
    }

    pub(crate) fn send(
        &mut self,
        mut request: Message,
        destination: Destination,
        owner: Owner,
    ) -> Result<ClientKey, Fault> {
        if let Some(digest) = &mut self.digest {
            digest.authorize(&mut request, &mut self.rng)?;
        }
        let key = self.endpoint.request(self.now, request, destination)?;
        self.owners.insert(key, owner);
        Ok(key)
    }

    /// Sends a BYE: the last request of `dialog`, which nobody follows any more.
    pub(crate) fn goodbye(&mut self, dialog: &mut Dialog, reason: Option<(u16, &str)>) {
        let Ok(mut bye) = dialog.request(Method::Bye) else { return };
        if let Some((status, text)) = reason {
            let text: String = text.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
            // RFC 3326
            let _ = bye.set_header("Reason", &format!("SIP;cause={status};text=\"{text}\""));
        }
        let destination = dialog.destination();
        if let Ok(key) = self.send(bye.clone(), destination.clone(), Owner::Nobody) {
            self.parting.insert(key, (bye, destination));
        }
    }

    /// A request that nobody follows was answered. A BYE that was challenged goes again, once: the
    /// peer would think the call up (RFC 3261 §22.2, §22.3).
    pub(crate) fn parted(&mut self, key: ClientKey, response: &Message) {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return;
        }
        let Some((mut bye, destination)) = self.parting.remove(&key) else { return };
        if !matches!(status, 401 | 407) || !self.challenged(response) {
            return;
        }
        let Ok(mut cseq) = bye.cseq() else { return };
        cseq.number = cseq.number.saturating_add(1);
        if bye.set_header("CSeq", &cseq.to_string()).is_ok() {
            let _ = self.send(bye, destination, Owner::Nobody);
        }
    }

    /// A request that nobody follows was not answered.
    pub(crate) fn unparted(&mut self, key: ClientKey) {
        self.parting.remove(&key);
    }

    /// Learns a challenge. `false` if there is no account, or its password was wrong.
    pub(crate) fn challenged(&mut self, response: &Message) -> bool {
        self.digest.as_mut().is_some_and(|digest| digest.challenged(response).is_ok())
    }

    /// A request of ours was taken: what answered the challenge may answer again.
    pub(crate) fn unchallenged(&mut self) {
        if let Some(digest) = &mut self.digest {
            digest.accepted();
        }
    }

    /// Sends the ACK of a 2xx.
    pub(crate) fn acknowledge(&mut self, key: ClientKey, cseq: u32, dialog: &Dialog) {
        if let Ok(ack) = dialog.ack(cseq) {
            let _ = self.endpoint.ack(self.now, key, ack, dialog.destination());
        }
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, key: ServerKey, request: &Message, status: u16, tag: Option<&str>) {
        if let Some(response) = self.response(request, status, tag) {
            // A transaction that is gone needs no answer.
            let _ = self.endpoint.respond(self.now, key, response);
        }
    }

    /// A response with a To tag and what makes a refusal of its kind useful.
    pub(crate) fn response(&mut self, request: &Message, status: u16, tag: Option<&str>) -> Option<Message> {
        let mut response = Message::response(request, status, carnet_sip::reason_phrase(status)).ok()?;
        let tag = tag.map_or_else(|| self.token(8), str::to_owned);
        if response.to_tag().is_none() {
            // RFC 3261 §8.2.6.2
            let to = response.to().ok()?.with_tag(&tag).ok()?;
            response.set_header("To", &to.to_string()).ok()?;
        }
        // Header values made here are printable, so adding them cannot fail.
        let mut set = |name: &str, value: &str| response.set_header(name, value).is_ok();
        match status {
            // RFC 3261 §8.2.1
            405 => set("Allow", ALLOW),
            // RFC 3261 §8.2.3
            415 => set("Accept", SDP) && set("Accept-Encoding", "identity"),
            // RFC 3261 §8.2.2.3
            420 => set("Unsupported", &unsupported(request).join(", ")),
            // RFC 4028 §9
            422 => set("Min-SE", &self.config.session_timers.shortest().to_string()),
            _ => true,
        };
        Some(response)
    }

    /// Refuses a request.
    pub(crate) fn refuse(&mut self, key: ServerKey, request: &Message, fault: &Fault, tag: Option<&str>) {
        let Some(mut response) = self.response(request, fault.status, tag) else { return };
        if let Some(code) = fault.warning {
            let text: String =
                fault.text.chars().filter(|c| !matches!(c, '"' | '\\') && !c.is_control()).collect();
            let _ = response.set_header("Warning", &format!("{code} {} \"{text}\"", self.config.name));
        }
        if fault.retry {
            let seconds = self.config.timers.retry_after.as_secs().max(1);
            let _ = response.set_header("Retry-After", &seconds.to_string());
        }
        let _ = self.endpoint.respond(self.now, key, response);
    }

    /// Answers OPTIONS (RFC 3261 §11.2).
    pub(crate) fn capable(&mut self, key: ServerKey, request: &Message, contact: Option<&Uri>) {
        let Some(mut response) = self.response(request, 200, None) else { return };
        if let Some(contact) = contact {
            let _ = Self::introduce(&mut response, contact, is_secure(request));
        } else {
            let _ = response.set_header("Allow", ALLOW);
            let _ = response.set_header("Supported", SUPPORTED);
        }
        let _ = response.set_header("Accept", "application/sdp, message/sipfrag");
        let _ = self.endpoint.respond(self.now, key, response);
    }
}

/// What names a dialog that we begin.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub(crate) call_id: String,
    pub(crate) tag: String,
    pub(crate) cseq: u32,
}

/// RFC 3261 §8.1.1.8, §12.1.1: whoever asks for TLS on every hop is reached by TLS on every hop.
pub(crate) fn is_secure(message: &Message) -> bool {
    let target = message.request_uri().is_some_and(|uri| uri.scheme() == Scheme::Sips);
    target
        || message
            .record_routes()
            .is_ok_and(|all| all.first().is_some_and(|route| route.uri().scheme() == Scheme::Sips))
}

/// The same place by `sips:`, which has no use for a transport that says TLS (RFC 3261 §26.2.2).
fn secured(uri: &Uri) -> String {
    let plain = uri.without_param("transport");
    match plain.as_str().split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => format!("sips:{rest}"),
        _ => plain.to_string(),
    }
}

/// Option tags that a request requires and a focus does not have (RFC 3261 §8.2.2.3).
pub(crate) fn unsupported(request: &Message) -> Vec<String> {
    let mut wanted = request.values("Require").unwrap_or_default();
    wanted.retain(|tag| !SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(tag)));
    wanted
}

/// The session description of a message; `None` if it has no body.
///
/// # Errors
/// A body of another kind that is not optional (RFC 3261 §8.2.3).
pub(crate) fn sdp_of(message: &Message) -> Result<Option<bytes::Bytes>, Fault> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let kind = message.content_type().unwrap_or_default();
    if multipart::is_multipart(&kind) {
        // Beside it may be a list of recipients (RFC 5366 §3).
        let parts = multipart::parts(message.body(), &kind, &multipart::MultipartLimits::default())?;
        let sdp = |part: &&multipart::Part| {
            part.media_type() == SDP
                && !part.is_encoded()
                && part.disposition().is_none_or(|disposition| disposition == "session")
        };
        return Ok(parts.iter().find(sdp).map(|part| message.body().slice(part.range())));
    }
    let plain =
        message.header("Content-Encoding").is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    let is_sdp = message
        .content_type()
        .is_none_or(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(SDP)));
    if plain && is_sdp {
        return Ok(Some(message.body().clone()));
    }
    // RFC 3261 §20.11: what is not said is required.
    let optional = message.header("Content-Disposition").is_some_and(|value| {
        let mut params = value.split(';').skip(1).map(|param| param.trim().to_ascii_lowercase());
        params.any(|param| param.replace(' ', "") == "handling=optional")
    });
    if optional {
        Ok(None)
    } else {
        Err(Fault { warning: None, ..Fault::new(415, "Unsupported Media Type") })
    }
}
