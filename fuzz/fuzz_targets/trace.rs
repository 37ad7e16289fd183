//! What anybody says, as datagrams and on connections, and every form a ladder is shown in: nothing panics, no
//! form holds what would steer a terminal or a browser, and no password's proof.
#![no_main]

use bytes::Bytes;
use carnet_capture::{Datagram, Event, Happening, Segment};
use carnet_trace::show::{self, Paper};
use carnet_trace::{Limits, Tracer};
use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let mut tracer = Tracer::new(Limits::default(), false);
    let (mut number, mut opened) = (0, [false; 4]);
    // Messages are separated by an octet that no protocol of text has; the first octet says who to whom.
    for message in input.split(|octet| *octet == 0xff) {
        let Some((head, octets)) = message.split_first() else { continue };
        number += 1;
        let at = Duration::from_millis(number * u64::from(head >> 5));
        let connection = head & 3;
        let address = |host: u8| SocketAddr::from(([192, 0, 2, host], 5060 + u16::from(connection)));
        let (one, two) = (address(1 + connection), address(2 + (head >> 2 & 3)));
        let (from, to) = if head & 16 == 0 { (one, two) } else { (two, one) };
        let octets = Bytes::copy_from_slice(octets);
        if head & 32 == 0 {
            tracer.handle(Event::Datagram(Datagram { at, number, from, to, octets, missing: 0 }));
            continue;
        }
        let what = match (opened[usize::from(connection)], octets.len()) {
            (false, _) => Happening::Open,
            (true, 0) => Happening::Lost(1),
            (true, _) => Happening::Data(octets),
        };
        opened[usize::from(connection)] = true;
        let connection = connection.into();
        tracer.handle(Event::Segment(Segment { at, number, connection, from, to, what }));
    }
    let ladder = tracer.finish();
    for session in &ladder.sessions {
        assert!(!session.findings.is_empty());
        for entry in &session.entries {
            assert!(entry.from_host < session.hosts.len() && entry.to_host < session.hosts.len());
        }
    }
    for (width, whole) in [(40, true), (200, false)] {
        let text = show::text(&ladder, Paper { width, colours: false, whole });
        assert!(!text.contains('\x1b'));
        show::list(&ladder, Paper { width, colours: false, whole });
    }
    for page in [show::svg(&ladder), show::html(&ladder)] {
        assert!(page.matches("<script").count() <= 1);
    }
    show::json(&ladder);
});
