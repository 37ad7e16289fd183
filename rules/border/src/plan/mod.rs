//! The plan for an offer, and what becomes of it with the answer: what the border does with each media
//! line, every change of the session description, and why.
//!
//! TS 23.334 §6.2.10A and TS 29.162 §10 (pass TLS through), TS 23.334 §6.2.10.3 (end it at the access
//! edge), §6.2.18 (who connects, merge mode), §5.19 (MSRP), RFC 6714 §4 (CEMA), RFC 4145 §4.1, RFC 6135
//! §4 and §6, RFC 8856 §8, RFC 8122. A plan is a value: it can be printed, compared and shown to whoever
//! asks why a call went as it did. Making it has no effects. The session makes the changes that it
//! names, and no others.
//!
//! Left out: which gateway takes the line, and its addresses; see [`apply`] for how they come in.

mod addressing;
mod decision;
mod direction;
mod edit;
mod facts;
mod offer;
mod settle;
#[cfg(test)]
mod tests;

pub use decision::{
    Application, Decision, Leg, Legs, Line, Plan, Refusal, Said, Settled, Settlement, Tls, TlsRole, Transport,
};
pub use edit::{Change, Edit, Given, apply};
pub use facts::{Abilities, Addressing, Facts, Other, Party, Policy, Registered};
pub use offer::plan;
pub use settle::settle;
