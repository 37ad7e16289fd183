//! Events, signals and digit maps (RFC 3525 §7.1.9 to §7.1.14, §7.1.17).

use super::value::find;
use super::{Name, ParameterValue, Property, RequestId, Text, TimeStamp, Value};

/// The Events descriptor: what the gateway shall tell the controller about. Empty means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Events {
    /// Comes back in ObservedEvents. Absent exactly when the list is empty.
    pub request_id: Option<RequestId>,
    /// The events.
    pub events: Vec<RequestedEvent>,
}

impl Events {
    /// An empty list under a number; add to it with [`Events::event`].
    pub fn new(request_id: u32) -> Self {
        Self { request_id: Some(RequestId(request_id)), events: Vec::new() }
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: RequestedEvent) -> Self {
        self.events.push(event);
        self
    }

    /// The first request for that event.
    pub fn find(&self, name: &str) -> Option<&RequestedEvent> {
        self.events.iter().find(|e| e.name == *name)
    }
}

/// One event asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedEvent {
    /// `package/item`, also with `*`.
    pub name: Name,
    /// On which stream.
    pub stream: Option<u16>,
    /// Signals go on when it happens.
    pub keep_active: bool,
    /// The digit map that decides.
    pub digit_map: Option<DigitMap>,
    /// Descriptors that replace the current ones when it happens.
    pub embed: Option<Embed>,
    /// How to tell the controller (version 3).
    pub notify: Option<NotifyBehaviour>,
    /// Forget the other events when it happens (version 3).
    pub reset_events: bool,
    /// Package parameters.
    pub parameters: Vec<Property>,
}

impl RequestedEvent {
    /// The event without parameters.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            stream: None,
            keep_active: false,
            digit_map: None,
            embed: None,
            notify: None,
            reset_events: false,
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        self.parameters.push(Property::new(name, value));
        self
    }

    /// A parameter's value, if it is a single one.
    pub fn value(&self, name: &str) -> Option<&Value> {
        find(&self.parameters, name)?.single()
    }
}

/// Embedded descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Embed {
    /// New signals.
    pub signals: Option<Signals>,
    /// New events.
    pub events: Option<Events>,
}

/// How an event is told to the controller (version 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyBehaviour {
    /// At once.
    Immediate,
    /// Not at all.
    Never,
    /// As the notification behaviour package regulates, with what takes effect when it is told.
    Regulated(Option<Embed>),
}

/// The ObservedEvents descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedEvents {
    /// Of the Events descriptor.
    pub request_id: RequestId,
    /// What happened, in order.
    pub events: Vec<ObservedEvent>,
}

impl ObservedEvents {
    /// An empty list under a number; add to it with [`ObservedEvents::event`].
    pub fn new(request_id: RequestId) -> Self {
        Self { request_id, events: Vec::new() }
    }

    /// Adds an event.
    #[must_use]
    pub fn event(mut self, event: ObservedEvent) -> Self {
        self.events.push(event);
        self
    }
}

/// One event that happened; also one that is buffered (EventBuffer descriptor).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedEvent {
    /// When.
    pub timestamp: Option<TimeStamp>,
    /// `package/item`.
    pub name: Name,
    /// On which stream.
    pub stream: Option<u16>,
    /// Package parameters.
    pub parameters: Vec<Property>,
}

impl ObservedEvent {
    /// The event without time, stream or parameters.
    pub fn new(name: impl Into<Name>) -> Self {
        Self { timestamp: None, name: name.into(), stream: None, parameters: Vec::new() }
    }

    /// When it happened.
    #[must_use]
    pub fn at(mut self, timestamp: TimeStamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// On which stream.
    #[must_use]
    pub fn stream(mut self, id: u16) -> Self {
        self.stream = Some(id);
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        self.parameters.push(Property::new(name, value));
        self
    }

    /// A parameter's value, if it is a single one.
    pub fn value(&self, name: &str) -> Option<&Value> {
        find(&self.parameters, name)?.single()
    }
}

/// The Signals descriptor. Empty stops all signals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signals(pub Vec<SignalItem>);

impl Signals {
    /// A descriptor with one signal.
    pub fn with(signal: Signal) -> Self {
        Self(vec![SignalItem::Signal(signal)])
    }

    /// All signals, those in lists too.
    pub fn iter(&self) -> impl Iterator<Item = &Signal> {
        self.0.iter().flat_map(|item| match item {
            SignalItem::Signal(s) => std::slice::from_ref(s),
            SignalItem::List(l) => l.signals.as_slice(),
        })
    }

    /// The first signal of that name.
    pub fn find(&self, name: &str) -> Option<&Signal> {
        self.iter().find(|s| s.name == *name)
    }
}

/// A signal or a list of them played in sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalItem {
    /// One.
    Signal(Signal),
    /// Several, one after the other.
    List(SignalList),
}

/// SignalList.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalList {
    /// Its number.
    pub id: u16,
    /// Its signals; not empty.
    pub signals: Vec<Signal>,
}

/// One signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// `package/item`.
    pub name: Name,
    /// On which stream.
    pub stream: Option<u16>,
    /// How it ends, if not as its package says.
    pub kind: Option<SignalType>,
    /// In hundredths of a second.
    pub duration: Option<u16>,
    /// At which endings the controller is told.
    pub notify_completion: Option<Vec<Completion>>,
    /// Goes on when an event happens.
    pub keep_active: bool,
    /// To which side it is played (version 3).
    pub direction: Option<Direction>,
    /// Comes back with its completion (version 3).
    pub request_id: Option<RequestId>,
    /// Silence between repetitions in milliseconds (version 3).
    pub intersignal_delay: Option<u16>,
    /// Package parameters.
    pub parameters: Vec<Property>,
}

impl Signal {
    /// The signal without parameters.
    pub fn new(name: impl Into<Name>) -> Self {
        Self {
            name: name.into(),
            stream: None,
            kind: None,
            duration: None,
            notify_completion: None,
            keep_active: false,
            direction: None,
            request_id: None,
            intersignal_delay: None,
            parameters: Vec::new(),
        }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        self.parameters.push(Property::new(name, value));
        self
    }

    /// A parameter's value, if it is a single one.
    pub fn value(&self, name: &str) -> Option<&Value> {
        find(&self.parameters, name)?.single()
    }
}

/// SignalType.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalType {
    /// Until turned off.
    OnOff,
    /// Until turned off or its time is over.
    TimeOut,
    /// Ends by itself.
    Brief,
}

/// How a signal ended (NotifyCompletion).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Completion {
    /// Its time was over.
    TimeOut,
    /// An event stopped it.
    InterruptByEvent,
    /// A new Signals descriptor stopped it.
    InterruptBySignals,
    /// Something else.
    Other,
    /// One repetition is over (version 3).
    Iteration,
}

/// To which side a signal is played (version 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of the context.
    External,
    /// Into it.
    Internal,
    /// Both.
    Both,
}

/// A digit map by name, by value or both. The value is kept as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DigitMap {
    /// Its name.
    pub name: Option<Name>,
    /// Timers and patterns, without white space around.
    pub value: Option<Text>,
}
