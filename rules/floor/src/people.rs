//! The users of the conference and their connections.

use crate::config::{Limits, Member};
use crate::event::ConnectionId;
use carnet_bfcp::{Association, Message, Text, Transport, UserInformation};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

/// What carries the messages of a connection, and what is known of who is at its other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// A stream (version 1) or datagrams (version 2).
    pub transport: Transport,
    /// Who, if the connection itself tells; otherwise the first message of an admitted user does who has
    /// no connection.
    pub user: Option<u16>,
    /// TLS or DTLS protects it.
    pub secured: bool,
}

impl Link {
    /// A TLS connection, of a user if its key tells who that is.
    pub fn stream(user: Option<u16>) -> Self {
        Self { transport: Transport::Stream, user, secured: true }
    }
}

/// An answer that is given again to a request that comes again.
#[derive(Debug)]
struct Answer {
    transaction: u16,
    request: u64,
    answer: Message,
    until: Instant,
}

/// A user.
#[derive(Debug, Default)]
pub(crate) struct User {
    /// `None` for one that only a snapshot tells of.
    pub(crate) member: Option<Member>,
    pub(crate) connection: Option<ConnectionId>,
    /// When floors and requests end, of one whose connection was lost.
    pub(crate) lost: Option<Instant>,
    /// A snapshot says that it had no connection, so it need not have one to keep what it has.
    pub(crate) without: bool,
    answers: VecDeque<Answer>,
    /// Requests made faster than [`Limits::pace`], and since when time has not been taken from them.
    pace: Option<(u32, Instant)>,
}

impl User {
    /// Whether the user may make another request now; counts it.
    pub(crate) fn may_ask(&mut self, now: Instant, limits: &Limits) -> bool {
        let (mut made, mut since) = self.pace.unwrap_or((0, now));
        while made > 0 && since + limits.pace <= now {
            made -= 1;
            since += limits.pace;
        }
        if made == 0 {
            since = now;
        }
        let may = made < limits.burst;
        self.pace = Some((made + u32::from(may), since));
        may
    }

    /// The answer to the same request, octet for octet, under the same number. A number may be used again
    /// once it is answered (§8.1), so what is not the same makes the old answer be forgotten.
    pub(crate) fn answer(&mut self, now: Instant, message: &Message) -> Option<&Message> {
        let request = digest(message);
        self.answers.retain(|answer| {
            answer.until > now && (answer.transaction != message.transaction || answer.request == request)
        });
        let known = |answer: &&Answer| answer.transaction == message.transaction;
        self.answers.iter().find(known).map(|answer| &answer.answer)
    }

    pub(crate) fn keep(&mut self, request: &Message, answer: Message, until: Instant, most: usize) {
        if most == 0 {
            return;
        }
        self.answers.retain(|answer| answer.transaction != request.transaction);
        if self.answers.len() >= most {
            self.answers.pop_front();
        }
        let (transaction, request) = (request.transaction, digest(request));
        self.answers.push_back(Answer { transaction, request, answer, until });
    }

    /// What others are told of the user.
    pub(crate) fn information(&self, id: u16) -> UserInformation {
        let member = self.member.as_ref();
        let name = member.and_then(|member| member.display_name.as_deref());
        let uri = member.and_then(|member| member.uri.as_deref());
        let mut information = UserInformation {
            id,
            display_name: name.map(Text::fitting),
            uri: uri.filter(|uri| uri.len() <= Text::LONGEST).map(Text::fitting),
        };
        information.fit();
        information
    }
}

fn digest(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.print().unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

/// A floor that a connection wants to hear of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) floor: u16,
    /// Of what it was told last.
    pub(crate) digest: u64,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) association: Association,
    /// As the driver says, or as the first message did.
    pub(crate) user: Option<u16>,
    pub(crate) secured: bool,
    /// Floors that it wants to hear of.
    pub(crate) watching: Vec<Watched>,
    pub(crate) blocked: bool,
}

impl Connection {
    pub(crate) fn watches(&self, floor: u16) -> bool {
        self.watching.iter().any(|watched| watched.floor == floor)
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.association.transport() == Transport::Stream
    }
}
