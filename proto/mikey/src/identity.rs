//! Identities (RFC 3830 §6.7, RFC 6043 §6.5) and the canonical form of a user's.
//!
//! A MAC covers the octets of identities that both sides work out for themselves, so both must
//! come to the same octets from the same SIP URI: scheme and host in lower case; the user part
//! with only unreserved characters taken out of percent-encoding; no port, parameters, headers
//! or display name; `sips:` becomes `sip:`; a global telephone number becomes a `tel:` URI.

use crate::Error;
use crate::registry::id_type;

/// Longest identity we make, in octets.
const LONGEST: usize = 2048;

/// Who somebody is: a type and octets. Only the octets go into MACs and labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// See [`id_type`].
    pub id_type: u8,
    /// ID Data.
    pub data: Vec<u8>,
}

impl Identity {
    /// The canonical identity of the user, service or KMS named by a `sip:`, `sips:` or `tel:`
    /// URI. A display name and angle brackets around it are removed.
    pub fn from_uri(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let uri = match text.rsplit_once('<') {
            Some((_, inner)) => {
                inner.split_once('>').ok_or(Error::Identity("a URI in angle brackets is not closed"))?.0
            }
            None => text,
        };
        let (scheme, rest) = uri.split_once(':').ok_or(Error::Identity("a URI needs a scheme"))?;
        let canonical = match scheme.to_ascii_lowercase().as_str() {
            "sip" | "sips" => canonical_sip(rest)?,
            "tel" => canonical_tel(rest)?,
            _ => return Err(Error::Identity("only sip, sips and tel URIs name users")),
        };
        if canonical.len() > LONGEST {
            return Err(Error::Identity("the URI is longer than 2048 octets"));
        }
        Ok(Self { id_type: id_type::URI, data: canonical.into_bytes() })
    }

    /// An identity that is a byte string, as the name of a pre-shared key is. At most 2048 octets
    /// are kept.
    pub fn byte_string(octets: &[u8]) -> Self {
        Self {
            id_type: id_type::BYTE_STRING,
            data: octets.get(..octets.len().min(LONGEST)).unwrap_or_default().to_vec(),
        }
    }

    /// As text; octets that are not UTF-8 are replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.data)
    }

    /// The host of a `sip:` identity.
    pub fn host(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.data).ok()?;
        let rest = text.strip_prefix("sip:")?;
        Some(rest.rsplit_once('@').map_or(rest, |(_, host)| host))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

fn canonical_sip(rest: &str) -> Result<String, Error> {
    let (user, host_and_more) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, rest),
    };
    let end = host_and_more.find([';', '?']).unwrap_or(host_and_more.len());
    let (host_port, parameters) = host_and_more.split_at(end);
    let host = match host_port.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _)) => format!("[{}]", v6.to_ascii_lowercase()),
        None => host_port.split(':').next().unwrap_or_default().to_ascii_lowercase(),
    };
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b)) {
        return Err(Error::Identity("the URI needs a host"));
    }
    let Some(user) = user else { return Ok(format!("sip:{host}")) };
    // A password is part of no identity.
    let user = user.split(':').next().unwrap_or_default();
    let user = decode_unreserved(user)?;
    if user.is_empty() {
        return Err(Error::Identity("the URI has an empty user part"));
    }
    let telephone = parameters.to_ascii_lowercase().split([';', '?']).any(|p| p == "user=phone");
    if telephone && user.starts_with('+') {
        return canonical_tel(&user);
    }
    Ok(format!("sip:{user}@{host}"))
}

/// A telephone number without parameters and visual separators (RFC 3966 §3).
fn canonical_tel(rest: &str) -> Result<String, Error> {
    let number: String =
        rest.split(';').next().unwrap_or_default().chars().filter(|c| !"-.()".contains(*c)).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    let dialled = |c: char| c.is_ascii_hexdigit() || c == '*' || c == '#';
    if digits.is_empty() || !digits.chars().all(dialled) {
        return Err(Error::Identity("a tel URI needs a telephone number"));
    }
    Ok(format!("tel:{}", number.to_ascii_lowercase()))
}

/// Takes letters, digits and RFC 3261 marks out of percent-encoding, and leaves the rest alone.
fn decode_unreserved(user: &str) -> Result<String, Error> {
    let mut out = String::with_capacity(user.len());
    let mut rest = user;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after
            .get(..2)
            .filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|h| u8::from_str_radix(h, 16).ok())
            .ok_or(Error::Identity("a percent sign in a URI needs two hex digits"))?;
        if code.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&code) {
            out.push(char::from(code));
        } else {
            out.push('%');
            out.push_str(after.get(..2).unwrap_or_default());
        }
        rest = after.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    if out.bytes().any(|b| b <= b' ' || b == 0x7F || b == b'<' || b == b'>' || b == b'"') {
        return Err(Error::Identity("the user part of the URI has characters that do not belong there"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Identity::from_uri(text).unwrap().text().into_owned()
    }

    #[test]
    fn one_user_has_one_identity() {
        for text in [
            "sip:Alice@example.net",
            "SIP:Alice@EXAMPLE.net",
            "sips:Alice@example.net:5061",
            "\"Alice <A>\" <sip:Alice@Example.Net;transport=tcp>;tag=1",
            "sip:%41lice@example.net?subject=x",
            "sip:Alice:secret@example.net",
        ] {
            assert_eq!(canonical(text), "sip:Alice@example.net", "{text}");
        }
        assert_ne!(canonical("sip:alice@example.net"), canonical("sip:Alice@example.net"));
    }

    #[test]
    fn telephone_numbers() {
        for text in [
            "tel:+1-201-555-0123",
            "tel:+1(201)555.0123;phone-context=x",
            "sip:+12015550123@gw.example;user=phone",
        ] {
            assert_eq!(canonical(text), "tel:+12015550123", "{text}");
        }
        assert_eq!(canonical("sip:+12015550123@gw.example"), "sip:+12015550123@gw.example");
        assert_eq!(canonical("sip:1234@gw.example;user=phone"), "sip:1234@gw.example");
    }

    #[test]
    fn hosts_and_reserved_characters() {
        assert_eq!(canonical("sip:kms.example"), "sip:kms.example");
        assert_eq!(canonical("sip:a@[2001:DB8::1]:5060"), "sip:a@[2001:db8::1]");
        assert_eq!(canonical("sip:a%40b@example.net"), "sip:a%40b@example.net");
    }

    #[test]
    fn bad_input_is_refused() {
        for text in [
            "",
            "alice",
            "http://x",
            "sip:",
            "sip:@h",
            "sip:a@",
            "sip:a%4@h",
            "sip:a%zz@h",
            "<sip:a@b",
            "tel:",
            "tel:x",
            "sip:a@b c",
        ] {
            assert!(Identity::from_uri(text).is_err(), "{text}");
        }
    }
}
