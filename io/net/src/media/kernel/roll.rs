//! The roll of sessions: what is kept of each, and how one is found by our addresses.
//!
//! There may be a hundred thousand, of which most say nothing for hours, so each takes few octets: addresses without what
//! they have in common with others, one list that grows by what is needed, and two indices of four octets a session into it
//! instead of maps that have keys and sessions once more. What few sessions have is in boxes.

use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use carnet_gateway::media::Pinhole;
use carnet_netfilter::{Flow, Key, Translation};
use hashbrown::HashTable;
use slab::Slab;

use super::connection::Connection;
use super::{Carriage, Terms};

/// Where a session leads: from whom, to which of our addresses, and from which to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// 22 octets, where four addresses as the system has them take 120.
    V4 { source: Ipv4Addr, local: Place, from: Place, to: Place },
    Other(Box<Translation>),
}

/// An address and a port without anything between or behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(Ipv4Addr, u16);

impl Place {
    fn of(socket: SocketAddr) -> Option<Self> {
        match socket {
            SocketAddr::V4(v4) => Some(Self(*v4.ip(), v4.port())),
            SocketAddr::V6(_) => None,
        }
    }

    fn socket(self) -> SocketAddr {
        SocketAddrV4::new(self.0, self.1).into()
    }
}

impl Course {
    pub(super) fn of(carriage: &Carriage) -> Self {
        let (local, from, to) = (carriage.caller.1, carriage.callee.1, carriage.to);
        let v4 = |socket| Place::of(socket);
        if let (IpAddr::V4(source), Some(local), Some(from), Some(to)) =
            (carriage.source, v4(local), v4(from), v4(to))
        {
            return Self::V4 { source, local, from, to };
        }
        Self::Other(Box::new(Translation { key: Key { source: carriage.source, local }, from, to }))
    }

    pub(super) fn translation(&self) -> Translation {
        match self {
            Self::V4 { source, local, from, to } => Translation {
                key: Key { source: (*source).into(), local: local.socket() },
                from: from.socket(),
                to: to.socket(),
            },
            Self::Other(translation) => **translation,
        }
    }

    /// Whose packets.
    pub(super) fn key(&self) -> Key {
        Key { source: self.source(), local: self.local() }
    }

    /// Who may call.
    pub(super) fn source(&self) -> IpAddr {
        match self {
            Self::V4 { source, .. } => (*source).into(),
            Self::Other(translation) => translation.key.source,
        }
    }

    /// Our address at the caller's pinhole.
    pub(super) fn local(&self) -> SocketAddr {
        match self {
            Self::V4 { local, .. } => local.socket(),
            Self::Other(translation) => translation.key.local,
        }
    }

    /// Our address at the callee's pinhole.
    pub(super) fn from(&self) -> SocketAddr {
        match self {
            Self::V4 { from, .. } => from.socket(),
            Self::Other(translation) => translation.from,
        }
    }

    /// Whom it leads to.
    pub(super) fn to(&self) -> SocketAddr {
        match self {
            Self::V4 { to, .. } => to.socket(),
            Self::Other(translation) => translation.to,
        }
    }
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) course: Course,
    /// `None` while nobody has come.
    pub(super) connection: Option<Connection>,
    pub(super) terms: Option<Box<Terms>>,
    caller: [u32; 3],
    /// The number of its loop.
    pub(super) owner: u16,
    /// It is to be dropped, as soon as it is known how it ended.
    pub(super) leaves: bool,
    /// The look at all connections that is going on has found it.
    pub(super) seen: bool,
}

impl Session {
    pub(super) fn new(owner: u16, caller: Pinhole, course: Course, terms: Terms) -> Self {
        let Pinhole { group, number } = caller;
        let caller = [group, number as u32, (number >> 32) as u32];
        let (connection, terms) = (None, terms.kept());
        Self { course, connection, terms, caller, owner, leaves: false, seen: false }
    }

    /// The caller's pinhole.
    pub(super) fn caller(&self) -> Pinhole {
        let [group, low, high] = self.caller;
        Pinhole { group, number: u64::from(high) << 32 | u64::from(low) }
    }

    pub(super) fn flow_of(&self, connection: &Connection) -> Flow {
        let caller = SocketAddr::new(self.course.source(), connection.port);
        Flow { caller, local: self.course.local() }
    }

    /// Its connection, as the caller sees it.
    pub(super) fn flow(&self) -> Option<Flow> {
        self.connection.as_ref().map(|connection| self.flow_of(connection))
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Roll {
    all: Slab<Session>,
    /// By our address at the caller's pinhole.
    by_local: HashTable<u32>,
    /// By our address at the callee's, the last that was entered.
    by_callee: HashTable<u32>,
    hasher: RandomState,
}

impl Roll {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.iter().map(|(_, session)| session)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.all.iter_mut().map(|(_, session)| session)
    }

    fn index(&self, local: &SocketAddr) -> Option<usize> {
        let is_it = |index: &u32| self.all.get(*index as usize).is_some_and(|s| s.course.local() == *local);
        let found = self.by_local.find(self.hasher.hash_one(local), is_it);
        found.map(|index| *index as usize)
    }

    /// That which is called at this address of ours.
    pub(super) fn get(&self, local: &SocketAddr) -> Option<&Session> {
        self.all.get(self.index(local)?)
    }

    pub(super) fn get_mut(&mut self, local: &SocketAddr) -> Option<&mut Session> {
        let index = self.index(local)?;
        self.all.get_mut(index)
    }

    /// That which calls from this address of ours.
    pub(super) fn that_calls_from(&self, from: &SocketAddr) -> Option<&Session> {
        let is_it = |index: &u32| self.all.get(*index as usize).is_some_and(|s| s.course.from() == *from);
        let index = self.by_callee.find(self.hasher.hash_one(from), is_it)?;
        self.all.get(*index as usize)
    }

    /// There is none with its address yet.
    pub(super) fn insert(&mut self, session: Session) {
        let (local, from) = (session.course.local(), session.course.from());
        // There are fewer addresses with their ports than that.
        let Ok(index) = u32::try_from(self.all.insert(session)) else { return };
        let Self { all, by_local, by_callee, hasher } = self;
        let of = |index: &u32, place: fn(&Course) -> SocketAddr| {
            all.get(*index as usize).map(|session| place(&session.course))
        };
        by_local.insert_unique(hasher.hash_one(local), index, |index| {
            hasher.hash_one(of(index, Course::local).unwrap_or(local))
        });
        let hash = |index: &u32| hasher.hash_one(of(index, Course::from).unwrap_or(from));
        let entry = by_callee.entry(hasher.hash_one(from), |index| of(index, Course::from) == Some(from), hash);
        entry.and_modify(|last| *last = index).or_insert(index);
    }

    pub(super) fn remove(&mut self, local: &SocketAddr) -> Option<Session> {
        let index = self.index(local)?;
        let from = self.all.get(index)?.course.from();
        let is_it = |other: &u32| *other as usize == index;
        if let Ok(entry) = self.by_local.find_entry(self.hasher.hash_one(local), is_it) {
            entry.remove();
        }
        // Unless another one calls from there by now.
        if let Ok(entry) = self.by_callee.find_entry(self.hasher.hash_one(from), is_it) {
            entry.remove();
        }
        Some(self.all.remove(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carriage(number: u16, v4: bool) -> Carriage {
        let at = |v4_text: &str, v6_text: &str, port| {
            SocketAddr::new(if v4 { v4_text } else { v6_text }.parse().unwrap(), port)
        };
        Carriage {
            caller: (Pinhole { group: 7, number: u64::from(number) << 33 | 1 }, at("192.0.2.1", "2001:db8::1", number)),
            source: at("192.0.2.9", "2001:db8::9", 0).ip(),
            callee: (Pinhole { group: 7, number: 2 }, at("198.51.100.1", "2001:db8:1::1", number)),
            to: at("198.51.100.9", "2001:db8:1::9", number),
        }
    }

    fn session(carriage: &Carriage) -> Session {
        Session::new(3, carriage.caller.0, Course::of(carriage), Terms::default())
    }

    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 104, "{}; docs/performance.md counts on no more", size_of::<Session>());
    }

    #[test]
    fn a_course_says_what_the_carriage_did() {
        for v4 in [true, false] {
            let carriage = carriage(300, v4);
            let session = session(&carriage);
            assert_eq!(session.course.translation(), carriage.translation());
            assert_eq!(session.course.key(), carriage.key());
            assert_eq!((session.course.from(), session.course.to()), (carriage.callee.1, carriage.to));
            assert_eq!(session.caller(), carriage.caller.0);
        }
    }

    #[test]
    fn sessions_are_found_by_both_addresses_until_they_go() {
        let mut roll = Roll::default();
        let all: Vec<_> = (1..500).map(|number| carriage(number, number % 3 != 0)).collect();
        for carriage in &all {
            assert!(roll.get(&carriage.caller.1).is_none());
            roll.insert(session(carriage));
        }
        for (index, carriage) in all.iter().enumerate() {
            let of = |roll: &Roll| {
                let called = roll.get(&carriage.caller.1).map(Session::caller);
                (called, roll.that_calls_from(&carriage.callee.1).map(Session::caller))
            };
            let name = Some(carriage.caller.0);
            assert_eq!(of(&roll), (name, name));
            if index % 2 == 0 {
                assert!(roll.remove(&carriage.caller.1).is_some());
                assert_eq!(of(&roll), (None, None));
                assert!(roll.remove(&carriage.caller.1).is_none());
            }
        }
        assert_eq!((roll.len(), roll.iter().count()), (249, 249));
    }

    #[test]
    fn of_two_that_call_from_one_address_the_last_counts() {
        let (one, mut two) = (carriage(1, true), carriage(2, true));
        two.callee.1 = one.callee.1;
        let mut roll = Roll::default();
        roll.insert(session(&one));
        roll.insert(session(&two));
        let calls = |roll: &Roll| roll.that_calls_from(&one.callee.1).map(Session::caller);
        assert_eq!(calls(&roll), Some(two.caller.0));
        roll.remove(&one.caller.1);
        assert_eq!(calls(&roll), Some(two.caller.0), "that is another one's");
        roll.remove(&two.caller.1);
        assert_eq!(calls(&roll), None);
    }
}
