//! Why a request was not done, and how that is said in ng.

use bytes::Bytes;
use carnet_h248::ErrorDescriptor;
use carnet_h248::controller::RequestError;
use carnet_ng::Value;
use carnet_plan::{Incomplete, Refusal};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The request, or what it asks for: `error`.
    Refused {
        /// A SIP status for the script.
        status: u16,
        /// Code of a SIP `Warning` (RFC 3261 §20.43).
        warning: Option<u16>,
        text: String,
    },
    /// Nothing is wrong with it, and another node may do it: `load limit`.
    Overload(String),
}

impl Fault {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self::Refused { status, warning: None, text: text.into() }
    }

    pub(crate) fn overload(text: impl Into<String>) -> Self {
        Self::Overload(text.into())
    }

    /// What it means that the gateway would not do something.
    pub(crate) fn of(error: &RequestError, ends_tls: bool) -> Self {
        match error {
            RequestError::Refused { error, .. } if carnet_plan::is_unable(error) => {
                let text = if ends_tls {
                    "the gateway cannot end TLS for this line"
                } else {
                    "the gateway cannot carry this line as it would have to"
                };
                Self::Refused { status: 488, warning: Some(399), text: text.into() }
            }
            RequestError::Refused { .. } if error.is_capacity() => {
                Self::overload("the gateway has no capacity left")
            }
            RequestError::Refused { error: ErrorDescriptor { code: 472..=474, .. }, .. } => Self::Refused {
                status: 488,
                warning: Some(399),
                text: "the gateway cannot do what this description asks for".into(),
            },
            RequestError::Refused { error, .. } => {
                Self::new(500, format!("the gateway refused: error {}", error.code))
            }
            RequestError::Failed(_) => Self::overload("the gateway does not answer"),
            _ => Self::overload("the gateway is not there"),
        }
    }

    /// What it says to people.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Refused { text, .. } | Self::Overload(text) => text,
        }
    }

    /// The answer. Who does not say that it `knows` of `load limit` is told of an error in the one text
    /// that rtpengine has for it: OpenSIPS goes by it to the next node of its set.
    pub(crate) fn reply(&self, knows: bool) -> Value {
        let mut reply = Reply::default();
        match self {
            Self::Refused { status, warning, text } => {
                reply.put("result", Value::text("error"));
                reply.put("error-reason", Value::text(text));
                reply.put("sip-code", Value::Integer(i64::from(*status)));
                if let Some(code) = warning {
                    reply.put("warning", Value::text(&format!("{code} {text}")));
                }
            }
            Self::Overload(text) => {
                if knows {
                    reply.put("result", Value::text("load limit"));
                } else {
                    reply.put("result", Value::text("error"));
                    reply.put("error-reason", Value::text("Parallel session limit reached"));
                }
                reply.put("message", Value::text(text));
                reply.put("sip-code", Value::Integer(503));
            }
        }
        reply.into()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.reason.into();
        Self::Refused { status: refusal.status, warning: Some(refusal.warning), text }
    }
}

impl From<Incomplete> for Fault {
    fn from(incomplete: Incomplete) -> Self {
        Self::new(500, incomplete.to_string())
    }
}

/// A dictionary being written.
#[derive(Debug, Default)]
pub(crate) struct Reply(Vec<(Bytes, Value)>);

impl Reply {
    /// `result` is `ok`.
    pub(crate) fn ok() -> Self {
        let mut reply = Self::default();
        reply.put("result", Value::text("ok"));
        reply
    }

    pub(crate) fn put(&mut self, key: &'static str, value: Value) {
        self.0.push((Bytes::from_static(key.as_bytes()), value));
    }
}

impl From<Reply> for Value {
    fn from(reply: Reply) -> Self {
        Self::Dictionary(reply.0)
    }
}
