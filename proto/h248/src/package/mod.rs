//! What packages define: properties, events, signals and statistics with their names, numbers and kinds.
//!
//! One table, so that a name which had to be guessed is corrected in one place. [`Confidence`] says
//! for each item where it comes from. The text encoding does not need the table: what is not in it
//! travels unchanged. The binary encoding has numbers from it. It serves to answer with the right
//! error (440, 445, 451, 452, 453) and to hide keys.

mod table;

pub use table::PACKAGES;

use std::sync::LazyLock;

use crate::model::{ErrorDescriptor, Name, PackageVersion};

/// A package.
#[derive(Debug)]
pub struct Package {
    /// Its name in the text encoding.
    pub name: &'static str,
    /// Its number (IANA registry; 0x8000 and above is private).
    pub id: u16,
    /// The version that the items below belong to.
    pub version: u16,
    /// The package whose items it has too.
    pub extends: Option<&'static str>,
    /// What it defines and we know.
    pub items: &'static [Item],
}

/// Something a package defines.
#[derive(Debug)]
pub struct Item {
    /// Its name in the text encoding.
    pub name: &'static str,
    /// Its number in the binary encoding, if known.
    pub id: Option<u16>,
    /// What it is.
    pub kind: Kind,
    /// How its value is written; meaningless for events and signals.
    pub value: ValueType,
    /// How sure we are of the name.
    pub confidence: Confidence,
    /// Parameters of an event or signal.
    pub parameters: &'static [Parameter],
}

/// A parameter of an event or signal.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in the text encoding.
    pub name: &'static str,
    /// Its number in the binary encoding, if known.
    pub id: Option<u16>,
    /// How its value is written.
    pub value: ValueType,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A property in LocalControl.
    StreamProperty,
    /// A property in TerminationState.
    TerminationProperty,
    /// A property of a context (version 3).
    ContextProperty,
    /// A property in LocalControl that carries key material: written, never read back, never shown.
    Secret,
    /// An event.
    Event,
    /// A signal.
    Signal,
    /// A statistic.
    Statistic,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// `ON` or `OFF`.
    Boolean,
    /// A decimal number.
    Integer,
    /// A decimal number of 64 bits.
    Double,
    /// Text, quoted where needed.
    Text,
    /// Hexadecimal digits.
    Octets,
    /// One of these words; the number is that of the binary encoding.
    Word(&'static [(&'static str, u32)]),
    /// No value.
    None,
}

/// Where our knowledge of an item comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Our own choice, because the text of the Recommendation could not be read.
    Provisional,
    /// From memory.
    Recalled,
    /// From vendors' manuals.
    Vendor,
    /// From a standard, or a dissector that quotes one.
    Standard,
}

/// The package of that name.
pub fn package(name: &str) -> Option<&'static Package> {
    PACKAGES.iter().find(|p| p.name.eq_ignore_ascii_case(name))
}

/// The item called `package/item`, also one that the package has from the package it extends.
pub fn item(name: &Name) -> Option<&'static Item> {
    let mut found = package(name.package());
    // Chains of extension are short; the bound only guards the table.
    for _ in 0..4 {
        let package = found?;
        let item = package.items.iter().find(|i| i.name.eq_ignore_ascii_case(name.item()));
        if item.is_some() {
            return item;
        }
        found = package.extends.and_then(self::package);
    }
    None
}

/// Checks that a name is known and of the right kind.
///
/// # Errors
/// The descriptor to answer with: 440 unknown package, 445 property, 451 event, 452 signal, 453
/// statistic.
pub fn expect(name: &Name, kind: Kind) -> Result<&'static Item, ErrorDescriptor> {
    if package(name.package()).is_none() {
        return Err(ErrorDescriptor::new(440, format!("package {} is not supported", name.package())));
    }
    let (code, what) = match kind {
        Kind::StreamProperty | Kind::TerminationProperty | Kind::ContextProperty | Kind::Secret => {
            (445, "property")
        }
        Kind::Event => (451, "event"),
        Kind::Signal => (452, "signal"),
        Kind::Statistic => (453, "statistic"),
    };
    let same = |found: Kind| found == kind || (found == Kind::Secret && kind == Kind::StreamProperty);
    item(name)
        .filter(|i| same(i.kind))
        .ok_or_else(|| ErrorDescriptor::new(code, format!("{what} {name} is not supported")))
}

/// Whether a property carries key material that must not be shown.
pub fn is_secret(name: &Name) -> bool {
    // Asked for every property of every message, and true of hardly any.
    static SECRETS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let of = |package: &'static Package| {
            let chain = std::iter::successors(Some(package), |p| p.extends.and_then(self::package)).take(4);
            let items = chain.flat_map(|p| p.items).filter(|i| i.kind == Kind::Secret);
            items.map(move |i| format!("{}/{}", package.name, i.name)).collect::<Vec<_>>()
        };
        PACKAGES.iter().flat_map(of).collect()
    });
    let name = name.as_bytes();
    SECRETS.iter().any(|secret| secret.as_bytes().eq_ignore_ascii_case(name))
}

/// A Packages descriptor of these packages, with the versions of the table. Unknown names are left out.
pub fn versions(names: &[&str]) -> Vec<PackageVersion> {
    names.iter().filter_map(|n| package(n)).map(|p| PackageVersion::new(p.name, p.version)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::*;
    use crate::text::{Limits, parse};
    use std::collections::HashSet;

    #[test]
    fn names_and_numbers_are_unique() {
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        for package in PACKAGES {
            assert!(names.insert(package.name.to_lowercase()) && ids.insert(package.id), "{}", package.name);
            assert!(package.extends.is_none_or(|e| super::package(e).is_some()));
            let mut items = HashSet::new();
            for item in package.items {
                assert!(items.insert(item.name.to_lowercase()), "{}/{}", package.name, item.name);
                assert!(item.parameters.is_empty() || matches!(item.kind, Kind::Event | Kind::Signal));
            }
        }
    }

    #[test]
    fn what_is_unknown_has_its_error() {
        let code = |name: &'static str, kind| expect(&Name::from(name), kind).unwrap_err().code;
        assert_eq!(code("nope/x", Kind::Event), 440);
        assert_eq!(code("ipdc/nope", Kind::StreamProperty), 445);
        assert_eq!(code("g/nope", Kind::Event), 451);
        assert_eq!(code("ipnapt/nope", Kind::Signal), 452);
        assert_eq!(code("nt/jit", Kind::Statistic), 453);
        assert!(expect(&Name::from("IPDC/Realm"), Kind::StreamProperty).is_ok());
        assert!(is_secret(&Name::from("crntls/PSK")) && !is_secret(&Name::from("crntls/pskid")));
    }

    /// Everything the worked messages name is in the table, and of the kind they use it as.
    #[test]
    fn the_worked_messages_use_known_items() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        let mut checked = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|e| e != "txt") {
                continue;
            }
            let octets = std::fs::read(path).unwrap();
            let message = parse(&octets, &Limits::default()).unwrap();
            for transaction in message.transactions() {
                let Transaction::Request(request) = transaction else { continue };
                for command in request.actions.iter().flat_map(|a| &a.commands) {
                    for stream in command.media().iter().flat_map(|m| &m.streams) {
                        for property in stream.local_control.iter().flat_map(|c| &c.properties) {
                            expect(&property.name, Kind::StreamProperty).unwrap();
                            checked += 1;
                        }
                    }
                    for event in command.events().iter().flat_map(|e| &e.events) {
                        let item = expect(&event.name, Kind::Event).unwrap();
                        for parameter in &event.parameters {
                            assert!(item.parameters.iter().any(|p| parameter.name == *p.name));
                        }
                        checked += 1;
                    }
                    for event in command.observed_events().iter().flat_map(|e| &e.events) {
                        let item = expect(&event.name, Kind::Event).unwrap();
                        for parameter in &event.parameters {
                            assert!(item.parameters.iter().any(|p| parameter.name == *p.name));
                        }
                    }
                    for signal in command.signals().iter().flat_map(|s| s.iter()) {
                        expect(&signal.name, Kind::Signal).unwrap();
                    }
                }
            }
        }
        assert!(checked > 30);
    }
}
