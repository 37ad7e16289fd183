//! What must not go out: passwords' proofs, tokens, keys.
//!
//! What could be used to decrypt, or to log in, is replaced by [`MASK`]; names, realms and nonces stay, since they
//! are what one looks for.

use crate::read::sdp;
use crate::telling::Protocol;
use bytes::Bytes;
use carnet_ng::bencode::is_secret;
use carnet_ng::{Message, Value};
use carnet_sip::{Limits, scan};

/// Stands where something was.
pub const MASK: &str = "(masked)";

/// Header fields whose value is a secret or holds one.
const FIELDS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "authentication-info",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "proxy-authentication-info",
];

/// Parameters of Digest that say nothing of the password.
const OPEN: [&str; 10] =
    ["username", "realm", "nonce", "uri", "algorithm", "qop", "nc", "opaque", "stale", "integrity-protected"];

/// A message as it may go to others. `None` if it cannot be read: what is not understood cannot be masked.
pub fn message(protocol: Protocol, octets: &Bytes) -> Option<Vec<u8>> {
    read(protocol, octets).map(|read| read.octets)
}

/// A message that was read, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// As it may go to others.
    pub octets: Vec<u8>,
    /// The Call-ID in it, if it has one.
    pub call_id: Option<String>,
    /// The message, if it is one of H.248.
    pub control: Option<carnet_h248::Message>,
}

/// The same, with what else there is to know of it.
pub fn read(protocol: Protocol, octets: &Bytes) -> Option<Read> {
    match protocol {
        Protocol::Sip => {
            let scanned = scan(octets.clone(), &Limits::default()).ok()?;
            if scanned.fault.is_some() {
                return None;
            }
            let call_id = scanned.message.call_id().ok().map(str::to_owned);
            let masked = latin(octets, |text| sdp::masked(text, false));
            Some(Read { octets: measured(masked, octets), call_id, control: None })
        }
        Protocol::Control => {
            let limits = carnet_h248::text::Limits::default();
            let control = Some(carnet_h248::encoding::parse(octets, &limits).ok()?);
            let octets = latin(octets, |text| sdp::masked(text, false));
            Some(Read { octets, call_id: None, control })
        }
        Protocol::Ng => {
            let mut message = Message::parse(octets, &carnet_ng::Limits::default()).ok()?;
            let id = message.body.get("call-id").and_then(Value::as_octets);
            let call_id = id.map(|id| String::from_utf8_lossy(id).into_owned());
            value(&mut message.body);
            Some(Read { octets: message.to_bytes().to_vec(), call_id, control: None })
        }
    }
}

/// The Call-ID in a message, if it has one, also of a message that is not quite right.
pub fn call_id(protocol: Protocol, octets: &Bytes) -> Option<String> {
    match protocol {
        Protocol::Sip => {
            scan(octets.clone(), &Limits::default()).ok()?.message.call_id().ok().map(str::to_owned)
        }
        Protocol::Control => None,
        Protocol::Ng => read(protocol, octets)?.call_id,
    }
}

/// Changes octets as if each were a character, so that what is no text stays as it is.
fn latin(octets: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
    // Nearly all of it is; a character is an octet then anyway.
    if let Some(text) = std::str::from_utf8(octets).ok().filter(|text| text.is_ascii()) {
        return change(text).into_bytes();
    }
    let text: String = octets.iter().map(|octet| char::from(*octet)).collect();
    change(&text).chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}

/// A message of SIP whose body may have become shorter or longer, with its length put right.
fn measured(masked: Vec<u8>, before: &[u8]) -> Vec<u8> {
    let head = |octets: &[u8]| octets.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
    let (Some(end), Some(was)) = (head(&masked), head(before)) else { return masked };
    let length = masked.len() - end;
    if length == before.len() - was {
        return masked;
    }
    let mut out = Vec::with_capacity(masked.len() + 8);
    for line in masked.get(..end).unwrap_or_default().split_inclusive(|octet| *octet == b'\n') {
        let name = line.split(|octet| *octet == b':').next().unwrap_or_default().trim_ascii_end();
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        } else {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(masked.get(end..).unwrap_or_default());
    out
}

/// What is in a message of ng.
fn value(of: &mut Value) {
    match of {
        Value::Integer(_) => {}
        Value::String(octets) => *octets = latin(octets, |text| sdp::masked(text, false)).into(),
        Value::List(values) => values.iter_mut().for_each(value),
        Value::Dictionary(entries) => {
            for (key, inner) in entries {
                if is_secret(key) {
                    *inner = Value::String(Bytes::from_static(MASK.as_bytes()));
                } else {
                    value(inner);
                }
            }
        }
    }
}

/// A message of text lines with what must not go out masked: header fields, and lines of SDP.
pub fn lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut folded = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\r', '\n']);
        let end = line.get(bare.len()..).unwrap_or_default();
        // A field may go on in the next line (RFC 3261 §7.3.1).
        if folded && bare.starts_with([' ', '\t']) {
            out.push_str(&format!(" {MASK}{end}"));
            continue;
        }
        let masked = line_masked(bare);
        folded = masked.is_some();
        out.push_str(masked.as_deref().unwrap_or(bare));
        out.push_str(end);
    }
    out
}

fn line_masked(line: &str) -> Option<String> {
    if let Some((name, value)) = line.split_once(':')
        && FIELDS.iter().any(|field| name.trim_end().eq_ignore_ascii_case(field))
    {
        return Some(format!("{name}: {}", credentials(value.trim_start())));
    }
    // RFC 4566 §5.12, and RFC 4568 §9.1: `a=crypto:1 SUITE inline:KEY|…`.
    let lower = line.get(..9).map(str::to_ascii_lowercase).unwrap_or_else(|| line.to_ascii_lowercase());
    if lower.starts_with("k=") {
        return Some(format!("k={MASK}"));
    }
    if lower == "a=crypto:" {
        let key = line.find(" inline:").map_or(line.len(), |at| at + " inline:".len());
        return Some(format!("{}{MASK}", line.get(..key).unwrap_or_default()));
    }
    None
}

/// `Digest a="b", c=d`: what a password made is masked. Other schemes are masked whole.
fn credentials(value: &str) -> String {
    let (scheme, rest) = match value.split_once(' ') {
        Some((scheme, rest)) if !scheme.contains(['=', ',']) => (Some(scheme), rest),
        _ => (None, value),
    };
    // Authentication-Info has no scheme.
    if scheme.is_some_and(|scheme| !scheme.eq_ignore_ascii_case("Digest"))
        || scheme.is_none() && !value.contains('=')
    {
        return scheme.map_or_else(|| MASK.to_owned(), |scheme| format!("{scheme} {MASK}"));
    }
    let shown: Vec<String> = parameters(rest)
        .into_iter()
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if OPEN.iter().any(|open| open.eq_ignore_ascii_case(name.trim())) => {
                parameter.to_owned()
            }
            Some((name, _)) => format!("{name}={MASK}"),
            None => MASK.to_owned(),
        })
        .collect();
    let list = shown.join(", ");
    scheme.map_or(list.clone(), |scheme| format!("{scheme} {list}"))
}

/// Cuts at commas that are not quoted.
fn parameters(text: &str) -> Vec<&str> {
    let (mut out, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                out.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(text.get(start..).unwrap_or_default().trim());
    out.retain(|p| !p.is_empty());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_and_keys_are_masked_and_names_are_not() {
        let text = "REGISTER sip:a SIP/2.0\r\nAuthorization: Digest username=\"alice, a\", realm=\"a\", \
                    response=\"0123456789abcdef\", cnonce=\"77\", nonce=\"n\"\r\nAUTHORIZATION : Bearer abc.def\r\n \
                    more\r\nCookie: s=1\r\nTo: <sip:a>\r\n\r\nk=clear:hunter2\r\n\
                    a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20\r\nm=x\r\n";
        let masked = lines(text);
        for secret in ["0123456789abcdef", "\"77\"", "abc.def", "more", "s=1", "hunter2", "d0Rm"] {
            assert!(!masked.contains(secret), "{secret} in {masked}");
        }
        for open in ["alice, a", "realm=\"a\"", "nonce=\"n\"", "Bearer", "To: <sip:a>", "m=x\r\n", "inline:"]
        {
            assert!(masked.contains(open), "{open} not in {masked}");
        }
    }
}
