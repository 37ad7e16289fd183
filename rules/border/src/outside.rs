//! Requests outside dialogs: where each goes, what is kept of it, and its branches.
//!
//! RFC 3261 §16.3 to §16.7. An INVITE makes a call, SUBSCRIBE and REFER make a subscription;
//! of anything else, methods never heard of included, only the transaction is kept.

use crate::border::Border;
use crate::call::{Call, FirstInvite, Leg};
use crate::core::{Alarm, CallKey, Forwarded, Purpose, named};
use crate::event::Event;
use crate::fork::Fork;
use crate::forward;
use crate::route::{Onward, own_uri, route};
use crate::session::{End, Fault};
use crate::subscription::Subscription;
use crate::usage::Claim;
use carnet_plan::{Both, Side, Urgency};
use carnet_sip::{Hop, Message, Method, ServerKey};
use std::time::Instant;

/// A request outside dialogs, and how it came.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) key: ServerKey,
    pub(crate) message: Message,
    pub(crate) hop: Hop,
    /// Where its sender is.
    pub(crate) end: End,
}

/// Methods that the border itself has a use for or carries in dialogs; others are carried too.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, OPTIONS, MESSAGE, SUBSCRIBE, NOTIFY, REFER, PUBLISH, REGISTER";

/// Extensions whose rules for proxies are kept here: RFC 3327, RFC 3262 (none), RFC 4028 §8. Topology
/// and identities are hidden by rules of the border's own, so `privacy` is not among them. `mediasec` is
/// done with at registration (TS 24.229 §5.2.2).
const SUPPORTED: [&str; 4] = ["path", "100rel", "timer", crate::mediasec::TAG];

/// Whether everything that the sender wants of those on the way is done here; else 420 with what is
/// not (RFC 3261 §16.3 step 5).
pub(crate) fn understood(message: &Message) -> Result<(), Fault> {
    let wanted = message.values("Proxy-Require").map_err(|e| Fault::new(400, e.to_string()))?;
    let is_known = |tag: &String| SUPPORTED.iter().any(|known| known.eq_ignore_ascii_case(tag));
    let unknown: Vec<_> = wanted.into_iter().filter(|tag| !is_known(tag)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let text = "an extension is required that this border does not support";
    Err(Fault { header: Some(("Unsupported", unknown.join(", "))), ..Fault::new(420, text) })
}

impl Border {
    /// A request with a way yet to be found.
    pub(crate) fn outside(
        &mut self,
        now: Instant,
        network: usize,
        key: ServerKey,
        message: &Message,
        hop: &Hop,
    ) -> Result<(), Fault> {
        let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
        if *message.method() == Method::Options && self.is_for_us(message) {
            return self.present(now, key, message);
        }
        if message.max_forwards().ok().flatten() == Some(0) {
            return Err(Fault::new(483, "Max-Forwards is used up"));
        }
        understood(message)?;
        let asserted = message.addresses("P-Asserted-Identity").map_err(malformed)?;
        let access = self.core.config.networks.get(network).is_some_and(|n| n.access);
        let mut asserted = asserted.iter().filter(|_| access);
        let binding = asserted.find_map(|identity| self.core.registrar.sender(identity.uri(), hop));
        if access && binding.is_none() {
            return Err(Fault::new(403, "only registered users may call from here"));
        }
        let end = match binding {
            Some(binding) => End { source: Some(hop.remote.ip()), ..End::of(binding) },
            None => End { network, source: Some(hop.remote.ip()), ..End::default() },
        };
        if *message.method() == Method::Invite {
            let print = self.core.print(network, message);
            let before = self.core.arrived.get(&print);
            if before.is_some_and(|before| self.core.endpoint.is_open(*before)) {
                return Err(Fault::new(482, "this request is here already"));
            }
        }
        let mut ways = match self.by_contact(message, binding.is_some())? {
            Some(way) => vec![way],
            None => route(&self.core, message, binding)?,
        };
        let arrived = Arrived { key, message: message.clone(), hop: hop.clone(), end };
        let redirects = self.core.config.limits.redirects;
        let follows = redirects > 0 && *message.method() == Method::Invite;
        if ways.len() > 1 || follows {
            self.core.forks.insert(key, Fork::new(arrived, ways, redirects));
            self.launch(now, key);
            return Ok(());
        }
        let way = ways.pop().ok_or_else(|| Fault::new(404, "no way to that address"))?;
        self.send_on(now, 0, &arrived, way)
    }

    /// The way of a request to a Contact that the border gave for somebody else: a transfer leads there, with Replaces
    /// or without, and so does whatever else means that one terminal (RFC 3261 §8.1.1.8, RFC 5589 §7).
    ///
    /// Who has the name was told it; it cannot be guessed. Subscribers of a home network go through that first.
    fn by_contact(&self, message: &Message, registered: bool) -> Result<Option<Onward>, Fault> {
        let forwards = matches!(self.core.config.registration, crate::config::Registration::Forward { .. });
        let routes = message.routes().unwrap_or_default();
        let own = |uri: &carnet_sip::Uri| self.core.is_own(uri);
        let target = message.request_uri().filter(|uri| own(uri) && routes.iter().all(|r| own(r.uri())));
        let Some(name) = target.and_then(|uri| uri.user()).filter(|_| !(registered && forwards)) else {
            return Ok(None);
        };
        let gone = || Fault::new(404, "nobody has that Contact any more");
        let Some((key, side)) = self.core.tokens.get(name) else {
            // Sent on it would come back.
            return if crate::core::is_token(name) { Err(gone()) } else { Ok(None) };
        };
        let far = side.other();
        let call = self.calls.get(key).and_then(|call| {
            let dialog = call.dialogs.iter().rev().max_by_key(|d| (d.confirmed, !d.ended))?;
            let remote = dialog.remotes.of(far);
            let (end, leg) = (call.session.ends.of(far), call.legs.of(far));
            Some((remote, end, leg.way(&self.core, end, remote), leg))
        });
        let subscription = || self.subscriptions.get(key).and_then(|s| s.far(&self.core, far));
        let (remote, end, way, leg) = call.or_else(subscription).ok_or_else(gone)?;
        let hop = way.hop()?;
        // The dialog's way is its own: only its next hop is known to be one.
        let first = remote.routes.first().and_then(|route| carnet_sip::NameAddr::parse(route).ok());
        let next = first.map(|route| route.uri().clone()).or_else(|| leg.next.clone());
        let target = remote.target.clone().ok_or_else(gone)?;
        let remote = crate::forward::Remote { target: Some(target), routes: Vec::new(), cseq: 0 };
        Ok(Some(Onward { remote, hop, next, end: end.clone(), q: 1000 }))
    }

    /// Whether a request asks about the border itself: one of its addresses, or the domain it
    /// registers.
    fn is_for_us(&self, message: &Message) -> bool {
        let domain = |uri: &carnet_sip::Uri| match &self.core.config.registration {
            crate::config::Registration::Local { realm, .. } => uri.host().eq_ignore_ascii_case(realm),
            _ => false,
        };
        let own = |uri: &carnet_sip::Uri| self.core.is_own(uri) || domain(uri);
        message.request_uri().is_some_and(|uri| uri.user().is_none() && own(uri))
    }

    /// Answers an OPTIONS that asks what the border can do (RFC 3261 §11.2).
    fn present(&mut self, now: Instant, key: ServerKey, message: &Message) -> Result<(), Fault> {
        let malformed = |e: carnet_sip::Error| Fault::new(400, e.to_string());
        let mut response = Message::response(message, 200, "").map_err(malformed)?;
        let headers = [
            ("Allow", ALLOW),
            ("Accept", "application/sdp, multipart/mixed"),
            ("Accept-Encoding", "identity"),
            ("Accept-Language", "en"),
            // What passes from end to end needs no support of ours but these.
            ("Supported", "path"),
        ];
        for (name, value) in headers {
            response.push_back(name, value).map_err(malformed)?;
        }
        let _ = self.core.endpoint.respond(now, key, response);
        Ok(())
    }

    /// Starts the next group of a fork.
    pub(crate) fn launch(&mut self, now: Instant, key: ServerKey) {
        let Some(fork) = self.core.forks.get_mut(&key) else { return };
        if let Some(alarm) = fork.set_alarm(None) {
            self.core.alarms.remove(&alarm);
        }
        let Some(group) = fork.next() else { return };
        let (arrived, more) = (fork.arrived.clone(), fork.has_more());
        if more {
            let at = now + self.core.config.timers.hunt;
            let alarm = self.core.alarm(at, Alarm::Hunt(key));
            if let Some(fork) = self.core.forks.get_mut(&key) {
                fork.set_alarm(Some(alarm));
            }
        }
        for (branch, way) in group {
            if let Err(fault) = self.send_on(now, branch, &arrived, way) {
                self.core.refuse_branch(now, (key, branch), &arrived.message, &fault);
            }
        }
    }

    /// A branch of a fork was redirected: the routes say where to, as if the caller had asked for it.
    pub(crate) fn follow(&mut self, now: Instant, key: ServerKey, targets: &[carnet_sip::Uri]) {
        let Some(fork) = self.core.forks.get(&key) else { return };
        let arrived = fork.arrived.clone();
        let asserted = arrived.message.addresses("P-Asserted-Identity").unwrap_or_default();
        let access = self.core.config.networks.get(arrived.end.network).is_some_and(|n| n.access);
        let mut ways = Vec::new();
        for target in targets.iter().filter(|target| !self.core.is_own(target)) {
            let mut message = arrived.message.clone();
            message.remove_all("Route");
            if message.set_request_uri(target.clone()).is_err() {
                continue;
            }
            let mut asserted = asserted.iter().filter(|_| access);
            let caller =
                asserted.find_map(|identity| self.core.registrar.sender(identity.uri(), &arrived.hop));
            ways.extend(route(&self.core, &message, caller).unwrap_or_default());
        }
        let Some(fork) = self.core.forks.get_mut(&key) else { return };
        fork.redirected(ways);
        if fork.has_more() {
            return self.launch(now, key);
        }
        let fault = Fault::new(480, "the callee is elsewhere, and no route leads there");
        fork.gone(&fault, &self.core.config.name);
        self.core.conclude(now, key);
        self.core.tidy_fork(key);
    }

    /// A group of a fork has rung for long enough: the next one gets its turn.
    pub(crate) fn hunt(&mut self, now: Instant, key: ServerKey) {
        let Some(fork) = self.core.forks.get_mut(&key) else { return };
        fork.set_alarm(None);
        let losers = fork.ringing();
        self.launch(now, key);
        for call in losers {
            self.with(call, |call, core| call.lose(core, now, crate::event::Cause::NotAnswered));
        }
    }

    fn send_on(&mut self, now: Instant, branch: usize, arrived: &Arrived, way: Onward) -> Result<(), Fault> {
        match arrived.message.method() {
            Method::Invite => self.call(now, branch, arrived, way),
            Method::Subscribe | Method::Refer => self.subscribe(now, branch, arrived, way),
            _ => self.relay(now, branch, arrived, way),
        }
    }

    /// A name for something new, and its two legs.
    fn legs(&mut self, arrived: &Arrived, way: &mut Onward) -> Result<(CallKey, Both<Leg>), Fault> {
        let access = self.core.config.networks.get(arrived.end.network).is_some_and(|n| n.access);
        let tokens = Both { caller: self.core.token(), callee: self.core.token() };
        let leg = |side: Side, end: &End, hop: Option<Hop>, next| {
            let network = self.core.config.networks.get(end.network);
            let network = network.ok_or_else(|| Fault::new(500, "no such network"))?;
            let token = tokens.of(side).clone();
            Ok::<_, Fault>(Leg { contact: own_uri(network, &token)?, token, hop, next })
        };
        let legs = Both {
            // Requests to a terminal take the flow it called on; other elements are found by
            // their Contact and Record-Route.
            caller: leg(Side::Caller, &arrived.end, Some(arrived.hop.clone()).filter(|_| access), None)?,
            callee: leg(Side::Callee, &way.end, way.hop.take(), way.next.take())?,
        };
        self.next_call += 1;
        let key = CallKey(self.next_call);
        for side in [Side::Caller, Side::Callee] {
            self.core.tokens.insert(legs.of(side).token.clone(), (key, side));
        }
        Ok((key, legs))
    }

    fn call(&mut self, now: Instant, branch: usize, arrived: &Arrived, mut way: Onward) -> Result<(), Fault> {
        if self.retiring {
            return Err(Fault::new(503, "this border goes out of service"));
        }
        let Arrived { key, message, .. } = arrived;
        let trusted = self.core.config.networks.get(arrived.end.network).is_some_and(|n| !n.access);
        let urgency = urgency(message, trusted);
        let limits = &self.core.config.limits;
        let most = |limit: usize| match urgency {
            Urgency::Normal => limit,
            _ => limit.saturating_add((limit / 10).max(1)),
        };
        if self.live() >= most(limits.calls) || self.ended >= most(limits.ended) {
            return Err(Fault::new(503, "the table of calls is full"));
        }
        let claim = Claim {
            invite: *key,
            networks: Both { caller: arrived.end.network, callee: way.end.network },
            users: Both { caller: arrived.end.user.clone(), callee: way.end.user.clone() },
            sources: Both { caller: arrived.end.source, callee: way.end.source },
        };
        self.core.count_in(message.call_id().unwrap_or_default(), &claim, urgency)?;
        let (call_key, legs) = match self.legs(arrived, &mut way) {
            Ok(legs) => legs,
            Err(fault) => {
                self.core.usage.give_back(&claim);
                return Err(fault);
            }
        };
        let first = FirstInvite {
            server: *key,
            branch,
            client: None,
            message: message.clone(),
            remote: way.remote,
            given_up: None,
        };
        let name = |end: &End| {
            self.core.config.networks.get(end.network).map(|n| n.name.clone()).unwrap_or_default()
        };
        self.core.events.push_back(Event::CallStarted {
            call_id: message.call_id().unwrap_or_default().to_owned(),
            from: message.from().map(|f| f.uri().to_string()).unwrap_or_default(),
            to: message.request_uri().map(ToString::to_string).unwrap_or_default(),
            networks: Both { caller: name(&arrived.end), callee: name(&way.end) },
        });
        let ends = Both { caller: arrived.end.clone(), callee: way.end };
        if let Some(fork) = self.core.forks.get_mut(key) {
            fork.made(branch, call_key);
        }
        let mut call = Call::new(call_key, first, legs, ends, now);
        call.session.urgency = urgency;
        call.session.claim = Some(claim);
        let print = self.core.print(arrived.end.network, message);
        self.core.arrived.insert(print, *key);
        self.calls.insert(call_key, call);
        let (key, message) = (*key, message.clone());
        self.with(call_key, |call, core| call.request(core, now, Side::Caller, key, message));
        Ok(())
    }

    fn subscribe(
        &mut self,
        now: Instant,
        branch: usize,
        arrived: &Arrived,
        mut way: Onward,
    ) -> Result<(), Fault> {
        if let Some(key) = self.begun_before(now, arrived, &way) {
            let mut outcome = Ok(());
            self.with_subscription(key, |subscription, core| {
                let (legs, ends) = (&mut subscription.legs, &mut subscription.ends);
                legs.caller.heard(core, &mut ends.caller, &arrived.hop);
                outcome = subscription.begin_again(core, now, (branch, arrived), &way.remote);
            });
            return outcome;
        }
        if self.subscriptions.len() >= self.core.config.limits.subscriptions {
            return Err(Fault::new(503, "the table of subscriptions is full"));
        }
        let (key, legs) = self.legs(arrived, &mut way)?;
        let ends = Both { caller: arrived.end.clone(), callee: way.end };
        let tokens = [legs.caller.token.clone(), legs.callee.token.clone()];
        let new = Subscription::begin(&mut self.core, now, key, (branch, arrived), (legs, ends), &way.remote);
        match new {
            Ok(subscription) => {
                self.subscriptions.insert(key, subscription);
                self.with_subscription(key, |_, _| {});
            }
            Err(fault) => {
                for token in &tokens {
                    self.core.tokens.remove(token);
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The subscription that this request has begun already, in the process before.
    fn begun_before(&self, now: Instant, arrived: &Arrived, way: &Onward) -> Option<CallKey> {
        let (message, target) = (&arrived.message, way.remote.target.as_ref());
        let known = self.begun.get(message.call_id().ok()?)?;
        let is = |key: &&CallKey| {
            self.subscriptions.get(key).is_some_and(|known| known.is_begun_by(message, target, now))
        };
        known.iter().find(is).copied()
    }

    /// A request that leaves nothing behind but its transaction.
    fn relay(&mut self, now: Instant, branch: usize, arrived: &Arrived, way: Onward) -> Result<(), Fault> {
        let Onward { remote, hop, next, end, .. } = way;
        let unreachable = || Fault::new(404, "no way to that address");
        let network = self.core.config.networks.get(end.network).ok_or_else(unreachable)?;
        let destination =
            remote.destination(Some(network), hop.as_ref(), next.as_ref()).ok_or_else(unreachable)?;
        let mut request = forward::request(&arrived.message, &remote, &network.contact)?;
        forward::hide_identity(&mut request, Some(network));
        let to = named(&destination);
        let client = self
            .core
            .endpoint
            .request(now, request, destination)
            .map_err(|e| Fault::new(e.status().unwrap_or(503), e.to_string()))?;
        let purpose = Purpose::Relay { branch, network: arrived.end.network };
        let forwarded = Forwarded { purpose, server: arrived.key, request: arrived.message.clone(), to };
        self.core.clients.insert(client, forwarded);
        Ok(())
    }

    /// The response to a request that was relayed.
    pub(crate) fn relayed(&mut self, now: Instant, client: carnet_sip::ClientKey, message: &Message) {
        let Some(Forwarded { purpose: Purpose::Relay { branch, network }, server, request, .. }) =
            self.core.clients.get(&client)
        else {
            return;
        };
        let contact = self.core.config.networks.get(*network).map(|n| &n.contact);
        let onward = contact.map(|contact| forward::response(message, request, contact));
        let at = (*server, *branch);
        if let Some(Ok(onward)) = onward {
            self.core.reply(now, at, onward, false);
        }
        if message.status().is_some_and(|s| s >= 200) {
            self.core.clients.remove(&client);
        }
    }
}

/// How much a call matters. What terminals say of priority is not believed; whom they call is.
fn urgency(invite: &Message, trusted: bool) -> Urgency {
    let target = invite.request_uri().map(ToString::to_string).unwrap_or_default();
    let sos = "urn:service:sos";
    match target.get(sos.len()..).zip(target.get(..sos.len())) {
        Some(("", head)) if head.eq_ignore_ascii_case(sos) => Urgency::Emergency,
        Some((rest, head)) if head.eq_ignore_ascii_case(sos) && rest.starts_with('.') => Urgency::Emergency,
        _ if trusted && invite.has("Resource-Priority") => Urgency::Priority,
        _ => Urgency::Normal,
    }
}
