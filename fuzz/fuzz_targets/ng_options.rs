//! The options of ng: whatever stands in `flags`, `rtpp_flags` and as a key is understood, named or refused; and
//! it makes no difference whether flags come in one text or in a list.
#![no_main]

use carnet_ng::{Command, Options, Request, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let offer = || Request::new(Command::Offer, "c", "a");
    let whole = Options::of(&offer().with("rtpp_flags", Value::text(text)));
    if !text.contains(['[', ']']) {
        let list = Value::texts(text.split_ascii_whitespace());
        assert_eq!(Options::of(&offer().with("flags", list)), whole);
    }
    let mut alone = offer();
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    alone.more.push((key.to_owned().into(), Value::text(value)));
    let _ = Options::of(&alone);
    let _ = Request::of(&alone.body());
});
