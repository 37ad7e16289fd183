//! How much of a message we are willing to read.

/// Bounds on what a parser accepts. Nesting is always one level: a ticket inside a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message.
    pub message: usize,
    /// Payloads of a message, nested ones counted.
    pub payloads: usize,
    /// Crypto sessions in the common header.
    pub crypto_sessions: usize,
    /// Keys in one KEMAC.
    pub keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 65_535, payloads: 64, crypto_sessions: 16, keys: 16 }
    }
}
