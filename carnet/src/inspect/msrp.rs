//! `carnet inspect msrp`: the frames of one direction of a connection (RFC 4975).
//!
//! Beyond the framing, the header fields are checked that every receiver reads, and that a body
//! stays in its range. What a receiver passes over is in `remarks`. Whether a session would take
//! the message, by its paths and media types, is not asked here.

use super::{Diagnosis, Emit};
use carnet_msrp::{ByteRange, Decoder, Error, Head, Limits, Piece, Start};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Reads the frames in `input` in order.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let mut decoder = Decoder::new(Limits::default());
    let mut used = 0;
    let mut frame: Option<Frame> = None;
    loop {
        let start = used;
        let rest = input.get(used..).unwrap_or_default();
        let (n, piece) = decoder.decode(rest).map_err(|e| diagnose(&e, input.len()))?;
        used += n;
        match piece {
            None if used < input.len() => {}
            None => break,
            Some(Piece::Head(head)) => {
                if let Some(fault) = head.fault() {
                    let message = format!("expected {}", fault.expected);
                    return Err(Diagnosis { offset: start + fault.at, class: "syntax", message });
                }
                let remarks = remarks(&head, rest, start);
                frame = Some(Frame { start, head, body: Sha256::new(), body_len: 0, remarks });
            }
            Some(Piece::Body(octets)) => {
                let Some(frame) = &mut frame else { continue };
                if frame.head.method().is_some() && frame.head.get("Content-Type").is_none() {
                    let message = "expected a Content-Type before a body".to_owned();
                    return Err(Diagnosis { offset: start, class: "syntax", message });
                }
                if let Some(room) = frame.room().filter(|room| octets.len() as u64 > *room) {
                    // RFC 4975 §7.1.1: the range says where the chunk ends at the latest.
                    let offset = start + usize::try_from(room).unwrap_or(0);
                    let message = "the body goes on behind its Byte-Range".to_owned();
                    return Err(Diagnosis { offset, class: "rule", message });
                }
                frame.body.update(octets);
                frame.body_len += octets.len();
            }
            Some(Piece::End(flag)) => {
                if let Some(frame) = frame.take() {
                    emit(frame.describe(used, flag.octet()));
                }
            }
        }
    }
    if !decoder.is_between_frames() {
        let message = "the input ends inside a frame".to_owned();
        return Err(Diagnosis { offset: input.len(), class: "truncated", message });
    }
    Ok(())
}

/// A frame under way.
struct Frame {
    start: usize,
    head: Head,
    body: Sha256,
    body_len: usize,
    remarks: Vec<Value>,
}

/// What a receiver passes over and a sender should not write.
fn remarks(head: &Head, octets: &[u8], start: usize) -> Vec<Value> {
    let mut out = Vec::new();
    let mut note = |at: usize, clause: &str, message: String| {
        out.push(json!({ "offset": at, "clause": clause, "message": message }));
    };
    // The octets as they came: the start line, then one line a header.
    let mut at = start;
    let mut lines = octets.split_inclusive(|b| *b == b'\n');
    at += lines.next().map_or(0, <[u8]>::len);
    let last = head.headers.len().saturating_sub(1);
    for (i, (header, line)) in head.headers.iter().zip(lines).enumerate() {
        let name = header.name();
        if head.headers.iter().take(i).any(|before| before.name().eq_ignore_ascii_case(name)) {
            note(at, "RFC 4975 §9", format!("{name} stands more than once; the first holds"));
        }
        // Paths, identifiers and ranges first; then what MIME adds; the type of the body closes.
        if head.has_body && i != last && name.eq_ignore_ascii_case("Content-Type") {
            note(at, "RFC 4975 §9", "Content-Type is not the last header field before the body".to_owned());
        }
        at += line.len();
    }
    out
}

impl Frame {
    /// How many octets of body may still come; `None` if that is open.
    fn room(&self) -> Option<u64> {
        let range = ByteRange::parse(self.head.get("Byte-Range")?.as_bytes()).ok()?;
        let most = range.end.or(range.total)?.saturating_add(1).saturating_sub(range.start);
        Some(most.saturating_sub(self.body_len as u64))
    }

    fn describe(self, end: usize, flag: u8) -> Value {
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("offset", json!(self.start));
        put("length", json!(end - self.start));
        put("tid", json!(self.head.tid));
        match &self.head.start {
            Start::Request(method) => {
                put("kind", json!("request"));
                put("method", json!(method));
            }
            Start::Response { status, comment } => {
                put("kind", json!("response"));
                put("status", json!(status));
                put("comment", json!(comment));
            }
        }
        let headers: Vec<_> = self.head.headers.iter().map(|h| [h.name(), h.value()]).collect();
        put("headers", json!(headers));
        put("has_body", json!(self.head.has_body));
        put("body_len", json!(self.body_len));
        let sha256 = self.head.has_body.then(|| carnet_wire::hex::encode(&self.body.finalize()));
        put("body_sha256", json!(sha256));
        put("continuation", json!(char::from(flag).to_string()));
        put("remarks", Value::Array(self.remarks));
        Value::Object(out)
    }
}

fn diagnose(error: &Error, end: usize) -> Diagnosis {
    let (offset, class) = match error {
        Error::Malformed(e) => (e.at, "syntax"),
        Error::TooLarge { at, .. } => (*at, "limit"),
        _ => (end, "unsupported"),
    };
    let message = match error {
        Error::Malformed(e) => format!("expected {}", e.expected),
        other => other.to_string(),
    };
    Diagnosis { offset, class, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: &str = "To-Path: msrp://b.example.com:8888/9di4;tcp\r\n\
        From-Path: msrp://a.example.com:7654/iau3;tcp\r\n";

    fn read(text: &str) -> (Vec<Value>, Option<Diagnosis>) {
        let mut seen = Vec::new();
        let result = inspect(text.as_bytes(), &mut |v| seen.push(v));
        (seen, result.err())
    }

    #[test]
    fn a_stream_of_frames() {
        let send = format!(
            "MSRP d93kswow SEND\r\n{PATHS}Message-ID: 1\r\nByte-Range: 1-3/6\r\nContent-Type: text/plain\r\n\r\nabc\r\n-------d93kswow+\r\n"
        );
        let ok = format!("MSRP d93kswow 200 OK\r\n{PATHS}-------d93kswow$\r\n");
        let (seen, error) = read(&format!("{send}{ok}"));
        assert!(error.is_none());
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(
            seen[0],
            json!({"offset": 0, "length": send.len(), "tid": "d93kswow", "kind": "request", "method": "SEND",
                "headers": [["To-Path", "msrp://b.example.com:8888/9di4;tcp"],
                    ["From-Path", "msrp://a.example.com:7654/iau3;tcp"], ["Message-ID", "1"],
                    ["Byte-Range", "1-3/6"], ["Content-Type", "text/plain"]],
                "has_body": true, "body_len": 3, "body_sha256": abc, "continuation": "+",
                "remarks": []})
        );
        assert_eq!(seen[1]["offset"], send.len());
        assert_eq!((&seen[1]["status"], &seen[1]["comment"]), (&json!(200), &json!("OK")));
        assert_eq!((&seen[1]["has_body"], &seen[1]["body_sha256"]), (&json!(false), &Value::Null));
    }

    #[test]
    fn a_body_stays_in_its_range() {
        let send = |range: &str, body: &str| {
            format!(
                "MSRP abcd SEND\r\n{PATHS}Message-ID: 1\r\nByte-Range: {range}\r\nContent-Type: text/plain\r\n\r\n\
                 {body}\r\n-------abcd$\r\n"
            )
        };
        for (range, body, room) in [("1-3/6", "abcd", 3), ("5-*/6", "xyz", 2), ("1-*/2", "abc", 2)] {
            let text = send(range, body);
            let error = read(&text).1.unwrap();
            let at = text.find("\r\n\r\n").unwrap() + 4 + room;
            assert_eq!((error.offset, error.class), (at, "rule"), "{range}");
        }
        for (range, body) in [("1-3/6", "abc"), ("1-*/*", "abcdef"), ("1-3/6", "a"), ("5-*/6", "yz")] {
            assert!(read(&send(range, body)).1.is_none(), "{range}");
        }
    }

    #[test]
    fn what_a_receiver_passes_over_is_remarked_on() {
        let text = format!(
            "MSRP abcd SEND\r\n{PATHS}Message-ID: 1\r\nMessage-ID: 2\r\nByte-Range: 1-2/2\r\nbyte-range: 1-1/2\r\n\
             Content-Type: text/plain\r\nContent-ID: x\r\n\r\nab\r\n-------abcd$\r\n"
        );
        let (seen, error) = read(&format!("{text}{text}"));
        assert!(error.is_none(), "{error:?}");
        for (message, base) in seen.iter().zip([0, text.len()]) {
            let places: Vec<_> =
                message["remarks"].as_array().unwrap().iter().map(|r| r["offset"].clone()).collect();
            let expected =
                ["Message-ID: 2", "byte-range", "Content-Type"].map(|p| json!(base + text.find(p).unwrap()));
            assert_eq!(places, expected);
        }
    }

    #[test]
    fn what_comes_before_a_fault_is_shown() {
        let ok = format!("MSRP d93kswow 200 OK\r\n{PATHS}-------d93kswow$\r\n");
        for (tail, at, class) in [
            ("GET / HTTP/1.1\r\n", 0, "syntax"),
            ("MSRP ab 200 OK\r\n", 5, "syntax"),
            ("MSRP abcd 200 OK\r\n-------abcd$\r\n", 18, "syntax"),
            ("MSRP abcd SEND\r\nTo-Path: sip:x\r\n-------abcd$\r\n", 16 + 9, "syntax"),
            ("MSRP abcd SEND\r\nTo-Path", 23, "truncated"),
        ] {
            let (seen, error) = read(&format!("{ok}{tail}"));
            let error = error.unwrap();
            assert_eq!((seen.len(), error.offset, error.class), (1, ok.len() + at, class), "{tail}");
        }
        let no_type = format!("MSRP abcd SEND\r\n{PATHS}Message-ID: 1\r\n\r\nhi\r\n-------abcd$\r\n");
        assert_eq!(read(&no_type).1.unwrap().class, "syntax");
        let long = format!("MSRP abcd SEND\r\nX: {}", "y".repeat(100_000));
        assert_eq!(read(&long).1.unwrap().class, "limit");
    }
}
