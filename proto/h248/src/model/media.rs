//! The Media descriptor and what is inside it (RFC 3525 §7.1.4 to §7.1.8, §7.1.15).

use super::value::find;
use super::{Name, ParameterValue, Property, Value};
use bytes::Bytes;
use std::fmt;

/// The Media descriptor: state of a termination and its streams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// What is not specific to a stream.
    pub termination_state: Option<TerminationState>,
    /// The streams.
    pub streams: Vec<Stream>,
    /// The single stream's parameters stand in Media itself, and its number 1 is implied.
    pub implied_stream: bool,
}

impl Media {
    /// A descriptor with one stream.
    pub fn with_stream(stream: Stream) -> Self {
        Self { streams: vec![stream], ..Self::default() }
    }

    /// The stream of that number.
    pub fn stream(&self, id: u16) -> Option<&Stream> {
        self.streams.iter().find(|s| s.id == id)
    }
}

/// One stream of a termination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    /// Its number, from 1.
    pub id: u16,
    /// Properties between gateway and controller; replaces the former one as a whole.
    pub local_control: Option<LocalControl>,
    /// What the gateway receives.
    pub local: Option<SessionDescription>,
    /// What the gateway sends.
    pub remote: Option<SessionDescription>,
    /// Statistics kept for this stream (version 3).
    pub statistics: Option<Vec<Statistic>>,
}

impl Stream {
    /// An empty stream.
    pub fn new(id: u16) -> Self {
        Self { id, ..Self::default() }
    }

    /// Sets the mode, making a LocalControl if there is none.
    #[must_use]
    pub fn mode(mut self, mode: StreamMode) -> Self {
        self.local_control.get_or_insert_default().mode = Some(mode);
        self
    }

    /// Adds a LocalControl property.
    #[must_use]
    pub fn property(mut self, name: impl Into<Name>, value: impl Into<ParameterValue>) -> Self {
        let property = Property::new(name, value);
        self.local_control.get_or_insert_default().properties.push(property);
        self
    }

    /// Sets the Local descriptor.
    #[must_use]
    pub fn local(mut self, sdp: impl Into<SessionDescription>) -> Self {
        self.local = Some(sdp.into());
        self
    }

    /// Sets the Remote descriptor.
    #[must_use]
    pub fn remote(mut self, sdp: impl Into<SessionDescription>) -> Self {
        self.remote = Some(sdp.into());
        self
    }
}

/// The gate (RFC 3525 §7.1.7). Send and receive are seen from outside the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamMode {
    /// Sends only.
    SendOnly,
    /// Receives only.
    ReceiveOnly,
    /// Both.
    SendReceive,
    /// Neither; also what holds when no mode was ever given.
    Inactive,
    /// Sends back what it receives.
    Loopback,
}

/// The LocalControl descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalControl {
    /// The gate.
    pub mode: Option<StreamMode>,
    /// ReservedGroup: reserve for all alternatives of a group.
    pub reserve_group: Option<bool>,
    /// ReservedValue: reserve for all alternative values.
    pub reserve_value: Option<bool>,
    /// Package properties.
    pub properties: Vec<Property>,
}

impl LocalControl {
    /// A property by its `package/item` name.
    pub fn property(&self, name: &str) -> Option<&ParameterValue> {
        find(&self.properties, name)
    }

    /// A property's value, if it is a single one.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.property(name)?.single()
    }
}

/// The TerminationState descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TerminationState {
    /// Whether the termination is in service.
    pub service_state: Option<ServiceState>,
    /// What happens to events that come before their descriptor.
    pub event_buffer: Option<EventBufferControl>,
    /// Package properties.
    pub properties: Vec<Property>,
}

/// ServiceStates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceState {
    /// Being tested.
    Test,
    /// Cannot carry traffic.
    OutOfService,
    /// Can.
    InService,
}

/// Buffer, the EventBufferControl property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventBufferControl {
    /// Off.
    Off,
    /// Events wait for the next Events descriptor.
    LockStep,
}

/// The body of a Local or Remote descriptor: SDP in octets, not looked into.
///
/// Held without the `\}` escape of the text encoding, without white space around it, and with an
/// end of line after its last line.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct SessionDescription(Bytes);

impl SessionDescription {
    /// Takes SDP, brought into the held form: blanks around it go, the last line gets the end of
    /// line that the first one has, NUL octets (which the grammar cannot carry) go.
    pub fn new(sdp: impl Into<Bytes>) -> Self {
        let sdp: Bytes = sdp.into();
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        let Some(start) = sdp.iter().position(|b| !blank(b)) else { return Self::default() };
        let end = sdp.iter().rposition(|b| !blank(b)).map_or(start, |e| e + 1);
        let first_end =
            memchr::memchr2(b'\r', b'\n', sdp.get(start..).unwrap_or_default()).map(|i| i + start);
        let eol: &[u8] = match first_end.and_then(|at| sdp.get(at..)) {
            Some([b'\n', ..]) => b"\n",
            _ => b"\r\n",
        };
        let body = sdp.get(start..end).unwrap_or_default();
        if memchr::memchr(0, body).is_none() && sdp.get(end..).is_some_and(|rest| rest.starts_with(eol)) {
            return Self(sdp.slice(start..end + eol.len()));
        }
        let mut out = Vec::with_capacity(body.len() + eol.len());
        out.extend(body.iter().filter(|b| **b != 0));
        out.extend_from_slice(eol);
        Self(out.into())
    }

    /// As [`new`](Self::new), of octets that are somebody else's: copied once, in the held form.
    pub fn copied(sdp: &[u8]) -> Self {
        let blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        let Some(start) = sdp.iter().position(|b| !blank(b)) else { return Self::default() };
        let end = sdp.iter().rposition(|b| !blank(b)).map_or(start, |e| e + 1);
        let body = sdp.get(start..end).unwrap_or_default();
        if memchr::memchr(0, body).is_some() {
            return Self::new(sdp.to_vec());
        }
        // The first end of line may be the one after the body.
        let rest = sdp.get(start..).unwrap_or_default();
        let eol: &[u8] = match memchr::memchr2(b'\r', b'\n', rest).and_then(|at| rest.get(at)) {
            Some(b'\n') => b"\n",
            _ => b"\r\n",
        };
        let mut out = Vec::with_capacity(body.len() + eol.len());
        out.extend_from_slice(body);
        out.extend_from_slice(eol);
        Self(out.into())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The octets, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The lines, without their ends.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&'static str> for SessionDescription {
    fn from(sdp: &'static str) -> Self {
        Self::new(sdp)
    }
}

impl From<String> for SessionDescription {
    fn from(sdp: String) -> Self {
        Self::new(sdp)
    }
}

impl From<Vec<u8>> for SessionDescription {
    fn from(sdp: Vec<u8>) -> Self {
        Self::new(sdp)
    }
}

impl From<Bytes> for SessionDescription {
    fn from(sdp: Bytes) -> Self {
        Self::new(sdp)
    }
}

/// One statistic: a name, and in replies its value or list of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statistic {
    /// `package/item`.
    pub name: Name,
    /// Empty when only the name is given.
    pub values: Vec<Value>,
}

impl Statistic {
    /// A statistic with one value.
    pub fn new(name: impl Into<Name>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), values: vec![value.into()] }
    }
}
