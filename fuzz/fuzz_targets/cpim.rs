//! message/cpim heads: no panic, and what was read prints as it came.
#![no_main]

use carnet_msrp::{Limits, cpim, imdn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(Some((head, content))) = cpim::Head::parse(input, &Limits::default()) {
        let mut out = Vec::new();
        head.write(&mut out);
        assert_eq!(out, &input[..content]);
        let _ = (head.from(), head.to(), head.missing(&[]), imdn::Request::read(&head));
        let _ = imdn::Notification::parse(&input[content..]);
    }
    let _ = imdn::Notification::parse(input);
    let _ = carnet_msrp::composing::Composing::parse(input);
});
