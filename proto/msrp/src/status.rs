//! Status codes of responses and reports (RFC 4975 §10).

use std::fmt;

/// A three-digit status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// The transaction succeeded.
    pub const OK: Self = Self(200);
    /// The request could not be understood.
    pub const BAD_REQUEST: Self = Self(400);
    /// Who asks must say who it is (RFC 4976 §10.3).
    pub const UNAUTHORIZED: Self = Self(401);
    /// The action is not allowed; the sender should not try again.
    pub const FORBIDDEN: Self = Self(403);
    /// Nobody here has the URI the message is for (RFC 7701 §10.3).
    pub const NOT_FOUND: Self = Self(404);
    /// A downstream transaction did not end in time.
    pub const TIMEOUT: Self = Self(408);
    /// The receiver wants the sender to stop sending this message.
    pub const STOP: Self = Self(413);
    /// The media type is not understood.
    pub const UNSUPPORTED_TYPE: Self = Self(415);
    /// A parameter is out of bounds.
    pub const OUT_OF_BOUNDS: Self = Self(423);
    /// The nickname breaks the syntax (RFC 7701 §10.3).
    pub const MALFORMED_NICKNAME: Self = Self(424);
    /// The nickname is reserved, or somebody else has it (RFC 7701 §10.3).
    pub const NICKNAME_TAKEN: Self = Self(425);
    /// The recipient takes no private messages (RFC 7701 §10.3).
    pub const NO_PRIVATE_MESSAGES: Self = Self(428);
    /// There is no such session here.
    pub const NO_SESSION: Self = Self(481);
    /// The method is not understood.
    pub const UNKNOWN_METHOD: Self = Self(501);
    /// The session is bound to another connection.
    pub const BOUND_ELSEWHERE: Self = Self(506);

    /// Whether the code reports success.
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }

    /// Whether the sender should give up the session, not just the message, when a response says so.
    ///
    /// RFC 4975 §10.8: on 481 the session should be terminated; §10.10: on 506 nothing more should
    /// be sent for the session on this connection.
    pub fn ends_session(self) -> bool {
        matches!(self, Self::NO_SESSION | Self::BOUND_ELSEWHERE)
    }

    /// The comment written after the code. Receivers do not interpret it.
    pub fn comment(self) -> &'static str {
        match self.0 {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Unknown Recipient",
            408 => "Request Timeout",
            413 => "Stop Sending",
            415 => "Unsupported Media Type",
            423 => "Parameter Out Of Bounds",
            424 => "Malformed Nickname",
            425 => "Nickname Taken",
            428 => "No Private Messages",
            481 => "No Such Session",
            501 => "Unknown Method",
            506 => "Session Bound Elsewhere",
            _ => "",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}
