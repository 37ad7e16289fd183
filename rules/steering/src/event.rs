//! What happened, declared once for logs, counters and tests.

/// What happened. Call-IDs are those of the requests.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The gateway can be used.
    GatewayUp,
}

impl Event {
    /// A stable name for logs and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GatewayUp => "gateway-up",
        }
    }
}
