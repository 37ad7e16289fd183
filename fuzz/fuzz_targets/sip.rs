//! SIP from strangers: messages print as they came, edits cannot add lines, framing does not
//! depend on where the stream is cut, and an endpoint answers nothing that does not parse.
#![no_main]

use bytes::Bytes;
use carnet_sip::{Config, Endpoint, FlowId, Frame, Framer, Hop, Input, Limits, Message, Transport, scan};
use carnet_wire::SeededRandom;
use libfuzzer_sys::fuzz_target;
use std::time::Instant;

fn frames(octets: &[u8], step: usize) -> (Vec<Frame>, bool) {
    let (mut framer, mut out) = (Framer::new(Limits::default()), Vec::new());
    for piece in octets.chunks(step) {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

fuzz_target!(|octets: &[u8]| {
    let limits = Limits::default();
    let data = Bytes::copy_from_slice(octets);
    match scan(data.clone(), &limits) {
        Ok(scanned) => {
            let printed = scanned.message.to_bytes();
            let mut start = octets;
            while let Some(rest) = start.strip_prefix(b"\r\n") {
                start = rest;
            }
            assert!(start.starts_with(&printed));
            if scanned.fault.is_none() {
                let again = Message::parse(printed.clone(), &limits).expect("what parsed parses");
                assert_eq!(again.headers().count(), scanned.message.headers().count());
                let mut edited = scanned.message;
                edited.set_header("X-Edit", "1").expect("a good value");
                edited.remove_first("Via");
                let lines = edited.headers().count();
                if let Ok(after) = scan(edited.to_bytes(), &limits) {
                    assert_eq!(after.message.headers().count(), lines);
                }
            }
        }
        Err(error) => assert!(error.offset().is_none_or(|at| at <= octets.len())),
    }
    let whole = frames(octets, octets.len().max(1));
    assert_eq!(whole, frames(octets, 1));

    let address = "192.0.2.1:5060".parse().expect("an address");
    let flow = Hop { flow: Some(FlowId(1)), ..Hop::new(Transport::Tcp, address) };
    for hop in [Hop::new(Transport::Udp, address), flow] {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(Config::default(), Box::new(SeededRandom::new(1)));
        endpoint.handle_input(now, Input { hop, data: data.clone() });
        while let Some(transmit) = endpoint.poll_transmit() {
            scan(transmit.data, &limits).expect("what is sent is SIP");
        }
        while endpoint.poll_event().is_some() {}
        while let Some(at) = endpoint.poll_timeout() {
            endpoint.handle_timeout(at);
            while endpoint.poll_transmit().is_some() {}
        }
    }
});
