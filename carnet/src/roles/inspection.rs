//! What an administrator asks a border of its gateways: a summary of each, and an audit, which takes two
//! questions to the gateway: which contexts there are, and what is in them.

use super::held_sip;
use super::looking::Look;
use super::question::{Ask, PAGE, Question, in_words};
use carnet_border::{Border, GatewayStatus};
use carnet_h248::controller;
use carnet_h248::{
    ActionReply, ActionRequest, Audit, Command, ContextId, ErrorDescriptor, ReplyBody, TerminationId,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// H.248.8: the action is not known, not implemented, or too big to be answered.
const CANNOT_LIST: [u16; 5] = [411, 421, 443, 501, 533];

/// Questions on their way to gateways.
#[derive(Default)]
pub(super) struct Inspection {
    next: u64,
    waiting: HashMap<u64, Waiting>,
}

struct Waiting {
    question: Question,
    step: Step,
}

enum Step {
    /// Which contexts?
    Listing,
    /// What is in them?
    Looking(Look),
}

impl Inspection {
    /// Takes a question about a border called `name`.
    /// `queues` says what waits at its sockets.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        name: &str,
        border: &mut Border,
        question: Question,
        queues: impl FnOnce() -> Value,
    ) {
        match &question.ask {
            Ask::Alive => drop(question.answer.send(Ok(Value::Null))),
            Ask::List => {
                let gateways: Vec<_> = border.gateways().iter().map(|g| summary(now, g)).collect();
                // One who has stopped waiting needs no answer.
                let (calls, retiring) = (border.load().live, border.is_retiring());
                let registrations: Map<_, _> = border
                    .registrations()
                    .into_iter()
                    .map(|(network, count)| (network.to_owned(), count.into()))
                    .collect();
                let _ = question.answer.send(Ok(json!({
                    "border": name,
                    "calls": calls,
                    "retiring": retiring,
                    "gateways": gateways,
                    "registrations": registrations,
                    "sip": held_sip::of_endpoint(border.sip_counts()),
                    "queues": queues(),
                })));
            }
            Ask::Calls { .. } => {
                let _ = question.answer.send(Err("a border tells its calls with an audit".into()));
            }
            Ask::Rooms
            | Ask::Room { .. }
            | Ask::Kick { .. }
            | Ask::Invite { .. }
            | Ask::Close { .. }
            | Ask::Decide { .. }
            | Ask::Mute { .. } => {
                let _ = question.answer.send(Err("a border has no rooms".into()));
            }
            Ask::Retire { left } => {
                match left {
                    Some(_) => border.retire(),
                    None => border.resume(),
                }
                let _ = question.answer.send(Ok(json!({ "border": name })));
            }
            Ask::Avoid { gateway, avoid, .. } => {
                let known = border.avoid(gateway, *avoid);
                let answer = json!({ "border": name, "gateway": gateway, "avoided": avoid });
                let unknown = || format!("there is no gateway `{gateway}` of that border");
                let _ = question.answer.send(known.then_some(answer).ok_or_else(unknown));
            }
            Ask::EndCall { call_id, .. } => {
                let ended = border.end_call(now, call_id);
                let nothing = || "there is no such call any more".to_owned();
                let _ =
                    question.answer.send((ended > 0).then(|| json!({ "ended": ended })).ok_or_else(nothing));
            }
            Ask::Audit { .. } => {
                // RFC 3525 §7.2.5: ROOT in all contexts lists the contexts.
                let look = Command::audit_value(TerminationId::ROOT, Audit::default());
                self.put(
                    now,
                    border,
                    question,
                    Step::Listing,
                    vec![ActionRequest::new(ContextId::All, vec![look])],
                );
            }
        }
    }

    /// Takes the answer of a gateway.
    pub(super) fn audited(
        &mut self,
        now: Instant,
        border: &mut Border,
        number: u64,
        actions: Vec<ActionReply>,
        error: Option<ErrorDescriptor>,
    ) {
        let Some(Waiting { question, step }) = self.waiting.remove(&number) else { return };
        let Ask::Audit { gateway, from, .. } = &question.ask else { return };
        match step {
            Step::Listing => {
                if let Some(error) = error.filter(|e| !CANNOT_LIST.contains(&e.code)) {
                    let _ = question.answer.send(Err(in_words(&error)));
                    return;
                }
                // A gateway that cannot list is asked for what our calls have there.
                let known = border.contexts_on(gateway);
                let there = actions.iter().filter_map(|action| action.context.id());
                let all: BTreeSet<u32> = there.chain(known.keys().copied()).filter(|id| id >= from).collect();
                let page: Vec<u32> = all.iter().copied().take(PAGE).collect();
                let next = all.iter().nth(PAGE).copied();
                self.look(now, border, question, Look::new(page, next));
            }
            Step::Looking(mut look) => {
                let body = match error {
                    Some(error) if actions.is_empty() => ReplyBody::Error(error),
                    _ => ReplyBody::Actions(actions),
                };
                match look.answered(&body) {
                    Ok(()) => self.look(now, border, question, look),
                    Err(why) => drop(question.answer.send(Err(why))),
                }
            }
        }
    }

    /// Asks what is not told yet, or tells the administrator.
    fn look(&mut self, now: Instant, border: &mut Border, question: Question, mut look: Look) {
        let Ask::Audit { gateway, .. } = &question.ask else { return };
        match look.question() {
            Some(actions) => self.put(now, border, question, Step::Looking(look), actions),
            None => {
                let mut answer = look.told();
                attribute(&mut answer, &border.contexts_on(gateway));
                let _ = question.answer.send(Ok(answer));
            }
        }
    }

    fn put(
        &mut self,
        now: Instant,
        border: &mut Border,
        question: Question,
        step: Step,
        actions: Vec<ActionRequest>,
    ) {
        let Ask::Audit { gateway, .. } = &question.ask else { return };
        let (number, gateway) = (self.next, gateway.clone());
        self.next += 1;
        self.waiting.insert(number, Waiting { question, step });
        if border.audit(now, &gateway, number, actions).is_err() {
            self.waiting.remove(&number);
        }
    }
}

/// Says of each context whose it is: a Call-ID, or null.
fn attribute(answer: &mut Value, calls: &std::collections::BTreeMap<u32, &str>) {
    let contexts = answer.get_mut("contexts").and_then(Value::as_array_mut);
    for context in contexts.into_iter().flatten() {
        let id = context.get("context").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
        let call = id.and_then(|id| calls.get(&id).copied());
        if let Some(members) = context.as_object_mut() {
            members.insert("call".into(), call.into());
        }
    }
}

fn summary(now: Instant, gateway: &GatewayStatus) -> Value {
    let mut out = control_summary(now, &gateway.control);
    if let Some(members) = out.as_object_mut() {
        members.insert("connected".into(), gateway.connected.into());
        members.insert("realms".into(), json!(gateway.realms));
        members.insert("weight".into(), gateway.weight.into());
        members.insert("calls".into(), gateway.calls.into());
        members.insert("avoided".into(), gateway.avoided.into());
    }
    out
}

/// What is known of the association with a gateway, whoever owns it.
pub(super) fn control_summary(now: Instant, control: &controller::GatewayStatus) -> Value {
    let ago = |at: Instant| u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
    let packages: Vec<_> = control.packages.iter().map(|p| format!("{}-{}", p.name, p.version)).collect();
    json!({
        "gateway": &*control.name,
        "mid": control.mid.to_string(),
        "state": control.condition.to_string(),
        "since_ms": ago(control.since),
        "profile": control.profile.as_ref().map(ToString::to_string),
        "version": control.version,
        "packages": packages,
        "contexts": control.contexts,
        "terminations": control.terminations,
        "most_contexts": control.most_contexts,
        "outstanding": control.outstanding,
        "silent_ms": control.last_heard.map(ago),
        "round_trip_ms": control.round_trip.map(|t| (t.as_secs_f64() * 1e5).round() / 1e2),
        "refusal": control.last_refusal.as_ref().map(|r| in_words(&r.error)),
        "refusal_ms": control.last_refusal.as_ref().map(|r| ago(r.at)),
    })
}
