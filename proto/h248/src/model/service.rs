//! ServiceChange, its reply, packages and audits (RFC 3525 §7.1.12, §7.1.16, §7.2.8).

use super::{MId, Name, ParameterValue, Property, Text, TimeStamp, Value};

/// Parameters of a ServiceChange request or reply (`Services`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceChange {
    /// Required in requests.
    pub method: Option<Method>,
    /// Required in requests.
    pub reason: Option<Reason>,
    /// Where to send later requests.
    pub address: Option<ServiceChangeAddress>,
    /// The controller to turn to.
    pub mgc_id_to_try: Option<MId>,
    /// In seconds.
    pub delay: Option<u32>,
    /// The profile offered or accepted.
    pub profile: Option<Profile>,
    /// The protocol version offered or accepted.
    pub version: Option<u8>,
    /// Sets the origin of the sender's clock.
    pub timestamp: Option<TimeStamp>,
    /// More ServiceChanges follow (version 3).
    pub incomplete: bool,
    /// What has changed and should be audited (version 2).
    pub audit: Vec<AuditItem>,
    /// Extensions (`X-...`), as they came.
    pub extensions: Vec<Property>,
}

impl ServiceChange {
    /// A request with its two required parameters.
    pub fn new(method: Method, reason: u16) -> Self {
        Self { method: Some(method), reason: Some(Reason::new(reason)), ..Self::default() }
    }
}

/// ServiceChangeMethod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// Service will stop after the delay.
    Graceful,
    /// Service stopped.
    Forced,
    /// Service starts.
    Restart,
    /// Control was lost and is back.
    Disconnected,
    /// Another controller is to take over.
    HandOff,
    /// A failed controller or gateway is replaced.
    Failover,
    /// An extension method.
    Other(Name),
}

/// ServiceChangeReason: a code and a text in one value, `"901 Cold Boot"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(pub Value);

impl Reason {
    /// A registered reason with its text.
    pub fn new(code: u16) -> Self {
        let text = REASONS.iter().find(|(c, _)| *c == code).map_or("Reason", |(_, text)| text);
        Self(Value::Quoted(format!("{code} {text}").into()))
    }

    /// The code, if the value starts with one.
    pub fn code(&self) -> Option<u16> {
        let text = self.0.as_str();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        text.get(..digits)?.parse().ok()
    }
}

/// Registered ServiceChange reasons (IANA, H.248.8).
const REASONS: &[(u16, &str)] = &[
    (900, "Service Restored"),
    (901, "Cold Boot"),
    (902, "Warm Boot"),
    (903, "MGC Directed Change"),
    (904, "Termination malfunctioning"),
    (905, "Termination taken out of service"),
    (906, "Loss of lower layer connectivity"),
    (907, "Transmission Failure"),
    (908, "MG Impending Failure"),
    (909, "MGC Impending Failure"),
    (910, "Media Capability Failure"),
    (911, "Modem Capability Failure"),
    (912, "Mux Capability Failure"),
    (913, "Signal Capability Failure"),
    (914, "Event Capability Failure"),
    (915, "State Loss"),
    (916, "Packages Change"),
    (917, "Capability Change"),
    (918, "Cancel Graceful"),
    (919, "Warm Failover"),
    (920, "Cold Failover"),
];

/// ServiceChangeAddress.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServiceChangeAddress {
    /// A port at the sender's address.
    Port(u16),
    /// A full address.
    MId(MId),
}

/// A profile name and its version, 1 to 99.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// Up to 64 characters.
    pub name: Name,
    /// 1 to 99.
    pub version: u8,
}

impl Profile {
    /// Name and version.
    pub fn new(name: impl Into<Name>, version: u8) -> Self {
        Self { name: name.into(), version }
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// One entry of a Packages descriptor: `name-version`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackageVersion {
    /// The package.
    pub name: Name,
    /// Its version, from 1.
    pub version: u16,
}

impl PackageVersion {
    /// Name and version.
    pub fn new(name: impl Into<Name>, version: u16) -> Self {
        Self { name: name.into(), version }
    }
}

/// The Audit descriptor: what to report. Empty means: only that the thing exists, nothing about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit(pub Vec<AuditItem>);

impl Audit {
    /// Whole descriptors.
    pub fn of(tokens: &[AuditToken]) -> Self {
        Self(tokens.iter().map(|t| AuditItem::Descriptor(*t)).collect())
    }

    /// Whether a whole descriptor of this kind is asked for.
    pub fn asks(&self, token: AuditToken) -> bool {
        self.0.contains(&AuditItem::Descriptor(token))
    }
}

/// One thing to audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditItem {
    /// A whole descriptor.
    Descriptor(AuditToken),
    /// Single items inside one (version 2).
    Individual(Selector),
}

/// Descriptors that can be audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditToken {
    /// Media.
    Media,
    /// Modem.
    Modem,
    /// Mux.
    Mux,
    /// Events.
    Events,
    /// EventBuffer.
    EventBuffer,
    /// Signals.
    Signals,
    /// DigitMap.
    DigitMap,
    /// Statistics.
    Statistics,
    /// ObservedEvents.
    ObservedEvents,
    /// Packages.
    Packages,
}

/// A node of an audit that selects single items (versions 2 and 3): `Media { Stream = 1 { LocalControl { Mode } } }`,
/// or an item of a ContextAudit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// A keyword, in its long form, or a package item.
    pub name: Name,
    /// `= value` and the like: a stream number, a list number, a value to select by.
    pub value: Option<ParameterValue>,
    /// What is inside braces, if there are braces.
    pub inside: Option<Vec<Self>>,
}

impl Selector {
    /// A name alone.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { name: name.into(), value: None, inside: None }
    }
}

/// The Mux descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mux {
    /// `H221`, `H223`, `H226`, `V76`, `Nx64Kservice` or an extension.
    pub kind: Name,
    /// The terminations multiplexed.
    pub terminations: Vec<super::TerminationId>,
}

/// The Modem descriptor (deprecated since version 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modem {
    /// `V18`, `V90`, `SynchISDN` and the like.
    pub kinds: Vec<Name>,
    /// Package properties.
    pub properties: Vec<Property>,
}

/// The Error descriptor (RFC 3525 §7.1.19, codes in H.248.8).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ErrorDescriptor {
    /// 0 to 999.
    pub code: u16,
    /// For people.
    pub text: Option<Text>,
}

impl ErrorDescriptor {
    /// Code and text.
    pub fn new(code: u16, text: impl Into<Text>) -> Self {
        Self { code, text: Some(text.into()) }
    }
}

impl std::fmt::Display for ErrorDescriptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        self.text.as_ref().map_or(Ok(()), |text| write!(f, " {text}"))
    }
}
