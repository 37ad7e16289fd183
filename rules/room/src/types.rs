//! What goes into a room and what comes out of it.

use carnet_msrp::{Status, Uri};
use std::time::Duration;

/// The number of a member in its conference, given by the focus. It is the member's BFCP user id too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(pub u16);

/// How many messages a newcomer gets of what was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// At most this many messages; 0 keeps none.
    pub count: usize,
    /// None older than this.
    pub age: Duration,
    /// At most this many octets altogether.
    pub octets: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { count: 50, age: Duration::from_secs(24 * 3600), octets: 256 << 10 }
    }
}

/// The policy of a room. [`crate::Room::configure`] changes it while the room is open.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The conference's URI: what is sent to it goes to all.
    pub uri: String,
    /// What the room is about, for its notices.
    pub subject: Option<String>,
    /// Whether members may take nicknames (RFC 7701 §7). Otherwise NICKNAME is answered 403.
    pub nicknames: bool,
    /// Whether members may write to one another (RFC 7701 §6.2). Otherwise such a message is answered 403.
    pub private: bool,
    /// Whether only those may speak that [`crate::Room::set_holders`] names.
    pub moderated: bool,
    /// What a newcomer gets.
    pub history: History,
    /// Octets of the longest message; a longer one is answered 413.
    pub max_message: Option<u64>,
    /// How long a member may take nothing while something waits for it. Then it is released; after half of
    /// it, it counts as stalled.
    pub stall: Duration,
    /// Octets that may wait for one member. With more it is released; with half of it, it counts as stalled.
    pub stall_octets: usize,
    /// Nicknames that only [`crate::Room::join`] gives; a member that asks for one is answered 425.
    pub reserved: Vec<String>,
    /// Whether the room tells its members in words who came and left and whether every leg is sealed.
    pub notices: bool,
}

impl Settings {
    /// A room for all: nicknames, private messages, notices, nobody needs the floor.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            subject: None,
            nicknames: true,
            private: true,
            moderated: false,
            history: History::default(),
            max_message: Some(64 << 20),
            stall: Duration::from_secs(30),
            stall_octets: 16 << 20,
            reserved: Vec::new(),
            notices: true,
        }
    }
}

/// Bounds of a room that are no policy.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Members at one time.
    pub members: usize,
    /// Octets waiting for a member from which on a sender does not count on it having room.
    pub window: usize,
    /// Octets up to which a message is kept whole until its recipients acknowledged it, so that it can be
    /// sent again on another connection. Of a longer one only what is under way is held. At most an eighth of
    /// [`Settings::stall_octets`] counts.
    pub keep: usize,
    /// Octets held in the whole room from which on nothing is kept for that purpose any more.
    pub held: usize,
    /// Octets of one message that may come before those ahead of them. More is answered 413.
    pub disorder: usize,
    /// Messages of one member that can be incomplete at one time. A further one is answered 413. Every
    /// recipient may have the beginnings of so many of each sender.
    pub arrivals: usize,
    /// How long a message may rest before it counts as given up (RFC 7701 §6.1).
    pub chunk: Duration,
    /// How long a member may leave a message unanswered before it is released.
    pub answer: Duration,
    /// How long a member may be without a connection before it is released.
    pub absence: Duration,
    /// Messages that are remembered, so that one sent again is not delivered twice.
    pub seen: usize,
    /// How long a nickname is kept for a member that left (RFC 7701 §11).
    pub nickname: Duration,
    /// Body octets in one chunk to a member before another message gets its turn.
    pub chunk_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 4096,
            window: 512 << 10,
            keep: 1 << 20,
            held: 64 << 20,
            disorder: 256 << 10,
            arrivals: 4,
            chunk: Duration::from_secs(540),
            answer: Duration::from_secs(120),
            absence: Duration::from_secs(180),
            seen: 4096,
            nickname: Duration::from_secs(300),
            chunk_size: 16 << 10,
        }
    }
}

/// Who joins, and how.
#[derive(Debug, Clone)]
pub struct Member {
    /// The URI the room knows the member by: what its messages have as From.
    pub uri: String,
    /// The nickname the focus gives it.
    pub nickname: Option<String>,
    /// Our `a=path` towards it.
    pub local_path: Uri,
    /// Its `a=path`.
    pub remote_path: Vec<Uri>,
    /// Its `a=accept-types` and `a=accept-wrapped-types`. Empty: it takes everything.
    pub accept_types: Vec<String>,
    /// Its `a=max-size` in octets.
    pub max_size: Option<u64>,
    /// Whether it takes private messages (`a=chatroom`, RFC 7701 §8).
    pub private: bool,
    /// Whether it may send to the room.
    pub may_speak: bool,
    /// Whether it gets what was said before it came.
    pub history: bool,
    /// Whether its leg is protected by a key of its own.
    pub sealed: bool,
}

impl Member {
    /// A member that may do everything.
    pub fn new(uri: impl Into<String>, local_path: Uri, remote_path: Vec<Uri>) -> Self {
        Self {
            uri: uri.into(),
            nickname: None,
            local_path,
            remote_path,
            accept_types: Vec::new(),
            max_size: None,
            private: true,
            may_speak: true,
            history: true,
            sealed: false,
        }
    }
}

/// Why the room let a member go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It took less than the room had for it: too many octets, or nothing for too long.
    Slow,
    /// It took messages and did not answer them.
    Silent,
    /// It was without a connection for too long.
    Absent,
    /// What it sent is not MSRP, or it says it has no such session.
    Protocol,
}

impl Reason {
    /// One word, as it goes to the controller.
    pub fn word(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Absent => "absent",
            Self::Protocol => "protocol",
        }
    }
}

/// What happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A member has another nickname now; `None` when it gave it up.
    Nickname {
        /// Who.
        member: MemberId,
        /// As the member wrote it.
        nickname: Option<String>,
    },
    /// More waits for a member than it takes; the others do not wait for it any more.
    Stalled {
        /// Who.
        member: MemberId,
        /// Octets that wait.
        queued: usize,
    },
    /// A stalled member took what waited for it.
    Resumed {
        /// Who.
        member: MemberId,
    },
    /// A member is no longer in the room: close its connection and tell the focus.
    Released {
        /// Who.
        member: MemberId,
        /// Why.
        reason: Reason,
    },
    /// A message was accepted whole: its sender has been told so.
    Accepted {
        /// Who sent it.
        from: MemberId,
        /// Whether it was for one member.
        private: bool,
        /// Its size.
        octets: u64,
        /// For how many members it is.
        recipients: usize,
    },
    /// A message was refused.
    Refused {
        /// Who sent it.
        from: MemberId,
        /// What was answered.
        status: Status,
        /// Why, in words.
        why: &'static str,
    },
    /// Messages too long to be kept did not reach a member, because its connection broke in the middle or
    /// because it did not want them.
    Missed {
        /// Who.
        member: MemberId,
        /// Octets of the message that were not delivered, as far as they had come.
        octets: u64,
    },
}

/// What a room counts since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages accepted whole.
    pub messages: u64,
    /// Copies that recipients acknowledged.
    pub delivered: u64,
    /// Copies that did not arrive.
    pub failed: u64,
    /// Messages refused.
    pub refused: u64,
    /// Body octets received.
    pub octets_in: u64,
    /// Octets given to connections.
    pub octets_out: u64,
    /// Body octets held for members and history.
    pub held: u64,
}

/// One member as the room sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RosterEntry {
    /// Its number.
    pub id: MemberId,
    /// Its URI.
    pub uri: String,
    /// Its nickname.
    pub nickname: Option<String>,
    /// Whether its leg is protected by a key of its own.
    pub sealed: bool,
    /// Whether it has a connection.
    pub connected: bool,
    /// Whether it does not keep up.
    pub stalled: bool,
    /// Whether it may send to the room now.
    pub speaks: bool,
    /// Octets that wait for it.
    pub queued: usize,
}

/// A nickname in the form in which two are compared (RFC 7701 §7.1, RFC 7700 §2): without spaces at the
/// ends, one space for several, every kind of space alike, in lower case, full-width Latin as Latin.
/// `None` when it is no nickname: nothing is left, over 1023 octets, or control characters.
///
/// The normalisation form KC that RFC 7700 wants is not applied beyond that, so two spellings of one letter
/// (composed and decomposed) are two letters here.
pub fn canonical_nickname(nickname: &str) -> Option<String> {
    if nickname.len() > 1023 || nickname.chars().any(char::is_control) {
        return None;
    }
    let narrow = |c: char| match u32::from(c) {
        code @ 0xff01..=0xff5e => char::from_u32(code - 0xfee0).unwrap_or(c),
        _ => c,
    };
    let words: Vec<String> = nickname
        .split(char::is_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().map(narrow).flat_map(char::to_lowercase).collect())
        .collect();
    Some(words.join(" ")).filter(|name| !name.is_empty())
}
