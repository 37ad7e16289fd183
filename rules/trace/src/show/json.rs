//! A ladder for programs. docs/trace.md says what the members mean.

use crate::model::{
    Control, Entry, Fact, Finding, Host, KeyMessage, Ladder, Line, Ng, Opened, Sdp, Session, Sip, Tcp, Tls,
};
use crate::words;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The whole ladder.
pub fn json(ladder: &Ladder) -> Value {
    json!({
        "sessions": ladder.sessions.iter().map(session).collect::<Vec<_>>(),
        "remarks": ladder.remarks,
    })
}

/// A session.
pub fn session(session: &Session) -> Value {
    json!({
        "number": session.number,
        "kind": session.kind.as_str(),
        "title": session.title,
        "call_ids": session.call_ids,
        "begins": session.entries.first().map(|entry| words::moment(entry.at)),
        "ends": session.entries.iter().map(|entry| entry.last).max().map(words::moment),
        "hosts": session.hosts.iter().map(host).collect::<Vec<_>>(),
        "entries": session.entries.iter().map(entry).collect::<Vec<_>>(),
        "findings": session.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// A session, with the number of its entries in their place.
pub fn summary(session: &Session) -> Value {
    json!({
        "number": session.number,
        "kind": session.kind.as_str(),
        "title": session.title,
        "call_ids": session.call_ids,
        "begins": session.entries.first().map(|entry| words::moment(entry.at)),
        "ends": session.entries.iter().map(|entry| entry.last).max().map(words::moment),
        "hosts": session.hosts.iter().map(host).collect::<Vec<_>>(),
        "entries": session.entries.len(),
        "findings": session.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn host(host: &Host) -> Value {
    json!({ "name": (!host.name.is_empty()).then_some(&host.name), "role": host.role, "addresses": host.addresses })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule,
        "weight": finding.weight.as_str(),
        "what": finding.what,
        "advice": finding.advice,
        "entry": finding.entry,
    })
}

fn entry(entry: &Entry) -> Value {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("at", entry.at.as_secs_f64().into());
    put("time", words::moment(entry.at).into());
    put("packet", entry.number.into());
    put("from", end(entry.from, entry.from_node.as_deref()).into());
    put("to", end(entry.to, entry.to_node.as_deref()).into());
    put("from_host", entry.from_host.into());
    put("to_host", entry.to_host.into());
    put("transport", entry.way.as_str().into());
    put("protocol", entry.fact.protocol().into());
    put("label", entry.label.clone().into());
    put("bad", entry.bad.into());
    put("times", entry.times.into());
    if entry.times > 1 {
        put("last", entry.last.as_secs_f64().into());
    }
    put("message", fact(&entry.fact));
    put("text", entry.text.clone().into());
    out.into()
}

/// An address, or the name of a node that has none here.
fn end(address: std::net::SocketAddr, node: Option<&crate::Node>) -> String {
    match node {
        Some(node) if crate::listen::is_place(address) => node.name.clone(),
        _ => address.to_string(),
    }
}

fn fact(fact: &Fact) -> Value {
    match fact {
        Fact::Sip(sip) => self::sip(sip),
        Fact::Control(control) => self::control(control),
        Fact::Ng(ng) => self::ng(ng),
        Fact::Tcp(tcp) => match tcp {
            Tcp::Open(how) => json!({ "event": "open", "result": match how {
                Opened::Accepted => "accepted",
                Opened::Refused => "refused",
                Opened::Silent => "silent",
            }}),
            Tcp::Finished => json!({ "event": "finished" }),
            Tcp::Reset => json!({ "event": "reset" }),
            Tcp::Midway => json!({ "event": "midway" }),
            Tcp::Lost(octets) => json!({ "event": "lost", "octets": octets }),
            Tcp::Unknown(octets) => json!({ "event": "unknown", "octets": octets }),
        },
        Fact::Tls(tls) => self::tls(tls),
        Fact::Msrp(msrp) => json!({
            "transaction": msrp.tid,
            "method": (!msrp.method.is_empty()).then_some(&msrp.method),
            "status": msrp.status,
            "octets": msrp.octets,
            "to_path": msrp.to_path,
        }),
        Fact::Floor(floor) => json!({
            "primitive": floor.primitive,
            "conference_id": floor.conference,
            "error": floor.error,
        }),
        Fact::Http(http) => json!({
            "method": http.method,
            "target": http.target,
            "status": http.status,
            "mikey": http.keys.iter().map(keys).collect::<Vec<_>>(),
        }),
        Fact::Event(event) => json!({
            "event": event.event,
            "level": event.level,
            "call_id": event.call_id,
            "fields": event.fields,
        }),
        Fact::Unreachable { about, why } => json!({ "about": about.to_string(), "why": why }),
        Fact::Unreadable(why) => json!({ "why": why }),
    }
}

fn sip(sip: &Sip) -> Value {
    json!({
        "method": sip.method,
        "status": sip.status,
        "reason": sip.status.map(|_| &sip.reason),
        "call_id": sip.call_id,
        "cseq": sip.cseq,
        "branch": sip.branch,
        "from": sip.from_user,
        "to": sip.to_user,
        "uri": sip.status.is_none().then_some(&sip.uri),
        "warning": sip.warning,
        "reason_header": sip.why,
        "agent": sip.agent,
        "sdp": sip.sdp.as_ref().map(sdp),
        "fault": sip.fault,
    })
}

fn sdp(sdp: &Sdp) -> Value {
    json!({ "origin": sdp.origin, "media": sdp.lines.iter().map(line).collect::<Vec<_>>(), "fault": sdp.fault })
}

fn line(line: &Line) -> Value {
    json!({
        "media": line.media,
        "proto": line.proto,
        "port": line.port,
        "address": line.address.map(|address| address.to_string()),
        "setup": line.setup,
        "fingerprints": line.fingerprints,
        "mikey": line.keys.iter().map(keys).collect::<Vec<_>>(),
        "path": line.path,
        "e2ae": line.to_edge,
    })
}

fn keys(keys: &KeyMessage) -> Value {
    let time = |at: Option<Duration>| at.map(words::moment);
    json!({
        "name": keys.name,
        "digest": format!("{:016x}", keys.digest),
        "ticket": keys.ticket.map(|ticket| format!("{ticket:016x}")),
        "made": time(keys.made),
        "valid_from": time(keys.valid.0),
        "valid_to": time(keys.valid.1),
        "error": keys.error,
        "fault": keys.fault,
    })
}

fn control(control: &Control) -> Value {
    let error = |error: &Option<(u16, String)>| {
        error.as_ref().map(|(code, text)| json!({ "code": code, "text": text }))
    };
    json!({
        "requests": control.requests.iter().map(|(id, what)| json!({ "transaction": id, "what": what })).collect::<Vec<_>>(),
        "replies": control.replies.iter().map(|(id, e)| json!({ "transaction": id, "error": error(e) })).collect::<Vec<_>>(),
        "pending": control.pending,
        "error": error(&control.error),
        "contexts": control.contexts,
        "service_change": control.service,
        "events": control.events,
        "addresses": control.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn ng(ng: &Ng) -> Value {
    json!({
        "cookie": ng.cookie,
        "command": ng.command,
        "result": ng.result,
        "error_reason": ng.why,
        "call_id": ng.call_id,
        "sdp": ng.sdp.as_ref().map(sdp),
    })
}

fn tls(tls: &Tls) -> Value {
    match tls {
        Tls::ClientHello(hello) => json!({
            "event": "client_hello",
            "random": hello.random,
            "server_name": hello.sni,
            "versions": hello.versions,
            "cipher_suites": hello.suites,
            "psk_identities": hello.identities,
            "alpn": hello.alpn,
        }),
        Tls::ServerHello { random, version, suite, retry, psk } => json!({
            "event": if *retry { "hello_retry_request" } else { "server_hello" },
            "random": random,
            "version": version,
            "cipher_suite": suite,
            "psk": psk,
        }),
        Tls::Certificate { fingerprint, count } => {
            json!({ "event": "certificate", "fingerprint": fingerprint, "count": count })
        }
        Tls::PskIdentity(identity) => json!({ "event": "psk_identity", "identity": identity }),
        Tls::Alert { fatal, code, name } => {
            json!({ "event": "alert", "fatal": fatal, "code": code, "name": name })
        }
        Tls::Handshake(name) => json!({ "event": "handshake", "name": name }),
        Tls::Sealed { records, octets } => json!({ "event": "sealed", "records": records, "octets": octets }),
    }
}
