//! Nicknames in a chat room: asking for one, and being asked (RFC 7701 §7).

use super::answer::{Reply, path};
use super::types::{ArrivalKey, Event};
use super::{Owner, Session, Transaction};
use crate::{Error, Head, Status, nickname};
use std::time::Instant;

/// Requests of the peer that nobody answered, with which the session stops reading.
pub(super) const MOST: usize = 16;

impl Session {
    /// Asks the room for a nickname; an empty one gives the present one up (RFC 7701 §7.3). The answer is
    /// [`Event::NicknameAnswered`]. Only where the room's `a=chatroom` has `nickname`.
    ///
    /// # Errors
    /// [`Error::CannotSend`] when the nickname cannot be written, or when one is asked for already;
    /// [`Error::Closed`].
    pub fn set_nickname(&mut self, now: Instant, nickname: &str) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        if self.asked_name.is_some() {
            return Err(Error::CannotSend("a nickname is being asked for"));
        }
        let value = nickname::quote(nickname)
            .map_err(|_| Error::CannotSend("a nickname of over 1023 octets or with control characters"))?;
        let mut head = Head::request(self.new_ident(), "NICKNAME");
        let headers = [
            ("To-Path", path(&self.config.remote_path)),
            ("From-Path", self.config.local_path.to_string()),
            ("Use-Nickname", value),
        ];
        self.push_frame(&mut head, &headers);
        self.asked_name = Some(nickname.to_owned());
        let deadline = Some(now + self.config.transaction_timeout);
        self.transactions.push_back(Transaction { tid: head.tid, owner: Owner::Nickname, deadline });
        Ok(())
    }

    /// Answers [`Event::NicknameAsked`].
    pub fn answer_nickname(&mut self, request: ArrivalKey, status: Status) {
        let Some(at) = self.naming.iter().position(|(key, _)| *key == request) else { return };
        let (_, reply) = self.naming.remove(at);
        self.answer(&reply, status);
    }

    pub(super) fn nickname_asked(&mut self, reply: Reply, nickname: Option<String>) {
        let Some(nickname) = nickname else { return self.answer(&reply, Status::MALFORMED_NICKNAME) };
        let request = ArrivalKey(self.new_key());
        self.naming.push((request, reply));
        self.push_event(Event::NicknameAsked { request, nickname });
    }

    pub(super) fn nickname_answered(&mut self, status: Status) {
        if let Some(nickname) = self.asked_name.take() {
            self.push_event(Event::NicknameAnswered { nickname, status });
        }
    }
}
