//! `carnet inspect mikey`: one MIKEY message, or an SDP attribute that holds one.
//!
//! Nothing is decrypted: keys show as the length of what hides them. Offsets of payloads count
//! octets of the message, also when it came as an attribute; a fault is pointed at where it stands
//! in the input.

use super::{Diagnosis, Emit};
use carnet_mikey::payload::{KeyValidity, Payload, Ticket, TicketPolicy, parse_keys};
use carnet_mikey::registry::{data_type, encr_alg, error_no, key_type, payload_type, role, time_role};
use carnet_mikey::{CsIdMap, Error, Feature, Identity, Limits, Message, Timestamp, key_mgmt, ticket};
use carnet_wire::hex;
use serde_json::{Map, Value, json};

/// Reads one message and emits one object.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let unpacked = unpack(input)?;
    let octets = unpacked.as_ref().map_or(input, |unpacked| &unpacked.octets);
    let limits = Limits::default();
    let (message, spans) = Message::parse_spanned(octets, &limits).map_err(|e| {
        let diagnosis = diagnose(&e, octets.len());
        let offset = unpacked.as_ref().map_or(diagnosis.offset, |unpacked| unpacked.place(diagnosis.offset));
        Diagnosis { offset, ..diagnosis }
    })?;
    let h = &message.header;
    let payloads: Vec<Value> = message
        .payloads
        .iter()
        .zip(&spans)
        .map(|(payload, span)| {
            let mut told = describe(payload, &limits);
            told.insert("offset".into(), json!(span.start));
            told.insert("length".into(), json!(span.len()));
            Value::Object(told)
        })
        .collect();
    emit(json!({
        "offset": 0,
        "length": octets.len(),
        "version": 1,
        "data_type": h.data_type,
        "data_type_name": data_type::name(h.data_type),
        "csb_id": format!("{:08x}", h.csb_id),
        "v": h.v,
        "prf": h.prf,
        "map_type": h.map.type_number(),
        "cs_count": h.map.sessions(),
        "crypto_sessions": sessions(&h.map),
        "payload_types": message.payloads.iter().map(Payload::type_number).collect::<Vec<_>>(),
        "payloads": payloads,
    }));
    Ok(())
}

/// A message that came as base64 text.
struct Unpacked {
    octets: Vec<u8>,
    /// Where the text begins and ends.
    text: std::ops::Range<usize>,
}

impl Unpacked {
    /// Where in the text an octet of the message begins.
    fn place(&self, octet: usize) -> usize {
        if octet >= self.octets.len() { self.text.end } else { self.text.start + octet / 3 * 4 + octet % 3 }
    }
}

/// The message inside `a=key-mgmt:mikey …` or `mikey …`; `None` if the input is no such text.
fn unpack(input: &[u8]) -> Result<Option<Unpacked>, Diagnosis> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(None) };
    let trimmed = text.trim();
    let value = trimmed.strip_prefix("a=key-mgmt:").unwrap_or(trimmed);
    if !value.trim_start().starts_with("mikey ") {
        return Ok(None);
    }
    let before = text.find(value).unwrap_or(0);
    let octets = key_mgmt::parse(value).map_err(|e| {
        let mut diagnosis = diagnose(&e, value.len());
        diagnosis.offset += before;
        diagnosis
    })?;
    let end = text.trim_end().len();
    let start = value.find("mikey ").map_or(end, |at| before + at + "mikey ".len());
    Ok(Some(Unpacked { octets, text: start..end }))
}

fn diagnose(error: &Error, end: usize) -> Diagnosis {
    let offset = error.offset().unwrap_or(end);
    let (class, message) = match error {
        Error::Malformed(e) if e.at >= end => ("truncated", format!("expected {}", e.expected)),
        Error::Malformed(e) => ("syntax", format!("expected {}", e.expected)),
        Error::Limit { what, .. } => ("limit", format!("too many {what}")),
        Error::Unsupported { feature, .. } => ("unsupported", unsupported(*feature)),
        other => ("rule", other.to_string()),
    };
    Diagnosis { offset, class, message }
}

fn unsupported(feature: Feature) -> String {
    match feature {
        Feature::Version(n) => format!("version {n}; MIKEY has version 1"),
        Feature::Payload(n) => match payload_type::name(n) {
            Some(name) => format!("payload type {n} ({name}) is not read here"),
            None => format!("payload type {n} is not registered"),
        },
        other => format!("{other:?} is not known, and decides how long the payload is"),
    }
}

fn sessions(map: &CsIdMap) -> Value {
    match map {
        CsIdMap::Empty(_) => json!([]),
        CsIdMap::Srtp(all) => all
            .iter()
            .map(|s| json!({ "policy": s.policy, "ssrc": format!("{:08x}", s.ssrc), "roc": s.roc }))
            .collect(),
        CsIdMap::Generic(all) => all
            .iter()
            .map(|s| {
                json!({
                    "cs_id": s.cs_id,
                    "protocol": s.protocol,
                    "s": s.s,
                    "policies": s.policies,
                    "session_data": hex::encode(&s.session_data),
                    "spi": hex::encode(&s.spi),
                })
            })
            .collect(),
    }
}

/// Type, name and fields of a payload.
fn describe(payload: &Payload, limits: &Limits) -> Map<String, Value> {
    let mut out = Map::new();
    let number = payload.type_number();
    out.insert("type".into(), json!(number));
    out.insert("name".into(), json!(payload_type::name(number)));
    let fields = match payload {
        Payload::Kemac(k) => json!({
            "encr_alg": k.encr_alg,
            "encr_data_len": k.encr_data.len(),
            "mac_alg": k.mac_alg,
            "mac": hex::encode(&k.mac),
            // In a wanted policy nothing is encrypted, and the keys are zero.
            "wanted_keys": (k.encr_alg == encr_alg::NULL).then(|| wanted_keys(&k.encr_data, limits)),
        }),
        Payload::Pke(p) => json!({ "cache": p.cache, "data_len": p.data.len() }),
        Payload::Dh(d) => json!({ "group": d.group, "value": hex::encode(&d.value) }),
        Payload::Sign(s) => json!({ "sign_type": s.sign_type, "signature": hex::encode(&s.signature) }),
        Payload::T(t) => time(*t),
        Payload::Id(id) => identity(id),
        Payload::Cert { cert_type, data } => json!({ "cert_type": cert_type, "data_len": data.len() }),
        Payload::CertHash { hash, value } => json!({ "hash": hash, "value": hex::encode(value) }),
        Payload::V(v) => json!({ "auth_alg": v.auth_alg, "mac": hex::encode(&v.mac) }),
        Payload::Sp(sp) => json!({
            "policy": sp.number,
            "protocol": sp.protocol,
            "parameters": hex::encode(&sp.parameters),
        }),
        Payload::Rand(rand) => json!({ "rand": hex::encode(rand) }),
        Payload::Err { number, reserved } => json!({
            "error": number,
            "meaning": error_no::name(*number),
            "reserved": reserved,
        }),
        Payload::Tr { role, time: t } => {
            with(time(*t), &[("role", json!(role)), ("role_name", json!(time_role::name(*role)))])
        }
        Payload::Idr { role: r, id } => {
            with(identity(id), &[("role", json!(r)), ("role_name", json!(role::name(*r)))])
        }
        Payload::Randr { role: r, rand } => json!({
            "role": r,
            "role_name": role::name(*r),
            "rand": hex::encode(rand),
        }),
        Payload::Tp(policy) => describe_policy(policy, limits),
        Payload::Ticket(ticket) => describe_ticket(ticket, limits),
        Payload::GeneralExt { ext_type, data } => json!({
            "ext_type": ext_type,
            "data": hex::encode(data),
            "text": String::from_utf8(data.clone()).ok(),
        }),
    };
    if let Value::Object(fields) = fields {
        out.extend(fields);
    }
    out
}

fn with(mut value: Value, more: &[(&str, Value)]) -> Value {
    if let Value::Object(map) = &mut value {
        map.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
    value
}

fn wanted_keys(octets: &[u8], limits: &Limits) -> Option<Value> {
    let keys = parse_keys(octets, limits).ok()?;
    let one = |k: &carnet_mikey::payload::KeyData| {
        json!({
            "key_type": k.key_type,
            "name": key_type::name(k.key_type),
            "key_len": k.key.len(),
            "spi": match &k.validity {
                KeyValidity::Spi(spi) => Some(hex::encode(spi)),
                _ => None,
            },
        })
    };
    Some(keys.iter().map(one).collect())
}

fn time(t: Timestamp) -> Value {
    let value = match t {
        Timestamp::NtpUtc(v) | Timestamp::Ntp(v) => format!("{v:016x}"),
        Timestamp::Counter(v) | Timestamp::NtpUtc32(v) => format!("{v:08x}"),
    };
    let at = t.to_wall().and_then(|wall| jiff::Timestamp::try_from(wall).ok());
    json!({ "ts_type": t.type_number(), "value": value, "time": at.map(|t| t.to_string()) })
}

fn identity(id: &Identity) -> Value {
    json!({
        "id_type": id.id_type,
        "id": id.text(),
        "data": hex::encode(&id.data),
    })
}

fn describe_policy(policy: &TicketPolicy, limits: &Limits) -> Value {
    let data: Vec<Value> = policy.data.iter().map(|p| Value::Object(describe(p, limits))).collect();
    json!({
        "ticket_type": policy.ticket_type,
        "subtype": policy.subtype,
        "version": policy.version,
        "prf": policy.prf,
        "flags": policy.flags.letters(),
        "contradiction": policy.flags.check(true).err().map(|e| e.to_string()),
        "tp_data": data,
    })
}

fn describe_ticket(ticket: &Ticket, limits: &Limits) -> Value {
    let outside = ticket::Outside::parse(ticket, limits).ok().map(|outside| {
        outside.payloads().iter().map(|p| Value::Object(describe(p, limits))).collect::<Vec<_>>()
    });
    with(
        describe_policy(&ticket.policy, limits),
        &[
            ("ticket_data_len", json!(ticket.ticket_data.len())),
            ("ticket_data", json!(outside)),
            ("initiator_data_len", json!(ticket.initiator_data.len())),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4567 §5.1.
    const OFFER: &str = "mikey AQAFgM0XflABAAAAAAAAAAAAAAsAyONQ6gAAAAAGEEoo2pee4hp2UaDX8ZE22YwKAAAPZG9uYWxkQGR1Y2suY29tAQAAAAAAAQAk0JKpgaVkDaawi9whVBtBt0KZ14ymNuu62+Nv3ozPLygwK/GbAV9iemnGUIZ19fWQUOSrzKTAv9zV";

    fn one(input: &[u8]) -> Result<Value, Diagnosis> {
        let mut seen = Vec::new();
        inspect(input, &mut |v| seen.push(v))?;
        Ok(seen.remove(0))
    }

    #[test]
    fn the_offer_of_rfc_4567() {
        let octets = key_mgmt::parse(OFFER).unwrap();
        let told = one(&octets).unwrap();
        assert_eq!(told, one(format!("a=key-mgmt:{OFFER}\r\n").as_bytes()).unwrap());
        assert_eq!(told["data_type"], 0);
        assert_eq!(told["csb_id"], "cd177e50");
        assert_eq!(told["payload_types"], json!([5, 11, 6, 10, 1]));
        assert_eq!(told["payloads"][2]["id"], "donald@duck.com");
        assert_eq!(told["payloads"][4]["mac"], "5f627a69c6508675f5f59050e4abcca4c0bfdcd5");
        assert_eq!(told["payloads"][0]["time"], "2006-10-20T13:43:06Z");
        assert_eq!((told["length"].clone(), told["payloads"][0]["offset"].clone()), (json!(132), json!(19)));
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let octets = key_mgmt::parse(OFFER).unwrap();
        let wrong = |octets: &[u8]| {
            let d = one(octets).unwrap_err();
            (d.offset, d.class)
        };
        assert_eq!(wrong(&octets[..131]), (131, "truncated"));
        assert_eq!(wrong(&[&octets[..], &[0]].concat()), (132, "syntax"));
        let with = |at: usize, value: u8| {
            let mut o = octets.clone();
            o[at] = value;
            wrong(&o)
        };
        assert_eq!(with(0, 2), (0, "unsupported"));
        assert_eq!(with(2, 99), (2, "unsupported"));
        assert_eq!(with(9, 7), (9, "unsupported"));
        assert_eq!(with(8, 200), (8, "limit"));
        assert_eq!(wrong(b"mikey AQAF!"), (10, "syntax"));
        // In an attribute the place is that of the text: octet 131 of 132 in groups of three.
        let attribute = |octets: &[u8]| format!(" a=key-mgmt:{}\r\n", key_mgmt::print(octets));
        let cut = attribute(&octets[..131]);
        assert_eq!(wrong(cut.as_bytes()), (cut.trim_end().len(), "truncated"));
        let (lead, mut spoiled) = (" a=key-mgmt:mikey ".len(), octets.clone());
        spoiled[9] = 7;
        assert_eq!(wrong(attribute(&spoiled).as_bytes()), (lead + 12, "unsupported"));
        (spoiled[9], spoiled[2]) = (octets[9], 99);
        assert_eq!(wrong(attribute(&spoiled).as_bytes()), (lead + 2, "unsupported"));
        assert_eq!(wrong(b""), (0, "truncated"));
    }
}
