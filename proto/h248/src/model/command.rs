//! Commands, their replies and the descriptors they carry (RFC 3525 §7).

use super::{
    Audit, AuditToken, DigitMap, ErrorDescriptor, Events, Media, Modem, Mux, ObservedEvent, ObservedEvents,
    PackageVersion, ServiceChange, Signals, Statistic, TerminationId,
};

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Puts a termination into a context.
    Add,
    /// Changes it.
    Modify,
    /// Moves it from another context into this one.
    Move,
    /// Takes it out.
    Subtract,
    /// Reports what is.
    AuditValue,
    /// Reports what could be.
    AuditCapability,
    /// Gateway to controller: events happened.
    Notify,
    /// Service begins, ends or moves.
    ServiceChange,
}

/// A command of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub verb: Verb,
    /// `O-`: when it fails the commands after it are still executed.
    pub optional: bool,
    /// `W-`: one response for all terminations that a wildcard names.
    pub wildcard_response: bool,
    /// To what; one, except in version 3 lists. Not empty.
    pub terminations: Vec<TerminationId>,
    /// With what; at most one of each kind.
    pub descriptors: Vec<Descriptor>,
}

impl Command {
    /// A command on one termination, without descriptors.
    pub fn new(verb: Verb, termination: impl Into<TerminationId>) -> Self {
        Self {
            verb,
            optional: false,
            wildcard_response: false,
            terminations: vec![termination.into()],
            descriptors: Vec::new(),
        }
    }

    /// Add.
    pub fn add(termination: impl Into<TerminationId>) -> Self {
        Self::new(Verb::Add, termination)
    }

    /// Modify.
    pub fn modify(termination: impl Into<TerminationId>) -> Self {
        Self::new(Verb::Modify, termination)
    }

    /// Subtract. Without an Audit descriptor statistics come back.
    pub fn subtract(termination: impl Into<TerminationId>) -> Self {
        Self::new(Verb::Subtract, termination)
    }

    /// AuditValue.
    pub fn audit_value(termination: impl Into<TerminationId>, audit: Audit) -> Self {
        Self::new(Verb::AuditValue, termination).with(audit)
    }

    /// Notify.
    pub fn notify(termination: impl Into<TerminationId>, observed: ObservedEvents) -> Self {
        Self::new(Verb::Notify, termination).with(observed)
    }

    /// ServiceChange.
    pub fn service_change(termination: impl Into<TerminationId>, parameters: ServiceChange) -> Self {
        Self::new(Verb::ServiceChange, termination).with(parameters)
    }

    /// Adds a descriptor.
    #[must_use]
    pub fn with(mut self, descriptor: impl Into<Descriptor>) -> Self {
        self.descriptors.push(descriptor.into());
        self
    }

    /// Asks for one response for all terminations.
    #[must_use]
    pub fn wildcard_response(mut self) -> Self {
        self.wildcard_response = true;
        self
    }

    /// The first (mostly the only) termination; ALL if there is none.
    pub fn termination(&self) -> &TerminationId {
        const NONE: &TerminationId = &TerminationId::ALL;
        self.terminations.first().unwrap_or(NONE)
    }
}

/// A command of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandReply {
    /// What was done.
    pub verb: Verb,
    /// `AuditValue = Context {...}`: the terminations are what the context holds.
    pub context_audit: bool,
    /// To what.
    pub terminations: Vec<TerminationId>,
    /// The results, or an Error.
    pub descriptors: Vec<Descriptor>,
}

impl CommandReply {
    /// Success without results.
    pub fn new(verb: Verb, termination: impl Into<TerminationId>) -> Self {
        Self { verb, context_audit: false, terminations: vec![termination.into()], descriptors: Vec::new() }
    }

    /// Adds a descriptor.
    #[must_use]
    pub fn with(mut self, descriptor: impl Into<Descriptor>) -> Self {
        self.descriptors.push(descriptor.into());
        self
    }

    /// The first (mostly the only) termination; ALL if there is none.
    pub fn termination(&self) -> &TerminationId {
        const NONE: &TerminationId = &TerminationId::ALL;
        self.terminations.first().unwrap_or(NONE)
    }
}

/// A descriptor of a command or reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descriptor {
    /// Media.
    Media(Media),
    /// Modem.
    Modem(Modem),
    /// Mux.
    Mux(Mux),
    /// Events.
    Events(Events),
    /// EventBuffer.
    EventBuffer(Vec<ObservedEvent>),
    /// Signals.
    Signals(Signals),
    /// DigitMap.
    DigitMap(DigitMap),
    /// Audit.
    Audit(Audit),
    /// Statistics.
    Statistics(Vec<Statistic>),
    /// ObservedEvents.
    ObservedEvents(ObservedEvents),
    /// Packages.
    Packages(Vec<PackageVersion>),
    /// Services.
    ServiceChange(ServiceChange),
    /// Error.
    Error(ErrorDescriptor),
    /// In an audit reply: a descriptor that was asked for and is empty, by name only.
    Empty(AuditToken),
}

macro_rules! descriptor {
    ($($variant:ident($inner:ty)),*) => {$(
        impl From<$inner> for Descriptor {
            fn from(inner: $inner) -> Self {
                Self::$variant(inner)
            }
        }
    )*};
}
descriptor!(
    Media(Media),
    Modem(Modem),
    Mux(Mux),
    Events(Events),
    Signals(Signals),
    DigitMap(DigitMap),
    Audit(Audit),
    Statistics(Vec<Statistic>),
    ObservedEvents(ObservedEvents),
    Packages(Vec<PackageVersion>),
    ServiceChange(ServiceChange),
    Error(ErrorDescriptor)
);

macro_rules! accessors {
    ($($(#[$doc:meta])* $method:ident -> $variant:ident($inner:ty)),* $(,)?) => {
        impl Command {$(
            $(#[$doc])*
            pub fn $method(&self) -> Option<&$inner> {
                self.descriptors.iter().find_map(|d| if let Descriptor::$variant(v) = d { Some(v) } else { None })
            }
        )*}

        impl CommandReply {$(
            $(#[$doc])*
            pub fn $method(&self) -> Option<&$inner> {
                self.descriptors.iter().find_map(|d| if let Descriptor::$variant(v) = d { Some(v) } else { None })
            }
        )*}
    };
}
accessors!(
    /// The Media descriptor.
    media -> Media(Media),
    /// The Events descriptor.
    events -> Events(Events),
    /// The Signals descriptor.
    signals -> Signals(Signals),
    /// The Audit descriptor.
    audit -> Audit(Audit),
    /// The Statistics descriptor.
    statistics -> Statistics(Vec<Statistic>),
    /// The ObservedEvents descriptor.
    observed_events -> ObservedEvents(ObservedEvents),
    /// The Packages descriptor.
    packages -> Packages(Vec<PackageVersion>),
    /// The ServiceChange parameters.
    services -> ServiceChange(ServiceChange),
    /// The Error descriptor.
    error -> Error(ErrorDescriptor),
);
