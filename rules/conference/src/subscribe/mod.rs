//! Those who watch rooms, and those who follow what became of a REFER: the notifier of RFC 6665.
//!
//! ```text
//!  focus ── SUBSCRIBE, REFER, what changed ──▶ Subscriptions ── Action ──▶ responses, NOTIFYs
//!        ── responses to NOTIFYs ────────────▶
//! ```
//!
//! Event packages `conference` (RFC 4575 §3) and `refer` (RFC 3515 §2.4.4). A subscription has a
//! dialog of its own, or uses that of the member's call. Per subscription at most one NOTIFY is
//! under way; what changes meanwhile is in the next one, so that a storm of changes costs each
//! watcher one document and not a hundred. All of the roster goes out first and on a refresh, what
//! changed after that.
//!
//! A NOTIFY that fails ends the subscription, unless the answer asks to try again (RFC 6665
//! §4.2.2). Left out: filters in SUBSCRIBE (RFC 4575 §3.2 has none), pending authorisation, and
//! subscriptions that outlive this process: their refresh is answered 481, and the watcher
//! subscribes again.

mod asked;
mod pace;
mod table;
mod watch;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use carnet_sip::{Destination, DialogId, Error, Message, ServerKey};
use std::time::Duration;

pub use table::Subscriptions;

/// Names a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionKey(u64);

/// Names a NOTIFY that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotifyKey(u64);

/// What the operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Shorter ones are answered 423, but those that end or only ask once. Seconds. 60.
    pub shortest: u32,
    /// What a subscription without Expires lasts, and the longest there is. Seconds. 3600.
    pub longest: u32,
    /// How long news of a REFER are promised. Seconds. 300.
    pub follow: u32,
    /// A watcher is sent news once in so long, if they come steadily (RFC 4575 §3.9). 5 s.
    pub pace: Duration,
    /// News a watcher may be sent at once after it was quiet for long. 5.
    pub burst: u32,
    /// A room is looked at once in so long: what changes meanwhile is in the next look. Bounds the work
    /// of a large room to which many come at once. 200 ms.
    pub rest: Duration,
    /// Octets of users in one NOTIFY, about: more are said by several. Well below what one datagram
    /// carries and what others take for one SIP message. 32 KiB.
    pub octets: usize,
    /// Subscriptions at once. More are answered 503. 20,000.
    pub most: usize,
    /// Subscriptions of one user to one room. More are answered 503. 8.
    pub of_one: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shortest: 60,
            longest: 3600,
            follow: 300,
            pace: Duration::from_secs(5),
            burst: 5,
            rest: Duration::from_millis(200),
            octets: 32 * 1024,
            most: 20_000,
            of_one: 8,
        }
    }
}

/// Who asks, and how it is answered.
#[derive(Debug, Clone, Copy)]
pub struct Watcher<'a> {
    /// Canonical URI of the room.
    pub room: &'a str,
    /// Canonical URI of who asks.
    pub member: &'a str,
    /// The value of our Contact, `<sip:…>;isfocus`.
    pub contact: &'a str,
    /// The dialog of the member's call, if the request came in one. The focus has judged its CSeq.
    pub within: Option<&'a DialogId>,
}

/// What the focus is to do.
#[derive(Debug)]
pub enum Action {
    /// Say how a room is now: call [`Subscriptions::publish`].
    Publish(String),
    /// Answer a request.
    Respond(ServerKey, Box<Message>),
    /// Send a NOTIFY, and report the response by this key.
    Request(NotifyKey, Box<Message>, Destination),
    /// Send a NOTIFY in the dialog of a call: make it there, [`fill`](Notice::fill) it, report the
    /// response by this key. If that cannot be done, it was not answered.
    RequestWithin(NotifyKey, DialogId, Notice),
}

/// What a NOTIFY says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    headers: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
}

impl Notice {
    /// Puts it into a NOTIFY.
    ///
    /// # Errors
    /// Those of the setters: none for what was made here.
    pub fn fill(&self, notify: &mut Message) -> Result<(), Error> {
        for (name, value) in &self.headers {
            notify.set_header(name, value)?;
        }
        if let Some((kind, body)) = &self.body {
            notify.set_body(body.clone(), Some(kind))?;
        }
        Ok(())
    }
}

/// What became of a REFER that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referred {
    /// It is answered, and not to be done.
    Refused,
    /// It is answered; nobody wants to hear what becomes of it (RFC 4488).
    Quietly,
    /// It is answered; report what becomes of it by [`Subscriptions::progress`].
    Followed(SubscriptionKey),
}
