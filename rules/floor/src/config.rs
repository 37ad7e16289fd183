//! What a floor control server is told about its conference, and how much it takes.

use carnet_bfcp::Priority;
use std::time::Duration;

/// Who decides about requests for a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// Whoever asks first, by priority; nobody is asked.
    #[default]
    FirstCome,
    /// A chair that is designated decides; until there is one, requests wait.
    Chair,
    /// As for a chair, and the chair changes: see [`Floor::patience`].
    Rotation,
}

/// A floor of the conference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Its number.
    pub id: u16,
    /// Who decides.
    pub algorithm: Algorithm,
    /// How many may have it at a time; 0 is taken as 1.
    pub max_holders: u16,
    /// How long one request may have it; then it is revoked.
    pub max_time: Option<Duration>,
    /// The label of the media stream it is bound to (RFC 8856 §5.4 `mstrm`, RFC 4574).
    pub stream: Option<String>,
    /// With [`Algorithm::Rotation`]: how long the chair of the hour may leave a request undecided before
    /// the next user is the chair. The chair changes too when somebody has had the floor and when the chair
    /// is gone, to the user with the next number who is connected.
    pub patience: Duration,
}

impl Floor {
    /// A floor that one may have at a time, for as long as they wish.
    pub fn new(id: u16, algorithm: Algorithm) -> Self {
        Self {
            id,
            algorithm,
            max_holders: 1,
            max_time: None,
            stream: None,
            patience: Duration::from_secs(30),
        }
    }
}

/// The conference as the floor control server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The conference's number in every message (RFC 8856 §5.2 `confid`).
    pub conference: u32,
    /// Each number once; a second one is ignored.
    pub floors: Vec<Floor>,
    /// Ongoing requests that may be for one user and one floor (error 8 beyond); 0 is taken as 1.
    pub max_requests: u16,
    /// How long a user whose connection was lost keeps floors and requests (RFC 8855 §6.1).
    pub grace: Duration,
    /// Refuse what comes over connections that are not secured with "Use TLS" (RFC 8855 §9.1).
    pub secured_only: bool,
}

impl Settings {
    /// One request a user and floor, a grace of 30 seconds, in clear allowed.
    pub fn new(conference: u32, floors: Vec<Floor>) -> Self {
        Self { conference, floors, max_requests: 1, grace: Duration::from_secs(30), secured_only: false }
    }
}

/// What a user is called and may do beyond asking for floors for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// A name for people, cut to 253 octets.
    pub display_name: Option<String>,
    /// The URI the user joined with, left out of messages if it is longer than 253 octets.
    pub uri: Option<String>,
    /// May ask for floors for others. The chair of every floor that is asked for may do so anyway.
    pub third_party: bool,
    /// The highest priority the user's requests are given, whatever they ask for (RFC 8855 §13.1.1).
    pub highest: Priority,
}

impl Default for Member {
    fn default() -> Self {
        Self { display_name: None, uri: None, third_party: false, highest: Priority::Highest }
    }
}

/// How much a floor control server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Of one message; 4,096 octets and 256 attributes unless said otherwise.
    pub message: carnet_bfcp::Limits,
    /// Connections; one more is closed at once.
    pub connections: usize,
    /// Ongoing requests of the conference; one more is answered with a generic error.
    pub requests: usize,
    /// Ongoing requests that one user has made, for whomever; error 8 beyond.
    pub requests_by_user: usize,
    /// Floors in one request or query; more are a generic error.
    pub floors_in_request: usize,
    /// Octets that may wait for one connection that is [`blocked`](crate::FloorControl::blocked) or made of
    /// datagrams, and octets of answers that requests which came together may make. One more message and
    /// the connection is to be closed.
    pub transmit: usize,
    /// Answers kept for a user that repeats itself.
    pub answers: usize,
    /// Requests for floors and decisions that a user may make in a row, for everyone who watches hears of
    /// each; one more is a generic error.
    pub burst: u32,
    /// After how long the user may make another one.
    pub pace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let mut message = carnet_bfcp::Limits::default();
        message.octets = 4_096;
        message.attributes = 256;
        Self {
            message,
            connections: 4_096,
            requests: 256,
            requests_by_user: 32,
            floors_in_request: 16,
            transmit: 65_536,
            answers: 8,
            burst: 64,
            pace: Duration::from_millis(100),
        }
    }
}
