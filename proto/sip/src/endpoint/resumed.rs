//! What one endpoint leaves to the one that comes after it: transactions die with the process, and what is on the
//! wire has to be right all the same.
//!
//! Octets that were made ready are sent as they are, without a transaction: whoever uses this repeats them.

use super::client::{Branch, Outline};
use super::{Endpoint, Event, SentBy, ServerKey};
use crate::error::Error;
use crate::hop::{Hop, Transport};
use crate::message::Message;
use crate::method::Method;
use crate::{ClientKey, Destination};
use bytes::Bytes;
use std::time::Instant;

impl Endpoint {
    /// Another endpoint takes the place of this one in a moment, or this one will be ready in a moment: requests
    /// outside dialogs that come by datagrams are not seen as long as this holds, and their repetitions will be.
    pub fn refrain(&mut self, refrains: bool) {
        self.refrains = refrains;
    }

    /// Requests that are made from now on name these in Via, and are sent by these transports where DNS leaves the choice:
    /// the sockets of this element are others than before.
    pub fn rename(&mut self, sent_by: Vec<SentBy>, transports: Vec<Transport>) {
        (self.config.sent_by, self.config.transports) = (sent_by, transports);
    }

    /// An earlier endpoint has left INVITEs: a 2xx that fits none of ours may be to one of them, and is told.
    pub fn watch_for_strays(&mut self, watches: bool) {
        self.watches_for_strays = watches;
    }

    pub(super) fn stray(&mut self, mut message: Message, status: u16, hop: Hop) {
        let told =
            self.watches_for_strays && (200..300).contains(&status) && *message.method() == Method::Invite;
        if told {
            message.remove_first("Via");
            self.events.push_back(Event::Stray { message, hop });
        }
    }

    /// A name for a request that came to an earlier endpoint: no request that comes to this one has it.
    pub fn name_of_earlier(&mut self) -> ServerKey {
        ServerKey(self.fresh_key())
    }

    /// The 2xx of an INVITE that waits for its ACK, and the way it would take from a later endpoint.
    pub fn unacknowledged(&self, key: ServerKey, to_tag: &str) -> Option<(Hop, Bytes)> {
        let server = self.servers.get(&key)?;
        let sent = server.confirmations.iter().filter_map(|dialog| self.confirmation(dialog, key));
        let mut waiting = sent.filter(|c| c.to_tag == to_tag && !c.data.is_empty());
        Some((server.reply_of_later(), waiting.next()?.data.clone()))
    }

    /// How a refusal of a request would go out of a later endpoint; it is not sent. `None` if the request has its final response.
    pub fn prepare_refusal(&self, key: ServerKey, mut message: Message) -> Option<(Hop, Bytes)> {
        let server = self.servers.get(&key).filter(|server| server.is_open())?;
        message.put_lines("Via", &server.vias);
        if message.to_tag().is_none() {
            let to = message.to().ok()?.with_tag(&server.tag).ok()?;
            message.set_header("To", &to.to_string()).ok()?;
        }
        if server.reply.transport.is_reliable() {
            message.ensure_content_length();
        }
        Some((server.reply_of_later(), message.to_bytes()))
    }

    /// How the CANCEL of an INVITE would go out; it is not sent. `None` if the INVITE has its final response or has
    /// not left. It is made without a look at provisional responses (RFC 3261 §9.1): when it is needed nobody is
    /// there to take one.
    pub fn prepare_cancel(&self, key: ClientKey, reason: &str) -> Option<(Hop, Bytes)> {
        let client = self.clients.get(&key).filter(|c| c.is_open() && c.is_invite())?;
        let wire = match (&client.outline, &client.request) {
            (Some(outline), _) => outline.cancel(Some(reason)),
            (None, Some(request)) => Outline::of(request).cancel(Some(reason)),
            (None, None) => return None,
        };
        Some((client.hop.clone()?, wire))
    }

    /// What the branch of a request says that has no final response.
    pub fn branch_of(&self, key: ClientKey) -> Option<Branch> {
        self.clients.get(&key).filter(|client| client.is_open()).map(|client| client.branch)
    }

    /// Sends a request that an earlier endpoint has sent: by its branch the other end knows the one that it has, answers it
    /// again, and takes it for none that came by another way (RFC 3261 §8.2.2.2, §17.2.3). The same as
    /// [`request`](Self::request) besides.
    ///
    /// # Errors
    /// As of [`request`](Self::request).
    pub fn request_again(
        &mut self,
        now: Instant,
        message: Message,
        destination: Destination,
        branch: Branch,
    ) -> Result<ClientKey, Error> {
        let free = !self.resumed.contains_key(&branch);
        self.start(now, message, destination, Some(branch).filter(|_| free))
    }

    /// Sends octets that an earlier endpoint made ready.
    pub fn send_prepared(&mut self, hop: Hop, octets: Bytes) {
        self.transmit(hop, octets);
    }

    /// Sends an ACK of which the INVITE went through an earlier endpoint: once.
    ///
    /// # Errors
    /// [`Error::State`] if `message` is not an ACK.
    pub fn pass_ack(&mut self, now: Instant, mut message: Message, to: Destination) -> Result<(), Error> {
        if *message.method() != Method::Ack || !message.is_request() {
            return Err(Error::State("not an ACK"));
        }
        if !message.has("Max-Forwards") {
            message.push_front("Max-Forwards", "70")?;
        }
        self.begin(now, message, to, (None, None));
        Ok(())
    }
}
