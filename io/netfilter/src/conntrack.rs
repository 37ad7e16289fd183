//! Connection tracking: counters, the end of connections (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::SocketAddr;

use crate::address::{ip, octets};
use crate::netlink::{ACK, Attributes, DUMP, Socket, Writer};
use crate::{Error, Flow};

/// How far a TCP connection is, as connection tracking sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A SYN, and perhaps its answer.
    Opening,
    /// Up.
    Established,
    /// One side or both have sent FIN.
    Closing,
    /// Two FINs were acknowledged (TIME-WAIT). Connection tracking does not look from which side they came: where one came
    /// twice, the other side may go on.
    Waiting,
    /// Over: a RST came.
    Closed,
}

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// As the caller sees it.
    pub flow: Flow,
    /// Where its packets go on to, and from which of our addresses: as the callee sees it.
    pub to: SocketAddr,
    /// Our address on the far side.
    pub from: SocketAddr,
    /// How far it is.
    pub state: State,
    /// From the caller: packets and their octets, with IP and TCP headers. Zero where the host does not count
    /// (`nf_conntrack_acct`).
    pub forth: (u64, u64),
    /// From the callee.
    pub back: (u64, u64),
}

/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_*`
const UPDATE: u16 = 1 << 8;
const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
/// `CTA_*`
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL: u16 = 4;
const COUNTERS: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
/// `IPS_SRC_NAT` and `IPS_DST_NAT`
const BOTH: u32 = 1 << 4 | 1 << 5;
const TCP: u8 = 6;
/// Questions in one message to the kernel; their answers have room in the socket.
const TOGETHER: usize = 256;

/// A socket for questions about connections.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// The kernel has no connection tracking over netlink, or the process may not.
    pub fn open() -> Result<Self, Error> {
        let mut conntrack = Self { socket: Socket::open()? };
        // Loads what it is made of, where that is a module.
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        match conntrack.get(&Flow { caller: nobody, local: nobody }) {
            Ok(_) => Ok(conntrack),
            Err(Error::Refused { .. }) => Err(Error::Missing("connection tracking over netlink")),
            Err(other) => Err(other),
        }
    }

    /// One connection; `None`: there is none.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn get(&mut self, flow: &Flow) -> Result<Option<Entry>, Error> {
        Ok(self.get_all(std::slice::from_ref(flow))?.pop().flatten())
    }

    /// The same of several, in their order. They are asked for together, which costs a third.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn get_all(&mut self, flows: &[Flow]) -> Result<Vec<Option<Entry>>, Error> {
        let mut found = vec![None; flows.len()];
        for (flows, found) in flows.chunks(TOGETHER).zip(found.chunks_mut(TOGETHER)) {
            self.ask(GET, flows, &mut |index, attributes| {
                if let Some(place) = found.get_mut(index) {
                    *place = place.or(entry(attributes));
                }
            })?;
        }
        Ok(found)
    }

    /// Forgets one. What comes for it afterwards is no longer translated. Not there: no error.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn delete(&mut self, flow: &Flow) -> Result<(), Error> {
        self.delete_all(std::slice::from_ref(flow))
    }

    /// The same of several, in their order. One that is named by how its answers come (from whom it was called to
    /// who called it) is found too.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn delete_all(&mut self, flows: &[Flow]) -> Result<(), Error> {
        flows.chunks(TOGETHER).try_for_each(|flows| self.ask(DELETE, flows, &mut |_, _| {}))
    }

    /// Has connections take segments that come very late as theirs, in their order. Else such a segment is
    /// nobody's: it is not translated, and this host answers with a reset which its sender may believe.
    /// Not there: no error.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn loosen(&mut self, flows: &[Flow]) -> Result<(), Error> {
        flows.chunks(TOGETHER).try_for_each(|flows| self.ask(UPDATE, flows, &mut |_, _| {}))
    }

    /// All TCP connections that have both addresses translated, handed over one at a time.
    ///
    /// # Errors
    ///
    /// What the kernel answers.
    pub fn each(&mut self, take: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(GET, DUMP, sequence, 0, 0);
        self.socket.send(&writer.finish())?;
        self.socket.answers(sequence, &mut |_, attributes| {
            let translated = attributes.number(STATUS).is_some_and(|status| status & BOTH == BOTH);
            if translated && let Some(entry) = entry(attributes) {
                take(entry);
            }
        })
    }

    /// Asks the same of several at once. What is not there is no error. The kernel answers each that it finds, and the
    /// last in any case.
    fn ask(
        &mut self,
        kind: u16,
        flows: &[Flow],
        take: &mut dyn FnMut(usize, Attributes<'_>),
    ) -> Result<(), Error> {
        let Some(last) = flows.len().checked_sub(1) else { return Ok(()) };
        let mut writer = Writer::default();
        let mut first = 0;
        for (index, flow) in flows.iter().enumerate() {
            let sequence = self.socket.next_sequence();
            if index == 0 {
                first = sequence;
            }
            let flags = if index == last { ACK } else { 0 };
            let v4 = flow.local.is_ipv4();
            writer.message(kind, flags, sequence, if v4 { 2 } else { 10 }, 0);
            writer.nest(ORIGINAL, |w| tuple_of(w, flow));
            if kind == UPDATE {
                // CTA_PROTOINFO_TCP_FLAGS_ORIGINAL and _REPLY: IP_CT_TCP_FLAG_BE_LIBERAL, and that no other changes.
                writer.nest(PROTOCOL, |w| {
                    w.nest(1, |w| [4, 5].into_iter().for_each(|kind| w.attribute(kind, &[8, 8])));
                });
            }
        }
        self.socket.send(&writer.finish())?;
        self.socket.answers_of(first, flows.len(), &mut |index, _, attributes| take(index, attributes))
    }
}

fn tuple_of(w: &mut Writer, flow: &Flow) {
    w.nest(1, |w| {
        let kinds = if flow.local.is_ipv4() { (1, 2) } else { (3, 4) };
        w.attribute(kinds.0, &octets(flow.caller.ip()));
        w.attribute(kinds.1, &octets(flow.local.ip()));
    });
    w.nest(2, |w| {
        w.attribute(1, &[TCP]);
        w.attribute(2, &flow.caller.port().to_be_bytes());
        w.attribute(3, &flow.local.port().to_be_bytes());
    });
}

/// `None`: not TCP, or not understood.
fn entry(attributes: Attributes<'_>) -> Option<Entry> {
    let (caller, local) = tuple(attributes.inside(ORIGINAL)?)?;
    let (to, from) = tuple(attributes.inside(REPLY)?)?;
    // An entry of an earlier kernel state without one is as good as up.
    let state = attributes.inside(PROTOCOL).and_then(|p| p.inside(1)).and_then(|tcp| tcp.find(1));
    let state = match state.and_then(|state| state.first()) {
        Some(0..=2 | 9) => State::Opening,
        Some(4..=6) => State::Closing,
        Some(7) => State::Waiting,
        Some(8) => State::Closed,
        _ => State::Established,
    };
    let counters = |kind| {
        let counters = attributes.inside(kind);
        let long = |kind| counters.and_then(|counters| counters.long(kind)).unwrap_or(0);
        (long(1), long(2))
    };
    let flow = Flow { caller, local };
    Some(Entry { flow, to, from, state, forth: counters(COUNTERS), back: counters(COUNTERS_REPLY) })
}

/// Source and destination.
fn tuple(attributes: Attributes<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (attributes.inside(1)?, attributes.inside(2)?);
    if protocol.find(1) != Some(&[TCP]) {
        return None;
    }
    let address = |v4, v6| addresses.find(v4).or_else(|| addresses.find(v6)).and_then(ip);
    let port = |kind| Some(u16::from_be_bytes(protocol.find(kind)?.try_into().ok()?));
    Some((SocketAddr::new(address(1, 3)?, port(2)?), SocketAddr::new(address(2, 4)?, port(3)?)))
}
