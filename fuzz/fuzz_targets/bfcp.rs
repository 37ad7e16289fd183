//! BFCP of either version: refused inside its bounds, or printed and read again as the same message; a stream
//! is the same however it is cut; fragments of a message make the message.
#![no_main]

use bytes::Bytes;
use carnet_bfcp::{Assembly, Body, Framer, Limits, Message, fragments};
use libfuzzer_sys::fuzz_target;

fn stream(octets: &[u8], step: usize) -> (Vec<Message>, bool) {
    let mut framer = Framer::new(Limits::default());
    let mut found = Vec::new();
    for part in octets.chunks(step.max(1)) {
        framer.push(part);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

fuzz_target!(|input: &[u8]| {
    let Some((step, octets)) = input.split_first() else { return };
    assert_eq!(stream(octets, octets.len()), stream(octets, usize::from(*step)));
    let limits = Limits::default();
    let message = match Message::parse(&Bytes::copy_from_slice(octets), &limits) {
        Ok(message) => message,
        Err(error) => {
            assert!(error.at().is_none_or(|at| at <= octets.len()));
            let _ = Body::refusal(&error).attributes();
            return;
        }
    };
    let printed = message.print().expect("what was read can be written");
    assert_eq!(printed.len(), octets.len());
    assert_eq!(Message::parse(&printed.clone().into(), &limits).as_ref(), Ok(&message));
    if let Ok(body) = Body::of(&message) {
        let again = Message { attributes: body.attributes(), ..message.clone() };
        assert_eq!(Body::of(&again), Ok(body));
    }
    if message.version == 2 {
        let parts = fragments(&message, 21 + usize::from(*step)).expect("room");
        if let [one] = parts.as_slice() {
            return assert_eq!(*one, printed);
        }
        let mut assembly = Assembly::begin(&parts[parts.len() - 1], &limits).expect("a fragment");
        for part in &parts {
            assembly.add(part).expect("a fragment");
        }
        assert_eq!(assembly.finish(&limits), Some(Ok(message)));
    }
});
