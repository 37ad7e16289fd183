//! What a node tells of itself while it runs: messages that went by at its sockets, and what it decided. As JSON it goes
//! from a node to whoever asks, with key material masked.

use crate::mask;
use crate::model::{Happened, Way};
use bytes::Bytes;
use carnet_wire::base64;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A host that tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// As in its configuration.
    pub name: String,
    /// What it is: `IMS-ALG`, `TrGW` ...
    pub role: String,
}

impl Node {
    /// With its name and role.
    pub fn new(name: impl Into<String>, role: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), role: role.into() })
    }

    /// Whether contexts are its own, not those of another.
    pub fn is_gateway(&self) -> bool {
        matches!(self.role.as_str(), "IMS-AGW" | "TrGW" | "MRFP")
    }
}

/// What is told, when, and by whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    /// Since 1970.
    pub at: Duration,
    /// Counts up in each process.
    pub number: u64,
    /// Who tells.
    pub node: Arc<Node>,
    /// What.
    pub what: What,
}

/// What there is to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A message was sent or received.
    Message {
        /// Of this protocol.
        protocol: Protocol,
        /// By the node, or else to it.
        sent: bool,
        /// The node's own address, as far as it is known.
        local: Option<SocketAddr>,
        /// The other end.
        peer: Peer,
        /// Over what.
        way: Way,
        /// As on the wire; H.248 in text and without keys, whatever was on the wire.
        octets: Bytes,
    },
    /// Something happened.
    Event {
        /// What.
        event: Box<Happened>,
        /// The gateway and the context of it that it is about.
        held: Option<(String, u32)>,
    },
}

/// The other end of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Address(SocketAddr),
    /// Another node, in the same process.
    Node(Arc<Node>),
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SIP.
    Sip,
    /// H.248.
    Control,
    /// The ng protocol.
    Ng,
}

impl Protocol {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Control => "h248",
            Self::Ng => "ng",
        }
    }
}

impl Telling {
    /// About how many octets of memory it takes.
    pub fn size(&self) -> usize {
        /// What is always there, with what the allocator and an index of it take.
        const FIXED: usize = 320;
        FIXED
            + match &self.what {
                What::Message { octets, .. } => octets.len(),
                What::Event { event, held } => {
                    let fields = event.fields.iter().map(|(name, value)| 64 + name.len() + length(value));
                    let held = held.as_ref().map_or(0, |(gateway, _)| gateway.len());
                    let call = event.call_id.as_ref().map_or(0, String::len);
                    event.event.len() + call + held + fields.sum::<usize>()
                }
            }
    }

    /// For others, without what could be used to log in or to decrypt. `None` for a message that cannot be
    /// read: what is not understood cannot be masked, and goes without its octets.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "number": self.number,
            "at": [self.at.as_secs(), self.at.subsec_nanos()],
            "node": self.node.name,
            "role": self.node.role,
        });
        let more = match &self.what {
            What::Message { protocol, sent, local, peer, way, octets } => {
                let (peer, peer_node, peer_role) = match peer {
                    Peer::Address(address) => (Some(address.to_string()), None, None),
                    Peer::Node(node) => (None, Some(&node.name), Some(&node.role)),
                };
                let shown = mask::message(*protocol, octets);
                let text = shown.as_deref().map(std::str::from_utf8);
                json!({
                    "protocol": protocol.as_str(),
                    "sent": sent,
                    "local": local.map(|local| local.to_string()),
                    "peer": peer,
                    "peer_node": peer_node,
                    "peer_role": peer_role,
                    "transport": way.as_str(),
                    "text": text.as_ref().and_then(|text| text.as_ref().ok()),
                    "base64": match (&text, &shown) {
                        (Some(Err(_)), Some(octets)) => Some(base64::encode(octets)),
                        _ => None,
                    },
                    "octets": octets.len(),
                })
            }
            What::Event { event, held } => json!({
                "event": event.event,
                "level": event.level,
                "call_id": event.call_id,
                "gateway": held.as_ref().map(|(gateway, _)| gateway),
                "context": held.as_ref().map(|(_, context)| context),
                "fields": event.fields,
            }),
        };
        if let (Some(out), Value::Object(more)) = (out.as_object_mut(), more) {
            out.extend(more);
        }
        out
    }

    /// What [`Self::to_json`] wrote; `None` if it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let address = |name: &str| text(name).map(str::parse::<SocketAddr>).transpose().ok();
        let at = value.get("at")?.as_array()?;
        let at = Duration::new(at.first()?.as_u64()?, u32::try_from(at.get(1)?.as_u64()?).ok()?);
        let what = match text("protocol") {
            Some(protocol) => {
                let protocol = match protocol {
                    "sip" => Protocol::Sip,
                    "h248" => Protocol::Control,
                    "ng" => Protocol::Ng,
                    _ => return None,
                };
                let peer = match (address("peer")?, text("peer_node")) {
                    (Some(address), _) => Peer::Address(address),
                    (None, Some(name)) => Peer::Node(Node::new(name, text("peer_role").unwrap_or_default())),
                    (None, None) => return None,
                };
                let octets = match (text("text"), text("base64")) {
                    (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
                    (None, Some(octets)) => base64::decode(octets.as_bytes()).ok()?.into(),
                    (None, None) => Bytes::new(),
                };
                What::Message {
                    protocol,
                    sent: value.get("sent")?.as_bool()?,
                    local: address("local")?,
                    peer,
                    way: way(text("transport")?)?,
                    octets,
                }
            }
            None => {
                let context = value.get("context").and_then(Value::as_u64);
                let context = context.and_then(|context| u32::try_from(context).ok());
                What::Event {
                    event: Box::new(Happened {
                        event: text("event")?.to_owned(),
                        level: text("level")?.to_owned(),
                        call_id: text("call_id").map(str::to_owned),
                        fields: value
                            .get("fields")
                            .and_then(Value::as_object)
                            .cloned()
                            .unwrap_or_else(Map::new),
                    }),
                    held: text("gateway").map(str::to_owned).zip(context),
                }
            }
        };
        Some(Self {
            at,
            number: value.get("number")?.as_u64()?,
            node: Node::new(text("node")?, text("role").unwrap_or_default()),
            what,
        })
    }
}

fn way(name: &str) -> Option<Way> {
    [Way::Udp, Way::Tcp, Way::Tls, Way::Sctp, Way::Inside].into_iter().find(|way| way.as_str() == name)
}

fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(|value| 32 + length(value)).sum(),
        _ => 0,
    }
}
