//! What nodes tell of themselves, into entries. What one node sent and another got is one arrow; addresses that nodes say are
//! theirs are known by their names.

use crate::model::Way;
use crate::read::{self, Told};
use crate::telling::{Node, Peer, Protocol, Telling, What};
use crate::tracer::{Tracer, Where};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Between what two nodes tell of the same message, at most: their clocks may differ.
const APART: Duration = Duration::from_secs(10);
/// Places for nodes that have no address: 0.0.0.0/8 is never another's (RFC 1122 §3.2.1.3).
const PLACES: u32 = 0x00ff_ffff;
/// Views of a message that look alike and are kept.
const ALIKE: usize = 32;

/// What is remembered of nodes.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// Nodes by the addresses that they said are theirs.
    names: HashMap<SocketAddr, Arc<Node>>,
    places: HashMap<Node, SocketAddr>,
    /// Messages, by what is in them.
    views: HashMap<u64, Vec<View>>,
}

/// A message as its two ends tell of it.
#[derive(Debug)]
struct View {
    entry: usize,
    at: Duration,
    sent_by: Option<Arc<Node>>,
    received_by: Option<Arc<Node>>,
    sent: u32,
    received: u32,
}

impl Listening {
    /// The node at an address.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<&Arc<Node>> {
        self.names.get(&address)
    }

    /// An address for a node that has none here.
    pub(crate) fn place(&mut self, node: &Node) -> SocketAddr {
        let next = u32::try_from(self.places.len()).unwrap_or(PLACES).saturating_add(1).min(PLACES);
        let place = || SocketAddr::from((Ipv4Addr::from(next), 0));
        *self.places.entry(node.clone()).or_insert_with(place)
    }
}

/// Whether an address stands for a node inside of a process.
pub(crate) fn is_place(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V4(address) if address.ip().octets()[0] == 0)
}

impl Tracer {
    /// Takes what a node tells next. Of several nodes, in the order of time.
    pub fn listen(&mut self, telling: &Telling) {
        let Telling { at, number, node, what } = telling;
        match what {
            What::Message { protocol, sent, local, peer, way, octets } => {
                self.heard((*at, *number), node, (*protocol, octets), *sent, *local, peer, *way);
            }
            What::Event { event, held } => {
                let place = self.listening.place(node);
                // Who asks a key management service is all that is seen of him.
                let asker = event.text("source").and_then(|source| source.parse().ok());
                let asker = asker.filter(|_| node.role == "KMS").map(|ip| SocketAddr::new(ip, 0));
                let from = asker.map_or(Some(node.clone()), |_| None);
                let what = Where {
                    at: *at,
                    number: *number,
                    from: asker.unwrap_or(place),
                    to: place,
                    nodes: [from, Some(node.clone())],
                    way: Way::Inside,
                    connection: None,
                };
                self.put(&what, read::event(event, held.as_ref()), None);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // The parts of a telling.
    fn heard(
        &mut self,
        (at, number): (Duration, u64),
        node: &Arc<Node>,
        (protocol, octets): (Protocol, &Bytes),
        sent: bool,
        local: Option<SocketAddr>,
        peer: &Peer,
        way: Way,
    ) {
        let known = local.filter(|local| !local.ip().is_unspecified());
        if let Some(local) = known {
            self.listening.names.insert(local, node.clone());
        }
        // A socket for all addresses: at least its port is known to be this node's.
        let own = known.unwrap_or_else(|| self.listening.place(node));
        let (there, peer_node) = match peer {
            Peer::Address(address) => (*address, self.listening.at(*address).cloned()),
            Peer::Node(node) => (self.listening.place(node), Some(node.clone())),
        };
        let mut what = Where {
            at,
            number,
            from: own,
            to: there,
            nodes: [Some(node.clone()), peer_node],
            way,
            connection: None,
        };
        if !sent {
            std::mem::swap(&mut what.from, &mut what.to);
            what.nodes.reverse();
        }
        for told in read::message(protocol, octets, way == Way::Udp, self.show) {
            if way == Way::Inside || !self.is_known(&what, &told, node, sent, local) {
                self.fresh(&what, told, node, sent);
            }
        }
    }

    /// Puts a message that nobody has told of before.
    fn fresh(&mut self, what: &Where, told: Told, node: &Arc<Node>, sent: bool) {
        let key = told.again;
        let before = self.entries.len();
        let entry = self.put(what, told, None);
        let (Some(entry), Some(key)) = (entry.filter(|entry| *entry >= before), key) else { return };
        let views = self.listening.views.entry(key).or_default();
        if views.len() < ALIKE {
            views.push(View {
                entry,
                at: what.at,
                sent_by: sent.then(|| node.clone()),
                received_by: (!sent).then(|| node.clone()),
                sent: sent.into(),
                received: (!sent).into(),
            });
        }
    }

    /// Whether somebody told of this message before; what is new of it is noted.
    fn is_known(
        &mut self,
        what: &Where,
        told: &Told,
        node: &Arc<Node>,
        sent: bool,
        local: Option<SocketAddr>,
    ) -> bool {
        let Some(views) = told.again.and_then(|key| self.listening.views.get_mut(&key)) else { return false };
        let entries = &self.entries;
        let fits = |view: &&mut View| {
            let Some(entry) = entries.get(view.entry).map(|stored| &stored.entry) else { return false };
            let near = what.at.abs_diff(view.at) < APART || what.at.abs_diff(entry.last) < APART;
            let (own, other) =
                if sent { (&view.sent_by, &view.received_by) } else { (&view.received_by, &view.sent_by) };
            let ends = match own {
                // Told by the same before: it came again.
                Some(own) => {
                    let (far, address, before) = match sent {
                        true => (&what.nodes[1], what.to, entry.to),
                        false => (&what.nodes[0], what.from, entry.from),
                    };
                    *own == *node && (address == before || other.is_some() && far == other)
                }
                None => {
                    let apart = other.as_ref().is_some_and(|other| other != node);
                    // What the sender takes for the receiver, and what that one calls itself.
                    let here = if sent { Some(what.to) } else { local };
                    apart && same_end(entry.to, here, entry.way)
                }
            };
            near && ends && entry.way == what.way
        };
        let Some(view) = views.iter_mut().find(fits) else { return false };
        let first = if sent {
            view.sent += 1;
            view.sent_by.replace(node.clone()).is_none()
        } else {
            view.received += 1;
            view.received_by.replace(node.clone()).is_none()
        };
        let (place, times) = (view.entry, view.sent.max(view.received));
        if first {
            // By the addresses that this end knows of, too.
            let group = self.tie(what, told, None);
            if let Some(stored) = self.entries.get_mut(place) {
                stored.group = self.groups.join(stored.group, group);
            }
        }
        let Some(entry) = self.entries.get_mut(place).map(|stored| &mut stored.entry) else { return true };
        if first {
            // Each end knows best who it is, and the sender when it was.
            let (address, named) = if sent {
                entry.at = what.at;
                (&mut entry.from, &mut entry.from_node)
            } else {
                (&mut entry.to, &mut entry.to_node)
            };
            *named = Some(node.clone());
            let own = if sent { what.from } else { what.to };
            if !is_place(own) {
                *address = own;
            }
        }
        if times > entry.times {
            entry.times = times;
            entry.last = what.at;
        }
        true
    }

    /// Gives names to the ends of entries that only the other end told of.
    pub(crate) fn name_ends(&mut self) {
        for stored in &mut self.entries {
            let entry = &mut stored.entry;
            for (node, address) in [(&mut entry.from_node, entry.from), (&mut entry.to_node, entry.to)] {
                if node.is_none() {
                    *node = self.listening.names.get(&address).cloned();
                }
            }
        }
    }
}

/// Whether an address and what the one there calls it are the same end. Over connections ports are a client's for a moment.
fn same_end(told: SocketAddr, own: Option<SocketAddr>, way: Way) -> bool {
    let Some(own) = own else { return true };
    let ip = own.ip().is_unspecified() || is_place(own) || is_place(told) || own.ip() == told.ip();
    ip && (way != Way::Udp || is_place(told) || is_place(own) || own.port() == told.port())
}
