//! MIKEY, as far as it can be seen from outside.

use super::digest;
use crate::model::KeyMessage;
use carnet_mikey::payload::{Payload, TicketPolicy};
use carnet_mikey::registry::{data_type, encr_alg, error_no, time_role};
use carnet_mikey::{Limits, Message, Timestamp};
use std::time::{Duration, UNIX_EPOCH};

/// Reads a message.
pub(super) fn read(octets: &[u8]) -> KeyMessage {
    let mut out = KeyMessage { digest: digest(octets), ..KeyMessage::default() };
    let message = match Message::parse(octets, &Limits::default()) {
        Ok(message) => message,
        Err(error) => {
            out.fault = Some(error.to_string());
            return out;
        }
    };
    out.name = data_type::name(message.header.data_type)
        .map_or_else(|| format!("type {}", message.header.data_type), str::to_owned);
    out.made = message.timestamp().and_then(time);
    for payload in &message.payloads {
        match payload {
            Payload::Ticket(ticket) => {
                // As the service that made it names it in its log.
                let [a, b, c, d, e, f, g, h, ..] = carnet_mikey::ticket_id(ticket);
                out.ticket = Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
                out.valid = validity(&ticket.policy);
            }
            Payload::Tp(policy) if out.valid == (None, None) => out.valid = validity(policy),
            Payload::Err { number, .. } => {
                let name = error_no::name(*number).map_or_else(String::new, |name| format!(" ({name})"));
                out.error = Some(format!("{number}{name}"));
            }
            _ => {}
        }
    }
    out
}

/// Whether keys stand in it that nothing encrypts.
pub(super) fn is_open(octets: &[u8]) -> bool {
    let Ok(message) = Message::parse(octets, &Limits::default()) else { return false };
    message.payloads.iter().any(|payload| match payload {
        // A wanted policy has keys that are zero (RFC 6043 §6.2.1).
        Payload::Kemac(kemac) => kemac.encr_alg == encr_alg::NULL && kemac.encr_data.len() > 64,
        _ => false,
    })
}

fn validity(policy: &TicketPolicy) -> (Option<Duration>, Option<Duration>) {
    let when = |wanted: u8| {
        policy.data.iter().find_map(|payload| match payload {
            Payload::Tr { role, time: at } if *role == wanted => time(*at),
            _ => None,
        })
    };
    (when(time_role::START), when(time_role::END))
}

fn time(at: Timestamp) -> Option<Duration> {
    at.to_wall()?.duration_since(UNIX_EPOCH).ok()
}
