//! The ng protocol of rtpengine.

use super::{Show, Tie, Told, digest, sdp};
use crate::mask::MASK;
use crate::model::{Fact, Ng};
use bytes::Bytes;
use carnet_ng::bencode::is_secret;
use carnet_ng::{Form, Limits, Message, Value};

/// Whether octets begin like a message: a cookie, a blank, a dictionary.
pub(super) fn begins(octets: &[u8]) -> Option<bool> {
    let head = octets.get(..octets.len().min(130)).unwrap_or_default();
    let Some(blank) = head.iter().position(|b| *b == b' ') else {
        let could = head.len() < 130 && head.iter().all(u8::is_ascii_graphic);
        return if could { None } else { Some(false) };
    };
    let cookie = head.get(..blank).unwrap_or_default();
    if cookie.is_empty() || !cookie.iter().all(u8::is_ascii_graphic) {
        return Some(false);
    }
    match head.get(blank + 1..) {
        Some([b'd', next, ..]) => Some(next.is_ascii_digit() || *next == b'e'),
        Some([b'{', next, ..]) => Some(matches!(next, b'"' | b'}' | b' ' | b'\n' | b'\r' | b'\t')),
        Some([b'd' | b'{'] | []) | None => None,
        Some(_) => Some(false),
    }
}

/// Reads a message.
pub(super) fn read(octets: &Bytes, show: Show) -> Told {
    let message = match Message::parse(octets, &Limits::default()) {
        Ok(message) => message,
        Err(error) => return Told::unreadable("ng", &error.to_string(), octets),
    };
    let body = &message.body;
    let text = |key: &str| match body.get(key) {
        Some(Value::String(value)) => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    };
    let sdp = match body.get("sdp") {
        Some(Value::String(value)) => Some(sdp::read(value)),
        _ => None,
    };
    let fact = Ng {
        command: text("command"),
        result: text("result"),
        why: text("error-reason"),
        cookie: String::from_utf8_lossy(&message.cookie).into_owned(),
        call_id: text("call-id"),
        sdp,
    };
    let mut ties = vec![Tie::Cookie(fact.cookie.clone())];
    ties.extend(fact.call_id.clone().map(Tie::Call));
    let mut claims = Vec::new();
    if let Some(sdp) = &fact.sdp {
        let (more, addresses) = sdp::ties(sdp);
        ties.extend(more);
        claims = addresses;
    }
    let mut label = match (&fact.command, &fact.result) {
        (Some(command), _) => format!("ng {command}"),
        (None, Some(result)) => format!("ng {result}"),
        (None, None) => "ng".to_owned(),
    };
    if let Some(sdp) = &fact.sdp {
        label.push_str(&format!(" {}", sdp::label(sdp)));
    }
    let bad = fact.result.as_deref() == Some("error");
    let form = if message.form == Form::Json { "JSON" } else { "bencode" };
    let mut out = format!("cookie {}, {form}\n", fact.cookie);
    write(&mut out, body, 0, show);
    Told { bad, ties, claims, again: Some(digest(octets)), ..Told::new(label, out, Fact::Ng(Box::new(fact))) }
}

/// Deepest value that is written. The parser takes none that is much deeper.
const DEPTH: usize = 32;

fn write(out: &mut String, value: &Value, depth: usize, show: Show) {
    let indent = "  ".repeat(depth);
    if depth > DEPTH {
        out.push('…');
        return;
    }
    match value {
        Value::Integer(n) => out.push_str(&n.to_string()),
        Value::String(octets) => {
            let text = sdp::masked(&String::from_utf8_lossy(octets), show.secrets);
            let lines: Vec<&str> = text.lines().collect();
            match lines.as_slice() {
                [] => {}
                [line] => out.push_str(line),
                many => many.iter().for_each(|line| out.push_str(&format!("\n{indent}  {line}"))),
            }
        }
        Value::List(values) => {
            for value in values {
                out.push_str(&format!("\n{indent}- "));
                write(out, value, depth + 1, show);
            }
        }
        Value::Dictionary(entries) => {
            for (key, value) in entries {
                out.push_str(&format!("\n{indent}{}: ", String::from_utf8_lossy(key)));
                if is_secret(key) && !show.secrets {
                    out.push_str(MASK);
                } else {
                    write(out, value, depth + 1, show);
                }
            }
        }
    }
}
