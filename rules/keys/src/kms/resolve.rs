//! RESOLVE_INIT: who opens which ticket (RFC 6043 §4.2.3.4, §4.2.3.5).

use super::prove::Sender;
use super::{Decide, Decided, Kms, Refused};
use crate::{AuditRecord, Deed, User};
use carnet_mikey::exchange::{Verified, VerifiedResolve};
use carnet_mikey::payload::{Flags, Ticket, TicketPolicy};
use carnet_mikey::ticket::Opened;
use carnet_mikey::{Error, Identity, Tpk};
use std::time::SystemTime;

/// A ticket that was opened, for whom, and whose it is.
struct Found {
    opened: Opened,
    initiator: Identity,
    key: String,
}

impl Decide for Ticket {
    const DEED: Deed = Deed::Resolved;

    fn decide(
        kms: &mut Kms,
        verified: &Verified<Self>,
        sender: &Sender,
        wall: SystemTime,
    ) -> Result<Decided, Refused> {
        let responder = &sender.identity;
        let found = kms.find(&sender.user, responder, verified, wall)?;
        let resolved = verified.answer(&found.opened, &sender.as_sent, wall, kms.rng.as_mut())?;
        Ok(Decided {
            reply: resolved.octets,
            initiator: found.initiator,
            responders: vec![responder.clone()],
            ticket: verified.ticket_id(),
            key: found.key,
            expires: verified.ticket().policy.valid_to().and_then(|to| to.to_wall()),
        })
    }
}

impl Kms {
    /// Opens the ticket if `responder` may.
    fn find(
        &self,
        name: &str,
        responder: &Identity,
        verified: &VerifiedResolve,
        wall: SystemTime,
    ) -> Result<Found, Refused> {
        let user = self.directory.user(name).ok_or(Error::Authentication("no such user"))?;
        let policy = &verified.ticket().policy;
        if let Some(kms) = policy.kms().filter(|k| self.read(k).data != self.config.identity.data) {
            let reason = format!("the ticket is of another KMS, {kms}");
            return Err(Refused::with(Error::Identity("the ticket is of another KMS"), 200, reason));
        }
        let initiator = policy.initiator().ok_or(Error::Policy("the ticket does not say whose it is"))?;
        let initiator = self.read(initiator).into_owned();
        let (tpk, key) = self.ticket_key(verified, policy, &initiator)?;
        let opened = verified.open(&self.config.profile, &tpk, wall)?;
        // From here on the ticket is proven.
        self.check_revoked(&opened, &initiator, &verified.ticket_id())?;
        self.check_responder(user, responder, policy, &initiator)?;
        Ok(Found { opened, initiator, key })
    }

    /// The key a ticket says it is sealed with: ours, or its maker's own.
    fn ticket_key<'a>(
        &'a self,
        verified: &VerifiedResolve,
        policy: &TicketPolicy,
        initiator: &Identity,
    ) -> Result<(OpenWith<'a>, String), Refused> {
        let id = verified.tpk_id()?.ok_or(Error::Missing("IDRpsk in the ticket"))?;
        let name = id.text().into_owned();
        if policy.flags.has(Flags::D) {
            let Some(key) = self.ring.find(&id.data) else {
                let reason = format!("no ticket key `{}`", name.escape_debug());
                return Err(Refused::with(Error::Authentication("no such ticket key"), 200, reason));
            };
            return Ok((OpenWith::Ring(&key.tpk), name));
        }
        // Mode 3: the initiator's key with us is the ticket key; its label keeps the uses apart.
        let maker = self.directory.user(&name).filter(|u| !u.revoked && u.is(initiator));
        match maker {
            Some(user) if self.config.accept_self_issued => {
                Ok((OpenWith::Own(Tpk::new(user.psk.expose())?), name))
            }
            _ => {
                let reason = format!("{initiator} made a ticket of its own, which is not accepted");
                Err(Refused::with(Error::Policy("tickets are issued by the KMS"), 200, reason))
            }
        }
    }

    fn check_revoked(&self, opened: &Opened, initiator: &Identity, ticket: &[u8; 32]) -> Result<(), Refused> {
        let issued = opened.issued.to_wall().ok_or(Error::Policy("a ticket needs an NTP timestamp"))?;
        match self.revocation(initiator, issued, ticket) {
            Some(reason) => Err(Refused::with(Error::Validity("any more: revoked"), 403, reason)),
            None => Ok(()),
        }
    }

    /// Whether a ticket that was issued is revoked: it opens no more.
    pub fn is_revoked(&self, record: &AuditRecord) -> bool {
        self.revocation(&record.initiator, record.wall, &record.ticket).is_some()
    }

    fn revocation(&self, initiator: &Identity, issued: SystemTime, ticket: &[u8; 32]) -> Option<String> {
        if self.revoked.until(ticket).is_some() {
            return Some(format!("the ticket from {initiator} is revoked"));
        }
        let owner = self.directory.owner(initiator);
        if owner.is_some_and(|u| u.revoked) {
            return Some(format!("the ticket is from {initiator}, who is revoked"));
        }
        let limit = self.tickets_not_before.max(owner.and_then(|u| u.tickets_not_before));
        limit
            .is_some_and(|limit| issued < limit)
            .then(|| format!("the ticket from {initiator} was issued before a revocation"))
    }

    /// RFC 6043 §4.2.3.4: the responder must be named in the ticket: itself, as another identity
    /// of the same user, or as a member of a group.
    fn check_responder(
        &self,
        user: &User,
        responder: &Identity,
        policy: &TicketPolicy,
        initiator: &Identity,
    ) -> Result<(), Refused> {
        let is_named = |named: &Identity| {
            named.data == responder.data || user.is(named) || self.directory.is_member(responder, named)
        };
        let Some(callee) = policy.responders().map(|id| self.read(id)).find(|named| is_named(named)) else {
            let reason = format!("{responder} opens a ticket from {initiator} to somebody else");
            return Err(Refused::with(Error::Identity("the ticket is for somebody else"), 403, reason));
        };
        // The rules may have changed since the ticket was issued, and never saw one that was not.
        if !self.rules.allow(&self.directory, initiator, &callee) {
            let reason = format!("{initiator} may not call {callee}");
            return Err(Refused::with(Error::Identity("forbidden callee"), 403, reason));
        }
        Ok(())
    }
}

/// A ticket key of the ring, or one made for this ticket.
enum OpenWith<'a> {
    Ring(&'a Tpk),
    Own(Tpk),
}

impl std::ops::Deref for OpenWith<'_> {
    type Target = Tpk;
    fn deref(&self) -> &Tpk {
        match self {
            Self::Ring(key) => key,
            Self::Own(key) => key,
        }
    }
}
