//! Names of package items: words in the model, numbers on the wire.
//!
//! The table of packages knows both. A number that is not in it becomes `h` and four hexadecimal
//! digits (`h0123/h0001`), which is a legal name in text and is turned back into the number. A word
//! that is not in it has no number and cannot be said.

use super::{Result, Unsayable, unsayable};
use crate::model::Name;
use crate::package::{self, Item, Kind, PACKAGES, Package};
use std::borrow::Cow;
use std::sync::LazyLock;

/// What a number counts: each kind has numbers of its own in a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Property,
    Event,
    Signal,
    Statistic,
}

impl Space {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::StreamProperty | Kind::TerminationProperty | Kind::ContextProperty | Kind::Secret => {
                Self::Property
            }
            Kind::Event => Self::Event,
            Kind::Signal => Self::Signal,
            Kind::Statistic => Self::Statistic,
        }
    }
}

/// The wildcard for packages and items (RFC 3525 §A.2, PkgdName).
const ALL: u16 = 0xffff;

/// An item of a package under its whole name, which is `package/item`.
#[derive(Debug)]
struct Known {
    space: Space,
    name: &'static str,
    number: [u8; 4],
    item: &'static Item,
}

/// Everything the table of packages knows, made once for the life of the process, with slots by number and
/// by name: positions in `known` plus one, zero is a free slot, collisions go to the next.
struct Index {
    known: Vec<Known>,
    by_number: Slots,
    by_name: Slots,
}

#[derive(Default)]
struct Slots(Vec<u16>);

impl Slots {
    /// Four times as many as there will be entries, so that every search comes to a free one.
    fn new(entries: usize) -> Self {
        Self(vec![0; (entries * 4).next_power_of_two()])
    }

    fn insert(&mut self, hash: u32, position: usize) {
        let mut slot = hash as usize % self.0.len();
        while self.0.get(slot).is_some_and(|taken| *taken != 0) {
            slot = (slot + 1) % self.0.len();
        }
        if let Some(free) = self.0.get_mut(slot) {
            *free = position as u16 + 1;
        }
    }

    #[inline]
    fn find<'k>(&self, hash: u32, known: &'k [Known], is: impl Fn(&Known) -> bool) -> Option<&'k Known> {
        // Their number is a power of two.
        let mask = self.0.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let position = usize::from(*self.0.get(slot)?).checked_sub(1)?;
            let found = known.get(position)?;
            if is(found) {
                return Some(found);
            }
            slot = (slot + 1) & mask;
        }
    }
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut known: Vec<Known> = Vec::new();
    for package in PACKAGES {
        for item in lineage(package).flat_map(|p| p.items) {
            let Some(id) = item.id else { continue };
            let ([a, b], [c, d]) = (package.id.to_be_bytes(), id.to_be_bytes());
            let (space, number) = (Space::of(item.kind), [a, b, c, d]);
            // The package's own items come first and hide those of the same number that it has from another.
            if known.iter().any(|k| (k.space, k.number) == (space, number)) {
                continue;
            }
            // The table has two words, a name is one.
            let name: &'static str = Box::leak(format!("{}/{}", package.name, item.name).into());
            known.push(Known { space, name, number, item });
        }
    }
    let (mut by_number, mut by_name) = (Slots::new(known.len()), Slots::new(known.len()));
    for (position, k) in known.iter().enumerate() {
        by_number.insert(hash_number(k.space, k.number), position);
        by_name.insert(hash_name(k.space, k.name.as_bytes()), position);
    }
    Index { known, by_number, by_name }
});

impl Index {
    fn by_number(&self, space: Space, number: [u8; 4]) -> Option<&Known> {
        let is = |k: &Known| k.number == number && k.space == space;
        self.by_number.find(hash_number(space, number), &self.known, is)
    }

    fn by_name(&self, space: Space, name: &[u8]) -> Option<&Known> {
        let is = |k: &Known| k.space == space && k.name.as_bytes().eq_ignore_ascii_case(name);
        self.by_name.find(hash_name(space, name), &self.known, is)
    }
}

/// Names and numbers come from outside, but only the table's own are in the slots.
fn hash_number(space: Space, number: [u8; 4]) -> u32 {
    let hash = (u32::from_be_bytes(number) ^ (space as u32) << 13).wrapping_mul(0x9e37_79b9);
    hash ^ hash >> 16
}

/// FNV-1a of the name in lower case.
fn hash_name(space: Space, name: &[u8]) -> u32 {
    let start = 0x811c_9dc5 ^ space as u32;
    let step = |hash: u32, octet: &u8| (hash ^ u32::from(*octet | 0x20)).wrapping_mul(0x0100_0193);
    name.iter().fold(start, step)
}

/// A package and those it extends.
fn lineage(package: &'static Package) -> impl Iterator<Item = &'static Package> {
    std::iter::successors(Some(package), |p| p.extends.and_then(package::package)).take(4)
}

/// The number and the item for `package/item`.
pub(super) fn number_of(space: Space, name: &Name) -> Result<([u8; 4], Option<&'static Item>)> {
    if let Some(known) = INDEX.by_name(space, name.as_bytes()) {
        return Ok((known.number, Some(known.item)));
    }
    let package = package_number(name.package()).ok_or_else(|| unknown("package", name))?;
    let known = package::package(name.package()).and_then(|p| {
        lineage(p)
            .flat_map(|p| p.items)
            .find(|i| Space::of(i.kind) == space && i.name.eq_ignore_ascii_case(name.item()))
    });
    let item = match (name.item(), known) {
        ("*", _) => ALL,
        (_, Some(item)) => item.id.ok_or_else(|| unknown("item", name))?,
        (word, None) => digits(word).ok_or_else(|| unknown("item", name))?,
    };
    let ([a, b], [c, d]) = (package.to_be_bytes(), item.to_be_bytes());
    Ok(([a, b, c, d], known))
}

/// The name and the item for a number.
pub(super) fn name_of(space: Space, number: [u8; 4]) -> (Name, Option<&'static Item>) {
    let [a, b, c, d] = number;
    if let Some(known) = INDEX.by_number(space, number) {
        return (Name::from(known.name), Some(known.item));
    }
    let (package, item) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let item = if item == ALL { Cow::Borrowed("*") } else { Cow::Owned(hexadecimal(item)) };
    (format!("{}/{item}", package_name(package)).into(), None)
}

/// The number of a package.
pub(super) fn package_number(name: &str) -> Option<u16> {
    if name == "*" { Some(ALL) } else { package::package(name).map(|p| p.id).or_else(|| digits(name)) }
}

/// The name of a package.
pub(super) fn package_name(number: u16) -> Cow<'static, str> {
    if number == ALL {
        return "*".into();
    }
    PACKAGES
        .iter()
        .find(|p| p.id == number)
        .map_or_else(|| Cow::Owned(hexadecimal(number)), |p| Cow::Borrowed(p.name))
}

/// The number of a parameter of an event or signal, and how its value is written.
pub(super) fn parameter_number(
    item: Option<&'static Item>,
    name: &Name,
) -> Result<(u16, Option<package::ValueType>)> {
    let known = item.and_then(|i| i.parameters.iter().find(|p| *name == *p.name));
    match known {
        Some(parameter) => {
            let number = parameter.id.ok_or_else(|| unknown("parameter", name))?;
            Ok((number, Some(parameter.value)))
        }
        None => Ok((digits(name.as_str()).ok_or_else(|| unknown("parameter", name))?, None)),
    }
}

/// The name of a parameter, and how its value is written.
pub(super) fn parameter_name(item: Option<&'static Item>, number: u16) -> (Name, Option<package::ValueType>) {
    match item.and_then(|i| i.parameters.iter().find(|p| p.id == Some(number))) {
        Some(parameter) => (Name::from(parameter.name), Some(parameter.value)),
        None => (hexadecimal(number).into(), None),
    }
}

/// A name of two octets that is not in the table of packages: of a digit map.
pub(super) fn two_octets(name: &Name) -> Result<[u8; 2]> {
    if let [first, second] = name.as_str().as_bytes()
        && first.is_ascii_alphabetic()
        && second.is_ascii_alphanumeric()
    {
        return Ok([*first, *second]);
    }
    digits(name.as_str()).map(u16::to_be_bytes).ok_or_else(|| unknown("digit map", name))
}

/// The other way round.
pub(super) fn from_two_octets(octets: [u8; 2]) -> Name {
    let [first, second] = octets;
    if first.is_ascii_alphabetic() && second.is_ascii_alphanumeric() {
        String::from_utf8_lossy(&octets).into_owned().into()
    } else {
        hexadecimal(u16::from_be_bytes(octets)).into()
    }
}

fn hexadecimal(number: u16) -> String {
    format!("h{number:04x}")
}

fn digits(word: &str) -> Option<u16> {
    let digits = word.strip_prefix(['h', 'H']).filter(|d| d.len() == 4 && !d.starts_with('+'))?;
    u16::from_str_radix(digits, 16).ok()
}

fn unknown(what: &str, name: &Name) -> Unsayable {
    unsayable(format!("{what} {name}: its number is not known"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_goes_both_ways() {
        for package in PACKAGES {
            for item in package.items {
                let name = Name::from(format!("{}/{}", package.name, item.name));
                let space = Space::of(item.kind);
                let (number, known) = number_of(space, &name).unwrap();
                assert!(known.is_some());
                assert_eq!(name_of(space, number).0, name);
            }
        }
    }

    #[test]
    fn what_is_unknown_keeps_its_number() {
        for number in
            [[0x12, 0x34, 0, 9], [0, 0x9d, 0x77, 1], [0, 0x9d, 0xff, 0xff], [0xff; 4], [0, 0, 0xb0, 0x0f]]
        {
            let (name, _) = name_of(Space::Property, number);
            assert_eq!(number_of(Space::Property, &name).unwrap().0, number, "{name}");
        }
        assert_eq!(name_of(Space::Property, [0xff; 4]).0.as_str(), "*/*");
        assert_eq!(name_of(Space::Property, [0x12, 0x34, 0, 9]).0.as_str(), "h1234/h0009");
        for name in ["nobody/knows", "ipdc/knows", "h123/h0001", "h+123/h0001"] {
            assert!(number_of(Space::Property, &Name::from(name)).is_err(), "{name}");
        }
    }

    /// A package that extends another has the other's items under its own number.
    #[test]
    fn items_are_inherited() {
        assert_eq!(number_of(Space::Statistic, &Name::from("rtp/os")).unwrap().0, [0, 0x0c, 0, 2]);
        assert_eq!(name_of(Space::Statistic, [0, 0x0c, 0, 2]).0.as_str(), "rtp/os");
    }

    #[test]
    fn digit_maps_have_names_of_two_octets() {
        for octets in [*b"dm", *b"z9", [0, 1], *b"h1"] {
            assert_eq!(two_octets(&from_two_octets(octets)).unwrap(), octets);
        }
        assert!(two_octets(&Name::from("plan")).is_err());
    }
}
