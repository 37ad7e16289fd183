//! Who may do what in a room: [`Policy`] of the configuration applied to one who asks.
//!
//! Owners may do everything but overfill the room. Refusals say what to answer and why.

use crate::config::{Devices, Policy, Unsealed, Who};

/// Somebody who asks, as the network or a ticket says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker<'a> {
    /// Canonical URI.
    pub uri: &'a str,
    /// It is in the room now.
    pub present: bool,
    /// It made the room, or was made its owner.
    pub owner: bool,
    /// Somebody who may do so had it called.
    pub invited: bool,
}

impl<'a> Asker<'a> {
    /// Somebody who is not in the room and whom nobody invited.
    pub fn stranger(uri: &'a str) -> Self {
        Self { uri, present: false, owner: false, invited: false }
    }
}

/// No, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The room is for those its policy names.
    #[error("the room is for its members")]
    NotMember,
    /// The room takes nobody whose legs are not sealed.
    #[error("the room takes sealed legs only")]
    NotSealed,
    /// The room is full.
    #[error("the room is full")]
    Full,
    /// The room is locked.
    #[error("the room is locked")]
    Locked,
    /// Not for this one to do.
    #[error("the room does not let you do that")]
    NotAllowed,
    /// Who is meant is not in the room.
    #[error("nobody of that name is in the room")]
    NotPresent,
}

impl Refusal {
    /// The SIP status to answer. A room that is full is so for now: send Retry-After with it.
    pub fn status(self) -> u16 {
        match self {
            Self::NotMember | Self::Locked | Self::NotAllowed => 403,
            Self::NotSealed => 488,
            // RFC 3261 §21.4.24: here and now, elsewhere it could be tried.
            Self::Full => 486,
            Self::NotPresent => 404,
        }
    }
}

/// How full a room is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// Members now, those who are being called included.
    pub members: usize,
    /// No new ones are let in.
    pub locked: bool,
}

impl Policy {
    /// Whether it owns the room, by configuration or by having made it.
    pub fn is_owner(&self, asker: &Asker<'_>) -> bool {
        asker.owner || self.owners.iter().any(|o| o == asker.uri)
    }

    /// Whether it is named as a member or owner.
    pub fn is_named(&self, asker: &Asker<'_>) -> bool {
        self.is_owner(asker) || self.members.iter().any(|m| m.uri == asker.uri)
    }

    /// Whether it may enter. `sealed` says whether all lines it offers are.
    ///
    /// # Errors
    /// Why not. Sealing is judged after membership, so that a stranger is not told to come sealed.
    pub fn enter(&self, asker: &Asker<'_>, sealed: bool, room: Occupancy) -> Result<(), Refusal> {
        let owner = self.is_owner(asker);
        if !self.open && !self.is_named(asker) && !asker.invited {
            return Err(Refusal::NotMember);
        }
        // Who is in it and comes with another device, or again, is in it already.
        if room.locked && !owner && !asker.present {
            return Err(Refusal::Locked);
        }
        if !sealed && self.unsealed == Unsealed::Refuse {
            return Err(Refusal::NotSealed);
        }
        let another = !asker.present || self.devices == Devices::Several;
        if another && room.members >= self.capacity {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Whether it may have others called in.
    ///
    /// # Errors
    /// Why not.
    pub fn invite(&self, asker: &Asker<'_>, room: Occupancy) -> Result<(), Refusal> {
        self.may(self.invite, asker)?;
        match room {
            Occupancy { locked: true, .. } if !self.is_owner(asker) => Err(Refusal::Locked),
            Occupancy { members, .. } if members >= self.capacity => Err(Refusal::Full),
            _ => Ok(()),
        }
    }

    /// Whether it may put `whom` out. Everybody may put out himself; only an owner an owner.
    ///
    /// # Errors
    /// Why not.
    pub fn kick(&self, asker: &Asker<'_>, whom: &Asker<'_>) -> Result<(), Refusal> {
        let own = asker.uri == whom.uri;
        if !own {
            self.may(self.kick, asker)?;
        }
        if !own && self.is_owner(whom) && !self.is_owner(asker) {
            return Err(Refusal::NotAllowed);
        }
        if whom.present { Ok(()) } else { Err(Refusal::NotPresent) }
    }

    /// Whether it may see who is there. Everybody who is there may (RFC 4575 §3.5).
    ///
    /// # Errors
    /// Why not.
    pub fn watch(&self, asker: &Asker<'_>) -> Result<(), Refusal> {
        if asker.present { Ok(()) } else { self.may(self.watch, asker) }
    }

    /// Whether it may send to the room: those who hold the floor that moderates it.
    pub fn speak(&self, holds_floor: bool) -> bool {
        self.moderated == 0 || holds_floor
    }

    fn may(&self, who: Who, asker: &Asker<'_>) -> Result<(), Refusal> {
        let may = match who {
            Who::Owners => self.is_owner(asker),
            Who::Members => asker.present || self.is_named(asker),
            Who::Anyone => true,
        };
        if may { Ok(()) } else { Err(Refusal::NotAllowed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Member;

    const OWNER: &str = "sip:olga@example.com";
    const NAMED: &str = "sip:nora@example.com";
    const OTHER: &str = "sip:otto@example.com";

    fn policy() -> Policy {
        Policy {
            owners: vec![OWNER.into()],
            members: vec![Member { uri: NAMED.into(), call: false }],
            open: false,
            capacity: 3,
            ..Policy::default()
        }
    }

    fn present(uri: &str) -> Asker<'_> {
        Asker { present: true, ..Asker::stranger(uri) }
    }

    const ROOM: Occupancy = Occupancy { members: 1, locked: false };

    #[test]
    fn entering() {
        let policy = policy();
        let enter = |asker, sealed, room| policy.enter(&asker, sealed, room);
        assert_eq!(enter(Asker::stranger(OWNER), true, ROOM), Ok(()));
        assert_eq!(enter(Asker::stranger(NAMED), true, ROOM), Ok(()));
        assert_eq!(enter(Asker::stranger(OTHER), true, ROOM), Err(Refusal::NotMember));
        assert_eq!(enter(Asker { invited: true, ..Asker::stranger(OTHER) }, true, ROOM), Ok(()));
        assert_eq!(enter(Asker::stranger(NAMED), false, ROOM), Err(Refusal::NotSealed));
        // A stranger is not told more than that.
        assert_eq!(enter(Asker::stranger(OTHER), false, ROOM), Err(Refusal::NotMember));
        let full = Occupancy { members: 3, ..ROOM };
        assert_eq!(enter(Asker::stranger(OWNER), true, full), Err(Refusal::Full));
        let locked = Occupancy { locked: true, ..ROOM };
        assert_eq!(enter(Asker::stranger(NAMED), true, locked), Err(Refusal::Locked));
        assert_eq!(enter(Asker::stranger(OWNER), true, locked), Ok(()));
        assert_eq!(enter(present(NAMED), true, locked), Ok(()));
    }

    #[test]
    fn a_user_who_comes_again_takes_no_second_place_where_the_first_goes() {
        let full = Occupancy { members: 3, ..ROOM };
        let several = policy();
        assert_eq!(several.enter(&present(NAMED), true, full), Err(Refusal::Full));
        let replace = Policy { devices: Devices::Replace, ..policy() };
        assert_eq!(replace.enter(&present(NAMED), true, full), Ok(()));
    }

    #[test]
    fn unsealed_members_are_admitted_where_the_policy_says_so() {
        let open = Policy { open: true, unsealed: Unsealed::Admit, ..policy() };
        assert_eq!(open.enter(&Asker::stranger(OTHER), false, ROOM), Ok(()));
    }

    #[test]
    fn inviting_kicking_and_watching() {
        let policy = policy();
        assert_eq!(policy.invite(&Asker::stranger(OTHER), ROOM), Err(Refusal::NotAllowed));
        assert_eq!(policy.invite(&present(OTHER), ROOM), Ok(()));
        let full = Occupancy { members: 3, ..ROOM };
        assert_eq!(policy.invite(&present(OTHER), full), Err(Refusal::Full));
        let locked = Occupancy { locked: true, ..ROOM };
        assert_eq!(policy.invite(&present(OTHER), locked), Err(Refusal::Locked));
        assert_eq!(policy.invite(&present(OWNER), locked), Ok(()));

        assert_eq!(policy.kick(&present(NAMED), &present(OTHER)), Err(Refusal::NotAllowed));
        assert_eq!(policy.kick(&present(OWNER), &present(OTHER)), Ok(()));
        assert_eq!(policy.kick(&present(OWNER), &Asker::stranger(OTHER)), Err(Refusal::NotPresent));
        assert_eq!(policy.kick(&present(NAMED), &present(NAMED)), Ok(()));
        let anyone = Policy { kick: Who::Anyone, ..policy.clone() };
        assert_eq!(anyone.kick(&present(OTHER), &present(OWNER)), Err(Refusal::NotAllowed));

        assert_eq!(policy.watch(&Asker::stranger(OTHER)), Err(Refusal::NotAllowed));
        assert_eq!(policy.watch(&Asker::stranger(NAMED)), Ok(()));
        let owners = Policy { watch: Who::Owners, ..policy };
        assert_eq!(owners.watch(&present(OTHER)), Ok(()), "who is there sees who is there");
    }

    #[test]
    fn speaking() {
        let moderated = Policy { moderated: 1, ..policy() };
        assert!(policy().speak(false) && moderated.speak(true) && !moderated.speak(false));
    }
}
