//! Dialogs that other people's SIP servers steer over ng: a span from the first offer to the end, and one for each context. The trace is
//! named after the Call-ID, as that of a call without a ticket at a border: both meet where both see the call.

use super::span::{Span, Told, number};
use super::{ids, keys};
use carnet_event::{Event as _, Level};
use carnet_plan::{Both, Octets};
use carnet_steering::{Ended, Event};
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

/// Calls that are traced at once, at most; what comes beyond is not.
const MOST: usize = 50_000;
/// Dialogs, contexts and events of one call that are kept.
const MOST_OF_A_CALL: usize = 32;
/// Plans of offers whose dialog has not begun yet.
const MOST_PLANS: usize = 1_000;

/// By gateway and Call-ID.
type Key = (String, String);

/// The calls of the steered gateways of a process.
#[derive(Default)]
pub struct Dialogs {
    calls: HashMap<Key, Call>,
    /// A dialog begins when the gateway has made room for what was planned; many are refused before.
    plans: VecDeque<(Key, String, SystemTime, Told)>,
}

#[derive(Default)]
struct Call {
    dialogs: Vec<Dialog>,
    media: Vec<Media>,
}

struct Dialog {
    from_tag: String,
    id: SpanId,
    start: SystemTime,
    answered: bool,
    events: Vec<(SystemTime, &'static str, Told)>,
}

struct Media {
    context: u32,
    parent: SpanId,
    start: SystemTime,
    told: Told,
}

impl Call {
    /// Whether it has a dialog that began with an offer of that tag.
    fn has(&self, from_tag: &str) -> bool {
        self.dialogs.iter().any(|dialog| dialog.from_tag == from_tag)
    }
}

impl Dialogs {
    /// Takes an event of the steering of a gateway.
    pub fn steering(&mut self, gateway: &str, event: &Event, over: &mut Vec<Span>) {
        let now = SystemTime::now();
        let key = |call_id: &String| (gateway.to_owned(), call_id.clone());
        let of = |call_id: &str| Told::of("steering", gateway).with("sip.call_id", call_id.to_owned());
        match event {
            Event::DialogStarted { call_id, from_tag, via_branch } => {
                if self.calls.len() >= MOST && !self.calls.contains_key(&key(call_id)) {
                    return;
                }
                let call = self.calls.entry(key(call_id)).or_default();
                if !call.has(from_tag) && call.dialogs.len() < MOST_OF_A_CALL {
                    let told = Told::default().and("sip.branch", via_branch.clone());
                    let mut events = Vec::new();
                    let wanted = key(call_id);
                    let of = |plan: &(Key, String, _, _)| plan.0 == wanted && plan.1 == *from_tag;
                    if let Some(at) = self.plans.iter().position(of) {
                        events.extend(
                            self.plans.remove(at).map(|(_, _, at, told)| (at, "offer-planned", told)),
                        );
                    }
                    events.push((now, "dialog-started", told));
                    let (from_tag, id) = (from_tag.clone(), keys::unique());
                    call.dialogs.push(Dialog { from_tag, id, start: now, answered: false, events });
                }
            }
            Event::OfferPlanned { call_id, from_tag, plan } => {
                let (key, told) = (key(call_id), Told::default().with("plan", plan.to_string()));
                let known = self.calls.get(&key).is_some_and(|call| call.has(from_tag));
                if known {
                    self.note(&key, Some(from_tag), (now, "offer-planned", told));
                    return;
                }
                self.unplanned(&key);
                if self.plans.len() >= MOST_PLANS {
                    self.plans.pop_front();
                }
                self.plans.push_back((key, from_tag.clone(), now, told));
            }
            Event::DialogAnswered { call_id, from_tag, to_tag } => {
                let told = Told::default().with("sip.to_tag", to_tag.clone());
                if let Some(dialog) = self.note(&key(call_id), Some(from_tag), (now, "dialog-answered", told))
                {
                    dialog.answered = true;
                }
            }
            Event::Connected { call_id, line, .. } => {
                let told = Told::default().with("media.line", number(*line as u64));
                self.note(&key(call_id), None, (now, "connected", told));
            }
            Event::Disconnected { call_id, line, cause, .. }
            | Event::TlsFailed { call_id, line, cause, .. } => {
                let told =
                    Told::default().with("media.line", number(*line as u64)).with("cause", cause.clone());
                self.note(&key(call_id), None, (now, event.name(), told));
            }
            Event::MediaReserved { call_id, line, context, addresses } => {
                let Some(call) = self.calls.get_mut(&key(call_id)) else { return };
                let Some(dialog) = call.dialogs.last() else { return };
                if call.media.len() < MOST_OF_A_CALL {
                    let told = of(call_id)
                        .with("h248.gateway", gateway.to_owned())
                        .with("h248.context", i64::from(*context))
                        .with("media.line", number(*line as u64))
                        .with("media.address.caller", addresses.caller.to_string())
                        .with("media.address.callee", addresses.callee.to_string());
                    call.media.push(Media { context: *context, parent: dialog.id, start: now, told });
                }
            }
            Event::MediaReleased { call_id, context, octets } => {
                let key = key(call_id);
                let Some(call) = self.calls.get_mut(&key) else { return };
                if let Some(at) = call.media.iter().position(|media| media.context == *context) {
                    let media = call.media.swap_remove(at);
                    over.push(released(ids::of_call(call_id), media, now, Some(octets)));
                }
                self.forget(&key);
            }
            Event::DialogEnded { call_id, tags, why, lasted } => {
                let key = key(call_id);
                let Some(call) = self.calls.get_mut(&key) else { return };
                let found = call.dialogs.iter().position(|d| Some(&d.from_tag) == tags.caller.as_ref());
                // Whoever was called may have made the first offer of a later dialog.
                let Some(at) = found.or_else(|| call.dialogs.len().checked_sub(1)) else { return };
                let dialog = call.dialogs.swap_remove(at);
                // Of what is lost with a gateway nothing more is told.
                if matches!(why, Ended::GatewayLost | Ended::ContextsLost) {
                    for media in call.media.extract_if(.., |media| media.parent == dialog.id) {
                        over.push(released(ids::of_call(call_id), media, now, None));
                    }
                }
                let failed = event.level() >= Some(Level::Warn);
                let told = of(call_id)
                    .with("carnet.cause", why.name())
                    .with("carnet.answered", dialog.answered)
                    .and("sip.from_tag", tags.caller.clone())
                    .and("sip.to_tag", tags.callee.clone());
                over.push(Span {
                    trace: ids::of_call(call_id),
                    id: dialog.id,
                    parent: SpanId::INVALID,
                    remote: false,
                    kind: SpanKind::Server,
                    name: "ng dialog".into(),
                    start: now.checked_sub(*lasted).unwrap_or(dialog.start),
                    end: now,
                    told,
                    events: dialog.events,
                    links: Vec::new(),
                    status: if failed { Status::error(why.name()) } else { Status::Unset },
                });
                self.forget(&key);
            }
            Event::RequestRefused { command, call_id, overload, reason } => {
                self.unplanned(&key(call_id));
                let told = Told::default()
                    .with("ng.command", *command)
                    .with("overload", *overload)
                    .with("reason", reason.clone());
                self.note(&key(call_id), None, (now, "request-refused", told));
            }
            _ => {}
        }
    }

    /// Keeps what happened to a dialog; to the newest one of the call if it has no tag.
    fn note(
        &mut self,
        key: &Key,
        from_tag: Option<&str>,
        what: (SystemTime, &'static str, Told),
    ) -> Option<&mut Dialog> {
        let dialogs = &mut self.calls.get_mut(key)?.dialogs;
        let at = from_tag.and_then(|tag| dialogs.iter().position(|dialog| dialog.from_tag == tag));
        let dialog = match at {
            Some(at) => dialogs.get_mut(at)?,
            None => dialogs.last_mut()?,
        };
        if dialog.events.len() < MOST_OF_A_CALL {
            dialog.events.push(what);
        }
        Some(dialog)
    }

    /// Nothing comes of what was planned for a call.
    fn unplanned(&mut self, key: &Key) {
        self.plans.retain(|plan| plan.0 != *key);
    }

    fn forget(&mut self, key: &Key) {
        if self.calls.get(key).is_some_and(|call| call.dialogs.is_empty() && call.media.is_empty()) {
            self.calls.remove(key);
        }
    }

    /// How many are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.calls.len() + self.plans.len()
    }
}

fn released(trace: TraceId, media: Media, end: SystemTime, octets: Option<&Both<Octets>>) -> Span {
    let told = media.told.octets(octets);
    Span {
        trace,
        id: keys::unique(),
        parent: media.parent,
        remote: false,
        kind: SpanKind::Internal,
        name: "media".into(),
        start: media.start,
        end,
        told,
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
    }
}
