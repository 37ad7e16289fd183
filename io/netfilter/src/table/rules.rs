//! The rules, which never change with a session.

use super::TableConfig;
use crate::Rate;
use crate::early::LONGEST;
use crate::expression::{Base, Expressions, Meta, Tracked};
use crate::log::TOGETHER;
use crate::netlink::{CREATE, Writer};

/// `NFPROTO_*`
pub(super) const INET: u8 = 1;
pub(crate) const V4: u8 = 2;
pub(crate) const V6: u8 = 10;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_*`
const fn nf_tables(message: u16) -> u16 {
    10 << 8 | message
}
pub(super) const NEW_TABLE: u16 = nf_tables(0);
pub(super) const DELETE_TABLE: u16 = nf_tables(2);
const NEW_CHAIN: u16 = nf_tables(3);
pub(super) const GET_CHAIN: u16 = nf_tables(4);
const DELETE_CHAIN: u16 = nf_tables(5);
const NEW_RULE: u16 = nf_tables(6);
const DELETE_RULE: u16 = nf_tables(8);
const NEW_SET: u16 = nf_tables(9);
pub(super) const NEW_ELEMENT: u16 = nf_tables(12);
pub(super) const GET_ELEMENT: u16 = nf_tables(13);
pub(super) const DELETE_ELEMENT: u16 = nf_tables(14);

/// `ARPHRD_LOOPBACK`
const LOOPBACK: u16 = 772;
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;
/// Where packets are changed that are not translated.
const MANGLE: i32 = -150;
const DSTNAT: i32 = -100;
const SRCNAT: i32 = 100;
/// After everybody's filters.
const LATE: i32 = 250;

/// `NFT_SET_*`
const MAP: u32 = 0x08;
const EXPRESSION: u32 = 0x100;

/// How `nft list` calls the parts of a key: IPv4 and IPv6 address, port, a concatenation of them.
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PORT: u32 = 13;
/// A data type that is a verdict.
const VERDICT: u32 = 0xffff_ff00;

const fn concatenated(parts: &[u32]) -> u32 {
    let (mut all, mut index) = (0, 0);
    while index < parts.len() {
        all = all << 6 | parts[index];
        index += 1;
    }
    all
}

/// SYN, ACK, both; FIN and RST; FIN; what begins or ends a connection.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const END: u8 = 0x05;
const FIN: u8 = 0x01;
const EDGE: u8 = SYN | END;

/// What a set is for.
struct Set {
    name: String,
    key: (u32, u32),
    data: Option<(u32, u32)>,
    limits: bool,
    /// Its elements outlive the process.
    lasting: bool,
}

/// All sets of one IP version.
fn sets(v4: bool) -> Vec<Set> {
    let (n, ip, octets) = if v4 { (4, IPV4, 4) } else { (6, IPV6, 16) };
    let session = (concatenated(&[ip, ip, PORT]), octets + octets + 4);
    let place = (concatenated(&[ip, PORT]), octets + 4);
    let places = (concatenated(&[ip, PORT, ip, PORT]), 2 * (octets + 4));
    let set = |name: &str, key, data| Set { name: name.into(), key, data, limits: false, lasting: false };
    let mut all = vec![
        Set { lasting: true, ..set(&format!("carry{n}"), session, Some(places)) },
        set(&format!("steer{n}"), place, Some((PORT, 2))),
        set(&format!("early{n}"), place, None),
        Set { lasting: true, ..set(&format!("held{n}"), session, None) },
    ];
    for way in ["forth", "back"] {
        all.push(set(&format!("shut{n}-{way}"), session, None));
        all.push(Set { limits: true, ..set(&format!("over{n}-{way}"), session, None) });
        all.push(set(&format!("mark{n}-{way}"), session, Some((VERDICT, 0))));
    }
    all
}

pub(super) fn chain_of(value: u8) -> String {
    format!("dscp{value}")
}

/// A table, if there is none; ours, if nobody has it. `flags` are those of `NFTA_TABLE_FLAGS`.
pub(super) fn table(w: &mut Writer, config: &TableConfig, sequence: u32, flags: u32) {
    w.message(NEW_TABLE, CREATE, sequence, INET, 0);
    w.text(1, &config.name);
    w.number(2, flags);
}

/// Chains, sets and rules as they are with no session; the elements of translations, and what is held, stay.
pub(super) fn everything(
    w: &mut Writer,
    config: &TableConfig,
    sequence: u32,
    stale: &[String],
    terms: Terms,
) {
    for set in [true, false].into_iter().flat_map(sets) {
        new_set(w, config, sequence, &set);
        if !set.lasting {
            w.message(DELETE_ELEMENT, 0, sequence, INET, 0);
            w.text(1, &config.name);
            w.text(2, &set.name);
        }
    }
    for chain in stale {
        flush(w, config, sequence, chain);
        w.message(DELETE_CHAIN, 0, sequence, INET, 0);
        w.text(1, &config.name);
        w.text(3, chain);
    }
    let chains = [
        ("early", "filter", INPUT, LATE),
        ("call", "nat", PREROUTING, DSTNAT - 1),
        ("call-local", "nat", OUTPUT, DSTNAT - 1),
        ("fit", "filter", FORWARD, MANGLE),
        ("leave", "nat", POSTROUTING, SRCNAT - 1),
        ("watch", "filter", POSTROUTING, SRCNAT + 1),
    ];
    for (name, kind, hook, priority) in chains {
        base_chain(w, config, sequence, (name, kind, hook, priority));
        flush(w, config, sequence, name);
    }
    early(w, config, sequence);
    for name in ["begins", "ends"] {
        chain(w, config, sequence, name);
        flush(w, config, sequence, name);
    }
    for family in [V4, V6] {
        bare(w, config, sequence, family);
        for chain in ["call", "call-local"] {
            rule(w, config, sequence, chain, |e| call(e, family));
        }
        rule(w, config, sequence, "begins", |e| fit(e, family));
        rule(w, config, sequence, "leave", |e| leave(e, family));
        ends(w, config, sequence, family);
    }
    rule(w, config, sequence, "fit", |e| {
        any_of(e, SYN).jump("begins");
    });
    watch(w, config, sequence, terms);
}

/// Nearly every packet only goes on with a connection, and is done with after this: it reads a whole word, which the kernel
/// does in line, and asks for no IP version.
fn any_of<'a, 'b>(e: &'a mut Expressions<'b>, flags: u8) -> &'a mut Expressions<'b> {
    e.meta(Meta::Protocol, 0)
        .is(0, &[6])
        .payload(Base::Transport, 12, 4, 0)
        .bits(0, &[0, flags, 0, 0], &[0; 4])
        .is_not(0, &[0; 4])
}

fn new_set(w: &mut Writer, config: &TableConfig, sequence: u32, set: &Set) {
    w.message(NEW_SET, CREATE, sequence, INET, 0);
    w.text(1, &config.name);
    w.text(2, &set.name);
    let flags = if set.data.is_some() { MAP } else { 0 } | if set.limits { EXPRESSION } else { 0 };
    w.number(3, flags);
    w.number(4, set.key.0);
    w.number(5, set.key.1);
    if let Some((kind, length)) = set.data {
        w.number(6, kind);
        w.number(7, length);
    }
    w.nest(9, |w| w.number(1, config.size));
    // Any number: it is only for those that add to it in the same transaction by number.
    w.number(10, 1);
    if set.limits {
        w.nest(17, |w| limit(w, None));
    }
}

fn base_chain(
    w: &mut Writer,
    config: &TableConfig,
    sequence: u32,
    (name, kind, hook, priority): (&str, &str, u32, i32),
) {
    w.message(NEW_CHAIN, CREATE, sequence, INET, 0);
    w.text(1, &config.name);
    w.text(3, name);
    w.nest(4, |w| {
        w.number(1, hook);
        w.attribute(2, &priority.to_be_bytes());
    });
    w.text(7, kind);
}

/// A chain that others lead to.
fn chain(w: &mut Writer, config: &TableConfig, sequence: u32, name: &str) {
    w.message(NEW_CHAIN, CREATE, sequence, INET, 0);
    w.text(1, &config.name);
    w.text(3, name);
}

fn flush(w: &mut Writer, config: &TableConfig, sequence: u32, chain: &str) {
    w.message(DELETE_RULE, 0, sequence, INET, 0);
    w.text(1, &config.name);
    w.text(2, chain);
}

fn rule(
    w: &mut Writer,
    config: &TableConfig,
    sequence: u32,
    chain: &str,
    expressions: impl FnOnce(&mut Expressions<'_>),
) {
    // NLM_F_APPEND
    w.message(NEW_RULE, CREATE | 0x800, sequence, INET, 0);
    w.text(1, &config.name);
    w.text(2, chain);
    w.nest(4, |w| expressions(&mut Expressions(w)));
}

fn version(family: u8) -> char {
    if family == V4 { '4' } else { '6' }
}

/// Registers that an address takes.
const fn registers(family: u8) -> u32 {
    if family == V4 { 1 } else { 4 }
}

fn call(e: &mut Expressions<'_>, family: u8) {
    let (at, length) = if family == V4 { (12, 4) } else { (8, 16) };
    let size = registers(family);
    e.tcp(family)
        .payload(Base::Network, at, length, 0)
        .payload(Base::Network, at + length, length, size)
        .payload(Base::Transport, 2, 2, 2 * size)
        .lookup(&format!("carry{}", version(family)), 0, Some(0))
        .nat(true, family, 0, size);
}

/// Beginnings of connections to addresses of ours for which it is not decided yet where they lead are copied whole,
/// and dropped. Those that come from this host are not: what is put back is one of them. It is done last, just before a socket
/// would get them: who is kept has passed the host's own filters, which do not know him when he is put back.
fn early(w: &mut Writer, config: &TableConfig, sequence: u32) {
    let Some(group) = config.early_group else { return };
    // What belongs to a connection, and that is nearly everything, is done with here.
    chain(w, config, sequence, "keep");
    flush(w, config, sequence, "keep");
    rule(w, config, sequence, "early", |e| {
        e.new_connection().jump("keep");
    });
    for family in [V4, V6] {
        let (at, length) = if family == V4 { (16, 4) } else { (24, 16) };
        rule(w, config, sequence, "keep", |e| {
            e.tcp(family)
                .payload(Base::Transport, 13, 1, 0)
                .bits(0, &[SYN_ACK | END], &[0])
                .is(0, &[SYN])
                .meta(Meta::CameBy, 0)
                .is_not(0, &LOOPBACK.to_ne_bytes())
                .payload(Base::Network, at, length, 0)
                .payload(Base::Transport, 2, 2, registers(family))
                .lookup(&format!("early{}", version(family)), 0, None)
                .log(group, LONGEST, 1)
                .drop();
        });
    }
}

/// The register for the listener's port, beyond those of the address.
const PORT_FOUND: u32 = 8;

/// The chain `steer`. It is made when something is to be steered for the first time: each packet of the host passes it. Its
/// rules are there only while something is.
pub(super) fn steer(w: &mut Writer, config: &TableConfig, sequence: u32, steered: bool) {
    if steered {
        base_chain(w, config, sequence, ("steer", "filter", PREROUTING, DSTNAT + 1));
    }
    flush(w, config, sequence, "steer");
    if !steered {
        return;
    }
    // Both ends are translated of what is led on, by us or by others, once its first packet has left: it ends at no socket here.
    rule(w, config, sequence, "steer", |e| {
        e.translated_twice().accept();
    });
    for family in [V4, V6] {
        // What goes on with a connection, most first, and what begins one. It may bring a cookie back: under a flood of SYN
        // the kernel keeps nothing else of a connection before this. Whose connection has a socket is led to that.
        for flags in [ACK, SYN] {
            rule(w, config, sequence, "steer", |e| steered_by(e, family, flags));
        }
    }
}

fn steered_by(e: &mut Expressions<'_>, family: u8, flags: u8) {
    let (at, length) = if family == V4 { (16, 4) } else { (24, 16) };
    e.tcp(family)
        .payload(Base::Transport, 13, 1, 0)
        .bits(0, &[SYN_ACK | END], &[0])
        .is(0, &[flags])
        .payload(Base::Network, at, length, 0)
        .payload(Base::Transport, 2, 2, registers(family))
        .lookup(&format!("steer{}", version(family)), 0, Some(PORT_FOUND))
        .tproxy(family, 0, PORT_FOUND)
        .accept();
}

/// The session of the packet's connection, from register 0 on.
fn session(e: &mut Expressions<'_>, family: u8) {
    let size = registers(family);
    let (source, destination) = match family {
        V4 => (Tracked::SourceIp, Tracked::DestinationIp),
        _ => (Tracked::SourceIp6, Tracked::DestinationIp6),
    };
    e.original(source, 0).original(destination, size).original(Tracked::DestinationPort, 2 * size);
}

/// Before the source is translated: the way back is that to the peer, not to ourselves.
fn fit(e: &mut Expressions<'_>, family: u8) {
    e.tcp(family).payload(Base::Transport, 13, 1, 0).bits(0, &[SYN], &[0]).is_not(0, &[0]);
    session(e, family);
    e.lookup(&format!("carry{}", version(family)), 0, None).clamp();
}

fn leave(e: &mut Expressions<'_>, family: u8) {
    let size = registers(family);
    e.tcp(family);
    session(e, family);
    e.lookup(&format!("carry{}", version(family)), 0, Some(0)).nat(false, family, size + 1, 2 * size + 1);
}

/// What is to be done to what passes on some session, beside counting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Terms {
    pub(super) held: bool,
    pub(super) shut: bool,
    pub(super) policed: bool,
    pub(super) marked: bool,
}

/// The chain `watch`, anew. Rules are there for what some session needs: every packet passes them.
pub(super) fn watch(w: &mut Writer, config: &TableConfig, sequence: u32, terms: Terms) {
    flush(w, config, sequence, "watch");
    if terms != Terms::default() {
        for family in [V4, V6] {
            let name = format!("terms{}", version(family));
            chain(w, config, sequence, &name);
            flush(w, config, sequence, &name);
            meet(w, config, sequence, family, terms);
            rule(w, config, sequence, "watch", |e| {
                e.tcp(family).jump(&name);
            });
        }
    }
    rule(w, config, sequence, "watch", |e| {
        any_of(e, EDGE).jump("ends");
    });
}

/// The rules for the terms of sessions.
fn meet(w: &mut Writer, config: &TableConfig, sequence: u32, family: u8, terms: Terms) {
    let n = version(family);
    let name = format!("terms{n}");
    if terms.held {
        rule(w, config, sequence, &name, |e| {
            session(e, family);
            e.lookup(&format!("held{n}"), 0, None).drop();
        });
    }
    for (direction, way) in [(0, "forth"), (1, "back")] {
        if terms.shut {
            rule(w, config, sequence, &name, |e| {
                session(e.direction(direction), family);
                e.lookup(&format!("shut{n}-{way}"), 0, None).jump(&format!("bare{n}"));
            });
        }
        if terms.policed {
            rule(w, config, sequence, &name, |e| {
                session(e.direction(direction), family);
                e.lookup(&format!("over{n}-{way}"), 0, None).drop();
            });
        }
        if terms.marked {
            rule(w, config, sequence, &name, |e| {
                session(e.direction(direction), family);
                e.verdict_of(&format!("mark{n}-{way}"), 0);
            });
        }
    }
}

/// Copies what begins and ends our connections.
fn ends(w: &mut Writer, config: &TableConfig, sequence: u32, family: u8) {
    for (mask, value) in [(SYN_ACK, Some(SYN_ACK)), (END, None)] {
        rule(w, config, sequence, "ends", |e| {
            e.tcp(family).payload(Base::Transport, 13, 1, 0).bits(0, &[mask], &[0]);
            match value {
                Some(value) => e.is(0, &[value]),
                None => e.is_not(0, &[0]),
            };
            session(e, family);
            e.lookup(&format!("carry{}", version(family)), 0, None).log(config.log_group, 128, TOGETHER);
        });
    }
}

/// What passes where nothing that is said may pass: acknowledgements, and resets. Their length is that of their
/// headers; options of IP are none of theirs.
fn bare(w: &mut Writer, config: &TableConfig, sequence: u32, family: u8) {
    let name = format!("bare{}", version(family));
    chain(w, config, sequence, &name);
    flush(w, config, sequence, &name);
    rule(w, config, sequence, &name, |e| {
        e.payload(Base::Transport, 13, 1, 0).bits(0, &[FIN], &[0]).is_not(0, &[0]).drop();
    });
    let (at, bare) = if family == V4 { (2, 20) } else { (4, 0) };
    for words in 5..=15_u8 {
        let length = bare + 4 * u16::from(words);
        rule(w, config, sequence, &name, |e| {
            e.payload(Base::Transport, 12, 1, 0).bits(0, &[0xf0], &[0]).is(0, &[words << 4]);
            e.payload(Base::Network, at, 2, 0).is(0, &length.to_be_bytes()).done();
        });
    }
    rule(w, config, sequence, &name, |e| {
        e.drop();
    });
}

/// The chain that sets a DSCP value and leaves ECN as it is.
pub(super) fn mark_chain(w: &mut Writer, config: &TableConfig, sequence: u32, value: u8) {
    let name = chain_of(value);
    chain(w, config, sequence, &name);
    flush(w, config, sequence, &name);
    let tos = u16::from(value) << 2;
    for (family, keep, set, checksum) in [(V4, 0xff03_u16, tos, Some(10)), (V6, 0xf03f, tos << 4, None)] {
        rule(w, config, sequence, &name, |e| {
            e.tcp(family)
                .payload(Base::Network, 0, 2, 0)
                .bits(0, &keep.to_be_bytes(), &set.to_be_bytes())
                .write(0, 2, 0, checksum);
        });
    }
}

/// The verdict of an element.
pub(super) fn jump(w: &mut Writer, chain: &str) {
    // NFT_JUMP
    w.attribute(1, &(-3_i32).to_be_bytes());
    w.text(2, chain);
}

/// The expression that is true while more passes than may.
pub(super) fn limit(w: &mut Writer, rate: Option<Rate>) {
    let rate = rate.unwrap_or(Rate { octets_per_second: 1_000_000, burst: 1_000_000 });
    w.text(1, "limit");
    w.nest(2, |w| {
        w.long(1, rate.octets_per_second.max(1));
        w.long(2, 1);
        w.number(3, rate.burst);
        w.number(4, 1);
        w.number(5, 1);
    });
}
