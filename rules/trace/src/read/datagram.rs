//! What a datagram of UDP is, by its content.

use super::{Show, Told, control, floor, ng, sip};
use crate::telling::Protocol;
use bytes::Bytes;

/// Reads a datagram; nothing for what is not one of ours.
pub(crate) fn datagram(octets: &Bytes, show: Show) -> Vec<Told> {
    if floor::is_datagram(octets) {
        vec![floor::read(octets)]
    } else if control::begins(octets) {
        control::read(octets, show)
    } else if sip::begins(octets) == Some(true) {
        sip::read(octets, true, show).into_iter().collect()
    } else if ng::begins(octets) == Some(true) {
        vec![ng::read(octets, show)]
    } else {
        Vec::new()
    }
}

/// Reads a message whose protocol is known.
pub(crate) fn message(protocol: Protocol, octets: &Bytes, datagram: bool, show: Show) -> Vec<Told> {
    match protocol {
        Protocol::Sip => sip::read(octets, datagram, show).into_iter().collect(),
        Protocol::Control => control::read(octets, show),
        Protocol::Ng => vec![ng::read(octets, show)],
    }
}
