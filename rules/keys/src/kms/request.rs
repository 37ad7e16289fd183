//! REQUEST_INIT: who asks, for whom, under which policy (RFC 6043 §4.2.1.4, §4.2.1.5).

use super::prove::Sender;
use super::{Decide, Decided, Kms, Refused};
use crate::Deed;
use carnet_mikey::exchange::Verified;
use carnet_mikey::payload::{Flags, Payload, TicketPolicy};
use carnet_mikey::registry::{role, time_role};
use carnet_mikey::{Error, Identity, Timestamp};
use std::time::SystemTime;

impl Decide for TicketPolicy {
    const DEED: Deed = Deed::Issued;

    fn decide(
        kms: &mut Kms,
        verified: &Verified<Self>,
        sender: &Sender,
        wall: SystemTime,
    ) -> Result<Decided, Refused> {
        let prf = verified.suite().prf().number();
        let policy = kms.grantable(sender, verified.policy(), prf, wall)?;
        let responders = kms.responders_of(&policy);
        let expires = policy.valid_to().and_then(|to| to.to_wall());
        let key = kms.ring.current().map_err(|_| Error::Full("ticket keys: there is none"))?;
        let issued = verified.grant(policy, &key.tpk, key.id.as_bytes(), wall, kms.rng.as_mut())?;
        Ok(Decided {
            reply: issued.octets,
            initiator: sender.identity.clone(),
            responders,
            ticket: issued.ticket_id,
            key: key.id.clone(),
            expires,
        })
    }
}

impl Kms {
    /// Whether the ticket may be had, and the policy to grant: what is wanted, with what we do not
    /// grant replaced by what we do. `prf` is that of the message around it.
    fn grantable(
        &self,
        sender: &Sender,
        wanted: &TicketPolicy,
        prf: u8,
        wall: SystemTime,
    ) -> Result<TicketPolicy, Refused> {
        let initiator = &sender.identity;
        let forbidden = |error, reason: String| Err(Refused::with(Error::Identity(error), 403, reason));
        if wanted.initiator().is_some_and(|id| self.read(id).data != initiator.data) {
            return forbidden("not yours", format!("{initiator} wants a ticket in another name"));
        }
        self.check_addressee(wanted.kms())?;
        let responders = self.responders_of(wanted);
        if responders.is_empty() {
            return Err(Error::Policy("the ticket names no responder").into());
        }
        for callee in &responders {
            if !self.config.issue_to_strangers && !self.directory.knows(callee) {
                return forbidden("unknown callee", format!("{initiator} calls unknown {callee}"));
            }
            if !self.rules.allow(&self.directory, initiator, callee) {
                return forbidden("forbidden callee", format!("{initiator} may not call {callee}"));
            }
        }
        let profile = &self.config.profile;
        if !profile.accepts_ticket(wanted.ticket_type) || wanted.subtype != 1 || wanted.version != 1 {
            let feature = carnet_mikey::Feature::Ticket(wanted.ticket_type);
            return Err(Error::Unsupported { feature, at: 0 }.into());
        }
        check_wanted(wanted, prf)?;
        Ok(self.granted(wanted, sender, wall))
    }

    /// Whom a policy is for, as we know them.
    fn responders_of(&self, policy: &TicketPolicy) -> Vec<Identity> {
        policy.responders().map(|id| self.read(id).into_owned()).collect()
    }

    fn granted(&self, wanted: &TicketPolicy, sender: &Sender, wall: SystemTime) -> TicketPolicy {
        let profile = &self.config.profile;
        let responders: Vec<&Identity> = wanted.responders().collect();
        let initiator = &sender.as_sent;
        let ours = profile.policy(wall, &sender.kms, initiator, &responders);
        // A validity that lies within ours is granted as it is wanted.
        let (ours_from, ours_to) = (ours.valid_from(), ours.valid_to());
        let within = |t: Option<Timestamp>| {
            let at = |t: Option<Timestamp>| t.and_then(|t| t.to_wall());
            match (at(t), at(ours_from), at(ours_to)) {
                (Some(t), Some(from), Some(to)) => (from..=to).contains(&t),
                _ => false,
            }
        };
        let times_fit = within(wanted.valid_from()) && within(wanted.valid_to());
        let mut data: Vec<Payload> = Vec::new();
        let time = |wanted: Option<Timestamp>, ours: Option<Timestamp>| if times_fit { wanted } else { ours };
        let mut push = |p: Payload| data.push(p);
        push(Payload::Idr { role: role::KMS, id: sender.kms.clone() });
        push(Payload::Idr { role: role::INITIATOR, id: initiator.clone() });
        for (role, t) in [
            (time_role::START, time(wanted.valid_from(), ours_from)),
            (time_role::END, time(wanted.valid_to(), ours_to)),
            (time_role::REKEY, wanted.rekey()),
        ] {
            if let Some(time) = t {
                push(Payload::Tr { role, time });
            }
        }
        for id in wanted.identities(role::APPLICATION) {
            push(Payload::Idr { role: role::APPLICATION, id: id.clone() });
        }
        for id in responders {
            push(Payload::Idr { role: role::RESPONDER, id: id.clone() });
        }
        TicketPolicy { ticket_type: wanted.ticket_type, flags: self.flags(wanted.flags), data, ..ours }
    }

    /// Forking is granted as wanted; all else as the profile has it.
    fn flags(&self, wanted: Flags) -> Flags {
        let ours = self.config.profile.flags();
        if wanted.has(Flags::I) { ours.with(Flags::I).with(Flags::E) } else { ours.without(Flags::I) }
    }
}

/// Whether a wanted policy makes sense in itself, in a message with `prf`. A KMS may grant something
/// else than is wanted, but a wish that contradicts itself has no nearest policy.
fn check_wanted(wanted: &TicketPolicy, prf: u8) -> Result<(), Error> {
    // RFC 6043 §6.10: K is ignored in a TP payload. Every ticket of ours has a TGK.
    wanted.flags.without(Flags::K).check(true)?;
    // RFC 6043 has a PRF in the header and one in the policy and does not say whether they may
    // differ. Keys are derived with one of them: where they are not the same, somebody is wrong.
    if wanted.prf != prf {
        return Err(Error::Policy("the PRF of the wanted ticket is not that of the message"));
    }
    // RFC 6043 §6.10: the greatest time between two rekeyings is a number of seconds.
    match wanted.rekey() {
        None | Some(Timestamp::NtpUtc32(_)) => Ok(()),
        Some(_) => Err(Error::Policy("the time of rekeying must be NTP-UTC-32")),
    }
}
