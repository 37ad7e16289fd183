//! The plan for an offer, and what becomes of it with the answer: what happens with each media line, every
//! change of the session description, and why. Whoever controls gateways goes by it: a border on the path
//! of the signalling, or a gateway that is steered by somebody else's SIP server.
//!
//! TS 23.334 §6.2.10A and TS 29.162 §10 (pass TLS through), TS 23.334 §6.2.10.3 (end it at the access
//! edge), §6.2.18 (who connects, merge mode), §5.19 (MSRP), RFC 6714 §4 (CEMA), RFC 4145 §4.1, RFC 6135
//! §4 and §6, RFC 8856 §8, RFC 8122. A plan is a value: it can be printed, compared and shown to whoever
//! asks why a call went as it did. Making it has no effects. Whoever asked makes the changes that it
//! names, and no others.
//!
//! [`Context`] is what a planned line is on a gateway: the commands that make, change and end it.
//!
//! Left out: which gateway takes the line, and when the commands are sent.

mod addressing;
mod context;
mod decision;
mod direction;
mod edit;
mod facts;
mod kept;
mod offer;
mod settle;
#[cfg(test)]
mod tests;
mod told;

pub use context::{
    Both, Carried, Context, Family, Fixed, Incomplete, Kind, Known, Octets, Peer, Side, Urgency, Watch,
    is_unable, subtract_all,
};
pub use decision::{
    Application, Decision, Leg, Legs, Line, Plan, Refusal, Said, Settled, Settlement, Tls, TlsRole, Transport,
};
pub use edit::{Change, Edit, Given, apply};
pub use facts::{Abilities, Addressing, Facts, Other, Party, Policy, Registered};
pub use kept::Kept;
pub use offer::{concerns, is_tcp, plan};
pub use settle::settle;
