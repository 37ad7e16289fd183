//! MSRP frames from a stream cut anywhere: no panic, the same pieces however it is cut, and what was
//! read prints as it came.
#![no_main]

use carnet_msrp::{Decoder, Limits, Piece};
use libfuzzer_sys::fuzz_target;

/// The stream as the decoder read it, written again.
fn again(input: &[u8], step: usize) -> Vec<u8> {
    let mut decoder = Decoder::new(Limits::default());
    let mut out = Vec::new();
    let mut frame = None;
    for part in input.chunks(step.max(1)) {
        let mut rest = part;
        loop {
            match decoder.decode(rest) {
                Err(_) => return out,
                Ok((_, None)) => break,
                Ok((used, Some(piece))) => {
                    match piece {
                        Piece::Head(head) => {
                            let _ = head.fault();
                            head.write(&mut out);
                            frame = Some(head);
                        }
                        Piece::Body(octets) => out.extend_from_slice(octets),
                        Piece::End(flag) => {
                            if let Some(head) = frame.take() {
                                head.write_end(flag, &mut out);
                            }
                        }
                    }
                    rest = &rest[used..];
                }
            }
        }
    }
    out
}

// The first octet says how large the cuts are.
fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    let whole = again(octets, octets.len());
    let cut = again(octets, usize::from(*step));
    assert_eq!(whole, cut);
    // A blank line without a body comes back with the line end of one; nothing else changes.
    if !octets.windows(11).any(|w| w.starts_with(b"\r\n\r\n-------")) {
        assert!(octets.starts_with(&whole));
    }
});
