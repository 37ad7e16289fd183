//! Standard base64 with padding (RFC 4648 §4), on one line.

use crate::ParseError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Octets as base64 text.
pub fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// Base64 text to octets. White space is not accepted: callers that allow folding remove it.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, ParseError> {
    STANDARD.decode(text).map_err(|e| match e {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            ParseError::new(at, "a base64 character")
        }
        base64::DecodeError::InvalidLength(n) => ParseError::new(n, "base64 text in groups of four"),
        base64::DecodeError::InvalidPadding => ParseError::new(text.len(), "base64 padding"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(encode(b"mikey"), "bWlrZXk=");
        assert_eq!(decode(b"bWlrZXk=").unwrap(), b"mikey");
        assert_eq!(decode(b"bW krZXk=").unwrap_err().at, 2);
        assert!(decode(b"bWlrZXk").is_err());
    }
}
