//! The SDP parser is total, prints what it read, and its edits keep a document a document.
#![no_main]

use bytes::Bytes;
use carnet_sdp::{Document, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let limits = Limits::default();
    let Ok(mut document) = Document::parse_fragment(Bytes::copy_from_slice(octets), &limits) else { return };
    assert_eq!(document.to_bytes(), octets);
    assert!(document.review().iter().all(|remark| remark.at <= octets.len()));
    for m in document.media() {
        let _ = (m.class(), m.address(), m.setup(), m.key_mgmt(), m.fingerprint());
    }
    let moves: Vec<_> = (0..document.media().len()).map(|i| (i, ([192, 0, 2, 1], 40_000).into())).collect();
    document.relocate(&moves).expect("all of these lines exist");
    let again = Document::parse_fragment(
        document.to_bytes(),
        &Limits { octets: usize::MAX, lines: usize::MAX, ..limits },
    )
    .expect("an edited document is a document");
    assert!(again.media().all(|m| m.port() == Some(40_000)));
});
