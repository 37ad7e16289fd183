//! Termination identifiers: names in the model, up to eight octets with wildcard fields on the wire.
//!
//! RFC 3525 §A.1. How names become octets is provisioned between the two ends (there is no general
//! rule), so this is the rule of this implementation, which loses nothing:
//!
//! | name | octets |
//! |---|---|
//! | `ROOT` | eight times FF |
//! | `*`, `$` | eight zero octets, one wildcard field for all levels |
//! | `ip/G/I/N`: numbers of one, two and four octets | `40` G I N; each of the three is a level |
//! | the same, I being `access`, `core`, `mb` or `peer` | I is `ff01` to `ff04` |
//! | up to eight printable octets | those octets |
//! | anything else that came in | `hex_` and the octets in hexadecimal |
//!
//! `*` and `$` may stand for whole levels of `ip/G/I/N`, and at the end of a name after `/`.
//! Wildcards of peers with another hierarchy become `/*XX` and `/$XX`, the field itself in
//! hexadecimal.

use super::{Result, Unsayable, unsayable};
use crate::model::{TerminationId, Text};
use carnet_wire::hex;

/// The first octet of the form for ephemeral terminations. No name starts with it.
const EPHEMERAL: u8 = 0x40;
/// Wildcard field: ALL rather than CHOOSE.
const ALL: u8 = 0x80;
/// Wildcard field: this level and all below it.
const BELOW: u8 = 0x40;
/// Begins a name that stands for octets without a better one.
const HEX: &str = "hex_";
/// Octets of the levels of `ip/G/I/N` and the bit where each starts.
const LEVELS: [(usize, u8); 3] = [(1, 55), (2, 47), (4, 31)];

/// Interfaces that have names, and the number of the first.
const INTERFACES: [&str; 4] = ["access", "core", "mb", "peer"];
const FIRST_INTERFACE: u32 = 0xff01;

/// Up to eight octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Octets {
    octets: [u8; 8],
    length: usize,
}

impl Octets {
    fn of(octets: &[u8]) -> Option<Self> {
        let mut out = Self::default();
        out.extend(octets)?;
        Some(out)
    }

    /// None if there is no room.
    pub(super) fn extend(&mut self, more: &[u8]) -> Option<()> {
        self.octets.get_mut(self.length..self.length + more.len())?.copy_from_slice(more);
        self.length += more.len();
        Some(())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// Wildcard fields and identifier of a termination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) wildcards: Octets,
    pub(super) id: Octets,
}

impl Wire {
    fn new(wildcards: &[u8], id: &[u8]) -> Option<Self> {
        Some(Self { wildcards: Octets::of(wildcards)?, id: Octets::of(id)? })
    }
}

/// The octets for a name.
pub(super) fn encode(name: &TerminationId) -> Result<Wire> {
    let text = name.as_str();
    let plain = |id: &[u8]| Wire::new(&[], id).ok_or_else(|| refusal(text));
    if name.is_root() {
        return plain(&[0xff; 8]);
    }
    if let Some(kind) = wildcard(text) {
        return Wire::new(&[kind | BELOW | 63], &[0; 8]).ok_or_else(|| refusal(text));
    }
    if let Some(wire) = ephemeral(text) {
        return Ok(wire);
    }
    if let Some(digits) = text.strip_prefix(HEX) {
        return from_hex(digits).ok_or_else(|| refusal(text));
    }
    if let Some((head, kind)) = text.rsplit_once('/').and_then(|(h, t)| Some((h, wildcard(t)?))) {
        let fits = is_name(head.as_bytes()) && head.len() < 7;
        if !fits {
            return Err(refusal(text));
        }
        // The slash keeps `a/*` apart from what a peer may mean by `a*`.
        let mut wire = Wire::new(&[kind | BELOW | 7], head.as_bytes()).ok_or_else(|| refusal(text))?;
        return wire.id.extend(b"/\0").map(|()| wire).ok_or_else(|| refusal(text));
    }
    if is_name(text.as_bytes()) { plain(text.as_bytes()) } else { Err(refusal(text)) }
}

/// The name for octets.
pub(super) fn decode(wildcards: &[u8], id: &[u8]) -> TerminationId {
    match wildcards {
        [] if id == [0xff; 8] => return TerminationId::ROOT,
        [] if ephemeral_octets(id) => return name_of(id, [None; 3]),
        [] if is_name(id) && !id.starts_with(HEX.as_bytes()) && !has_wildcard(id) => {
            return Text::ascii(id).into();
        }
        [field] if usize::from(field & 0x3f) == id.len() * 8 - 1 && (field & BELOW != 0 || id.len() == 1) => {
            return if field & ALL != 0 { TerminationId::ALL } else { TerminationId::CHOOSE };
        }
        [field] if field & 0x7f == BELOW | 7 => {
            if let Some((head, [b'/', _])) = id.split_last_chunk::<2>()
                && is_name(head)
                && !has_wildcard(head)
                && !head.starts_with(HEX.as_bytes())
            {
                return format!("{}/{}", String::from_utf8_lossy(head), sign(*field)).into();
            }
        }
        _ => {}
    }
    if ephemeral_octets(id)
        && let Some(levels) = wild_levels(wildcards)
    {
        return name_of(id, levels);
    }
    let mut name = format!("{HEX}{}", hex::encode(id));
    for field in wildcards {
        name.push('/');
        name.push(sign(*field));
        name.push_str(&hex::encode(&[*field]));
    }
    name.into()
}

fn refusal(text: &str) -> Unsayable {
    unsayable(format!("termination {text}: its name does not fit into eight octets"))
}

/// The kind of field for a level that is a wildcard.
fn wildcard(level: &str) -> Option<u8> {
    match level {
        "*" => Some(ALL),
        "$" => Some(0),
        _ => None,
    }
}

fn sign(field: u8) -> char {
    if field & ALL != 0 { '*' } else { '$' }
}

/// Octets that are a name as they stand.
fn is_name(octets: &[u8]) -> bool {
    let inside = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'/' | b'.' | b'-' | b'@');
    (1..=8).contains(&octets.len())
        && octets.first().is_some_and(u8::is_ascii_alphabetic)
        && octets.iter().all(inside)
        && !octets.eq_ignore_ascii_case(b"ROOT")
}

/// Names that a decoder must not give back as they stand: they would read as something else.
fn has_wildcard(octets: &[u8]) -> bool {
    octets.starts_with(b"ip/") && std::str::from_utf8(octets).is_ok_and(|text| ephemeral(text).is_some())
}

fn ephemeral_octets(id: &[u8]) -> bool {
    id.len() == 8 && id.first() == Some(&EPHEMERAL)
}

/// `ip/G/I/N` with numbers in their shortest form or wildcards.
fn ephemeral(text: &str) -> Option<Wire> {
    let mut parts = text.strip_prefix("ip/")?.split('/');
    let mut wire = Wire::new(&[], &[EPHEMERAL])?;
    for (octets, bit) in LEVELS {
        let part = parts.next()?;
        if let Some(kind) = wildcard(part) {
            wire.wildcards.extend(&[kind | bit])?;
            wire.id.extend([0; 4].get(..octets)?)?;
            continue;
        }
        let number = match INTERFACES.iter().position(|name| *name == part).filter(|_| octets == 2) {
            Some(at) => FIRST_INTERFACE + at as u32,
            None => {
                let shortest = part == "0" || !part.starts_with(['0', '+']);
                part.parse().ok().filter(|n| shortest && (octets != 2 || interface(*n).is_none()))?
            }
        };
        let digits = number.to_be_bytes();
        let (zero, kept) = digits.split_at(4 - octets);
        if zero.iter().any(|z| *z != 0) {
            return None;
        }
        wire.id.extend(kept)?;
    }
    parts.next().is_none().then_some(wire)
}

/// The interface that has this number.
fn interface(number: u32) -> Option<&'static str> {
    INTERFACES.get(usize::try_from(number.checked_sub(FIRST_INTERFACE)?).ok()?).copied()
}

/// Which of the levels are wildcards; `None` if a field fits none of them.
fn wild_levels(fields: &[u8]) -> Option<[Option<char>; 3]> {
    let mut levels = [None; 3];
    for field in fields {
        let at = LEVELS.iter().position(|(_, bit)| *bit == field & 0x3f)?;
        let reach = if field & BELOW != 0 { levels.get_mut(at..)? } else { levels.get_mut(at..=at)? };
        reach.fill(Some(sign(*field)));
    }
    Some(levels)
}

fn name_of(id: &[u8], levels: [Option<char>; 3]) -> TerminationId {
    // The longest is `ip/255/access/4294967295`.
    let mut name = [0; 32];
    let mut length = 0;
    let mut push = |text: &[u8]| {
        if let Some(place) = name.get_mut(length..length + text.len()) {
            place.copy_from_slice(text);
            length += text.len();
        }
    };
    push(b"ip");
    let mut rest = id.get(1..).unwrap_or_default();
    for ((octets, _), wild) in LEVELS.into_iter().zip(levels) {
        let (number, more) = rest.split_at(octets.min(rest.len()));
        rest = more;
        push(b"/");
        match wild {
            Some(sign) => push(&[sign as u8]),
            None => {
                let n = number.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
                match interface(n).filter(|_| octets == 2) {
                    Some(word) => push(word.as_bytes()),
                    None => push(Text::decimal(n.into(), false).as_bytes()),
                }
            }
        }
    }
    Text::ascii(name.get(..length).unwrap_or_default()).into()
}

/// What `decode` made of octets without a better name.
fn from_hex(text: &str) -> Option<Wire> {
    let mut parts = text.split('/');
    let id = hex::decode(parts.next()?.as_bytes()).ok().filter(|id| !id.is_empty())?;
    let mut wire = Wire::new(&[], &id)?;
    for part in parts {
        let digits = part.strip_prefix(['*', '$'])?;
        match hex::decode(digits.as_bytes()).ok()?.as_slice() {
            [field] if part.starts_with(sign(*field)) => wire.wildcards.extend(&[*field])?,
            _ => return None,
        }
    }
    Some(wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(name: &'static str) -> Wire {
        let wire = encode(&TerminationId::from(name)).unwrap();
        assert_eq!(decode(wire.wildcards.as_slice(), wire.id.as_slice()).as_str(), name);
        wire
    }

    #[test]
    fn names_have_octets() {
        assert_eq!(there_and_back("ROOT").id.as_slice(), [0xff; 8]);
        assert_eq!(there_and_back("ip/1/2/70000").id.as_slice(), [0x40, 1, 0, 2, 0, 1, 0x11, 0x70]);
        assert_eq!(there_and_back("ip/1/core/9").id.as_slice(), [0x40, 1, 0xff, 2, 0, 0, 0, 9]);
        assert_eq!(there_and_back("ip/1/access/$").wildcards.as_slice(), [31]);
        assert_eq!(there_and_back("line7").id.as_slice(), b"line7");
        assert_eq!(there_and_back("*"), Wire::new(&[0xff], &[0; 8]).unwrap());
        assert_eq!(there_and_back("$"), Wire::new(&[0x7f], &[0; 8]).unwrap());
        assert_eq!(there_and_back("ip/1/*/$").wildcards.as_slice(), [0x80 | 47, 31]);
        assert_eq!(there_and_back("aaln/*"), Wire::new(&[0xc7], b"aaln/\0").unwrap());
    }

    #[test]
    fn names_too_long_are_refused() {
        for name in [
            "a-long-name",
            "ip/300/1/1",
            "ip/1/1/4294967296",
            "ip/01/1/1/1",
            "ip/1/65282/1",
            "ip/1/dmz/1",
            "",
            "x*y",
            "hex_",
            "hex_0g",
        ] {
            assert!(encode(&TerminationId::from(name)).is_err(), "{name}");
        }
    }

    /// RFC 3525 §A.1: the examples, of a hierarchy that is not ours.
    #[test]
    fn other_hierarchies_survive() {
        for (wildcards, id) in [
            (&[0b1000_0111][..], &[1, 0b0001_1110, 0][..]),
            (&[0b0001_0111, 0b0000_0111], &[0, 0b0001_1110, 0]),
            (&[0b0100_1111], &[1, 0, 0]),
            (&[], &[1, 2, 3]),
        ] {
            let name = decode(wildcards, id);
            let wire = encode(&name).unwrap();
            assert_eq!((wire.wildcards.as_slice(), wire.id.as_slice()), (wildcards, id), "{name}");
            assert_eq!(name.has_all(), wildcards.iter().any(|w| w & 0x80 != 0));
            assert_eq!(name.has_choose(), wildcards.iter().any(|w| w & 0x80 == 0));
        }
        // All levels of three octets, as Erlang's megaco says it.
        assert_eq!(decode(&[0b1101_0111], &[0, 0, 0]), TerminationId::ALL);
        assert_eq!(decode(&[0b0101_0111], &[0, 0, 0]), TerminationId::CHOOSE);
    }

    proptest! {
        /// Whatever came in without wildcards goes out as it came.
        #[test]
        fn any_octets_survive(id in proptest::collection::vec(any::<u8>(), 1..=8)) {
            let wire = encode(&decode(&[], &id)).unwrap();
            prop_assert_eq!(wire.id.as_slice(), &id);
            prop_assert!(wire.wildcards.as_slice().is_empty());
        }

        #[test]
        fn printable_octets_survive(id in "[hexip0-9/_a]{1,8}") {
            let wire = encode(&decode(&[], id.as_bytes())).unwrap();
            prop_assert_eq!(wire.id.as_slice(), id.as_bytes());
        }
    }
}
