//! The value of SDP's `a=key-mgmt` attribute (RFC 4567 §3.1).
//!
//! SDP itself, and the order of several attributes, are left to the caller.

use crate::Error;
use carnet_wire::{ParseError, base64};

/// The protocol identifier. It is case sensitive.
pub const PROTOCOL: &str = "mikey";

/// Reads an attribute value such as `mikey AQ4R...`. An empty or another protocol is an error that
/// says so.
pub fn parse(value: &str) -> Result<Vec<u8>, Error> {
    // RFC 4567 §3.1 allows one space after the colon.
    let text = value.strip_prefix(' ').unwrap_or(value);
    let lead = value.len() - text.len();
    let Some((protocol, data)) = text.split_once(' ') else {
        return Err(ParseError::new(value.len(), "a key management protocol, a space and base64").into());
    };
    if protocol != PROTOCOL {
        return Err(ParseError::new(lead, "the protocol `mikey`").into());
    }
    let start = lead + protocol.len() + 1;
    let octets = base64::decode(data.trim_end().as_bytes()).map_err(|e| e.shifted(start))?;
    if octets.is_empty() {
        return Err(ParseError::new(start, "a MIKEY message in base64").into());
    }
    Ok(octets)
}

/// Writes the attribute value for a message.
pub fn print(octets: &[u8]) -> String {
    format!("{PROTOCOL} {}", base64::encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(parse("mikey AQ4R").unwrap(), [1, 14, 17]);
        assert_eq!(parse(" mikey AQ4R").unwrap(), [1, 14, 17]);
        assert_eq!(print(&[1, 14, 17]), "mikey AQ4R");
        for (bad, at) in
            [("", 0), ("mikey", 5), ("MIKEY AQ4R", 0), (" mikey A*4R", 8), ("mikey ", 6), ("mikey AQ4", 9)]
        {
            assert_eq!(parse(bad).unwrap_err().offset(), Some(at), "{bad}");
        }
    }
}
