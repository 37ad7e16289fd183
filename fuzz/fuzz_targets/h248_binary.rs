//! H.248 in the binary encoding: what is read and can be written reads as the same.

#![no_main]

use carnet_h248::binary::{Limits, parse, print};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let Ok(message) = parse(octets, &Limits::default()) else { return };
    // A value that does not have its package's type is read, but not written.
    let Ok(printed) = print(&message) else { return };
    assert_eq!(parse(&printed, &Limits::default()).as_ref(), Ok(&message));
});
