//! Messages, transactions and actions of H.248 versions 1 to 3 as plain values.
//!
//! One model for all encodings (RFC 3525 §7 and §8). Names we do not know (packages, parameters,
//! extension methods) are kept as they came. Order is kept where it means something: transactions,
//! actions, commands, descriptors, properties. Which parameter of a fixed set came first is not.
//! Inside one process the values themselves pass between controller and gateway.

mod command;
mod events;
mod media;
mod names;
mod secret;
mod service;
mod text;
pub(crate) mod value;
mod version;

pub use command::{Command, CommandReply, Descriptor, Verb};
pub use events::{
    Completion, DigitMap, Direction, Embed, Events, NotifyBehaviour, ObservedEvent, ObservedEvents,
    RequestedEvent, Signal, SignalItem, SignalList, SignalType, Signals,
};
pub use media::{
    EventBufferControl, LocalControl, Media, ServiceState, SessionDescription, Statistic, Stream, StreamMode,
    TerminationState,
};
pub use names::{ContextId, MId, Name, RequestId, TerminationId, TimeStamp, TransactionId};
pub use service::{
    Audit, AuditItem, AuditToken, ErrorDescriptor, Method, Modem, Mux, PackageVersion, Profile, Reason,
    Selector, ServiceChange, ServiceChangeAddress,
};
pub use text::Text;
pub use value::{ParameterValue, Property, Secret, Value};
pub use version::Newer;

/// A message (RFC 3525 §8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The interim authentication header.
    pub auth: Option<AuthHeader>,
    /// Protocol version, 1 to 3.
    pub version: u8,
    /// The sender.
    pub mid: MId,
    /// The content.
    pub body: Body,
}

impl Message {
    /// A message without authentication header.
    pub fn new(version: u8, mid: MId, transactions: Vec<Transaction>) -> Self {
        Self { auth: None, version, mid, body: Body::Transactions(transactions) }
    }

    /// A message that refuses a whole message.
    pub fn error(version: u8, mid: MId, error: ErrorDescriptor) -> Self {
        Self { auth: None, version, mid, body: Body::Error(error) }
    }

    /// The transactions; none in a message-level error.
    pub fn transactions(&self) -> &[Transaction] {
        match &self.body {
            Body::Transactions(list) => list,
            Body::Error(_) => &[],
        }
    }
}

/// The interim authentication header (RFC 3525 §10.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthHeader {
    /// Names the keys.
    pub spi: u32,
    /// Against replay.
    pub sequence: u32,
    /// Integrity check value, 12 to 32 octets.
    pub data: Vec<u8>,
}

/// What a message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The peer's whole message was wrong.
    Error(ErrorDescriptor),
    /// Transactions, in order.
    Transactions(Vec<Transaction>),
}

/// A transaction or what belongs to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transaction {
    /// Do this.
    Request(TransactionRequest),
    /// It was done, or not.
    Reply(TransactionReply),
    /// It is being done.
    Pending(TransactionId),
    /// Replies that arrived.
    Ack(Vec<AckRange>),
    /// A segment of a reply that arrived (version 3).
    Segment(SegmentReply),
}

/// TransactionRequest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRequest {
    /// Its number; zero if the sender left it out.
    pub id: TransactionId,
    /// What to do, in order. Not empty.
    pub actions: Vec<ActionRequest>,
}

/// TransactionReply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionReply {
    /// Of the request.
    pub id: TransactionId,
    /// If the reply comes in segments (version 3).
    pub segment: Option<SegmentNumber>,
    /// The receiver shall acknowledge at once.
    pub immediate_ack: bool,
    /// The result.
    pub body: ReplyBody,
}

impl TransactionReply {
    /// A whole reply.
    pub fn new(id: TransactionId, body: ReplyBody) -> Self {
        Self { id, segment: None, immediate_ack: false, body }
    }
}

/// Which segment of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentNumber {
    /// From 1.
    pub number: u16,
    /// The last one.
    pub last: bool,
}

/// Segment reply (version 3): says that a segment arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentReply {
    /// Of the reply.
    pub id: TransactionId,
    /// Which one.
    pub segment: SegmentNumber,
}

/// The content of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyBody {
    /// Nothing was done.
    Error(ErrorDescriptor),
    /// What was done, action by action. Not empty.
    Actions(Vec<ActionReply>),
}

impl ReplyBody {
    /// The first error anywhere in the reply.
    pub fn first_error(&self) -> Option<&ErrorDescriptor> {
        match self {
            Self::Error(error) => Some(error),
            Self::Actions(actions) => actions
                .iter()
                .find_map(|a| a.commands.iter().find_map(CommandReply::error).or(a.error.as_ref())),
        }
    }
}

/// Numbers of transactions whose replies arrived, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckRange {
    /// First.
    pub first: TransactionId,
    /// Last; equals `first` for a single one.
    pub last: TransactionId,
}

/// The commands of a request for one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRequest {
    /// The context.
    pub context: ContextId,
    /// What to set on the context.
    pub properties: ContextProperties,
    /// What to report about the context.
    pub audit: Option<Vec<Selector>>,
    /// In order.
    pub commands: Vec<Command>,
}

impl ActionRequest {
    /// Commands for a context.
    pub fn new(context: ContextId, commands: Vec<Command>) -> Self {
        Self { context, properties: ContextProperties::default(), audit: None, commands }
    }
}

/// The results of a request for one context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionReply {
    /// The context.
    pub context: ContextId,
    /// What was asked about the context.
    pub properties: ContextProperties,
    /// In order.
    pub commands: Vec<CommandReply>,
    /// Why nothing (more) was done.
    pub error: Option<ErrorDescriptor>,
}

impl ActionReply {
    /// Results for a context.
    pub fn new(context: ContextId, commands: Vec<CommandReply>) -> Self {
        Self { context, properties: ContextProperties::default(), commands, error: None }
    }

    /// Nothing was done for this context.
    pub fn failed(context: ContextId, error: ErrorDescriptor) -> Self {
        Self { context, properties: ContextProperties::default(), commands: Vec::new(), error: Some(error) }
    }
}

/// Properties of a context (RFC 3525 §6.1.1; some from version 3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContextProperties {
    /// Who hears whom.
    pub topology: Vec<Topology>,
    /// 0 (lowest) to 15.
    pub priority: Option<u16>,
    /// Emergency (true) or EmergencyOff (false).
    pub emergency: Option<bool>,
    /// IEPSCall indicator (version 3).
    pub ieps_call: Option<bool>,
    /// Package properties of the context (version 3).
    pub attributes: Vec<Property>,
    /// Contexts the action is for (version 3).
    pub context_list: Vec<ContextId>,
}

impl ContextProperties {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One relation of a Topology descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The first termination.
    pub from: TerminationId,
    /// The second.
    pub to: TerminationId,
    /// How media flows from the first to the second.
    pub direction: TopologyDirection,
    /// For one stream only (version 2).
    pub stream: Option<u16>,
}

/// How media flows between two terminations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopologyDirection {
    /// Both ways.
    Bothway,
    /// Not at all.
    Isolate,
    /// From the first to the second.
    Oneway,
    /// One way, seen from outside (version 3).
    OnewayExternal,
    /// One way, inside and outside (version 3).
    OnewayBoth,
}
