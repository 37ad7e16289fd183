//! ng: a datagram is refused inside its bounds, or written again: bencode octet for octet, JSON so that it
//! reads the same; what is read as a request or a response stays the same when it is written and read again,
//! in either form; its options are understood or refused, and nothing of a token is shown.
#![no_main]

use bytes::Bytes;
use carnet_ng::{Error, Form, Limits, Message, Options, Request, Response, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let limits = Limits::default();
    let message = match Message::parse(&Bytes::copy_from_slice(input), &limits) {
        Ok(message) => message,
        Err(Error::Syntax(error)) => return assert!(error.at <= input.len()),
        Err(_) => return,
    };
    match message.form {
        Form::Bencode => assert_eq!(message.to_bytes(), input),
        Form::Json => assert_eq!(Message::parse(&message.to_bytes(), &limits), Ok(message.clone())),
    }
    if let Ok(request) = Request::of(&message.body) {
        assert_eq!(Request::of(&request.body()), Ok(request.clone()));
        if let Ok(options) = Options::of(&request) {
            assert_eq!(Options::of(&request).as_ref(), Ok(&options));
            assert!(
                options.inapplicable.iter().chain(&options.unknown).all(|word| word.chars().count() <= 80)
            );
        }
        let asked = Request { more: vec![("token".into(), Value::text("a word for nobody"))], ..request };
        assert!(!format!("{asked:?}").contains("a word for nobody"));
    }
    if let Ok(response) = Response::of(&message.body) {
        assert_eq!(Response::of(&response.body()), Ok(response));
    }
});
