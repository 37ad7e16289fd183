//! An H.248 text message is refused inside its bounds, or prints and parses to the same message.
#![no_main]

use carnet_h248::text::{Form, Limits, parse, print};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    match parse(octets, &Limits::default()) {
        Err(error) => {
            assert!(error.offset() <= octets.len());
            assert!((400..600).contains(&error.code()));
        }
        Ok(message) => {
            for form in [Form::Long, Form::Short] {
                // Printing adds white space, which may pass a limit on octets but on nothing else.
                let limits = Limits::default();
                match parse(&print(&message, form), &limits) {
                    Ok(again) => assert_eq!(again, message),
                    Err(error) => assert_eq!(error.class(), "limit", "{error}"),
                }
            }
        }
    }
});
