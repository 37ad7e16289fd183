//! H.248 from text to binary and back: what binary can say comes back, and from then on nothing changes.
#![no_main]

use carnet_h248::text::{Form, Limits, parse, print};
use carnet_h248::{Message, binary};
use libfuzzer_sys::fuzz_target;

/// There and back, as far as it goes.
fn through_binary(message: &Message) -> Option<Message> {
    let octets = binary::print(message).ok()?;
    // Binary may take more octets than text, and has limits of its own on what is text in it.
    match binary::parse(&octets, &Limits::default()) {
        Ok(again) => Some(again),
        Err(error) => {
            assert!(matches!(error.class(), "limit" | "syntax"), "{error}");
            None
        }
    }
}

fuzz_target!(|octets: &[u8]| {
    let Ok(message) = parse(octets, &Limits::default()) else { return };
    let Some(once) = through_binary(&message) else { return };
    let printed = print(&once, Form::Long);
    match parse(&printed, &Limits::default()) {
        Ok(text) => {
            // Types and sets have one spelling now.
            let twice = through_binary(&text);
            assert_eq!(twice.as_ref(), Some(&once), "{}", String::from_utf8_lossy(&printed));
        }
        Err(error) => assert_eq!(error.class(), "limit", "{error}"),
    }
});
