//! What is counted and held at the SIP side of a node and in its queues; the key server's requests, handshakes. Told in answers
//! to [`Ask::List`](super::question::Ask::List), and from there as metrics.

use crate::kms::Service;
use carnet_net::Waiting;
use carnet_net::h248::ControlSockets;
use carnet_net::sip::SipSockets;
use carnet_ops::metrics::{Gauge, Source};
use carnet_sip::{Load, Tally};
use serde_json::{Map, Value, json};
use std::sync::Weak;

/// What an endpoint has counted.
pub(super) fn of_endpoint((tally, load): (Tally, Load)) -> Value {
    json!({
        "open_requests": load.open_clients,
        "open_answers": load.open_servers,
        "lingering": load.lingering,
        "repeated": { "request": tally.requests_repeated, "response": tally.responses_repeated },
        "repeats_received": tally.repeats_received,
        "failed": {
            "timeout": tally.timed_out,
            "unreachable": tally.unreachable,
            "no-address": tally.without_address,
            "no-ack": tally.unacknowledged,
        },
        "shed": { "full": tally.refused_full, "behind": tally.refused_behind },
        "malformed": tally.malformed,
    })
}

/// What waits at the sockets of a node.
pub(super) fn queues(sip: &SipSockets, control: &ControlSockets) -> Value {
    let mut queues = Map::new();
    let out = [("sip-out", sip.waiting_out()), ("control-in", control.waiting())];
    for (name, waiting) in sip.waiting().into_iter().chain(out) {
        queues.insert(name.into(), queue(waiting));
    }
    queues.into()
}

/// One queue.
pub(super) fn queue(Waiting { length, most, lost }: Waiting) -> Value {
    json!({ "length": length, "most": most, "lost": lost })
}

/// The gauges of a node's summary.
pub(super) fn gauges(role: &'static str, node: &str, summary: &Value, gauges: &mut Vec<Gauge>) {
    let mut put = |name, help, more: &[(&'static str, &str)], value: Option<&Value>| {
        let Some(value) = value.and_then(Value::as_f64) else { return };
        let more = more.iter().map(|(label, value)| (*label, (*value).to_owned()));
        let labels = [("role", role.to_owned()), ("node", node.to_owned())].into_iter().chain(more).collect();
        gauges.push(Gauge { name, help, labels, value });
    };
    if let Some(sip) = summary.get("sip") {
        let open = "Transactions without a final response";
        put("carnet_sip_open_transactions", open, &[("side", "client")], sip.get("open_requests"));
        put("carnet_sip_open_transactions", open, &[("side", "server")], sip.get("open_answers"));
        put(
            "carnet_sip_lingering_transactions",
            "Transactions that only wait for repetitions",
            &[],
            sip.get("lingering"),
        );
        for (what, count) in object(sip, "repeated") {
            let help = "Messages sent again as nothing came";
            put("carnet_sip_retransmissions_total", help, &[("what", what)], Some(count));
        }
        let again = "Requests that came again";
        put("carnet_sip_repeats_received_total", again, &[], sip.get("repeats_received"));
        for (reason, count) in object(sip, "failed") {
            let help = "Transactions without a final response, or without an ACK to it";
            put("carnet_sip_transactions_failed_total", help, &[("reason", reason)], Some(count));
        }
        for (reason, count) in object(sip, "shed") {
            let help = "Requests refused as there were too many, or as they had waited too long";
            put("carnet_sip_requests_shed_total", help, &[("reason", reason)], Some(count));
        }
        let malformed = "What came and was no SIP message, or one with a fault";
        put("carnet_sip_malformed_total", malformed, &[], sip.get("malformed"));
    }
    for (queue, waiting) in object(summary, "queues") {
        let label = [("queue", queue.as_str())];
        put("carnet_queue_length", "What waits in a bounded queue", &label, waiting.get("length"));
        put("carnet_queue_limit", "What may wait in a bounded queue", &label, waiting.get("most"));
        let lost = "What was lost as a queue was full";
        put("carnet_queue_lost_total", lost, &label, waiting.get("lost"));
    }
}

fn object<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    of.get(member).and_then(Value::as_object).into_iter().flatten()
}

/// How many requests a key server answers at the moment, and what waits to be put on record.
pub(super) fn of_kms(kms: &str, service: Weak<Service>) -> Source {
    let kms = kms.to_owned();
    Box::new(move |held| {
        let Some(service) = service.upgrade() else { return };
        let value = u32::try_from(service.under_way()).unwrap_or(u32::MAX).into();
        let labels = vec![("kms", kms.clone())];
        let help = "Requests that are being answered";
        held.push(Gauge { name: "carnet_kms_requests_in_flight", help, labels, value });
    })
}

/// Handshakes of the process.
pub(super) fn handshakes(held: &mut Vec<Gauge>) {
    for (handshake, count) in carnet_tls::handshakes() {
        let (result, version, cipher) = match handshake.agreed {
            Some((version, cipher)) => ("done", version.to_string(), cipher),
            None => ("failed", String::new(), String::new()),
        };
        let side = if handshake.client { "client" } else { "server" };
        let labels = [
            ("place", handshake.place.to_owned()),
            ("side", side.to_owned()),
            ("result", result.to_owned()),
            ("version", version),
            ("cipher", cipher),
        ];
        let help = "TLS handshakes by what they were for";
        // Counts below 2^53 are exact.
        let value = count as f64;
        held.push(Gauge { name: "carnet_tls_handshakes_total", help, labels: labels.into(), value });
    }
}
