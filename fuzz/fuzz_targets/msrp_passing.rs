//! MSRP that passes a gateway, cut anywhere: no panic, the same octets however it is cut, nothing after an
//! error, and with the paths that were there already nothing changes.
#![no_main]

use carnet_msrp::rewrite::{Rewriter, Side};
use carnet_msrp::{Limits, Uri};
use libfuzzer_sys::fuzz_target;

const URI: &str = "msrp://a.example:1/s;tcp";

fn again(input: &[u8], step: usize) -> Vec<u8> {
    let uri: Uri = URI.parse().expect("a URI");
    let side = Side { own: uri.clone(), path: vec![uri] };
    let mut rewriter = Rewriter::new(&side, &side, &Limits::default());
    let mut out = Vec::new();
    for part in input.chunks(step.max(1)) {
        if rewriter.pass(part, &mut out).is_err() {
            let so_far = out.len();
            assert!(rewriter.pass(input, &mut out).is_err());
            assert_eq!(out.len(), so_far);
            break;
        }
    }
    out
}

// The first octet says how large the cuts are.
fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    let whole = again(octets, octets.len());
    assert_eq!(whole, again(octets, usize::from(*step)));
    // From-Path is written anew whatever it was.
    let from = format!("From-Path: {URI}\r\n");
    let paths = octets.windows(10).filter(|w| w.eq_ignore_ascii_case(b"From-Path:")).count();
    if paths == octets.windows(from.len()).filter(|w| *w == from.as_bytes()).count() {
        let to = format!("To-Path: {URI}\r\n");
        let paths = octets.windows(8).filter(|w| w.eq_ignore_ascii_case(b"To-Path:")).count();
        if paths == octets.windows(to.len()).filter(|w| *w == to.as_bytes()).count() {
            assert!(octets.starts_with(&whole));
        }
    }
});
