//! Why something was refused, and what the peer is answered.

use std::fmt;

/// A refusal in the making: status, warning, one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    /// RFC 3261 §20.43.
    pub(crate) warning: Option<u16>,
    /// What the peer reads.
    pub(crate) text: String,
    /// What the operator reads, if it is more than the peer is told.
    pub(crate) inside: Option<String>,
    /// 503 tells when to come again.
    pub(crate) retry: bool,
}

impl Fault {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, warning: Some(399), text: text.into(), inside: None, retry: status == 503 }
    }

    /// No media server, or none that has room.
    pub(crate) fn no_media() -> Self {
        Self::new(503, "No media server available")
    }

    /// The line is not sealed and has to be.
    pub(crate) fn unsealed() -> Self {
        carnet_seal::Refusal::Unsealed(carnet_seal::Half::Offer).into()
    }

    pub(crate) fn reason(&self) -> &str {
        self.inside.as_deref().unwrap_or(&self.text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl From<carnet_seal::Refusal> for Fault {
    fn from(refusal: carnet_seal::Refusal) -> Self {
        let (status, warning, text) = refusal.sip();
        // Somebody who comes again to a busy server is welcome; 486 would send him away.
        let status = if status == 486 { 503 } else { status };
        Self { status, warning, text: text.into(), inside: Some(refusal.to_string()), retry: status == 503 }
    }
}

impl From<carnet_sip::Error> for Fault {
    fn from(error: carnet_sip::Error) -> Self {
        let status = error.status().unwrap_or(400);
        Self {
            status,
            warning: None,
            text: carnet_sip::reason_phrase(status).into(),
            inside: Some(error.to_string()),
            retry: status == 503,
        }
    }
}

impl From<carnet_sdp::Error> for Fault {
    fn from(error: carnet_sdp::Error) -> Self {
        let inside = Some(error.to_string());
        Self { inside, ..Self::new(400, "Session description cannot be read") }
    }
}
