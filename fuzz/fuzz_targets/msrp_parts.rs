//! Parts of a message and descriptions of a file: no panic, parts lie inside the body, and what is
//! written of a selector is read again.
#![no_main]

use carnet_msrp::file::{Description, Range, Selector, local_name};
use carnet_msrp::{Limits, multipart};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(parts) = multipart::parts("multipart/mixed; boundary=b", input, &Limits::default()) {
        assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() <= input.len());
        let _ = parts.iter().map(multipart::Part::content_type).collect::<Vec<_>>();
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = multipart::parts(text, b"--b\r\n\r\n--b--", &Limits::default());
    if let Ok(selector) = Selector::parse(text) {
        assert_eq!(selector.to_string(), text);
        let again = Selector::new(selector.name(), selector.media_type(), selector.size(), selector.hash());
        if let Ok(again) = again {
            assert_eq!((again.name(), again.size()), (selector.name(), selector.size()));
        }
    }
    if let Ok(range) = Range::parse(text) {
        assert_eq!(Range::parse(&range.to_string()), Ok(range));
    }
    let _ = Description::read(text.lines().filter_map(|line| line.split_once(':')));
    let name = local_name(text);
    assert!(
        !name.is_empty() && name.len() <= 200 && !name.contains(['/', '\\', '\0']) && !name.starts_with('.')
    );
});
