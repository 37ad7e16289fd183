//! What all calls share: the SIP endpoint, the keys, and the queues towards the driver.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use carnet_seal::{Fetch, FetchId, FetchPurpose, Keys};
use carnet_sip::{
    CSeq, ClientKey, Destination, Dialog, DigestClient, Endpoint, Message, Method, NameAddr, Scheme,
    ServerKey, Transmit, Uri,
};
use carnet_wire::{Random, hex};

use crate::config::Config;
use crate::event::{CallId, Event, ReferralId};
use crate::refusal::Refusal;

/// Methods this client understands.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, NOTIFY";
/// Extensions this client understands.
pub(crate) const SUPPORTED: &str = "100rel, timer, path";
/// The media type of a session description.
pub(crate) const SDP: &str = "application/sdp";

/// Who asked for a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Registration,
    Call(CallId),
    /// The roster of a conference call.
    Watch(CallId),
    Referral(ReferralId),
    /// An INVITE that was answered: other branches of it may still answer too.
    Answered,
    /// Nobody waits for the answer (BYE, PRACK of a branch that lost).
    Nobody,
}

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) endpoint: Endpoint,
    pub(crate) rng: Box<dyn Random>,
    pub(crate) keys: Option<Keys>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) fetches: VecDeque<Fetch>,
    /// What goes out beside the messages of SIP.
    pub(crate) transmits: VecDeque<Transmit>,
    /// Whether the network sees us elsewhere than we are, as the last registration showed.
    pub(crate) is_translated: bool,
    /// Questions to the key server that have no answer yet, with the time each is given up.
    pub(crate) waiting: BTreeMap<FetchId, (CallId, Instant)>,
    pub(crate) owners: BTreeMap<ClientKey, Owner>,
    /// Our INVITEs that were answered, as long as other branches of them may answer too, whether
    /// the call is still up or not.
    pub(crate) answered: BTreeMap<ClientKey, Message>,
    /// The conferences we are in by name: the call, and whether it is sealed.
    pub(crate) rooms: BTreeMap<String, (CallId, bool)>,
    /// BYEs that are not answered yet: the network may ask for the password first.
    parting: BTreeMap<ClientKey, (Message, Destination)>,
    /// Service-Route of the registration (RFC 3608), else what was configured.
    pub(crate) routes: Vec<NameAddr>,
    digest: Option<DigestClient>,
    next_fetch: u64,
}

impl Core {
    pub(crate) fn new(
        mut config: Config,
        endpoint: Endpoint,
        rng: Box<dyn Random>,
        keys: Option<Keys>,
    ) -> Self {
        let routes = config.routes.clone();
        let digest = config.digest.take();
        Self {
            config,
            endpoint,
            rng,
            keys,
            events: VecDeque::new(),
            fetches: VecDeque::new(),
            transmits: VecDeque::new(),
            is_translated: false,
            waiting: BTreeMap::new(),
            owners: BTreeMap::new(),
            answered: BTreeMap::new(),
            rooms: BTreeMap::new(),
            parting: BTreeMap::new(),
            routes,
            digest,
            next_fetch: 0,
        }
    }

    /// A random token of `octets` octets in hexadecimal.
    pub(crate) fn token(&mut self, octets: usize) -> String {
        let mut buffer = vec![0; octets];
        self.rng.fill(&mut buffer);
        hex::encode(&buffer)
    }

    /// The MSRP URI of a new session at `local` (RFC 4975 §6, §14.1: hard to guess).
    pub(crate) fn path(&mut self, sealed: bool, local: SocketAddr) -> Result<String, Refusal> {
        let session = self.token(12);
        carnet_msrp::Uri::new(sealed, &local.ip().to_string(), local.port(), &session)
            .map(|uri| uri.to_string())
            .map_err(|error| Refusal::Malformed(error.to_string()))
    }

    /// Asks the driver to ask the key server.
    pub(crate) fn fetch(
        &mut self,
        now: Instant,
        call: CallId,
        purpose: FetchPurpose,
        octets: Vec<u8>,
    ) -> FetchId {
        let id = FetchId(self.next_fetch);
        self.next_fetch += 1;
        self.waiting.insert(id, (call, now + self.config.limits.key_server));
        self.fetches.push_back(Fetch { id, purpose, octets });
        id
    }

    /// A request outside a dialog (RFC 3261 §8.1.1), along the Service-Route.
    pub(crate) fn request(
        &self,
        method: Method,
        target: Uri,
        to: &Uri,
        ids: &Ids,
    ) -> Result<Message, Refusal> {
        let mut request = Message::request(method.clone(), target);
        for route in &self.routes {
            set(&mut request, "Route", &route.to_string(), true)?;
        }
        set(&mut request, "Max-Forwards", "70", false)?;
        let from = format!("<{}>;tag={}", self.config.identity, ids.tag);
        set(&mut request, "From", &from, false)?;
        set(&mut request, "To", &format!("<{to}>"), false)?;
        set(&mut request, "Call-ID", &ids.call_id, false)?;
        let cseq = CSeq { number: ids.cseq, method };
        set(&mut request, "CSeq", &cseq.to_string(), false)?;
        Ok(request)
    }

    /// Adds Contact, Allow and Supported.
    pub(crate) fn introduce(&self, message: &mut Message) -> Result<(), Refusal> {
        // RFC 3261 §8.1.1.8: whoever asks for TLS on every hop is reached by TLS on every hop.
        let is_secure = message.request_uri().is_some_and(|uri| uri.scheme() == Scheme::Sips)
            || message
                .routes()
                .is_ok_and(|all| all.first().is_some_and(|r| r.uri().scheme() == Scheme::Sips));
        let contact = if is_secure { secured(&self.config.contact) } else { self.config.contact.to_string() };
        set(message, "Contact", &format!("<{contact}>"), false)?;
        set(message, "Allow", ALLOW, false)?;
        set(message, "Supported", SUPPORTED, false)
    }

    /// Sends a request to the first hop.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        request: Message,
        owner: Owner,
    ) -> Result<ClientKey, Refusal> {
        let destination = self.config.proxy.clone();
        self.send_to(now, request, destination, owner)
    }

    /// Sends a request inside a dialog.
    pub(crate) fn send_in(
        &mut self,
        now: Instant,
        dialog: &Dialog,
        request: Message,
        owner: Owner,
    ) -> Result<ClientKey, Refusal> {
        self.send_to(now, request, dialog.destination(), owner)
    }

    /// Sends a BYE: the last request of `dialog`, which nobody follows any more.
    pub(crate) fn part(&mut self, now: Instant, dialog: &Dialog, bye: Message) {
        let destination = dialog.destination();
        if let Ok(key) = self.send_to(now, bye.clone(), destination.clone(), Owner::Nobody) {
            self.parting.insert(key, (bye, destination));
        }
    }

    /// A request that nobody follows was answered. A BYE that was challenged goes again, once: the
    /// peer would think the call up (RFC 3261 §22.2, §22.3).
    pub(crate) fn parted(&mut self, now: Instant, key: ClientKey, response: &Message) {
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
        if set(&mut bye, "CSeq", &cseq.to_string(), false).is_ok() {
            let _ = self.send_to(now, bye, destination, Owner::Nobody);
        }
    }

    /// A request that nobody follows was not answered.
    pub(crate) fn unparted(&mut self, key: ClientKey) {
        self.parting.remove(&key);
    }

    fn send_to(
        &mut self,
        now: Instant,
        mut request: Message,
        destination: Destination,
        owner: Owner,
    ) -> Result<ClientKey, Refusal> {
        if let Some(digest) = &mut self.digest {
            digest.authorize(&mut request, &mut *self.rng)?;
        }
        let key = self.endpoint.request(now, request, destination)?;
        self.owners.insert(key, owner);
        Ok(key)
    }

    /// Answers OPTIONS (RFC 3261 §11.2).
    pub(crate) fn capable(&mut self, now: Instant, key: ServerKey, request: &Message) {
        self.reply_with(now, key, request, 200, None, |response| {
            set(response, "Allow", ALLOW, false)?;
            set(response, "Accept", SDP, false)?;
            set(response, "Supported", SUPPORTED, false)
        });
    }

    /// Answers a request without a body.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Message,
        status: u16,
        tag: Option<&str>,
    ) {
        self.reply_with(now, key, request, status, tag, |_| Ok(()));
    }

    /// Refuses a request with the status and warning of `refusal`.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Message,
        refusal: &Refusal,
        tag: Option<&str>,
    ) {
        let (status, warning, text) = refusal.sip();
        let host = self.config.identity.host().to_owned();
        // RFC 3261 §14.2, RFC 3311 §5.2: 0 to 10 seconds, drawn so that the two do not meet again.
        let wait = matches!(refusal, Refusal::Protocol(carnet_sip::Error::Glare { ours: false }))
            .then(|| self.rng.u32() % 11);
        self.reply_with(now, key, request, status, tag, |response| {
            if let Some(seconds) = wait {
                set(response, "Retry-After", &seconds.to_string(), false)?;
            }
            match warning {
                // RFC 3261 §20.43
                Some(code) => set(response, "Warning", &format!("{code} {host} \"{text}\""), false),
                None => Ok(()),
            }
        });
    }

    /// Adds the headers without which a refusal of this status does not help its reader.
    fn explain(&self, response: &mut Message, request: &Message, status: u16) -> Result<(), Refusal> {
        match status {
            // RFC 3261 §8.2.1
            405 => set(response, "Allow", ALLOW, false),
            // RFC 3261 §8.2.3
            415 => {
                set(response, "Accept", SDP, false)?;
                set(response, "Accept-Encoding", "identity", false)
            }
            // RFC 3261 §8.2.2.3
            420 => set(response, "Unsupported", &unsupported(request).join(", "), false),
            // RFC 4028 §9
            422 => set(response, "Min-SE", &self.config.session_timers.shortest().to_string(), false),
            _ => Ok(()),
        }
    }

    /// Answers a request after `edit` has added what belongs to the answer.
    pub(crate) fn reply_with(
        &mut self,
        now: Instant,
        key: ServerKey,
        request: &Message,
        status: u16,
        tag: Option<&str>,
        edit: impl FnOnce(&mut Message) -> Result<(), Refusal>,
    ) {
        let reason = carnet_sip::reason_phrase(status);
        let Ok(mut response) = Message::response(request, status, reason) else { return };
        let tag = match tag {
            Some(tag) => tag.to_owned(),
            None => self.token(8),
        };
        if tag_to(&mut response, &tag).is_err()
            || self.explain(&mut response, request, status).is_err()
            || edit(&mut response).is_err()
        {
            return;
        }
        // A transaction that is gone needs no answer.
        let _ = self.endpoint.respond(now, key, response);
    }

    /// How long a request we got may wait for its answer and then be repeated.
    pub(crate) fn longest_transaction(&self) -> Duration {
        let limits = &self.config.limits;
        limits.key_server + limits.ringing + self.endpoint.config().timers.patience()
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

    /// The wall clock and the keys, for whoever seals.
    pub(crate) fn sealing(&mut self) -> Option<(&mut Keys, &mut dyn Random)> {
        Some((self.keys.as_mut()?, &mut *self.rng))
    }
}

/// What names a dialog that we begin.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub(crate) call_id: String,
    pub(crate) tag: String,
    pub(crate) cseq: u32,
}

/// The same place by `sips:`, which has no use for a transport that says TLS (RFC 3261 §26.2.2).
fn secured(uri: &Uri) -> String {
    let plain = uri.without_param("transport");
    match plain.as_str().split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => format!("sips:{rest}"),
        _ => plain.to_string(),
    }
}

/// RFC 3261 §8.2.6.2: every response but 100 has a To tag.
pub(crate) fn tag_to(response: &mut Message, tag: &str) -> Result<(), Refusal> {
    if response.to_tag().is_some() {
        return Ok(());
    }
    let to = response.to()?.with_tag(tag)?;
    set(response, "To", &to.to_string(), false)
}

/// Sets (or adds) a header whose value is ours and therefore printable.
pub(crate) fn set(message: &mut Message, name: &str, value: &str, add: bool) -> Result<(), Refusal> {
    if add { message.push_back(name, value) } else { message.set_header(name, value) }?;
    Ok(())
}

/// Puts a session description into a message.
pub(crate) fn set_sdp(message: &mut Message, sdp: Bytes) -> Result<(), Refusal> {
    Ok(message.set_body(sdp, Some(SDP))?)
}

/// The session description of a message; `None` if it has no body.
pub(crate) fn sdp(message: &Message) -> Option<&Bytes> {
    is_sdp(message).then(|| message.body()).filter(|body| !body.is_empty())
}

/// The session description of a request; `None` if it has none.
///
/// # Errors
/// A body of another kind that is not optional (RFC 3261 §8.2.3).
pub(crate) fn sdp_of_request(request: &Message) -> Result<Option<&Bytes>, Refusal> {
    if request.body().is_empty() {
        return Ok(None);
    }
    if is_sdp(request) {
        return Ok(Some(request.body()));
    }
    // RFC 3261 §20.11: what is not said is required.
    let optional = request.header("Content-Disposition").is_some_and(|value| {
        let mut params = value.split(';').skip(1).map(|param| param.trim().to_ascii_lowercase());
        params.any(|param| param.replace(' ', "") == "handling=optional")
    });
    if optional {
        return Ok(None);
    }
    let coded = request.header("Content-Encoding").map(|coding| format!(" in {coding}")).unwrap_or_default();
    let kind = request.content_type().unwrap_or_default();
    Err(Refusal::MediaType(format!("{kind}{coded}")))
}

fn is_sdp(message: &Message) -> bool {
    let plain =
        message.header("Content-Encoding").is_none_or(|coding| coding.eq_ignore_ascii_case("identity"));
    plain
        && message.content_type().is_none_or(|kind| {
            kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(SDP))
        })
}

/// Option tags that a request requires and this client does not have (RFC 3261 §8.2.2.3).
pub(crate) fn unsupported(request: &Message) -> Vec<String> {
    let mut wanted = request.values("Require").unwrap_or_default();
    wanted.retain(|tag| !SUPPORTED.split(", ").any(|known| known.eq_ignore_ascii_case(tag)));
    wanted
}
