//! The explanation for programs. Names stay; new ones may come.

use super::Told;
use carnet_border::{Decision, Edit, Leg, Legs, Line, Refusal, Settled};
use carnet_h248::text::{Form, print};
use carnet_sdp::Document;
use serde_json::{Value, json};

/// One object.
pub(super) fn object(told: &Told) -> Value {
    let explanation = &told.explanation;
    let answer = explanation.answer.as_ref().map(|answer| match answer {
        Err(refused) => json!({ "refused": refusal(refused) }),
        Ok(answered) => json!({
            "lines": answered.settlement.lines.iter().map(|l| l.as_ref().map(settled)).collect::<Vec<_>>(),
            "edits": edits(answered.settlement.all_edits()),
            "sdp": text(&answered.document),
        }),
    });
    let commands = explanation.commands.iter().map(|command| {
        let message = print(&command.message, Form::Long);
        json!({
            "line": command.line,
            "when": command.when,
            "message": String::from_utf8_lossy(&message),
        })
    });
    json!({
        "border": told.border,
        "from": told.from,
        "to": told.to,
        "carried": told.is_carried(),
        "refused": explanation.plan.refusal().as_ref().map(refusal),
        "lines": explanation.plan.lines.iter().map(line).collect::<Vec<_>>(),
        "edits": edits(explanation.plan.all_edits()),
        "sdp": explanation.offer.as_ref().map(text),
        "answer": answer,
        "commands": commands.collect::<Vec<_>>(),
        "examples": explanation
            .examples
            .iter()
            .map(|(value, what)| json!({ "value": value, "what": what }))
            .collect::<Vec<_>>(),
    })
}

fn text(document: &Document) -> String {
    String::from_utf8_lossy(&document.to_bytes()).into_owned()
}

fn refusal(refusal: &Refusal) -> Value {
    json!({ "status": refusal.status, "warning": refusal.warning, "reason": refusal.reason })
}

fn line(line: &Line) -> Value {
    let refused = if let Decision::Refuse(refused) = &line.decision { Some(refusal(refused)) } else { None };
    json!({
        "line": line.index,
        "offered": line.offered,
        "decision": line.decision.name(),
        "reason": line.reason,
        "refused": refused,
        "legs": line.legs.as_ref().map(legs),
    })
}

fn settled(settled: &Settled) -> Value {
    json!({
        "reason": settled.reason,
        "open": settled.open,
        "merged": settled.merged,
        "legs": legs(&settled.legs),
    })
}

fn legs(legs: &Legs) -> Value {
    json!({ "offerer": leg(&legs.offerer), "answerer": leg(&legs.answerer) })
}

fn leg(leg: &Leg) -> Value {
    let tls = leg
        .tls
        .as_ref()
        .map(|tls| json!({ "role": tls.role.map(|role| role.as_str()), "fingerprints": tls.fingerprints }));
    json!({
        "proto": leg.proto,
        "transport": leg.transport.as_str(),
        "setup": leg.setup.as_str(),
        "tls": tls,
        "aware": leg.aware,
        "path": leg.path,
    })
}

fn edits<'a>(edits: impl Iterator<Item = &'a Edit>) -> Vec<Value> {
    let one = |edit: &Edit| {
        json!({
            "line": edit.line,
            "change": edit.change.name(),
            "what": edit.change.to_string(),
            "reason": edit.reason,
        })
    };
    edits.map(one).collect()
}
