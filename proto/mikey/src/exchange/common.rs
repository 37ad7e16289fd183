//! What the exchanges share: where a MAC stands, what it covers, and how a refusal looks.

use crate::payload::{Payload, Verification};
use crate::registry::data_type;
use crate::{AuthKey, CsIdMap, Error, Feature, Header, Identity, Limits, Message, Suite, Timestamp};
use carnet_wire::{Random, Span};
use std::time::SystemTime;

/// The Error message that answers a message with `header` (RFC 3830 §5.1.2, RFC 6043 §5.4).
///
/// It is not authenticated: an error arises before keys are agreed, or because they are not.
pub fn error_message(header: &Header, number: u8, wall: SystemTime) -> Vec<u8> {
    Message {
        header: Header { data_type: data_type::ERROR, v: false, ..header.clone() },
        payloads: vec![Payload::T(Timestamp::from_wall(wall)), Payload::Err { number, reserved: 0 }],
    }
    .print()
}

/// The same with a MAC, for a refusal after the initial message was proven. RFC 6043 §5.4: the key
/// is that of the message in which the error occurred.
pub(crate) fn protected_error(
    header: &Header,
    number: u8,
    wall: SystemTime,
    suite: Suite,
    key: &AuthKey,
) -> Vec<u8> {
    let message = Message {
        header: Header { data_type: data_type::ERROR, v: false, ..header.clone() },
        payloads: vec![
            Payload::T(Timestamp::from_wall(wall)),
            Payload::Err { number, reserved: 0 },
            unsigned(suite),
        ],
    };
    protect(&message, key, &[])
}

/// A header without crypto sessions, for the KMS's exchanges (RFC 6043 §4.2.1.1, §4.2.3.1).
pub(crate) fn kms_header(data_type: u8, suite: Suite, csb_id: u32, v: bool) -> Header {
    Header { data_type, v, prf: suite.prf().number(), csb_id, map: CsIdMap::Empty(0) }
}

/// A V payload whose MAC is yet to be filled in.
pub(crate) fn unsigned(suite: Suite) -> Payload {
    Payload::V(Verification { auth_alg: suite.mac_alg(), mac: vec![0; suite.mac_len()] })
}

/// Prints `message`, which ends in an empty V, and fills in the MAC over it and `suffix`
/// (RFC 6043 §5.5).
pub(crate) fn protect(message: &Message, key: &AuthKey, suffix: &[&[u8]]) -> Vec<u8> {
    let mut octets = message.print();
    let mac_len = message.verification().map_or(0, |v| v.mac.len());
    octets.truncate(octets.len().saturating_sub(mac_len));
    let parts: Vec<&[u8]> = std::iter::once(octets.as_slice()).chain(suffix.iter().copied()).collect();
    let mac = key.mac(&parts);
    octets.extend_from_slice(&mac);
    octets
}

/// Checks the MAC of a message against it and `suffix`.
pub(crate) fn verify(
    message: &Message,
    octets: &[u8],
    key: &AuthKey,
    suffix: &[&[u8]],
    what: &'static str,
) -> Result<(), Error> {
    let v = message.verification().ok_or(Error::Missing("V"))?;
    let covered = octets.len().saturating_sub(v.mac.len());
    let parts: Vec<&[u8]> =
        std::iter::once(octets.get(..covered).unwrap_or_default()).chain(suffix.iter().copied()).collect();
    key.verify(v.auth_alg, &v.mac, &parts, what)
}

/// The part of a TRANSFER_INIT that its MAC covers: all but Initiator Data, its length, and the
/// MAC (RFC 6043 §5.5).
pub(crate) fn transfer_parts(octets: &[u8], ticket: Span, initiator_data: usize, mac: usize) -> [&[u8]; 2] {
    let end = ticket.end as usize;
    let before = octets.get(..end.saturating_sub(initiator_data + 2)).unwrap_or_default();
    let after = octets.get(end..octets.len().saturating_sub(mac)).unwrap_or_default();
    [before, after]
}

/// Reads the answer to a message with `header`, which was protected with `init_keys`: either a
/// message of type `wanted`, or an error.
pub(crate) fn parse_response(
    octets: &[u8],
    limits: &Limits,
    header: &Header,
    wanted: u8,
    init_key: &AuthKey,
) -> Result<Message, Error> {
    let message = Message::parse(octets, limits)?;
    let h = &message.header;
    if h.prf != header.prf || h.csb_id != header.csb_id {
        return Err(Error::Rule("PRF and CSB ID of an answer are those of the initial message"));
    }
    if h.data_type == data_type::ERROR {
        // RFC 6043 §5.4: V is optional in an Error message, and its MAC has no suffix.
        let authenticated = verify(&message, octets, init_key, &[], "").is_ok();
        return Err(Error::Refused { number: message.error().unwrap_or(12), authenticated });
    }
    if h.data_type != wanted {
        return Err(Error::Unsupported { feature: Feature::DataType(h.data_type), at: 1 });
    }
    Ok(message)
}

/// A random number for RANDRi, RANDRr or RANDRkms, at least as long as the keys it goes with
/// (RFC 6043 §12.1).
pub(crate) fn fresh_rand(rng: &mut dyn Random, key_len: usize) -> Vec<u8> {
    let mut rand = vec![0; key_len.max(32)];
    rng.fill(&mut rand);
    rand
}

/// An identity payload.
pub(crate) fn idr(role: u8, id: &Identity) -> Payload {
    Payload::Idr { role, id: id.clone() }
}
