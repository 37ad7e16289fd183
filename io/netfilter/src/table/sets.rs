//! Changes as messages about elements.

use std::net::SocketAddr;

use super::rules::{self, INET};
use super::{Change, Rules, Table};
use crate::address::octets;
use crate::netlink::{CREATE, Writer};
use crate::{Key, Rate, Translation, Way};

/// How to take back what a refused transaction would have changed, the last first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Undo {
    Steered(SocketAddr, Option<u16>),
    Kept(SocketAddr, bool),
    Carried(Key, bool),
    Held(Key, bool),
    Shut((Key, bool), bool),
    Policed((Key, bool), Option<Rate>),
    Marked((Key, bool), Option<u8>),
    Chain(u8),
    Rules(Rules),
}

/// The key of a session: caller, and our address and port, each in whole registers.
pub(super) fn key_of(key: &Key) -> Vec<u8> {
    let mut all = octets(key.source);
    all.extend(place(key.local));
    all
}

fn place(socket: SocketAddr) -> Vec<u8> {
    let mut all = octets(socket.ip());
    all.extend(socket.port().to_be_bytes());
    all.extend([0, 0]);
    all
}

/// Where an element leads: to, then from.
fn data_of(translation: &Translation) -> Vec<u8> {
    [place(translation.to), place(translation.from)].concat()
}

/// One element to add or to take away.
struct Element {
    add: bool,
    set: String,
    key: Vec<u8>,
    data: Option<Data>,
}

enum Data {
    Octets(Vec<u8>),
    Chain(String),
    Rate(Rate),
}

fn version(v4: bool) -> char {
    if v4 { '4' } else { '6' }
}

fn way(way: Way) -> (bool, &'static str) {
    match way {
        Way::Forth => (false, "forth"),
        Way::Back => (true, "back"),
    }
}

impl Table {
    /// What carries out the changes; `None` if nothing is to be done.
    pub(super) fn write(&mut self, changes: &[Change]) -> (Option<Vec<u8>>, Vec<Undo>) {
        let (mut undo, mut elements, mut chains) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            self.plan(*change, &mut elements, &mut chains, &mut undo);
        }
        let (old, needs) = (self.there.rules, self.there.needs());
        if elements.is_empty() && chains.is_empty() && old == needs {
            return (None, undo);
        }
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.batch_begin(sequence);
        for value in &chains {
            rules::mark_chain(&mut writer, &self.config, sequence, *value);
        }
        let mut rest = elements.as_slice();
        while let Some(first) = rest.first() {
            let alike = rest.iter().take_while(|e| e.add == first.add && e.set == first.set).count();
            let (now, later) = rest.split_at(alike);
            elements_message(&mut writer, &self.config.name, sequence, now);
            rest = later;
        }
        if old != needs {
            undo.push(Undo::Rules(old));
            self.there.rules = needs;
        }
        if old.terms != needs.terms {
            rules::watch(&mut writer, &self.config, sequence, needs.terms);
        }
        if old.steered != needs.steered {
            rules::steer(&mut writer, &self.config, sequence, needs.steered);
        }
        writer.batch_end(sequence);
        (Some(writer.finish()), undo)
    }

    fn plan(
        &mut self,
        change: Change,
        elements: &mut Vec<Element>,
        chains: &mut Vec<u8>,
        undo: &mut Vec<Undo>,
    ) {
        let there = &mut self.there;
        let mut element = |add, set: String, key, data| elements.push(Element { add, set, key, data });
        match change {
            Change::Steer { local, listener } => {
                let old = there.steered.set(local, Some(listener));
                if old == Some(listener) {
                    return;
                }
                undo.push(Undo::Steered(local, old));
                let set = || format!("steer{}", version(local.is_ipv4()));
                if old.is_some() {
                    element(false, set(), place(local), None);
                }
                let port = listener.to_be_bytes().to_vec();
                element(true, set(), place(local), Some(Data::Octets(port)));
            }
            Change::Unsteer(local) => {
                if let Some(old) = there.steered.set(local, None) {
                    undo.push(Undo::Steered(local, Some(old)));
                    element(false, format!("steer{}", version(local.is_ipv4())), place(local), None);
                }
            }
            Change::Keep(local, keep) => {
                if there.kept.set(local, keep) != keep {
                    undo.push(Undo::Kept(local, !keep));
                    element(keep, format!("early{}", version(local.is_ipv4())), place(local), None);
                }
            }
            Change::Translate(translation) => {
                let key = translation.key;
                let there_already = there.carried.set(&key, true);
                undo.push(Undo::Carried(key, there_already));
                let set = || format!("carry{}", version(key.local.is_ipv4()));
                if there_already {
                    element(false, set(), key_of(&key), None);
                }
                element(true, set(), key_of(&key), Some(Data::Octets(data_of(&translation))));
            }
            Change::Untranslate(key) => {
                if there.carried.set(&key, false) {
                    undo.push(Undo::Carried(key, true));
                    element(false, format!("carry{}", version(key.local.is_ipv4())), key_of(&key), None);
                }
            }
            Change::Hold(key, hold) => {
                let changed = if hold { there.held.insert(key) } else { there.held.remove(&key) };
                if changed {
                    undo.push(Undo::Held(key, !hold));
                    element(hold, format!("held{}", version(key.local.is_ipv4())), key_of(&key), None);
                }
            }
            Change::Shut(key, direction, shut) => {
                let (back, name) = way(direction);
                let place = (key, back);
                let changed = if shut { there.shut.insert(place) } else { there.shut.remove(&place) };
                if changed {
                    undo.push(Undo::Shut(place, !shut));
                    let set = format!("shut{}-{name}", version(key.local.is_ipv4()));
                    element(shut, set, key_of(&key), None);
                }
            }
            Change::Police(key, direction, rate) => {
                let (back, name) = way(direction);
                let old = match rate {
                    Some(rate) => there.policed.insert((key, back), rate),
                    None => there.policed.remove(&(key, back)),
                };
                if old == rate {
                    return;
                }
                undo.push(Undo::Policed((key, back), old));
                let set = || format!("over{}-{name}", version(key.local.is_ipv4()));
                if old.is_some() {
                    element(false, set(), key_of(&key), None);
                }
                if let Some(rate) = rate {
                    element(true, set(), key_of(&key), Some(Data::Rate(rate)));
                }
            }
            Change::Mark(key, direction, value) => {
                let (back, name) = way(direction);
                let value = value.map(|value| value & 0x3f);
                let old = match value {
                    Some(value) => there.marked.insert((key, back), value),
                    None => there.marked.remove(&(key, back)),
                };
                if old == value {
                    return;
                }
                undo.push(Undo::Marked((key, back), old));
                let set = || format!("mark{}-{name}", version(key.local.is_ipv4()));
                if old.is_some() {
                    element(false, set(), key_of(&key), None);
                }
                if let Some(value) = value {
                    if there.chains.insert(value) {
                        undo.push(Undo::Chain(value));
                        chains.push(value);
                    }
                    element(true, set(), key_of(&key), Some(Data::Chain(rules::chain_of(value))));
                }
            }
        }
    }
}

fn elements_message(writer: &mut Writer, table: &str, sequence: u32, elements: &[Element]) {
    let Some(first) = elements.first() else { return };
    let (kind, flags) = if first.add { (rules::NEW_ELEMENT, CREATE) } else { (rules::DELETE_ELEMENT, 0) };
    writer.message(kind, flags, sequence, INET, 0);
    writer.text(1, table);
    writer.text(2, &first.set);
    writer.nest(3, |w| {
        for element in elements {
            w.nest(1, |w| {
                w.nest(1, |w| w.attribute(1, &element.key));
                match &element.data {
                    Some(Data::Octets(octets)) => w.nest(2, |w| w.attribute(1, octets)),
                    Some(Data::Chain(chain)) => w.nest(2, |w| w.nest(2, |w| rules::jump(w, chain))),
                    Some(Data::Rate(rate)) => w.nest(11, |w| w.nest(1, |w| rules::limit(w, Some(*rate)))),
                    None => {}
                }
            });
        }
    });
}
