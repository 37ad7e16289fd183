//! Several shards that are one relay to everybody else, so that it can have several threads.
//!
//! A URI is granted by the shard that its client is connected to, and says which (its session identifier ends
//! with the number). Whoever connects comes to any shard; the first request tells where to, and a connection
//! whose first request is for a URI of another shard moves there before anything is done with it, so one
//! session's clients and peers are nearly always in one thread. What is left goes through a *link*, a
//! connection between two shards that stands for one connection of one of them at the other:
//!
//! * a client sends to a client of another shard: as between two relays, but that nobody connects;
//! * a connection that has been used comes with a request for a URI of another shard, as one from another
//!   relay does: the request is passed through to there as it came, and what that shard has for this
//!   connection comes back by the link.
//!
//! A link is for one connection, so who does not read stops those who send to it, as within a shard, and nobody
//! else. Both ends answer and report as on any other hop.

use crate::ConnectionId;
use crate::arrive::{Fault, Route};
use crate::connection::Way;
use crate::line::session;
use crate::relay::{Action, Relay};
use carnet_msrp::{Status, Uri};
use std::time::Instant;

/// Digits of the random part of a session identifier; the number of the shard follows.
pub(crate) const SECRET: usize = 32;

/// Which of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) number: u16,
    pub(crate) count: u16,
}

impl Shard {
    /// Where a URI belongs, if it looks like one that another shard has granted. Whether it did, that one knows.
    pub(crate) fn elsewhere(self, uri: &[u8]) -> Option<u16> {
        if self.count < 2 {
            return None;
        }
        let number = session(uri)?.get(SECRET..).filter(|digits| !digits.is_empty())?;
        let number: u16 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number < self.count && number != self.number).then_some(number)
    }

    /// What a session identifier of ours ends with.
    pub(crate) fn mark(self) -> String {
        if self.count < 2 { String::new() } else { self.number.to_string() }
    }
}

impl Relay {
    /// A link to another shard for one of our connections has been made there.
    pub fn joined(&mut self, now: Instant) -> Option<ConnectionId> {
        self.open(now, Way::Joined, None)
    }

    /// Where a request goes that is not for a URI of this shard.
    pub(crate) fn pass_through<'a>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        first: &'a [u8],
        path: &'a [u8],
    ) -> Result<Route<'a>, Fault> {
        let uri = Uri::parse(first);
        let ours = uri.is_ok_and(|uri| self.is_ours(&uri, false));
        let Some(connection) = self.get(id) else { return Err(Fault::Foreign) };
        match connection.way {
            // From the shard that we have passed this connection's requests to.
            Way::Link(_, client) if !ours => Ok(Route::through(client, first, path)),
            Way::Link(..) | Way::Joined => Err(Fault::Refused(Status::NO_SESSION)),
            _ if !ours => Err(Fault::Foreign),
            _ => {
                let other = self.shard.elsewhere(first).ok_or(Fault::Refused(Status::NO_SESSION))?;
                // It counts as a failure until that shard has answered: see `Self::answered_there`.
                if !self.failed(id) {
                    return Err(Fault::Gone);
                }
                let link = self.link(now, id, other).ok_or(Fault::Refused(Status::TIMEOUT))?;
                Ok(Route::through(link, first, path))
            }
        }
    }

    /// Whether what goes to `next` is for another shard to judge.
    pub(crate) fn is_judged_there(&self, id: ConnectionId, next: ConnectionId) -> bool {
        self.get(next).is_some_and(|next| matches!(next.way, Way::Link(_, client) if client == id))
    }

    /// Another shard has answered a request that came by a link, and was content.
    pub(crate) fn answered_there(&mut self, link: ConnectionId) {
        let Some(Way::Link(_, client)) = self.get(link).map(|link| link.way.clone()) else { return };
        if let Some(client) = self.get_mut(client) {
            (client.proven, client.failures) = (true, 0);
        }
    }

    /// The link of a connection to another shard, a new one if there is none.
    pub(crate) fn link(&mut self, now: Instant, id: ConnectionId, shard: u16) -> Option<ConnectionId> {
        let known = self.get(id)?.links.iter().find(|(number, _)| *number == shard);
        if let Some((_, link)) = known {
            return Some(*link);
        }
        let link = self.open(now, Way::Link(shard, id), None)?;
        self.get_mut(id)?.links.push((shard, link));
        self.actions.push_back(Action::Join { connection: link, shard });
        Some(link)
    }
}
