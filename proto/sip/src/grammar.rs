//! The pieces of RFC 3261 §25 that every header shares: tokens, lists, quoting, folding.

use carnet_wire::ParseError;
use std::borrow::Cow;

/// `token` characters.
pub(crate) fn is_token_char(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b)
}

/// Whether `text` is a non-empty `token`.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_char)
}

/// Whether `text` can stand in a header value: no CR or LF, NUL only behind a backslash (RFC 3261
/// §25.1, quoted-pair).
pub(crate) fn is_printable(text: &[u8]) -> bool {
    memchr::memchr3_iter(b'\r', b'\n', 0, text).all(|at| is_quoted_nul(text, at))
}

/// Whether there is a NUL at `at`, with a backslash before it.
pub(crate) fn is_quoted_nul(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|p| text.get(p));
    text.get(at) == Some(&0) && before == Some(&b'\\')
}

/// Replaces line folds by one space (RFC 3261 §7.3.1).
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        if rest.starts_with(b"\r\n") {
            while out.last().is_some_and(|b| matches!(b, b' ' | b'\t')) {
                out.pop();
            }
            out.push(b' ');
            rest = trim_start(tail);
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    Cow::Owned(out)
}

/// Where in `value` the octet stands that is at `at` in its unfolded form.
pub(crate) fn folded_place(value: &[u8], at: usize) -> usize {
    if memchr::memchr(b'\n', value).is_none() {
        return at;
    }
    let mut places = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((_, tail)) = rest.split_first() {
        let place = value.len() - rest.len();
        if rest.starts_with(b"\r\n") {
            while places.last().is_some_and(|p| matches!(value.get(*p), Some(b' ' | b'\t'))) {
                places.pop();
            }
            places.push(place);
            rest = trim_start(tail);
        } else {
            places.push(place);
            rest = tail;
        }
    }
    places.get(at).copied().unwrap_or(value.len())
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', tail @ ..] = text {
        text = tail;
    }
    text
}

/// White space around a value, folds included.
pub(crate) fn is_lws(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// Spaces and tabs off both ends.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// The place in `text` of the first octet for which `stop` holds, quoted strings and `<...>`
/// skipped. An error if a quoted string or a bracket is not closed.
pub(crate) fn find_outside(text: &str, stop: impl Fn(u8) -> bool) -> Result<Option<usize>, ParseError> {
    let mut octets = text.bytes().enumerate();
    let mut bracket = None;
    while let Some((at, b)) = octets.next() {
        match b {
            b'"' if bracket.is_none() => loop {
                match octets.next() {
                    Some((_, b'"')) => break,
                    Some((_, b'\\')) if octets.next().is_some() => {}
                    Some((_, b'\\')) | None => return Err(ParseError::new(at, "a closing quote")),
                    Some(_) => {}
                }
            },
            b'>' if bracket.is_some() => bracket = None,
            _ if bracket.is_some() => {}
            _ if stop(b) => return Ok(Some(at)),
            b'<' => bracket = Some(at),
            _ => {}
        }
    }
    match bracket {
        Some(at) => Err(ParseError::new(at, "a closing >")),
        None => Ok(None),
    }
}

/// Splits a list header at its commas. Elements come trimmed with their offset; an empty
/// element is an error.
pub(crate) fn split_list(text: &str) -> Result<Vec<(usize, &str)>, ParseError> {
    let mut out = Vec::new();
    let mut start = 0;
    loop {
        let rest = text.get(start..).unwrap_or_default();
        let end = find_outside(rest, |b| b == b',').map_err(|e| e.shifted(start))?;
        let element = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let trimmed = trim(element);
        if trimmed.is_empty() {
            return Err(ParseError::new(start, "a value between commas"));
        }
        let lead = element.len() - element.trim_start_matches([' ', '\t', '\r', '\n']).len();
        out.push((start + lead, trimmed));
        match end {
            Some(end) => start += end + 1,
            None => return Ok(out),
        }
    }
}

/// The content of a quoted string, or the text itself if it is not quoted.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) else {
        return Cow::Borrowed(text);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// `text` as a quoted string.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_folded_value() {
        for value in [&b"a b"[..], b"a  \r\n b\r\n\t\tcd", b"\r\n a", b"a\r\n "] {
            let flat = unfold(value);
            for (at, b) in flat.iter().enumerate() {
                let place = folded_place(value, at);
                let found = value[place];
                assert!(found == *b || (*b == b' ' && found == b'\r'), "{value:?} {at} {place}");
            }
            assert_eq!(folded_place(value, flat.len()), value.len());
        }
    }

    #[test]
    fn lists_split_outside_quotes_and_brackets() {
        let got: Vec<_> = split_list("\"a, \\\" b\" <sip:x,y@h>;q=1 , <sip:z>")
            .unwrap()
            .into_iter()
            .map(|(_, v)| v)
            .collect();
        assert_eq!(got, ["\"a, \\\" b\" <sip:x,y@h>;q=1", "<sip:z>"]);
        assert!(split_list("a,,b").is_err());
        assert!(split_list("a,").is_err());
        assert!(split_list("\"a").is_err());
        assert!(split_list("<a").is_err());
    }

    #[test]
    fn folds_become_one_space() {
        assert_eq!(unfold(b"a \r\n \t b\r\n\tc").as_ref(), b"a b c");
        assert_eq!(unfold(b"a b").as_ref(), b"a b");
    }

    #[test]
    fn quoting_there_and_back() {
        for s in ["", "a", "a\"b\\c", "\u{e9}"] {
            assert_eq!(unquote(&quote(s)), s);
        }
    }
}
