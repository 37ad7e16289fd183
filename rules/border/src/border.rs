//! The border as one machine: SIP and gateway messages in, SIP and gateway messages out.

use crate::admission::Origin;
use crate::call::{Call, Kind};
use crate::config::Config;
use crate::core::{Alarm, CallKey, Core, Forwarded, Op, Purpose, Todo, fault_of, no_way};
use crate::event::{Cause, Event};
use crate::gateways::{Change, GatewayStatus, Refusal, Report, Request};
use crate::outside::understood;
use crate::session::Fault;
use crate::subscription::Subscription;
use carnet_h248 as h248;
use carnet_h248::controller::{GatewayName, LostReason};
use carnet_plan::{Both, Side, is_unable};
use carnet_sip::{
    Answer, ClientKey, Hop, Input, Message, Method, Query, QueryId, ServerKey, Silence, Transmit,
};
use carnet_wire::Random;
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

/// What the driver is to send.
#[derive(Debug)]
pub enum Out {
    /// SIP octets.
    Sip(Transmit),
    /// An H.248 message for a gateway: encoded on a socket, or passed as it is inside a process.
    Gateway(GatewayName, h248::Message),
    /// A datagram for the rtpengine.
    Rtpengine(bytes::Bytes),
}

/// A context that was to be added.
struct Add {
    request: Request,
    call: CallKey,
    context: carnet_plan::Context,
    first: Side,
    tried: Vec<GatewayName>,
}

/// An IMS-ALG or IBCF: a back-to-back user agent that anchors TCP media on gateways.
///
/// Sans-IO. After each call drain [`poll_transmit`](Self::poll_transmit),
/// [`poll_query`](Self::poll_query) and [`poll_event`](Self::poll_event), then wait for input or
/// for [`poll_timeout`](Self::poll_timeout).
pub struct Border {
    pub(crate) core: Core,
    pub(crate) calls: HashMap<CallKey, Call>,
    pub(crate) subscriptions: HashMap<CallKey, Subscription>,
    /// Those of the process before whose first request may come again, by Call-ID.
    pub(crate) begun: HashMap<String, Vec<CallKey>>,
    /// How many of the calls are over and kept only for messages that come late.
    pub(crate) ended: usize,
    pub(crate) next_call: u64,
    /// No new calls: the border goes out of service.
    pub(crate) retiring: bool,
}

/// How much a border holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Calls, those that have just ended included.
    pub calls: usize,
    /// Calls that have not ended.
    pub live: usize,
    /// Dialogs without a call.
    pub subscriptions: usize,
    /// Requests that went several ways and are not over.
    pub forks: usize,
    /// Requests to gateways, and to an rtpengine, without an answer.
    pub gateway_requests: usize,
    /// SIP requests sent on without a final response.
    pub requests: usize,
    /// Contact tokens in use.
    pub tokens: usize,
    /// Deadlines set.
    pub alarms: usize,
    /// Entries in the count of what calls take of their networks.
    pub counted: usize,
}

impl Border {
    /// A border with no calls and no gateways yet. `now` and `wall` are the same moment on the
    /// two clocks.
    pub fn new(config: Config, random: Box<dyn Random>, now: Instant, wall: SystemTime) -> Self {
        Self {
            core: Core::new(config, random, now, wall),
            calls: HashMap::new(),
            subscriptions: HashMap::new(),
            begun: HashMap::new(),
            ended: 0,
            next_call: 0,
            retiring: false,
        }
    }

    /// Takes no more new calls: they are answered with 503 and Retry-After, so that the next one of
    /// several borders is tried (RFC 3261 §21.5.4). Calls that there are go on.
    ///
    /// Gateways that register from now on are sent to the alternate, if there is one.
    pub fn retire(&mut self) {
        self.retiring = true;
        self.redirect();
    }

    /// Whether it takes no new calls because it was told so.
    pub fn is_retiring(&self) -> bool {
        self.retiring
    }

    /// Takes new calls again, after [`retire`](Self::retire).
    pub fn resume(&mut self) {
        self.retiring = false;
        self.redirect();
    }

    /// Gives a gateway no new calls, or some again; those on it go on. Whether there is such a gateway.
    pub fn avoid(&mut self, gateway: &str, avoid: bool) -> bool {
        self.core.gateways.avoid(gateway, avoid)
    }

    /// Ends the calls with this Call-ID towards both ends, as an administrator wants it; how many there were that had not ended.
    /// A call that passes the border twice is two.
    pub fn end_call(&mut self, now: Instant, call_id: &str) -> usize {
        self.core.now = now;
        let with = |call: &&Call| call.call_id == call_id && !call.is_over();
        let mut keys: Vec<_> = self.calls.values().filter(with).map(|call| call.key).collect();
        keys.sort_unstable();
        for key in &keys {
            self.with(*key, |call, core| call.hang_up(core, now, Cause::Administrator));
        }
        self.drain(now);
        keys.len()
    }

    /// Whether gateways that register are sent elsewhere: we take no calls, or no more of them.
    pub(crate) fn redirect(&mut self) {
        let full = self.live() >= self.core.config.limits.calls;
        let to = self.core.config.alternate.clone().filter(|_| self.retiring || full);
        self.core.gateways.redirect(to);
    }

    /// Moves a gateway to another controller (RFC 3525 §11.5). Calls on it end: their media would go on
    /// without anybody who could end it.
    pub fn hand_off(&mut self, now: Instant, gateway: &str, to: h248::MId) {
        self.core.now = now;
        let on = |call: &&Call| call.session.uses(gateway, None);
        let mut keys: Vec<_> = self.calls.values().filter(on).map(|c| c.key).collect();
        keys.sort_unstable();
        for key in keys {
            self.with(key, |call, core| call.hang_up(core, now, Cause::GatewayLost));
        }
        self.core.gateways.hand_off(now, gateway, to);
        self.drain(now);
    }

    /// Ends every call towards both ends and gives its contexts back.
    pub fn end_calls(&mut self, now: Instant) {
        self.core.now = now;
        let mut keys: Vec<_> = self.calls.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.with(key, |call, core| call.hang_up(core, now, Cause::Stopping));
        }
        if let Some(to) = self.core.config.alternate.clone().filter(|_| self.retiring) {
            for gateway in self.core.gateways.names() {
                self.core.gateways.hand_off(now, &gateway, to.clone());
            }
        }
        self.drain(now);
    }

    /// How long the SIP octets that follow have waited for their turn: a border that is behind
    /// answers new requests 503 at once.
    pub fn delayed(&mut self, waited: Duration) {
        self.core.endpoint.delayed(waited);
    }

    /// Takes SIP octets in.
    pub fn handle_sip(&mut self, now: Instant, input: Input) {
        self.core.now = now;
        self.core.endpoint.handle_input(now, input);
        self.drain(now);
    }

    /// Takes an H.248 message of a gateway in.
    pub fn handle_gateway(&mut self, now: Instant, gateway: &str, message: h248::Message) {
        self.core.now = now;
        self.redirect();
        self.core.gateways.handle(now, gateway, message);
        self.drain(now);
    }

    /// Octets that a gateway sent and that are no H.248 message.
    pub fn handle_undecodable(&mut self, now: Instant, gateway: &str, error: &h248::Error) {
        self.core.now = now;
        self.core.gateways.undecodable(gateway, error);
        self.drain(now);
    }

    /// The gateway that calls itself so, for drivers that know a datagram's sender by what it
    /// says.
    pub fn gateway_of(&self, mid: &h248::MId) -> Option<&GatewayName> {
        self.core.gateways.gateway_of(mid)
    }

    /// Where a gateway wants requests sent, if not where its messages come from (RFC 3525 §7.2.8).
    /// Answers go to where it asked from all the same.
    pub fn service_change_address(&self, gateway: &str) -> Option<&h248::ServiceChangeAddress> {
        self.core.gateways.service_change_address(gateway)
    }

    /// Whether a message that names `gateway` as its sender is to be taken. If not, the driver hands
    /// it to nobody, answers nothing and changes nothing; a rate-limited event tells of it.
    pub fn admit_gateway(
        &mut self,
        now: Instant,
        gateway: &str,
        origin: Origin,
        message: &h248::Message,
    ) -> bool {
        let outcome = self.core.gateways.admit(now, gateway, origin, message);
        if let Err(Some(event)) = &outcome {
            self.core.events.push_back((**event).clone());
        }
        outcome.is_ok()
    }

    /// The driver has a way to a gateway. The gateway is used once it has registered.
    pub fn gateway_connected(&mut self, now: Instant, gateway: &str) {
        self.core.now = now;
        self.core.gateways.connected(gateway);
        self.drain(now);
    }

    /// The way to a gateway broke. New calls go to others; those on it end if it stays away.
    pub fn gateway_lost(&mut self, now: Instant, gateway: &str) {
        self.core.now = now;
        self.core.gateways.cut(gateway);
        self.drain(now);
    }

    /// The driver could not deliver to `hop`, or the connection closed.
    pub fn transport_failed(&mut self, now: Instant, hop: &Hop) {
        self.core.now = now;
        self.core.endpoint.transport_failed(now, hop);
        if let Some(flow) = hop.flow {
            self.core.flow_failed(flow);
            self.calls.values_mut().for_each(|call| call.lose_flow(flow));
            for subscription in self.subscriptions.values_mut() {
                subscription.legs.caller.lose(flow);
                subscription.legs.callee.lose(flow);
            }
        }
        self.drain(now);
    }

    /// Takes DNS's answer to a query.
    pub fn handle_answer(&mut self, now: Instant, id: QueryId, answer: Answer) {
        self.core.now = now;
        self.core.endpoint.handle_answer(now, id, answer);
        self.drain(now);
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.now = now;
        self.core.endpoint.handle_timeout(now);
        self.core.gateways.handle_timeout(now);
        if let Some(rtp) = &mut self.core.rtp {
            rtp.client.elapsed(now);
        }
        while let Some(entry) = self.core.alarms.first_entry().filter(|e| e.key().0 <= now) {
            match entry.remove() {
                Alarm::Call(key) => {
                    self.with(key, |call, core| {
                        call.armed = None;
                        call.timeout(core, now);
                    });
                    self.with_subscription(key, |subscription, _| subscription.armed = None);
                }
                Alarm::Hunt(key) => self.hunt(now, key),
                Alarm::Subtract { context, call_id, tries } => self.core.subtract(*context, call_id, tries),
                Alarm::Binding(key) => self.core.expire(now, &key),
                Alarm::Opening => self.open(),
                Alarm::Abandoned => self.core.forget_abandoned(),
                Alarm::Say { hop, octets, times } => self.core.say(hop, octets, times),
            }
        }
        self.drain(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let alarm = self.core.alarms.keys().next().map(|(at, _)| *at);
        let rtp = self.core.rtp.as_ref().and_then(|rtp| rtp.client.deadline());
        [alarm, rtp, self.core.endpoint.poll_timeout(), self.core.gateways.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to send.
    pub fn poll_transmit(&mut self) -> Option<Out> {
        if let Some((gateway, message)) = self.core.gateways.poll_transmit() {
            return Some(Out::Gateway(gateway, message));
        }
        if let Some(datagram) = self.core.rtp.as_mut().and_then(|rtp| rtp.client.poll_transmit()) {
            return Some(Out::Rtpengine(datagram));
        }
        self.core.endpoint.poll_transmit().map(Out::Sip)
    }

    /// A datagram of the rtpengine.
    pub fn handle_rtpengine(&mut self, now: Instant, datagram: &bytes::Bytes) {
        self.core.now = now;
        if let Some(rtp) = &mut self.core.rtp {
            rtp.client.received(datagram);
        }
        self.drain(now);
    }

    /// The next question for DNS.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.core.endpoint.poll_query()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    /// How much it holds.
    pub fn load(&self) -> Load {
        Load {
            calls: self.calls.len(),
            live: self.live(),
            subscriptions: self.subscriptions.len(),
            forks: self.core.forks.len(),
            gateway_requests: self.core.ops.len()
                + self.core.rtp.as_ref().map_or(0, |rtp| rtp.client.pending()),
            requests: self.core.clients.len(),
            tokens: self.core.tokens.len(),
            alarms: self.core.alarms.len(),
            counted: self.core.usage.entries(),
        }
    }

    /// What its SIP endpoint has counted, and how full it is.
    pub fn sip_counts(&self) -> (carnet_sip::Tally, carnet_sip::Load) {
        (self.core.endpoint.tally(), self.core.endpoint.load())
    }

    /// The next SIP transaction that has its final response.
    pub fn poll_finished(&mut self) -> Option<carnet_sip::Finished> {
        self.core.endpoint.poll_finished()
    }

    /// Bindings of terminals that stand, by the network that they registered from; each network where somebody may.
    pub fn registrations(&self) -> Vec<(&str, usize)> {
        let past = &self.core.past;
        let networks = self.core.config.networks.iter().enumerate();
        let networks = networks.filter(|(at, n)| n.access && !past.is_closed(*at));
        networks.map(|(at, n)| (n.name.as_str(), self.core.registrar.of_network(at))).collect()
    }

    /// Each gateway of the configuration at this moment, in the order of their names. Looks through
    /// all calls.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        let mut all = self.core.gateways.status(self.core.now);
        for status in &mut all {
            let on = |call: &&Call| call.session.uses(&status.control.name, None);
            status.calls = self.calls.values().filter(on).count();
        }
        all
    }

    pub(crate) fn live(&self) -> usize {
        self.calls.len().saturating_sub(self.ended)
    }

    /// Runs `act` on a call and takes care of what follows for its place in the tables.
    pub(crate) fn with(&mut self, key: CallKey, act: impl FnOnce(&mut Call, &mut Core)) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        let was_over = call.is_over();
        act(call, &mut self.core);
        self.core.state.changed(key);
        if !was_over && call.is_over() {
            self.ended += 1;
        }
        if call.done {
            if call.is_over() {
                self.ended = self.ended.saturating_sub(1);
            }
            let Some(call) = self.calls.remove(&key) else { return };
            return self.forget(&call);
        }
        let wanted = call.next_deadline();
        if call.armed.map(|(at, _)| at) != wanted {
            if let Some(old) = call.armed.take() {
                self.core.alarms.remove(&old);
            }
            call.armed = wanted.map(|at| self.core.alarm(at, Alarm::Call(key)));
        }
    }

    /// The same for a subscription.
    pub(crate) fn with_subscription(&mut self, key: CallKey, act: impl FnOnce(&mut Subscription, &mut Core)) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        act(subscription, &mut self.core);
        self.core.state.changed(key);
        let lives = subscription.settle(&self.core, self.core.now);
        if let Some(old) = subscription.armed.take() {
            self.core.alarms.remove(&old);
        }
        if lives {
            subscription.armed = Some(self.core.alarm(subscription.deadline, Alarm::Call(key)));
        } else if let Some(gone) = self.subscriptions.remove(&key) {
            self.begun.remove(&gone.call_id);
            for side in [Side::Caller, Side::Callee] {
                self.core.tokens.remove(&gone.legs.of(side).token);
            }
        }
    }

    fn forget(&mut self, call: &Call) {
        for side in [Side::Caller, Side::Callee] {
            self.core.tokens.remove(&call.legs.of(side).token);
        }
        for key in &call.served {
            if let Some((_, Some(client))) = self.core.served.remove(key) {
                self.core.clients.remove(&client);
            }
        }
        if let Some(client) = call.first.client {
            self.core.clients.remove(&client);
        }
        let print = self.core.print(call.session.ends.caller.network, &call.first.message);
        if self.core.arrived.get(&print) == Some(&call.first.server) {
            self.core.arrived.remove(&print);
        }
        if let Some(fork) = self.core.forks.get_mut(&call.first.server) {
            fork.forget(call.key);
            self.core.tidy_fork(call.first.server);
        }
        if let Some(armed) = call.armed {
            self.core.alarms.remove(&armed);
        }
    }

    pub(crate) fn drain(&mut self, now: Instant) {
        loop {
            if let Some(todo) = self.core.todo.pop_front() {
                match todo {
                    Todo::GiveUp(key, cause) => self.with(key, |call, core| call.lose(core, now, cause)),
                    Todo::Launch(key) => self.launch(now, key),
                    Todo::Follow(key, targets) => self.follow(now, key, &targets),
                }
            } else if let Some(report) = self.core.gateways.poll_report() {
                self.report(now, report);
            } else if let Some((call, id, outcome)) = self.core.rtp.as_mut().and_then(crate::rtp::Rtp::poll) {
                self.with(call, |call, core| call.rtp_done(core, now, id, outcome));
            } else if let Some(event) = self.core.endpoint.poll_event() {
                self.sip(now, event);
            } else if self.core.late.is_empty() || !self.do_late() {
                return;
            }
        }
    }

    // -- SIP -------------------------------------------------------------------------------

    fn sip(&mut self, now: Instant, event: carnet_sip::Event) {
        use carnet_sip::Event as Sip;
        match event {
            Sip::Request { key, message, hop } => self.request(now, key, message, hop),
            Sip::Response { key, mut message, hop } => {
                let network = self.core.network_of(&hop);
                if network.and_then(|n| self.core.config.networks.get(n)).is_some_and(|n| n.access) {
                    // What a terminal asserts of itself is not trusted in answers either.
                    message.remove_all("P-Asserted-Identity");
                }
                self.response(now, key, message);
            }
            Sip::Unanswered { key, reason } => {
                let status = reason.status();
                let Some(forwarded) = self.core.clients.get(&key) else { return };
                // Unreachable next hops are our trouble, not the caller's (RFC 3261 §16.7).
                let status = if status == 503 { 500 } else { status };
                let Ok(mut response) = Message::response(&forwarded.request, status, "") else { return };
                if reason != Silence::Cancelled {
                    // Who is behind the border, and where, is nobody's business before it.
                    let _ =
                        response.push_back("Warning", &format!("399 {} \"{reason}\"", self.core.config.name));
                    self.core.events.push_back(Event::Unanswered {
                        call_id: forwarded.request.call_id().unwrap_or_default().to_owned(),
                        method: forwarded.request.method().to_string(),
                        sent_to: forwarded.to.clone(),
                        reason: reason.to_string(),
                    });
                    if let Purpose::Call(call, _) = &forwarded.purpose
                        && let Some(call) = self.calls.get_mut(call)
                        && call.first.client == Some(key)
                    {
                        call.first.given_up.get_or_insert(Cause::Unanswered(reason));
                    }
                }
                self.response(now, key, response);
            }
            Sip::Ack { key: None, message, hop } => {
                // Of an INVITE that came to the process before, perhaps.
                if let Some((call, from)) = self.side_at(&message, &hop) {
                    self.with(call, |call, core| call.stray_ack(core, now, from, message));
                }
            }
            Sip::Ack { key, message, .. } => {
                let Some((call, client, from)) = key.and_then(|k| self.acknowledged(k, &message)) else {
                    return;
                };
                self.with(call, |call, core| call.ack(core, now, from, client, message));
            }
            Sip::Cancelled { key, .. } => {
                if self.core.forks.contains_key(&key) {
                    self.core.give_up_others(key, Cause::Cancelled);
                } else if let Some((call, _)) = self.core.served.get(&key).copied() {
                    self.with(call, |call, core| call.cancelled(core, now, key));
                }
            }
            Sip::Unacknowledged { key, status, to_tag } if (200..300).contains(&status) => {
                let forked = self.core.forks.get(&key).and_then(|fork| {
                    let has = |key: &CallKey| self.calls.get(key).is_some_and(|c| c.has_callee(&to_tag));
                    fork.calls().find(has)
                });
                let served = self.core.served.get(&key).map(|(call, _)| *call);
                if let Some(call) = forked.or(served) {
                    self.with(call, |call, core| call.hang_up(core, now, Cause::NoAck));
                }
            }
            Sip::Stray { message, hop } => self.core.turn_down_stray(now, &message, &hop),
            Sip::Ended { key } => {
                // The server side may still wait for its ACK; the call forgets it later.
                self.core.clients.remove(&key);
            }
            _ => {}
        }
    }

    /// The call an ACK belongs to, the INVITE as it went on, and who sends it: the one who sent
    /// the INVITE.
    fn acknowledged(&self, key: ServerKey, ack: &Message) -> Option<(CallKey, ClientKey, Side)> {
        let token = || self.core.tokens.get(ack.request_uri()?.user()?).copied();
        if let Some(fork) = self.core.forks.get(&key) {
            // The branch shows in the Contact that its 2xx had.
            let (call, _) = token().filter(|(call, _)| fork.calls().any(|c| c == *call))?;
            return Some((call, self.calls.get(&call)?.first.client?, Side::Caller));
        }
        let (call, Some(client)) = *self.core.served.get(&key)? else { return None };
        match self.core.clients.get(&client) {
            Some(Forwarded { purpose: Purpose::Call(_, side), .. }) => Some((call, client, *side)),
            _ => Some((call, client, token()?.1)),
        }
    }

    fn request(&mut self, now: Instant, key: ServerKey, mut message: Message, hop: Hop) {
        self.assert_identity(&mut message, &hop);
        let outcome = self.admit(now, key, &message, &hop);
        if let Err(fault) = outcome {
            self.core.refuse(now, key, &message, &fault);
        }
    }

    /// What a terminal asserts of itself is not trusted; who it registered as is asserted in its
    /// stead (RFC 3325 §5, TS 24.229 §5.2.6.3).
    fn assert_identity(&self, message: &mut Message, hop: &Hop) {
        let Some(network) = self.core.network_of(hop) else { return };
        if !self.core.config.networks.get(network).is_some_and(|n| n.access) {
            return;
        }
        message.remove_all("P-Asserted-Identity");
        if message.to_tag().is_some() || *message.method() == Method::Register {
            return;
        }
        let asserted = self.core.registrar.speaker(message, hop).map(|binding| format!("<{}>", binding.aor));
        // What it prefers has been heeded, and is for nobody else (RFC 3325 §9.2).
        message.remove_all("P-Preferred-Identity");
        if let Some(asserted) = asserted {
            // A parsed URI is printable, so adding it cannot fail.
            let _ = message.push_back("P-Asserted-Identity", &asserted);
        }
    }

    /// Sorts a request: to its call, to the registrar, or onwards.
    fn admit(&mut self, now: Instant, key: ServerKey, message: &Message, hop: &Hop) -> Result<(), Fault> {
        if message.to_tag().is_some() || self.is_untagged(message, hop) {
            let (call, from) = self.side_at(message, hop).ok_or_else(|| Fault::new(481, "no such call"))?;
            understood(message)?;
            let message = message.clone();
            if self.calls.contains_key(&call) {
                self.with(call, |call, core| {
                    call.heard(core, from, hop);
                    call.request(core, now, from, key, message);
                });
            } else {
                self.with_subscription(call, |s, core| {
                    s.legs.of_mut(from).heard(core, s.ends.of_mut(from), hop);
                    s.request(core, now, from, key, &message);
                });
            }
            return Ok(());
        }
        let network = self
            .core
            .network_of(hop)
            .ok_or_else(|| Fault::new(403, "requests from this address are not taken"))?;
        if self.core.is_past(network, hop) {
            return Err(Fault::new(503, "this border is not reached here any more"));
        }
        match message.method() {
            Method::Register if message.max_forwards().ok().flatten() == Some(0) => {
                Err(Fault::new(483, "Max-Forwards is used up"))
            }
            Method::Register => {
                understood(message)?;
                self.core.register(now, network, key, message.clone(), hop.clone());
                Ok(())
            }
            // These have no meaning outside a dialog.
            Method::Bye | Method::Prack | Method::Update => Err(Fault::new(481, "no such call")),
            _ => self.outside(now, network, key, message, hop),
        }
    }

    /// Whether a request without a tag in To is of a dialog whose callee has none (RFC 3261 §12.1.2).
    fn is_untagged(&self, message: &Message, hop: &Hop) -> bool {
        let side = self.side_at(message, hop);
        let call = side.and_then(|(call, from)| Some((self.calls.get(&call)?, from)));
        call.is_some_and(|(call, from)| call.dialog_of(from, message).is_some())
    }

    /// The call or subscription that a request in a dialog belongs to, and who sends it: a side of a call
    /// speaks from where that side is.
    fn side_at(&self, message: &Message, hop: &Hop) -> Option<(CallKey, Side)> {
        let token = message.request_uri().and_then(|u| u.user()).unwrap_or_default();
        let (call, from) = self.core.tokens.get(token).copied()?;
        let ends = self.calls.get(&call).map(|c| &c.session.ends);
        let ends = ends.or_else(|| self.subscriptions.get(&call).map(|s| &s.ends))?;
        let network = self.core.network_of(hop);
        (Some(ends.of(from).network) == network).then_some((call, from))
    }

    fn response(&mut self, now: Instant, client: ClientKey, message: Message) {
        let Some(forwarded) = self.core.clients.get(&client) else { return };
        let server = forwarded.server;
        match &forwarded.purpose {
            Purpose::Call(call, requester) => {
                let (call, from) = (*call, requester.other());
                if self.subscriptions.contains_key(&call) {
                    let from = from.other();
                    return self
                        .with_subscription(call, |s, core| s.response(core, now, from, client, &message));
                }
                let kind = Kind::Response { client, server, request: Box::new(forwarded.request.clone()) };
                self.with(call, |call, core| call.response(core, now, from, kind, message));
            }
            Purpose::Relay { .. } => self.relayed(now, client, &message),
            Purpose::Register { network, .. } => {
                let last = message.status().is_some_and(|s| s >= 200);
                let mut onward = message.clone();
                onward.remove_all("Record-Route");
                self.core.tell_mediasec(*network, &mut onward, &forwarded.request);
                let _ = self.core.endpoint.respond(now, server, onward);
                if !last {
                    return;
                }
                if let Some(Forwarded {
                    purpose: Purpose::Register { hop, network, token }, request, ..
                }) = self.core.clients.remove(&client)
                {
                    self.core.registered_onward(now, (&hop, network, &token), &request, &message);
                }
            }
        }
    }

    // -- gateways --------------------------------------------------------------------------

    fn report(&mut self, now: Instant, report: Report) {
        match report {
            Report::Up(gateway) => {
                self.core.events.push_back(Event::GatewayUp { gateway });
                self.open_if_ready();
            }
            Report::Lost(gateway, reason) => self.lost(now, gateway, reason),
            Report::TurnedAway(gateway, error) => self.core.gateway_refused(gateway, "ServiceChange", &error),
            Report::Unsuited(gateway, error) => {
                let text = error.text.as_deref().unwrap_or_default().to_owned();
                self.core.events.push_back(Event::GatewayUnsuited { gateway, code: error.code, text });
            }
            Report::Draining(gateway, delay) => {
                let seconds = delay.map(|d| d.as_secs());
                self.core.events.push_back(Event::GatewayDraining { gateway, seconds });
            }
            Report::ContextsLost(gateway, contexts) => {
                for id in contexts {
                    let on = |call: &&Call| call.session.uses(&gateway, Some(id));
                    let key = self.calls.values().find(on).map(|c| c.key);
                    if let Some(key) = key {
                        let place = (&*gateway, Some(id));
                        self.with(key, |call, core| call.lose_media(core, now, place, Cause::ContextLost));
                    }
                }
            }
            Report::Resynchronised { gateway, strays, lost, complete } => {
                self.core.events.push_back(Event::GatewayResynchronised { gateway, strays, lost, complete });
            }
            Report::Interface { gateway, context, termination, change } => {
                self.interface(now, gateway, context, &termination, change);
            }
            Report::Reply { request, gateway, sent, actions, error } => {
                let Some(op) = self.core.ops.remove(&request) else { return };
                if let Some(sent) = sent {
                    self.answered(now, &op, gateway, sent, error.as_ref());
                }
                match op {
                    Op::Add { call, context, first, tried } => {
                        let add = Add { request, call, context, first, tried };
                        self.added(now, add, &actions, error);
                    }
                    Op::Modify { call, gateway } => {
                        if let Some(Refusal { error, .. }) = &error {
                            self.core.gateway_refused(gateway, "Modify", error);
                        }
                        let fault = error.as_ref().map(|refusal| fault_of(&refusal.error));
                        self.with(call, |call, core| call.op_done(core, now, request, fault));
                    }
                    Op::Subtract { context, call_id, tries } => {
                        let error = error.as_ref().map(|refusal| &refusal.error);
                        self.core.subtracted((context, call_id, tries), &actions, error);
                    }
                    Op::Sweep => {}
                    Op::Audit(number) => {
                        let error = error.map(|refusal| refusal.error);
                        self.core.events.push_back(Event::Audited { number, actions, error });
                    }
                }
            }
            Report::Notify { gateway, context, termination, observed } => {
                self.notified(now, &gateway, context, &termination, &observed);
            }
        }
    }

    /// Tells that a gateway has answered what was asked for a call, or that nothing came.
    fn answered(
        &mut self,
        now: Instant,
        op: &Op,
        gateway: GatewayName,
        (transaction, sent): (h248::TransactionId, Instant),
        refusal: Option<&Refusal>,
    ) {
        let of = |call: &CallKey| self.calls.get(call).map(|call| call.call_id.clone());
        let (command, context, call_id) = match op {
            Op::Add { call, context, .. } => ("Add", context.id(), of(call)),
            Op::Modify { call, .. } => ("Modify", None, of(call)),
            Op::Subtract { context, call_id, .. } => ("Subtract", context.id(), Some(call_id.clone())),
            Op::Sweep | Op::Audit(_) => return,
        };
        self.core.events.push_back(Event::GatewayAnswered {
            call_id: call_id.unwrap_or_default(),
            gateway,
            transaction: transaction.0,
            command,
            context,
            code: refusal.map(|refusal| refusal.error.code),
            took: now.saturating_duration_since(sent),
        });
    }

    fn added(&mut self, now: Instant, add: Add, actions: &[h248::ActionReply], error: Option<Refusal>) {
        let Add { request, call: key, mut context, first, tried } = add;
        let gateway = context.gateway.clone();
        let (mut elsewhere, mut unwell) = (false, false);
        let fault = match &error {
            Some(refusal) => {
                self.core.gateway_refused(gateway.clone(), "Add", &refusal.error);
                // One that cannot do what this line needs is not unwell; another one may do it.
                let unable = context.line.is_demanding() && is_unable(&refusal.error);
                unwell = refusal.elsewhere;
                // H.248.8, 449: a realm that this one has no more, another one may have.
                elsewhere = unwell || unable || refusal.error.code == 449;
                Some(if unable { no_way(&context) } else { fault_of(&refusal.error) })
            }
            None => context.added(first, actions).err().map(|e| Fault::new(500, e.to_string())),
        };
        if fault.is_some() {
            // Half a context may be there: one Add done, the other refused.
            for id in actions.iter().filter_map(|a| a.context.id()) {
                self.core.sweep(&gateway, h248::ContextId::Id(id));
            }
            if unwell {
                self.core.gateways.failed(now, &gateway);
            }
            return self.with(key, |call, core| {
                if elsewhere
                    && call.waits_for(request)
                    && let Some(again) = call.session.elsewhere(core, request, (&context, first), tried)
                {
                    return call.op_moved(core, now, request, again);
                }
                call.session.not_added(request);
                call.op_done(core, now, request, fault);
            });
        }
        self.core.gateways.served(now, &gateway, context.terminations());
        let Some(call) = self.calls.get_mut(&key) else {
            return self.core.release(context, String::new());
        };
        let call_id = call.call_id.clone();
        let address = |side| context.local(side).map(|a| a.to_string()).unwrap_or_default();
        let reserved = Event::MediaReserved {
            call_id: call_id.clone(),
            index: call.session.index_of(request).unwrap_or(0),
            gateway,
            context: context.id().unwrap_or(0),
            addresses: Both { caller: address(Side::Caller), callee: address(Side::Callee) },
        };
        match call.session.added(request, Box::new(context)) {
            None => {
                self.core.events.push_back(reserved);
                self.with(key, |call, core| call.op_done(core, now, request, None));
            }
            // The call went on without it, or ended: CANCEL was faster than the gateway.
            Some(context) => self.core.release(*context, call_id),
        }
    }

    fn lost(&mut self, now: Instant, gateway: GatewayName, reason: LostReason) {
        let on = |call: &&Call| call.session.uses(&gateway, None);
        let mut keys: Vec<_> = self.calls.values().filter(on).map(|c| c.key).collect();
        // In the order in which they began, so that a run can be repeated.
        keys.sort_unstable();
        let (calls, announced) = (keys.len(), matches!(reason, LostReason::Forced | LostReason::HandedOff));
        let lost = Event::GatewayLost { gateway: gateway.clone(), calls, announced, reason };
        self.core.events.push_back(lost);
        for key in keys {
            self.with(key, |call, core| call.lose_media(core, now, (&gateway, None), Cause::GatewayLost));
        }
    }

    /// Terminations change service (RFC 3525 §7.2.8): calls on failed ones end, and with them their
    /// contexts.
    fn interface(
        &mut self,
        now: Instant,
        gateway: GatewayName,
        context: h248::ContextId,
        pattern: &h248::TerminationId,
        change: Change,
    ) {
        let termination = pattern.to_string();
        if change == Change::Back {
            return self.core.events.push_back(Event::InterfaceUp { gateway, termination });
        }
        let on = |call: &&Call| call.session.is_on(&gateway, context.id(), pattern);
        let failed = change == Change::Failed;
        let keys: Vec<_> = self.calls.values().filter(|_| failed).filter(on).map(|c| c.key).collect();
        let (calls, graceful) = (keys.len(), !failed);
        self.core.events.push_back(Event::InterfaceDown { gateway, termination, calls, graceful });
        for key in keys {
            self.with(key, |call, core| call.hang_up(core, now, Cause::Interface));
        }
    }
}
