//! How much of anything a peer can make us hold.

/// Bounds on what one decoder or session keeps in memory. Sizes are in octets unless said otherwise.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A start line with all its header fields, line ends included. More is a protocol error.
    pub head: usize,
    /// Header fields in one frame.
    pub headers: usize,
    /// Messages of the peer that can be incomplete at one time. A further one is answered 413.
    pub arrivals: usize,
    /// Separate byte ranges remembered for one incomplete message. A message that would need more is
    /// answered 413.
    pub ranges: usize,
    /// Body octets in events that nobody has polled yet. At the limit the session stops reading.
    pub event_octets: usize,
    /// Events that nobody has polled yet. At the limit the session stops reading.
    pub events: usize,
    /// Responses and reports not yet transmitted. At the limit the session stops reading, so a peer
    /// that asks without listening only stops itself.
    pub control_octets: usize,
    /// Messages of ours that wait or are under way. At the limit [`crate::Session::send`] refuses.
    pub messages: usize,
    /// Requests of ours without an answer. At the limit no new chunk starts.
    pub transactions: usize,
    /// Messages of ours, already sent, for which a report may still come. The oldest is forgotten.
    pub awaiting_reports: usize,
    /// An "is typing" document. A longer one is answered 413.
    pub composing: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 16 << 10,
            headers: 64,
            arrivals: 64,
            ranges: 64,
            event_octets: 1 << 20,
            events: 1024,
            control_octets: 64 << 10,
            messages: 256,
            transactions: 1024,
            awaiting_reports: 256,
            composing: 4 << 10,
        }
    }
}
