//! `carnet inspect sdp`: one session description.
//!
//! What can be read and passed on is shown, with `remarks` on whatever is wrong with it all the
//! same. A media line without an address is more than a remark: nobody could take part.

use super::{Diagnosis, Emit};
use bytes::Bytes;
use carnet_sdp::{Attribute, Document, Fingerprint, Limits, Media, Remark};
use serde_json::{Map, Value, json};

/// Reads one session description and emits one object.
pub fn inspect(input: &[u8], emit: Emit<'_>) -> Result<(), Diagnosis> {
    let document = Document::parse(Bytes::copy_from_slice(input), &Limits::default()).map_err(|e| {
        // The place is in `offset`: say only what.
        let message = match &e {
            carnet_sdp::Error::Syntax(e) => format!("expected {}", e.expected),
            other => other.to_string(),
        };
        Diagnosis { offset: e.at(), class: e.class(), message }
    })?;
    let endings = document.endings();
    let remarks = document.review();
    let origin = document.origin().map(|o| {
        json!({
            "username": o.username,
            "session_id": o.session_id,
            "version": o.version,
            "nettype": o.nettype,
            "addrtype": o.addrtype,
            "address": o.host.to_string(),
        })
    });
    emit(json!({
        "offset": 0,
        "length": input.len(),
        "origin": origin,
        "connection": document.connection().map(|c| c.to_string()),
        "attributes": document.attributes().map(pair).collect::<Vec<_>>(),
        "media": document.media().map(media).collect::<Vec<_>>(),
        "line_ends": { "crlf": endings.crlf, "lf": endings.lf },
        "remarks": remarks.iter().map(remark).collect::<Vec<_>>(),
    }));
    match remarks.into_iter().find(|remark| remark.fatal) {
        None => Ok(()),
        Some(Remark { at, clause, message, .. }) => {
            Err(Diagnosis { offset: at, class: "rule", message: format!("{message} ({clause})") })
        }
    }
}

fn remark(remark: &Remark) -> Value {
    json!({ "offset": remark.at, "clause": remark.clause, "message": remark.message })
}

fn media(m: Media<'_>) -> Value {
    let line = m.line();
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("media", json!(line.media));
    put("port", json!(line.port));
    put("ports", json!(line.count));
    put("proto", json!(line.proto));
    put("formats", json!(line.formats));
    put("class", json!(m.class().as_str()));
    put("connection", json!(m.connection().map(|c| c.to_string())));
    put("setup", json!(m.setup().map(|s| s.as_str())));
    put("path", json!(m.path()));
    put("msrp_cema", json!(m.msrp_cema()));
    let keys = m.key_mgmt();
    let keys: Vec<_> = keys.iter().map(|k| json!({ "protocol": k.protocol, "data": k.data })).collect();
    put("key_mgmt", json!(keys));
    put("fingerprint", json!(m.fingerprint().as_ref().map(fingerprint)));
    put("fingerprints", m.fingerprints().iter().map(fingerprint).collect());
    put("e2ae", json!(m.e2ae().map(|e| format!("{e:?}").to_lowercase())));
    put("accept_types", json!(m.accept_types().collect::<Vec<_>>()));
    put("file_selector", file_selector(m));
    put("attributes", json!(m.attributes().map(pair).collect::<Vec<_>>()));
    Value::Object(out)
}

fn fingerprint(f: &Fingerprint<'_>) -> Value {
    json!({ "hash": f.hash, "value": f.value })
}

/// The selector of a file transfer (RFC 5547 §6), or what is wrong with it.
fn file_selector(m: Media<'_>) -> Value {
    let Some(text) = m.attribute("file-selector").and_then(|a| a.text()) else { return Value::Null };
    match carnet_msrp::file::Selector::parse(text) {
        Ok(selector) => json!(selector.to_string()),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// `[name, value]`; `[name, null]` for a flag. Octets that are no UTF-8 show as U+FFFD.
fn pair(a: Attribute<'_>) -> Value {
    json!([String::from_utf8_lossy(a.name), a.value.map(String::from_utf8_lossy)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_told_line_by_line() {
        let mut seen = Vec::new();
        let text = b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
            m=message 2855 TCP/TLS/MSRP *\r\na=setup:actpass\r\na=key-mgmt:mikey AA==\r\n";
        inspect(text, &mut |v| seen.push(v)).unwrap();
        assert_eq!(seen[0]["media"][0]["class"], "e2e-tls");
        assert_eq!(seen[0]["media"][0]["connection"], "IN IP4 192.0.2.1");
        assert_eq!(seen[0]["media"][0]["key_mgmt"][0]["data"], "AA==");
        assert_eq!(seen[0]["origin"]["version"], "2");
    }

    #[test]
    fn what_is_wrong_is_remarked_on_and_what_is_beyond_use_is_an_error() {
        let look = |text: &str| {
            let mut seen = Vec::new();
            let result = inspect(text.as_bytes(), &mut |v| seen.push(v));
            (seen.remove(0), result.err())
        };
        let text = "v=0\r\no=- one 2 IN IP4 192.0.2.1\r\nc=IN IP4 999.1.1.1\r\nt=0 0\r\n\
            m=message 2855 TCP/TLS/MSRP *\r\na=setup:bogus\r\na=key-mgmt:mikey\r\n\
            a=fingerprint:sha-1 00\r\na=fingerprint:sha-256 11\r\n";
        let (told, error) = look(text);
        assert!(error.is_none(), "a border would pass it on: {error:?}");
        let places: Vec<_> = told["remarks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["offset"].as_u64().unwrap() as usize)
            .collect();
        for place in ["one 2", "999.1.1.1", "m=message", "bogus", "mikey\r\n", "sha-1 ", "sha-256 "] {
            assert!(places.contains(&text.find(place).unwrap()), "{place}: {told}");
        }
        assert_eq!(told["remarks"][0]["clause"], "RFC 8866 §5.2");
        assert_eq!(told["media"][0]["fingerprints"].as_array().unwrap().len(), 2);
        for bad in ["", "c=garbage\r\n"] {
            let (told, error) = look(&text.replace("c=IN IP4 999.1.1.1\r\n", bad));
            assert!(!told["remarks"].as_array().unwrap().is_empty());
            assert_eq!(error.unwrap().class, "rule");
        }
    }

    #[test]
    fn a_fault_is_pointed_at() {
        let fault = inspect(b"v=0\r\nbad\r\n", &mut |_| {}).unwrap_err();
        assert_eq!(
            (fault.offset, fault.class, fault.message.as_str()),
            (6, "syntax", "expected `=` after the letter")
        );
    }
}
