//! The package items this gateway supports, as data.
//!
//! Names marked with a star could not be read in their Recommendation and are this project's
//! working choice: H.248.89 (`tcpbcc`), the parameters of `adid/ipstop` and `ipnapt/latch`.

use carnet_h248::{Name, PackageVersion};

use crate::error::Fault;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In LocalControl.
    Property,
    /// In TerminationState of ROOT.
    RootProperty,
    Event,
    Signal,
    Statistic,
}

/// Name and version, as a Packages descriptor lists them.
const PACKAGES: &[(&str, u16)] = &[
    ("g", 1),
    ("root", 2),
    ("nt", 1),
    ("it", 1),
    ("ds", 2),
    ("gm", 2),
    ("tman", 1),
    ("rtcph", 1),
    ("hangterm", 1),
    ("ipnapt", 1),
    ("adr", 1),
    ("adid", 1),
    ("ipdc", 1),
    ("tcpbcc", 1),
];

/// Packages that are known, so that asking for them is "not implemented" rather than "unknown".
const KNOWN_ONLY: &[&str] = &["tlsbsc", "tlscn", "tlsm", "crntls", "seplink"];

const ITEMS: &[(Kind, &str)] = &[
    (Kind::Event, "g/cause"),
    (Kind::Event, "g/sc"),
    (Kind::RootProperty, "root/maxNumberOfContexts"),
    (Kind::RootProperty, "root/maxTerminationsPerContext"),
    (Kind::RootProperty, "root/normalMGExecutionTime"),
    (Kind::RootProperty, "root/normalMGCExecutionTime"),
    (Kind::RootProperty, "root/MGProvisionalResponseTimerValue"),
    (Kind::RootProperty, "root/MGCProvisionalResponseTimerValue"),
    (Kind::RootProperty, "root/MGOriginatedPendingLimit"),
    (Kind::RootProperty, "root/MGCOriginatedPendingLimit"),
    (Kind::Statistic, "nt/dur"),
    (Kind::Statistic, "nt/os"),
    (Kind::Statistic, "nt/or"),
    (Kind::Event, "it/ito"),
    (Kind::Property, "ds/dscp"),
    (Kind::Property, "ds/tc"),
    (Kind::Property, "gm/saf"),
    (Kind::Property, "gm/sam"),
    (Kind::Property, "gm/spf"),
    (Kind::Property, "gm/spr"),
    (Kind::Property, "gm/esas"),
    (Kind::Property, "gm/lsa"),
    (Kind::Property, "gm/esps"),
    (Kind::Property, "gm/lsp"),
    // There is no RTCP beside TCP: accepted, without effect.
    (Kind::Property, "gm/rsb"),
    (Kind::Property, "rtcph/rsb"),
    (Kind::Property, "tman/pol"),
    (Kind::Property, "tman/sdr"),
    (Kind::Property, "tman/mbs"),
    (Kind::Property, "tman/pdr"),
    (Kind::Property, "tman/dvt"),
    (Kind::Event, "hangterm/thb"),
    (Kind::Signal, "ipnapt/latch"),
    (Kind::Event, "adr/rsac"),
    (Kind::Event, "adid/ipstop"),
    (Kind::Property, "ipdc/realm"),
    (Kind::Signal, "tcpbcc/EstBNC"),
    (Kind::Signal, "tcpbcc/RelBNC"),
    (Kind::Event, "tcpbcc/BNCChange"),
];

/// The list of packages for an audit.
pub(crate) fn packages() -> Vec<PackageVersion> {
    PACKAGES.iter().map(|&(name, version)| PackageVersion::new(name, version)).collect()
}

/// All items of a kind.
pub(crate) fn items(kind: Kind) -> impl Iterator<Item = &'static str> {
    ITEMS.iter().filter(move |(k, _)| *k == kind).map(|(_, name)| *name)
}

/// Refuses an item that this gateway does not have, with the code that tells why.
pub(crate) fn check(kind: Kind, name: &Name) -> Result<(), Fault> {
    if items(kind).any(|item| *name == *item) {
        return Ok(());
    }
    let package = name.package();
    let is_package = |known: &str| known.eq_ignore_ascii_case(package);
    if KNOWN_ONLY.iter().any(|known| is_package(known)) {
        return Err(Fault::unsupported(501, format!("Not implemented: {name}")));
    }
    if !PACKAGES.iter().any(|(known, _)| is_package(known)) {
        return Err(Fault::unsupported(440, format!("Unsupported or unknown package: {package}")));
    }
    let (code, what) = match kind {
        Kind::Property | Kind::RootProperty => (445, "property"),
        Kind::Event => (451, "event"),
        Kind::Signal => (452, "signal"),
        Kind::Statistic => (453, "statistic"),
    };
    Err(Fault::unsupported(code, format!("No such {what}: {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_faults_tell_why() {
        let code = |kind, name: &'static str| check(kind, &name.into()).map_err(|f| f.code());
        assert_eq!(code(Kind::Property, "IPDC/Realm"), Ok(()));
        assert_eq!(code(Kind::Property, "ipdc/kingdom"), Err(445));
        assert_eq!(code(Kind::Event, "hangterm/hang"), Err(451));
        assert_eq!(code(Kind::Signal, "ipnapt/unlatch"), Err(452));
        assert_eq!(code(Kind::Signal, "cg/rt"), Err(440));
        assert_eq!(code(Kind::Event, "tlsbsc/BNCChange"), Err(501));
    }

    #[test]
    fn every_item_belongs_to_a_listed_package() {
        for (_, item) in ITEMS {
            let package = item.split('/').next().unwrap();
            assert!(PACKAGES.iter().any(|(name, _)| *name == package), "{item}");
        }
    }
}
