//! URIs that were handed out, and what they are good for (RFC 4976 §6.3, §6.4).

use crate::ConnectionId;
use crate::line::session;
use carnet_msrp::Uri;
use std::collections::HashMap;
use std::time::Instant;

/// Ways that are remembered of one URI: its client's peer, and what else it sends to.
const WAYS: usize = 4;

#[derive(Debug)]
pub(crate) struct Grant {
    uri: Uri,
    user: Box<str>,
    /// The connection of the client, the only one the URI is good for (§6.3).
    pub(crate) client: ConnectionId,
    pub(crate) expires: Instant,
    /// Where the client's next hops are: the URI, and the connection to it or from it. Somebody who knows
    /// the URI and sends by it may be answered on its own connection.
    ways: Vec<(Box<[u8]>, ConnectionId)>,
}

impl Grant {
    pub(crate) fn way(&self, uri: &[u8]) -> Option<ConnectionId> {
        self.ways.iter().find(|(known, _)| **known == *uri).map(|(_, connection)| *connection)
    }

    fn learn(&mut self, uri: &[u8], connection: ConnectionId) {
        match self.ways.iter_mut().find(|(known, _)| **known == *uri) {
            Some((_, known)) => *known = connection,
            None => {
                if self.ways.len() >= WAYS {
                    self.ways.remove(0);
                }
                self.ways.push((uri.into(), connection));
            }
        }
    }
}

/// By session identifier.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// Grows with whatever changes what a URI is good for, or the way it takes.
    changes: u64,
    table: HashMap<Box<[u8]>, Grant>,
}

impl Grants {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Another number whenever something that [`Self::get`] or a way said may have become another.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Remembers where the next hop `previous` of the URI with this session identifier is.
    pub(crate) fn learn(&mut self, uri: &[u8], previous: &[u8], connection: ConnectionId) {
        if let Some(grant) = session(uri).and_then(|id| self.table.get_mut(id)) {
            grant.learn(previous, connection);
            self.changes += 1;
        }
    }

    /// What `uri` is good for, if we granted it and it has not ended.
    pub(crate) fn get(&self, uri: &[u8], now: Instant) -> Option<&Grant> {
        let grant = self.table.get(session(uri)?)?;
        // RFC 4975 §6.1: most send the URI as they were told it.
        let same = uri == grant.uri.as_str().as_bytes() || Uri::parse(uri).is_ok_and(|uri| uri == grant.uri);
        (same && now < grant.expires).then_some(grant)
    }

    pub(crate) fn add(&mut self, uri: Uri, user: &str, client: ConnectionId, expires: Instant) {
        let id = uri.session_id().unwrap_or_default().as_bytes().into();
        self.changes += 1;
        self.table.insert(id, Grant { uri, user: user.into(), client, expires, ways: Vec::new() });
    }

    /// Takes away those that `over` says are; whose they were, and the connections they were for.
    pub(crate) fn end(&mut self, over: impl Fn(&Grant) -> bool) -> Vec<(Box<str>, ConnectionId)> {
        let ended = self.table.extract_if(|_, grant| over(grant));
        let ended: Vec<_> = ended.map(|(_, grant)| (grant.user, grant.client)).collect();
        self.changes += u64::from(!ended.is_empty());
        ended
    }
}
