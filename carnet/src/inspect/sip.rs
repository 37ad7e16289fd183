//! `carnet inspect sip`: the messages of a stream, or of one datagram.
//!
//! Messages are cut by Content-Length, as on a stream. A message without one reaches to the end
//! of the input, as in a datagram (RFC 3261 §18.3). After the last message an object says how
//! many there were.
//!
//! An input whose lines end with LF alone is read as one datagram, as a receiver would, and its
//! object says so in `line_ends`; on a stream nobody would take it.

use super::{Diagnosis, Emit};
use bytes::Bytes;
use carnet_sip::{Error, Frame, Framer, Limits, Message, Scanned, mend_line_ends, scan};
use serde_json::{Value, json};

/// Reads `input` and emits one object a message, then `{"messages": n}`.
///
/// # Errors
/// The first thing a receiver would not accept.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let limits = Limits::default();
    if let Some(mended) = mend_line_ends(input) {
        return inspect_mended(input, mended, emit);
    }
    let mut framer = Framer::new(limits);
    framer.push(input);
    let mut count = 0u64;
    loop {
        let start = offset(&framer, input);
        match framer.next() {
            Ok(Some(Frame::Ping)) => continue,
            Ok(Some(Frame::Message(octets))) => {
                let cut = scan(octets, &limits);
                let datagram = cut.as_ref().is_ok_and(|cut| !cut.message.has("Content-Length"));
                let scanned = if datagram { scan(rest(input, start), &limits) } else { cut };
                let message = sound(scanned, start)?;
                emit(describe(&message, start));
                count += 1;
                if datagram {
                    break;
                }
            }
            Ok(None) if input.get(start..).unwrap_or_default().is_empty() => break,
            Ok(None) => return Err(unfinished(input, start, &limits)),
            Err(error) => return Err(diagnosis(&error, start)),
        }
    }
    emit(json!({ "messages": count }));
    Ok(())
}

/// The message, if a receiver would take it.
fn sound(scanned: Result<Scanned, Error>, start: usize) -> Result<Message, Diagnosis> {
    let Scanned { message, fault, at } = scanned.map_err(|e| diagnosis(&e, start))?;
    match fault {
        None => Ok(message),
        Some(fault) => Err(Diagnosis { offset: start + at, ..diagnosis(&fault, start) }),
    }
}

/// A datagram without CR: places are told as they are in the input.
fn inspect_mended(input: &[u8], mended: Bytes, emit: Emit<'_>) -> Result<(), Diagnosis> {
    let lead = input.iter().take_while(|b| **b == b'\n').count();
    let added = mended.len() - (input.len() - lead);
    let ends: Vec<usize> = memchr_crs(&mended).take(added).collect();
    let message = Message::parse(mended, &Limits::default()).map_err(|error| {
        let found = diagnosis(&error, 0);
        let before = ends.iter().filter(|at| **at < found.offset).count();
        Diagnosis { offset: lead + found.offset - before, ..found }
    })?;
    let mut object = describe(&message, lead);
    if let Some(members) = object.as_object_mut() {
        members.insert("length".into(), (message.to_bytes().len() - added).into());
        members.insert("line_ends".into(), "LF alone; taken in a datagram, not on a stream".into());
    }
    emit(object);
    emit(json!({ "messages": 1 }));
    Ok(())
}

fn memchr_crs(octets: &[u8]) -> impl Iterator<Item = usize> {
    octets.iter().enumerate().filter(|(_, b)| **b == b'\r').map(|(at, _)| at)
}

fn rest(input: &[u8], start: usize) -> Bytes {
    Bytes::copy_from_slice(input.get(start..).unwrap_or_default())
}

/// Where the next message starts, empty lines before it passed over.
fn offset(framer: &Framer, input: &[u8]) -> usize {
    let mut at = usize::try_from(framer.position()).unwrap_or(usize::MAX).min(input.len());
    while input.get(at..).is_some_and(|i| i.starts_with(b"\r\n")) {
        at += 2;
    }
    at
}

/// What is wrong with a message that does not end.
fn unfinished(input: &[u8], start: usize, limits: &Limits) -> Diagnosis {
    match scan(rest(input, start), limits) {
        // No start line yet, and nothing in it that could not become one.
        Err(Error::NotSip(at)) if at.at + start < input.len() => diagnosis(&Error::NotSip(at), start),
        Ok(Scanned { fault: Some(fault), at, .. }) if at + start < input.len() => {
            Diagnosis { offset: start + at, ..diagnosis(&fault, start) }
        }
        Ok(_) => truncated(input),
        Err(Error::NotSip(_)) => truncated(input),
        Err(error) => diagnosis(&error, start),
    }
}

fn truncated(input: &[u8]) -> Diagnosis {
    Diagnosis {
        offset: input.len(),
        class: "truncated",
        message: "the message goes on behind the end".to_owned(),
    }
}

fn diagnosis(error: &Error, start: usize) -> Diagnosis {
    let class = match error {
        Error::TooLarge { .. } => "limit",
        Error::Version => "unsupported",
        _ => "syntax",
    };
    // The place is in `offset`: say only what and why.
    let message = match error {
        Error::NotSip(at) => format!("not a SIP message: expected {}", at.expected),
        Error::Malformed { what, at } => format!("malformed {what}: expected {}", at.expected),
        other => other.to_string(),
    };
    Diagnosis { offset: start + error.offset().unwrap_or(0), class, message }
}

fn describe(message: &Message, offset: usize) -> Value {
    let mut object = json!({ "offset": offset, "length": message.to_bytes().len() });
    let headers: Vec<_> =
        message.headers().map(|(name, value)| json!([name, String::from_utf8_lossy(value)])).collect();
    let Some(members) = object.as_object_mut() else { return object };
    match (message.request_uri(), message.status()) {
        (_, Some(status)) => {
            members.insert("kind".into(), "response".into());
            members.insert("status".into(), status.into());
            members.insert("reason".into(), message.reason().into());
        }
        (uri, None) => {
            members.insert("kind".into(), "request".into());
            members.insert("method".into(), message.method().as_str().into());
            members.insert("uri".into(), uri.map(ToString::to_string).into());
        }
    }
    members.insert("headers".into(), headers.into());
    members.insert("body_len".into(), message.body().len().into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input: &str) -> (Vec<Value>, Option<Diagnosis>) {
        let mut out = Vec::new();
        let result = inspect(input.as_bytes(), &mut |v| out.push(v));
        (out, result.err())
    }

    const HEAD: &str =
        "Via: SIP/2.0/TCP a;branch=z9hG4bK1\r\nf: <sip:a@a>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: 1\r\n";

    fn options() -> String {
        format!("OPTIONS sip:b@b SIP/2.0\r\n{HEAD}CSeq: 1 OPTIONS\r\nl: 4\r\n\r\nbody")
    }

    fn ok() -> String {
        format!("SIP/2.0 200 All right\r\n{HEAD}CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
    }

    #[test]
    fn a_stream_of_messages() {
        let (options, ok) = (options(), ok());
        let (out, error) = run(&format!("{options}{ok}\r\n\r\n{options}\r\n"));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(out.len(), 4);
        assert_eq!(out[0]["kind"], "request");
        assert_eq!((&out[0]["method"], &out[0]["uri"]), (&json!("OPTIONS"), &json!("sip:b@b")));
        assert_eq!(out[0]["headers"][1], json!(["f", "<sip:a@a>;tag=1"]));
        assert_eq!(out[0]["body_len"], 4);
        assert_eq!((&out[1]["status"], &out[1]["reason"]), (&json!(200), &json!("All right")));
        assert_eq!(out[1]["offset"], options.len());
        assert_eq!(out[2]["offset"], options.len() + ok.len() + 4);
        assert_eq!(out[2]["length"], options.len());
        assert_eq!(out[3], json!({ "messages": 3 }));
    }

    #[test]
    fn a_datagram_reaches_to_its_end() {
        let (out, error) = run(&options().replace("l: 4\r\n", ""));
        assert!(error.is_none());
        assert_eq!(out[0]["body_len"], 4);
    }

    #[test]
    fn lf_alone_is_a_datagram_or_a_fault() {
        let text = options().replace("\r\n", "\n");
        let (out, error) = run(&format!("\n{text}"));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(out[0]["headers"][1], json!(["f", "<sip:a@a>;tag=1"]));
        assert_eq!((&out[0]["offset"], &out[0]["length"]), (&json!(1), &json!(text.len())));
        assert!(out[0]["line_ends"].as_str().unwrap().starts_with("LF alone"));
        assert_eq!(out[1], json!({ "messages": 1 }));
        // Faults are told where they are in the input.
        let text = text.replace("CSeq: 1 OPTIONS", "CSeq: x OPTIONS");
        let error = run(&text).1.unwrap();
        assert!(text[error.offset..].starts_with("x OPTIONS"), "{error:?}");
        // Both kinds of line ends in one head.
        let mixed = options().replacen("\r\n", "\n", 1);
        let error = run(&mixed).1.unwrap();
        assert_eq!((error.class, Some(error.offset)), ("syntax", mixed.find('\n')));
        assert!(error.message.contains("CR LF"), "{}", error.message);
        let mixed = options().replace("To: <sip:b@b>\r\n", "To: <sip:b@b>\n");
        let error = run(&mixed).1.unwrap();
        assert!(error.message.contains("no CR, LF or NUL alone"), "{}", error.message);
        assert_eq!(Some(error.offset), mixed.find("\nCall-ID"));
    }

    #[test]
    fn what_is_wrong_and_where() {
        let cut = options();
        let (out, error) = run(&format!("{}{}", ok(), &cut[..cut.len() - 1]));
        let error = error.unwrap();
        assert_eq!((out.len(), error.class, error.offset), (1, "truncated", ok().len() + cut.len() - 1));

        for (text, class) in [
            ("hello\r\nworld\r\n\r\n", "syntax"),
            ("hello", "truncated"),
            (&options().replace("SIP/2.0\r\n", "SIP/3.0\r\n"), "unsupported"),
            (&options().replace("l: 4", "l: 4\r\nl: 5"), "syntax"),
            (&options().replace("Call-ID: 1\r\n", ""), "syntax"),
            (&options().replace("l: 4", "l: 999999999"), "limit"),
        ] {
            let (out, error) = run(text);
            assert_eq!((out.len(), error.unwrap().class), (0, class), "{text}");
        }
    }

    #[test]
    fn every_fault_is_pointed_at() {
        for (from, to, place) in [
            ("CSeq: 1 OPTIONS", "CSeq: x OPTIONS", "x OPTIONS"),
            ("CSeq: 1 OPTIONS", "CSeq: 1 BYE", "BYE\r\nl"),
            ("Call-ID: 1\r\n", "Call-ID: 1 2\r\n", " 2\r\nCSeq"),
            ("l: 4", "l: 4\r\nContact: <sip:a@a>\r\nf: <sip:c@c>", "f: <sip:c"),
            ("Call-ID: 1\r\n", "", "\r\nbody"),
            ("com SIP/2.0", "com SIP/7.0", "SIP/7.0"),
            ("S sip:b@b.com ", "S\tsip:b@b.com ", "\tsip:b"),
            ("l: 4", "l: 99999999", "99999999"),
            ("l: 4", "l: four", "four"),
        ] {
            let text = format!(
                "{}{}",
                ok(),
                options().replace("sip:b@b SIP", "sip:b@b.com SIP").replacen(from, to, 1)
            );
            let error = run(&text).1.unwrap();
            let at = text.rfind(place).unwrap();
            assert_eq!(error.offset, at, "{to:?}: {error:?}");
        }
        // A fold is a way to write a header, on a stream as in a datagram.
        let (out, error) = run(&options().replace("l: 4", "l:\r\n 4"));
        assert!(error.is_none() && out[0]["body_len"] == 4, "{error:?}");
    }
}
