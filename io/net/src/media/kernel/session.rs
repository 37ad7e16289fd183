//! What is kept of a session.
//!
//! There may be a hundred thousand, of which most say nothing for hours, so each takes few octets: addresses without what
//! the system puts between and behind them, nothing twice, and what few sessions have in boxes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use carnet_gateway::media::Pinhole;
use carnet_netfilter::{Flow, Key, Translation};

use super::super::roll::Enrolled;
use super::connection::Connection;
use super::{Carriage, Terms};

/// Where a session leads: from whom, to which of our addresses, and from which to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// 22 octets, where four addresses as the system has them take 120.
    V4 {
        source: Ipv4Addr,
        local: Place,
        from: Place,
        to: Place,
    },
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

    #[cfg(test)]
    fn translation(&self) -> Translation {
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

/// By our address at the caller's pinhole, and by that at the callee's.
impl Enrolled for Session {
    type Name = SocketAddr;

    fn first(&self) -> SocketAddr {
        self.course.local()
    }

    fn second(&self) -> SocketAddr {
        self.course.from()
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
            caller: (
                Pinhole { group: 7, number: u64::from(number) << 33 | 1 },
                at("192.0.2.1", "2001:db8::1", number),
            ),
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
        assert!(
            size_of::<Session>() <= 96,
            "{}; docs/performance.md counts on no more",
            size_of::<Session>()
        );
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
}
