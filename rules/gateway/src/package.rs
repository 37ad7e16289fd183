//! What of the packages this gateway supports: a list that refers to the table of all of them
//! ([`carnet_h248::package`]), with the values that can be had.
//!
//! Names and numbers, and how sure we are of them, are the table's. Leaves out: agreeing on versions and
//! suites of TLS (`tlscn`), keeping its sessions (`tlsm`), and in a relay keys for it (`crntls`); they are
//! known and refused with error 501.

use carnet_h248::{Name, PackageVersion, ParameterValue, Property, Value};

use crate::Function;
use crate::error::Fault;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In LocalControl.
    Property,
    /// In TerminationState of ROOT.
    RootProperty,
    /// Of a context.
    ContextProperty,
    /// On a termination.
    Event,
    /// On ROOT.
    RootEvent,
    Signal,
    Statistic,
}

/// Which values there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Possible {
    /// `ON` and `OFF`.
    Flag,
    /// Whole numbers from the first to the second.
    Numbers(u64, u64),
    /// Hexadecimal numbers up to this.
    Hexadecimal(u64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A number of percent or `once`.
    Regulation,
    /// Ports: `[first:last]`, `first-last` or one.
    Ports,
    /// Any text.
    Text,
    /// Nothing: events, signals and statistics.
    Nothing,
}

/// A parameter of an event or signal in a request.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) possible: Possible,
    /// The event or signal cannot do without it.
    pub(crate) required: bool,
    /// It may have several values at once.
    pub(crate) list: bool,
}

/// An item that can be asked for.
#[derive(Debug)]
pub(crate) struct Supported {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) possible: Possible,
    /// Told, never set.
    pub(crate) read_only: bool,
    pub(crate) parameters: &'static [Parameter],
}

const fn item(kind: Kind, name: &'static str, possible: Possible) -> Supported {
    Supported { kind, name, possible, read_only: false, parameters: &[] }
}

const fn read_only(kind: Kind, name: &'static str, possible: Possible) -> Supported {
    Supported { kind, name, possible, read_only: true, parameters: &[] }
}

const fn with(kind: Kind, name: &'static str, parameters: &'static [Parameter]) -> Supported {
    Supported { kind, name, possible: Possible::Nothing, read_only: false, parameters }
}

const fn required(name: &'static str, possible: Possible) -> Parameter {
    Parameter { name, possible, required: true, list: false }
}

const fn optional(name: &'static str, possible: Possible) -> Parameter {
    Parameter { name, possible, required: false, list: false }
}

const fn list(name: &'static str, possible: Possible) -> Parameter {
    Parameter { name, possible, required: false, list: true }
}

/// `timerx` beyond this is an error (the range that deployed gateways document).
const LONGEST_HEARTBEAT: u64 = 2_147_480;

/// Integers of packages have 32 bits with a sign (RFC 3525 §12.1.2).
const INTEGER: u64 = i32::MAX as u64;

/// Octets of a datagram, and less than a TPKT packet has.
pub(crate) const LARGEST_MESSAGE: u64 = 65_507;

const CAUSES: Possible = Possible::Words(&["NR", "UR", "FT", "FP", "IW", "UN"]);
const MILLISECONDS: Possible = Possible::Numbers(1, INTEGER);

/// Name and version, as a Packages descriptor lists them. The versions are those of TS 29.334 table
/// 5.14.1.1 where that has them.
const PACKAGES: &[(&str, u16)] = &[
    ("g", 1),
    ("root", 2),
    ("nt", 1),
    ("it", 1),
    ("ocp", 1),
    ("chp", 1),
    ("nb", 1),
    ("seg", 1),
    ("ds", 2),
    ("gm", 2),
    ("tman", 1),
    ("rtcph", 1),
    ("hangterm", 1),
    ("ipnapt", 1),
    ("adr", 1),
    ("adid", 1),
    ("ipdc", 1),
    ("ipra", 1),
    ("tcpbcc", 1),
    ("tlsbsc", 1),
];

/// What an MRFP has besides.
const OF_CONFERENCES: &[(&str, u16)] = &[("fcp", 2), ("crntls", 1), ("crnroom", 1)];

/// Packages that only ROOT realizes.
const OF_ROOT: &[&str] = &["root", "it", "ocp", "chp", "nb", "seg", "ipra"];

/// Packages that are known, so that asking for them is "not implemented" rather than "unknown".
const KNOWN_ONLY: &[&str] = &["tlscn", "tlsm", "crntls", "seplink"];

/// The same in an MRFP, where its own packages come first.
const KNOWN_ONLY_OF_CONFERENCES: &[&str] = &["tlscn", "tlsm", "seplink"];

const USERS: Possible = Possible::Numbers(1, 65_535);

/// Items of [`OF_CONFERENCES`].
const CONFERENCE_ITEMS: &[Supported] = &[
    item(Kind::Property, "crnroom/user", USERS),
    item(Kind::Property, "crnroom/member", Possible::Text),
    item(Kind::Property, "crnroom/nick", Possible::Text),
    item(Kind::Property, "crnroom/speak", Possible::Flag),
    item(Kind::Property, "crnroom/history", Possible::Flag),
    item(Kind::Property, "crnroom/maxsize", Possible::Numbers(1, i64::MAX as u64)),
    item(Kind::Property, "crnroom/types", Possible::Text),
    item(Kind::Property, "crnroom/tls", Possible::Words(&["client", "server"])),
    item(Kind::Property, "crntls/psk", Possible::Text),
    item(Kind::Property, "crntls/pskid", Possible::Text),
    item(Kind::Property, "fcp/chair", Possible::Numbers(0, 65_535)),
    item(Kind::ContextProperty, "crnroom/uri", Possible::Text),
    item(Kind::ContextProperty, "crnroom/subject", Possible::Text),
    item(Kind::ContextProperty, "crnroom/nicknames", Possible::Flag),
    item(Kind::ContextProperty, "crnroom/private", Possible::Flag),
    item(Kind::ContextProperty, "crnroom/moderated", Possible::Numbers(0, 65_535)),
    item(Kind::ContextProperty, "crnroom/historycount", Possible::Numbers(0, INTEGER)),
    item(Kind::ContextProperty, "crnroom/historysecs", Possible::Numbers(0, INTEGER)),
    item(Kind::ContextProperty, "crnroom/maxmessage", Possible::Numbers(1, i64::MAX as u64)),
    item(Kind::ContextProperty, "crnroom/stallsecs", Possible::Numbers(1, INTEGER)),
    item(Kind::ContextProperty, "crnroom/stalloctets", Possible::Numbers(1, i64::MAX as u64)),
    item(Kind::ContextProperty, "crnroom/reserved", Possible::Text),
    item(Kind::ContextProperty, "crnroom/notices", Possible::Flag),
    item(Kind::ContextProperty, "fcp/confid", Possible::Numbers(0, u32::MAX as u64)),
    item(Kind::ContextProperty, "fcp/floors", Possible::Text),
    item(Kind::ContextProperty, "fcp/maxrequests", Possible::Numbers(1, 65_535)),
    item(Kind::ContextProperty, "fcp/state", Possible::Text),
    with(Kind::Event, "crnroom/nickname", &[]),
    with(Kind::Event, "crnroom/released", &[]),
    with(Kind::Event, "crnroom/stalled", &[]),
    with(Kind::Event, "crnroom/sealed", &[]),
    with(Kind::Event, "fcp/floor", &[]),
    with(
        Kind::Signal,
        "fcp/decide",
        &[required("floor", USERS), required("decision", Possible::Words(&["grant", "refuse"]))],
    ),
];

/// Items that only an IMS-AGW or TrGW has: in a conference whoever has the key begins TLS as its stream
/// says.
const RELAY_ITEMS: &[Supported] = &[
    with(Kind::Signal, "tlsbsc/EstBNC", &[]),
    with(Kind::Signal, "tlsbsc/RelBNC", &[optional("Generalcause", CAUSES)]),
];

const ITEMS: &[Supported] = &[
    with(Kind::Event, "g/cause", &[]),
    with(Kind::Event, "g/sc", &[]),
    read_only(Kind::RootProperty, "root/maxNumberOfContexts", Possible::Numbers(1, i64::MAX as u64)),
    read_only(Kind::RootProperty, "root/maxTerminationsPerContext", Possible::Numbers(1, INTEGER)),
    item(Kind::RootProperty, "root/normalMGExecutionTime", MILLISECONDS),
    item(Kind::RootProperty, "root/normalMGCExecutionTime", MILLISECONDS),
    item(Kind::RootProperty, "root/MGProvisionalResponseTimerValue", MILLISECONDS),
    item(Kind::RootProperty, "root/MGCProvisionalResponseTimerValue", MILLISECONDS),
    item(Kind::RootProperty, "root/MGOriginatedPendingLimit", Possible::Numbers(0, INTEGER)),
    item(Kind::RootProperty, "root/MGCOriginatedPendingLimit", Possible::Numbers(0, INTEGER)),
    with(Kind::Event, "nt/netfail", &[]),
    item(Kind::Statistic, "nt/dur", Possible::Nothing),
    item(Kind::Statistic, "nt/os", Possible::Nothing),
    item(Kind::Statistic, "nt/or", Possible::Nothing),
    // Units of 10 ms; 0 switches it off.
    with(Kind::RootEvent, "it/ito", &[required("mit", Possible::Numbers(0, INTEGER))]),
    with(Kind::RootEvent, "ocp/mg_overload", &[]),
    with(Kind::RootEvent, "chp/MGCon", &[]),
    item(Kind::RootProperty, "nb/rate", Possible::Regulation),
    item(Kind::RootProperty, "seg/MGSegmentationTimerValue", MILLISECONDS),
    item(Kind::RootProperty, "seg/MGCSegmentationTimerValue", MILLISECONDS),
    read_only(Kind::RootProperty, "seg/MGMaxPDUSize", Possible::Numbers(500, LARGEST_MESSAGE)),
    item(Kind::RootProperty, "seg/MGCMaxPDUSize", Possible::Numbers(500, INTEGER)),
    item(Kind::Property, "ds/dscp", Possible::Hexadecimal(0x3f)),
    item(Kind::Property, "ds/tc", Possible::Flag),
    item(Kind::Property, "gm/saf", Possible::Flag),
    item(Kind::Property, "gm/sam", Possible::Text),
    item(Kind::Property, "gm/spf", Possible::Flag),
    item(Kind::Property, "gm/spr", Possible::Ports),
    item(Kind::Property, "gm/esas", Possible::Flag),
    item(Kind::Property, "gm/lsa", Possible::Text),
    item(Kind::Property, "gm/esps", Possible::Flag),
    item(Kind::Property, "gm/lsp", Possible::Numbers(0, 65_535)),
    // There is no RTCP beside TCP: accepted, without effect.
    item(Kind::Property, "gm/rsb", Possible::Flag),
    item(Kind::Property, "rtcph/rsb", Possible::Flag),
    item(Kind::Property, "tman/pol", Possible::Flag),
    item(Kind::Property, "tman/sdr", Possible::Numbers(1, INTEGER)),
    item(Kind::Property, "tman/mbs", Possible::Numbers(0, INTEGER)),
    item(Kind::Property, "tman/pdr", Possible::Numbers(1, INTEGER)),
    item(Kind::Property, "tman/dvt", Possible::Numbers(0, INTEGER)),
    // Seconds; 0 switches it off.
    with(Kind::Event, "hangterm/thb", &[required("timerx", Possible::Numbers(0, LONGEST_HEARTBEAT))]),
    with(Kind::Signal, "ipnapt/latch", &[optional("napt", Possible::Words(&["OFF", "LATCH", "RELATCH"]))]),
    with(Kind::Event, "adr/rsac", &[]),
    with(
        Kind::Event,
        "adid/ipstop",
        &[
            // Seconds.
            required("dt", Possible::Numbers(1, INTEGER)),
            optional("dir", Possible::Words(&["IN", "OUT", "BOTH"])),
        ],
    ),
    item(Kind::Property, "ipdc/realm", Possible::Text),
    read_only(Kind::RootProperty, "ipra/ar", Possible::Text),
    with(Kind::RootEvent, "ipra/arc", &[]),
    with(Kind::Signal, "tcpbcc/EstBNC", &[]),
    with(Kind::Signal, "tcpbcc/RelBNC", &[optional("Generalcause", CAUSES)]),
    with(Kind::Event, "tcpbcc/BNCChange", &[list("Type", Possible::Words(&["EST", "REL"]))]),
    with(Kind::Event, "tlsbsc/BNCChange", &[list("Type", Possible::Words(&["EST", "REL"]))]),
];

/// Name and version of all packages.
fn of_function(function: Function) -> impl Iterator<Item = &'static (&'static str, u16)> {
    let more = if function == Function::Conference { OF_CONFERENCES } else { &[] };
    PACKAGES.iter().chain(more)
}

/// The list of packages for an audit (RFC 3525 §7.1.16): all for ROOT, else those that terminations
/// realize.
pub(crate) fn packages(function: Function, root: bool) -> Vec<PackageVersion> {
    let here = of_function(function).filter(|(name, _)| root || !OF_ROOT.contains(name));
    here.map(|&(name, version)| PackageVersion::new(name, version)).collect()
}

/// All items of a kind.
pub(crate) fn items(function: Function, kind: Kind) -> impl Iterator<Item = &'static Supported> {
    let more = match function {
        Function::Relay => RELAY_ITEMS,
        Function::Conference => CONFERENCE_ITEMS,
    };
    ITEMS.iter().chain(more).filter(move |item| item.kind == kind)
}

/// The item of that name and kind, or the code that tells why it is refused: 440 unknown package, 445
/// property, 451 event, 452 signal, 453 statistic, 455 property of another descriptor, 501 known but not
/// implemented, 512 event that cannot be detected there.
pub(crate) fn check(function: Function, kind: Kind, name: &Name) -> Result<&'static Supported, Fault> {
    if let Some(item) = items(function, kind).find(|item| *name == *item.name) {
        return Ok(item);
    }
    let elsewhere = |kind| items(function, kind).any(|item| *name == *item.name);
    match kind {
        Kind::Property | Kind::RootProperty | Kind::ContextProperty
            if [Kind::Property, Kind::RootProperty, Kind::ContextProperty].into_iter().any(elsewhere) =>
        {
            return Err(Fault::request(455, format!("Property is illegal there: {name}")));
        }
        Kind::Event if elsewhere(Kind::RootEvent) => {
            return Err(Fault::request(512, format!("{name} cannot be detected on a termination")));
        }
        Kind::RootEvent if elsewhere(Kind::Event) => {
            return Err(Fault::request(512, format!("{name} cannot be detected on ROOT")));
        }
        _ => {}
    }
    check_package(function, name.package(), name)?;
    let (code, what) = match kind {
        Kind::Property | Kind::RootProperty | Kind::ContextProperty => (445, "property"),
        Kind::Event | Kind::RootEvent => (451, "event"),
        Kind::Signal => (452, "signal"),
        Kind::Statistic => (453, "statistic"),
    };
    Err(Fault::unsupported(code, format!("No such {what}: {name}")))
}

/// Refuses a package that this gateway does not have.
pub(crate) fn check_package(function: Function, package: &str, name: &Name) -> Result<(), Fault> {
    let is_package = |known: &str| known.eq_ignore_ascii_case(package);
    let known_only = match function {
        Function::Relay => KNOWN_ONLY,
        Function::Conference => KNOWN_ONLY_OF_CONFERENCES,
    };
    if known_only.iter().any(|known| is_package(known)) {
        return Err(Fault::unsupported(501, format!("Not implemented: {name}")));
    }
    if !of_function(function).any(|(known, _)| is_package(known)) {
        return Err(Fault::unsupported(440, format!("Unsupported or unknown package: {package}")));
    }
    Ok(())
}

/// Checks the package parameters of an event or signal: 446 unknown, 454 no such value, 457 missing.
pub(crate) fn check_parameters(item: &Supported, given: &[Property]) -> Result<(), Fault> {
    for property in given {
        let Some(known) = item.parameters.iter().find(|p| property.name == *p.name) else {
            return Err(Fault::request(
                446,
                format!("Unknown parameter of {}: {}", item.name, property.name),
            ));
        };
        let values: &[Value] = match &property.value {
            ParameterValue::Equal(value) => std::slice::from_ref(value),
            ParameterValue::AnyOf(values) | ParameterValue::AllOf(values) if known.list => values,
            other => other.single().map(std::slice::from_ref).unwrap_or_default(),
        };
        let wrong = values.iter().find(|value| !known.possible.allows(value));
        if let Some(wrong) = wrong {
            let text = format!("No such value of {} of {}: {wrong}", known.name, item.name);
            return Err(Fault::request(454, text));
        }
        if values.is_empty() {
            return Err(Fault::request(454, format!("{} of {} takes one value", known.name, item.name)));
        }
    }
    let missing = item.parameters.iter().find(|p| p.required && !given.iter().any(|g| g.name == *p.name));
    missing.map_or(Ok(()), |p| {
        Err(Fault::request(457, format!("Missing parameter of {}: {}", item.name, p.name)))
    })
}

impl Possible {
    /// Whether a value is one of these.
    pub(crate) fn allows(self, value: &Value) -> bool {
        match self {
            Self::Flag => value.as_bool().is_some(),
            Self::Numbers(lowest, highest) => value.as_u64().is_some_and(|n| (lowest..=highest).contains(&n)),
            Self::Hexadecimal(highest) => u64::from_str_radix(value.as_str(), 16).is_ok_and(|n| n <= highest),
            Self::Words(words) => words.iter().any(|w| w.eq_ignore_ascii_case(value.as_str())),
            Self::Regulation => {
                value.as_str().eq_ignore_ascii_case("once") || value.as_u64().is_some_and(|n| n <= 100)
            }
            Self::Ports | Self::Text => true,
            Self::Nothing => false,
        }
    }

    /// As a capability audit tells them; None where any text can be.
    pub(crate) fn told(self) -> Option<ParameterValue> {
        let word = |word: &'static str| Value::from(word);
        Some(match self {
            Self::Flag => ParameterValue::AnyOf(vec![word("ON"), word("OFF")]),
            Self::Numbers(lowest, highest) => ParameterValue::Range(lowest.into(), highest.into()),
            Self::Hexadecimal(highest) => {
                ParameterValue::Range(word("0"), Value::from(format!("{highest:X}")))
            }
            Self::Words(words) => ParameterValue::AnyOf(words.iter().map(|w| word(w)).collect()),
            Self::Regulation => ParameterValue::Range(0u8.into(), 100u8.into()),
            Self::Ports => ParameterValue::Range(0u8.into(), 65_535u16.into()),
            Self::Text | Self::Nothing => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnet_h248::package as table;

    #[test]
    fn names_are_compared_without_case_and_faults_tell_why() {
        let code = |kind, name: &'static str| {
            check(Function::Relay, kind, &name.into()).map(drop).map_err(|f| f.code())
        };
        assert_eq!(code(Kind::Property, "IPDC/Realm"), Ok(()));
        assert_eq!(code(Kind::Property, "ipdc/kingdom"), Err(445));
        assert_eq!(code(Kind::Property, "root/normalMGExecutionTime"), Err(455));
        assert_eq!(code(Kind::RootProperty, "ds/dscp"), Err(455));
        assert_eq!(code(Kind::Event, "hangterm/hang"), Err(451));
        assert_eq!(code(Kind::Event, "chp/MGCon"), Err(512));
        assert_eq!(code(Kind::RootEvent, "g/cause"), Err(512));
        assert_eq!(code(Kind::Signal, "ipnapt/unlatch"), Err(452));
        assert_eq!(code(Kind::Statistic, "nt/pl"), Err(453));
        assert_eq!(code(Kind::Signal, "cg/rt"), Err(440));
        assert_eq!(code(Kind::Event, "tlsbsc/BNCChange"), Ok(()));
        assert_eq!(code(Kind::Event, "tlscn/x"), Err(501));
        assert_eq!(code(Kind::Property, "crntls/psk"), Err(501));
    }

    /// What we support is in the table, as what it is there; so are its parameters.
    #[test]
    fn every_item_is_in_the_table() {
        for item in ITEMS.iter().chain(RELAY_ITEMS).chain(CONFERENCE_ITEMS) {
            let package = item.name.split('/').next().unwrap();
            assert!(of_function(Function::Conference).any(|(name, _)| *name == package), "{}", item.name);
            let known = table::item(&item.name.into()).unwrap_or_else(|| panic!("{}", item.name));
            let kind = match item.kind {
                Kind::Property if item.name == "crntls/psk" => table::Kind::Secret,
                Kind::Property => table::Kind::StreamProperty,
                Kind::ContextProperty => table::Kind::ContextProperty,
                Kind::RootProperty => table::Kind::TerminationProperty,
                Kind::Event | Kind::RootEvent => table::Kind::Event,
                Kind::Signal => table::Kind::Signal,
                Kind::Statistic => table::Kind::Statistic,
            };
            assert_eq!(known.kind, kind, "{}", item.name);
            for parameter in item.parameters {
                assert!(known.parameters.iter().any(|p| p.name == parameter.name), "{}", parameter.name);
            }
        }
        for (name, version) in of_function(Function::Conference) {
            assert!(table::package(name).unwrap().version >= *version, "{name}");
        }
        // The mandatory packages of TS 29.334 table 5.14.1.1.
        for name in ["ipnapt", "g", "root", "gm", "tman", "ipdc", "hangterm", "ds", "rtcph"] {
            assert!(packages(Function::Relay, true).iter().any(|p| p.name == name), "{name}");
        }
    }

    #[test]
    fn parameters_are_checked() {
        let code = |name: &'static str, kind, given: &[(&'static str, &'static str)]| {
            let given: Vec<_> = given.iter().map(|(n, v)| Property::new(*n, *v)).collect();
            check_parameters(check(Function::Relay, kind, &name.into()).unwrap(), &given)
                .map_err(|f| f.code())
        };
        assert_eq!(code("adid/ipstop", Kind::Event, &[("dt", "60"), ("dir", "in")]), Ok(()));
        assert_eq!(code("adid/ipstop", Kind::Event, &[("dir", "IN")]), Err(457));
        assert_eq!(code("adid/ipstop", Kind::Event, &[("dt", "0")]), Err(454));
        assert_eq!(code("adid/ipstop", Kind::Event, &[("dt", "60"), ("dir", "UP")]), Err(454));
        assert_eq!(code("tcpbcc/RelBNC", Kind::Signal, &[("Generalcause", "XX")]), Err(454));
        assert_eq!(code("tcpbcc/EstBNC", Kind::Signal, &[("colour", "1")]), Err(446));
    }
}
