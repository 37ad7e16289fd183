//! Making the table, or taking it over.

use std::collections::HashSet;
use std::net::SocketAddr;

use super::rules::{self, INET};
use super::there::There;
use super::{Held, Opened, Table, TableConfig};
use crate::address::ip;
use crate::netlink::{Attributes, DUMP, Socket, Writer};
use crate::{Error, Key, Translation};

/// `NFT_TABLE_F_OWNER` and `_PERSIST`: ours alone while we live, and there when we are not.
const OWNED: u32 = 2 | 4;

pub(super) fn open(config: &TableConfig) -> Result<Opened, Error> {
    let socket = Socket::open()?;
    let config = TableConfig { name: format!("carnet-{}", config.name), ..config.clone() };
    let mut table = Table { socket, config, waiting: Vec::new(), there: There::default() };
    let (existed, stale) = table.chains()?;
    // There may be no table yet.
    table.there.held = table.keys().unwrap_or_default();
    table.there.rules = table.there.needs();
    // By itself: a table that changes hands takes no chains in the same transaction.
    match table.own(OWNED) {
        // An older kernel, or a table that was made without.
        Err(Error::Refused { .. }) => table.own(0)?,
        other => other?,
    }
    if let Err(error) = table.make(&stale) {
        if !existed {
            let _ = table.remove();
        }
        return Err(error);
    }
    let left: Vec<_> = table.elements()?;
    for held in &left {
        table.there.carried.set(&held.translation.key, true);
    }
    Ok(Opened { table, left })
}

impl Table {
    /// Makes the table if there is none, and takes it.
    fn own(&mut self, flags: u32) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.batch_begin(sequence);
        rules::table(&mut writer, &self.config, sequence, flags);
        writer.batch_end(sequence);
        self.transact(writer.finish())
    }

    fn make(&mut self, stale: &[String]) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.batch_begin(sequence);
        rules::everything(&mut writer, &self.config, sequence, stale, self.there.rules.terms);
        writer.batch_end(sequence);
        self.transact(writer.finish())
    }

    /// Whether there is such a table with rules in it, and the chains that an earlier process made because a session needed them:
    /// for DSCP values, and to steer.
    fn chains(&mut self) -> Result<(bool, Vec<String>), Error> {
        let name = self.config.name.clone();
        let (mut there, mut chains) = (false, Vec::new());
        self.list(
            rules::GET_CHAIN,
            |_| {},
            |attributes| {
                let text = |kind| attributes.find(kind).and_then(text_of);
                if text(1) == Some(name.as_str()) {
                    there = true;
                    let made = text(3).filter(|chain| chain.starts_with("dscp") || *chain == "steer");
                    chains.extend(made.map(str::to_owned));
                }
            },
        )?;
        Ok((there, chains))
    }

    fn elements(&mut self) -> Result<Vec<Held>, Error> {
        let mut left = Vec::new();
        for set in ["carry4", "carry6"] {
            self.each(set, |element, octets| left.extend(translation_of(element, octets)))?;
        }
        let held =
            |translation: Translation| Held { translation, held: self.there.held.contains(&translation.key) };
        Ok(left.into_iter().map(held).collect())
    }

    /// On what nothing passes.
    fn keys(&mut self) -> Result<HashSet<Key>, Error> {
        let mut held = HashSet::new();
        for set in ["held4", "held6"] {
            self.each(set, |element, octets| held.extend(key_of(element, octets)))?;
        }
        Ok(held)
    }

    /// Hands over each element of a set, with the octets of an address in it.
    fn each(&mut self, set: &str, mut take: impl FnMut(Attributes<'_>, usize)) -> Result<(), Error> {
        let name = self.config.name.clone();
        let octets = if set.ends_with('4') { 4 } else { 16 };
        let ask = |w: &mut Writer| {
            w.text(1, &name);
            w.text(2, set);
        };
        self.list(rules::GET_ELEMENT, ask, |attributes| {
            for (_, element) in attributes.inside(3).into_iter().flatten() {
                take(Attributes::of(element), octets);
            }
        })
    }

    /// Asks for a list and hands over the attributes of each entry.
    fn list(
        &mut self,
        kind: u16,
        ask: impl FnOnce(&mut Writer),
        mut take: impl FnMut(Attributes<'_>),
    ) -> Result<(), Error> {
        let sequence = self.socket.next_sequence();
        let mut writer = Writer::default();
        writer.message(kind, DUMP, sequence, INET, 0);
        ask(&mut writer);
        self.socket.send(&writer.finish())?;
        self.socket.answers(sequence, &mut |_, attributes| take(attributes))
    }
}

fn text_of(octets: &[u8]) -> Option<&str> {
    std::str::from_utf8(octets.split(|octet| *octet == 0).next()?).ok()
}

fn key_of(attributes: Attributes<'_>, octets: usize) -> Option<Key> {
    let (source, local) = attributes.inside(1)?.find(1)?.split_at_checked(octets)?;
    Some(Key { source: ip(source)?, local: place(local, octets)? })
}

fn translation_of(attributes: Attributes<'_>, octets: usize) -> Option<Translation> {
    let data = attributes.inside(2)?.find(1)?;
    let (to, from) = data.split_at_checked(octets + 4)?;
    Some(Translation { key: key_of(attributes, octets)?, to: place(to, octets)?, from: place(from, octets)? })
}

fn place(octets: &[u8], length: usize) -> Option<SocketAddr> {
    let (address, port) = octets.split_at_checked(length)?;
    let port = u16::from_be_bytes(port.get(..2)?.try_into().ok()?);
    Some(SocketAddr::new(ip(address)?, port))
}
