//! What a ladder shows: hosts, sessions, entries. Where entries come from is not told here: a capture file, or
//! a node that says what it does.

use crate::telling::Node;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that was seen, by session.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    /// In the order in which they began.
    pub sessions: Vec<Session>,
    /// What the one who looks should know of the whole: what was left out, and why.
    pub remarks: Vec<String>,
}

/// What belongs together: a call with its control, keys and media; a registration; a control association.
#[derive(Debug, Clone)]
pub struct Session {
    /// From 1.
    pub number: usize,
    /// What it is.
    pub kind: Kind,
    /// Who with whom, in a line.
    pub title: String,
    /// The Call-IDs in it.
    pub call_ids: Vec<String>,
    /// Who took part, in the order of the columns.
    pub hosts: Vec<Host>,
    /// What happened, in order.
    pub entries: Vec<Entry>,
    /// What went wrong, worst first; or that nothing did.
    pub findings: Vec<Finding>,
}

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An INVITE and what belongs to it.
    Call,
    /// A REGISTER.
    Registration,
    /// Other requests of SIP.
    Dialog,
    /// What a gateway and its controller say outside of contexts.
    Control,
    /// A context that no call was seen of.
    Context,
    /// Keys: an exchange with a key management service.
    Keys,
    /// A connection that nothing spoke of.
    Connection,
}

impl Kind {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Registration => "registration",
            Self::Dialog => "dialog",
            Self::Control => "control",
            Self::Context => "context",
            Self::Keys => "keys",
            Self::Connection => "connection",
        }
    }
}

/// Somebody who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// What it calls itself, if it is a node that told of this; else empty.
    pub name: String,
    /// What it seems to be: `UE alice`, `IMS-ALG`, `TrGW` ...; empty if that cannot be told.
    pub role: String,
    /// The addresses it uses, without ports; with ports where several share an address.
    pub addresses: Vec<String>,
}

/// An arrow.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, since 1970.
    pub at: Duration,
    /// When it came for the last time, if it came several times.
    pub last: Duration,
    /// How often.
    pub times: u32,
    /// Number of the packet, 0 if there is none.
    pub number: u64,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// The sender, if it is a node that told of itself.
    pub from_node: Option<Arc<Node>>,
    /// The receiver.
    pub to_node: Option<Arc<Node>>,
    /// Column of the sender in the session's hosts.
    pub from_host: usize,
    /// Column of the receiver.
    pub to_host: usize,
    /// What it went over.
    pub way: Way,
    /// Some words.
    pub label: String,
    /// All of it, for people; key material is masked.
    pub text: String,
    /// What rules ask for.
    pub fact: Fact,
    /// Whether it is a refusal or a failure.
    pub bad: bool,
}

/// What an entry went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
    /// A connection, inside of TLS.
    Tls,
    /// An association of SCTP.
    Sctp,
    /// What a host or router says of a packet.
    Icmp,
    /// Inside of a process.
    Inside,
}

impl Way {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Inside => "inside",
        }
    }
}

/// What an entry says, as far as rules ask.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A message of SIP.
    Sip(Box<Sip>),
    /// A message of H.248.
    Control(Box<Control>),
    /// Something on a connection of TCP.
    Tcp(Tcp),
    /// A record of TLS.
    Tls(Box<Tls>),
    /// A frame of MSRP.
    Msrp(Msrp),
    /// A message of BFCP.
    Floor(Floor),
    /// A message of the ng protocol.
    Ng(Box<Ng>),
    /// A request or answer of HTTP.
    Http(Http),
    /// What a node says of itself.
    Event(Box<Happened>),
    /// A packet that was not delivered.
    Unreachable {
        /// Who did not get it.
        about: SocketAddr,
        /// In words.
        why: String,
    },
    /// Something that could not be read.
    Unreadable(String),
}

impl Fact {
    /// The protocol, as in the JSON.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Sip(_) => "sip",
            Self::Control(_) => "h248",
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Msrp(_) => "msrp",
            Self::Floor(_) => "bfcp",
            Self::Ng(_) => "ng",
            Self::Http(_) => "http",
            Self::Event(_) => "event",
            Self::Unreachable { .. } => "icmp",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// A message of SIP.
#[derive(Debug, Clone, Default)]
pub struct Sip {
    /// Method of the request, or of the one that is answered.
    pub method: String,
    /// Of an answer.
    pub status: Option<u16>,
    /// Its words.
    pub reason: String,
    /// Call-ID.
    pub call_id: String,
    /// Number in CSeq.
    pub cseq: u32,
    /// Branch of the topmost Via.
    pub branch: String,
    /// Whether the To header has a tag.
    pub in_dialog: bool,
    /// User of From, or its host.
    pub from_user: String,
    /// User of To.
    pub to_user: String,
    /// Warning, if there is one.
    pub warning: Option<String>,
    /// The Reason header, if there is one.
    pub why: Option<String>,
    /// What sent it, by its own words.
    pub agent: Option<String>,
    /// The request's URI.
    pub uri: String,
    /// The description in it.
    pub sdp: Option<Sdp>,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Sip {
    /// Whether it is a request with this method.
    pub fn is_request(&self, method: &str) -> bool {
        self.status.is_none() && self.method == method
    }

    /// Whether it is the final answer to a request with this method.
    pub fn is_final(&self, method: &str) -> bool {
        self.status.is_some_and(|status| status >= 200) && self.method == method
    }
}

/// A description.
#[derive(Debug, Clone, Default)]
pub struct Sdp {
    /// The `o=` line without its version.
    pub origin: String,
    /// The media lines.
    pub lines: Vec<Line>,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// A media line.
#[derive(Debug, Clone, Default)]
pub struct Line {
    /// `message`, `application`, `audio` ...
    pub media: String,
    /// Its transport, as written.
    pub proto: String,
    /// The port; 0 rejects the line.
    pub port: u16,
    /// Where media is expected, if the port is one.
    pub address: Option<SocketAddr>,
    /// `a=setup`
    pub setup: Option<&'static str>,
    /// `a=fingerprint`, hash and value.
    pub fingerprints: Vec<String>,
    /// `a=key-mgmt`
    pub keys: Vec<KeyMessage>,
    /// `a=path`
    pub path: Option<String>,
    /// `a=3ge2ae`
    pub to_edge: bool,
}

impl Line {
    /// Whether its transport has TLS in it.
    pub fn is_secured(&self) -> bool {
        self.proto.to_ascii_uppercase().contains("TLS")
    }

    /// Whether it is one that Carnet carries: TCP.
    pub fn is_tcp(&self) -> bool {
        self.proto.to_ascii_uppercase().starts_with("TCP")
    }
}

/// A message of MIKEY in a description or in HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyMessage {
    /// Tells whether two are the same.
    pub digest: u64,
    /// `TRANSFER_INIT` ...; empty if it cannot be read.
    pub name: String,
    /// Tells whether two hold the same ticket.
    pub ticket: Option<u64>,
    /// When it was made, by the clock of who made it, since 1970.
    pub made: Option<Duration>,
    /// Number of the error in it.
    pub error: Option<String>,
    /// From when to when the ticket may be used.
    pub valid: (Option<Duration>, Option<Duration>),
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// A message of H.248.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Transactions asked for: their numbers, and what they ask in a word.
    pub requests: Vec<(u32, String)>,
    /// Transactions answered, and the error if it is one.
    pub replies: Vec<(u32, Option<(u16, String)>)>,
    /// Transactions that take longer.
    pub pending: Vec<u32>,
    /// An error of the whole message.
    pub error: Option<(u16, String)>,
    /// Contexts named.
    pub contexts: Vec<u32>,
    /// The sender asks for terminations.
    pub adds: bool,
    /// A service change, as gateways send it: its method.
    pub service: Option<String>,
    /// Observed events.
    pub events: Vec<String>,
    /// Addresses in local and remote descriptors.
    pub addresses: Vec<SocketAddr>,
}

/// Something on a connection of TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tcp {
    /// It was asked for; what became of that.
    Open(Opened),
    /// One end said that it has said all.
    Finished,
    /// One end broke it off.
    Reset,
    /// Its beginning is not there.
    Midway,
    /// So many octets are not there.
    Lost(u64),
    /// Octets of a protocol that is not known.
    Unknown(u64),
}

/// What became of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing.
    Silent,
    /// The connection.
    Accepted,
    /// A refusal.
    Refused,
}

/// A record of TLS.
#[derive(Debug, Clone)]
pub enum Tls {
    /// ClientHello.
    ClientHello(Box<ClientHello>),
    /// ServerHello.
    ServerHello {
        /// In hexadecimal.
        random: String,
        /// `1.2`, `1.3`
        version: String,
        /// The name of the cipher suite.
        suite: String,
        /// It asks for another ClientHello.
        retry: bool,
        /// A pre-shared key was taken.
        psk: bool,
    },
    /// Certificate, where it can be seen.
    Certificate {
        /// `SHA-256 AB:CD…` of the first one.
        fingerprint: String,
        /// How many.
        count: usize,
    },
    /// The identity of a pre-shared key (TLS 1.2).
    PskIdentity(String),
    /// An alert that can be read.
    Alert {
        /// 2 is fatal.
        fatal: bool,
        /// Its number.
        code: u8,
        /// Its name.
        name: String,
    },
    /// Other messages of the handshake.
    Handshake(&'static str),
    /// Something sealed: how much.
    Sealed {
        /// Records.
        records: u64,
        /// Octets.
        octets: u64,
    },
}

/// ClientHello.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// In hexadecimal; tells the association everywhere on its way.
    pub random: String,
    /// Server name.
    pub sni: Option<String>,
    /// Versions offered.
    pub versions: Vec<String>,
    /// Cipher suites offered.
    pub suites: Vec<String>,
    /// Identities of pre-shared keys.
    pub identities: Vec<String>,
    /// Application protocols.
    pub alpn: Vec<String>,
}

/// A frame of MSRP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msrp {
    /// Transaction.
    pub tid: String,
    /// Method; of an answer the empty word.
    pub method: String,
    /// Of an answer, or of a REPORT.
    pub status: Option<u16>,
    /// Octets of its body.
    pub octets: u64,
    /// `To-Path`
    pub to_path: String,
}

/// A message of BFCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// Its primitive.
    pub primitive: String,
    /// The conference.
    pub conference: u32,
    /// The error in it.
    pub error: Option<String>,
}

/// A message of the ng protocol.
#[derive(Debug, Clone, Default)]
pub struct Ng {
    /// Of a request.
    pub command: Option<String>,
    /// Of an answer.
    pub result: Option<String>,
    /// Why it was refused.
    pub why: Option<String>,
    /// Cookie.
    pub cookie: String,
    /// Call-ID.
    pub call_id: Option<String>,
    /// The description in it.
    pub sdp: Option<Sdp>,
}

/// A request or answer of HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Http {
    /// Method, or nothing in an answer.
    pub method: Option<String>,
    /// What is asked for.
    pub target: String,
    /// Of an answer.
    pub status: Option<u16>,
    /// The keys in it.
    pub keys: Vec<KeyMessage>,
}

/// What a node says of itself: a decision, the end of something, a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Its stable name, as in the log: `plan-made`.
    pub event: String,
    /// `debug`, `info`, `warn`, `error`
    pub level: String,
    /// Whose call.
    pub call_id: Option<String>,
    /// What else there is to know, as in the log.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl Happened {
    /// A field of text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A field that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }
}

/// What went wrong, or that nothing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule, for programs.
    pub rule: &'static str,
    /// How bad it is.
    pub weight: Weight,
    /// What happened, a sentence.
    pub what: String,
    /// What to do, a sentence; may be empty.
    pub advice: String,
    /// Where it shows, a place in the session's entries.
    pub entry: Option<usize>,
}

/// How bad something is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// The session failed for it.
    Failure,
    /// Something is not as it should be.
    Warning,
    /// All is well, or it cannot be told.
    Note,
}

impl Weight {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}
