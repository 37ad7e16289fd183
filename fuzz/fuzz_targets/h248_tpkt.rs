//! Messages on a stream come out the same however it is cut, and a fault is the end of it.
#![no_main]

use carnet_h248::tpkt::{Framer, frame};
use libfuzzer_sys::fuzz_target;

/// The messages, and whether the stream went wrong after them.
fn unframed(octets: &[u8], step: usize) -> (Vec<u8>, usize, bool) {
    let (mut framer, mut out, mut count) = (Framer::new(2_000), Vec::new(), 0);
    for part in octets.chunks(step.max(1)) {
        framer.push(part);
        loop {
            match framer.next() {
                Ok(Some(message)) => {
                    assert!(!message.is_empty() && message.len() <= 2_000);
                    out.extend_from_slice(&frame(&message).unwrap());
                    count += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    assert!((400..600).contains(&error.code()));
                    return (out, count, true);
                }
            }
        }
        assert!(framer.pending() < 2_004 + part.len());
    }
    (out, count, false)
}

// The first octet says how large the cuts are.
fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    let whole = unframed(octets, octets.len());
    assert_eq!(unframed(octets, usize::from(*step)), whole);
    // What was taken is what stands at the beginning, the reserved octet apart.
    let (framed, _, _) = whole;
    assert!(framed.len() <= octets.len());
});
