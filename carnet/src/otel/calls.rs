//! Calls of borders: a span from the INVITE to the end, and below it its set-up, the INVITE as it went on, what gateways
//! were asked, and the media they held.

use super::ids;
use super::invites::{self, Invite, Passed};
use super::span::{Span, Told, number};
use carnet_border::{Cause, Event as Border};
use carnet_event::{Event as _, Level};
use carnet_plan::{Both, Octets, Side};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime};

/// Calls that are traced at once, at most; what comes beyond is not.
const MOST_CALLS: usize = 50_000;
/// What happens to one call that is kept until it is over, at most.
const MOST_OF_A_CALL: usize = 32;
/// What came of a call that never began, and what gateways have not given back by then, is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often that is looked for.
const SWEEP: Duration = Duration::from_secs(5);

type Key = (String, String);

/// The calls of the borders of a process.
pub struct Calls {
    borders: BTreeSet<String>,
    /// Borders and networks of theirs where subscribers are: a call from there begins here.
    origins: BTreeSet<(String, String)>,
    calls: HashMap<Key, Call>,
    /// Whose call a context is, by gateway.
    contexts: HashMap<(String, u32), (TraceId, SpanId)>,
    swept: Instant,
}

struct Call {
    trace: TraceId,
    id: SpanId,
    /// The branch under which the INVITE came.
    branch: String,
    parent: SpanId,
    start: SystemTime,
    /// An event has told that it began.
    began: bool,
    up: bool,
    told: Told,
    events: Vec<(SystemTime, &'static str, Told)>,
    invites: Vec<Invite>,
    media: Vec<Media>,
    /// When it was last heard of, before it began or since it has ended.
    idle: Option<Instant>,
}

/// A context of a gateway.
struct Media {
    id: SpanId,
    gateway: String,
    context: u32,
    index: usize,
    start: SystemTime,
    told: Told,
    events: Vec<(SystemTime, &'static str, Told)>,
    status: Status,
}

impl Calls {
    /// Of these borders; `origins` are networks of theirs from where calls have no border before ours.
    pub fn new(borders: BTreeSet<String>, origins: BTreeSet<(String, String)>) -> Self {
        Self { borders, origins, calls: HashMap::new(), contexts: HashMap::new(), swept: Instant::now() }
    }

    /// Where in which trace the media of a context is.
    pub fn media_at(&self, gateway: &str, context: u32) -> Option<(TraceId, SpanId)> {
        self.contexts.get(&(gateway.to_owned(), context)).copied()
    }

    /// Takes a SIP message that passed the sockets of a border.
    pub fn sip(&mut self, border: &str, octets: &[u8], sent: bool, over: &mut Vec<Span>) {
        self.sweep(over);
        if !self.borders.contains(border) {
            return;
        }
        let Some((call_id, passed)) = invites::read(octets, sent) else { return };
        let key = (border.to_owned(), call_id);
        match passed {
            Passed::Invite { branch, trace } => self.invite(key, (branch, trace), sent, over),
            Passed::Answer { branch, status } => self.answered(&key, &branch, status, over),
        }
    }

    fn invite(&mut self, key: Key, (branch, trace): (String, TraceId), sent: bool, over: &mut Vec<Span>) {
        let now = SystemTime::now();
        // One that was refused may come again, with credentials: that is another call with the same Call-ID.
        let again = |call: &&mut Call| !sent && call.began && call.idle.is_some() && call.branch != branch;
        if let Some(call) = self.calls.get_mut(&key).filter(again) {
            for media in std::mem::take(&mut call.media) {
                self.contexts.remove(&(media.gateway.clone(), media.context));
                over.push(call.released(media, now, None));
            }
            self.calls.remove(&key);
        }
        if let Some(call) = self.calls.get_mut(&key) {
            let known = call.invites.iter().any(|invite| invite.branch == branch);
            if sent && !known && call.invites.len() < MOST_OF_A_CALL {
                call.invites.push(Invite { branch, start: now });
            }
            return;
        }
        if sent || self.calls.len() >= MOST_CALLS {
            return;
        }
        let (border, call_id) = &key;
        let told = Told::of("border", border).with("sip.call_id", call_id.clone());
        let call = Call {
            id: ids::span(trace, &["call", border, call_id, &branch]),
            trace,
            branch,
            parent: SpanId::INVALID,
            start: now,
            began: false,
            up: false,
            told,
            events: Vec::new(),
            invites: Vec::new(),
            media: Vec::new(),
            idle: Some(Instant::now()),
        };
        self.calls.insert(key, call);
    }

    fn answered(&mut self, key: &Key, branch: &str, status: u16, over: &mut Vec<Span>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(at) = call.invites.iter().position(|invite| invite.branch == branch) else { return };
        let invite = call.invites.swap_remove(at);
        over.push(call.sent(&key.0, invite, Some(status)));
    }

    /// Takes an event of a border.
    pub fn border(&mut self, border: &str, event: &Border, over: &mut Vec<Span>) {
        self.sweep(over);
        let call_id = match (event.call_id(), event) {
            (Some(call_id), _) => call_id,
            (None, Border::GatewayAnswered { call_id, .. }) => call_id,
            _ => return,
        };
        let key = (border.to_owned(), call_id.to_owned());
        let Some(call) = self.calls.get_mut(&key) else { return };
        let now = SystemTime::now();
        match event {
            Border::CallStarted { from, to, networks, .. } if !call.began => {
                call.began = true;
                call.idle = None;
                if !self.origins.contains(&(key.0.clone(), networks.caller.clone())) {
                    call.parent = invites::of_branch(call.trace, &call.branch);
                }
                let told = std::mem::take(&mut call.told);
                call.told = told
                    .with("sip.from", from.clone())
                    .with("sip.request_uri", to.clone())
                    .with("carnet.network.caller", networks.caller.clone())
                    .with("carnet.network.callee", networks.callee.clone());
            }
            Border::CallUp { .. } if !call.up => {
                call.up = true;
                over.push(call.set_up(border, now, Status::Unset));
            }
            Border::PlanMade { plan, .. } => {
                call.note(now, "plan-made", |told| told.with("plan", plan.to_string()));
            }
            Border::CapReached { network, cap, .. } => {
                call.note(now, "cap-reached", |told| {
                    told.with("network", network.clone()).with("cap", cap.to_string())
                });
            }
            Border::RequestRefused { method, status, reason, .. } => {
                call.note(now, "request-refused", |told| {
                    told.with("sip.method", method.clone())
                        .with("sip.status", i64::from(*status))
                        .with("reason", reason.clone())
                });
                // A call that was never one.
                if !call.began && method == "INVITE" {
                    let status_of = Status::error(reason.clone());
                    over.push(call.whole(now, "refused-here", Some(*status), status_of));
                    self.calls.remove(&key);
                }
            }
            Border::MediaReserved { index, gateway, context, addresses, .. } => {
                let id = ids::span(call.trace, &["media", border, gateway, &context.to_string()]);
                let told = Told::of("border", border)
                    .with("sip.call_id", key.1.clone())
                    .with("h248.gateway", gateway.to_string())
                    .with("h248.context", i64::from(*context))
                    .with("media.line", number(*index as u64))
                    .with("media.address.caller", addresses.caller.clone())
                    .with("media.address.callee", addresses.callee.clone());
                if call.media.len() < MOST_OF_A_CALL {
                    let gateway = gateway.to_string();
                    self.contexts.insert((gateway.clone(), *context), (call.trace, id));
                    let (context, index) = (*context, *index);
                    let (events, status) = (Vec::new(), Status::Unset);
                    call.media.push(Media { id, gateway, context, index, start: now, told, events, status });
                }
            }
            Border::MediaReleased { gateway, context, octets, .. } => {
                let found = call.media.iter().position(|m| *m.gateway == **gateway && m.context == *context);
                if let Some(media) = found.map(|at| call.media.swap_remove(at)) {
                    self.contexts.remove(&(media.gateway.clone(), *context));
                    over.push(call.released(media, now, Some(octets)));
                }
            }
            Border::TlsUp { index, side, .. } => {
                call.of_line(*index, now, "tls-up", |told| told.with("side", name(*side)));
            }
            Border::TlsFailed { index, side, reason, .. } => {
                call.of_line(*index, now, "tls-failed", |told| {
                    told.with("side", name(*side)).with("reason", reason.clone())
                });
                for media in call.media.iter_mut().filter(|media| media.index == *index) {
                    media.status = Status::error(format!("TLS of the {}: {reason}", name(*side)));
                }
            }
            Border::MediaNotice { what, reason, .. } => {
                call.note(now, "media-notice", |told| {
                    told.with("what", what.clone()).with("reason", reason.clone())
                });
            }
            Border::GatewayAnswered { gateway, transaction, command, context, code, took, .. } => {
                let told = Told::of("border", border)
                    .with("sip.call_id", key.1.clone())
                    .with("h248.gateway", gateway.to_string())
                    .with("h248.transaction", i64::from(*transaction))
                    .and("h248.context", context.map(i64::from))
                    .and("h248.error", code.map(i64::from));
                let status = code.map_or(Status::Unset, |code| Status::error(format!("H.248 error {code}")));
                let name = format!("H.248 {command}");
                let id = ids::span(call.trace, &["h248", border, gateway, &transaction.to_string()]);
                over.push(call.below(id, SpanKind::Client, name, (now - *took, now), told, status));
            }
            // A branch of a fork ends, and the call goes on.
            Border::CallEnded { cause: Cause::Elsewhere | Cause::NotAnswered, .. } => {}
            Border::CallEnded { cause, .. } if call.began && call.idle.is_none() => {
                let sip = match cause {
                    Cause::Refused(status) | Cause::RefusedHere(status) => Some(*status),
                    _ => None,
                };
                // What the other side declines is no failure; what it cannot do is.
                let failed = event.level() >= Some(Level::Warn) || matches!(cause, Cause::Refused(500..=599));
                let status = if failed { Status::error(cause.to_string()) } else { Status::Unset };
                if !call.up {
                    over.push(call.set_up(border, now, status.clone()));
                }
                for invite in std::mem::take(&mut call.invites) {
                    over.push(call.sent(border, invite, None));
                }
                over.push(call.whole(now, cause.name(), sip, status));
                call.idle = Some(Instant::now());
            }
            _ => {}
        }
    }

    /// Gives up what waits in vain.
    fn sweep(&mut self, over: &mut Vec<Span>) {
        if self.swept.elapsed() < SWEEP {
            return;
        }
        self.swept = Instant::now();
        let (contexts, now) = (&mut self.contexts, SystemTime::now());
        self.calls.retain(|_, call| {
            let Some(idle) = call.idle else { return true };
            // Answers of gateways to what ends a call come after its end.
            let patience = if call.began && call.media.is_empty() { SWEEP } else { PATIENCE };
            if idle.elapsed() < patience {
                return true;
            }
            for media in std::mem::take(&mut call.media) {
                contexts.remove(&(media.gateway.clone(), media.context));
                over.push(call.released(media, now, None));
            }
            false
        });
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.calls.len() + self.contexts.len()
    }
}

impl Call {
    fn note(&mut self, at: SystemTime, what: &'static str, tell: impl FnOnce(Told) -> Told) {
        if self.events.len() < MOST_OF_A_CALL {
            self.events.push((at, what, tell(Told::default())));
        }
    }

    fn of_line(&mut self, index: usize, at: SystemTime, what: &'static str, tell: impl FnOnce(Told) -> Told) {
        match self.media.iter_mut().find(|media| media.index == index) {
            Some(media) if media.events.len() < MOST_OF_A_CALL => {
                media.events.push((at, what, tell(Told::default())));
            }
            Some(_) => {}
            None => self.note(at, what, tell),
        }
    }

    /// A span below that of the call.
    fn below(
        &self,
        id: SpanId,
        kind: SpanKind,
        name: String,
        (start, end): (SystemTime, SystemTime),
        told: Told,
        status: Status,
    ) -> Span {
        Span {
            trace: self.trace,
            id,
            parent: self.id,
            remote: false,
            kind,
            name: name.into(),
            start,
            end,
            told,
            events: Vec::new(),
            links: Vec::new(),
            status,
        }
    }

    fn set_up(&self, border: &str, now: SystemTime, status: Status) -> Span {
        let id = ids::span(self.trace, &["set-up", &self.id.to_string()]);
        let told = Told::of("border", border);
        self.below(id, SpanKind::Internal, "set-up".into(), (self.start, now), told, status)
    }

    fn sent(&self, border: &str, invite: Invite, answer: Option<u16>) -> Span {
        invite.sent(Told::of("border", border), (self.trace, self.id), answer)
    }

    fn released(&self, media: Media, now: SystemTime, octets: Option<&Both<Octets>>) -> Span {
        let told = media.told.octets(octets);
        let times = (media.start, now);
        let mut span = self.below(media.id, SpanKind::Internal, "media".into(), times, told, media.status);
        span.events = media.events;
        span
    }

    /// The span of the call itself.
    fn whole(&mut self, now: SystemTime, cause: &'static str, sip: Option<u16>, status: Status) -> Span {
        let told = std::mem::take(&mut self.told);
        Span {
            trace: self.trace,
            id: self.id,
            parent: self.parent,
            remote: self.parent != SpanId::INVALID,
            kind: SpanKind::Server,
            name: "call".into(),
            start: self.start,
            end: now,
            told: told
                .with("carnet.cause", cause)
                .with("carnet.answered", self.up)
                .and("sip.status", sip.map(i64::from)),
            events: std::mem::take(&mut self.events),
            links: Vec::new(),
            status,
        }
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Caller => "caller",
        Side::Callee => "callee",
    }
}
