//! IMS-ALG and IBCF: the border of a SIP network that anchors TCP media on gateways and lets
//! end-to-end TLS pass through them (TS 23.334 §6.2.10A, TS 29.162 §10.2).
//!
//! [`Border`] is the machine. An offer becomes a [`Plan`], the plan becomes H.248 contexts and
//! edits of the session description, and every other octet of the signalling passes as it came.
//!
//! * What to do with each media line, and why, is `carnet-plan`'s; so is the context it becomes.
//! * `body`: the session description in a message.
//! * `offer`, `answer`, `session`: offer/answer over the life of a call.
//! * `call`, `pass`, `ending`, `notice`: the queue of a call, what goes on, how it ends, and what
//!   gateways report of it.
//! * `outside`, `fork`, `subscription`: requests outside calls, several ways at once, dialogs
//!   without media.
//! * `route`, `flow`, `forward`, `registrar`, `mediasec`: where requests go and what changes in them.
//! * `usage`: what calls take of their networks, and whether there is room for another.
//! * `gateways`, `choice`, `interfaces`: gateways under control, which one takes a call, and by what.
//! * `core`, `border`: shared tables, the machine.
//! * `state`: what outlives the process.
//! * `audit`: what an administrator asks.

mod admission;
mod answer;
mod audit;
mod body;
mod border;
mod call;
mod choice;
mod config;
mod core;
mod ending;
mod event;
mod explain;
mod flow;
mod fork;
mod forward;
mod gateways;
mod interfaces;
mod mediasec;
mod notice;
mod offer;
mod outside;
mod pass;
mod reconfigure;
mod registrar;
mod route;
mod rtp;
mod session;
mod state;
mod subscription;
mod usage;

pub use admission::{Origin, Place};
pub use border::{Border, Load, Out};
pub use carnet_h248::controller::GatewayName;
pub use carnet_plan::{
    Abilities, Addressing, Application, Both, Change, Decision, Edit, Facts, Family, Given, Leg, Legs, Line,
    Octets, Other, Party, Plan, Policy, Refusal, Registered, Said, Settled, Settlement, Side, Tls, TlsRole,
    Transport,
};
pub use config::{Caps, Config, Gateway, Limits, Network, Prefix, Registration, Route, Timers, User};
pub use event::{Cause, Event};
pub use explain::{Answered, Asked, Command, Explanation, explain};
pub use gateways::GatewayStatus;
pub use rtp::Rtpengine;
pub use state::Restored;
pub use usage::Cap;
