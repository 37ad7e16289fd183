//! What goes into a session and what comes out of it.

use crate::{ByteRange, Limits, Status, Uri, composing::Composing};
use bytes::Bytes;
use std::time::Duration;

/// How a session is set up. Everything in it follows from the offer and the answer.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our own URI, the one in our `a=path`.
    pub local_path: Uri,
    /// The peer's `a=path`; more than one URI when the peer is behind relays. Never empty.
    pub remote_path: Vec<Uri>,
    /// Our `a=accept-types`: `text/plain`, `text/*`, `*`. A SEND of another type is answered 415.
    pub accept_types: Vec<String>,
    /// The peer's `a=accept-types` and `a=accept-wrapped-types`. Empty when not known: then everything
    /// is sent.
    pub peer_accept_types: Vec<String>,
    /// Our `a=max-size` in octets. A larger message is answered 413.
    pub max_size: Option<u64>,
    /// The peer's `a=max-size` in octets. A larger message is not sent.
    pub peer_max_size: Option<u64>,
    /// Whether the answer to the chunk that completes a message waits for
    /// [`super::Session::conclude`], so that 200 says that the message is kept and not only that it came.
    pub conclude: bool,
    /// Whether the peer may ask for a nickname, as in a chat room (RFC 7701 §7): then NICKNAME is
    /// [`Event::NicknameAsked`]. Otherwise it is a method that is not known (501).
    pub nicknames: bool,
    /// Body octets in one chunk before another message gets its turn. At least 2048.
    pub chunk_size: usize,
    /// How long a request waits for its response (RFC 4975 §7.1.1: 30 seconds).
    pub transaction_timeout: Duration,
    /// Bounds on what the peer can make us hold.
    pub limits: Limits,
}

impl Config {
    /// A session between two paths that takes every media type, with default bounds.
    pub fn new(local_path: Uri, remote_path: Vec<Uri>) -> Self {
        Self {
            local_path,
            remote_path,
            accept_types: vec!["*".to_owned()],
            peer_accept_types: Vec::new(),
            max_size: None,
            peer_max_size: None,
            conclude: false,
            nicknames: false,
            chunk_size: 64 << 10,
            transaction_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// A message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey(pub(super) u64);

/// A message of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArrivalKey(pub(super) u64);

/// Size of a message, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Known when the message begins.
    Known(u64),
    /// The last octet will show it.
    Unknown,
}

/// Which responses a SEND asks for (RFC 4975 §7.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureReport {
    /// Every response, and failure reports. What an absent header field means.
    #[default]
    Yes,
    /// Nothing.
    No,
    /// Only responses and reports that say something failed.
    Partial,
}

/// A message to send. The body is supplied afterwards.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Value of `Content-Type`, with parameters.
    pub content_type: String,
    /// Octets of the body.
    pub size: Size,
    /// Ask the far end for reports of what it received.
    pub success_report: bool,
    /// Which responses to ask for.
    pub failure_report: FailureReport,
    /// `Message-ID`; `None` makes one up.
    pub message_id: Option<String>,
    /// Other MIME header fields of the first chunk, such as `Content-Disposition`.
    pub headers: Vec<(String, String)>,
}

impl Outgoing {
    /// A message of `content_type` with the default reports.
    pub fn new(content_type: impl Into<String>, size: Size) -> Self {
        Self {
            content_type: content_type.into(),
            size,
            success_report: false,
            failure_report: FailureReport::Yes,
            message_id: None,
            headers: Vec::new(),
        }
    }
}

/// Why a message of the peer ended before it was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AbortReason {
    /// The sender gave it up (`#`).
    Sender,
    /// We refused it with this status: the application's wish, or a rule or limit was broken.
    Refused(Status),
    /// The connection ended first.
    ConnectionLost,
}

/// Why a message of ours did not arrive, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureReason {
    /// A response said so.
    Response(Status),
    /// A failure report said so: somebody behind the next hop could not pass it on.
    Report(Status),
    /// No response came in time, or a 408 did (RFC 4975 §10.4 treats both alike).
    TimedOut,
    /// [`super::Session::abort`] was called.
    Withdrawn,
    /// The body that was supplied does not have the size that was announced.
    WrongSize,
    /// The body turned out larger than the peer's `a=max-size`.
    TooLargeForPeer,
    /// The connection ended first.
    ConnectionLost,
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message of the peer begins.
    Begun {
        /// Names the message from now on.
        arrival: ArrivalKey,
        /// Its `Message-ID`.
        message_id: String,
        /// Who sent it: the last URI of `From-Path`.
        from: Uri,
        /// Its `Content-Type`; empty when the message has no body.
        content_type: String,
        /// Its size in octets, when the sender knows.
        size: Option<u64>,
        /// Other header fields of the first chunk that arrived, such as `Content-Disposition`.
        headers: Vec<(String, String)>,
    },
    /// Octets of a message. Chunks may come in any order and overlap; what comes later is right
    /// (RFC 4975 §7.3.1).
    Body {
        /// The message.
        arrival: ArrivalKey,
        /// Position of the first octet in the message, from zero.
        offset: u64,
        /// The octets.
        data: Bytes,
    },
    /// Every octet of a message has arrived. With [`Config::conclude`] the peer does not know it yet.
    Complete {
        /// The message.
        arrival: ArrivalKey,
        /// Its size in octets.
        size: u64,
    },
    /// A message of the peer will not be completed.
    Aborted {
        /// The message.
        arrival: ArrivalKey,
        /// Why.
        reason: AbortReason,
    },
    /// The peer is typing, or stopped.
    Composing {
        /// Who: the last URI of `From-Path`.
        from: Uri,
        /// What the document says.
        composing: Composing,
    },
    /// Body octets are wanted for a message of ours: answer with [`super::Session::supply`].
    WantBody {
        /// The message.
        key: MessageKey,
        /// At most this many octets.
        max: usize,
    },
    /// The last octet of a message was handed to the transport.
    Sent {
        /// The message.
        key: MessageKey,
    },
    /// The next hop answered every chunk of the message with 200. Only with [`FailureReport::Yes`].
    Delivered {
        /// The message.
        key: MessageKey,
    },
    /// A message of ours failed; nothing more of it is sent.
    Failed {
        /// The message.
        key: MessageKey,
        /// Why.
        reason: FailureReason,
    },
    /// The far end reports that it received these octets.
    Report {
        /// The message.
        key: MessageKey,
        /// Which octets; `None` when the report does not say.
        range: Option<ByteRange>,
        /// 200, or a status of a namespace that we do not interpret.
        status: Status,
    },
    /// The peer asks for a nickname: answer with [`super::Session::answer_nickname`]. Only with
    /// [`Config::nicknames`].
    NicknameAsked {
        /// Names the request.
        request: ArrivalKey,
        /// The nickname; empty when the peer gives its nickname up.
        nickname: String,
    },
    /// The room answered [`super::Session::set_nickname`], or did not.
    NicknameAnswered {
        /// The nickname that was asked for.
        nickname: String,
        /// 200 when it is ours now, otherwise the old one stays; [`Status::TIMEOUT`] also when no answer
        /// came.
        status: Status,
    },
    /// A keep-alive was answered, or was not.
    KeptAlive {
        /// The answer; [`Status::TIMEOUT`] also when none came.
        status: Status,
    },
    /// The session is over: the connection ended, the peer stopped speaking MSRP, or it said that it has
    /// no such session.
    Closed {
        /// What went wrong; `None` when the connection just ended.
        error: Option<crate::Error>,
    },
}

impl Event {
    /// Body octets that the event holds.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Body { data, .. } => data.len(),
            _ => 0,
        }
    }
}

/// Whether a list such as `a=accept-types` has room for `content_type` (RFC 4975 §8.6).
pub(super) fn accepts(list: &[String], content_type: &str) -> bool {
    let wanted = media_type(content_type);
    // RFC 4975 §7.3.1: every endpoint takes these two.
    if ["multipart/mixed", "multipart/alternative"].iter().any(|t| wanted.eq_ignore_ascii_case(t)) {
        return true;
    }
    list.iter().any(|entry| {
        let entry = media_type(entry);
        match entry.strip_suffix("/*") {
            _ if entry == "*" => true,
            Some(group) => wanted.split_once('/').is_some_and(|(g, _)| g.eq_ignore_ascii_case(group)),
            None => entry.eq_ignore_ascii_case(wanted),
        }
    })
}

/// The media type without its parameters.
pub(super) fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}
