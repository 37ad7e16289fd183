//! ng: a datagram is refused inside its bounds, or written again octet for octet; what is read as a request
//! or a response stays the same when it is written and read again.
#![no_main]

use bytes::Bytes;
use carnet_ng::{Error, Limits, Message, Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let message = match Message::parse(&Bytes::copy_from_slice(input), &Limits::default()) {
        Ok(message) => message,
        Err(Error::Syntax(error)) => return assert!(error.at <= input.len()),
        Err(_) => return,
    };
    assert_eq!(message.to_bytes(), input);
    if let Ok(request) = Request::of(&message.body) {
        assert_eq!(Request::of(&request.body()), Ok(request));
    }
    if let Ok(response) = Response::of(&message.body) {
        assert_eq!(Response::of(&response.body()), Ok(response));
    }
});
