//! Bounds on what one message may hold.

/// How much of a message is accepted before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole message, head and body. Larger ones are answered 513.
    pub message: usize,
    /// Octets of the start line and the header lines together.
    pub head: usize,
    /// Header lines in a message.
    pub lines: usize,
    /// Values in one list header (Via, Route, Contact ...), over all its lines.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 128 * 1024, head: 32 * 1024, lines: 256, values: 70 }
    }
}
