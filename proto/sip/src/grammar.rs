//! The pieces of RFC 3261 §25 that every header shares: tokens, lists, quoting, folding.

use carnet_wire::ParseError;
use std::borrow::Cow;

/// `token` characters.
pub(crate) fn is_token_char(b: u8) -> bool {
    TOKEN_CHARS.get(usize::from(b)).copied().unwrap_or(false)
}

const TOKEN_CHARS: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"-.!%*_+`'~";
    let mut b = 0;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
};

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
    let octets = text.as_bytes();
    let start = octets.iter().position(|b| !is_lws(*b)).unwrap_or(octets.len());
    let end = octets.iter().rposition(|b| !is_lws(*b)).map_or(start, |i| i + 1);
    text.get(start..end).unwrap_or_default()
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
/// element is an error, and the last that comes.
pub(crate) fn split_list(text: &str) -> impl Iterator<Item = Result<(usize, &str), ParseError>> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next.take()?;
        let rest = text.get(start..).unwrap_or_default();
        let end = match find_outside(rest, |b| b == b',') {
            Ok(end) => end,
            Err(e) => return Some(Err(e.shifted(start))),
        };
        let element = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let lead = element.bytes().position(|b| !is_lws(b)).unwrap_or(element.len());
        let trimmed = trim(element);
        if trimmed.is_empty() {
            return Some(Err(ParseError::new(start, "a value between commas")));
        }
        next = end.map(|end| start + end + 1);
        Some(Ok((start + lead, trimmed)))
    })
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
        let split = |text| split_list(text).collect::<Result<Vec<_>, _>>();
        let got = split("\"a, \\\" b\" <sip:x,y@h>;q=1 , <sip:z>").unwrap();
        let got: Vec<_> = got.into_iter().map(|(_, v)| v).collect();
        assert_eq!(got, ["\"a, \\\" b\" <sip:x,y@h>;q=1", "<sip:z>"]);
        for broken in ["a,,b", "a,", "\"a", "<a"] {
            assert!(split(broken).is_err(), "{broken}");
        }
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
