//! A gateway for TCP media that SIP servers steer with the ng protocol, as they steer rtpengine for RTP.
//!
//! [`Steering`] is the machine: the SIP server sends the session descriptions of a call, gets them back
//! with the gateway's addresses on the lines of MSRP and BFCP over TCP, and everything else as it came.
//! Lines are planned as on a border (`carnet-plan`), and the gateway is told in H.248: to it this is a
//! controller like any other.

mod answer;
mod call;
mod config;
mod core;
mod counts;
mod delete;
mod dialog;
mod event;
mod fault;
mod gateway;
mod idle;
mod machine;
mod offer;
mod query;
mod reconfigure;
mod reports;
mod requests;
mod rewrite;
mod statistics;
mod tags;
mod wishes;

pub use config::{Config, Interface, Limits, Timers};
pub use event::{Ended, Event};
pub use machine::{Load, RequestId, Steering};
