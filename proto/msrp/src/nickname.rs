//! The value of `Use-Nickname`: a nickname in quotes (RFC 7701 §7.1).
//!
//! Whether two nicknames are the same is for the room to say.

use carnet_wire::ParseError;

/// RFC 7701 §7.1: octets of a nickname, escapes resolved.
pub const MAX: usize = 1023;

/// Reads the value of the header field. A widespread client library writes no quotes: such a value is taken
/// as it is, as long as it has no quote or backslash in it, although the syntax calls it malformed. An empty nickname gives the present one up (RFC 7701 §7.3).
///
/// # Errors
/// Also when the nickname is longer than [`MAX`] or has control characters.
pub fn parse(value: &str) -> Result<String, ParseError> {
    let Some(inner) = value.strip_prefix('"') else {
        if let Some(at) = value.find(|c: char| matches!(c, '"' | '\\') || (c.is_control() && c != '\t')) {
            return Err(ParseError::new(at, "a nickname in quotes"));
        }
        if value.len() > MAX {
            return Err(ParseError::new(MAX, "a nickname of at most 1023 octets"));
        }
        return Ok(value.to_owned());
    };
    let mut nickname = String::with_capacity(inner.len());
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        let at = at + 1;
        match c {
            '"' if at + 1 == value.len() => return Ok(nickname),
            '"' => return Err(ParseError::new(at + 1, "nothing behind the nickname")),
            // RFC 4975 §9: qd-esc
            '\\' => match chars.next() {
                Some((_, escaped @ ('\\' | '"'))) => nickname.push(escaped),
                _ => return Err(ParseError::new(at + 1, "`\\` or `\"` after `\\`")),
            },
            c if c.is_control() && c != '\t' => {
                return Err(ParseError::new(at, "no control characters in the nickname"));
            }
            c => nickname.push(c),
        }
        if nickname.len() > MAX {
            return Err(ParseError::new(at, "a nickname of at most 1023 octets"));
        }
    }
    Err(ParseError::new(value.len(), "`\"` after the nickname"))
}

/// Writes a nickname as the value of the header field.
///
/// # Errors
/// When it is longer than [`MAX`] or has control characters.
pub fn quote(nickname: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(nickname.len() + 2);
    out.push('"');
    for c in nickname.chars() {
        if matches!(c, '\\' | '"') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    parse(&out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, nickname) in [
            (r#""Alice is great!""#, "Alice is great!"),
            (r#""""#, ""),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""Ærøskøbing 北""#, "Ærøskøbing 北"),
        ] {
            assert_eq!(parse(text).unwrap(), nickname);
            assert_eq!(quote(nickname).unwrap(), text);
        }
        assert_eq!(parse("Alice the great").unwrap(), "Alice the great", "without quotes");
        assert_eq!(parse("").unwrap(), "");
        let longest = "n".repeat(MAX);
        assert_eq!(parse(&quote(&longest).unwrap()).unwrap(), longest);
    }

    #[test]
    fn refused() {
        for (text, at) in [
            ("Alice\"", 5),
            ("Al\\ice", 2),
            ("\"Alice", 6),
            ("\"A\"lice\"", 3),
            ("\"a\\n\"", 3),
            ("\"\\\"", 3),
            ("\"a\u{7}\"", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        assert!(quote(&"n".repeat(MAX + 1)).is_err());
        assert!(quote("two\r\nlines").is_err());
    }
}
