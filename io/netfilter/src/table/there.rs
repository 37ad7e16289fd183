//! What is in a table, in few octets: there may be a hundred thousand elements, and all that is wanted of them is whether
//! they are there.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::rules::Terms;
use super::sets::Undo;
use super::{Rate, Rules};
use crate::Key;

/// What is in the table, so that nothing is added or taken away twice.
#[derive(Debug, Default)]
pub(super) struct There {
    pub(super) steered: Steered,
    pub(super) kept: Places,
    pub(super) carried: Keys,
    // What few sessions have.
    pub(super) held: HashSet<Key>,
    pub(super) shut: HashSet<(Key, bool)>,
    pub(super) policed: HashMap<(Key, bool), Rate>,
    pub(super) marked: HashMap<(Key, bool), u8>,
    /// DSCP values that there is a chain for.
    pub(super) chains: HashSet<u8>,
    pub(super) rules: Rules,
}

impl There {
    pub(super) fn take_back(&mut self, undo: Vec<Undo>) {
        for step in undo.into_iter().rev() {
            match step {
                Undo::Steered(local, old) => drop(self.steered.set(local, old)),
                Undo::Kept(local, there) => drop(self.kept.set(local, there)),
                Undo::Carried(key, there) => drop(self.carried.set(&key, there)),
                Undo::Policed(key, old) => restore(&mut self.policed, key, old),
                Undo::Marked(key, old) => restore(&mut self.marked, key, old),
                Undo::Held(key, true) => drop(self.held.insert(key)),
                Undo::Held(key, false) => drop(self.held.remove(&key)),
                Undo::Shut(key, true) => drop(self.shut.insert(key)),
                Undo::Shut(key, false) => drop(self.shut.remove(&key)),
                Undo::Chain(value) => drop(self.chains.remove(&value)),
                Undo::Rules(old) => self.rules = old,
            }
        }
    }

    /// The rules that what is there needs.
    pub(super) fn needs(&self) -> Rules {
        Rules {
            steered: !self.steered.is_empty(),
            terms: Terms {
                held: !self.held.is_empty(),
                shut: !self.shut.is_empty(),
                policed: !self.policed.is_empty(),
                marked: !self.marked.is_empty(),
            },
        }
    }
}

fn restore<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, old: Option<V>) {
    match old {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// Keys of sessions. One of IPv4 takes ten octets.
#[derive(Debug, Default)]
pub(super) struct Keys {
    v4: HashSet<[u8; 10]>,
    other: HashSet<Key>,
}

impl Keys {
    /// It is there from now on, or it is not. What was before.
    pub(super) fn set(&mut self, key: &Key, there: bool) -> bool {
        match (short(key), there) {
            (Some(short), true) => !self.v4.insert(short),
            (Some(short), false) => self.v4.remove(&short),
            (None, true) => !self.other.insert(*key),
            (None, false) => self.other.remove(key),
        }
    }
}

fn short(key: &Key) -> Option<[u8; 10]> {
    let (IpAddr::V4(source), SocketAddr::V4(local)) = (key.source, key.local) else { return None };
    let ([a, b, c, d], [e, f, g, h]) = (source.octets(), local.ip().octets());
    let [high, low] = local.port().to_be_bytes();
    Some([a, b, c, d, e, f, g, h, high, low])
}

/// Addresses of ours with their ports: one bit a port. There are few addresses and many ports.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<IpAddr, Ports>);

impl Places {
    /// It is there from now on, or it is not. What was before.
    pub(super) fn set(&mut self, local: SocketAddr, there: bool) -> bool {
        if !there && !self.0.contains_key(&local.ip()) {
            return false;
        }
        let ports = self.0.entry(local.ip()).or_default();
        let was = ports.set(local.port(), there);
        if ports.count == 0 {
            self.0.remove(&local.ip());
        }
        was
    }
}

/// Where callers of which address of ours are steered: to a few ports.
#[derive(Debug, Default)]
pub(super) struct Steered(HashMap<IpAddr, Vec<(u16, Ports)>>);

impl Steered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its callers are steered to that port from now on, or not. Where they were steered before.
    pub(super) fn set(&mut self, local: SocketAddr, listener: Option<u16>) -> Option<u16> {
        let all = self.0.entry(local.ip()).or_default();
        let old = all.iter().find(|(_, ports)| ports.has(local.port())).map(|(listener, _)| *listener);
        if old != listener {
            if let Some((_, ports)) = all.iter_mut().find(|(listener, _)| Some(*listener) == old) {
                ports.set(local.port(), false);
            }
            if let Some(new) = listener {
                match all.iter_mut().find(|(listener, _)| *listener == new) {
                    Some((_, ports)) => drop(ports.set(local.port(), true)),
                    None => {
                        let mut ports = Ports::default();
                        ports.set(local.port(), true);
                        all.push((new, ports));
                    }
                }
            }
            all.retain(|(_, ports)| ports.count > 0);
        }
        if all.is_empty() {
            self.0.remove(&local.ip());
        }
        old
    }
}

/// Some of an address's ports.
#[derive(Debug)]
struct Ports {
    bits: Box<[u64]>,
    count: u32,
}

impl Default for Ports {
    fn default() -> Self {
        Self { bits: vec![0; 1 << 10].into_boxed_slice(), count: 0 }
    }
}

impl Ports {
    fn has(&self, port: u16) -> bool {
        self.bits.get(usize::from(port >> 6)).is_some_and(|bits| bits >> (port & 63) & 1 == 1)
    }

    /// What was before.
    fn set(&mut self, port: u16, there: bool) -> bool {
        let was = self.has(port);
        if was != there
            && let Some(bits) = self.bits.get_mut(usize::from(port >> 6))
        {
            *bits ^= 1 << (port & 63);
            self.count = if there { self.count + 1 } else { self.count.saturating_sub(1) };
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_there_once() {
        let mut keys = Keys::default();
        for (source, local) in [("192.0.2.1", "198.51.100.1:258"), ("2001:db8::1", "[2001:db8::2]:258")] {
            let key = Key { source: source.parse().unwrap(), local: at(local) };
            let others = [
                Key { local: SocketAddr::new(key.local.ip(), 513), ..key },
                Key { source: key.local.ip(), ..key },
                Key { local: SocketAddr::new(key.source, 258), ..key },
            ];
            assert!(!keys.set(&key, true) && keys.set(&key, true));
            for other in others {
                assert!(!keys.set(&other, false), "{other:?}");
            }
            assert!(keys.set(&key, false) && !keys.set(&key, false));
        }
    }

    #[test]
    fn ports_are_those_of_their_address() {
        let mut places = Places::default();
        let ports = [0, 63, 64, 65_535];
        for port in ports {
            let place = SocketAddr::new(at("192.0.2.1:1").ip(), port);
            assert!(!places.set(place, true) && places.set(place, true));
            assert!(!places.set(SocketAddr::new(at("192.0.2.2:1").ip(), port), false));
        }
        for port in ports {
            let place = SocketAddr::new(at("192.0.2.1:1").ip(), port);
            assert!(places.set(place, false) && !places.set(place, false));
        }
        assert!(places.0.is_empty(), "nothing is kept of an address that has none");
    }

    #[test]
    fn where_callers_are_steered_is_known() {
        let mut steered = Steered::default();
        let (one, other) = (at("192.0.2.1:5000"), at("[2001:db8::1]:5000"));
        assert_eq!(steered.set(one, Some(9)), None);
        assert_eq!(steered.set(one, Some(10)), Some(9), "to another loop");
        assert_eq!(steered.set(one, Some(10)), Some(10));
        assert_eq!(steered.set(other, Some(9)), None);
        assert_eq!(steered.set(at("192.0.2.1:5001"), None), None);
        assert_eq!(steered.set(one, None), Some(10));
        assert_eq!(steered.set(one, None), None);
        assert!(!steered.is_empty());
        assert_eq!(steered.set(other, None), Some(9));
        assert!(steered.is_empty());
    }
}
