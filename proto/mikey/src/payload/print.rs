//! Writes payloads and chains of payloads.

use super::{Payload, Verification};
use crate::registry::payload_type;
use crate::writer::Writer;
use crate::{Identity, Timestamp};
use carnet_wire::Span;

/// The type of the first payload, or 0.
pub(crate) fn first_type(payloads: &[Payload]) -> u8 {
    payloads.first().map_or(payload_type::LAST, Payload::type_number)
}

/// Writes `payloads` and says where each went.
pub(crate) fn print_chain(payloads: &[Payload], w: &mut Writer) -> Vec<Span> {
    let mut spans = Vec::with_capacity(payloads.len());
    for (i, payload) in payloads.iter().enumerate() {
        let start = w.0.len();
        if !matches!(payload, Payload::Sign(_)) {
            w.u8(first_type(payloads.get(i + 1..).unwrap_or_default()));
        }
        print_payload(payload, w);
        spans.push(Span::new(start, w.0.len()));
    }
    spans
}

/// A chain that says in its first octet what its first payload is, as TP Data does.
pub(crate) fn print_first_and_chain(payloads: &[Payload]) -> Vec<u8> {
    let mut w = Writer::default();
    w.u8(first_type(payloads));
    print_chain(payloads, &mut w);
    w.0
}

fn print_payload(payload: &Payload, w: &mut Writer) {
    match payload {
        Payload::Kemac(k) => {
            w.u8(k.encr_alg);
            w.len16(&k.encr_data);
            w.u8(k.mac_alg);
            w.put(&k.mac);
        }
        Payload::Pke(p) => w.len14(p.cache, &p.data),
        Payload::Dh(d) => {
            w.u8(d.group);
            w.put(&d.value);
            w.u8(d.reserved << 4 | d.validity.type_number());
            d.validity.print(w);
        }
        Payload::Sign(s) => w.len12(s.sign_type, &s.signature),
        Payload::T(t) => print_timestamp(*t, w),
        Payload::Id(id) => print_identity(id, w),
        Payload::Cert { cert_type, data } => {
            w.u8(*cert_type);
            w.len16(data);
        }
        Payload::CertHash { hash, value } => {
            w.u8(*hash);
            w.put(value);
        }
        Payload::V(Verification { auth_alg, mac }) => {
            w.u8(*auth_alg);
            w.put(mac);
        }
        Payload::Sp(sp) => {
            w.u8(sp.number);
            w.u8(sp.protocol);
            w.len16(&sp.parameters);
        }
        Payload::Rand(rand) => w.len8(rand),
        Payload::Err { number, reserved } => {
            w.u8(*number);
            w.u16(*reserved);
        }
        Payload::Tr { role, time } => {
            w.u8(*role);
            print_timestamp(*time, w);
        }
        Payload::Idr { role, id } => {
            w.u8(*role);
            print_identity(id, w);
        }
        Payload::Randr { role, rand } => {
            w.u8(*role);
            w.len8(rand);
        }
        Payload::Tp(policy) => policy.print(w),
        Payload::Ticket(ticket) => ticket.print(w),
        Payload::GeneralExt { ext_type, data } => {
            w.u8(*ext_type);
            w.len16(data);
        }
    }
}

fn print_timestamp(t: Timestamp, w: &mut Writer) {
    w.u8(t.type_number());
    match t {
        Timestamp::NtpUtc(v) | Timestamp::Ntp(v) => w.put(&v.to_be_bytes()),
        Timestamp::Counter(v) | Timestamp::NtpUtc32(v) => w.u32(v),
    }
}

fn print_identity(id: &Identity, w: &mut Writer) {
    w.u8(id.id_type);
    w.len16(&id.data);
}
