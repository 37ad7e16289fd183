//! Hexadecimal text, lower case out, either case in.

use crate::ParseError;

/// Octets as lower-case hex digits.
pub fn encode(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(octets.len() * 2);
    for b in octets {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

/// Hex digits to octets. White space between digits is skipped; an odd number of digits or any
/// other character is an error at its place.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, ParseError> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (at, b) in text.iter().enumerate().filter(|(_, b)| !b.is_ascii_whitespace()) {
        let digit = char::from(*b).to_digit(16).ok_or_else(|| ParseError::new(at, "a hex digit"))? as u8;
        match high.take() {
            None => high = Some(digit),
            Some(h) => out.push(h << 4 | digit),
        }
    }
    match high {
        None => Ok(out),
        Some(_) => Err(ParseError::new(text.len(), "a second hex digit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(encode(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(decode(b"00 9F\nff").unwrap(), [0, 0x9f, 0xff]);
        assert_eq!(decode(b"0g").unwrap_err().at, 1);
        assert_eq!(decode(b"abc").unwrap_err().at, 3);
    }
}
