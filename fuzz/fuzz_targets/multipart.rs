//! Bodies of several parts from strangers: the first line is the Content-Type, the rest the body.
//! A part put back changes nothing; another content leaves the other parts as they were.
#![no_main]

use carnet_sip::multipart::{MultipartLimits, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let at = octets.iter().position(|b| *b == b'\n').unwrap_or(octets.len());
    let (kind, body) = octets.split_at(at);
    let Ok(kind) = std::str::from_utf8(kind) else { return };
    let body = body.get(1..).unwrap_or_default();
    let limits = MultipartLimits::default();
    let Ok(found) = parts(body, kind, &limits) else { return };
    assert!(found.len() <= limits.parts);
    for (n, part) in found.iter().enumerate() {
        assert_eq!(part.replace(body, &body[part.range()]), body);
        let edited = part.replace(body, b"v=0\r\n");
        let again = parts(&edited, kind, &limits).expect("still parts");
        assert_eq!(again.len(), found.len());
        for (m, (new, old)) in again.iter().zip(&found).enumerate() {
            let expected = if n == m { b"v=0\r\n" } else { &body[old.range()] };
            assert_eq!(&edited[new.range()], expected);
        }
    }
});
