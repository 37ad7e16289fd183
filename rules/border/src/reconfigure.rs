//! Other settings for a border that runs.
//!
//! Calls keep their gateways, contexts, contacts and deadlines; what is decided from now on, a further offer inside a
//! call included, follows the new settings. A network that is gone, and a socket that a network has no more, still serve
//! the calls that were there ([`Past`]), and take nothing new. Left out, because calls are built on it: realm and IP version
//! of a network, whether terminals are there, and who answers REGISTER.

use crate::border::Border;
use crate::config::{Config, Network, Registration};
use crate::core::{CallKey, Core};
use crate::event::Event;
use crate::registrar::{Binding, aor_key};
use crate::route::network_of;
use crate::session::End;
use carnet_plan::Both;
use carnet_sip::{Hop, Transport, Uri};
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

/// What the configuration does not name any more and calls still use.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Networks, by their numbers, with the last call that may be in one.
    closed: BTreeMap<usize, CallKey>,
    former: Vec<Former>,
}

/// A socket that a network had.
#[derive(Debug)]
struct Former {
    network: usize,
    at: (Transport, SocketAddr),
    /// How others called us then.
    contact: Uri,
    /// The last call that may use it.
    last: CallKey,
}

impl Past {
    /// Whether nothing new is to come into a network.
    pub(crate) fn is_closed(&self, network: usize) -> bool {
        self.closed.contains_key(&network)
    }

    fn former(&self, local: Option<SocketAddr>) -> Option<&Former> {
        self.former.iter().find(|former| Some(former.at.1) == local)
    }
}

impl Core {
    /// The network that a message came from.
    pub(crate) fn network_of(&self, hop: &Hop) -> Option<usize> {
        let former = self.past.former(hop.local);
        let here = |former: &Former| {
            let peers =
                self.config.networks.get(former.network).map(|n| n.peers.as_slice()).unwrap_or_default();
            peers.is_empty() || peers.iter().any(|peer| peer.contains(hop.remote.ip()))
        };
        former
            .filter(|former| here(former))
            .map(|former| former.network)
            .or_else(|| network_of(&self.config, hop))
    }

    /// Whether what begins there is not for us any more.
    pub(crate) fn is_past(&self, network: usize, hop: &Hop) -> bool {
        self.past.is_closed(network) || self.past.former(hop.local).is_some()
    }

    /// Whether a URI names this border, as it is called now or was called before.
    pub(crate) fn is_own(&self, uri: &Uri) -> bool {
        let before = |former: &Former| crate::route::is_named(&former.contact, uri);
        crate::route::is_own(&self.config, uri) || self.past.former.iter().any(before)
    }
}

impl Border {
    /// Goes on with `config`. A gateway that is not named any more gets no further contexts and keeps those it has; a
    /// user who is not named any more is not registered any more. Sockets that a network has no more, and those of a network
    /// that is gone, are to stay open while they are [in use](Self::is_in_use).
    ///
    /// # Errors
    /// What a border cannot change while it runs; nothing has changed then.
    pub fn reconfigure(&mut self, now: Instant, mut config: Config) -> Result<(), &'static str> {
        let own = &self.core.config;
        if own.name != config.name {
            return Err("its name");
        }
        let named = |name: &str| config.networks.iter().find(|new| new.name == name);
        if !own.networks.iter().all(|old| named(&old.name).is_none_or(|new| stands(old, new))) {
            return Err("realm, IP version or kind of a network");
        }
        if !same_registrar(&own.registration, &config.registration) {
            return Err("who answers REGISTER");
        }
        if own.rtpengine.is_some() != config.rtpengine.is_some() {
            return Err("the rtpengine");
        }
        self.core.now = now;
        let networks = self.another(std::mem::take(&mut config.networks));
        if let Registration::Local { users, .. } = &config.registration {
            let named: HashSet<String> = users.iter().map(|user| aor_key(&user.aor)).collect();
            let gone = self.core.registrar.keep(|aor, _| named.contains(aor));
            self.unregistered(gone);
        }
        let past = std::mem::take(&mut self.core.past);
        let gone = self.core.registrar.keep(|_, binding| !past.is_closed(binding.network));
        self.core.past = past;
        self.unregistered(gone);
        self.core.gateways.reconfigure(&config, &mut self.core.random, now);
        let (sip, rtpengine) = (self.core.config.sip.clone(), self.core.config.rtpengine);
        self.core.config = Config { sip, rtpengine, networks, ..config };
        self.redirect();
        Ok(())
    }

    /// The networks with those that calls are in at the same places.
    fn another(&mut self, mut new: Vec<Network>) -> Vec<Network> {
        let last = CallKey(self.next_call);
        let Core { config, past, .. } = &mut self.core;
        let mut all = Vec::new();
        for (at, old) in config.networks.iter().enumerate() {
            let Some(place) = new.iter().position(|network| network.name == old.name) else {
                past.closed.entry(at).or_insert(last);
                all.push(old.clone());
                continue;
            };
            let network = new.remove(place);
            past.closed.remove(&at);
            for socket in old.listen.iter().filter(|socket| !network.listen.contains(socket)) {
                let (at, contact) = (*socket, old.contact.clone());
                past.former.push(Former { network: all.len(), at, contact, last });
            }
            all.push(network);
        }
        all.extend(new);
        let listens = |former: &Former| all.iter().any(|network| network.listen.contains(&former.at));
        past.former.retain(|former| !listens(former));
        all
    }

    fn unregistered(&mut self, gone: Vec<Binding>) {
        for gone in gone {
            let (aor, contact) = (gone.aor.to_string(), gone.contact.to_string());
            self.core.events.push_back(Event::Unregistered { aor, contact });
        }
    }

    /// The sockets of a network, and how others call us there; of one that is gone too.
    pub fn sockets(&self, network: &str) -> Option<(Vec<(Transport, SocketAddr)>, Uri)> {
        let network = self.core.config.networks.iter().find(|n| n.name == network)?;
        Some((network.listen.clone(), network.contact.clone()))
    }

    /// Whether a socket is to be open: it is a network's, a call that was there when it was not any more goes on, or a
    /// terminal is registered that can be reached by it alone.
    pub fn is_in_use(&self, at: (Transport, SocketAddr)) -> bool {
        let Core { config, past, registrar, .. } = &self.core;
        let mut networks = config.networks.iter().enumerate();
        let (network, last) = match networks.find(|(_, network)| network.listen.contains(&at)) {
            Some((network, _)) => match past.closed.get(&network) {
                Some(last) => (network, *last),
                None => return true,
            },
            None => match past.former.iter().find(|former| former.at == at) {
                Some(former) => (former.network, former.last),
                None => return false,
            },
        };
        let in_it = |ends: &Both<End>| ends.caller.network == network || ends.callee.network == network;
        let calls = self.calls.iter().map(|(key, call)| (key, &call.session.ends));
        let others = self.subscriptions.iter().map(|(key, subscription)| (key, &subscription.ends));
        let mut there = calls.chain(others).filter(|(key, _)| key.0 <= last.0);
        there.any(|(_, ends)| in_it(ends)) || at.0 == Transport::Udp && registrar.is_reached_by(network, at.1)
    }

    /// A socket that is not in use any more was closed.
    pub fn forget_socket(&mut self, at: (Transport, SocketAddr)) {
        self.core.past.former.retain(|former| former.at != at);
    }
}

/// Whether dialogs of one network can go on in the other.
fn stands(a: &Network, b: &Network) -> bool {
    a.access == b.access
        && a.realm == b.realm
        && a.family == b.family
        // One without sockets is for drivers that know by themselves.
        && a.listen.is_empty() == b.listen.is_empty()
}

fn same_registrar(a: &Registration, b: &Registration) -> bool {
    match (a, b) {
        (Registration::None, Registration::None) => true,
        (Registration::Local { realm: a, .. }, Registration::Local { realm: b, .. }) => a == b,
        (Registration::Forward { network: a, .. }, Registration::Forward { network: b, .. }) => a == b,
        _ => false,
    }
}
