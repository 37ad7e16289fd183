//! Capture files of anybody: they are read the same however they come in, nothing panics, and what is held is
//! bounded by what was read.
#![no_main]

use carnet_capture::{Error, Happening, Event, Limits, Network, Packet, Reader};
use libfuzzer_sys::fuzz_target;

fn read(file: &[u8], part: usize) -> (Vec<Packet>, Option<Error>) {
    let (mut reader, mut out) = (Reader::new(), Vec::new());
    for part in file.chunks(part.max(1)) {
        reader.push(part);
        assert!(reader.pending() <= file.len());
        loop {
            match reader.next() {
                Ok(Some(packet)) => out.push(packet),
                Ok(None) => break,
                Err(error) => return (out, Some(error)),
            }
        }
    }
    let end = reader.finish().err();
    (out, end)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, file)) = input.split_first() else { return };
    let (packets, fault) = read(file, file.len());
    assert_eq!((packets.clone(), fault), read(file, usize::from(*size)));
    let mut limits = Limits::default();
    limits.connections = 8;
    limits.waiting = 4096;
    let mut network = Network::new(limits);
    let (mut octets, mut given) = (0, 0);
    let mut count = |network: &mut Network| {
        while let Some(event) = network.poll_event() {
            match event {
                Event::Datagram(datagram) => given += datagram.octets.len(),
                Event::Segment(segment) => {
                    if let Happening::Data(octets) = segment.what {
                        assert!(!octets.is_empty());
                        given += octets.len();
                    }
                }
                Event::Unreachable(_) => {}
            }
        }
        given
    };
    for packet in &packets {
        octets += packet.octets.len();
        network.handle_packet(packet);
        // Nothing is handed out that was not captured.
        assert!(count(&mut network) <= octets);
    }
    network.finish();
    assert!(count(&mut network) <= octets);
});
