//! A MIKEY message is accepted and prints as it came, or is an error that points into it.
#![no_main]

use carnet_mikey::{Limits, Message, Profile, Received, exchange, payload, ticket};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, UNIX_EPOCH};

fuzz_target!(|octets: &[u8]| {
    let limits = Limits::default();
    match Message::parse(octets, &limits) {
        Ok(message) => {
            assert_eq!(message.print(), octets);
            if let Some(ticket) = message.ticket() {
                let _ = ticket::Outside::parse(ticket, &limits);
            }
            if let Some(time) = message.timestamp().and_then(|t| t.to_wall()) {
                let profile = Profile { accept_128: true, ..Profile::default() };
                let _ = Received::parse(&profile, time, octets);
                let _ = exchange::TicketRequest::parse(&profile, time, octets);
                let _ = exchange::ResolveRequest::parse(&profile, time, octets);
            }
        }
        Err(error) => assert!(error.offset().is_none_or(|at| at <= octets.len())),
    }
    if let Ok(keys) = payload::parse_keys(octets, &limits) {
        assert_eq!(payload::print_keys(&keys).as_slice(), octets);
    }
    let _ = Received::parse(&Profile::default(), UNIX_EPOCH + Duration::from_secs(1), octets);
});
