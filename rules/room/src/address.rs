//! Whether two URIs name the same user.

/// A form of `uri` that is equal for URIs of one user: without parameters and header fields (but `gr`, which
/// tells anonymous users apart), host in lower case, escapes resolved, and `sip:`, `sips:`, `im:` and `pres:`
/// alike, since RFC 7701 §6.1 lets a member name itself by any of them. Telephone numbers are without visual
/// separators (RFC 3966 §4).
pub(crate) fn key(uri: &str) -> String {
    let (scheme, rest) = uri.trim().split_once(':').unwrap_or(("", uri.trim()));
    let scheme = scheme.to_ascii_lowercase();
    let bare = rest.split(['?', '#']).next().unwrap_or_default();
    match scheme.as_str() {
        "sip" | "sips" | "im" | "pres" => {
            let (user, host) = bare.rsplit_once('@').map_or((None, bare), |(user, host)| (Some(user), host));
            let mut parts = host.split(';');
            let host = parts.next().unwrap_or_default().to_ascii_lowercase();
            let user = user.map(|user| unescape(user) + "@").unwrap_or_default();
            let instance = parts.find(|p| p.to_ascii_lowercase().starts_with("gr="));
            format!("sip:{user}{host}{}", instance.map(|p| format!(";{p}")).unwrap_or_default())
        }
        "tel" => {
            let number = bare.split(';').next().unwrap_or_default();
            let digits: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect();
            format!("tel:{}", digits.to_ascii_lowercase())
        }
        _ => uri.trim().to_owned(),
    }
}

/// Resolves `%41`. What is no UTF-8 then stays escaped.
pub(crate) fn unescape(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        match digits.filter(|_| *first == b'%').and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(octets).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_user() {
        for (a, b) in [
            ("sip:alice@example.com", "SIP:alice@EXAMPLE.com;transport=tcp?Subject=x"),
            ("sip:alice@example.com", "im:alice@example.com"),
            ("sips:%61lice@example.com", "sip:alice@example.com"),
            ("tel:+49-30-(123).4;x=y", "tel:+49301234"),
            ("urn:x:1", " urn:x:1"),
        ] {
            assert_eq!(key(a), key(b), "{a}");
        }
        for (a, b) in [
            ("sip:alice@example.com", "sip:Alice@example.com"),
            ("sip:alice@example.com", "sip:alice@example.org"),
            ("sip:alice@example.com", "sip:example.com"),
            ("sip:x@example.com;gr=1", "sip:x@example.com;gr=2"),
            ("sip:alice@evil.com@example.com", "sip:alice@evil.com"),
            ("sip:+4930@example.com", "tel:+4930"),
        ] {
            assert_ne!(key(a), key(b), "{a}");
        }
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }
}
