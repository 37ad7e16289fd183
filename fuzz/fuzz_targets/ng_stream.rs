//! ng on a stream: it is cut the same however it comes in; each message that is read as one by itself ends
//! where the stream was cut; and a message is never longer than the limit.
#![no_main]

use bytes::Bytes;
use carnet_ng::{Error, Frames, Limits, Message};
use libfuzzer_sys::fuzz_target;

const MOST: usize = 4096;

fn cut(input: &[u8], size: usize) -> (Vec<Bytes>, Option<Error>) {
    let mut frames = Frames::new(MOST);
    let mut all = Vec::new();
    for part in input.chunks(size.max(1)) {
        frames.push(part);
        while let Some(next) = frames.next_message() {
            match next {
                Ok(message) => all.push(message),
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((size, stream)) = input.split_first() else { return };
    let (whole, fault) = cut(stream, MOST);
    let (parts, other) = cut(stream, usize::from(*size));
    assert_eq!(whole, parts);
    assert_eq!(fault.is_some(), other.is_some());
    let mut sum = 0;
    for message in whole {
        assert!(message.len() <= MOST);
        sum += message.len();
        // A whole message is a whole message: nothing of it is left for the next, and nothing lacks.
        if let Err(Error::Syntax(error)) = Message::parse(&message, &Limits::default()) {
            assert!(error.at <= message.len());
        }
    }
    assert!(sum <= stream.len());
});
