//! Nicknames: who may have which (RFC 7701 §7).

use crate::room::Room;
use crate::types::{Event, MemberId, canonical_nickname};
use carnet_msrp::Status;
use std::time::Instant;

/// Nicknames kept for members that left.
const KEPT: usize = 4096;

/// A nickname that is kept for a user.
pub(crate) struct Kept {
    nickname: String,
    user: String,
    until: Instant,
}

impl Room {
    /// A member asks for a nickname; an empty one gives the present one up. The error is the answer.
    pub(crate) fn nickname_asked(&mut self, now: Instant, id: MemberId, asked: &str) -> Result<(), Status> {
        if !self.settings.nicknames {
            return Err(Status::FORBIDDEN);
        }
        if asked.is_empty() {
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.nickname = None;
            }
            return Ok(());
        }
        let canonical = canonical_nickname(asked).ok_or(Status::MALFORMED_NICKNAME)?;
        let leg = self.legs.get(&id).ok_or(Status::FORBIDDEN)?;
        let given = leg.member.nickname.as_deref().and_then(canonical_nickname);
        let reserved = self.settings.reserved.iter().filter_map(|name| canonical_nickname(name));
        if given.as_ref() != Some(&canonical) && reserved.into_iter().any(|name| name == canonical) {
            return Err(Status::NICKNAME_TAKEN);
        }
        if self.is_taken(now, &canonical, &leg.user) {
            return Err(Status::NICKNAME_TAKEN);
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.nickname = Some((canonical, asked.to_owned()));
        }
        Ok(())
    }

    /// Tells what a member is called now.
    pub(crate) fn renamed(&mut self, now: Instant, id: MemberId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let nickname = leg.nickname.as_ref().map(|(_, name)| name.clone());
        let text = match &nickname {
            Some(name) => format!("{} is now called {name}.", leg.member.uri),
            None => format!("{} has no nickname any more.", leg.member.uri),
        };
        self.push_event(Event::Nickname { member: id, nickname });
        self.notice(now, &text, Some(id));
    }

    /// The nickname the focus gave a member, if nobody else has it.
    pub(crate) fn give_nickname(&mut self, now: Instant, id: MemberId) {
        let Some(leg) = self.legs.get(&id) else { return };
        let Some(name) = leg.member.nickname.clone() else { return };
        let Some(canonical) = canonical_nickname(&name) else { return };
        if !self.is_taken(now, &canonical, &leg.user)
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.nickname = Some((canonical, name));
        }
    }

    /// Keeps the nickname of a member that goes (RFC 7701 §11).
    pub(crate) fn keep_nickname(&mut self, now: Instant, user: String, nickname: String) {
        self.kept.retain(|kept| kept.until > now && kept.nickname != nickname);
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push(Kept { nickname, user, until: now + self.limits.nickname });
    }

    fn is_taken(&self, now: Instant, canonical: &str, user: &str) -> bool {
        let others = self.legs.values().filter(|leg| leg.user != user);
        let has = others.filter_map(|leg| leg.nickname.as_ref()).any(|(name, _)| name == canonical);
        has || self.kept.iter().any(|k| k.nickname == canonical && k.user != user && k.until > now)
    }
}
